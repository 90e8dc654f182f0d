#include "core/data/gaussian_clusters_source.h"

#include <vector>

#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "core/data/example_source.h"

namespace gradwatch::core {
namespace {

constexpr double kMaxSpread = 1e6;  // far beyond any use, and its points are still finite in float

DataShape ClustersShape(int64_t classes, int64_t features) {
  DataShape shape;
  shape.input.features = features;
  shape.outputs = classes;
  return shape;
}

class GaussianClustersSource final : public ExampleSource {
 public:
  GaussianClustersSource(int64_t classes, int64_t features, double spread, int64_t batch_size, uint64_t seed)
      : ExampleSource(ClustersShape(classes, features), batch_size),
        classes_(classes),
        features_(features),
        spread_(spread),
        seed_(seed) {}

 protected:
  // The centres can take gigabytes, so they are made only when a job runs, after its memory was checked.
  void Prepare() override {
    centres_.resize(classes_ * features_);
    for (int64_t i = 0; i < classes_; ++i) {
      Random random(seed_, RandomStream::kSyntheticData, static_cast<uint64_t>(i));
      for (int64_t k = 0; k < features_; ++k) {
        centres_[i * features_ + k] = static_cast<float>(spread_ * random.NextNormal());
      }
    }
  }

  void FillExample(int64_t place, int64_t slot, BatchBuffer& buffer) override {
    Random random(seed_, RandomStream::kBatches, static_cast<uint64_t>(place));
    const auto cluster = static_cast<int64_t>(random.NextBelow(classes_));
    float* const row = buffer.FeatureRow(0, slot);
    for (int64_t k = 0; k < features_; ++k) {
      row[k] = static_cast<float>(centres_[cluster * features_ + k] + random.NextNormal());
    }
    buffer.Class(0, slot) = static_cast<int32_t>(cluster);
  }

  int64_t held_bytes() const override { return classes_ * features_ * static_cast<int64_t>(sizeof(float)); }

 private:
  const int64_t classes_;
  const int64_t features_;
  const double spread_;
  const uint64_t seed_;
  std::vector<float> centres_;  // [classes, features]
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> MakeGaussianClusters(const v1::GaussianClustersTask& spec,
                                                                 int64_t batch_size, uint64_t seed) {
  const double spread = spec.has_spread() ? spec.spread() : 1;
  FieldErrors errors;
  CheckIntegerRange(errors, "classes", spec.classes(), 2, 65'536);
  CheckIntegerRange(errors, "features", spec.features(), 1, 65'536);
  CheckAbove(errors, "spread", spread, 0, kMaxSpread);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  return std::make_unique<GaussianClustersSource>(spec.classes(), spec.features(), spread, batch_size, seed);
}

}  // namespace gradwatch::core
