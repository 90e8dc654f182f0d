#include "server/job/trainer_session.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "core/base/utf8.h"
#include "core/spec/controls.h"
#include "server/base/unique_text.h"
#include "server/job/job_state.h"
#include "server/job/notices.h"
#include "server/job/trainer_checks.h"

namespace gradwatch::server {
namespace {

absl::Status Fenced(absl::string_view why) { return core::WithReason(absl::AbortedError(why), "TRAINER_FENCED"); }

// Whether the trainer has lost the job for ever. An external one that says an attempt was welcomed in it, and holds the
// job since, or has lost it: to one whose welcome is durable, not to one that is on its way in.
bool IsFormer(const v1::TrainerHello& hello, const JobEntry& entry) {
  const auto durable = entry.published();
  if (hello.attempt() == 0 || durable == nullptr) return false;
  const bool other = hello.trainer_id() != durable->row.trainer_id;
  return hello.attempt() < durable->row.job.attempt() || (IsExternal(entry.working->row) && other);
}

// Who knocks: the trainer that holds the job, is on its way in, or another one.
LeaseInput KnockOf(const v1::TrainerHello& hello, const JobEntry& entry) {
  const std::string& claimant = entry.trainer.claimant;
  const std::string& holder = claimant.empty() ? entry.working->row.trainer_id : claimant;
  if (IsFormer(hello, entry)) return LeaseInput::kKnockOfFormer;
  if (holder.empty()) return LeaseInput::kKnockOfFirst;
  return hello.trainer_id() == holder ? LeaseInput::kKnock : LeaseInput::kKnockOfOther;
}

absl::Status CheckToken(const v1::TrainerHello& hello, const JobRow& row) {
  if (!row.attach_token.empty() && SecretsEqual(hello.attach_token(), row.attach_token)) return absl::OkStatus();
  return core::WithReason(absl::PermissionDeniedError("the attach token is not the job's"), "FORBIDDEN");
}

absl::Status CheckMayKnock(const v1::TrainerHello& hello, const JobRow& row) {
  const int32_t attempt = hello.attempt();
  if (IsFinal(row.job.state())) {  // and its spec is packed
    GW_RETURN_IF_ERROR(CheckToken(hello, row));
    return StateForbids(row.job.state(), "have a trainer", "it has ended");
  }
  if (!IsExternal(row)) {
    if (attempt == 0) return core::InvalidField("hello.attempt", "is missing");
    // Its token is no more the job's.
    if (attempt < row.job.attempt()) return Fenced(absl::StrCat("attempt ", row.job.attempt(), " holds the job"));
  }
  GW_RETURN_IF_ERROR(CheckToken(hello, row));
  if (attempt > row.job.attempt()) return core::InvalidField("hello.attempt", "there is no such attempt");
  return absl::OkStatus();
}

// Why who knocks is to come back later.
absl::Status Occupied(LeaseState state) {
  switch (state) {
    case LeaseState::kEnding:
    case LeaseState::kHearing:
    case LeaseState::kConcluding:
      return core::WithReason(
          absl::UnavailableError("the job's trainer has ended, and what becomes of the job is looked into"),
          "TRAINER_ENDED");
    case LeaseState::kAttaching:
      return core::WithReason(absl::UnavailableError("a trainer is attaching to the job; try again later"),
                              "TRAINER_ATTACHED");
    default:
      return core::WithReason(absl::UnavailableError("a trainer holds the job, and is not silent; try again later"),
                              "TRAINER_ATTACHED");
  }
}

// Of a stream whose place another one takes. Whether its trainer has lost the job for ever is said when it comes back:
// the other one may be its own, in whatever order they were read, or fail.
absl::Status Replaced(absl::string_view why) {
  return core::WithReason(absl::UnavailableError(why), "STREAM_REPLACED");
}

absl::Status StatisticsAway(absl::string_view why) {
  return core::WithReason(absl::UnavailableError(absl::StrCat("the job's statistics: ", why)), "BACKEND_DOWN");
}

v1::Event AttachedEvent(const v1::TrainerHello& hello) {
  v1::Event event;
  v1::TrainerAttached* attached = event.mutable_trainer_attached();
  attached->set_trainer(hello.trainer());
  attached->set_pid(hello.pid());
  attached->set_host(hello.host());
  attached->set_engine_variant(hello.engine_variant());
  return event;
}

v1::TrainerDirective MakeWelcome(const JobRow& row, const core::DataRoots& roots, int64_t last_step) {
  v1::TrainerDirective directive;
  v1::TrainerWelcome* welcome = directive.mutable_welcome();
  const v1::Job& job = row.job;
  welcome->set_attempt(job.attempt());
  welcome->set_job_uid(job.uid());
  welcome->set_epoch(row.epoch);
  const bool hosted = !job.spec().has_external();
  if (hosted) {
    *welcome->mutable_spec() = job.spec();
  } else {
    *welcome->mutable_rules() = core::EffectiveRules(job.spec(), job.controls());
  }
  welcome->mutable_controls()->set_revision(job.control_revision());
  *welcome->mutable_controls()->mutable_controls() = job.controls();
  welcome->set_acked_notice(row.acked_notice);
  if (last_step >= 0) welcome->set_acked_step(last_step);
  if (job.state() == v1::JOB_STATE_STOPPING) {
    welcome->mutable_command()->set_action(v1::TrainerCommand::ACTION_STOP);
  } else if (job.state() == v1::JOB_STATE_PAUSING || job.state() == v1::JOB_STATE_PAUSED) {
    welcome->mutable_command()->set_action(v1::TrainerCommand::ACTION_PAUSE);
  }
  for (const std::string& folder : roots.folders()) {
    if (hosted) welcome->add_data_roots(folder);
  }
  return directive;
}

// One trainer on its way in. Each step leads to the next, from Begin at the top to Welcome at the bottom: the lease
// says whether it may enter, the old stream is fenced off, what it had sent is waited for, the last stored step is
// read, and the trainer is welcomed. So the step in the welcome is exact: nothing is lost and nothing counted twice.
class Attaching final : public std::enable_shared_from_this<Attaching> {
 public:
  using Attachment = JobManager::Attachment;

