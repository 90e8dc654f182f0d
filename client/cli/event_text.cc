#include "client/cli/event_text.h"

#include <google/protobuf/util/time_util.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/cli/controls_text.h"
#include "client/cli/text.h"
#include "client/cli/words.h"

namespace gradwatch::cli {
namespace {

std::string WithReason(std::string text, absl::string_view reason) {
  return reason.empty() ? text : absl::StrCat(text, ": ", Printable(reason));
}

std::string StateText(const v1::StateChanged& change) {
  const std::string from = Word(change.from());
  return WithReason(absl::StrCat(from, from.empty() ? "" : " -> ", Word(change.to())), change.reason());
}

std::string AdjustmentText(absl::string_view what, const v1::Adjustment& adjustment) {
  return absl::StrCat(what, " (revision ", adjustment.revision(),
                      "): ", ChangeText(adjustment.old_controls(), adjustment.new_controls()));
}

std::string AlertText(const v1::Alert& alert) {
  const v1::Severity severity = alert.severity() == v1::SEVERITY_UNSPECIFIED ? v1::SEVERITY_WARNING : alert.severity();
  std::string text =
      absl::StrCat("alert ", Word(alert.state()), " (", Word(severity), "): ", alert.rule(), " at step ", alert.step());
  if (!alert.tensor().empty()) absl::StrAppend(&text, ", ", alert.tensor());
  text = WithReason(text, alert.summary());
  if (alert.state() != v1::ALERT_STATE_FIRING) return text;
  for (const std::string& line : alert.diagnosis()) absl::StrAppend(&text, "\n    ", Printable(line));
  return text;
}

std::string AttachedText(const v1::TrainerAttached& attached) {
  std::string text = absl::StrCat("trainer attached: ", attached.trainer());
  if (attached.pid() != 0) absl::StrAppend(&text, ", process ", attached.pid());
  if (!attached.host().empty()) absl::StrAppend(&text, " on ", attached.host());
  if (!attached.engine_variant().empty()) absl::StrAppend(&text, " (", attached.engine_variant(), ")");
  return text;
}

}  // namespace

std::string EventText(const v1::Event& event) {
  switch (event.what_case()) {
    case v1::Event::kStateChanged:
      return StateText(event.state_changed());
    case v1::Event::kAdjustRequested:
      return AdjustmentText(absl::StrCat("change asked for by ", event.adjust_requested().adjustment().actor()),
                            event.adjust_requested().adjustment());
    case v1::Event::kAdjusted:
      return AdjustmentText(absl::StrCat("change holds from step ", event.adjusted().adjustment().effective_step()),
                            event.adjusted().adjustment());
    case v1::Event::kAdjustDropped:
      return WithReason(absl::StrCat("change dropped (revision ", event.adjust_dropped().adjustment().revision(), ")"),
                        event.adjust_dropped().reason());
    case v1::Event::kAlertChanged:
      return AlertText(event.alert_changed().alert());
    case v1::Event::kTrainerAttached:
      return AttachedText(event.trainer_attached());
    case v1::Event::kTrainerDetached:
      return WithReason("trainer is gone", event.trainer_detached().reason());
    case v1::Event::kCheckpointWritten:
      return absl::StrCat("checkpoint at step ", event.checkpoint_written().checkpoint().step(), ", ",
                          BytesText(event.checkpoint_written().checkpoint().size_bytes()));
    case v1::Event::kDataLoss:
      return event.data_loss().description();
    case v1::Event::kJobUpdated:
      return absl::StrCat("name or labels changed by ", event.job_updated().actor());
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
  if (event.has_alert_changed()) object.Add("step", event.alert_changed().alert().step());
  if (event.has_adjusted()) object.Add("step", event.adjusted().adjustment().effective_step());
  if (what != nullptr) object.AddFields(event.GetReflection()->GetMessage(event, what));
  return object;
}

}  // namespace gradwatch::cli
