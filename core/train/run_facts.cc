#include "core/train/run_facts.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/data/csv_line.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kFewestTargets = 8;
constexpr int kMaxNameCharacters = 60;
// A variance below this share of the mean square may be rounding.
constexpr double kRounding = 1e-10;
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// The means of the columns of a matrix, row after row, of what `of` makes of its numbers.
template <typename Function>
std::vector<double> MeansOf(std::span<const float> values, int64_t columns, Function of) {
  std::vector<double> means(columns);
  for (size_t i = 0; i < values.size(); ++i) means[i % columns] += of(values[i], i % columns);
  for (double& mean : means) mean /= static_cast<double>(values.size()) / static_cast<double>(columns);
  return means;
}

std::vector<double> MeanSquaresOf(std::span<const float> values, int64_t columns) {
  return MeansOf(values, columns, [](double value, size_t) { return value * value; });
}

// The mean over the outputs; unknown: there are too few, or they are all the same.
double VarianceOf(std::span<const float> targets, int64_t outputs) {
  if (outputs < 1 || std::ssize(targets) < kFewestTargets * outputs) return kUnknown;
  const std::vector<double> means = MeansOf(targets, outputs, [](double value, size_t) { return value; });
  const std::vector<double> variances = MeansOf(
      targets, outputs, [&](double value, size_t column) { return (value - means[column]) * (value - means[column]); });
  const std::vector<double> squares = MeanSquaresOf(targets, outputs);
  const double variance = absl::c_accumulate(variances, 0.0), square = absl::c_accumulate(squares, 0.0);
  return variance > kRounding * square ? variance / static_cast<double>(outputs) : kUnknown;
}

double VarianceOfTargets(const v1::DataSpec& spec) {
  if (spec.has_csv() && spec.csv().standardize()) return 1;
  // The sum of two numbers that are evenly spread over [0, 1], each with the variance 1/12.
  if (spec.has_adding()) return 1.0 / 6;
  return kUnknown;
}

bool Normalises(const v1::Layer& layer) {
  return layer.has_batch_norm() || layer.has_layer_norm() || layer.has_rms_norm();
}

// Whether the scale of what comes in is gone behind the first layer with weights.
bool NormalisesFirst(const v1::ModelSpec& model) {
  bool is_behind_weights = false;
  for (const v1::Layer& layer : model.layers()) {
    if (Normalises(layer)) return true;
    if (layer.has_flatten() || layer.has_dropout()) continue;
    if (is_behind_weights || !(layer.has_dense() || layer.has_conv2d())) return false;
    is_behind_weights = true;
  }
  return false;
}

void FindLargestInput(const v1::JobSpec& spec, const DataShape& data, const Batch& first, RunFacts* facts) {
  if (first.features.empty() || data.input.features < 1 || NormalisesFirst(spec.model())) return;
  const std::vector<double> squares = MeanSquaresOf(first.features, data.input.features);
  const auto largest = absl::c_max_element(squares);
  const auto& names = spec.data().csv().inputs();
  const int64_t place = largest - squares.begin();
  facts->input_scale = std::sqrt(*largest);
  facts->largest_input =
      place < names.size() ? Shortened(names.Get(static_cast<int>(place)), kMaxNameCharacters) : absl::StrCat(place);
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
      facts.guessing_loss = VarianceOfTargets(spec.data());
      facts.rough_guessing_loss = VarianceOf(first.values, data.outputs);
      break;
    default:
      break;
  }
  return facts;
}

}  // namespace gradwatch::core
