#include "core/nn/field_checks.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/optim/initializer.h"

namespace gradwatch::core {

void CheckRange(absl::string_view path, int64_t value, int64_t low, int64_t high, FieldErrors* errors) {
  if (value >= low && value <= high) return;
  errors->Add(path, absl::StrCat("must be between ", low, " and ", high, "; got ", value));
}

void CheckPositive(absl::string_view path, double value, FieldErrors* errors) {
  if (std::isfinite(value) && value > 0) return;
  errors->Add(path, absl::StrCat("must be finite and above 0; got ", value));
}

v1::Initializer CheckInitializer(absl::string_view path, const v1::Initializer& given,
                                 v1::InitializerMethod default_method, FieldErrors* errors, double default_scale) {
  v1::Initializer resolved = ResolveInitializer(given, default_method, default_scale);
  errors->AddStatus(path, ValidateInitializer(resolved));
  return resolved;
}

v1::Initializer ZeroInitializer() { return ResolveInitializer({}, v1::INITIALIZER_METHOD_ZERO); }

v1::Initializer OneInitializer() { return ResolveInitializer({}, v1::INITIALIZER_METHOD_CONSTANT); }

int64_t AddParameter(const std::string& name, std::vector<int64_t> shape, int depth, const v1::Initializer& initializer,
                     MemoryPlan* plan) {
  const int index = plan->layout().Add(name, std::move(shape), depth, initializer);
  return plan->layout().segments()[index].offset;
}

}  // namespace gradwatch::core
