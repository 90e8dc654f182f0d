// What is left of a run without a server: a few numbers, for people or programs.
#ifndef GRADWATCH_CLIENT_WORKER_RUN_SUMMARY_H_
#define GRADWATCH_CLIENT_WORKER_RUN_SUMMARY_H_

#include <cstdint>
#include <map>
#include <string>

#include "core/train/trainer.h"

namespace gradwatch::worker {

struct RunSummary {
  core::TrainResult result;
  std::string data_note;                  // what was taken for granted when the data was read; empty: nothing
  double steps_per_second = 0;            // the first tenth left out
  std::map<std::string, int64_t> alerts;  // episodes that fired, by rule
  int64_t parameters = 0;                 // trainable numbers
  int64_t estimated_bytes = 0;            // all that the process may need, as validated, without a ring of reports
  int64_t peak_bytes = 0;                 // resident memory of the whole process at its highest; 0: unknown
};

// One JSON object, without a line end. Numbers that are not finite are strings, as in protobuf's JSON; what
// was not measured is null.
std::string ToJson(const RunSummary& summary);
// A line each, with a line end; fit for a terminal, whatever the data files said.
std::string ToTable(const RunSummary& summary);

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_RUN_SUMMARY_H_
