// The two initialisations of Glorot and Bengio 2010: singular values of a layer, and what five layers do to signals on
// both ways.
#include <gtest/gtest.h>

#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/optim/initializer.h"
#include "core/tensor/parameter_layout.h"
#include "tests/science/deep_network.h"
#include "tests/science/layer_signals.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

// The mean singular value of a square matrix of `width` drawn by `initializer`.
double MeanSingularValue(const v1::Initializer& initializer, int64_t width) {
  core::ParameterLayout layout;
  layout.Add("weight", {width, width}, 0, initializer);
  Eigen::MatrixXd matrix(width, width);
  core::InitializeTensor<double>(layout.segments()[0], 1, 0, {matrix.data(), static_cast<size_t>(matrix.size())});
  return Eigen::BDCSVD<Eigen::MatrixXd>(matrix).singularValues().mean();
}

// By the quarter-circle law 8 / (3 pi) sqrt(n Var): 0.849 with the normalised initialisation, 0.490 with the standard
// one.
TEST(SlowInitialization, MeanSingularValuesOfGlorotAndBengio) {
  constexpr int64_t kWidth = 600;
  v1::Initializer normalised;
  normalised.set_method(v1::INITIALIZER_METHOD_XAVIER);
  v1::Initializer standard;
  standard.set_method(v1::INITIALIZER_METHOD_UNIFORM);
  standard.set_scale(1 / std::sqrt(static_cast<double>(kWidth)));
  const auto resolve = [](const v1::Initializer& given) { return core::ResolveInitializer(given, given.method()); };
  ExpectNear("Glorot and Bengio 2010", "mean singular value, normalised", 8 / (3 * M_PI),
             MeanSingularValue(resolve(normalised), kWidth), 0.002);
  ExpectNear("Glorot and Bengio 2010", "mean singular value, standard", 8 / (3 * M_PI) / std::sqrt(3.0),
             MeanSingularValue(resolve(standard), kWidth), 0.002);
}

// Five hidden layers of 1000 tanh units on inputs of deviation 1/2, by the two initialisations, as in the paper.
LayerSignals FiveLayers(const std::string& initializer) {
  constexpr int kInputs = 1000, kBatch = 100;
  const core::DataShape data = testing::ClassData(0, kInputs, 10);
  testing::TestBatch batch = testing::RandomBatch(data, kBatch, 1);
  for (float& feature : batch.features) feature /= 2;
  const std::string dense = absl::StrCat("layers { dense { units: 1000 weight_init { method: ", initializer, " } } } ");
  return SendThrough(Repeat(dense + "layers { activation { function: ACTIVATION_FUNCTION_TANH } }", 5) +
                         "layers { dense { units: 10 weight_init { method: " + initializer +
                         " } } } loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }",
                     data, batch, 1);
}

constexpr int kFirstHidden = 0, kLastHidden = 8;  // dense layers

// Deviation of the gradients that come back to the fifth hidden layer over those of the first.
double BackwardRatio(const LayerSignals& signals) {
  return signals.layers[kLastHidden].backward_norm / signals.layers[kFirstHidden].backward_norm;
}

// The largest over the smallest norm of the gradients of the four square weights between hidden layers.
double WeightGradientRatio(const LayerSignals& signals) {
  double least = 1e300, largest = 0;
  for (const core::ParameterSegment& segment : signals.network->layout().segments()) {
    if (segment.size != 1000 * 1000) continue;
    double squares = 0;
    for (const float g : signals.network->gradients().subspan(segment.offset, segment.size)) squares += double{g} * g;
    least = std::min(least, std::sqrt(squares));
    largest = std::max(largest, std::sqrt(squares));
  }
  return largest / least;
}

TEST(SlowInitialization, StandardLosesGradientsOnTheWayBackAndNormalisedKeepsThem) {
  const LayerSignals standard = FiveLayers("INITIALIZER_METHOD_PYTORCH"),
                     normalised = FiveLayers("INITIALIZER_METHOD_XAVIER");
  const std::string experiment = "Glorot and Bengio 2010";
  // (sqrt 3)^4 = 9 but for tanh; simulated 9.94.
  ExpectNear(experiment, "gradient at layer 5 / layer 1, standard", 9.94, BackwardRatio(standard), 1);
  ExpectNear(experiment, "gradient at layer 5 / layer 1, normalised", 1.64, BackwardRatio(normalised), 0.2);
  // Yet the weights' gradients are as large in all layers (their equation 14).
  ExpectBetween(experiment, "weights' gradients, max / min, standard", 1, 1.3, WeightGradientRatio(standard));
  ExpectBetween(experiment, "weights' gradients, max / min, normalised", 1, 1.3, WeightGradientRatio(normalised));
  ExpectNear(experiment, "deviation of layer 1, standard", 0.268, std::sqrt(standard.layers[1].output_variance), 0.01);
  ExpectNear(experiment, "deviation of layer 5, standard", 0.029, std::sqrt(standard.layers[9].output_variance), 0.002);
}

}  // namespace
}  // namespace gradwatch::science
