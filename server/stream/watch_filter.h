// What a watcher wants of a job, and how it is applied to reports. What tells that statistics are lost passes every
// filter.
#ifndef GRADWATCH_SERVER_STREAM_WATCH_FILTER_H_
#define GRADWATCH_SERVER_STREAM_WATCH_FILTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/base/encoding.h"

namespace gradwatch::server {

struct WatchFilter {
  bool events_only = false;
  // Only steps that are a multiple of it; conflated, ranges that are cut at its multiples. 0 and 1: all.
  int64_t every_steps = 1;
  std::vector<std::string> tensors;  // globs over the names; empty: all
  bool conflated = false;            // ranges of steps, at most so many, in the place of reports
  // Identifies the filter in resume tokens: the same for filters that say the same, on every machine and build. How it
  // is delivered does not matter: a place is one in either stream.
  uint64_t Hash() const;
};

// Not thread-safe.
class ReportFilter {
 public:
  explicit ReportFilter(const WatchFilter& filter);

  bool WantsTensorNames() const { return !globs_.empty() && wanted_tensors_.empty(); }
  void SetTensorNames(const std::vector<std::string>& names);

  // Every report passes as it is.
  bool WantsAll() const { return every_steps_ == 1 && globs_.empty(); }
  bool WantsStep(int64_t step) const { return step % every_steps_ == 0; }
  // The field `report` without the statistics of unwanted tensors; null: it has none of them, and is to be used as it
  // is. DATA_LOSS: it cannot be read.
  absl::StatusOr<SharedBytes> WithoutUnwanted(absl::string_view report) const;

 private:
  // By the field `tensors` of a report.
  bool IsWanted(absl::string_view tensor) const;

  const int64_t every_steps_;
  const std::vector<std::string> globs_;
  std::vector<bool> wanted_tensors_;  // by position in Job.tensors
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_WATCH_FILTER_H_
