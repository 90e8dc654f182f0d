// How long an alert takes from the step that raised it to a subscriber, beside busy jobs. A section of measure_server.
#ifndef GRADWATCH_TESTS_BENCH_ALERT_LATENCY_H_
#define GRADWATCH_TESTS_BENCH_ALERT_LATENCY_H_

#include <string>

namespace gradwatch::testing {

// With 1, 16 and 40 jobs, for so many seconds each. Prints a row for each number of jobs, and of the same time what a
// sync of the disk and a call over gRPC take. Throws Failed.
void MeasureAlertLatency(int seconds);

// The probe's process: follows the alerts of all jobs as `alerts watch` does. Prints "ready", and then "told
// MILLISECONDS" for each alert: from its time, which is its step's, until it has come.
int ProbeAlertLatency(const std::string& address);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_BENCH_ALERT_LATENCY_H_