  Attaching(JobContext* context, Supervisor* supervisor, Recovery* recovery, v1::TrainerHello hello,
            std::shared_ptr<TrainerLink> link, JobManager::Done<Attachment> done)
      : context_(context),
        supervisor_(supervisor),
        recovery_(recovery),
        hello_(std::move(hello)),
        link_(std::move(link)),
        done_(std::move(done)) {}
  // A step that will never be taken, since the server goes down, is an answer too.
  ~Attaching() {
    if (done_ != nullptr) Answer(ShuttingDown());
  }

  void Begin() {
    if (const absl::Status status = CheckHello(hello_); !status.ok()) return Answer(status);
    context_->Submit<std::shared_ptr<JobEntry>>(
        [self = shared_from_this()](LedgerTransaction&) { return self->Fence(); },
        [self = shared_from_this()](absl::StatusOr<std::shared_ptr<JobEntry>> entry) {
          if (!entry.ok()) return self->GiveBack(entry.status());
          self->WaitForReports();
        });
  }

 private:
  // The ledger's thread: gives the job to this link and closes the link that had it.
  absl::StatusOr<std::shared_ptr<JobEntry>> Fence() {
    const auto entry = context_->table.FindWorking(hello_.job_id());
    if (entry == nullptr) return JobNotFound(hello_.job_id());
    GW_RETURN_IF_ERROR(CheckMayKnock(hello_, entry->working->row));
    GW_RETURN_IF_ERROR(Knock(entry));
    const JobRow& row = entry->working->row;
    takes_ = row.trainer_id != hello_.trainer_id();
    begins_attempt_ = takes_ && IsExternal(row);
    attempt_ = row.job.attempt();
    entry->trainer.link = link_;
    entry->trainer.welcomed = false;
    entry->trainer.claimant = hello_.trainer_id();
    entry->intake.Close();
    entry_ = entry;
    return entry;
  }

  absl::Status Knock(const std::shared_ptr<JobEntry>& entry) {
    TrainerSlot& trainer = entry->trainer;
    if (supervisor_->IsBeingStarted(*entry)) {
      return core::WithReason(absl::UnavailableError("the job's trainer is being started; try again"),
                              "TRAINER_STARTS");
    }
    const LeaseInput knock = KnockOf(hello_, *entry);
    const bool holds = knock == LeaseInput::kKnock || knock == LeaseInput::kKnockOfFirst;
    if (holds && entry->intake.closed_until() > Now()) {
      // Not of one that has got in before, and is on its way.
      if (trainer.lease.state != LeaseState::kAttaching) supervisor_->Advance(entry, LeaseInput::kTurnedAway);
      return StatisticsAway("they could not be stored; try again later");
    }
    for (const LeaseAction action : supervisor_->Advance(entry, knock).actions) {
      if (action == LeaseAction::kRefuseFenced) return Fenced("another trainer holds the job");
      if (action == LeaseAction::kRefuseLater) return Occupied(trainer.lease.state);
      if (action == LeaseAction::kFenceOld) FenceOld(trainer, holds);
    }
    return absl::OkStatus();
  }

