// Predictions for networks of infinite width: means over a normal preactivation of the engine's own functions and
// slopes, by the midpoint rule, which bends at zero do not disturb.
#ifndef GRADWATCH_TESTS_SCIENCE_MEAN_FIELD_H_
#define GRADWATCH_TESTS_SCIENCE_MEAN_FIELD_H_

#include "gradwatch/v1/model.pb.h"

namespace gradwatch::science {

struct FunctionMoments {
  double square = 0;        // E[phi(sqrt(q) z)^2], z standard normal
  double slope_square = 0;  // E[phi'(sqrt(q) z)^2]
};
FunctionMoments MomentsOfFunction(v1::ActivationFunction function, double q);

// The preactivations' variance that a deep network settles on, q = sigma_w^2 E[phi^2] + sigma_b^2, from q = 1. Only for
// functions where it is stable (Poole et al. 2016).
double SettledVariance(v1::ActivationFunction function, double weight_variance, double bias_variance);

// chi = sigma_w^2 E[phi'^2]: the growth of ||delta||^2 per layer where the preactivations have variance q (Schoenholz
// et al. 2017).
double Chi(v1::ActivationFunction function, double weight_variance, double q);

}  // namespace gradwatch::science

#endif  // GRADWATCH_TESTS_SCIENCE_MEAN_FIELD_H_
