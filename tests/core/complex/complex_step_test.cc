// Every layer and loss against complex steps: the derivative along p is Im L(p + ih) / h, exact but for rounding, since
// nothing is subtracted (Squire and Trapp 1998). It sees errors that central differences cannot.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <vector>

#include "core/base/random.h"
#include "core/nn/network.h"
#include "tests/support/model_cases.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::testing {
namespace {

using Complex = std::complex<double>;

constexpr double kStep = 1e-30, kTolerance = 1e-12, kRounding = 1e-14;
constexpr int64_t kBatch = 5, kCoordinates = 32;

double Norm(const std::vector<double>& v) {
  double sum = 0;
  for (const double x : v) sum += x * x;
  return std::sqrt(sum);
}

// The two networks with the same parameters, biases moved away from where they start.
struct Pair {
  std::unique_ptr<core::Network<double>> real;
  std::unique_ptr<core::Network<Complex>> complex;

  explicit Pair(const ModelCase& c) {
    auto made = core::Network<double>::Create(ParseModel(c.model), c.data, kBatch);
    auto complex_made = core::Network<Complex>::Create(ParseModel(c.model), c.data, kBatch);
    EXPECT_THAT(made, IsOk());
    EXPECT_THAT(complex_made, IsOk());
    real = *std::move(made);
    complex = *std::move(complex_made);
    real->Initialize(c.seed);
    complex->Initialize(c.seed);
    core::Random random(c.seed, core::RandomStream::kSyntheticData, 99);
    for (double& p : real->parameters()) p += p == 0 || p == 1 ? 0.1 * random.NextNormal() : 0;
    Copy();
  }

  void Copy() { std::copy(real->parameters().begin(), real->parameters().end(), complex->parameters().begin()); }

  void Descend(const core::Batch& batch, int steps) {
    for (int step = 0; step < steps; ++step) {
      real->LossAndGradients(batch);
      for (size_t i = 0; i < real->parameters().size(); ++i) real->parameters()[i] -= 0.02 * real->gradients()[i];
    }
    Copy();
  }
};

// A bias before batch norm has no gradient but for rounding: hence the allowance by the whole gradient's norm.
void CheckTensor(const Pair& networks, const core::Batch& batch, const core::ParameterSegment& segment,
                 double global_norm) {
  core::Random random(3, core::RandomStream::kSyntheticData, segment.offset);
  std::vector<double> analytic, difference, numeric;
  for (int64_t n = 0; n < std::min(kCoordinates, segment.size); ++n) {
    const int64_t i =
        segment.offset + (segment.size <= kCoordinates ? n : static_cast<int64_t>(random.NextBelow(segment.size)));
    Complex& parameter = networks.complex->parameters()[i];
    parameter += Complex(0, kStep);
    numeric.push_back(networks.complex->Loss(batch).imag() / kStep);
    parameter = parameter.real();
    analytic.push_back(networks.real->gradients()[i]);
    difference.push_back(analytic.back() - numeric.back());
  }
  EXPECT_LE(Norm(difference), kTolerance * (Norm(analytic) + Norm(numeric)) + kRounding * global_norm)
      << segment.name << ": analytic norm " << Norm(analytic) << ", by complex steps " << Norm(numeric);
}

void CheckNetwork(const Pair& networks, const core::Batch& batch) {
  networks.real->LossAndGradients(batch);
  const double global_norm = Norm({networks.real->gradients().begin(), networks.real->gradients().end()});
  for (const core::ParameterSegment& segment : networks.real->layout().segments()) {
    CheckTensor(networks, batch, segment, global_norm);
  }
}

class ComplexStepTest : public ::testing::TestWithParam<ModelCase> {};

TEST_P(ComplexStepTest, MatchesGradientsAtTheStartAndAfterTraining) {
  Pair networks(GetParam());
  const TestBatch batch = RandomBatch(GetParam().data, kBatch, GetParam().seed);
  CheckNetwork(networks, batch.get());
  networks.Descend(batch.get(), 30);
  SCOPED_TRACE("after 30 steps");
  CheckNetwork(networks, batch.get());
}

INSTANTIATE_TEST_SUITE_P(Layers, ComplexStepTest, ::testing::ValuesIn(AllModelCases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gradwatch::testing