  static void FenceOld(TrainerSlot& trainer, bool same) {
    if (trainer.link == nullptr) return;
    trainer.link->Close(
        Replaced(same ? "the trainer has attached again on another stream" : "another trainer takes the job over"));
    trainer.stream_end = same ? "the trainer attached again" : "another trainer took the job over";
  }

  void WaitForReports() {
    context_->AfterReports(
        entry_, [self = shared_from_this()] { self->context_->RunOnExecutor([self] { self->ReadLastStep(); }); });
  }

  void ReadLastStep() {
    if (begins_attempt_) return SubmitWelcome(-1);
    auto last_step = context_->deps.statistics->LastStep(entry_->uid, attempt_);
    if (last_step.ok()) last_step = recovery_->CatchUp(*entry_, attempt_, *last_step);
    SubmitWelcome(std::move(last_step));
  }

  void SubmitWelcome(absl::StatusOr<int64_t> last_step) {
    context_->Submit<Attachment>(
        [self = shared_from_this(), last_step](LedgerTransaction& transaction) -> absl::StatusOr<Attachment> {
          if (!last_step.ok()) return self->TurnAway(last_step.status());
          return self->Welcome(*last_step, transaction);
        },
        [self = shared_from_this()](absl::StatusOr<Attachment> attachment) {
          attachment.ok() ? self->Answer(std::move(attachment)) : self->GiveBack(attachment.status());
        });
  }

  // The ledger's thread: the statistics cannot be read. Whoever has come meanwhile finds that out by itself.
  absl::Status TurnAway(const absl::Status& why) {
    if (entry_->trainer.link == link_) entry_->intake.StoreFailed(Now());
    return StatisticsAway(why.message());
  }

  // The ledger's thread: makes the attachment an event and sends the welcome.
  absl::StatusOr<Attachment> Welcome(int64_t last_step, LedgerTransaction& transaction) {
    TrainerSlot& trainer = entry_->trainer;
    if (entry_->working == nullptr) return JobNotFound(entry_->job_id);
    if (trainer.link != link_) return Replaced("another stream has taken the place of this one");
    GW_RETURN_IF_ERROR(CheckMayKnock(hello_, entry_->working->row));
    JobEdit edit(context_, entry_, &transaction);
    if (edit.record().attached) edit.AppendDetached(trainer.stream_end.value_or("the stream was lost"));
    if (takes_) Take(edit);
    edit.Append(AttachedEvent(hello_));
    v1::Job& job = edit.job();
    if (hello_.tensors_size() > 0) GW_RETURN_IF_ERROR(ApplyTensors("hello", hello_.tensors(), job));
    if (!job.has_start_time()) *job.mutable_start_time() = core::ToTimestamp(context_->deps.clock->Now());
    if (job.state() == v1::JOB_STATE_PENDING) edit.MoveTo(v1::JOB_STATE_RUNNING, "");
    if (job.state() == v1::JOB_STATE_RECOVERING) edit.MoveTo(StateOnReturn(edit.record()), "the trainer came back");
    GW_RETURN_IF_ERROR(edit.Write());
    edit.Publish([self = shared_from_this(), last_step](const JobRecord& record) { self->Send(record, last_step); });
    return Attachment{
        .job_id = entry_->job_id, .uid = entry_->uid, .attempt = job.attempt(), .epoch = edit.record().row.epoch};
  }

  // The job gets another trainer: the next tenure. What the one before had firing is over with it.
  void Take(JobEdit& edit) const {
    JobRow& row = edit.record().row;
    ++row.epoch;
    row.trainer_id = hello_.trainer_id();
    if (!IsExternal(row)) return;
    edit.ResolveAlerts("its trainer was followed by another");
    supervisor_->BeginTenure(edit);
  }
  // A trainer that is new to a job that was paused is told to wait, and has not said yet that it does.
  v1::JobState StateOnReturn(const JobRecord& record) const {
    const bool pauses = takes_ && record.before_recovery == v1::JOB_STATE_PAUSED;
    return pauses ? v1::JOB_STATE_PAUSING : record.before_recovery;
  }

