#include "core/train/run_facts.h"

#include <cmath>
#include <limits>

namespace gradwatch::core {
namespace {

// NaN: the targets would have to be looked at.
double VarianceOfTargets(const v1::DataSpec& data) {
  if (data.has_csv() && data.csv().standardize()) return 1;
  // The sum of two numbers that are evenly spread over [0, 1], each with the variance 1/12.
  if (data.has_adding()) return 1.0 / 6;
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

RunFacts FactsOf(const v1::JobSpec& spec, const DataShape& data) {
  RunFacts facts;
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
