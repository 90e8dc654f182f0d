#include "server/job/edit_operations.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "core/detect/alert_budget.h"
#include "core/spec/controls.h"
#include "core/spec/resource_limits.h"
#include "server/job/job_state.h"
#include "server/job/trainer_checks.h"

namespace gradwatch::server {
namespace {

// The next step that begins is number steps_done.
absl::Status CheckStep(const v1::AdjustJobRequest& request, const v1::Job& job) {
  if (!request.has_at_step()) return absl::OkStatus();
  if (request.at_step() < 0 || request.at_step() >= MaxSteps(job)) {
    return core::InvalidField("at_step",
                              absl::StrCat(request.at_step(), ": the job has steps 0 to ", MaxSteps(job) - 1));
  }
  if (request.at_step() >= job.steps_done()) return absl::OkStatus();
  return core::WithReason(absl::OutOfRangeError(absl::StrCat("at_step: step ", request.at_step(),
                                                             " is over, the next is ", job.steps_done())),
                          "STEP_PASSED", {{"next_step", absl::StrCat(job.steps_done())}});
}

absl::Status CheckRoom(const PendingEdits& waiting, const v1::Adjustment& edit) {
  if (waiting.HasRoomFor(edit)) return absl::OkStatus();
  return core::WithReason(
      absl::ResourceExhaustedError(
          absl::StrCat(waiting.size(), " edits of the job's controls wait already, with ", waiting.bytes(), " bytes")),
      "QUOTA_EDITS");
}

void AddNames(const v1::RuleSet& rules, std::set<std::string>* names) {
  for (const v1::Rule& rule : rules.rules()) names->insert(rule.name());
}

// Those under which alerts of the present attempt were raised, or can be before an edit that comes now is applied.
std::set<std::string> RuleNames(const JobRecord& record) {
  const v1::Job& job = record.row.job;
  std::set<std::string> names = {core::kTruncationRule, kServerRule, StallRuleOf(job.spec().rules()).name()};
  if (record.episodes_attempt == job.attempt()) {
    for (const auto& [name, last] : record.episodes) names.insert(name);
  }
  AddNames(core::EffectiveRules(job.spec(), job.controls()), &names);
  for (const auto& [name, edits] : record.edits->rule_names()) names.insert(name);
  return names;
}

// An attempt has room for so many names, and a trainer that tells an alert under one more would be refused for good.
absl::Status CheckRuleNames(const v1::RuleSet& rules, const JobRecord& record) {
  std::set<std::string> names = RuleNames(record);
  const size_t known = names.size();
  AddNames(rules, &names);
  if (names.size() == known || names.size() <= kMaxRuleNames) return absl::OkStatus();
  return core::WithReason(
      absl::ResourceExhaustedError(absl::StrCat("rules: with these, rules of ", names.size(),
                                                " names could raise alerts in one attempt of the job, and ",
                                                kMaxRuleNames, " may; give them names that it had before")),
      "QUOTA_RULES");
}

// The edit that waits. NOT_FOUND (reason EDIT_NOT_FOUND): there was none of this id; FAILED_PRECONDITION (reason
// EDIT_DONE): it does not wait any more.
absl::StatusOr<v1::Adjustment> FindWaiting(const JobRecord& record, int64_t edit) {
  if (const auto waiting = record.edits->Find(edit); waiting != nullptr) return *waiting;
  if (edit < 1 || edit > record.row.job.last_edit()) {
    return core::WithReason(absl::NotFoundError(absl::StrCat("the job has no edit ", edit)), "EDIT_NOT_FOUND");
  }
  return core::WithReason(absl::FailedPreconditionError(absl::StrCat(
                              "no edit ", edit, " waits: it was applied, or it was dropped, or there was none")),
                          "EDIT_DONE");
}

v1::Event RequestedEvent(const v1::Adjustment& edit) {
  v1::Event event;
  *event.mutable_adjust_requested()->mutable_adjustment() = edit;
  return event;
}

v1::TrainerDirective EditDirective(const v1::Adjustment& edit) {
  v1::TrainerDirective directive;
  *directive.mutable_edits()->add_edits() = ToControlEdit(edit);
  return directive;
}

v1::TrainerDirective WithdrawalDirective(int64_t edit) {
  v1::TrainerDirective directive;
  directive.mutable_edits()->add_withdrawn(edit);
  return directive;
}

// Whether the edit is one of the rules alone and has those that hold, while none waits that brings others. One for a
// later step is always an edit: until then others may come, which it is to end.
bool ChangesNothing(const v1::Adjustment& edit, const JobRecord& record) {
  if (edit.has_at_step()) return false;
  const v1::Job& job = record.row.job;
  const bool only_rules =
      std::all_of(edit.paths().begin(), edit.paths().end(), [](const std::string& path) { return path == "rules"; });
  if (!only_rules || edit.values().rules().SerializeAsString() !=
                         core::EffectiveRules(job.spec(), job.controls()).SerializeAsString()) {
    return false;
  }
  const std::vector<PendingEdits::Edit> waiting = record.edits->After({});
  return std::none_of(waiting.begin(), waiting.end(), [](const auto& other) { return ChangesRules(*other); });
}

// The edit of the controls that a change of the rules is.
v1::AdjustJobRequest AsAdjust(const v1::ApplyRulesRequest& request) {
  v1::AdjustJobRequest adjust;
  adjust.set_job_id(request.job_id());
  *adjust.mutable_controls()->mutable_rules() = request.rules();
  adjust.mutable_update_mask()->add_paths("rules");
  adjust.set_etag(request.etag());
  if (request.has_at_step()) adjust.set_at_step(request.at_step());
  return adjust;
}

// The rules of an edit as they are going to be told once they hold, if nothing else of the job changes until then.
v1::RuleSet RulesOfEdit(const v1::Adjustment& edit, const JobRecord& record) {
  const int64_t step = edit.has_at_step() ? edit.at_step() : record.row.job.steps_done();
  return RulesFrom(step, edit.values().rules(), record);
}

}  // namespace

void EditOperations::AdjustJob(v1::AdjustJobRequest request, std::string actor, Done<v1::AdjustJobResponse> done) {
  RequestKey request_key = KeyOf("AdjustJob", request);  // before the request is moved
  context_->SubmitOnce<v1::AdjustJobResponse>(
      std::move(request_key),
      [this, request = std::move(request), actor = std::move(actor)](const RequestKey& key,
                                                                     LedgerTransaction& transaction) {
        const auto remember = [&](const v1::AdjustJobResponse& response) {
          return Remember(transaction, key, response);
        };
        return DoAdjust(request, "controls", actor, transaction, remember);
      },
      std::move(done));
}

void EditOperations::ApplyRules(v1::ApplyRulesRequest request, std::string actor, Done<v1::ApplyRulesResponse> done) {
  RequestKey request_key = KeyOf("ApplyRules", request);  // before the request is moved
  context_->SubmitOnce<v1::ApplyRulesResponse>(
      std::move(request_key),
      [this, request = std::move(request), actor = std::move(actor)](const RequestKey& key,
                                                                     LedgerTransaction& transaction) {
        return DoApplyRules(request, actor, key, transaction);
      },
      std::move(done));
}

absl::StatusOr<v1::AdjustJobResponse> EditOperations::DoAdjust(
    const v1::AdjustJobRequest& request, absl::string_view field, const std::string& actor,
    LedgerTransaction& transaction, absl::FunctionRef<absl::Status(const v1::AdjustJobResponse&)> remember) {
  const auto entry = context_->table.FindWorking(request.job_id());
  if (entry == nullptr) return JobNotFound(request.job_id());
  JobEdit edit(context_, entry, &transaction);
  v1::Job& job = edit.job();
  GW_ASSIGN_OR_RETURN(const v1::Adjustment adjustment, MakeAdjustment(request, field, actor, edit.record()));
  v1::AdjustJobResponse response;
  if (ChangesNothing(adjustment, edit.record())) {
    response.set_etag(job.etag());
    GW_RETURN_IF_ERROR(remember(response));
    return response;
  }
  job.set_last_edit(adjustment.edit());
  job.set_etag(MakeEtag(job));
  edit.Append(RequestedEvent(adjustment));
  *response.mutable_adjustment() = adjustment;
  response.set_etag(job.etag());
  response.set_event_number(job.last_event());
  GW_RETURN_IF_ERROR(edit.Write());
  GW_RETURN_IF_ERROR(remember(response));
  edit.Publish([entry, adjustment](const JobRecord&) { SendIfAttached(entry->trainer, EditDirective(adjustment)); });
  return response;
}

absl::StatusOr<v1::ApplyRulesResponse> EditOperations::DoApplyRules(const v1::ApplyRulesRequest& request,
                                                                    const std::string& actor, const RequestKey& key,
                                                                    LedgerTransaction& transaction) {
  if (!request.has_rules()) return core::InvalidField("rules", "required: all rules that are to hold");
  const auto entry = context_->table.FindWorking(request.job_id());
  if (entry == nullptr) return JobNotFound(request.job_id());
  const v1::AdjustJobRequest adjust = AsAdjust(request);
  v1::ApplyRulesResponse response;
  const JobEdit found(context_, entry, &transaction);  // to look at; it changes nothing
  if (request.validate_only()) {
    GW_ASSIGN_OR_RETURN(const v1::Adjustment checked, MakeAdjustment(adjust, "", actor, found.record()));
    *response.mutable_rules() = RulesOfEdit(checked, found.record());
    return response;
  }
  const auto remember = [&](const v1::AdjustJobResponse& accepted) {
    if (accepted.has_adjustment()) {
      *response.mutable_adjustment() = accepted.adjustment();
      *response.mutable_rules() = RulesOfEdit(accepted.adjustment(), found.record());
    } else {
      *response.mutable_rules() = RulesInForce(found.record());
    }
    response.set_etag(accepted.etag());
    response.set_event_number(accepted.event_number());
    return Remember(transaction, key, response);
  };
  GW_RETURN_IF_ERROR(DoAdjust(adjust, "", actor, transaction, remember).status());
  return response;
}

absl::StatusOr<v1::Controls> EditOperations::ChangedControls(const v1::AdjustJobRequest& request,
                                                             const JobRecord& record) const {
  const v1::Job& job = record.row.job;
  // What it will be applied to, as far as that is known now; the trainer checks again.
  const int64_t step = request.has_at_step() ? request.at_step() : job.steps_done();
  const v1::Controls before = record.edits->ControlsUpTo(step, job.steps_done(), job.controls());
  GW_ASSIGN_OR_RETURN(v1::Controls after, core::ApplyControlChanges(before, request.controls(), request.update_mask()));
  GW_RETURN_IF_ERROR(CheckStallNames(after.rules(), request.controls().rules(), job.spec()));
  // What the optimizer of a foreign program is, nobody knows, and its memory is its own affair.
  if (!job.spec().has_external()) {
    GW_RETURN_IF_ERROR(core::CheckControlsFit(after, job.spec().optimizer()));
    GW_RETURN_IF_ERROR(core::CheckControlsMemory(job, after, context_->options.limits));
    // Over the tensors that are known; the trainer, who knows all, checks again.
    if (request.controls().has_rules()) GW_RETURN_IF_ERROR(core::CheckRulesFit(after.rules(), job.tensors()));
  }
  // They are known once the trainer has told them.
  if (!job.tensors().empty()) GW_RETURN_IF_ERROR(core::CheckOverridesMatch(after, job.tensors()));
  return after;
}

absl::StatusOr<v1::Adjustment> EditOperations::MakeAdjustment(const v1::AdjustJobRequest& request,
                                                              absl::string_view field, const std::string& actor,
                                                              const JobRecord& record) const {
  const v1::Job& job = record.row.job;
  if (IsFinal(job.state())) return StateForbids(job.state(), "change its controls", "it has ended");
  GW_RETURN_IF_ERROR(CheckEtag(request.etag(), job));
  GW_RETURN_IF_ERROR(CheckStep(request, job));
  const auto after = ChangedControls(request, record);
  if (!after.ok()) return core::WithFieldPrefix(field, after.status());
  v1::Adjustment adjustment;
  adjustment.set_edit(job.last_edit() + 1);
  *adjustment.mutable_values() = core::ValuesAt(request.controls(), request.update_mask());
  *adjustment.mutable_paths() = request.update_mask().paths();
  // In full, as they were when they were accepted: a foreign program knows no presets, nor the spec.
  if (ChangesRules(adjustment)) {
    *adjustment.mutable_values()->mutable_rules() = core::EffectiveRules(job.spec(), *after);
  }
  adjustment.set_actor(actor);
  *adjustment.mutable_request_time() = core::ToTimestamp(context_->deps.clock->Now());
  if (request.has_at_step()) adjustment.set_at_step(request.at_step());
  GW_RETURN_IF_ERROR(CheckRoom(*record.edits, adjustment));
  if (ChangesRules(adjustment)) GW_RETURN_IF_ERROR(CheckRuleNames(adjustment.values().rules(), record));
  return adjustment;
}

void EditOperations::CancelEdit(v1::CancelEditRequest request, std::string actor, Done<v1::CancelEditResponse> done) {
  RequestKey request_key = KeyOf("CancelEdit", request);  // before the request is moved
  context_->SubmitOnce<v1::CancelEditResponse>(
      std::move(request_key),
      [this, request = std::move(request), actor = std::move(actor)](const RequestKey& key,
                                                                     LedgerTransaction& transaction) {
        return DoCancelEdit(request, actor, key, transaction);
      },
      std::move(done));
}

absl::StatusOr<v1::CancelEditResponse> EditOperations::DoCancelEdit(const v1::CancelEditRequest& request,
                                                                    const std::string& actor, const RequestKey& key,
                                                                    LedgerTransaction& transaction) {
  const auto entry = context_->table.FindWorking(request.job_id());
  if (entry == nullptr) return JobNotFound(request.job_id());
  JobEdit edit(context_, entry, &transaction);
  v1::Job& job = edit.job();
  GW_ASSIGN_OR_RETURN(v1::Adjustment adjustment, FindWaiting(edit.record(), request.edit()));
  GW_RETURN_IF_ERROR(CheckEtag(request.etag(), job));
  const bool changed = adjustment.withdrawn_by().empty();
  if (changed) {
    adjustment.set_withdrawn_by(actor);
    job.set_last_edit(job.last_edit() + 1);
    job.set_etag(MakeEtag(job));
    edit.Append(RequestedEvent(adjustment));
  }
  v1::CancelEditResponse response;
  *response.mutable_adjustment() = adjustment;
  response.set_etag(job.etag());
  // Of one that was withdrawn before, whatever becomes of it comes later too.
  response.set_event_number(job.last_event());
  if (changed && !edit.record().trainer_may_have_edits()) edit.AppendDropped(adjustment, WithdrawnBy(actor));
  if (!changed && key.id.empty()) return response;
  GW_RETURN_IF_ERROR(edit.Write());
  GW_RETURN_IF_ERROR(Remember(transaction, key, response));
  edit.Publish([entry, changed, withdrawn = adjustment.edit()](const JobRecord&) {
    if (changed) SendIfAttached(entry->trainer, WithdrawalDirective(withdrawn));
  });
  return response;
}

}  // namespace gradwatch::server
