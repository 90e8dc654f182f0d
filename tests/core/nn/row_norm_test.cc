#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>

#include "core/nn/network.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::ValueData;

constexpr int64_t kFeatures = 37, kBatch = 4;

template <typename T>
std::unique_ptr<Network<T>> Make(const std::string& layer) {
  auto network =
      Network<T>::Create(ParseModel("layers { " + layer + " } loss { function: LOSS_FUNCTION_SQUARED_ERROR }"),
                         ValueData(0, kFeatures, kFeatures), kBatch);
  EXPECT_THAT(network, IsOk());
  (*network)->Initialize(1);
  return *std::move(network);
}

// Features of `scale` times a normal number plus `offset`.
TestBatch Features(float scale, float offset) {
  TestBatch batch = RandomBatch(ValueData(0, kFeatures, kFeatures), kBatch, 1);
  for (float& x : batch.features) x = scale * x + offset;
  return batch;
}

struct RowMoments {
  double mean = 0, square = 0;  // means of y and y^2
};

template <typename T>
RowMoments Measure(const Network<T>& network, int64_t row) {
  RowMoments moments;
  for (int64_t i = 0; i < kFeatures; ++i) {
    const double y = network.outputs()[row * kFeatures + i];
    moments.mean += y / kFeatures;
    moments.square += y * y / kFeatures;
  }
  return moments;
}

// Also of numbers far from zero, and of numbers whose squares a float cannot hold.
TEST(RowNormTest, LayerNormGivesMeanZeroAndVarianceOne) {
  auto network = Make<float>("layer_norm {}");
  for (const auto& [scale, offset] : {std::pair{1.0f, 0.0f}, {1.0f, 1000.0f}, {1e25f, 0.0f}}) {
    SCOPED_TRACE(scale);
    network->Loss(Features(scale, offset).get());
    for (int64_t row = 0; row < kBatch; ++row) {
      EXPECT_NEAR(Measure(*network, row).mean, 0, offset > 0 ? 1e-4 : 1e-6);
      EXPECT_NEAR(Measure(*network, row).square, 1, 3e-5);
    }
  }
}

TEST(RowNormTest, RmsNormGivesMeanSquareOne) {
  auto network = Make<float>("rms_norm {}");
  for (const float scale : {1.0f, 1e25f}) {
    SCOPED_TRACE(scale);
    network->Loss(Features(scale, 0).get());
    for (int64_t row = 0; row < kBatch; ++row) EXPECT_NEAR(Measure(*network, row).square, 1, 3e-5);
  }
}

TEST(RowNormTest, ConstantRowsGiveTheBias) {
  auto network = Make<float>("layer_norm {}");
  network->parameters()[network->layout().segments()[1].offset + 2] = 0.5;
  network->Loss(Features(0, 7).get());
  EXPECT_EQ(network->outputs()[1], 0);
  EXPECT_EQ(network->outputs()[2], 0.5);
}

// A row does not know of the others, in training or not.
TEST(RowNormTest, RowsAreIndependent) {
  for (const char* layer : {"layer_norm {}", "rms_norm {}"}) {
    auto network = Make<double>(layer);
    TestBatch batch = Features(1, 0);
    network->Loss(batch.get());
    const double before = network->outputs()[3];
    for (int64_t i = kFeatures; i < kBatch * kFeatures; ++i) batch.features[i] *= 100;
    network->Evaluate(batch.get());
    EXPECT_EQ(network->outputs()[3], before) << layer;
  }
}

}  // namespace
}  // namespace gradwatch::core
