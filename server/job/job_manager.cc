#include "server/job/job_manager.h"

#include <utility>

#include "core/base/status_macros.h"
#include "server/job/alert_operations.h"
#include "server/job/edit_operations.h"
#include "server/job/job_context.h"
#include "server/job/last_words.h"
#include "server/job/operations.h"
#include "server/job/recovery.h"
#include "server/job/supervisor.h"
#include "server/job/trainer_session.h"

namespace gradwatch::server {
namespace {

// Hands each call to the part that does it.
class LedgerJobManager final : public JobManager {
 public:
  LedgerJobManager(JobManagerDependencies dependencies, JobManagerOptions options)
      : context_{.deps = dependencies, .options = std::move(options), .table = {}, .silences = {}} {
    supervisor_.SetLastWords(&last_words_);
  }
  ~LedgerJobManager() override { context_.work->Close(); }

  absl::Status Recover() {
    GW_RETURN_IF_ERROR(recovery_.Recover());
    context_.deps.statistics->KeepBudgets();
    last_words_.RemoveOld();
    return absl::OkStatus();
  }

  void Start() override {
    context_.started = true;
    supervisor_.StartNext();
  }

  void CreateJob(v1::CreateJobRequest request, std::string actor, Done<v1::Job> done) override {
    operations_.Create(std::move(request), std::move(actor), std::move(done));
  }
  absl::StatusOr<v1::Job> GetJob(absl::string_view job_id) const override {
    const auto entry = context_.table.Find(job_id);
    if (entry == nullptr) return JobNotFound(job_id);
    auto job = entry->Snapshot();
    if (!job.has_value()) return JobNotFound(job_id);
    return *std::move(job);
  }
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request) const override {
    return server::ListJobs(context_.table, request);
  }
  void DeleteJob(v1::DeleteJobRequest request, std::string actor, Done<v1::DeleteJobResponse> done) override {
    operations_.Delete(std::move(request), std::move(actor), std::move(done));
  }
  void AdjustJob(v1::AdjustJobRequest request, std::string actor, Done<v1::AdjustJobResponse> done) override {
    edits_.AdjustJob(std::move(request), std::move(actor), std::move(done));
  }
  void CancelEdit(v1::CancelEditRequest request, std::string actor, Done<v1::CancelEditResponse> done) override {
    edits_.CancelEdit(std::move(request), std::move(actor), std::move(done));
  }
  absl::StatusOr<v1::ListEditsResponse> ListEdits(const v1::ListEditsRequest& request) const override {
    const auto entry = context_.table.Find(request.job_id());
    const auto record = entry == nullptr ? nullptr : entry->published();
    if (record == nullptr) return JobNotFound(request.job_id());
    return server::ListEdits(*record->edits, entry->uid, request);
  }
  void PauseJob(v1::PauseJobRequest request, std::string actor, Done<v1::Job> done) override {
    operations_.Command({.command = JobCommand::kPause, .job_id = request.job_id()}, KeyOf("PauseJob", request),
                        std::move(actor), std::move(done));
  }
  void ResumeJob(v1::ResumeJobRequest request, std::string actor, Done<v1::Job> done) override {
    operations_.Command({.command = JobCommand::kResume, .job_id = request.job_id()}, KeyOf("ResumeJob", request),
                        std::move(actor), std::move(done));
  }
  void StopJob(v1::StopJobRequest request, std::string actor, Done<v1::Job> done) override {
    operations_.Stop(std::move(request), std::move(actor), std::move(done));
  }
  void UpdateJob(v1::UpdateJobRequest request, std::string actor, Done<v1::Job> done) override {
    operations_.Update(std::move(request), std::move(actor), std::move(done));
  }

