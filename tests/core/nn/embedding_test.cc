// What an embedding does exactly.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/nn/network.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::TokenData;

constexpr char kRest[] = " layers { dense { units: 4 } } loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }";
constexpr int64_t kSteps = 7, kVocabulary = 11, kUnits = 5, kBatch = 3;

std::unique_ptr<Network<double>> Make(const std::string& first) {
  auto network = Network<double>::Create(ParseModel(first + kRest), TokenData(kSteps, kVocabulary, 4, true), kBatch);
  if (!network.ok()) std::abort();
  (*network)->Initialize(1);
  return *std::move(network);
}

std::span<double> Tensor(Network<double>* network, std::span<double> arena, int segment) {
  const ParameterSegment& s = network->layout().segments()[segment];
  return arena.subspan(s.offset, s.size);
}
std::span<double> Parameter(Network<double>* n, int segment) { return Tensor(n, n->parameters(), segment); }
std::span<double> Gradient(Network<double>* n, int segment) { return Tensor(n, n->gradients(), segment); }

TEST(EmbeddingTest, IsADenseLayerOnOneHotRows) {
  auto dense = Make("layers { dense { units: 5 bias: false } }"), embedding = Make("layers { embedding { units: 5 } }");
  for (int64_t v = 0; v < kVocabulary; ++v) {
    for (int64_t j = 0; j < kUnits; ++j) {
      Parameter(embedding.get(), 0)[v * kUnits + j] = Parameter(dense.get(), 0)[j * kVocabulary + v];
    }
  }
  for (const int s : {1, 2}) std::ranges::copy(Parameter(dense.get(), s), Parameter(embedding.get(), s).begin());
  const TestBatch batch = RandomBatch(TokenData(kSteps, kVocabulary, 4, true), kBatch, 1);
  EXPECT_EQ(embedding->LossAndGradients(batch.get()), dense->LossAndGradients(batch.get()));
  for (int64_t v = 0; v < kVocabulary; ++v) {
    for (int64_t j = 0; j < kUnits; ++j) {
      EXPECT_EQ(Gradient(embedding.get(), 0)[v * kUnits + j], Gradient(dense.get(), 0)[j * kVocabulary + v]);
    }
  }
}

TEST(EmbeddingTest, PositionsAreAddedPerStep) {
  auto plain = Make("layers { embedding { units: 5 } }");
  auto network = Make("layers { embedding { units: 5 positions: true } }");
  ASSERT_EQ(network->layout().segments()[1].name, "embedding0.positions");
  EXPECT_EQ(network->layout().segments()[1].shape, (std::vector<int64_t>{kSteps, kUnits}));
  // The same vector at each step is the same as that vector in each row of the table.
  for (int64_t t = 0; t < kSteps; ++t) {
    for (int64_t j = 0; j < kUnits; ++j) Parameter(network.get(), 1)[t * kUnits + j] = 0.1 * j;
  }
  for (int64_t i = 0; i < kVocabulary * kUnits; ++i) {
    Parameter(plain.get(), 0)[i] = Parameter(network.get(), 0)[i] + 0.1 * (i % kUnits);
  }
  for (const int s : {1, 2}) std::ranges::copy(Parameter(plain.get(), s), Parameter(network.get(), s + 1).begin());
  const TestBatch batch = RandomBatch(TokenData(kSteps, kVocabulary, 4, true), kBatch, 1);
  EXPECT_NEAR(network->LossAndGradients(batch.get()), plain->LossAndGradients(batch.get()), 1e-15);
  for (int64_t j = 0; j < kUnits; ++j) {
    double by_token = 0, by_step = 0;
    for (int64_t v = 0; v < kVocabulary; ++v) by_token += Gradient(network.get(), 0)[v * kUnits + j];
    for (int64_t t = 0; t < kSteps; ++t) by_step += Gradient(network.get(), 1)[t * kUnits + j];
    EXPECT_NEAR(by_token, by_step, 1e-15);
  }
}

TEST(EmbeddingTest, StartsFromAStandardNormalDistribution) {
  auto network =
      Network<double>::Create(ParseModel(std::string("layers { embedding { units: 100 positions: true } }") + kRest),
                              TokenData(90, 110, 4, true), 2);
  ASSERT_THAT(network, ::gradwatch::testing::IsOk());
  (*network)->Initialize(1);
  for (const int segment : {0, 1}) {
    const auto values = Parameter(network->get(), segment);
    double sum = 0, squares = 0;
    for (const double v : values) sum += v, squares += v * v;
    const double count = static_cast<double>(values.size());
    EXPECT_NEAR(sum / count, 0, 4 / std::sqrt(count));
    EXPECT_NEAR(squares / count, 1, 4 * std::sqrt(2 / count));
  }
}

}  // namespace
}  // namespace gradwatch::core
