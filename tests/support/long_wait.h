// How long a test waits for what must come.
#ifndef GRADWATCH_TESTS_SUPPORT_LONG_WAIT_H_
#define GRADWATCH_TESTS_SUPPORT_LONG_WAIT_H_

#include "absl/time/time.h"

namespace gradwatch::testing {

// It passes only when something fails, so it is long: trainers give way to all other programs, and on a machine whose
// processors are busy they take up to 70 times as long as alone.
inline constexpr absl::Duration kLongWait = absl::Minutes(5);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_LONG_WAIT_H_
