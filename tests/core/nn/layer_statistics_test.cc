// What is measured of the layers while a network runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/nn/network.h"
#include "tests/support/allocation_count.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::AllocationCount;
using ::gradwatch::testing::ClassData;
using ::gradwatch::testing::CountsAllocations;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::ValueData;
using ::testing::ElementsAre;

constexpr int kBatch = 5;

struct Measured {
  Measured(const std::string& model, const DataShape& data, int64_t batch_size = kBatch)
      : batch(RandomBatch(data, batch_size, 3)) {
    auto created = Network<double>::Create(ParseModel(model), data, batch_size);
    EXPECT_THAT(created, IsOk());
    if (!created.ok()) std::abort();
    network = *std::move(created);
    network->Initialize(1);
    layers.resize(network->layers().size());
    network->MeasureLayers(layers);
  }

  void Fill(const std::string& name, double value) {
    for (const ParameterSegment& segment : network->layout().segments()) {
      if (segment.name != name) continue;
      const auto tensor = network->parameters().subspan(segment.offset, segment.size);
      std::fill(tensor.begin(), tensor.end(), value);
    }
  }
  void Run() { network->LossAndGradients(batch.get()); }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const LayerInfo& layer : network->layers()) names.push_back(layer.name + ":" + layer.kind);
    return names;
  }

  TestBatch batch;
  std::unique_ptr<Network<double>> network;
  std::vector<LayerStatistics> layers;
};

const char* const kTanh = "layers { activation { function: ACTIVATION_FUNCTION_TANH } }";
const char* const kRelu = "layers { activation { function: ACTIVATION_FUNCTION_RELU } }";
const char* const kSquaredError = " loss { function: LOSS_FUNCTION_SQUARED_ERROR }";

// Weights g * identity: every layer multiplies the backward signal by g.
TEST(LayerStatisticsOfNetworkTest, TheBackwardSignalGrowsByKnownGains) {
  std::string model;
  for (int i = 0; i < 4; ++i) {
    model += "layers { dense { units: 6 weight_init { method: INITIALIZER_METHOD_ZERO } } }";
  }
  Measured run(model + kSquaredError, ValueData(0, 6, 6));
  const double gains[] = {5, 2, 0.5, 3};
  for (int i = 0; i < 4; ++i) {
    for (const ParameterSegment& segment : run.network->layout().segments()) {
      if (segment.name != "dense" + std::to_string(i) + ".weight") continue;
      for (int k = 0; k < 6; ++k) run.network->parameters()[segment.offset + k * 7] = gains[i];
    }
  }
  run.Run();
  ASSERT_EQ(run.layers.size(), 4u);
  for (int i = 1; i < 4; ++i) {
    EXPECT_NEAR(run.layers[i].backward_growth, std::log(gains[i]), 1e-12) << i;
    EXPECT_NEAR(run.layers[i - 1].backward_norm / run.layers[i].backward_norm, gains[i], 1e-12) << i;
  }
  EXPECT_TRUE(run.layers[0].has_backward);
  EXPECT_TRUE(std::isnan(run.layers[0].backward_growth)) << "the input's gradient is not needed";
}

TEST(LayerStatisticsOfNetworkTest, OutputsAreMeasuredBeforeTheNextLayerWritesOverThem) {
  Measured run(std::string("layers { dense { units: 4 } }") + kRelu + "layers { dense { units: 2 } }" + kSquaredError,
               ValueData(0, 3, 2));
  run.Fill("dense0.weight", 0);
  run.Fill("dense0.bias", -2);
  run.Fill("dense2.bias", 0.5);
  run.Run();
  EXPECT_EQ(run.layers[0].output_mean, -2);
  EXPECT_EQ(run.layers[0].output_variance, 0);
  EXPECT_TRUE(std::isnan(run.layers[0].dead)) << "dense has no function of its own";
  EXPECT_EQ(run.layers[1].output_mean, 0);
  EXPECT_EQ(run.layers[1].dead, 1);
  EXPECT_GT(run.layers[1].backward_norm, 0);
  EXPECT_TRUE(std::isnan(run.layers[1].backward_growth)) << "nothing comes back through dead units";
  EXPECT_EQ(run.layers[0].backward_norm, 0);
  EXPECT_EQ(run.layers[2].output_mean, 0.5);
}

TEST(LayerStatisticsOfNetworkTest, SaturatedLayersSaySo) {
  Measured run(std::string("layers { rnn { units: 4 } } layers { last_step {} } layers { dense { units: 4 } }") +
                   kTanh + "layers { dense { units: 2 } }" + kSquaredError,
               ValueData(3, 2, 2));
  run.Fill("rnn0.bias_ih", 20);
  run.Fill("dense2.weight", 0);
  run.Fill("dense2.bias", 0.1);
  run.Run();
  EXPECT_EQ(run.layers[0].saturated, 1);
  EXPECT_TRUE(std::isnan(run.layers[1].saturated));
  EXPECT_EQ(run.layers[3].saturated, 0);
  EXPECT_DOUBLE_EQ(run.layers[3].output_mean, std::tanh(0.1));
}

