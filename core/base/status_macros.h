// Early return on errors, for functions that return absl::Status or absl::StatusOr.
#ifndef GRADWATCH_CORE_BASE_STATUS_MACROS_H_
#define GRADWATCH_CORE_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define GW_STATUS_CONCAT_INNER(a, b) a##b
#define GW_STATUS_CONCAT(a, b) GW_STATUS_CONCAT_INNER(a, b)

// Returns the status of `expression` from the enclosing function unless it is OK.
#define GW_RETURN_IF_ERROR(expression)                            \
  do {                                                            \
    if (absl::Status gw_status = (expression); !gw_status.ok()) { \
      return gw_status;                                           \
    }                                                             \
  } while (false)

// Assigns the value of the StatusOr `expression` to `target` (which may be a declaration), or returns its status.
#define GW_ASSIGN_OR_RETURN(target, expression) \
  GW_ASSIGN_OR_RETURN_INNER(GW_STATUS_CONCAT(gw_statusor_, __LINE__), target, expression)

#define GW_ASSIGN_OR_RETURN_INNER(statusor, target, expression) \
  auto statusor = (expression);                                 \
  if (!statusor.ok()) {                                         \
    return std::move(statusor).status();                        \
  }                                                             \
  target = std::move(statusor).value()

#endif  // GRADWATCH_CORE_BASE_STATUS_MACROS_H_
