#include "tests/faults/alert_history.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_cat.h"

namespace gradwatch::testing {
namespace {

using google::protobuf::Struct;

// Fires once and is resolved once after that, and says the same of itself.
bool IsWhole(const std::vector<v1::Alert>& changes) {
  return changes.size() == 2 && changes[0].state() == v1::ALERT_STATE_FIRING &&
         changes[1].state() == v1::ALERT_STATE_RESOLVED && changes[0].alert_id() == changes[1].alert_id() &&
         changes[0].step() <= changes[1].step();
}

}  // namespace

LocalRun::LocalRun(const std::string& folder, const v1::JobSpec& spec) {
  const std::string path = folder + "/local.textproto";
  std::string text;
  google::protobuf::TextFormat::PrintToString(spec, &text);
  std::ofstream(path) << text;
  process_ = std::make_unique<Process>(std::vector<std::string>{"gradwatch-worker", "train", path, "-o", "json"});
}

std::map<std::string, int64_t> LocalRun::AwaitAlerts(absl::Duration timeout) {
  std::map<std::string, int64_t> alerts;
  const std::optional<std::string> line = process_->ReadLine(timeout);
  Struct result;
  const bool is_read =
      line.has_value() && google::protobuf::util::JsonStringToMessage(*line, &result).ok() && process_->Wait() == 0;
  EXPECT_TRUE(is_read) << line.value_or("nothing") << "\n" << process_->Errors();
  if (!is_read) return alerts;
  for (const auto& [rule, count] : result.fields().at("alerts").struct_value().fields()) {
    alerts[rule] = static_cast<int64_t>(count.number_value());
  }
  return alerts;
}

std::map<std::string, Episodes> ReadAlerts(const std::vector<v1::Event>& events) {
  std::map<std::string, Episodes> rules;
  for (const v1::Event& event : events) {
    if (!event.has_alert_changed() || event.alert_changed().acknowledgement()) continue;
    const v1::Alert& alert = event.alert_changed().alert();
    Episodes& episodes = rules[alert.rule()];
    episodes.fired += alert.state() == v1::ALERT_STATE_FIRING ? 1 : 0;
    episodes.resolved += alert.state() == v1::ALERT_STATE_RESOLVED ? 1 : 0;
    episodes.changes[alert.episode()].push_back(alert);
  }
  int told = 0;
  for (const auto& [rule, episodes] : rules) {
    for (const auto& [number, changes] : episodes.changes) {
      if (IsWhole(changes) || told++ >= 5) continue;
      ADD_FAILURE() << rule << ", episode " << number << ": " << changes.size() << " changes, the first "
                    << changes[0].ShortDebugString();
    }
  }
  return rules;
}

}  // namespace gradwatch::testing
