// What goes through the layers of a freshly started network, by the engine's own layer statistics: the figures that a
// user of the product sees are the ones that are compared with theory.
#ifndef GRADWATCH_TESTS_SCIENCE_LAYER_SIGNALS_H_
#define GRADWATCH_TESTS_SCIENCE_LAYER_SIGNALS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/data/batch.h"
#include "core/nn/network.h"
#include "core/stats/step_record.h"
#include "tests/support/test_batch.h"

namespace gradwatch::science {

// One training pass of a float network, measured.
struct LayerSignals {
  std::unique_ptr<core::Network<float>> network;  // with its gradients and outputs
  std::vector<core::LayerStatistics> layers;      // in the order of network->layers()
};

// Starts the network of `model`, a ModelSpec as text, from `seed` and sends `batch` forward and back. The process dies
// if the model is invalid.
LayerSignals SendThrough(const std::string& model, const core::DataShape& data, const testing::TestBatch& batch,
                         uint64_t seed);

// By how much ||delta||^2 grows, as a logarithm, on its way back through each layer of a kind ("residual").
std::vector<double> LogGrowths(const LayerSignals& signals, const std::string& kind);
// The same through each block of `size` layers that follow each other, from layer `first` to layer `last`, exclusive.
std::vector<double> LogGrowthsOfBlocks(const LayerSignals& signals, int size, int first, int last);

// The text `block`, `count` times.
std::string Repeat(const std::string& block, int count);

}  // namespace gradwatch::science

#endif  // GRADWATCH_TESTS_SCIENCE_LAYER_SIGNALS_H_
