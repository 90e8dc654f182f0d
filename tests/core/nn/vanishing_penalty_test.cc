// Omega against its formulas, against differences of itself, and as a part of an rnn's gradient.
#include "core/nn/vanishing_penalty.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/nn/network.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::ValueData;
using Vector = std::vector<double>;

Vector Normals(int64_t count, uint64_t index) {
  Random random(1, RandomStream::kSyntheticData, index);
  Vector numbers(count);
  for (double& n : numbers) n = random.NextNormal();
  return numbers;
}

// By the formulas, in their convention of row vectors: h_t = f(h_{t-1} W + ...), so W is W_hh transposed.
struct Reference {
  double omega = 0;
  Vector gradient;  // of W_hh
};
Reference ByFormulas(int64_t rows, int64_t units, const Vector& d, const Vector& u, const double* weight_hh) {
  Reference result{.gradient = Vector(units * units)};
  double count = 0;
  for (int64_t r = 0; r < rows; ++r) {
    double dd = 0, vv = 0;
    Vector v(units);  // u W^T
    for (int64_t j = 0; j < units; ++j) {
      dd += d[r * units + j] * d[r * units + j];
      for (int64_t i = 0; i < units; ++i) v[j] += u[r * units + i] * weight_hh[i * units + j];
      vv += v[j] * v[j];
    }
    if (dd < 1e-20) continue;
    ++count;
    const double ratio = vv / dd;
    result.omega += (ratio - 1) * (ratio - 1);
    for (int64_t i = 0; i < units; ++i) {
      for (int64_t j = 0; j < units; ++j) {
        result.gradient[i * units + j] += 4 * (ratio - 1) / dd * v[j] * u[r * units + i];
      }
    }
  }
  if (count == 0) return result;
  result.omega /= count;
  for (double& g : result.gradient) g /= count;
  return result;
}

// A penalty with memory of its own.
class VanishingPenaltyTest : public ::testing::Test {
 protected:
  static constexpr int64_t kRows = 30, kUnits = 7;

  VanishingPenaltyTest() : plan_(1, &layout_), penalty_(kFactor, kRows, kUnits, &plan_) {
    plan_.NeedScratch(penalty_.scratch_size());
    arena_ = Arena<double>(plan_.total());
    for (int64_t i = 0; i < kRows * kUnits; ++i) da_[i] *= std::abs(std::sin(i)) * dh_[i];
  }

  double Omega(const Vector& weight, Vector* gradient) {
    Pass<double> pass = plan_.Place<double>(arena_.data(), nullptr, nullptr);
    Vector norms(kRows);
    penalty_.MeasureNorms(kRows, dh_.data(), norms.data());
    return penalty_.AddGradient(norms.data(), da_.data(), weight.data(), gradient->data(), pass.scratch, pass.product);
  }

  static constexpr double kFactor = 2.5;
  ParameterLayout layout_;
  MemoryPlan plan_;
  VanishingPenalty<double> penalty_;
  Arena<double> arena_;
  Vector dh_ = Normals(kRows * kUnits, 1), da_ = Vector(kRows * kUnits, 1.0), weight_ = Normals(kUnits * kUnits, 2);
};

TEST_F(VanishingPenaltyTest, FollowsTheFormulas) {
  for (const int64_t vanished : {int64_t{0}, int64_t{1}, int64_t{11}, kRows}) {
    SCOPED_TRACE(vanished);
    for (int64_t i = 0; i < vanished * kUnits; ++i) dh_[i] *= 1e-12;
    const Reference expected = ByFormulas(kRows, kUnits, dh_, da_, weight_.data());
    Vector gradient(kUnits * kUnits, 0.25);
    EXPECT_NEAR(Omega(weight_, &gradient), expected.omega, 1e-14 * expected.omega);
    EXPECT_EQ(expected.omega == 0, vanished == kRows);
    for (int64_t i = 0; i < kUnits * kUnits; ++i) {
      EXPECT_NEAR(gradient[i], 0.25 + kFactor * expected.gradient[i], 1e-12 * (1 + std::abs(expected.gradient[i])));
    }
  }
}

