// The program gradwatch: real streams, terminal, environment and signals around RunApp.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <ostream>

#include "client/cli/app.h"
#include "client/cli/interrupt.h"
#include "client/cli/output_buffer.h"
#include "client/lib/standard_streams.h"

namespace {

std::string ReadEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

// Columns of the terminal; 100 where there is none.
int TerminalWidth() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 24 ? size.ws_col : 100;
}

}  // namespace

int main(int argc, char** argv) {
  gradwatch::client::HoldClosedStandardStreams();
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // what concerns users reaches them as a status
  gradwatch::client::Cancellation cancellation;
  gradwatch::cli::Interrupt interrupt(&cancellation);
  gradwatch::cli::OutputBuffer out_buffer(STDOUT_FILENO, &cancellation), err_buffer(STDERR_FILENO, &cancellation);
  std::ostream out(&out_buffer), err(&err_buffer);
  gradwatch::cli::Io io;
  io.out = &out;
  io.err = &err;
  io.out_is_tty = isatty(STDOUT_FILENO) == 1;
  io.err_is_tty = isatty(STDERR_FILENO) == 1;
  io.width = TerminalWidth();
  return static_cast<int>(gradwatch::cli::RunApp({argv + 1, argv + argc}, ReadEnvironment, io, &cancellation));
}
