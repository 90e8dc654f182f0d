// Checks of fields that several layers have.
#ifndef GRADWATCH_CORE_NN_FIELD_CHECKS_H_
#define GRADWATCH_CORE_NN_FIELD_CHECKS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "core/base/error.h"
#include "core/nn/memory_plan.h"
#include "gradwatch/v1/model.pb.h"

namespace gradwatch::core {

// Adds "<path>: must be between <low> and <high>; got <value>" unless it is.
void CheckRange(absl::string_view path, int64_t value, int64_t low, int64_t high, FieldErrors* errors);

// Adds "<path>: must be finite and above 0; got <value>" unless it is.
void CheckPositive(absl::string_view path, double value, FieldErrors* errors);

// The initializer at `path` with defaults filled in, after its checks.
v1::Initializer CheckInitializer(absl::string_view path, const v1::Initializer& given,
                                 v1::InitializerMethod default_method, FieldErrors* errors, double default_scale = 0);

// How biases start.
v1::Initializer ZeroInitializer();
// How factors start.
v1::Initializer OneInitializer();

// Declares a parameter and returns its offset in the arenas.
int64_t AddParameter(const std::string& name, std::vector<int64_t> shape, int depth, const v1::Initializer& initializer,
                     MemoryPlan* plan);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_FIELD_CHECKS_H_
