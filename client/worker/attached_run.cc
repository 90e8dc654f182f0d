#include "client/worker/attached_run.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "client/lib/channel.h"
#include "client/lib/enum_word.h"
#include "client/lib/printable.h"
#include "client/lib/uuid.h"
#include "client/worker/packed_record.h"
#include "client/worker/reporting_observer.h"
#include "client/worker/run_summary.h"
#include "client/worker/signal_watch.h"
#include "core/base/engine_variant.h"
#include "core/base/status_macros.h"
#include "core/base/thread_name.h"
#include "core/base/timestamp.h"
#include "core/detect/alert_budget.h"
#include "core/spec/job_spec.h"
#include "core/stats/report_ring.h"
#include "core/train/trainer.h"

namespace gradwatch::worker {
namespace {

constexpr size_t kMaxHost = 253;

// The server has judged the size of the job; here only its meaning is checked.
constexpr core::SpecLimits kNoLimits = {.max_parameters = std::numeric_limits<int64_t>::max(),
                                        .max_bytes = std::numeric_limits<int64_t>::max()};

std::string HostName() {
  std::array<char, kMaxHost + 1> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

v1::TrainerHello MakeHello(const AttachedRunOptions& options) {
  v1::TrainerHello hello;
  hello.set_job_id(options.job_id);
  hello.set_attach_token(options.attach_token);
  hello.set_trainer_id(client::RandomUuid());
  hello.set_attempt(options.attempt);
  hello.set_trainer("gradwatch-worker");
  hello.set_pid(getpid());
  hello.set_host(HostName());
  hello.set_engine_variant(std::string(core::EngineVariant()));
  return hello;
}

absl::StatusOr<std::unique_ptr<core::Trainer>> MakeTrainer(const v1::TrainerWelcome& welcome,
                                                           const core::AlertIdentity& identity) {
  GW_ASSIGN_OR_RETURN(const core::DataRoots roots,
                      core::DataRoots::Create({welcome.data_roots().begin(), welcome.data_roots().end()}));
  GW_ASSIGN_OR_RETURN(const core::ValidatedJob job, core::ValidateJob(welcome.spec(), roots, kNoLimits));
  return core::Trainer::Create(job.spec, roots, identity, &core::RealClock());
}

v1::Notice ModelReady(const std::vector<v1::TensorInfo>& tensors) {
  v1::Notice notice;
  notice.mutable_model_ready()->mutable_tensors()->Assign(tensors.begin(), tensors.end());
  return notice;
}

v1::Notice Finished(const core::TrainResult& result) {
  v1::Notice notice;
  notice.set_steps_done(result.steps_done);
  notice.mutable_finished()->set_state(result.state);
  notice.mutable_finished()->set_failure(result.failure);
  notice.mutable_finished()->set_parameters_sha256(result.parameters_sha256);
  *notice.mutable_finished()->mutable_end_time() = core::ToTimestamp(core::RealClock().Now());
  return notice;
}

v1::Notice CouldNotStart(const absl::Status& status) {
  core::TrainResult result;
  result.state = v1::JOB_STATE_FAILED;
  result.failure = std::string(status.message());
  return Finished(result);
}

// No more than the steps of the job can fill.
size_t RingBytes(const core::Trainer& trainer, int64_t steps, size_t max_bytes) {
  const size_t record = MaxPackedBytes(trainer.tensors().size(), trainer.layers().size());
  return static_cast<size_t>(
      core::RingRecordBytes(static_cast<int64_t>(record), steps, static_cast<int64_t>(max_bytes)));
}

// Puts alerts that are to be told into notices.
void NotifyOf(std::vector<v1::Alert> alerts, int64_t steps_done, Attachment& attachment) {
  for (v1::Alert& alert : alerts) {
    v1::Notice notice;
    notice.set_steps_done(std::max(steps_done, alert.step() + 1));  // its step counts as done
    *notice.mutable_alert() = std::move(alert);
    attachment.Notify(std::move(notice));
  }
}

// Trains, and tells it; of alerts no more than their budget. `reports` must outlive the attachment.
void Train(core::Trainer& trainer, const core::AlertIdentity& identity, Attachment& attachment, ReportBuffer* reports) {
  attachment.Notify(ModelReady(trainer.tensors()));
  attachment.SetReports(reports);
  core::AlertBudget budget(identity, &core::RealClock());
  const auto notify = [&](v1::Notice notice) {
    if (!notice.has_alert()) return attachment.Notify(std::move(notice));
    NotifyOf(budget.Take(notice.alert(), attachment.waiting_alerts()), notice.steps_done(), attachment);
  };
  ReportingObserver observer(reports, notify);
  const core::TrainResult result = trainer.Run(attachment.controls(), observer);
  spdlog::info("{} after {} steps", client::Word(result.state), result.steps_done);
  NotifyOf(budget.Finish(std::max<int64_t>(0, result.steps_done - 1)), result.steps_done, attachment);
  attachment.Notify(Finished(result));
}

// Makes the trainer and lets it train; it is gone afterwards, with its network and its data: what is left to be said
// may take long.
void RunAttempt(const v1::TrainerWelcome& welcome, const AttachedRunOptions& options, Attachment& attachment,
                std::optional<ReportBuffer>* reports) {
  const core::AlertIdentity identity = {
      .job_id = options.job_id, .job_uid = welcome.job_uid(), .attempt = welcome.attempt()};
  const absl::StatusOr<std::unique_ptr<core::Trainer>> trainer = MakeTrainer(welcome, identity);
  if (!trainer.ok()) {
    spdlog::error("cannot start: {}", client::Printable(trainer.status().message()));
    return attachment.Notify(CouldNotStart(trainer.status()));
  }
  const size_t bytes = RingBytes(**trainer, welcome.spec().steps(), options.report_bytes);
  reports->emplace((*trainer)->tensors().size(), bytes, /*first_step=*/0, (*trainer)->layers());
  Train(**trainer, identity, attachment, &**reports);
}

// The threads that train, this one and those that it starts, give way to those that tell of it: an alert must not wait
// until the next slice of a machine on which all processors train. After the welcome: by then the server, which sets the
// whole process behind itself, has done that.
void TrainBehindTheOthers() {
  constexpr int kLevels = 9, kLast = 19;
  (void)setpriority(PRIO_PROCESS, 0, std::min(getpriority(PRIO_PROCESS, 0) + kLevels, kLast));  // of this thread
}

ExitCode Fail(const absl::Status& status) {
  spdlog::error("{}", client::Printable(status.message()));
  return ExitCodeOf(status);
}

}  // namespace

ExitCode RunAttached(const AttachedRunOptions& options, sigset_t stop_signals) {
  core::NameThisThread("train");
  std::optional<ReportBuffer> reports;
  Attachment attachment(client::MakeChannel(options.server), MakeHello(options), options.attachment,
                        &core::RealClock());
  SignalWatch signals(stop_signals, [&attachment] { attachment.RequestStop(); });

  const absl::StatusOr<v1::TrainerWelcome> welcome = attachment.AwaitWelcome();
  if (!welcome.ok()) return Fail(welcome.status());
  TrainBehindTheOthers();
  RunAttempt(*welcome, options, attachment, &reports);
  if (absl::Status end = attachment.Close(options.last_words); !end.ok()) return Fail(end);
  return kSuccess;
}

}  // namespace gradwatch::worker
