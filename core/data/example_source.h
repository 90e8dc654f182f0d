// What all data sources share: the batch buffer, filled one example after the other.
#ifndef GRADWATCH_CORE_DATA_EXAMPLE_SOURCE_H_
#define GRADWATCH_CORE_DATA_EXAMPLE_SOURCE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "core/data/batch_buffer.h"
#include "core/data/data_source.h"

namespace gradwatch::core {

// OUT_OF_RANGE unless some of `examples` are left when `held_out` are held out.
absl::Status CheckHeldOut(int64_t held_out, int64_t examples);

// Thread-compatible. Subclasses say how one example is made. A set that is walked in epochs and has as many examples as
// a batch is given whole and in the same order on every step.
class ExampleSource : public DataSource {
 public:
  const DataShape& shape() const final { return shape_; }
  int64_t examples() const override { return 0; }
  int64_t bytes() const final { return buffer_.bytes() + held_bytes(); }
  Batch Fill(int64_t step) final;
  Batch FillHeldOut(int64_t index) final;

 protected:
  ExampleSource(const DataShape& shape, int64_t batch_size) : shape_(shape), buffer_(shape, batch_size) {}

  // Writes the example at `place` of the job's endless walk (step * batch size + slot) into `slot` of `buffer`. A pure
  // function of the seed and `place`; must not allocate.
  virtual void FillExample(int64_t place, int64_t slot, BatchBuffer& buffer) = 0;
  // Writes example `index` of those held out. An endless walk takes them from places that no run ever reaches.
  virtual void FillHeldOutExample(int64_t index, int64_t slot, BatchBuffer& buffer) {
    FillExample(kUnreachedPlace + index, slot, buffer);
  }
  static constexpr int64_t kUnreachedPlace = int64_t{1} << 62;
  // Whether the walk is by epochs, each of which has every example once; else there is a draw for every place.
  virtual bool has_epochs() const { return examples() > 0; }
  // Called before the first example is filled, for memory that only a running job needs.
  virtual void Prepare() {}
  // Bytes held besides the batch, those of Prepare included.
  virtual int64_t held_bytes() const { return 0; }

 private:
  void PrepareOnce();

  const DataShape shape_;
  BatchBuffer buffer_;
  bool prepared_ = false;
  bool holds_whole_set_ = false;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_EXAMPLE_SOURCE_H_
