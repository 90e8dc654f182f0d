// What a watcher wants of a job, and how it is applied to reports.
#ifndef GRADWATCH_SERVER_STREAM_WATCH_FILTER_H_
#define GRADWATCH_SERVER_STREAM_WATCH_FILTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/stream/job_channel.h"

namespace gradwatch::server {

struct WatchFilter {
  bool events_only = false;
  int64_t every_steps = 1;           // only steps that are a multiple of it; 0 and 1: all
  std::vector<std::string> tensors;  // globs over the names; empty: all
  // Identifies the filter in resume tokens: the same for filters that say the same, on every machine and build.
  uint64_t Hash() const;
};

// Not thread-safe.
class ReportFilter {
 public:
  explicit ReportFilter(const WatchFilter& filter);

  bool WantsTensorNames() const { return !globs_.empty() && wanted_tensors_.empty(); }
  void SetTensorNames(const std::vector<std::string>& names);

  bool WantsStep(int64_t step) const { return step % every_steps_ == 0; }
  // Takes the statistics of unwanted tensors out of `report`. A report that has all its tensors is not touched or
  // copied. DATA_LOSS: it cannot be read.
  absl::Status KeepWantedTensors(ReportSlice* report) const;

 private:
  const int64_t every_steps_;
  const std::vector<std::string> globs_;
  std::vector<bool> wanted_tensors_;  // by position in Job.tensors
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STREAM_WATCH_FILTER_H_
