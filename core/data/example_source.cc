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
  holds_whole_set_ = false;
  for (int64_t slot = 0; slot < buffer_.batch_size(); ++slot) {
    FillHeldOutExample(index * buffer_.batch_size() + slot, slot, buffer_);
  }
  return buffer_.View();
}

Batch ExampleSource::Fill(int64_t step) {
  PrepareOnce();
  // Where every batch is the whole set, the first epoch's order will do for all, and nothing has to be copied again.
  const bool is_whole_set = has_epochs() && examples() == buffer_.batch_size();
  if (is_whole_set && holds_whole_set_) return buffer_.View();
  const int64_t first = is_whole_set ? 0 : step * buffer_.batch_size();
  for (int64_t slot = 0; slot < buffer_.batch_size(); ++slot) FillExample(first + slot, slot, buffer_);
  holds_whole_set_ = is_whole_set;
  return buffer_.View();
}

}  // namespace gradwatch::core
