#include "core/data/batch_buffer.h"

namespace gradwatch::core {

BatchBuffer::BatchBuffer(const DataShape& shape, int64_t batch_size)
    : batch_size_(batch_size), row_features_(shape.input.features), row_values_(shape.outputs) {
  const int64_t rows = shape.input.rows() * batch_size;
  const int64_t target_rows = shape.target_per_step ? rows : batch_size;
  (shape.tokens ? token_count_ : feature_count_) = shape.tokens ? rows : rows * row_features_;
  const bool classes = shape.target == DataShape::Target::kClasses;
  (classes ? class_count_ : value_count_) = classes ? target_rows : target_rows * row_values_;
}

void BatchBuffer::Prepare() {
  features_.resize(feature_count_);
  tokens_.resize(token_count_);
  classes_.resize(class_count_);
  values_.resize(value_count_);
}

int64_t BatchBuffer::bytes() const { return 4 * (feature_count_ + token_count_ + class_count_ + value_count_); }

}  // namespace gradwatch::core
