#include "tests/faults/edit_history.h"

#include <google/protobuf/util/field_mask_util.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/synchronization/notification.h"

namespace gradwatch::testing {
namespace {

using google::protobuf::util::FieldMaskUtil;
using google::protobuf::util::MessageDifferencer;

// Tells the first failures of one kind; the rest says nothing new.
class Findings {
 public:
  explicit Findings(std::string kind) : kind_(std::move(kind)) {}
  template <typename Tell>
  void Expect(bool holds, Tell tell) {
    if (!holds && told_++ < 5) ADD_FAILURE() << kind_ << ": " << tell();
  }

 private:
  const std::string kind_;
  int told_ = 0;
};

// What a log says of one edit.
struct Entry {
  const v1::Event* asked = nullptr;
  const v1::Event* settled = nullptr;
  int times_asked = 0;
  int times_settled = 0;

  bool is_applied() const { return settled != nullptr && settled->has_adjusted(); }
  const v1::Adjustment& applied() const { return settled->adjusted().adjustment(); }
};

struct EditLog {
  std::map<int64_t, Entry> entries;
  std::vector<const v1::Adjustment*> applied;  // in the order of the log
};

bool IsWithdrawal(const v1::Event& event) { return !event.adjust_requested().adjustment().withdrawn_by().empty(); }

// The edit of which the event says what became of it; 0: it is another event.
int64_t SettledEdit(const v1::Event& event) {
  if (event.has_adjusted()) return event.adjusted().adjustment().edit();
  return event.has_adjust_dropped() ? event.adjust_dropped().adjustment().edit() : 0;
}

EditLog ReadLog(const std::vector<v1::Event>& events) {
  EditLog log;
  for (const v1::Event& event : events) {
    if (event.has_adjust_requested() && !IsWithdrawal(event)) {
      Entry& entry = log.entries[event.adjust_requested().adjustment().edit()];
      entry.asked = &event;
      ++entry.times_asked;
    }
    if (const int64_t edit = SettledEdit(event); edit != 0) {
      Entry& entry = log.entries[edit];
      entry.settled = &event;
      ++entry.times_settled;
      if (event.has_adjusted()) log.applied.push_back(&event.adjusted().adjustment());
    }
  }
  return log;
}

// What was asked for, as it must be said in every event of the edit.
bool IsAsAsked(const v1::Adjustment& told, const v1::AdjustJobRequest& request) {
  return std::equal(told.paths().begin(), told.paths().end(), request.update_mask().paths().begin(),
                    request.update_mask().paths().end()) &&
         MessageDifferencer::Equals(told.values(), request.controls()) && told.has_at_step() == request.has_at_step() &&
         told.at_step() == request.at_step();
}

// Each acknowledged edit was asked for once and is settled once, and there are no others.
void CheckOnce(const std::string& job_id, const std::vector<AcknowledgedEdit>& acknowledged, const EditLog& log) {
  Findings asked(job_id + ": asked for"), answers(job_id + ": answered otherwise"), settled(job_id + ": settled");
  std::set<int64_t> ids;
  for (const AcknowledgedEdit& edit : acknowledged) {
    const auto found = log.entries.find(edit.id());
    const Entry entry = found == log.entries.end() ? Entry() : found->second;
    const auto tell = [&edit] { return edit.answer.ShortDebugString(); };
    asked.Expect(ids.insert(edit.id()).second && entry.times_asked == 1, tell);
    settled.Expect(entry.times_settled == 1, [&] { return absl::StrCat(entry.times_settled, " times: ", tell()); });
    if (entry.asked == nullptr || entry.settled == nullptr) continue;
    const v1::Adjustment& told = entry.asked->adjust_requested().adjustment();
    answers.Expect(IsAsAsked(told, edit.request) && entry.asked->number() == edit.answer.event_number() &&
                       MessageDifferencer::Equals(told, edit.answer.adjustment()) && told.revision() == 0 &&
                       !told.has_effective_step() && !told.has_old_controls() && !told.has_new_controls(),
                   tell);
    const v1::Event& end = *entry.settled;
    settled.Expect(end.number() > entry.asked->number() &&
                       IsAsAsked(end.has_adjusted() ? end.adjusted().adjustment() : end.adjust_dropped().adjustment(),
                                 edit.request),
                   [&] { return end.ShortDebugString() + "\nafter " + tell(); });
    settled.Expect(end.has_adjusted() ||
                       (!end.adjust_dropped().reason().empty() && end.adjust_dropped().adjustment().revision() == 0),
                   [&] { return end.ShortDebugString(); });
  }
  EXPECT_EQ(log.entries.size(), ids.size()) << job_id << ": edits in the log that nobody was answered";
}

// The place of an applied edit in the order in which edits are applied.
std::tuple<int64_t, int64_t, int64_t> PlaceOf(const v1::Adjustment& edit) {
  return {edit.effective_step(), edit.has_at_step() ? edit.at_step() : edit.effective_step(), edit.edit()};
}

void CheckOrder(const std::string& job_id, const EditLog& log) {
  Findings revisions(job_id + ": revision"), order(job_id + ": order");
  for (size_t i = 0; i < log.applied.size(); ++i) {
    const v1::Adjustment& edit = *log.applied[i];
    const auto tell = [&edit] { return edit.ShortDebugString(); };
    revisions.Expect(edit.revision() == static_cast<int64_t>(i) + 2 && edit.has_effective_step(), tell);
    order.Expect(i == 0 || PlaceOf(*log.applied[i - 1]) < PlaceOf(edit),
                 [&] { return tell() + "\nafter " + log.applied[i - 1]->ShortDebugString(); });
  }
}

void CheckSteps(const std::string& job_id, const EditLog& log, EditCounts* counts) {
  Findings early(job_id + ": too early"), late(job_id + ": too late");
  int64_t known = std::numeric_limits<int64_t>::max();  // a step before which the trainer knew of this edit
  for (auto at = log.entries.rbegin(); at != log.entries.rend(); ++at) {
    const Entry& entry = at->second;
    if (!entry.is_applied() || entry.asked == nullptr) continue;
    const v1::Adjustment& edit = entry.applied();
    const int64_t step = edit.effective_step(), wanted = edit.has_at_step() ? edit.at_step() : 0;
    early.Expect(step >= wanted && step >= entry.asked->steps_done(),
                 [&] { return entry.asked->ShortDebugString() + "\nbut " + edit.ShortDebugString(); });
    late.Expect(step <= std::max(wanted, known), [&] {
      return absl::StrCat(edit.ShortDebugString(), "\nbut a later one was known before step ", known);
    });
    counts->at_steps += edit.has_at_step() ? 1 : 0;
    counts->on_time += edit.has_at_step() && step == edit.at_step() && known <= step ? 1 : 0;
    known = std::min(known, step);
  }
}

void CheckChain(const std::string& job_id, const v1::Controls& initial, const EditLog& log) {
  Findings old(job_id + ": was applied to what did not hold"), changes(job_id + ": changed something else");
  const v1::Controls* before = &initial;
  for (const v1::Adjustment* const edit : log.applied) {
    old.Expect(MessageDifferencer::Equals(edit->old_controls(), *before),
               [&] { return edit->ShortDebugString() + "\nbut there held " + before->ShortDebugString(); });
    google::protobuf::FieldMask mask;
    *mask.mutable_paths() = edit->paths();
    v1::Controls expected = edit->old_controls();
    FieldMaskUtil::MergeMessageTo(edit->values(), mask, FieldMaskUtil::MergeOptions(), &expected);
    changes.Expect(MessageDifferencer::Equals(edit->new_controls(), expected),
                   [&] { return edit->ShortDebugString() + "\nbut it asked for " + expected.ShortDebugString(); });
    before = &edit->new_controls();
  }
}

// What a report must say: the revision and, once an edit was applied, its controls.
bool IsMadeWith(const StatisticsRange& report, int64_t revision, const v1::Controls* controls, double learning_rate) {
  if (report.revision != revision) return false;
  if (controls == nullptr) return true;
  const double rate = learning_rate * controls->learning_rate_scale();
  if (std::abs(report.learning_rate - rate) > 1e-9 * rate) return false;
  return controls->clip().mode() != v1::CLIP_MODE_GLOBAL_NORM || report.threshold == controls->clip().threshold();
}

}  // namespace

grpc::Status AskUntilAnswered(const Outside& outside, const std::function<grpc::Status()>& ask, absl::Time give_up) {
  for (;;) {
    const grpc::Status status = ask();
    const bool later = status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
    const bool again = later || status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                       status.error_code() == grpc::StatusCode::CANCELLED ||
                       status.error_code() == grpc::StatusCode::UNKNOWN ||
                       status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
    if (!again || absl::Now() > give_up) return status;
    if (later) absl::Notification().WaitForNotificationWithTimeout(absl::Milliseconds(50));  // nothing tells when
    outside.AwaitAnswer();
  }
}

bool AwaitSettled(const Outside& outside, const std::string& job_id, std::set<int64_t> edits, absl::Duration timeout) {
  if (edits.empty()) return true;
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  request.set_from_beginning(true);
  request.set_events_only(true);
  return outside.Watch(
      request,
      [&edits](const v1::WatchJobResponse& response) {
        for (const v1::Event& event : response.events()) edits.erase(SettledEdit(event));
        return edits.empty();
      },
      timeout);
}

grpc::Status ListEdits(const Outside& outside, const std::string& job_id, std::vector<v1::Adjustment>* edits) {
  v1::ListEditsRequest request;
  request.set_job_id(job_id);
  request.set_page_size(100);
  do {
    v1::ListEditsResponse page;
    const grpc::Status status = outside.jobs->ListEdits(Outside::Context().get(), request, &page);
    if (!status.ok()) return status;
    edits->insert(edits->end(), page.edits().begin(), page.edits().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return grpc::Status::OK;
}

EditCounts CheckEdits(const std::string& job_id, const std::vector<AcknowledgedEdit>& acknowledged,
                      const v1::Controls& initial, const std::vector<v1::Event>& events) {
  const EditLog log = ReadLog(events);
  EditCounts counts;
  counts.applied = static_cast<int64_t>(log.applied.size());
  counts.dropped = static_cast<int64_t>(log.entries.size()) - counts.applied;
  for (size_t i = 1; i < log.applied.size(); ++i) {
    counts.together += log.applied[i]->effective_step() == log.applied[i - 1]->effective_step() ? 1 : 0;
  }
  CheckOnce(job_id, acknowledged, log);
  CheckOrder(job_id, log);
  CheckSteps(job_id, log, &counts);
  CheckChain(job_id, initial, log);
  return counts;
}

void CheckRevisions(const std::string& who, const std::vector<StatisticsRange>& statistics,
                    const std::vector<v1::Event>& events, double learning_rate) {
  const EditLog log = ReadLog(events);
  Findings findings(who + ": other controls than were told");
  size_t next = 0;  // edit to hold
  const v1::Controls* controls = nullptr;
  int64_t revision = 1;
  for (const StatisticsRange& range : statistics) {
    for (; next < log.applied.size() && log.applied[next]->effective_step() <= range.first; ++next) {
      revision = log.applied[next]->revision();
      controls = &log.applied[next]->new_controls();
    }
    findings.Expect(range.lost || IsMadeWith(range, revision, controls, learning_rate), [&] {
      return absl::StrCat("step ", range.first, " has revision ", range.revision, ", rate ", range.learning_rate,
                          ", threshold ", range.threshold, " where revision ", revision,
                          " holds: ", controls == nullptr ? "the first" : controls->ShortDebugString());
    });
  }
}

}  // namespace gradwatch::testing
