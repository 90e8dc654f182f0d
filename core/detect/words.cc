#include "core/detect/words.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace gradwatch::core {

std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return absl::StrFormat("%.3g", value);
}

std::string LargestIn(absl::string_view tensor_name) {
  return tensor_name.empty() ? "" : absl::StrCat("; largest in ", tensor_name);
}

std::string GrowthAStep(double log_growth) {
  constexpr double kManifold = 1.9;  // from which on a factor says more than a percentage
  const double factor = std::exp(log_growth);
  if (factor >= kManifold) return absl::StrCat(Number(factor), " times more a step");
  return absl::StrCat(Number(100 * std::expm1(log_growth)), "% more a step");
}

}  // namespace gradwatch::core
