// The memory behind a Batch, taken with the first batch and used again for every other.
#ifndef GRADWATCH_CORE_DATA_BATCH_BUFFER_H_
#define GRADWATCH_CORE_DATA_BATCH_BUFFER_H_

#include <cstdint>
#include <vector>

#include "core/data/batch.h"

namespace gradwatch::core {

// Thread-compatible.
class BatchBuffer {
 public:
  BatchBuffer(const DataShape& shape, int64_t batch_size);

  // Takes the memory. Call once, before everything below.
  void Prepare();

  int64_t batch_size() const { return batch_size_; }
  // Bytes that Prepare takes.
  int64_t bytes() const;

  // The numbers of time step `step` of example `example`.
  float* FeatureRow(int64_t step, int64_t example) {
    return features_.data() + (step * batch_size_ + example) * row_features_;
  }
  int32_t& Token(int64_t step, int64_t example) { return tokens_[step * batch_size_ + example]; }
  // `step` is 0 where there is one target an example.
  int32_t& Class(int64_t step, int64_t example) { return classes_[step * batch_size_ + example]; }
  float* ValueRow(int64_t example) { return values_.data() + example * row_values_; }

  Batch View() const { return {batch_size_, features_, tokens_, classes_, values_}; }

 private:
  int64_t batch_size_;
  int64_t row_features_, row_values_;
  int64_t feature_count_ = 0, token_count_ = 0, class_count_ = 0, value_count_ = 0;
  std::vector<float> features_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> classes_;
  std::vector<float> values_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_BATCH_BUFFER_H_
