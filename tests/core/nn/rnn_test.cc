// What a recurrent layer does exactly.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/nn/network.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::ClassData;
using ::gradwatch::testing::OneHot;
using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::ValueData;

const char* const kEnd =
    " layers { last_step {} } layers { dense { units: 1 } }"
    " loss { function: LOSS_FUNCTION_SQUARED_ERROR }";

std::unique_ptr<Network<double>> Make(const std::string& model, const DataShape& data, int64_t batch) {
  auto network = Network<double>::Create(ParseModel(model), data, batch);
  if (!network.ok()) std::abort();
  (*network)->Initialize(1);
  return *std::move(network);
}

double* Parameter(Network<double>* network, int segment) {
  return network->parameters().data() + network->layout().segments()[segment].offset;
}
const double* Gradient(Network<double>* network, int segment) {
  return network->gradients().data() + network->layout().segments()[segment].offset;
}

// Segments of an rnn followed by a dense.
enum { kWeightIh, kWeightHh, kBiasIh, kBiasHh, kWeight, kBias };

TEST(RnnTest, OneStepIsADenseTanh) {
  const DataShape sequence = ValueData(1, 3, 1), flat = ValueData(0, 3, 1);
  auto rnn = Make(absl::StrCat("layers { rnn { units: 4 } }", kEnd), sequence, 5);
  auto dense = Make(
      "layers { dense { units: 4 } } layers { activation { function: ACTIVATION_FUNCTION_TANH } }"
      "layers { dense { units: 1 } } loss { function: LOSS_FUNCTION_SQUARED_ERROR }",
      flat, 5);
  for (int i = 0; i < 4; ++i) {
    Parameter(rnn.get(), kBiasIh)[i] = 0.1 * i;
    Parameter(rnn.get(), kBiasHh)[i] = -0.3;
    Parameter(dense.get(), 1)[i] = 0.1 * i - 0.3;
  }
  std::copy_n(Parameter(rnn.get(), kWeightIh), 12, Parameter(dense.get(), 0));
  std::copy_n(Parameter(rnn.get(), kWeight), 4, Parameter(dense.get(), 2));
  const TestBatch batch = RandomBatch(flat, 5, 1);
  EXPECT_NEAR(rnn->LossAndGradients(batch.get()), dense->LossAndGradients(batch.get()), 1e-15);
  for (int i = 0; i < 12; ++i) EXPECT_NEAR(Gradient(rnn.get(), kWeightIh)[i], Gradient(dense.get(), 0)[i], 1e-15);
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(Gradient(rnn.get(), kBiasIh)[i], Gradient(dense.get(), 1)[i], 1e-15);
    EXPECT_EQ(Gradient(rnn.get(), kBiasHh)[i], Gradient(rnn.get(), kBiasIh)[i]);
  }
  for (int i = 0; i < 16; ++i) EXPECT_EQ(Gradient(rnn.get(), kWeightHh)[i], 0);
}

// With W_hh the identity and every unit switched on, a gradient goes back through all steps unchanged.
TEST(RnnTest, IdentityCarriesTheGradientUnchanged) {
  constexpr int64_t kSteps = 20, kBatch = 3, kUnits = 4;
  auto network = Make(
      "layers { rnn { units: 4 nonlinearity: ACTIVATION_FUNCTION_RELU"
      " recurrent_init { method: INITIALIZER_METHOD_IDENTITY } } }" +
          std::string(kEnd),
      ValueData(kSteps, 2, 1), kBatch);
  for (int i = 0; i < kUnits; ++i) Parameter(network.get(), kBiasIh)[i] = 100;
  const TestBatch batch = RandomBatch(ValueData(kSteps, 2, 1), kBatch, 1);
  network->LossAndGradients(batch.get());
  double dy = 0;
  for (int b = 0; b < kBatch; ++b) dy += 2 * (network->outputs()[b] - batch.values[b]) / kBatch;
  for (int i = 0; i < kUnits; ++i) {
    const double expected = kSteps * dy * Parameter(network.get(), kWeight)[i];
    EXPECT_NEAR(Gradient(network.get(), kBiasIh)[i] / expected, 1, 1e-12);
  }
}

// For h_t = w h_{t-1}: d h_t / d w = t x_0 w^(t-1); for w = 1.1 and t = 50 that is 5335.94786 x_0.
TEST(RnnTest, LinearRecurrenceExplodesAsItShould) {
  auto network = Make(absl::StrCat("layers { rnn { units: 1 nonlinearity: ACTIVATION_FUNCTION_RELU } }", kEnd),
                      ValueData(51, 1, 1), 1);
  *Parameter(network.get(), kWeightIh) = 1;
  *Parameter(network.get(), kWeightHh) = 1.1;
  *Parameter(network.get(), kWeight) = 1;
  TestBatch batch{.size = 1, .features = std::vector<float>(51), .values = {0}};
  batch.features[0] = 0.5;
  network->LossAndGradients(batch.get());
  const double h = network->outputs()[0];
  EXPECT_NEAR(h, 0.5 * std::pow(1.1, 50), 1e-11);
  EXPECT_NEAR(*Gradient(network.get(), kWeightHh) / (2 * h), 5335.94786 * 0.5, 1e-5);
}

TEST(RnnTest, TokensStandForOneHotRows) {
  for (const char* first : {"layers { rnn { units: 16 } }", "layers { lstm { units: 16 } }",
                            "layers { gru { units: 16 } }", "layers { dense { units: 16 } }"}) {
    SCOPED_TRACE(first);
    DataShape dense_data = ClassData(7, 11, 11, true), token_data = dense_data;
    token_data.tokens = true;
    const std::string model = std::string(first) +
                              "layers { rnn { units: 9 } } layers { dense { units: 11 } }"
                              "loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }";
    auto by_rows = Make(model, dense_data, 3), by_tokens = Make(model, token_data, 3);
    const TestBatch tokens = RandomBatch(token_data, 3, 1), rows = OneHot(tokens, 11);
    EXPECT_NEAR(by_tokens->LossAndGradients(tokens.get()), by_rows->LossAndGradients(rows.get()), 1e-14);
    for (size_t i = 0; i < by_rows->gradients().size(); ++i) {
      ASSERT_NEAR(by_tokens->gradients()[i], by_rows->gradients()[i], 1e-15);
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
