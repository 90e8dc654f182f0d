// Deep networks with weights of our choosing, and the backward signal of every layer.
#ifndef GRADWATCH_TESTS_SCIENCE_DEEP_NETWORK_H_
#define GRADWATCH_TESTS_SCIENCE_DEEP_NETWORK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/nn/network.h"

namespace gradwatch::science {

// A network of `layers` hidden layers of `width` units, named "hidden0" ..., and a linear end. One example at a time,
// so that the gradient of a hidden layer's bias is delta, the derivative of the loss by its preactivation.
class DeepNetwork {
 public:
  // `block` is a hidden layer as text, with a dense layer of `width` units named 'hidden' in it.
  DeepNetwork(int64_t inputs, int64_t width, int layers, const std::string& block);

  // Weights normal with variance weight_variance / fan_in, biases normal with variance bias_variance.
  void Draw(uint64_t seed, double weight_variance, double bias_variance);
  // ||delta||^2 of every hidden layer for a random input, the end being a fixed random linear probe.
  std::vector<double> SquaredDeltas(uint64_t seed);

  core::Network<double>& network() { return *network_; }

 private:
  int64_t inputs_;
  std::unique_ptr<core::Network<double>> network_;
  std::vector<core::ParameterSegment> hidden_biases_;  // in the order of layers
};

// The slope of the least-squares line through (0, y[0]), (1, y[1]), ...
double Slope(const std::vector<double>& y);

struct MeanAndVariance {
  double mean = 0, variance = 0;
};
MeanAndVariance MomentsOf(const std::vector<double>& samples);

}  // namespace gradwatch::science

#endif  // GRADWATCH_TESTS_SCIENCE_DEEP_NETWORK_H_
