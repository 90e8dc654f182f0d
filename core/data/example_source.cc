#include "core/data/example_source.h"

namespace gradwatch::core {

Batch ExampleSource::Fill(int64_t step) {
  if (!prepared_) {
    buffer_.Prepare();
    Prepare();
    prepared_ = true;
  }
  for (int64_t slot = 0; slot < buffer_.batch_size(); ++slot) {
    FillExample(step * buffer_.batch_size() + slot, slot, buffer_);
  }
  return buffer_.View();
}

}  // namespace gradwatch::core
