// Exact learning curves of deep linear networks (Saxe, McClelland, Ganguli 2014).
#include <gtest/gtest.h>

#include <Eigen/SVD>
#include <cmath>

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

}  // namespace
}  // namespace gradwatch::science
