// The exact law of the gradient's norm in networks of finite width with normal weights and no biases, seen from a fixed
// linear probe at the top (Hanin 2018; Hanin and Nica 2018): per layer that the gradient passes, of width n,
//   ReLU, weights N(0, 2/n):   ||delta^l||^2 / ||delta^{l+1}||^2 = (2 / n) chi^2_K, K ~ Binomial(n, 1/2)
//   linear, weights N(0, 1/n): the same with (1 / n) chi^2_n
// independently over the layers.
#ifndef GRADWATCH_TESTS_SCIENCE_FINITE_WIDTH_LAW_H_
#define GRADWATCH_TESTS_SCIENCE_FINITE_WIDTH_LAW_H_

#include <cmath>

#include "tests/science/deep_network.h"

namespace gradwatch::science {

// Mean and variance of ln chi^2_k: psi(k/2) + ln 2 and psi'(k/2), by recurrence from k = 1 or 2.
inline MeanAndVariance LogChiSquare(int k) {
  constexpr double kEuler = 0.57721566490153286;
  const bool odd = k % 2 == 1;
  MeanAndVariance moments = {odd ? -kEuler - 2 * std::log(2) : -kEuler, odd ? M_PI * M_PI / 2 : M_PI * M_PI / 6};
  for (double x = odd ? 0.5 : 1; x < k / 2.0; x += 1) {
    moments.mean += 1 / x;
    moments.variance -= 1 / (x * x);
  }
  moments.mean += std::log(2);
  return moments;
}

// Of the logarithm of the ratio, for one layer of linear units.
inline MeanAndVariance LinearLayerLaw(int n) {
  MeanAndVariance law = LogChiSquare(n);
  law.mean -= std::log(n);
  return law;
}

// The same for a layer of ReLUs that is not dead.
inline MeanAndVariance ReluLayerLaw(int n) {
  double mean = 0, square = 0, alive = 0;
  for (int k = 1; k <= n; ++k) {
    const double chance = std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) - n * std::log(2));
    const MeanAndVariance law = LogChiSquare(k);
    alive += chance;
    mean += chance * law.mean;
    square += chance * (law.variance + law.mean * law.mean);
  }
  mean /= alive;
  return {mean + std::log(2.0 / n), square / alive - mean * mean};
}

}  // namespace gradwatch::science

#endif  // GRADWATCH_TESTS_SCIENCE_FINITE_WIDTH_LAW_H_