  absl::StatusOr<v1::RuleSet> GetRules(absl::string_view job_id) const override {
    const auto entry = context_.table.Find(job_id);
    const auto record = entry == nullptr ? nullptr : entry->published();
    if (record == nullptr) return JobNotFound(job_id);
    const v1::Job& job = record->row.job;
    if (!record->ended() || job.control_revision() <= 1) return RulesInForce(*record);
    GW_ASSIGN_OR_RETURN(const RuleAges ages, ReadRuleAges(job.uid(), context_.deps.reader));
    return RulesInForce(*record, ages);
  }
  void ApplyRules(v1::ApplyRulesRequest request, std::string actor, Done<v1::ApplyRulesResponse> done) override {
    edits_.ApplyRules(std::move(request), std::move(actor), std::move(done));
  }
  void AcknowledgeAlert(v1::AcknowledgeAlertRequest request, std::string actor, Done<v1::Alert> done) override {
    alerts_.Acknowledge(std::move(request), std::move(actor), std::move(done));
  }
  void CreateSilence(v1::CreateSilenceRequest request, std::string actor, Done<v1::Silence> done) override {
    alerts_.CreateSilence(std::move(request), std::move(actor), std::move(done));
  }
  void DeleteSilence(v1::DeleteSilenceRequest request, std::string actor,
                     Done<v1::DeleteSilenceResponse> done) override {
    alerts_.DeleteSilence(std::move(request), std::move(actor), std::move(done));
  }
  absl::StatusOr<v1::ListSilencesResponse> ListSilences(const v1::ListSilencesRequest& request) const override {
    return context_.silences.List(request, context_.deps.clock->Now());
  }
  void ShowSilences(v1::Alert* alert) const override {
    if (alert->state() == v1::ALERT_STATE_RESOLVED) return;
    const auto ids = context_.silences.Matching(*alert, context_.deps.clock->Now());
    alert->mutable_silenced_by()->Assign(ids.begin(), ids.end());
  }

  std::vector<v1::JobFigures> Figures() const override {
    return context_.table.Figures(context_.deps.clock->Monotonic());
  }
  void TellDataLoss(absl::string_view uid, std::string description) override {
    recovery_.TellDataLoss(uid, std::move(description));
  }
  absl::StatusOr<std::shared_ptr<JobChannel>> GetChannel(absl::string_view job_id) const override {
    const auto entry = context_.table.Find(job_id);
    if (entry == nullptr) return JobNotFound(job_id);
    return entry->channel;
  }

  void Attach(v1::TrainerHello hello, std::shared_ptr<TrainerLink> link, Done<Attachment> done) override {
    sessions_.Attach(std::move(hello), std::move(link), std::move(done));
  }
  void OnReports(const Attachment& attachment, const std::shared_ptr<TrainerLink>& link, v1::ReportBatch batch,
                 absl::AnyInvocable<void()> accepted) override {
    sessions_.OnReports(attachment, link, std::move(batch), std::move(accepted));
  }
  void OnNotices(const Attachment& attachment, const std::shared_ptr<TrainerLink>& link, v1::NoticeBatch batch,
                 absl::AnyInvocable<void()> accepted) override {
    sessions_.OnNotices(attachment, link, std::move(batch), std::move(accepted));
  }
  void OnDetached(const Attachment& attachment, const std::shared_ptr<TrainerLink>& link,
                  const std::string& reason) override {
    sessions_.OnDetached(attachment, link, reason);
  }

  void Tick() override {
    supervisor_.Tick();
    last_words_.Tick();
  }
  void Drain() override {
    context_.draining = true;
    supervisor_.SaveAllFigures();
  }

 private:
  JobContext context_;
  Supervisor supervisor_{&context_};
  Recovery recovery_{&context_, &supervisor_};
  LastWords last_words_{&context_, &supervisor_, &recovery_};
  JobOperations operations_{&context_, &supervisor_, &recovery_};
  EditOperations edits_{&context_};
  AlertOperations alerts_{&context_};
  TrainerSessions sessions_{&context_, &supervisor_, &recovery_};
};

}  // namespace

absl::StatusOr<std::unique_ptr<JobManager>> JobManager::Create(JobManagerDependencies dependencies,
                                                               JobManagerOptions options) {
  auto manager = std::make_unique<LedgerJobManager>(dependencies, std::move(options));
  GW_RETURN_IF_ERROR(manager->Recover());
  return manager;
}

}  // namespace gradwatch::server
