// One line on the error stream that says how far a job is; only on a terminal, and at most ten times a second.
#ifndef GRADWATCH_CLIENT_CLI_PROGRESS_H_
#define GRADWATCH_CLIENT_CLI_PROGRESS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "client/cli/io.h"
#include "gradwatch/v1/telemetry.pb.h"

namespace gradwatch::cli {

class Progress {
 public:
  explicit Progress(Io& io) : io_(io) {}
  ~Progress() { Clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // 0: not known.
  void SetTotal(int64_t steps) { total_ = steps; }
  // Draws the line anew, if it is time.
  void Update(const v1::StepReport& report);
  // Takes the line away, before something else is written.
  void Clear();

 private:
  std::string Line(const v1::StepReport& report) const;

  Io& io_;
  int64_t total_ = 0;
  double step_seconds_ = 0;  // moving average
  absl::Time last_drawn_ = absl::InfinitePast();
  bool drawn_ = false;
};

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_PROGRESS_H_