TEST_F(VanishingPenaltyTest, ItsGradientIsThatOfOmegaInTheWeightAlone) {
  Vector gradient(kUnits * kUnits), unused(kUnits * kUnits);
  Omega(weight_, &gradient);
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < kUnits * kUnits; ++i) {
    constexpr double kStep = 1e-5;
    Vector up = weight_, down = weight_;
    up[i] += kStep;
    down[i] -= kStep;
    const double numeric = kFactor * (Omega(up, &unused) - Omega(down, &unused)) / (2 * kStep);
    difference += std::pow(gradient[i] - numeric, 2);
    norm += numeric * numeric;
  }
  EXPECT_LT(std::sqrt(difference), 1e-8 * std::sqrt(norm));
}

// Where da W_hh is as long as dh nothing is to be done.
TEST_F(VanishingPenaltyTest, IsZeroWhereGradientsKeepTheirNorm) {
  da_ = dh_;
  Vector identity(kUnits * kUnits), gradient(kUnits * kUnits);
  for (int64_t i = 0; i < kUnits; ++i) identity[i * kUnits + (i + 1) % kUnits] = 1;
  EXPECT_LT(Omega(identity, &gradient), 1e-30);
  for (const double g : gradient) EXPECT_LT(std::abs(g), 1e-14);
}

TEST_F(VanishingPenaltyTest, NanComesOut) {
  dh_[3 * kUnits] = std::numeric_limits<double>::quiet_NaN();
  Vector gradient(kUnits * kUnits);
  EXPECT_TRUE(std::isnan(Omega(weight_, &gradient)));
  EXPECT_TRUE(std::isnan(gradient[0]));
}

// An rnn under squared error at every step, back through time by hand.
TEST(VanishingPenaltyInRnnTest, IsAddedToTheGradientOfTheRecurrentWeightAlone) {
  constexpr int64_t kSteps = 6, kBatch = 3, kUnits = 4, kRows = kSteps * kBatch;
  constexpr double kFactor = 1.5;
  const DataShape data = ValueData(kSteps, 2, kUnits, true);
  const auto make = [&](const std::string& fields) {
    auto network = Network<double>::Create(
        ParseModel("layers { rnn { units: 4 " + fields + " } } loss { function: LOSS_FUNCTION_SQUARED_ERROR }"), data,
        kBatch);
    if (!network.ok()) std::abort();
    (*network)->Initialize(1);
    return *std::move(network);
  };
  auto plain = make(""), with = make("vanishing_penalty: 1.5");
  const TestBatch batch = RandomBatch(data, kBatch, 1);
  EXPECT_EQ(with->LossAndGradients(batch.get()), plain->LossAndGradients(batch.get()));

  const ParameterSegment& segment = plain->layout().segments()[1];
  const double* const weight = plain->parameters().data() + segment.offset;
  const auto h = plain->outputs();
  Vector d(kRows * kUnits), u(kRows * kUnits);
  for (int64_t r = kRows - 1; r >= 0; --r) {
    for (int64_t j = 0; j < kUnits; ++j) {
      const int64_t at = r * kUnits + j;
      d[at] = 2 * (h[at] - batch.values[at]) / (kRows * kUnits);
      for (int64_t i = 0; r + kBatch < kRows && i < kUnits; ++i) {
        d[at] += u[(r + kBatch) * kUnits + i] * weight[i * kUnits + j];
      }
      u[at] = d[at] * (1 - h[at] * h[at]);
    }
  }
  const Reference expected = ByFormulas(kRows, kUnits, d, u, weight);
  double largest = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(plain->gradients().size()); ++i) {
    const bool recurrent = i >= segment.offset && i < segment.offset + segment.size;
    const double added = recurrent ? kFactor * expected.gradient[i - segment.offset] : 0;
    EXPECT_NEAR(with->gradients()[i] - plain->gradients()[i], added, 1e-13 * (1 + std::abs(added))) << i;
    largest = std::max(largest, std::abs(added));
  }
  EXPECT_GT(largest, 0.1);
}

}  // namespace
}  // namespace gradwatch::core
