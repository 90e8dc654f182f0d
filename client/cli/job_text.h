// A job as people read it.
#ifndef GRADWATCH_CLIENT_CLI_JOB_TEXT_H_
#define GRADWATCH_CLIENT_CLI_JOB_TEXT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::cli {

// Name and value, a line each. `counted_alerts` stands behind the numbers of alerts: what is said of those that were
// not told one by one.
std::string JobText(const v1::Job& job, absl::Time now, absl::TimeZone zone = absl::LocalTimeZone(),
                    absl::string_view counted_alerts = "");

// One line a job, with a header.
std::string JobListText(const std::vector<v1::Job>& jobs, absl::Time now);

// " (2 of them with NaN or infinities)"; "" if there are none.
std::string NonFiniteStepsText(const v1::Job& job);

// "1234 parameters; memory: 130 MiB in all: 10 KiB parameters and optimizer, 3 KiB activations, 1 MiB data, ...": every
// part that is not 0.
std::string EstimateText(const v1::ResourceEstimate& estimate);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_JOB_TEXT_H_
