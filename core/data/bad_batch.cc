#include "core/data/bad_batch.h"

#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"

namespace gradwatch::core {
namespace {

class SpoiltSource final : public DataSource {
 public:
  SpoiltSource(const v1::BadBatch& spec, std::unique_ptr<DataSource> source)
      : batch_(spec.batch()), scale_(static_cast<float>(spec.scale())), source_(std::move(source)) {}

  const DataShape& shape() const override { return source_->shape(); }
  int64_t examples() const override { return source_->examples(); }
  int64_t bytes() const override { return source_->bytes(); }
  Batch FillHeldOut(int64_t index) override { return source_->FillHeldOut(index); }

  Batch Fill(int64_t step) override {
    Batch batch = source_->Fill(step);
    if (step != batch_) return batch;
    spoilt_.assign(batch.features.begin(), batch.features.end());
    for (float& feature : spoilt_) feature *= scale_;
    batch.features = spoilt_;
    return batch;
  }

 private:
  const int64_t batch_;
  const float scale_;
  const std::unique_ptr<DataSource> source_;
  std::vector<float> spoilt_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> SpoilBatch(const v1::BadBatch& spec, std::unique_ptr<DataSource> source) {
  FieldErrors errors;
  if (spec.batch() < 0) errors.Add("batch", absl::StrCat("must be at least 0; got ", spec.batch()));
  if (!std::isfinite(spec.scale())) errors.Add("scale", absl::StrCat("must be finite; got ", spec.scale()));
  if (source->shape().tokens) errors.Add("scale", "cannot multiply characters: the inputs are text");
  GW_RETURN_IF_ERROR(errors.ToStatus());
  return std::make_unique<SpoiltSource>(spec, std::move(source));
}

}  // namespace gradwatch::core
