#include "server/job/report_intake.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/history/encoded_report.h"
#include "server/job/trainer_checks.h"

namespace gradwatch::server {
namespace {

constexpr int kMaxEntries = 1024;  // of each kind in a batch
constexpr char kNotKept[] = "the trainer could not keep them while the server was away, or too slow";
constexpr char kGone[] = "they were reported, and what was stored of them is gone";

constexpr absl::Duration kFirstPause = absl::Seconds(1);
constexpr absl::Duration kLongestPause = absl::Seconds(30);

constexpr absl::Duration kRateWindow = absl::Seconds(10);
// Arrivals closer than this count as one, so that a window has a bounded number of them.
constexpr absl::Duration kArrivalSpacing = absl::Milliseconds(200);
// A rate over less than this says nothing.
constexpr absl::Duration kShortestRate = absl::Milliseconds(500);

// A closed range of steps of a batch; `report` is null where the range is lost.
struct Entry {
  int64_t first = 0;
  int64_t last = 0;
  v1::StepReport* report = nullptr;
};

absl::Status CheckCounts(const v1::ReportBatch& batch) {
  if (batch.reports_size() > kMaxEntries) {
    return core::InvalidField("reports.reports", absl::StrCat(batch.reports_size(), " is more than ", kMaxEntries));
  }
  if (batch.lost_size() > kMaxEntries) {
    return core::InvalidField("reports.lost", absl::StrCat(batch.lost_size(), " is more than ", kMaxEntries));
  }
  return absl::OkStatus();
}

absl::string_view FieldOf(const Entry& entry) {
  return entry.report == nullptr ? "reports.lost" : "reports.reports.step";
}

// Steps that nobody told would be taken for lost later on, one gap after the other.
absl::Status Gap(const Entry& entry, int64_t last) {
  return core::InvalidField(FieldOf(entry), absl::StrCat(entry.first, " comes after ", last, ": step ", last + 1,
                                                         " is neither reported nor told as lost"));
}

absl::Status CheckEntry(const Entry& entry, int64_t last, const ReportLimits& limits) {
  const bool lost = entry.report == nullptr;
  const absl::string_view field = FieldOf(entry);
  if (entry.first <= last) return core::InvalidField(field, absl::StrCat(entry.first, " comes after ", last));
  if (entry.last < entry.first) {
    return core::InvalidField(field, absl::StrCat("the range ends at ", entry.last, ", before ", entry.first));
  }
  if (entry.last >= limits.steps) {
    return core::InvalidField(field, absl::StrCat(entry.last, ": the job has steps 0 to ", limits.steps - 1));
  }
  return lost ? absl::OkStatus() : CheckReport(*entry.report, limits.tensors);
}

// Reports and lost ranges of a batch in one order.
absl::StatusOr<std::vector<Entry>> InOrder(v1::ReportBatch* batch, const ReportLimits& limits) {
  GW_RETURN_IF_ERROR(CheckCounts(*batch));
  std::vector<Entry> entries;
  auto lost = batch->lost().begin();
  const auto add_lost_before = [&](int64_t step) {
    for (; lost != batch->lost().end() && lost->first_step() < step; ++lost) {
      entries.push_back({lost->first_step(), lost->last_step(), nullptr});
    }
  };
  for (v1::StepReport& report : *batch->mutable_reports()) {
    add_lost_before(report.step());
    entries.push_back({report.step(), report.step(), &report});
  }
  for (; lost != batch->lost().end(); ++lost) entries.push_back({lost->first_step(), lost->last_step(), nullptr});
  int64_t last = -1;
  for (const Entry& entry : entries) {
    GW_RETURN_IF_ERROR(CheckEntry(entry, last, limits));
    if (&entry != &entries.front() && entry.first != last + 1) return Gap(entry, last);
    last = entry.last;
  }
  return entries;
}

}  // namespace

void LiveFigures::Add(const v1::StepReport& report) {
  steps_done = std::max(steps_done, report.step() + 1);
  control_revision = report.control_revision();
  last_loss = report.loss();
  last_grad_norm.reset();
  if (report.has_grad_norm()) last_grad_norm = report.grad_norm();
  last_non_finite = report.nan_count() + report.pos_inf_count() + report.neg_inf_count();
  if (*last_non_finite > 0 || !std::isfinite(report.loss())) ++non_finite_steps;
  if (!report.has_validation()) return;
  last_validation = report.validation();
  last_validation_step = report.step();
}

void LiveFigures::Add(const LiveFigures& later) {
  if (later.attempt != attempt) {
    *this = later;
    return;
  }
  steps_done = std::max(steps_done, later.steps_done);
  non_finite_steps += later.non_finite_steps;
  if (later.last_loss.has_value()) {  // there were reports
    control_revision = later.control_revision;
    last_loss = later.last_loss;
    last_grad_norm = later.last_grad_norm;
    last_non_finite = later.last_non_finite;
  }
  if (!later.last_validation.has_value()) return;
  last_validation = later.last_validation;
  last_validation_step = later.last_validation_step;
}

LiveFigures FiguresOf(const v1::Job& job) {
  LiveFigures figures;
  figures.attempt = job.attempt();
  figures.steps_done = job.steps_done();
  if (job.has_last_loss()) figures.last_loss = job.last_loss();
  if (job.has_last_grad_norm()) figures.last_grad_norm = job.last_grad_norm();
  if (job.has_last_non_finite()) figures.last_non_finite = job.last_non_finite();
  figures.non_finite_steps = job.non_finite_steps();
  if (job.has_last_validation()) figures.last_validation = job.last_validation();
  figures.last_validation_step = job.last_validation_step();
  return figures;
}

void MergeFigures(const LiveFigures& figures, v1::Job* job) {
  if (figures.attempt != job->attempt()) return;
  job->set_steps_done(std::max(job->steps_done(), figures.steps_done));
  job->set_non_finite_steps(figures.non_finite_steps);
  if (figures.last_loss.has_value()) {
    job->set_last_loss(*figures.last_loss);
    job->clear_last_grad_norm();
    if (figures.last_grad_norm.has_value()) job->set_last_grad_norm(*figures.last_grad_norm);
    job->clear_last_non_finite();
    if (figures.last_non_finite.has_value()) job->set_last_non_finite(*figures.last_non_finite);
  }
  if (figures.last_validation.has_value()) {
    *job->mutable_last_validation() = *figures.last_validation;
    job->set_last_validation_step(figures.last_validation_step);
  }
  // A change counts as applied only once its event is durable; the spec's own controls have no event.
  if (job->applied_revision() == 0 && figures.control_revision > 0) job->set_applied_revision(1);
}

void ReportIntake::Open(const TrainerLink* link, int64_t epoch, int32_t attempt, int64_t last_step, absl::Duration now,
                        bool came_back) {
  absl::MutexLock lock(&mutex_);
  link_ = link;
  epoch_ = epoch;
  attempt_ = attempt;
  last_step_ = last_step;
  came_back_ = came_back;
  absl::MutexLock figures_lock(&figures_mutex_);
  attached_ = true;
  arrivals_ = {{now, last_step + 1}};
}

void ReportIntake::Close() {
  absl::MutexLock lock(&mutex_);
  link_ = nullptr;
  absl::MutexLock figures_lock(&figures_mutex_);
  attached_ = false;
}

void ReportIntake::BeginStore() {
  absl::MutexLock lock(&store_mutex_);
  ++begun_;
}

void ReportIntake::EndStore() {
  {
    absl::MutexLock lock(&store_mutex_);
    ++ended_;
  }
  RunReady();
}

bool ReportIntake::storing() const {
  absl::MutexLock lock(&store_mutex_);
  return begun_ > ended_;
}

void ReportIntake::AfterStored(absl::AnyInvocable<void()> task) {
  {
    absl::MutexLock lock(&store_mutex_);
    waiters_.push_back({begun_, std::move(task)});
  }
  RunReady();
}

void ReportIntake::RunReady() {
  {
    absl::MutexLock lock(&store_mutex_);
    if (running_) return;
    running_ = true;
  }
  while (absl::AnyInvocable<void()> task = TakeReady()) task();
}

absl::AnyInvocable<void()> ReportIntake::TakeReady() {
  absl::MutexLock lock(&store_mutex_);
  if (waiters_.empty() || waiters_.front().after > ended_) {
    running_ = false;
    return nullptr;
  }
  absl::AnyInvocable<void()> task = std::move(waiters_.front().task);
  waiters_.pop_front();
  return task;
}

absl::Status ReportIntake::HoldsLocked(const TrainerLink* link, int64_t epoch) const {
  if (link != nullptr && link == link_ && epoch == epoch_) return absl::OkStatus();
  return core::WithReason(absl::AbortedError("this trainer does not hold the job any more"), "TRAINER_FENCED");
}

absl::Status ReportIntake::CheckHolds(const TrainerLink* link, int64_t epoch) const {
  absl::MutexLock lock(&mutex_);
  return HoldsLocked(link, epoch);
}

absl::Status ReportIntake::Accept(const TrainerLink* link, v1::ReportBatch batch, const ReportLimits& limits,
                                  absl::FunctionRef<void(AcceptedBatch)> store) {
  absl::MutexLock lock(&mutex_);
  GW_RETURN_IF_ERROR(HoldsLocked(link, batch.epoch()));
  // The store takes the reports apart later: it need not parse them again.
  const auto parsed = std::make_shared<v1::ReportBatch>(std::move(batch));
  GW_ASSIGN_OR_RETURN(const std::vector<Entry> entries, InOrder(parsed.get(), limits));
  AcceptedBatch accepted;
  accepted.figures.attempt = attempt_;
  // The first report of an attempt may be of any step: a program may go on from a checkpoint of its own.
  if (!came_back_ && last_step_ >= 0 && !entries.empty() && entries[0].first > last_step_ + 1) {
    return Gap(entries[0], last_step_);
  }
  // A trainer that was here before has forgotten what was acknowledged, also where the store has lost it since.
  if (came_back_ && !entries.empty() && entries[0].first > last_step_ + 1) {
    accepted.entries.push_back(EncodeLost(attempt_, last_step_ + 1, entries[0].first - 1, kGone));
    accepted.some_are_gone = true;
  }
  came_back_ = came_back_ && entries.empty();
  for (const Entry& entry : entries) {
    accepted.last_step = entry.last;
    if (entry.last <= last_step_) continue;  // sent again after a broken stream
    if (entry.report != nullptr) {
      entry.report->set_attempt(attempt_);
      accepted.entries.push_back(EncodeReport(*entry.report));
      accepted.entries.back().report = std::shared_ptr<const v1::StepReport>(parsed, entry.report);
      accepted.figures.Add(*entry.report);
    } else {
      accepted.entries.push_back(EncodeLost(attempt_, std::max(entry.first, last_step_ + 1), entry.last, kNotKept));
      accepted.figures.steps_done = entry.last + 1;
    }
    last_step_ = entry.last;
  }
  store(std::move(accepted));
  return absl::OkStatus();
}

void ReportIntake::Stored(const LiveFigures& figures, absl::Duration now) {
  absl::MutexLock lock(&figures_mutex_);
  figures_.Add(figures);
  failures_ = 0;
  NoteArrival(now, figures_.steps_done);
}

void ReportIntake::StoreFailed(absl::Duration now) {
  absl::MutexLock lock(&mutex_);
  link_ = nullptr;
  absl::MutexLock figures_lock(&figures_mutex_);
  attached_ = false;
  closed_until_ = now + std::min(kFirstPause * (1 << std::min(failures_, 10)), kLongestPause);
  ++failures_;
}

absl::Duration ReportIntake::closed_until() const {
  absl::MutexLock lock(&figures_mutex_);
  return closed_until_;
}

bool ReportIntake::Restore(const LiveFigures& figures) {
  absl::MutexLock lock(&figures_mutex_);
  if (std::tie(figures.attempt, figures.steps_done) < std::tie(figures_.attempt, figures_.steps_done)) return false;
  figures_ = figures;
  return true;
}

LiveFigures ReportIntake::figures() const {
  absl::MutexLock lock(&figures_mutex_);
  return figures_;
}

void ReportIntake::NoteArrival(absl::Duration now, int64_t steps_done) {
  if (arrivals_.size() > 1 && now - arrivals_[arrivals_.size() - 2].time < kArrivalSpacing) arrivals_.pop_back();
  arrivals_.push_back({now, steps_done});
  while (arrivals_.size() > 2 && arrivals_[1].time <= now - kRateWindow) arrivals_.pop_front();
}

std::optional<double> ReportIntake::StepsPerSecond(absl::Duration now) const {
  absl::MutexLock lock(&figures_mutex_);
  if (!attached_ || arrivals_.size() < 2) return std::nullopt;
  const Arrival* base = &arrivals_.front();
  for (const Arrival& arrival : arrivals_) {
    if (arrival.time <= now - kRateWindow) base = &arrival;
  }
  if (now - base->time < kShortestRate) return std::nullopt;
  return static_cast<double>(arrivals_.back().steps_done - base->steps_done) / absl::ToDoubleSeconds(now - base->time);
}

}  // namespace gradwatch::server
