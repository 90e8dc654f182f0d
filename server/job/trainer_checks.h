// What a trainer may tell, hosted or foreign: every field is looked at before anything is made of it. Every refusal is
// INVALID_ARGUMENT and names the field.
#ifndef GRADWATCH_SERVER_JOB_TRAINER_CHECKS_H_
#define GRADWATCH_SERVER_JOB_TRAINER_CHECKS_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "gradwatch/v1/trainer_service.pb.h"
#include "server/job/job.h"

namespace gradwatch::server {

// Open alerts that a job may have. Far above what a trainer tells whose rules flap (see core/detect/alert_budget.h).
inline constexpr int kMaxOpenAlerts = 1000;
// Names of rules under which one attempt may raise alerts. What its trainer tells under another name is refused, so
// edits of the rules that could lead to one are: see EditOperations.
inline constexpr size_t kMaxRuleNames = 1000;

// Takes away what this server does not know, at any depth: it is not looked at, and must not be kept or shown either.
void DiscardUnknownFields(v1::TrainerMessage* message);

// Everything of a hello but what the job must say to it: token, trainer and attempt.
absl::Status CheckHello(const v1::TrainerHello& hello);

// An alert that the trainer of the job's present attempt tells: its fields, that it belongs to the job and the attempt,
// and that its state may follow the one that its episode has.
absl::Status CheckAlert(const v1::Alert& alert, const JobRecord& record);

// Tensors, which are told in a hello or when the model is ready: that they may be, and that they are those that were
// told in this attempt, if they were. `field`: where they stand, "hello" or "notice.model_ready".
absl::Status CheckToldTensors(absl::string_view field,
                              const google::protobuf::RepeatedPtrField<v1::TensorInfo>& tensors, const v1::Job& job);

absl::Status CheckFinished(const v1::TrainerFinished& finished);

// A report, but for its step. `tensors`: how many the job has; a report tells of all of them or of none.
absl::Status CheckReport(const v1::StepReport& report, int tensors);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_TRAINER_CHECKS_H_
