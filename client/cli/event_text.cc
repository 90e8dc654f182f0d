#include "client/cli/event_text.h"

#include <google/protobuf/util/time_util.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "client/cli/controls_text.h"
#include "client/cli/retention.h"
#include "client/cli/text.h"
#include "client/lib/enum_word.h"
#include "client/lib/printable.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::client::Printable;

std::string WithReason(std::string text, absl::string_view reason) {
  return reason.empty() ? text : absl::StrCat(text, ": ", Printable(reason));
}

std::string StateText(const v1::StateChanged& change) {
  const std::string from = client::Word(change.from());
  return WithReason(absl::StrCat(from, from.empty() ? "" : " -> ", client::Word(change.to())), change.reason());
}

std::string RequestText(const v1::Adjustment& edit) {
  if (!edit.withdrawn_by().empty()) {
    return absl::StrCat("withdrawal of edit ", edit.edit(), " asked for by ", Printable(edit.withdrawn_by()));
  }
  std::string text = absl::StrCat("edit ", edit.edit(), " asked for by ", Printable(edit.actor()));
  if (edit.has_at_step()) absl::StrAppend(&text, " from step ", edit.at_step());
  return absl::StrCat(text, ": ", EditText(edit));
}

std::string AppliedText(const v1::Adjustment& edit) {
  return absl::StrCat("edit ", edit.edit(), " holds from step ", edit.effective_step(), " (revision ", edit.revision(),
                      "): ", ChangeText(edit.old_controls(), edit.new_controls()));
}

std::string AlertText(const v1::AlertChanged& change) {
  const v1::Alert& alert = change.alert();
  const v1::Severity severity = alert.severity() == v1::SEVERITY_UNSPECIFIED ? v1::SEVERITY_WARNING : alert.severity();
  std::string what = absl::StrCat(Printable(alert.rule()), " at step ", alert.step());
  if (!alert.tensor().empty()) absl::StrAppend(&what, ", ", Printable(alert.tensor()));
  if (change.acknowledgement()) {  // no news of the state, which may be long over
    const std::string text = absl::StrCat("acknowledged by ", Printable(alert.acknowledged_by()), ": ", what, " (",
                                          client::Word(severity), ", ", AlertStateText(alert), ")");
    return WithReason(text, alert.acknowledge_comment());
  }
  std::string text = WithReason(
      absl::StrCat("alert ", AlertStateText(alert), " (", client::Word(severity), "): ", what), alert.summary());
  if (alert.state() != v1::ALERT_STATE_FIRING) return text;
  for (const std::string& line : alert.diagnosis()) absl::StrAppend(&text, "\n    ", Printable(line));
  return text;
}

std::string AttachedText(const v1::TrainerAttached& attached) {
  std::string text = absl::StrCat("trainer attached: ", Printable(attached.trainer()));
  if (attached.pid() != 0) absl::StrAppend(&text, ", process ", attached.pid());
  if (!attached.host().empty()) absl::StrAppend(&text, " on ", Printable(attached.host()));
  if (!attached.engine_variant().empty()) absl::StrAppend(&text, " (", Printable(attached.engine_variant()), ")");
  return text;
}

std::string UpdatedText(const v1::JobUpdated& updated) {
  return absl::StrCat("job changed by ", Printable(updated.actor()), ": name \"", Printable(updated.display_name()),
                      "\", labels ", LabelsText(updated.labels()), ", kept: ", RetentionText(updated.retention()));
}

}  // namespace

std::string DroppedText(const v1::Event& event) {
  const v1::AdjustDropped& dropped = event.adjust_dropped();
  const v1::Adjustment& edit = dropped.adjustment();
  std::string text =
      absl::StrCat("edit ", edit.edit(), dropped.may_have_held() ? " may have held or not" : " never held");
  if (dropped.may_have_held() && edit.has_at_step() && edit.at_step() > event.steps_done()) {
    absl::StrAppend(&text, " (asked for step ", edit.at_step(), "; the run is known to have come to step ",
                    event.steps_done(), ")");
  }
  return WithReason(text, dropped.reason());
}

bool BeginsToFire(const v1::Event& event) {
  return event.alert_changed().alert().state() == v1::ALERT_STATE_FIRING && !event.alert_changed().acknowledgement();
}

std::string AlertStateText(const v1::Alert& alert) {
  return absl::StrCat(client::Word(alert.state()), alert.silenced_by().empty() ? "" : ", silenced");
}

std::string LabelsText(const google::protobuf::Map<std::string, std::string>& labels) {
  const std::map<std::string, std::string> sorted(labels.begin(), labels.end());
  if (sorted.empty()) return "none";
  return absl::StrJoin(sorted, ", ", [](std::string* text, const auto& label) {
    absl::StrAppend(text, Printable(label.first), "=", Printable(label.second));
  });
}

std::string EventText(const v1::Event& event) {
  switch (event.what_case()) {
    case v1::Event::kStateChanged:
      return StateText(event.state_changed());
    case v1::Event::kAdjustRequested:
      return RequestText(event.adjust_requested().adjustment());
    case v1::Event::kAdjusted:
      return AppliedText(event.adjusted().adjustment());
    case v1::Event::kAdjustDropped:
      return DroppedText(event);
    case v1::Event::kAlertChanged:
      return AlertText(event.alert_changed());
    case v1::Event::kTrainerAttached:
      return AttachedText(event.trainer_attached());
    case v1::Event::kTrainerDetached:
      return WithReason("stream of the trainer is over", event.trainer_detached().reason());
    case v1::Event::kCheckpointWritten:
      return absl::StrCat("checkpoint at step ", event.checkpoint_written().checkpoint().step(), ", ",
                          BytesText(event.checkpoint_written().checkpoint().size_bytes()));
    case v1::Event::kDataLoss:
      return WithReason("history is lost", event.data_loss().description());
    case v1::Event::kJobUpdated:
      return UpdatedText(event.job_updated());
    case v1::Event::WHAT_NOT_SET:
      break;
  }
  return "something that this version of gradwatch does not know";
}

JsonObject EventJson(const v1::Event& event) {
  JsonObject object;
  object.Add("type", "event").Add("job", event.job_id()).Add("attempt", event.attempt()).Add("event", event.number());
  const auto* what = event.GetDescriptor()->FindFieldByNumber(event.what_case());
  object.Add("kind", what == nullptr ? "unknown" : what->name());
  object.Add("time", google::protobuf::util::TimeUtil::ToString(event.time()));
  object.Add("steps_done", event.steps_done());
  if (event.has_alert_changed()) object.Add("step", event.alert_changed().alert().step());
  if (event.has_adjusted()) object.Add("step", event.adjusted().adjustment().effective_step());
  if (what != nullptr) object.AddFields(event.GetReflection()->GetMessage(event, what));
  return object;
}

}  // namespace gradwatch::cli
