#include "server/job/trainer_sessions.h"

#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "server/base/unique_text.h"
#include "server/job/job_state.h"
#include "server/job/notices.h"

namespace gradwatch::server {
namespace {

absl::Status Fenced(absl::string_view why) { return core::WithReason(absl::AbortedError(why), "TRAINER_FENCED"); }

absl::Status CheckHello(const v1::TrainerHello& hello) {
  core::FieldErrors errors;
  if (hello.job_id().empty()) errors.Add("hello.job_id", "is missing");
  if (!IsUuid(hello.trainer_id())) errors.Add("hello.trainer_id", "must be a UUID");
  if (hello.attempt() < 1) errors.Add("hello.attempt", absl::StrCat(hello.attempt(), " must be at least 1"));
  if (hello.trainer().size() > 128) errors.Add("hello.trainer", "is longer than 128 characters");
  if (hello.host().size() > 253) errors.Add("hello.host", "is longer than 253 characters");
  if (hello.engine_variant().size() > 64) errors.Add("hello.engine_variant", "is longer than 64 characters");
  return errors.ToStatus();
}

absl::Status CheckMayAttach(const v1::TrainerHello& hello, const JobEntry& entry) {
  const JobRow& row = entry.working->row;
  if (hello.attempt() < row.job.attempt()) return Fenced(absl::StrCat("attempt ", row.job.attempt(), " holds the job"));
  if (row.attach_token.empty() || !SecretsEqual(hello.attach_token(), row.attach_token)) {
    return core::WithReason(absl::PermissionDeniedError("the attach token is not the job's"), "FORBIDDEN");
  }
  if (hello.attempt() != row.job.attempt()) return core::InvalidField("hello.attempt", "there is no such attempt");
  if (IsFinal(row.job.state())) return StateForbids(row.job.state(), "have a trainer", "it has ended");
  if (!entry.trainer.trainer_id.empty() && entry.trainer.trainer_id != hello.trainer_id()) {
    return Fenced("another trainer holds the job");
  }
  return absl::OkStatus();
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

v1::TrainerDirective MakeWelcome(const JobRecord& record, const core::DataRoots& roots, int64_t last_step) {
  v1::TrainerDirective directive;
  v1::TrainerWelcome* welcome = directive.mutable_welcome();
  const v1::Job& job = record.row.job;
  welcome->set_attempt(job.attempt());
  welcome->set_job_uid(job.uid());
  *welcome->mutable_spec() = job.spec();
  welcome->mutable_controls()->set_revision(job.control_revision());
  *welcome->mutable_controls()->mutable_controls() = job.controls();
  if (record.row.at_step.has_value()) welcome->mutable_controls()->set_at_step(*record.row.at_step);
  welcome->set_acked_notice(record.row.acked_notice);
  if (last_step >= 0) welcome->set_acked_step(last_step);
  if (job.state() == v1::JOB_STATE_STOPPING) {
    welcome->mutable_command()->set_action(v1::TrainerCommand::ACTION_STOP);
  } else if (job.state() == v1::JOB_STATE_PAUSING || job.state() == v1::JOB_STATE_PAUSED) {
    welcome->mutable_command()->set_action(v1::TrainerCommand::ACTION_PAUSE);
  }
  for (const std::string& folder : roots.folders()) welcome->add_data_roots(folder);
  return directive;
}

// A batch without reports acknowledges nothing.
void AckStep(int64_t step, TrainerLink& link) {
  if (step < 0) return;
  v1::TrainerDirective directive;
  directive.mutable_ack()->set_step(step);
  link.Send(std::move(directive));
}

}  // namespace

void TrainerSessions::Attach(v1::TrainerHello hello, Link link, JobManager::Done<Attachment> done) {
  if (const absl::Status status = CheckHello(hello); !status.ok()) return done(status);
  context_->Submit<Entry>([this, hello, link](LedgerTransaction&) { return Fence(hello, link); },
                          [this, hello, link, done = std::move(done)](absl::StatusOr<Entry> entry) mutable {
                            if (!entry.ok()) return done(entry.status());
                            ReadLastStep(std::move(hello), std::move(link), *entry, std::move(done));
                          });
}

absl::StatusOr<TrainerSessions::Entry> TrainerSessions::Fence(const v1::TrainerHello& hello, const Link& link) {
  Entry entry = context_->table.FindWorking(hello.job_id());
  if (entry == nullptr) return JobNotFound(hello.job_id());
  GW_RETURN_IF_ERROR(CheckMayAttach(hello, *entry));
  TrainerSlot& trainer = entry->trainer;
  if (trainer.link != nullptr) {
    trainer.link->Close(Fenced("the trainer has attached again on another stream"));
    trainer.stream_end = "the trainer attached again";
  }
  trainer.link = link;
  trainer.welcomed = false;
  trainer.trainer_id = hello.trainer_id();
  entry->intake.Close();
  return entry;
}

void TrainerSessions::ReadLastStep(v1::TrainerHello hello, Link link, Entry entry, JobManager::Done<Attachment> done) {
  auto welcome = [this, hello = std::move(hello), link = std::move(link), entry = std::move(entry),
                  done = std::move(done)]() mutable {
    const auto last_step = context_->deps.statistics->LastStep(entry->uid, hello.attempt());
    context_->Submit<Attachment>(
        [this, hello = std::move(hello), link, entry,
         last_step](LedgerTransaction& transaction) -> absl::StatusOr<Attachment> {
          if (!last_step.ok()) return last_step.status();
          return Welcome(hello, link, entry, *last_step, transaction);
        },
        [link, entry, done = std::move(done)](absl::StatusOr<Attachment> attachment) mutable {
          // Runs on the ledger's thread: the job goes back to nobody.
          if (!attachment.ok() && entry->trainer.link == link) entry->trainer.link = nullptr;
          done(std::move(attachment));
        });
  };
  context_->AfterReports([this, welcome = std::move(welcome)]() mutable { context_->RunSlowly(std::move(welcome)); });
}

absl::StatusOr<TrainerSessions::Attachment> TrainerSessions::Welcome(const v1::TrainerHello& hello, const Link& link,
                                                                     const Entry& entry, int64_t last_step,
                                                                     LedgerTransaction& transaction) {
  if (entry->working == nullptr) return JobNotFound(entry->job_id);
  if (entry->trainer.link != link) return Fenced("the trainer has attached again on another stream");
  GW_RETURN_IF_ERROR(CheckMayAttach(hello, *entry));
  JobEdit edit(context_, entry, &transaction);
  if (edit.record().attached) edit.AppendDetached(entry->trainer.stream_end.value_or("the stream was lost"));
  edit.Append(AttachedEvent(hello));
  v1::Job& job = edit.job();
  if (!job.has_start_time()) {
    *job.mutable_start_time() =
        google::protobuf::util::TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(context_->deps.clock->Now()));
  }
  if (job.state() == v1::JOB_STATE_PENDING) edit.MoveTo(v1::JOB_STATE_RUNNING, "");
  if (job.state() == v1::JOB_STATE_RECOVERING) edit.MoveTo(edit.record().before_recovery, "the trainer came back");
  GW_RETURN_IF_ERROR(edit.Write());
  entry->trainer.stream_end.reset();
  if (!entry->trainer.process_end.has_value()) entry->trainer.deadline = absl::InfiniteDuration();
  edit.Publish([this, entry, link, last_step] {
    const JobRecord& record = *entry->working;
    entry->trainer.welcomed = true;
    entry->intake.Open(link.get(), record.row.job.attempt(), last_step);
    link->Send(MakeWelcome(record, context_->options.data_roots, last_step));
  });
  return Attachment{.job_id = entry->job_id, .uid = entry->uid, .attempt = job.attempt()};
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
  const auto record = entry->published();
  const int tensors = record == nullptr ? 0 : record->row.job.tensors_size();
  const std::vector<v1::StepRange> lost(batch.lost().begin(), batch.lost().end());
  LiveFigures figures;
  if (!batch.reports().empty()) figures = FiguresOf(*batch.reports().rbegin());
  figures.attempt = attachment.attempt;
  const absl::Status status =
      entry->intake.Accept(link.get(), std::move(batch), tensors, [&](std::vector<EncodedReport> reports) {
        StoreReports(entry, link, std::move(reports), figures, std::move(accepted));
      });
  if (!status.ok()) return link->Close(status);
  if (!lost.empty()) RecordLost(entry, link, lost);
}

void TrainerSessions::StoreReports(const Entry& entry, const Link& link, std::vector<EncodedReport> reports,
                                   const LiveFigures& figures, absl::AnyInvocable<void()> accepted) {
  if (reports.empty())
    return context_->AfterReports([link, figures, accepted = std::move(accepted)]() mutable {
      AckStep(figures.steps_done - 1, *link);
      accepted();
    });
  auto stored = [this, token = context_->work->Enter(), entry, link, figures, accepted = std::move(accepted)](
                    const absl::Status& status, std::vector<EncodedReport> reports) mutable {
    if (!status.ok()) {
      // The trainer comes back, is told what arrived, and sends the rest again.
      spdlog::error("job {}: reports could not be stored: {}", entry->job_id, status.ToString());
      return link->Close(absl::UnavailableError("the reports could not be stored"));
    }
    entry->intake.Publish(figures);
    entry->channel->AppendReports(reports);
    context_->deps.hub->Notify(entry->uid);
    AckStep(figures.steps_done - 1, *link);
    accepted();
  };
  context_->deps.statistics->Append(entry->uid, std::move(reports), std::move(stored));
}

void TrainerSessions::RecordLost(const Entry& entry, const Link& link, std::vector<v1::StepRange> lost) {
  context_->SubmitQuietly("lost statistics",
                          [this, entry, link, lost = std::move(lost)](LedgerTransaction& transaction) {
                            if (entry->working == nullptr || entry->working->ended() || entry->trainer.link != link)
                              return absl::OkStatus();
                            JobEdit edit(context_, entry, &transaction);
                            for (const v1::StepRange& range : lost) {
                              v1::Event event;
                              event.mutable_data_loss()->set_description(absl::StrCat(
                                  "steps ", range.first_step(), " to ", range.last_step(), " were not kept"));
                              edit.Append(std::move(event));
                            }
                            GW_RETURN_IF_ERROR(edit.Write());
                            edit.Publish();
                            return absl::OkStatus();
                          });
}

void TrainerSessions::OnNotices(const Attachment& attachment, const Link& link, v1::NoticeBatch batch,
                                absl::AnyInvocable<void()> accepted) {
  const Entry entry = FindAttached(attachment, link);
  if (entry == nullptr) return;
  context_->AfterReports([this, entry, link, batch = std::move(batch), accepted = std::move(accepted)]() mutable {
    context_->Submit<int64_t>([this, entry, link, batch = std::move(batch)](
                                  LedgerTransaction& transaction) { return Record(batch, link, entry, transaction); },
                              [link, accepted = std::move(accepted)](absl::StatusOr<int64_t> acked) mutable {
                                if (!acked.ok()) return link->Close(acked.status());
                                v1::TrainerDirective directive;
                                directive.mutable_ack()->set_notice(*acked);
                                link->Send(std::move(directive));
                                accepted();
                              });
  });
}

absl::StatusOr<int64_t> TrainerSessions::Record(const v1::NoticeBatch& batch, const Link& link, const Entry& entry,
                                                LedgerTransaction& transaction) {
  if (entry->working == nullptr || entry->trainer.link != link) {
    return Fenced("this trainer does not hold the job any more");
  }
  JobEdit edit(context_, entry, &transaction);
  int64_t& acked = edit.record().row.acked_notice;
  const int64_t acked_before = acked;
  for (const v1::Notice& notice : batch.notices()) {
    if (notice.number() <= acked) continue;  // sent again after a broken stream
    if (notice.number() != acked + 1) {
      return core::InvalidField("notices.notices.number", absl::StrCat(notice.number(), " comes after ", acked));
    }
    if (edit.record().ended()) return StateForbids(edit.job().state(), "hear its trainer", "it has ended");
    GW_RETURN_IF_ERROR(ApplyNotice(notice, edit));
    acked = notice.number();
  }
  const int64_t last = acked;
  if (last == acked_before) return last;
  if (edit.record().ended()) {
    GW_RETURN_IF_ERROR(supervisor_->Conclude(edit));
  } else {
    GW_RETURN_IF_ERROR(edit.Write());
    edit.Publish();
  }
  return last;
}

void TrainerSessions::OnDetached(const Attachment& attachment, const Link& link, const std::string& reason) {
  const Entry entry = context_->table.Find(attachment.job_id);
  if (entry == nullptr || entry->uid != attachment.uid) return;
  context_->AfterReports([this, entry, link, reason] {
    context_->SubmitQuietly("end of a stream", [this, entry, link, reason](LedgerTransaction& transaction) {
      if (entry->trainer.link != link) return absl::OkStatus();
      return supervisor_->OnStreamEnd(entry, transaction, reason);
    });
  });
}

}  // namespace gradwatch::server
