#include "core/data/adding_source.h"

#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "core/data/example_source.h"

namespace gradwatch::core {
namespace {

DataShape AddingShape(int64_t steps) {
  DataShape shape;
  shape.input = {.steps = steps, .features = 2};
  shape.target = DataShape::Target::kValues;
  shape.outputs = 1;
  return shape;
}

class AddingSource final : public ExampleSource {
 public:
  AddingSource(int64_t steps, int64_t batch_size, uint64_t seed)
      : ExampleSource(AddingShape(steps), batch_size), steps_(steps), seed_(seed) {}

 protected:
  void FillExample(int64_t place, int64_t slot, BatchBuffer& buffer) override {
    Random random(seed_, RandomStream::kBatches, static_cast<uint64_t>(place));
    const int64_t half = steps_ / 2;
    const int64_t first = static_cast<int64_t>(random.NextBelow(half));
    const int64_t second = half + static_cast<int64_t>(random.NextBelow(steps_ - half));
    double sum = 0;
    for (int64_t step = 0; step < steps_; ++step) {
      const bool marked = step == first || step == second;
      const double value = random.NextUniform();
      if (marked) sum += value;
      float* const row = buffer.FeatureRow(step, slot);
      row[0] = static_cast<float>(value);
      row[1] = marked ? 1 : 0;
    }
    *buffer.ValueRow(slot) = static_cast<float>(sum);
  }

 private:
  const int64_t steps_;
  const uint64_t seed_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> MakeAdding(const v1::AddingTask& spec, int64_t batch_size, uint64_t seed) {
  FieldErrors errors;
  CheckIntegerRange(errors, "sequence_length", spec.sequence_length(), 2, 65'536);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  return std::make_unique<AddingSource>(spec.sequence_length(), batch_size, seed);
}

}  // namespace gradwatch::core