// Of gated layers the gates count: a closed or open one passes no gradient to its weights.
TEST(LayerStatisticsOfNetworkTest, GatedLayersTellTheShareOfTheirSaturatedGates) {
  struct Case {
    const char* kind;
    int gates;
    int open;  // gates whose bias is made large
  };
  for (const Case& c : {Case{"lstm", 4, 0}, Case{"lstm", 4, 1}, Case{"lstm", 4, 3}, Case{"lstm", 4, 4},
                        Case{"gru", 3, 0}, Case{"gru", 3, 2}, Case{"gru", 3, 3}}) {
    Measured run(std::string("layers { ") + c.kind + " { units: 5 } } layers { last_step {} } " +
                     "layers { dense { units: 2 } }" + kSquaredError,
                 ValueData(3, 2, 2));
    const std::string name = std::string(c.kind) + "0";
    for (const char* const tensor : {".weight_ih", ".weight_hh", ".bias_ih"}) run.Fill(name + tensor, 0);
    for (const ParameterSegment& segment : run.network->layout().segments()) {
      if (segment.name != name + ".bias_ih") continue;
      for (int i = 0; i < 5 * c.open; ++i) run.network->parameters()[segment.offset + i] = i % 2 == 0 ? 30 : -30;
    }
    run.Run();
    EXPECT_DOUBLE_EQ(run.layers[0].saturated, static_cast<double>(c.open) / c.gates) << c.kind;
    EXPECT_TRUE(std::isnan(run.layers[0].dead));
    const std::vector<double> once = {run.layers[0].saturated, run.layers[0].backward_norm};
    run.Run();
    EXPECT_EQ(run.layers[0].saturated, once[0]);
  }
}

// A sigmoid gate is saturated below 0.03 and above 0.97, the cell's tanh from 0.97 on both sides.
TEST(LayerStatisticsOfNetworkTest, GatesOfBothKindsHaveTheLimitsOfTheirFunctions) {
  Measured run(
      std::string("layers { lstm { units: 1 } } layers { last_step {} } layers { dense { units: 1 } }") + kSquaredError,
      ValueData(1, 1, 1));
  const auto set = [&](double i, double f, double g, double o) {
    for (const ParameterSegment& segment : run.network->layout().segments()) {
      if (segment.name != "lstm0.bias_ih") continue;
      std::ranges::copy(std::vector<double>{i, f, g, o}, run.network->parameters().begin() + segment.offset);
    }
  };
  run.Fill("lstm0.weight_ih", 0);
  const double low = std::log(0.03 / 0.97), tanh_limit = std::atanh(0.97);
  set(low + 0.01, -low - 0.01, tanh_limit - 0.01, 0);
  run.Run();
  EXPECT_EQ(run.layers[0].saturated, 0);
  set(low - 0.01, -low + 0.01, tanh_limit + 0.01, 0);
  run.Run();
  EXPECT_EQ(run.layers[0].saturated, 0.75);
  set(0, 0, -tanh_limit - 0.01, 3);
  run.Run();
  EXPECT_EQ(run.layers[0].saturated, 0.25) << "a sigmoid of 3 is 0.95";
}

TEST(LayerStatisticsOfNetworkTest, LayersWithinBlocksAreMeasuredToo) {
  Measured run(std::string("layers { dense { units: 4 } } layers { residual { layers { dense { units: 4 } } ") + kTanh +
                   "} } layers { dense { units: 2 } }" + kSquaredError,
               ValueData(0, 3, 2));
  EXPECT_THAT(run.Names(), ElementsAre("dense0:dense", "residual1.dense0:dense", "residual1.activation1:activation",
                                       "residual1:residual", "dense2:dense"));
  run.Fill("residual1.dense0.weight", 0);
  run.Run();
  // The branch is cut, so the block passes everything on as it is.
  EXPECT_EQ(run.layers[2].output_variance, 0);
  EXPECT_EQ(run.layers[3].output_variance, run.layers[0].output_variance);
  EXPECT_EQ(run.layers[3].backward_growth, 0);
  EXPECT_EQ(run.layers[2].backward_norm, run.layers[3].backward_norm);
  EXPECT_TRUE(std::isnan(run.layers[1].backward_growth));
}

TEST(LayerStatisticsOfNetworkTest, MeasuringChangesNothingAndTakesNoMemory) {
  const std::string model = std::string("layers { dense { units: 9 } }") + kRelu +
                            "layers { residual { layers { dense { units: 9 } } " + kTanh + "} }" +
                            "layers { dense { units: 3 } } loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }";
  Measured run(model, ClassData(0, 7, 3), 33);
  run.Run();
  const std::vector<double> watched(run.network->gradients().begin(), run.network->gradients().end());
  const int64_t before = AllocationCount();
  run.Run();
  if (CountsAllocations()) {
    EXPECT_EQ(AllocationCount(), before);
  }
  run.network->MeasureLayers({});
  run.Run();
  const std::vector<double> alone(run.network->gradients().begin(), run.network->gradients().end());
  EXPECT_EQ(watched, alone);
}

TEST(LayerStatisticsOfNetworkTest, JudgingLeavesTheMeasuredBatchAlone) {
  Measured run(std::string("layers { dense { units: 4 } }") + kTanh + "layers { dense { units: 2 } }" + kSquaredError,
               ValueData(0, 3, 2));
  run.Run();
  const double mean = run.layers[0].output_mean;
  run.network->Evaluate(RandomBatch(ValueData(0, 3, 2), kBatch, 99).get());
  EXPECT_EQ(run.layers[0].output_mean, mean);
}

}  // namespace
}  // namespace gradwatch::core
