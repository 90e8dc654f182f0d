#include "tests/support/gradient_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "core/base/random.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::testing {
namespace {

constexpr double kStep = 1e-5, kTolerance = 1e-8, kRounding = 1e-10;
constexpr int64_t kCoordinates = 64;

using Vector = std::vector<double>;

double Norm(const Vector& v) { return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0)); }

// Derivative of the loss by the parameters at `offset`, along `direction`.
double NumericDerivative(core::Network<double>* network, const core::Batch& batch, int64_t offset,
                         const Vector& direction) {
  const auto parameters = network->parameters().subspan(offset, direction.size());
  const Vector saved(parameters.begin(), parameters.end());
  double loss[2];
  for (const int side : {0, 1}) {
    for (size_t i = 0; i < saved.size(); ++i) parameters[i] = saved[i] + (side == 0 ? -kStep : kStep) * direction[i];
    loss[side] = network->Loss(batch);
  }
  std::copy(saved.begin(), saved.end(), parameters.begin());
  return (loss[1] - loss[0]) / (2 * kStep);
}

void ExpectClose(const Vector& analytic, const Vector& numeric, double global_norm, const std::string& what) {
  ASSERT_EQ(analytic.size(), numeric.size());
  Vector difference(analytic.size());
  for (size_t i = 0; i < analytic.size(); ++i) difference[i] = analytic[i] - numeric[i];
  EXPECT_LE(Norm(difference), kTolerance * (Norm(analytic) + Norm(numeric)) + kRounding * global_norm)
      << what << ": analytic norm " << Norm(analytic) << ", numeric norm " << Norm(numeric);
}

void CheckCoordinates(core::Network<double>* network, const core::Batch& batch, const core::ParameterSegment& segment,
                      const Vector& gradient, double global_norm, core::Random random) {
  Vector analytic, numeric;
  for (int64_t n = 0; n < std::min(kCoordinates, segment.size); ++n) {
    const int64_t i = segment.size <= kCoordinates ? n : static_cast<int64_t>(random.NextBelow(segment.size));
    analytic.push_back(gradient[i]);
    numeric.push_back(NumericDerivative(network, batch, segment.offset + i, {1.0}));
  }
  ExpectClose(analytic, numeric, global_norm, segment.name);
}

void CheckDirection(core::Network<double>* network, const core::Batch& batch, const core::ParameterSegment& segment,
                    const Vector& gradient, double global_norm, core::Random random) {
  Vector direction(segment.size);
  for (double& d : direction) d = random.NextNormal();
  // Not along the gradient alone, but so much along it that the derivative cannot cancel down to rounding.
  const double along = 2 * Norm(direction) / (Norm(gradient) + 1e-300);
  for (int64_t i = 0; i < segment.size; ++i) direction[i] += along * gradient[i];
  const double norm = Norm(direction);
  for (double& d : direction) d /= norm;
  const double analytic = std::inner_product(direction.begin(), direction.end(), gradient.begin(), 0.0);
  ExpectClose({analytic}, {NumericDerivative(network, batch, segment.offset, direction)}, global_norm,
              segment.name + " along a direction");
}

}  // namespace

void CheckGradients(core::Network<double>* network, const core::Batch& batch) {
  network->LossAndGradients(batch);
  const Vector gradients(network->gradients().begin(), network->gradients().end());
  uint64_t index = 0;
  for (const core::ParameterSegment& segment : network->layout().segments()) {
    const Vector gradient(gradients.begin() + segment.offset, gradients.begin() + segment.offset + segment.size);
    const core::Random random(3, core::RandomStream::kSyntheticData, index++);
    CheckCoordinates(network, batch, segment, gradient, Norm(gradients), random);
    CheckDirection(network, batch, segment, gradient, Norm(gradients), random);
  }
}

void Descend(core::Network<double>* network, const core::Batch& batch, int steps, double rate) {
  for (int step = 0; step < steps; ++step) {
    network->LossAndGradients(batch);
    const auto parameters = network->parameters(), gradients = network->gradients();
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i] -= rate * gradients[i];
  }
}

void CheckModelGradients(const std::string& model, const core::DataShape& data, uint64_t seed) {
  constexpr int64_t kBatch = 5;
  auto network = core::Network<double>::Create(ParseModel(model), data, kBatch);
  ASSERT_THAT(network, IsOk());
  (*network)->Initialize(seed);
  core::Random random(seed, core::RandomStream::kSyntheticData, 99);
  for (double& parameter : (*network)->parameters()) {
    if (parameter == 0) parameter = 0.1 * random.NextNormal();
  }
  const TestBatch batch = RandomBatch(data, kBatch, seed);
  CheckGradients(network->get(), batch.get());
  const double before = (*network)->Loss(batch.get());
  Descend(network->get(), batch.get(), 50, 0.02);
  EXPECT_LT((*network)->Loss(batch.get()), before);
  SCOPED_TRACE("after 50 steps");
  CheckGradients(network->get(), batch.get());
}

}  // namespace gradwatch::testing
