// What holds for every layer and loss: float follows double, and no pass takes memory.
#include "tests/support/model_cases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "core/nn/network.h"
#include "tests/support/allocation_count.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::testing {
namespace {

template <typename T>
std::unique_ptr<core::Network<T>> Make(const ModelCase& c) {
  auto network = core::Network<T>::Create(ParseModel(c.model), c.data, 5);
  EXPECT_THAT(network, IsOk());
  (*network)->Initialize(c.seed);
  return *std::move(network);
}

class ModelCaseTest : public ::testing::TestWithParam<ModelCase> {};

TEST_P(ModelCaseTest, FloatFollowsDouble) {
  auto floats = Make<float>(GetParam());
  auto doubles = Make<double>(GetParam());
  std::copy(floats->parameters().begin(), floats->parameters().end(), doubles->parameters().begin());
  const TestBatch batch = RandomBatch(GetParam().data, 5, GetParam().seed);
  EXPECT_NEAR(floats->LossAndGradients(batch.get()), doubles->LossAndGradients(batch.get()), 1e-6);
  double norm = 0, difference = 0;
  for (size_t i = 0; i < doubles->gradients().size(); ++i) {
    norm += std::pow(doubles->gradients()[i], 2);
    difference += std::pow(doubles->gradients()[i] - floats->gradients()[i], 2);
  }
  EXPECT_LT(std::sqrt(difference / norm), 1e-5);
}

TEST_P(ModelCaseTest, NoPassTakesMemory) {
  if (!CountsAllocations()) GTEST_SKIP() << "not counted under a sanitizer";
  auto network = Make<float>(GetParam());
  const TestBatch owner = RandomBatch(GetParam().data, 5, GetParam().seed);
  const core::Batch batch = owner.get();
  const int64_t before = AllocationCount();
  network->LossAndGradients(batch);
  network->Loss(batch, 1);
  network->Evaluate(batch);
  EXPECT_EQ(AllocationCount() - before, 0);
}

INSTANTIATE_TEST_SUITE_P(Layers, ModelCaseTest, ::testing::ValuesIn(AllModelCases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gradwatch::testing
