#include "server/job/job.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "core/detect/alert_budget.h"
#include "core/detect/episode.h"
#include "server/base/unique_text.h"
#include "server/job/job_context.h"
#include "server/job/job_state.h"

namespace gradwatch::server {
namespace {

constexpr int kEventsAtOnce = 500;
constexpr size_t kBytesAtOnce = size_t{1} << 20;
// More losses of one job are not told: what its store is like is known by then.
constexpr size_t kMaxLosses = 100;

// Servers before there were edits gave each change its revision when it was asked for, and the controls as a whole that
// it would make.
bool IsOld(const v1::Adjustment& requested) { return requested.edit() == 0; }

// An edit as it waits.
v1::Adjustment WaitingEdit(v1::Adjustment edit) {
  if (!IsOld(edit)) return edit;
  edit.set_edit(edit.revision());
  edit.clear_revision();
  edit.mutable_values()->Swap(edit.mutable_new_controls());
  edit.clear_old_controls();
  edit.clear_new_controls();
  return edit;
}

int64_t IdOf(const v1::Adjustment& edit) { return IsOld(edit) ? edit.revision() : edit.edit(); }

void SetEdits(PendingEdits::List edits, JobRecord* record) {
  record->row.job.set_waiting_edits(static_cast<int32_t>(edits->size()));
  record->edits = std::move(edits);
}

void FoldRequested(const v1::Adjustment& requested, JobRecord* record) {
  v1::Job& job = record->row.job;
  job.set_last_edit(std::max(job.last_edit(), IdOf(requested)));
  // What nobody waits for any more is not withdrawn.
  if (!requested.withdrawn_by().empty() && record->edits->Find(IdOf(requested)) == nullptr) return;
  SetEdits(record->edits->With(WaitingEdit(requested)), record);
}

void FoldAlert(const v1::Alert& alert, JobRecord* record) {
  v1::Job& job = record->row.job;
  if (alert.attempt() > record->episodes_attempt) {
    record->episodes.clear();
    record->told_episodes.clear();
    record->episodes_attempt = alert.attempt();
  }
  if (alert.attempt() == record->episodes_attempt) {
    int32_t& last = record->episodes[alert.rule()];
    if (alert.episode() > last) ++record->told_episodes[alert.rule()];
    last = std::max(last, alert.episode());
  }
  const auto known = record->open_alerts.find(alert.alert_id());
  const bool was_firing = known != record->open_alerts.end() && known->second.state() == v1::ALERT_STATE_FIRING;
  const bool fires = alert.state() == v1::ALERT_STATE_FIRING;
  if (fires && !was_firing) job.set_fired_alerts(job.fired_alerts() + 1);
  job.set_firing_alerts(job.firing_alerts() + fires - was_firing);
  if (alert.state() == v1::ALERT_STATE_RESOLVED) {
    if (known != record->open_alerts.end()) record->open_alerts.erase(known);
  } else {
    record->open_alerts[alert.alert_id()] = alert;
  }
}

// The row of such a server says what was asked for last. `before`: the controls before each change that was asked for,
// by revision. What is in force are those before the first one that waits.
void TakeBackWhatWaits(const std::map<int64_t, v1::Controls>& before, JobRecord* record) {
  v1::Job& job = record->row.job;
  const int64_t in_force = std::max<int64_t>(job.applied_revision(), 1);
  if (job.control_revision() <= in_force) return;  // the row is of a server that knows edits
  for (const auto& [revision, controls] : before) {
    if (record->edits->Find(revision) == nullptr) continue;
    *job.mutable_controls() = controls;
    job.set_control_revision(in_force);
    return;
  }
}

// Calls `use` with every event of a job, in order, until it says false.
absl::Status ForEachEvent(absl::string_view uid, LedgerReader* reader, absl::FunctionRef<bool(const v1::Event&)> use) {
  for (int64_t last = 0;;) {
    GW_ASSIGN_OR_RETURN(const auto events, reader->ReadEvents(uid, last, kEventsAtOnce, kBytesAtOnce));
    if (events.empty()) return absl::OkStatus();
    for (const auto& stored : events) {
      if (!use(stored.event)) return absl::OkStatus();
    }
    last = events.back().event.number();
  }
}

void Log(const v1::Event& event) {
  if (event.has_state_changed()) {
    const v1::StateChanged& change = event.state_changed();
    spdlog::info("job {}: {}{}{}", event.job_id(), StateName(change.to()), change.reason().empty() ? "" : ": ",
                 change.reason());
  } else if (event.has_trainer_attached()) {
    spdlog::info("job {}: trainer attached, attempt {}", event.job_id(), event.attempt());
  } else if (event.has_trainer_detached()) {
    spdlog::info("job {}: trainer detached: {}", event.job_id(), event.trainer_detached().reason());
  } else if (event.has_data_loss()) {
    spdlog::error("job {}: data loss: {}", event.job_id(), event.data_loss().description());
  }
}

// Episodes that a trainer has numbered and not told, up to the last ones that it told.
int64_t CountedEpisodes(const JobRecord& record) {
  int64_t counted = 0;
  for (const auto& [rule, last] : record.episodes) {
    const auto told = record.told_episodes.find(rule);
    counted += last - (told == record.told_episodes.end() ? 0 : told->second);
  }
  return counted;
}

// How an alert was that its trainer did not end. That of alerts which were counted, not told, gets their number, which
// the trainer alone knows in full.
std::string EndOf(const JobRecord& record, v1::Alert* alert) {
  if (alert->state() != v1::ALERT_STATE_FIRING) return absl::StrCat(core::kHadNotFiredYet, "pending");
  if (alert->rule() != core::kTruncationRule) return "firing";
  const int64_t counted = std::max<int64_t>(1, CountedEpisodes(record));
  alert->set_value(static_cast<double>(counted));
  return absl::StrCat("at least ", counted, counted == 1 ? " alert was" : " alerts were", " counted, not told,");
}

bool EndsJob(const v1::Event& event) { return event.has_state_changed() && IsFinal(event.state_changed().to()); }

}  // namespace

void JobRecord::Pack() {
  if (!packed.empty()) return;
  v1::Job large;
  if (row.job.has_spec()) large.mutable_spec()->Swap(row.job.mutable_spec());
  if (row.job.has_controls()) large.mutable_controls()->Swap(row.job.mutable_controls());
  large.mutable_tensors()->Swap(row.job.mutable_tensors());
  row.job.clear_spec();
  row.job.clear_controls();
  episodes.clear();
  told_episodes.clear();
  rule_ages = nullptr;
  packed = large.SerializeAsString();
}

void JobRecord::Unpack() {
  if (packed.empty()) return;
  row.job.MergeFromString(packed);
  packed.clear();
}

bool JobRecord::ended() const { return IsFinal(row.job.state()); }

bool JobRecord::waiting() const { return row.job.state() == v1::JOB_STATE_PENDING && row.attach_token.empty(); }

bool JobRecord::trainer_may_have_edits() const { return row.job.has_start_time(); }

void FoldEvent(const v1::Event& event, JobRecord* record) {
  switch (event.what_case()) {
    case v1::Event::kStateChanged:
      if (event.state_changed().to() == v1::JOB_STATE_RECOVERING) {
        record->before_recovery = event.state_changed().from();
      }
      break;
    case v1::Event::kAdjustRequested:
      FoldRequested(event.adjust_requested().adjustment(), record);
      break;
    case v1::Event::kAdjusted:
      record->applied_attempt = event.attempt();
      record->applied_from = event.adjusted().adjustment().effective_step();
      if (RuleAges::Concerns(event.adjusted().adjustment())) {
        RuleAges ages = record->rule_ages == nullptr ? RuleAges() : *record->rule_ages;
        ages.Fold(event.adjusted().adjustment(), event.attempt());
        record->rule_ages = std::make_shared<const RuleAges>(std::move(ages));
      }
      SetEdits(record->edits->Without(IdOf(event.adjusted().adjustment())), record);
      break;
    case v1::Event::kAdjustDropped:
      SetEdits(record->edits->Without(IdOf(event.adjust_dropped().adjustment())), record);
      break;
    case v1::Event::kAlertChanged:
      FoldAlert(event.alert_changed().alert(), record);
      break;
    case v1::Event::kTrainerAttached:
      record->attached = true;
      break;
    case v1::Event::kTrainerDetached:
      record->attached = false;
      break;
    case v1::Event::kDataLoss:
      record->data_losses.insert(event.data_loss().description());
      break;
    default:
      break;
  }
}

absl::StatusOr<JobRecord> LoadRecord(JobRow row, LedgerReader* reader) {
  JobRecord record;
  record.row = std::move(row);
  if (record.row.job.spec().has_rules()) CompleteStoredRules(record.row.job.mutable_spec()->mutable_rules());
  if (record.ended()) {
    record.Pack();
    return record;
  }
  v1::Job& job = record.row.job;
  job.set_firing_alerts(0);  // counted again
  job.set_fired_alerts(0);
  job.set_waiting_edits(0);
  std::map<int64_t, v1::Controls> before;
  GW_RETURN_IF_ERROR(ForEachEvent(job.uid(), reader, [&](const v1::Event& event) {
    FoldEvent(event, &record);
    const v1::Adjustment& requested = event.adjust_requested().adjustment();
    if (event.has_adjust_requested() && IsOld(requested)) before[requested.revision()] = requested.old_controls();
    return true;
  }));
  TakeBackWhatWaits(before, &record);
  return record;
}

absl::StatusOr<RuleAges> ReadRuleAges(absl::string_view uid, LedgerReader* reader) {
  RuleAges ages;
  GW_RETURN_IF_ERROR(ForEachEvent(uid, reader, [&](const v1::Event& event) {
    const v1::Adjustment& adjusted = event.adjusted().adjustment();
    if (event.has_adjusted() && RuleAges::Concerns(adjusted)) ages.Fold(adjusted, event.attempt());
    return true;
  }));
  return ages;
}

absl::StatusOr<bool> LogTellsDataLoss(absl::string_view uid, const std::string& description, LedgerReader* reader) {
  bool told = false;
  GW_RETURN_IF_ERROR(ForEachEvent(uid, reader, [&](const v1::Event& event) {
    told = event.has_data_loss() && event.data_loss().description() == description;
    return !told;
  }));
  return told;
}

int64_t MaxSteps(const v1::Job& job) {
  constexpr int64_t kMostSteps = 1'000'000'000'000;  // as core/spec allows
  return job.spec().steps() > 0 ? job.spec().steps() : kMostSteps;
}

ReportLimits LimitsOf(const JobRecord* record) {
  if (record == nullptr) return {};
  return {.tensors = record->row.job.tensors_size(), .steps = MaxSteps(record->row.job)};
}

std::string WithdrawnBy(absl::string_view actor) { return absl::StrCat("withdrawn by ", actor); }

std::string MakeEtag(const v1::Job& job) {
  std::string text = absl::StrCat(job.uid(), "/", job.last_edit(), "\n", job.spec().display_name());
  // Labels in the order of their keys; the map has none.
  const std::map<std::string, std::string> labels(job.spec().labels().begin(), job.spec().labels().end());
  for (const auto& [key, value] : labels) absl::StrAppend(&text, "\n", key, "=", value);
  // A job that has none keeps the etag that it had before there was one.
  if (job.spec().has_retention()) absl::StrAppend(&text, "\n\n", job.spec().retention().SerializeAsString());
  return Sha256Hex(text).substr(0, 16);
}

void SendIfAttached(const TrainerSlot& trainer, v1::TrainerDirective directive) {
  if (trainer.link != nullptr && trainer.welcomed) trainer.link->Send(std::move(directive));
}

int64_t ReportedSteps(const JobEntry& entry) {
  const LiveFigures figures = entry.intake.figures();
  return figures.attempt == entry.working->row.job.attempt() ? figures.steps_done : 0;
}

JobEntry::JobEntry(std::string uid, std::string job_id, int64_t order, std::shared_ptr<JobChannel> channel)
    : uid(std::move(uid)), job_id(std::move(job_id)), order(order), channel(std::move(channel)) {}

std::shared_ptr<const JobRecord> JobEntry::published() const {
  absl::MutexLock lock(&mutex_);
  return published_;
}

void JobEntry::Publish(std::shared_ptr<const JobRecord> record) {
  absl::MutexLock lock(&mutex_);
  published_.swap(record);  // the old one goes outside of the lock
}

std::optional<v1::Job> JobEntry::Snapshot() const {
  const auto record = published();
  if (record == nullptr) return std::nullopt;
  v1::Job job = record->row.job;
  job.MergeFromString(record->packed);
  if (!record->ended()) MergeFigures(intake.figures(), &job);
  return job;
}

std::optional<v1::JobFigures> JobEntry::Figures(absl::Duration now) const {
  const auto record = published();
  if (record == nullptr) return std::nullopt;
  const v1::Job& stored = record->row.job;
  v1::Job live;  // only what figures are about: a whole job is large
  live.set_attempt(stored.attempt());
  MergeFigures(FiguresOf(stored), &live);
  if (!record->ended()) MergeFigures(intake.figures(), &live);
  v1::JobFigures figures;
  figures.set_job_id(job_id);
  figures.set_uid(uid);
  figures.set_state(stored.state());
  figures.set_attempt(stored.attempt());
  figures.set_steps_done(live.steps_done());
  if (const auto rate = intake.StepsPerSecond(now); rate.has_value()) figures.set_steps_per_second(*rate);
  if (live.has_last_loss()) figures.set_loss(live.last_loss());
  if (live.has_last_grad_norm()) figures.set_grad_norm(live.last_grad_norm());
  if (live.has_last_non_finite()) figures.set_non_finite(live.last_non_finite());
  figures.set_firing_alerts(stored.firing_alerts());
  figures.set_fired_alerts(stored.fired_alerts());
  return figures;
}

bool JobEntry::ClaimLoss(const std::string& description) {
  absl::MutexLock lock(&mutex_);
  return claimed_losses_.size() < kMaxLosses && claimed_losses_.insert(description).second;
}

void JobEntry::ForgetLoss(const std::string& description) {
  absl::MutexLock lock(&mutex_);
  claimed_losses_.erase(description);
}

// --- One change, written and published ---

JobEdit::JobEdit(JobContext* context, std::shared_ptr<JobEntry> entry, LedgerTransaction* transaction)
    : context_(context),
      entry_(std::move(entry)),
      transaction_(transaction),
      record_(std::make_shared<JobRecord>(*entry_->working)) {
  record_->Unpack();
  if (record_->ended()) return;
  MergeFigures(entry_->intake.figures(), &job());
  if (record_->row.handle.empty()) record_->row.handle = entry_->trainer.handle;
}

JobEdit::JobEdit(JobContext* context, std::shared_ptr<JobEntry> entry, LedgerTransaction* transaction, JobRecord first)
    : context_(context),
      entry_(std::move(entry)),
      transaction_(transaction),
      record_(std::make_shared<JobRecord>(std::move(first))) {}

void JobEdit::Append(v1::Event event) {
  event.set_job_id(entry_->job_id);
  event.set_number(job().last_event() + 1);
  event.set_attempt(job().attempt());
  event.set_steps_done(std::max(job().steps_done(), steps_done_));
  job().set_last_event(event.number());
  FoldEvent(event, record_.get());
  events_.push_back({std::move(event), 0});
}

void JobEdit::AppendAlert(v1::Alert alert) {
  alert.clear_acknowledged_by();
  alert.clear_acknowledge_time();
  alert.clear_acknowledge_comment();
  if (const auto known = record_->open_alerts.find(alert.alert_id()); known != record_->open_alerts.end()) {
    alert.set_acknowledged_by(known->second.acknowledged_by());
    alert.set_acknowledge_comment(known->second.acknowledge_comment());
    if (known->second.has_acknowledge_time()) *alert.mutable_acknowledge_time() = known->second.acknowledge_time();
  }
  const auto silences = context_->silences.Matching(alert, context_->deps.clock->Now());
  alert.mutable_silenced_by()->Assign(silences.begin(), silences.end());
  v1::Event event;
  *event.mutable_alert_changed()->mutable_alert() = std::move(alert);
  Append(std::move(event));
}

void JobEdit::SetSeverity(const v1::Rule& rule) {
  for (auto [id, alert] : std::map<std::string, v1::Alert>(record_->open_alerts)) {
    if (alert.rule() != rule.name() || alert.severity() == rule.severity()) continue;
    alert.set_severity(rule.severity());
    *alert.mutable_time() = core::ToTimestamp(context_->deps.clock->Now());
    AppendAlert(std::move(alert));
  }
}

void JobEdit::ResolveAlerts(absl::string_view when) {
  for (auto [id, alert] : std::map<std::string, v1::Alert>(record_->open_alerts)) {
    alert.set_summary(absl::StrCat(EndOf(*record_, &alert), " when ", when, "; it was: ", alert.summary()));
    alert.set_step(std::max(alert.step(), job().steps_done() - 1));
    alert.set_state(v1::ALERT_STATE_RESOLVED);
    *alert.mutable_time() = core::ToTimestamp(context_->deps.clock->Now());
    AppendAlert(std::move(alert));
  }
}

void JobEdit::AppendDetached(const std::string& reason) {
  v1::Event event;
  event.mutable_trainer_detached()->set_reason(reason);
  Append(std::move(event));
}

void JobEdit::AppendDataLoss(const std::string& description) {
  if (record_->data_losses.contains(description)) return;
  v1::Event event;
  event.mutable_data_loss()->set_description(description);
  Append(std::move(event));
}

void JobEdit::AppendDropped(v1::Adjustment edit, std::string reason, bool may_have_held) {
  edit.clear_withdrawn_by();  // it is answered
  v1::Event event;
  *event.mutable_adjust_dropped()->mutable_adjustment() = std::move(edit);
  event.mutable_adjust_dropped()->set_reason(std::move(reason));
  event.mutable_adjust_dropped()->set_may_have_held(may_have_held);
  Append(std::move(event));
}

bool JobEdit::MoveTo(v1::JobState state, const std::string& reason) {
  if (job().state() == state) return true;
  const std::vector<v1::JobState> path = PathBetween(job().state(), state);
  for (const v1::JobState next : path) {
    v1::Event event;
    event.mutable_state_changed()->set_from(job().state());
    event.mutable_state_changed()->set_to(next);
    event.mutable_state_changed()->set_reason(reason);
    job().set_state(next);
    Append(std::move(event));
  }
  return !path.empty();
}

void JobEdit::End(v1::JobState state, const std::string& reason, bool all_told) {
  const bool known = all_told || !record_->trainer_may_have_edits();
  const std::vector<PendingEdits::Edit> waiting = record_->edits->After({});
  SetEdits(PendingEdits::None(), record_.get());  // at once: each by itself would make the list anew
  for (const PendingEdits::Edit& edit : waiting) {
    if (!known) {
      AppendDropped(*edit, "its trainer was gone before it told what became of it", /*may_have_held=*/true);
    } else if (!edit->withdrawn_by().empty()) {
      AppendDropped(*edit, WithdrawnBy(edit->withdrawn_by()));
    } else {
      AppendDropped(*edit, "the job ended before its turn came");
    }
  }
  ResolveAlerts("the job ended");
  *job().mutable_end_time() = core::ToTimestamp(context_->deps.clock->Now());
  if (state == v1::JOB_STATE_FAILED) job().set_failure(reason);
  MoveTo(state, reason);
}

absl::Status JobEdit::Write() {
  GW_RETURN_IF_ERROR(transaction_->PutJob(record_->row));
  for (Entry& entry : events_) {
    GW_ASSIGN_OR_RETURN(entry.position, transaction_->AppendEvent(entry_->uid, &entry.event));
  }
  return absl::OkStatus();
}

void JobEdit::Publish(absl::AnyInvocable<void(const JobRecord&)> then) {
  if (record_->ended()) record_->Pack();
  entry_->working = record_;
  transaction_->OnCommit([context = context_, entry = entry_, record = record_, events = std::move(events_),
                          then = std::move(then)](const absl::Status& status) mutable {
    if (!status.ok()) return context->table.RollBack(entry);
    Show(context, entry, record, events);
    if (then != nullptr) then(*record);
  });
}

// The reports around an alert are spared by retention: what led to it, and what came of it.
void JobEdit::ProtectAround(const std::string& uid, const v1::Alert& alert, StatisticsStore& statistics) {
  constexpr int64_t kSteps = 256;
  if (alert.state() != v1::ALERT_STATE_FIRING) return;
  statistics.Protect(uid, alert.attempt(), alert.step() - kSteps, alert.step() + kSteps);
}

void JobEdit::Show(JobContext* context, const std::shared_ptr<JobEntry>& entry, std::shared_ptr<const JobRecord> record,
                   const std::vector<Entry>& events) {
  if (record->ended()) entry->intake.Close();
  context->table.Publish(entry, std::move(record));
  if (events.empty()) return;
  for (const auto& [event, position] : events) {
    if (event.has_alert_changed()) ProtectAround(entry->uid, event.alert_changed().alert(), *context->deps.statistics);
    const EncodedEvent encoded = EncodeEvent(event, position);
    entry->channel->AppendEvent(encoded, EndsJob(event));
    context->deps.events->Append(encoded);
    Log(event);
  }
  context->deps.hub->Notify(entry->uid);
  context->deps.hub->Notify(Hub::kEventsTopic);
}

}  // namespace gradwatch::server
