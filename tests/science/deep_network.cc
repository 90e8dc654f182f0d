#include "tests/science/deep_network.h"

#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "tests/support/test_batch.h"

namespace gradwatch::science {
namespace {

core::Random RandomFor(uint64_t seed, uint64_t index) {
  return core::Random(seed, core::RandomStream::kSyntheticData, index);
}

std::string ModelText(int layers, const std::string& block) {
  std::string text;
  for (int i = 0; i < layers; ++i) absl::StrAppend(&text, block);
  return absl::StrCat(text, "layers { name: 'end' dense { units: 1 } } loss { function: LOSS_FUNCTION_SQUARED_ERROR }");
}

}  // namespace

DeepNetwork::DeepNetwork(int64_t inputs, int64_t width, int layers, const std::string& block) : inputs_(inputs) {
  v1::ModelSpec model = testing::ParseModel(ModelText(layers, block));
  // Names must differ.
  int number = 0;
  for (v1::Layer& layer : *model.mutable_layers()) {
    if (layer.name() == "hidden") layer.set_name(absl::StrCat("hidden", number++));
  }
  auto network = core::Network<double>::Create(model, testing::ValueData(0, inputs, 1), 1);
  if (!network.ok()) std::abort();
  network_ = *std::move(network);
  network_->Initialize(1);
  for (const core::ParameterSegment& segment : network_->layout().segments()) {
    if (absl::StrContains(segment.name, "hidden") && absl::EndsWith(segment.name, ".bias")) {
      hidden_biases_.push_back(segment);
    }
  }
  if (hidden_biases_.empty() || hidden_biases_[0].size != width) std::abort();
}

void DeepNetwork::Draw(uint64_t seed, double weight_variance, double bias_variance) {
  uint64_t index = 0;
  for (const core::ParameterSegment& segment : network_->layout().segments()) {
    core::Random random = RandomFor(seed, index++);
    const bool is_bias = segment.shape.size() == 1;
    const double deviation = std::sqrt(is_bias ? bias_variance : weight_variance / static_cast<double>(segment.fan_in));
    for (double& parameter : network_->parameters().subspan(segment.offset, segment.size)) {
      parameter = deviation * random.NextNormal();
    }
  }
}

std::vector<double> DeepNetwork::SquaredDeltas(uint64_t seed) {
  core::Random random = RandomFor(seed, 1'000'000);
  testing::TestBatch batch;
  batch.size = 1;
  for (int64_t i = 0; i < inputs_; ++i) batch.features.push_back(static_cast<float>(random.NextNormal()));
  // So far away that the derivative of the squared error is the same for every output.
  batch.values = {1e15f};
  network_->LossAndGradients(batch.get());
  std::vector<double> squares;
  for (const core::ParameterSegment& bias : hidden_biases_) {
    double sum = 0;
    for (const double delta : network_->gradients().subspan(bias.offset, bias.size)) sum += delta * delta;
    squares.push_back(sum);
  }
  return squares;
}

double Slope(const std::vector<double>& y) {
  const double n = static_cast<double>(y.size()), mean_x = (n - 1) / 2;
  double covariance = 0, variance = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double x = static_cast<double>(i) - mean_x;
    covariance += x * y[i];
    variance += x * x;
  }
  return covariance / variance;
}

MeanAndVariance MomentsOf(const std::vector<double>& samples) {
  MeanAndVariance moments;
  for (const double x : samples) moments.mean += x / static_cast<double>(samples.size());
  for (const double x : samples) {
    moments.variance += (x - moments.mean) * (x - moments.mean) / static_cast<double>(samples.size() - 1);
  }
  return moments;
}

}  // namespace gradwatch::science
