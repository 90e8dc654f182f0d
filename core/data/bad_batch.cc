#include "core/data/bad_batch.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"

namespace gradwatch::core {
namespace {

class SpoiltSource final : public DataSource {
 public:
  SpoiltSource(const v1::BadBatch& spec, int64_t batch_size, std::unique_ptr<DataSource> source)
      : batch_(spec.batch()),
        scale_(static_cast<float>(spec.scale())),
        features_(source->shape().input.size() * batch_size),
        source_(std::move(source)) {}

  const DataShape& shape() const override { return source_->shape(); }
  int64_t examples() const override { return source_->examples(); }
  int64_t bytes() const override { return source_->bytes() + features_ * static_cast<int64_t>(sizeof(float)); }
  std::optional<FirstLine> first_line() const override { return source_->first_line(); }
  Batch FillHeldOut(int64_t index) override { return source_->FillHeldOut(index); }

  Batch Fill(int64_t step) override {
    Batch batch = source_->Fill(step);
    spoilt_.resize(features_);  // with the first batch, so that no later one takes memory
    if (step != batch_) return batch;
    std::transform(batch.features.begin(), batch.features.end(), spoilt_.begin(),
                   [this](float feature) { return feature * scale_; });
    batch.features = spoilt_;
    return batch;
  }

 private:
  const int64_t batch_;
  const float scale_;
  const int64_t features_;  // of a batch
  const std::unique_ptr<DataSource> source_;
  std::vector<float> spoilt_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> SpoilBatch(const v1::BadBatch& spec, int64_t batch_size,
                                                       std::unique_ptr<DataSource> source) {
  FieldErrors errors;
  if (spec.batch() < 0) errors.Add("batch", absl::StrCat("must be at least 0; got ", spec.batch()));
  if (!std::isfinite(spec.scale())) errors.Add("scale", absl::StrCat("must be finite; got ", spec.scale()));
  if (source->shape().tokens) errors.Add("scale", "cannot multiply characters: the inputs are text");
  GW_RETURN_IF_ERROR(errors.ToStatus());
  return std::make_unique<SpoiltSource>(spec, batch_size, std::move(source));
}

}  // namespace gradwatch::core
