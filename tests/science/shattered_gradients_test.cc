// Shattered gradients (Balduzzi et al. 2017): in plain ReLU networks from He's weights the hidden representations of
// two inputs grow alike with depth while their gradients become unlike. For infinite width and inputs at a right angle:
//   c_0 = 0, c_l = kappa1(c_{l-1}); correlation of the gradients = kappa0(c_0) ... kappa0(c_{L-1})
//   kappa0(c) = (pi - acos c) / pi, kappa1(c) = (sqrt(1 - c^2) + c (pi - acos c)) / pi
// which decays like a power of the depth, not like 2^-L.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/nn/network.h"
#include "tests/science/layer_signals.h"
#include "tests/science/science_table.h"
#include "tests/support/test_batch.h"

namespace gradwatch::science {
namespace {

constexpr int kWidth = 512, kProbes = 8;

struct Correlations {
  double hidden = 0, gradients = 1;
};
Correlations Predict(int depth) {
  Correlations predicted;
  for (int l = 0; l < depth; ++l) {
    const double c = predicted.hidden, angle = M_PI - std::acos(c);
    predicted.gradients *= angle / M_PI;
    predicted.hidden = (std::sqrt(1 - c * c) + c * angle) / M_PI;
  }
  return predicted;
}

double Cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double product = 0, squares_a = 0, squares_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += double{a[i]} * b[i];
    squares_a += double{a[i]} * a[i];
    squares_b += double{b[i]} * b[i];
  }
  return product / std::sqrt(squares_a * squares_b);
}

// What a network makes of one input: the outputs of its last hidden layer, and for some linear probes of these, one
// after the other, the derivatives by the first hidden preactivations.
struct Response {
  std::vector<float> hidden, deltas;
};

Response ResponseTo(int input, core::Network<float>& network) {
  Response response;
  testing::TestBatch batch = testing::RandomBatch(testing::ValueData(0, kWidth, kWidth), 1, 1);
  std::ranges::fill(batch.features, 0);
  batch.features[input] = 1;
  const core::ParameterSegment& bias = network.layout().segments()[1];
  for (int probe = 0; probe < kProbes; ++probe) {
    batch.values = testing::RandomBatch(testing::ValueData(0, kWidth, kWidth), 1, 100 + probe).values;
    // So far away that the derivative of the squared error by the outputs is the probe.
    for (float& value : batch.values) value *= 1e6f;
    network.LossAndGradients(batch.get());
    const std::span<const float> delta = network.gradients().subspan(bias.offset, bias.size);
    response.deltas.insert(response.deltas.end(), delta.begin(), delta.end());
  }
  response.hidden.assign(network.outputs().begin(), network.outputs().end());
  return response;
}

// Between inputs along the first two axes, the mean of some networks.
Correlations Measure(int depth, int networks) {
  const std::string model = Repeat(absl::StrCat("layers { dense { units: ", kWidth,
                                                " weight_init { method: INITIALIZER_METHOD_HE } } } "
                                                "layers { activation { function: ACTIVATION_FUNCTION_RELU } }"),
                                   depth) +
                            "loss { function: LOSS_FUNCTION_SQUARED_ERROR }";
  Correlations mean = {0, 0};
  for (int seed = 1; seed <= networks; ++seed) {
    auto network = *core::Network<float>::Create(testing::ParseModel(model), testing::ValueData(0, kWidth, kWidth), 1);
    network->Initialize(seed);
    const Response first = ResponseTo(0, *network), second = ResponseTo(1, *network);
    mean.hidden += Cosine(first.hidden, second.hidden) / networks;
    mean.gradients += Cosine(first.deltas, second.deltas) / networks;
  }
  return mean;
}

class SlowShatteredGradients : public ::testing::TestWithParam<std::pair<int, int>> {};

// Where the correlation is below its bound (L = 20 and 50) it only has to be near zero. Bounds: networks of this width
// differ by 0.03 in c_5 and by 0.02 in the correlation of gradients; four standard errors of the means.
TEST_P(SlowShatteredGradients, HiddenLayersAgreeAndGradientsDoNot) {
  const auto [depth, networks] = GetParam();
  const Correlations predicted = Predict(depth), measured = Measure(depth, networks);
  ExpectNear("shattered gradients", absl::StrCat("c_L, L = ", depth), predicted.hidden, measured.hidden, 0.02);
  ExpectNear("shattered gradients", absl::StrCat("correlation of gradients, L = ", depth), predicted.gradients,
             measured.gradients, 0.015);
}

// The shallower, the more they differ, and the less a network costs.
INSTANTIATE_TEST_SUITE_P(DepthsAndNetworks, SlowShatteredGradients,
                         ::testing::Values(std::pair(5, 40), std::pair(10, 24), std::pair(20, 12), std::pair(50, 4)));

TEST(SlowShatteredGradientsLaw, IsThePublishedOne) {
  const double published[][3] = {{5, 0.736, 0.105}, {10, 0.872, 0.0337}, {20, 0.948, 0.0082}, {50, 0.988, 9.1e-4}};
  for (const auto& [depth, hidden, gradients] : published) {
    const Correlations predicted = Predict(static_cast<int>(depth));
    ExpectNear("shattered gradients", absl::StrCat("c_L, L = ", depth, ", theory"), hidden, predicted.hidden, 6e-4);
    ExpectNear("shattered gradients", absl::StrCat("correlation of gradients, L = ", depth, ", theory"), gradients,
               predicted.gradients, 0.006 * gradients);
  }
}

}  // namespace
}  // namespace gradwatch::science
