#include "client/worker/run_summary.h"

#include <google/protobuf/util/json_util.h>
#include <google/protobuf/wrappers.pb.h>

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/lib/enum_word.h"
#include "client/lib/printable.h"
#include "core/base/engine_variant.h"

namespace gradwatch::worker {
namespace {

using Member = std::pair<std::string, std::string>;  // a name and its value in JSON

// The JSON of one scalar, by the rules of protobuf.
template <typename Wrapper, typename T>
std::string Scalar(const T& value) {
  Wrapper wrapper;
  wrapper.set_value(value);
  std::string json;
  (void)google::protobuf::util::MessageToJsonString(wrapper, &json);  // a scalar cannot fail
  return json;
}
std::string Number(double value) { return Scalar<google::protobuf::DoubleValue>(value); }
std::string Number(const std::optional<double>& value) { return value.has_value() ? Number(*value) : "null"; }
std::string Text(const std::string& value) { return Scalar<google::protobuf::StringValue>(value); }

std::string Object(const std::vector<Member>& members) {
  return absl::StrCat("{",
                      absl::StrJoin(members, ", ",
                                    [](std::string* out, const Member& member) {
                                      absl::StrAppend(out, Text(member.first), ": ", member.second);
                                    }),
                      "}");
}

std::string AlertsObject(const std::map<std::string, int64_t>& alerts) {
  std::vector<Member> members;
  for (const auto& [rule, count] : alerts) members.emplace_back(rule, absl::StrCat(count));
  return Object(members);
}

double Accuracy(const core::ValidationOutcome& validation) {
  return static_cast<double>(validation.correct) / static_cast<double>(validation.targets);
}

double Mebibytes(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

void AddValidation(const core::ValidationOutcome& validation, std::vector<Member>* members) {
  members->emplace_back("validation_loss", Number(validation.loss));
  if (validation.correct >= 0) members->emplace_back("validation_accuracy", Number(Accuracy(validation)));
  if (validation.has_perplexity) members->emplace_back("validation_perplexity", Number(std::exp(validation.loss)));
}

std::string ValidationText(const core::ValidationOutcome& validation) {
  std::string text = absl::StrFormat("loss %.6g", validation.loss);
  if (validation.correct >= 0) absl::StrAppendFormat(&text, ", accuracy %.4g", Accuracy(validation));
  if (validation.has_perplexity) absl::StrAppendFormat(&text, ", perplexity %.4g", std::exp(validation.loss));
  return text;
}

}  // namespace

std::string ToJson(const RunSummary& summary) {
  const core::TrainResult& result = summary.result;
  std::vector<Member> members = {{"state", Text(client::Word(result.state))}};
  if (!result.failure.empty()) members.emplace_back("failure", Text(result.failure));
  if (!summary.data_note.empty()) members.emplace_back("data_note", Text(summary.data_note));
  members.insert(members.end(), {{"steps", absl::StrCat(result.steps_done)},
                                 {"steps_per_second", Number(summary.steps_per_second)},
                                 {"first_loss", Number(result.first_loss)},
                                 {"final_loss", Number(result.final_loss)}});
  if (result.validation.measured) AddValidation(result.validation, &members);
  members.insert(members.end(), {{"alerts", AlertsObject(summary.alerts)},
                                 {"parameters", absl::StrCat(summary.parameters)},
                                 {"estimated_bytes", absl::StrCat(summary.estimated_bytes)},
                                 {"peak_bytes", absl::StrCat(summary.peak_bytes)},
                                 {"parameters_sha256", Text(result.parameters_sha256)},
                                 {"engine_variant", Text(std::string(core::EngineVariant()))}});
  return Object(members);
}

std::string ToTable(const RunSummary& summary) {
  const core::TrainResult& result = summary.result;
  std::string table;
  const auto add = [&table](absl::string_view name, absl::string_view value) {
    absl::StrAppendFormat(&table, "%-18s %s\n", client::Printable(name), client::Printable(value));
  };
  add("state", client::Word(result.state));
  if (!result.failure.empty()) add("failure", result.failure);
  if (!summary.data_note.empty()) add("data", summary.data_note);
  add("steps", absl::StrCat(result.steps_done));
  add("steps/s", absl::StrFormat("%.1f", summary.steps_per_second));
  const bool measured = result.first_loss.has_value() && result.final_loss.has_value();
  add("loss", measured ? absl::StrFormat("%.6g to %.6g", *result.first_loss, *result.final_loss) : "not measured");
  if (result.validation.measured) add("validation", ValidationText(result.validation));
  for (const auto& [rule, count] : summary.alerts) add(absl::StrCat("alert ", rule), absl::StrCat(count));
  add("parameters", absl::StrCat(summary.parameters));
  add("memory", absl::StrFormat("%.1f MiB, estimated %.1f MiB", Mebibytes(summary.peak_bytes),
                                Mebibytes(summary.estimated_bytes)));
  add("parameters sha256", result.parameters_sha256);
  add("engine", core::EngineVariant());
  return table;
}

}  // namespace gradwatch::worker
