// Edits of a job's controls that the server has acknowledged, and what its log must say of them, whatever was killed
// meanwhile.
#ifndef GRADWATCH_TESTS_FAULTS_EDIT_HISTORY_H_
#define GRADWATCH_TESTS_FAULTS_EDIT_HISTORY_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tests/faults/recording.h"
#include "tests/support/outside.h"

namespace gradwatch::testing {

// An edit that the server has acknowledged.
struct AcknowledgedEdit {
  v1::AdjustJobRequest request;
  v1::AdjustJobResponse answer;

  int64_t id() const { return answer.adjustment().edit(); }
};

// What became of a job's edits.
struct EditCounts {
  int64_t applied = 0;
  int64_t dropped = 0;
  int64_t together = 0;  // applied at the same step as the one before
  int64_t on_time = 0;   // had an at_step, and hold from exactly that one, since the trainer knew them before
  int64_t at_steps = 0;  // had an at_step, and were applied
};

// Sends a request with its request_id until it is answered: UNAVAILABLE, and what else a server leaves behind that was
// killed, is no answer, and RESOURCE_EXHAUSTED says "later". Any other status is returned, also when there is no answer
// before `give_up`.
grpc::Status AskUntilAnswered(const Outside& outside, const std::function<grpc::Status()>& ask, absl::Time give_up);

// Waits until the log says of each of these edits what became of it.
bool AwaitSettled(const Outside& outside, const std::string& job_id, std::set<int64_t> edits,
                  absl::Duration timeout = kLongWait);

// The edits that wait, by pages.
grpc::Status ListEdits(const Outside& outside, const std::string& job_id, std::vector<v1::Adjustment>* edits);

// All of these add failures to the test. Of a job that has ended, whose log is `events` and whose edits are those of
// `acknowledged`, in any order, and no others:
//  - each was asked for once, as it was answered, and is settled once after that, as applied or as dropped;
//  - revisions are 2, 3, 4, ... and effective steps never fall; at one step edits are in the order of (at_step, edit),
//    where one without at_step counts as one of its step;
//  - each holds from its at_step or later, never from a step that was reported when it was accepted, and not later than
//    one that was accepted after it, but for its at_step: a trainer hears of edits in the order of their acceptance;
//  - each was applied to what held then, from `initial` on, and changed what it names and nothing else.
EditCounts CheckEdits(const std::string& job_id, const std::vector<AcknowledgedEdit>& acknowledged,
                      const v1::Controls& initial, const std::vector<v1::Event>& events);
// Every report has the revision that the Adjusted events tell for its step, and was made with those controls: their
// threshold, and their factor on the constant learning rate of the spec, unset: that of FaultTest::Spec.
void CheckRevisions(const std::string& who, const std::vector<StatisticsRange>& statistics,
                    const std::vector<v1::Event>& events, double learning_rate = 0.001);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_FAULTS_EDIT_HISTORY_H_
