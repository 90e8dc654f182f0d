#include "core/data/spirals_source.h"

#include <cmath>
#include <numbers>

#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "core/data/example_source.h"

namespace gradwatch::core {
namespace {

constexpr double kTurns = 1.5;
constexpr double kMaxNoise = 1e6;  // far beyond any use, and its points are still finite in float

DataShape SpiralsShape(int64_t arms) {
  DataShape shape;
  shape.input.features = 2;
  shape.outputs = arms;
  return shape;
}

class SpiralsSource final : public ExampleSource {
 public:
  SpiralsSource(int64_t arms, double noise, int64_t batch_size, uint64_t seed)
      : ExampleSource(SpiralsShape(arms), batch_size), arms_(arms), noise_(noise), seed_(seed) {}

 protected:
  void FillExample(int64_t place, int64_t slot, BatchBuffer& buffer) override {
    Random random(seed_, RandomStream::kBatches, static_cast<uint64_t>(place));
    const auto arm = static_cast<int32_t>(random.NextBelow(arms_));
    const double radius = random.NextUniform();
    const double angle = 2 * std::numbers::pi * (static_cast<double>(arm) / arms_ + kTurns * radius);
    float* const row = buffer.FeatureRow(0, slot);
    row[0] = static_cast<float>(radius * std::cos(angle) + noise_ * random.NextNormal());
    row[1] = static_cast<float>(radius * std::sin(angle) + noise_ * random.NextNormal());
    buffer.Class(0, slot) = arm;
  }

 private:
  const int64_t arms_;
  const double noise_;
  const uint64_t seed_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> MakeSpirals(const v1::SpiralsTask& spec, int64_t batch_size,
                                                        uint64_t seed) {
  const int32_t arms = spec.has_arms() ? spec.arms() : 2;
  const double noise = spec.has_noise() ? spec.noise() : 0.05;
  FieldErrors errors;
  CheckIntegerRange(errors, "arms", arms, 2, 64);
  CheckNumberRange(errors, "noise", noise, 0, kMaxNoise);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  return std::make_unique<SpiralsSource>(arms, noise, batch_size, seed);
}

}  // namespace gradwatch::core
