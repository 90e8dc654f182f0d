#include "tests/science/layer_signals.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"

namespace gradwatch::science {

LayerSignals SendThrough(const std::string& model, const core::DataShape& data, const testing::TestBatch& batch,
                         uint64_t seed) {
  auto network = core::Network<float>::Create(testing::ParseModel(model), data, batch.size);
  if (!network.ok()) std::abort();
  LayerSignals signals;
  signals.network = *std::move(network);
  signals.network->Initialize(seed);
  signals.layers.resize(signals.network->layers().size());
  signals.network->MeasureLayers(signals.layers);
  signals.network->LossAndGradients(batch.get());
  signals.network->MeasureLayers({});
  return signals;
}

std::vector<double> LogGrowths(const LayerSignals& signals, const std::string& kind) {
  std::vector<double> growths;
  for (size_t i = 0; i < signals.layers.size(); ++i) {
    if (signals.network->layers()[i].kind == kind) growths.push_back(2 * signals.layers[i].backward_growth);
  }
  return growths;
}

std::vector<double> LogGrowthsOfBlocks(const LayerSignals& signals, int size, int first, int last) {
  std::vector<double> growths;
  for (int begin = first; begin < last; begin += size) {
    double growth = 0;
    for (int i = begin; i < begin + size; ++i) growth += 2 * signals.layers[i].backward_growth;
    growths.push_back(growth);
  }
  return growths;
}

std::string Repeat(const std::string& block, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) absl::StrAppend(&text, block, " ");
  return text;
}

}  // namespace gradwatch::science