  // After the commit. A later operation of the same commit may have ended the stream or deleted the job: whoever did
  // closes the link and the intake, which must not be opened behind its back. An edit or a withdrawal of the same
  // commit is in the record, or its own callback comes later and finds `welcomed`: each reaches the trainer.
  void Send(const JobRecord& record, int64_t last_step) {
    const JobRow& row = record.row;
    TrainerSlot& trainer = entry_->trainer;
    if (trainer.link == link_) trainer.claimant.clear();  // the row says it now
    if (trainer.link == link_ && entry_->working != nullptr) {
      trainer.welcomed = true;
      trainer.seen = true;
      trainer.recovers = false;
      trainer.stream_end.reset();
      trainer.stall.Rest();
      if (takes_) trainer.stall_episode = 0;  // they are counted anew in each attempt
      supervisor_->Advance(entry_, LeaseInput::kWelcomed);
      // One whose welcome was lost has said nothing yet.
      const bool came_back = !takes_ && (row.acked_notice > 0 || row.job.steps_done() > 0);
      entry_->intake.Open(link_.get(), row.epoch, row.job.attempt(), last_step, Now(), came_back);
    }
    v1::TrainerDirective welcome = MakeWelcome(row, context_->options.data_roots, last_step);
    welcome.mutable_welcome()->set_waiting_edits(static_cast<int32_t>(record.edits->size()));
    link_->Send(std::move(welcome));
    for (v1::EditBatch& batch : MakeEditBatches(*record.edits)) {
      v1::TrainerDirective directive;
      *directive.mutable_edits() = std::move(batch);
      link_->Send(std::move(directive));
    }
  }

  // The ledger's thread: the job goes back to nobody.
  void GiveBack(const absl::Status& status) {
    if (entry_ != nullptr && entry_->trainer.link == link_) {
      entry_->trainer.link = nullptr;
      entry_->trainer.claimant.clear();
      supervisor_->Advance(entry_, LeaseInput::kTurnedAway);
    }
    Answer(status);
  }
  void Answer(absl::StatusOr<Attachment> attachment) { std::exchange(done_, nullptr)(std::move(attachment)); }
  absl::Duration Now() const { return context_->deps.clock->Monotonic(); }

