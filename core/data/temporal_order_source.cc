#include "core/data/temporal_order_source.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "core/data/example_source.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kSymbols = 6;  // A, B, then the distractors
constexpr int64_t kNamed = 2;    // A, B
constexpr int64_t kClasses = kNamed * kNamed;

DataShape TemporalOrderShape(int64_t steps) {
  DataShape shape;
  shape.input = {.steps = steps, .features = kSymbols};
  shape.outputs = kClasses;
  return shape;
}

class TemporalOrderSource final : public ExampleSource {
 public:
  TemporalOrderSource(int64_t steps, int64_t batch_size, uint64_t seed)
      : ExampleSource(TemporalOrderShape(steps), batch_size), steps_(steps), seed_(seed) {}

 protected:
  void FillExample(int64_t place, int64_t slot, BatchBuffer& buffer) override {
    Random random(seed_, RandomStream::kBatches, static_cast<uint64_t>(place));
    const int64_t tenth = steps_ / 10;
    const int64_t first_step = tenth + Below(random, tenth), second_step = steps_ / 2 + Below(random, tenth);
    const int64_t first = Below(random, kNamed), second = Below(random, kNamed);
    for (int64_t step = 0; step < steps_; ++step) {
      int64_t symbol = kNamed + Below(random, kSymbols - kNamed);
      if (step == first_step) symbol = first;
      if (step == second_step) symbol = second;
      float* const row = buffer.FeatureRow(step, slot);
      std::fill_n(row, kSymbols, 0.0f);
      row[symbol] = 1;
    }
    buffer.Class(0, slot) = static_cast<int32_t>(first + kNamed * second);
  }

 private:
  static int64_t Below(Random& random, int64_t bound) { return static_cast<int64_t>(random.NextBelow(bound)); }

  const int64_t steps_;
  const uint64_t seed_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> MakeTemporalOrder(const v1::TemporalOrderTask& spec, int64_t batch_size,
                                                              uint64_t seed) {
  FieldErrors errors;
  CheckIntegerRange(errors, "sequence_length", spec.sequence_length(), 10, 65'536);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  return std::make_unique<TemporalOrderSource>(spec.sequence_length(), batch_size, seed);
}

}  // namespace gradwatch::core
