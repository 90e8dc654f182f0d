// Range checks of numbers that users write, with messages that name field, range and value.
#ifndef GRADWATCH_CORE_BASE_FIELD_RANGE_H_
#define GRADWATCH_CORE_BASE_FIELD_RANGE_H_

#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/error.h"

namespace gradwatch::core {

// Adds a violation unless low <= value <= high.
inline void CheckIntegerRange(FieldErrors& errors, absl::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return;
  errors.Add(field, absl::StrCat("must be from ", low, " to ", high, "; got ", value));
}

// Adds a violation unless `value` is finite, above `low` and at most `high`.
inline void CheckAbove(FieldErrors& errors, absl::string_view field, double value, double low, double high) {
  if (std::isfinite(value) && value > low && value <= high) return;
  errors.Add(field, absl::StrCat("must be a number above ", low, " and at most ", high, "; got ", value));
}

// Adds a violation unless `value` is finite and low <= value <= high.
inline void CheckNumberRange(FieldErrors& errors, absl::string_view field, double value, double low, double high) {
  if (std::isfinite(value) && value >= low && value <= high) return;
  errors.Add(field, absl::StrCat("must be a number from ", low, " to ", high, "; got ", value));
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_FIELD_RANGE_H_
