#include "core/data/example_source.h"

#include "absl/strings/str_cat.h"

namespace gradwatch::core {

absl::Status CheckHeldOut(int64_t held_out, int64_t examples) {
  if (held_out < examples) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("must be below the number of examples, ", examples, "; got ", held_out));
}

void ExampleSource::PrepareOnce() {
  if (prepared_) return;
  buffer_.Prepare();
  Prepare();
  prepared_ = true;
}

Batch ExampleSource::FillHeldOut(int64_t index) {
  PrepareOnce();
  for (int64_t slot = 0; slot < buffer_.batch_size(); ++slot) {
    FillHeldOutExample(index * buffer_.batch_size() + slot, slot, buffer_);
  }
  return buffer_.View();
}

Batch ExampleSource::Fill(int64_t step) {
  PrepareOnce();
  for (int64_t slot = 0; slot < buffer_.batch_size(); ++slot) {
    FillExample(step * buffer_.batch_size() + slot, slot, buffer_);
  }
  return buffer_.View();
}

}  // namespace gradwatch::core
