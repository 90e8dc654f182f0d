#include "core/train/run_facts.h"

#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gradwatch::core {
namespace {

// NaN: the targets would have to be looked at.
double VarianceOfTargets(const v1::DataSpec& data) {
  if (data.has_csv() && data.csv().standardize()) return 1;
  // The sum of two numbers that are evenly spread over [0, 1], each with the variance 1/12.
  if (data.has_adding()) return 1.0 / 6;
  return std::numeric_limits<double>::quiet_NaN();
}

std::string NameOf(const LayerInfo& layer) {
  const std::string own = layer.name.substr(layer.name.rfind('.') + 1);
  return absl::StartsWith(own, layer.kind) ? layer.name : absl::StrCat(layer.name, " (", layer.kind, ")");
}

}  // namespace

RunFacts FactsOf(const v1::JobSpec& spec, const DataShape& data, std::span<const LayerInfo> layers) {
  RunFacts facts;
  for (const LayerInfo& layer : layers) facts.layer_names.push_back(NameOf(layer));
  switch (spec.model().loss().function()) {
    case v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY:
      if (data.outputs > 1) facts.guessing_loss = std::log(static_cast<double>(data.outputs));
      break;
    case v1::LOSS_FUNCTION_SQUARED_ERROR:
      facts.guessing_loss = VarianceOfTargets(spec.data());
      break;
    default:
      break;
  }
  return facts;
}

}  // namespace gradwatch::core
