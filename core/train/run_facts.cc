#include "core/train/run_facts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kFewestTargets = 8;  // of which a variance is known well enough for a factor of 10
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// Of the columns of a matrix of that many, row after row.
struct Moments {
  std::vector<double> mean, mean_square;
};
Moments MomentsOf(std::span<const float> values, int64_t columns) {
  Moments moments{std::vector<double>(columns), std::vector<double>(columns)};
  const double rows = static_cast<double>(values.size()) / static_cast<double>(columns);
  for (size_t i = 0; i < values.size(); ++i) {
    const double value = values[i];
    moments.mean[i % columns] += value / rows;
    moments.mean_square[i % columns] += value * value / rows;
  }
  return moments;
}

// The mean over the outputs; NaN: there are too few.
double VarianceOf(std::span<const float> targets, int64_t outputs) {
  if (outputs < 1 || std::ssize(targets) < kFewestTargets * outputs) return kUnknown;
  const Moments moments = MomentsOf(targets, outputs);
  double sum = 0;
  for (int64_t i = 0; i < outputs; ++i) sum += moments.mean_square[i] - moments.mean[i] * moments.mean[i];
  return sum / static_cast<double>(outputs);
}

double VarianceOfTargets(const v1::DataSpec& spec, const DataShape& data, const Batch& first) {
  if (spec.has_csv() && spec.csv().standardize()) return 1;
  // The sum of two numbers that are evenly spread over [0, 1], each with the variance 1/12.
  if (spec.has_adding()) return 1.0 / 6;
  return VarianceOf(first.values, data.outputs);
}

// Whether the scale of what comes in is gone behind the first layer.
bool NormalisesFirst(const v1::ModelSpec& model) {
  if (model.layers().empty()) return false;
  const v1::Layer& first = model.layers(0);
  return first.has_batch_norm() || first.has_layer_norm() || first.has_rms_norm();
}

void FindLargestInput(const v1::JobSpec& spec, const DataShape& data, const Batch& first, RunFacts* facts) {
  if (first.features.empty() || data.input.features < 1 || NormalisesFirst(spec.model())) return;
  const std::vector<double> squares = MomentsOf(first.features, data.input.features).mean_square;
  const auto largest = std::max_element(squares.begin(), squares.end());
  const auto& names = spec.data().csv().inputs();
  const int64_t place = largest - squares.begin();
  facts->input_scale = std::sqrt(*largest);
  facts->largest_input = place < names.size() ? names.Get(static_cast<int>(place)) : absl::StrCat(place);
}

std::string NameOf(const LayerInfo& layer) {
  const std::string own = layer.name.substr(layer.name.rfind('.') + 1);
  return absl::StartsWith(own, layer.kind) ? layer.name : absl::StrCat(layer.name, " (", layer.kind, ")");
}

}  // namespace

RunFacts FactsOf(const v1::JobSpec& spec, const DataShape& data, const Batch& first,
                 std::span<const LayerInfo> layers) {
  RunFacts facts;
  FindLargestInput(spec, data, first, &facts);
  for (const LayerInfo& layer : layers) facts.layer_names.push_back(NameOf(layer));
  switch (spec.model().loss().function()) {
    case v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY:
      if (data.outputs > 1) facts.guessing_loss = std::log(static_cast<double>(data.outputs));
      break;
    case v1::LOSS_FUNCTION_SQUARED_ERROR:
      facts.guessing_loss = VarianceOfTargets(spec.data(), data, first);
      break;
    default:
      break;
  }
  return facts;
}

}  // namespace gradwatch::core
