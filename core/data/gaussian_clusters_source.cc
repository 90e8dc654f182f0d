#include "core/data/gaussian_clusters_source.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "core/data/example_order.h"
#include "core/data/example_source.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kMaxExamples = std::numeric_limits<int32_t>::max();
constexpr double kMaxSpread = 1e6;  // far beyond any use, and its points are still finite in float

DataShape ClustersShape(int64_t classes, int64_t features) {
  DataShape shape;
  shape.input.features = features;
  shape.outputs = classes;
  return shape;
}

class GaussianClustersSource final : public ExampleSource {
 public:
  GaussianClustersSource(const v1::GaussianClustersTask& spec, double spread, int64_t batch_size, uint64_t seed)
      : ExampleSource(ClustersShape(spec.classes(), spec.features()), batch_size),
        classes_(spec.classes()),
        features_(spec.features()),
        examples_(spec.examples()),
        spread_(spread),
        seed_(seed),
        order_(std::max<int64_t>(examples_, 1), seed) {}

  int64_t examples() const override { return examples_; }

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
    points_.resize(examples_ * features_);
    clusters_.resize(examples_);
    for (int64_t i = 0; i < examples_; ++i) clusters_[i] = Draw(i, points_.data() + i * features_);
  }

  void FillExample(int64_t place, int64_t slot, BatchBuffer& buffer) override {
    if (examples_ == 0) {
      buffer.Class(0, slot) = Draw(place, buffer.FeatureRow(0, slot));
      return;
    }
    const int64_t example = order_.At(place);
    std::copy_n(points_.data() + example * features_, features_, buffer.FeatureRow(0, slot));
    buffer.Class(0, slot) = clusters_[example];
  }

  void FillHeldOutExample(int64_t index, int64_t slot, BatchBuffer& buffer) override {
    buffer.Class(0, slot) = Draw(kUnreachedPlace + index, buffer.FeatureRow(0, slot));
  }

  int64_t held_bytes() const override {
    return ((classes_ + examples_) * features_ + examples_) * static_cast<int64_t>(sizeof(float));
  }

 private:
  // Draws point number `point` and returns its cluster.
  int32_t Draw(int64_t point, float* row) const {
    Random random(seed_, RandomStream::kBatches, static_cast<uint64_t>(point));
    const auto cluster = static_cast<int64_t>(random.NextBelow(classes_));
    for (int64_t k = 0; k < features_; ++k) {
      row[k] = static_cast<float>(centres_[cluster * features_ + k] + random.NextNormal());
    }
    return static_cast<int32_t>(cluster);
  }

  const int64_t classes_;
  const int64_t features_;
  const int64_t examples_;  // 0: without end
  const double spread_;
  const uint64_t seed_;
  ExampleOrder order_;
  std::vector<float> centres_;     // [classes, features]
  std::vector<float> points_;      // [examples, features]
  std::vector<int32_t> clusters_;  // of the points
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> MakeGaussianClusters(const v1::GaussianClustersTask& spec,
                                                                 int64_t batch_size, uint64_t seed) {
  const double spread = spec.has_spread() ? spec.spread() : 1;
  FieldErrors errors;
  CheckIntegerRange(errors, "classes", spec.classes(), 2, 65'536);
  CheckIntegerRange(errors, "features", spec.features(), 1, 65'536);
  CheckAbove(errors, "spread", spread, 0, kMaxSpread);
  if (spec.has_examples()) CheckIntegerRange(errors, "examples", spec.examples(), 1, kMaxExamples);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  return std::make_unique<GaussianClustersSource>(spec, spread, batch_size, seed);
}

}  // namespace gradwatch::core
