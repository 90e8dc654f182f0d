// Batch norm does not cure exploding gradients, it makes them explode: through a layer of ReLU and batch norm the
// squared gradient grows by pi / (pi - 1) = 1.467 at the start, for wide layers and large batches (Yang, Pennington,
// Rao, Sohl-Dickstein, Schoenholz 2019). Rates are those that layer statistics tell.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/science/deep_network.h"
#include "tests/science/layer_signals.h"
#include "tests/science/mean_field.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

struct Size {
  int width = 512, depth = 30;
};

// dense, batch norm, and a function if `function` is not empty, again and again. The scale of the weights does not
// matter: batch norm takes it away.
std::string Model(const std::string& function, const Size& size) {
  const std::string block =
      absl::StrCat("layers { dense { units: ", size.width,
                   " bias: false weight_init { method: INITIALIZER_METHOD_LECUN } } } ", "layers { batch_norm {} }",
                   function.empty() ? "" : absl::StrCat(" layers { activation { function: ", function, " } }"));
  return Repeat(block, size.depth) + "layers { dense { units: 1 } } loss { function: LOSS_FUNCTION_SQUARED_ERROR }";
}

// The growth of the squared gradient per layer: the geometric mean over all layers but the first five, where inputs are
// not yet as the rest of the network makes them, and over some networks.
double Rate(const std::string& function, int batch_size, int networks, const Size& size = {}) {
  const int block = function.empty() ? 2 : 3;
  const core::DataShape data = testing::ValueData(0, size.width, 1);
  double sum = 0;
  for (int seed = 1; seed <= networks; ++seed) {
    const LayerSignals signals =
        SendThrough(Model(function, size), data, testing::RandomBatch(data, batch_size, seed), seed);
    sum += MomentsOf(LogGrowthsOfBlocks(signals, block, 5 * block, size.depth * block)).mean;
  }
  return std::exp(sum / networks);
}

constexpr char kRelu[] = "ACTIVATION_FUNCTION_RELU", kTanh[] = "ACTIVATION_FUNCTION_TANH";

// chi = E[phi'^2] / Var[phi] of a standard normal preactivation, in the limit of large batches: pi / (pi - 1) for ReLU.
// Bound: batches of 128 and a width of 512 leave some hundredths (simulations give 1.465).
TEST(SlowBatchNorm, ReluExplodesByPiOverPiMinusOne) {
  ExpectNear("batch norm, ReLU, B = 128", "growth of ||delta||^2 per layer", M_PI / (M_PI - 1), Rate(kRelu, 128, 2),
             0.03);
}

TEST(SlowBatchNorm, TanhExplodesToo) {
  const FunctionMoments moments = MomentsOfFunction(v1::ACTIVATION_FUNCTION_TANH, 1);
  ExpectNear("batch norm, tanh, B = 128", "growth of ||delta||^2 per layer", moments.slope_square / moments.square,
             Rate(kTanh, 128, 2), 0.03);
}

// Small batches explode faster: simulations give 1.491 and 1.594.
TEST(SlowBatchNorm, SmallBatchesExplodeFaster) {
  ExpectNear("batch norm, ReLU, B = 64", "growth of ||delta||^2 per layer", 1.491, Rate(kRelu, 64, 2), 0.03);
  ExpectNear("batch norm, ReLU, B = 16", "growth of ||delta||^2 per layer", 1.594, Rate(kRelu, 16, 4), 0.03);
}

// Without a function there is next to no growth for large batches: a simulation gives 1.0035 at 256. Layers must be
// much wider than the batch.
TEST(SlowBatchNorm, LinearNetworksHardlyGrow) {
  ExpectNear("batch norm, linear, B = 256", "growth of ||delta||^2 per layer", 1.0035,
             Rate("", 256, 2, {.width = 1024, .depth = 15}), 0.005);
}

}  // namespace
}  // namespace gradwatch::science
