// Where a command reads the time and writes: real in the program, written down in tests.
#ifndef GRADWATCH_CLIENT_CLI_IO_H_
#define GRADWATCH_CLIENT_CLI_IO_H_

#include <functional>
#include <ostream>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace gradwatch::cli {

struct Io {
  std::ostream* out = nullptr;  // data
  std::ostream* err = nullptr;  // everything else
  bool out_is_tty = false;
  bool err_is_tty = false;
  bool color = false;                                // whether `out` may carry colours
  int width = 100;                                   // columns of the terminal
  absl::TimeZone time_zone = absl::LocalTimeZone();  // of times of day
  std::function<absl::Time()> now = [] { return absl::Now(); };
};

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_IO_H_
