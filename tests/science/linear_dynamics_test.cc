// Exact learning curves of deep linear networks (Saxe, McClelland, Ganguli 2014).
#include <gtest/gtest.h>

#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/nn/network.h"
#include "tests/science/science_table.h"
#include "tests/support/test_batch.h"

namespace gradwatch::science {
namespace {

// One mode of strength s from a balanced start: u(t) = s e^{2st} / (e^{2st} - 1 + s / u0), t = rate * step. The network
// y = w2 w1 x on the single example x = 1 with target s has the loss (w2 w1 - s)^2, so rate / 2 gives that flow.
TEST(SlowLinearDynamics, AModeIsLearntOnTheExactSigmoid) {
  constexpr double kStrength = 3, kStart = 1e-3, kRate = 1e-3;
  auto network = *core::Network<double>::Create(
      testing::ParseModel("layers { dense { units: 1 bias: false } } layers { dense { units: 1 bias: false } } "
                          "loss { function: LOSS_FUNCTION_SQUARED_ERROR }"),
      testing::ValueData(0, 1, 1), 1);
  network->Initialize(1);
  const int64_t first = network->layout().segments()[0].offset, second = network->layout().segments()[1].offset;
  network->parameters()[first] = network->parameters()[second] = std::sqrt(kStart);
  testing::TestBatch batch;
  batch.size = 1;
  batch.features = {1};
  batch.values = {kStrength};
  int step = 0;
  for (const double t : {0.5, 1.0, 2.0}) {
    for (; step * kRate < t - 1e-12; ++step) {
      network->LossAndGradients(batch.get());
      for (const int64_t i : {first, second}) network->parameters()[i] -= kRate / 2 * network->gradients()[i];
    }
    const double growth = std::exp(2 * kStrength * t);
    const double exact = kStrength * growth / (growth - 1 + kStrength / kStart);
    ExpectNear("linear dynamics", absl::StrCat("strength of the mode at t = ", t), exact,
               network->parameters()[first] * network->parameters()[second], 0.01 * exact);
  }
}

// The product of orthogonal layers keeps every length at any depth; the gradient neither grows nor shrinks.
TEST(SlowLinearDynamics, OrthogonalLayersKeepAllSingularValuesAtOne) {
  constexpr int kWidth = 40, kLayers = 100;
  std::string text;
  for (int i = 0; i < kLayers; ++i) {
    absl::StrAppend(&text, "layers { dense { units: ", kWidth,
                    " bias: false weight_init { method: INITIALIZER_METHOD_ORTHOGONAL } } } ");
  }
  auto network =
      *core::Network<double>::Create(testing::ParseModel(text + "loss { function: LOSS_FUNCTION_SQUARED_ERROR }"),
                                     testing::ValueData(0, kWidth, kWidth), 1);
  network->Initialize(4);
  Eigen::MatrixXd product = Eigen::MatrixXd::Identity(kWidth, kWidth);
  for (const core::ParameterSegment& segment : network->layout().segments()) {
    using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    product = Eigen::Map<const RowMajor>(network->parameters().data() + segment.offset, kWidth, kWidth) * product;
  }
  const Eigen::VectorXd values = Eigen::JacobiSVD<Eigen::MatrixXd>(product).singularValues();
  ExpectNear("orthogonal, 100 layers", "largest singular value", 1, values.maxCoeff(), 1e-12);
  ExpectNear("orthogonal, 100 layers", "smallest singular value", 1, values.minCoeff(), 1e-12);
}

// A deep linear network from 32 inputs to 4 outputs and a random linear map to learn from the 32 unit vectors: the loss
// is proportional to the squared distance between the network's map and that one.
class LinearLearner {
 public:
  LinearLearner(const std::string& method, int depth) : depth_(depth) {
    std::string text;
    for (int i = 0; i < depth; ++i) {
      absl::StrAppend(&text, "layers { dense { units: ", i + 1 < depth ? kInputs : kOutputs,
                      " bias: false weight_init { method: ", method, " } } } ");
    }
    const core::DataShape data = testing::ValueData(0, kInputs, kOutputs);
    network_ = *core::Network<double>::Create(
        testing::ParseModel(text + "loss { function: LOSS_FUNCTION_SQUARED_ERROR }"), data, kInputs);
    network_->Initialize(3);
    batch_ = testing::RandomBatch(data, kInputs, 3);
    std::ranges::fill(batch_.features, 0);
    for (int i = 0; i < kInputs; ++i) batch_.features[i * kInputs + i] = std::sqrt(float{kInputs});
  }

  // Steps of descent until the loss is 1 % of what it was; at most kMostSteps. Every layer adds its share to the map's
  // movement, so the rate is shared among them.
  int StepsToLearn() {
    const double rate = 0.04 / depth_, start = network_->Loss(batch_.get());
    for (int step = 0; step < kMostSteps; ++step) {
      if (network_->LossAndGradients(batch_.get()) <= 0.01 * start) return step;
      for (size_t i = 0; i < network_->parameters().size(); ++i) {
        network_->parameters()[i] -= rate * network_->gradients()[i];
      }
    }
    return kMostSteps;
  }

  static constexpr int kMostSteps = 1500;

 private:
  static constexpr int kInputs = 32, kOutputs = 4;
  const int depth_;
  std::unique_ptr<core::Network<double>> network_;
  testing::TestBatch batch_;
};

// Orthogonal layers learn as fast at any depth; Gaussian ones, whose product stretches some directions and flattens
// most, do not. Bound: a factor of 1.5.
TEST(SlowLinearDynamics, OrthogonalNetworksLearnAsFastAtAnyDepth) {
  const double shallow = LinearLearner("INITIALIZER_METHOD_ORTHOGONAL", 5).StepsToLearn();
  for (const int depth : {20, 50}) {
    ExpectBetween("orthogonal linear networks", absl::StrCat("steps to learn, ", depth, " layers / 5 layers"), 1 / 1.5,
                  1.5, LinearLearner("INITIALIZER_METHOD_ORTHOGONAL", depth).StepsToLearn() / shallow);
  }
  ExpectBetween("Gaussian linear networks", "steps to learn, 50 layers / 5 orthogonal", 2, 1e9,
                LinearLearner("INITIALIZER_METHOD_LECUN", 50).StepsToLearn() / shallow);
}

}  // namespace
}  // namespace gradwatch::science
