// Errors that say which field is wrong, and why, for people and for programs.
//
// An absl::Status carries its details as payloads under the type URLs of google.rpc.BadRequest and
// google.rpc.ErrorInfo, so that the server can put them on the wire, and the client can read them back, without knowing
// them.
#ifndef GRADWATCH_CORE_BASE_ERROR_H_
#define GRADWATCH_CORE_BASE_ERROR_H_

#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gradwatch::core {

inline constexpr absl::string_view kBadRequestUrl = "type.googleapis.com/google.rpc.BadRequest";
inline constexpr absl::string_view kErrorInfoUrl = "type.googleapis.com/google.rpc.ErrorInfo";

// One wrong field: its path ("model.layers[2].dense.units") and what is wrong, with the value.
struct FieldViolation {
  std::string field;
  std::string description;
};

// Collects wrong fields, so that a user sees all of them at once.
class FieldErrors {
 public:
  // What could steer a terminal is escaped.
  void Add(absl::string_view field, absl::string_view description);
  // Adds the violations of `status` with `prefix` before their paths; a status without violations is added as one of
  // `prefix` itself. OK adds nothing.
  void AddStatus(absl::string_view prefix, const absl::Status& status);
  bool empty() const { return violations_.empty(); }
  // OK, or INVALID_ARGUMENT with the message "field: description; field: description" and reason FIELD_VIOLATION.
  absl::Status ToStatus() const;

 private:
  std::vector<FieldViolation> violations_;
};

// INVALID_ARGUMENT about one field.
absl::Status InvalidField(absl::string_view field, absl::string_view description);

// `status` with its code kept, told about fields below `prefix`: violations get the prefix before their paths; a status
// without violations becomes one of `prefix` itself. The reason is kept; without one it is FIELD_VIOLATION. For codes
// that FieldErrors would turn into INVALID_ARGUMENT.
absl::Status WithFieldPrefix(absl::string_view prefix, const absl::Status& status);

// RESOURCE_EXHAUSTED "not enough memory <what>", reason OUT_OF_MEMORY.
absl::Status OutOfMemory(absl::string_view what);

// What `work` returns, a Status or a StatusOr; OutOfMemory(what) if memory runs out in it. Containers throw, and
// nothing of ours catches; this is where a large job turns into an answer instead of the end of the process.
template <typename Work>
auto OrOutOfMemory(absl::string_view what, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return OutOfMemory(what);
  } catch (const std::length_error&) {  // a container that could never be so large
    return OutOfMemory(what);
  }
}

// The violations that a status carries; empty if none.
std::vector<FieldViolation> GetFieldViolations(const absl::Status& status);

// `status` with a stable reason word ("ETAG_MISMATCH") and more facts by name.
absl::Status WithReason(absl::Status status, absl::string_view reason,
                        std::vector<std::pair<std::string, std::string>> metadata = {});

// The reason word that a status carries; empty if none.
std::string GetReason(const absl::Status& status);

// The fact `key` that a status carries; empty if none.
std::string GetErrorMetadata(const absl::Status& status, absl::string_view key);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_ERROR_H_