  JobContext* const context_;
  Supervisor* const supervisor_;
  Recovery* const recovery_;
  const v1::TrainerHello hello_;
  const std::shared_ptr<TrainerLink> link_;
  JobManager::Done<Attachment> done_;
  // From Fence on.
  std::shared_ptr<JobEntry> entry_;
  bool takes_ = false;           // another trainer, or nobody, held the job
  bool begins_attempt_ = false;  // it takes it, and does not run the attempt for which it was started
  int32_t attempt_ = 0;          // of the job then
};

// What is durable of the reports. A batch that holds nothing acknowledges nothing.
void AckStep(int64_t step, TrainerLink& link) {
  if (step < 0) return;
  v1::TrainerDirective directive;
  directive.mutable_ack()->set_step(step);
  link.Send(std::move(directive));
}

constexpr int kMaxNotices = 256;

bool TellsEnd(const v1::NoticeBatch& batch) {
  return std::any_of(batch.notices().begin(), batch.notices().end(),
                     [](const v1::Notice& notice) { return notice.has_finished(); });
}

}  // namespace

void TrainerSessions::Attach(v1::TrainerHello hello, Link link, JobManager::Done<Attachment> done) {
  std::make_shared<Attaching>(context_, supervisor_, recovery_, std::move(hello), std::move(link), std::move(done))
      ->Begin();
}

TrainerSessions::Entry TrainerSessions::FindAttached(const Attachment& attachment, const Link& link) const {
  Entry entry = context_->table.Find(attachment.job_id);
  if (entry != nullptr && entry->uid == attachment.uid) return entry;
  link->Close(JobNotFound(attachment.job_id));
  return nullptr;
}

void TrainerSessions::OnReports(const Attachment& attachment, const Link& link, v1::ReportBatch batch,
                                absl::AnyInvocable<void()> accepted) {
  const Entry entry = FindAttached(attachment, link);
  if (entry == nullptr) return;
  std::optional<int64_t> known;  // up to this step, and nothing new
  const absl::Status status =
      entry->intake.Accept(link.get(), std::move(batch), LimitsOf(entry->published().get()), [&](AcceptedBatch batch) {
        if (batch.entries.empty()) {
          known = batch.last_step;
        } else {
          StoreReports(entry, link, std::move(batch), std::move(accepted));
        }
      });
  if (!status.ok()) return link->Close(status);
  if (!known.has_value()) return;
  context_->AfterReports(entry, [link, step = *known, accepted = std::move(accepted)]() mutable {
    AckStep(step, *link);
    accepted();
  });
}

void TrainerSessions::StoreReports(const Entry& entry, const Link& link, AcceptedBatch batch,
                                   absl::AnyInvocable<void()> accepted) {
  auto stored = [this, entry, link, last_step = batch.last_step, gone = batch.some_are_gone,
                 figures = std::move(batch.figures), accepted = std::move(accepted)](
                    const absl::Status& status, std::vector<EncodedReport> reports) mutable {
    const absl::Duration now = context_->deps.clock->Monotonic();
    if (!status.ok()) {
      // The trainer comes back, is told what arrived, and sends the rest again. The stream first: what comes on it
      // meanwhile would be told that another trainer holds the job.
      spdlog::error("job {}: reports could not be stored: {}", entry->job_id, status.ToString());
      link->Close(StatisticsAway("they could not be stored"));
      return entry->intake.StoreFailed(now);
    }
    entry->intake.Stored(figures, now);
    if (gone) recovery_->TellLost(entry->uid, reports.front());
    entry->channel->AppendReports(reports);
    context_->deps.hub->Notify(entry->uid);
    AckStep(last_step, *link);
    accepted();
  };
  const bool appends = context_->AppendReports(entry, std::move(batch.entries), std::move(stored));
  if (!appends) link->Close(ShuttingDown());
}

void TrainerSessions::OnDetached(const Attachment& attachment, const Link& link, const std::string& reason) {
  const Entry entry = context_->table.Find(attachment.job_id);
  if (entry == nullptr || entry->uid != attachment.uid) return;
  context_->AfterReports(entry, [this, entry, link, reason] {
    context_->SubmitQuietly("end of a stream", [this, entry, link, reason](LedgerTransaction& transaction) {
      if (entry->trainer.link != link) return absl::OkStatus();
      return supervisor_->OnStreamEnd(entry, transaction, reason);
    });
  });
}

void TrainerSessions::OnNotices(const Attachment& attachment, const Link& link, v1::NoticeBatch batch,
                                absl::AnyInvocable<void()> accepted) {
  const Entry entry = FindAttached(attachment, link);
  if (entry == nullptr) return;
  if (batch.notices_size() > kMaxNotices) {
    return link->Close(
        core::InvalidField("notices.notices", absl::StrCat(batch.notices_size(), " is more than ", kMaxNotices)));
  }
  const bool ends = TellsEnd(batch);
  auto record = [this, entry, link, batch = std::move(batch), accepted = std::move(accepted)]() mutable {
    context_->Submit<int64_t>([this, entry, link, batch = std::move(batch)](
                                  LedgerTransaction& transaction) { return Record(batch, link, entry, transaction); },
                              [link, accepted = std::move(accepted)](absl::StatusOr<int64_t> acked) mutable {
                                if (!acked.ok()) return link->Close(acked.status());
                                v1::TrainerDirective directive;
                                directive.mutable_ack()->set_notice(*acked);
                                link->Send(std::move(directive));
                                accepted();
                              });
  };
  // No report is published after the end of its job. All else waits for nothing but the ledger.
  if (ends) return context_->AfterReports(entry, std::move(record));
  record();
}

absl::StatusOr<int64_t> TrainerSessions::Record(const v1::NoticeBatch& batch, const Link& link, const Entry& entry,
                                                LedgerTransaction& transaction) {
  const bool holds = entry->working != nullptr && entry->trainer.link == link;
  if (!holds || batch.epoch() != entry->working->row.epoch) {
    return core::WithReason(absl::AbortedError("this trainer does not hold the job any more"), "TRAINER_FENCED");
  }
  // The end goes behind all reports: behind those that could not be stored, nowhere.
  if (TellsEnd(batch) && !entry->working->ended()) {
    GW_RETURN_IF_ERROR(entry->intake.CheckHolds(link.get(), batch.epoch()));
  }
  // A silent trainer that speaks is there: what it says finds the job as it was. In one edit: what is published must
  // not be undone by what fails behind it.
  JobEdit edit(context_, entry, &transaction);
  const bool restored = supervisor_->Hear(edit);
  GW_ASSIGN_OR_RETURN(const bool some_are_new, ApplyNotices(batch, edit));
  const int64_t acked = edit.record().row.acked_notice;
  // All of it may have been sent again after a broken stream, also when the job has ended.
  if (!some_are_new && !restored) return acked;
  if (edit.record().ended()) {
    GW_RETURN_IF_ERROR(supervisor_->Conclude(edit));
  } else {
    GW_RETURN_IF_ERROR(edit.Write());
    edit.Publish();
  }
  return acked;
}

}  // namespace gradwatch::server
