#include "client/cli/rules_help.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/rule_comments.h"
#include "client/cli/text.h"
#include "client/lib/grpc_status.h"
#include "client/lib/suggestion.h"

namespace gradwatch::cli {
namespace {

using Rows = std::vector<std::vector<std::string>>;

// A line each, where the server keeps all about them.
constexpr PresetLine kPresets[] = {
    {"gradwatch", "the default: spikes, divergence, growth and lost runs, quiet on healthy ones"},
    {"none", "no rules but those of the set itself"},
    {"autotrainer", "after AUTOTRAINER: NaN and infinity"},
    {"axolotl", "after axolotl: loss above 5 on 3 steps in a row"},
    {"composer", "after Composer and llm-foundry: loss not finite, or twice the mean of 100, 5 in a row"},
    {"deepdiagnosis", "after DeepDiagnosis: NaN and infinity, vanishing gradients, large updates"},
    {"entrenar", "after entrenar: loss above 3 times its moving mean"},
    {"ignite", "after pytorch/ignite: norm above 100, or above 9 times the mean of 9"},
    {"keras", "after Keras: loss not finite"},
    {"lightning", "after Lightning: loss above 3 times the mean of 10"},
    {"megatron", "after Megatron-LM: NaN and infinity, loss above 10 times the largest of the first 100"},
    {"olmo", "after OLMo-core: loss not finite, loss or norm 6 deviations above the mean of 128"},
    {"sagemaker_debugger", "after SageMaker Debugger: NaN, vanishing gradients, large updates, stalls"},
    {"spikeguard", "after rusting_brain: loss above twice its moving mean"},
    {"trainpulse", "after trainpulse: NaN and infinity, norm above 100, loss above 5 times the mean of 50"},
    {"trainscope", "after trainscope: loss 3.5 deviations above the mean of 200, or not finite"},
};

void AddFieldRows(const std::vector<CommentedField>& fields, Rows* rows) {
  for (const CommentedField& field : fields) {
    rows->push_back({"", field.name, field.type, field.comment});
    for (const CommentedField& word : field.words) rows->push_back({"", "", word.name, word.comment});
  }
}

std::string ConditionsTable(const std::vector<CommentedCondition>& conditions, bool in_full) {
  Rows rows = {{"CONDITION", "FIELD", "VALUE", "MEANING"}};
  for (const CommentedCondition& condition : conditions) {
    rows.push_back({condition.name, "", "", in_full ? condition.comment : condition.summary});
    AddFieldRows(condition.fields, &rows);
  }
  rows.push_back({"(every rule)", "", "", "What stands beside the condition in a rule."});
  AddFieldRows(RuleComments().fields, &rows);
  return TableText(rows);
}

std::string FieldsJson(const std::vector<CommentedField>& fields) {
  std::vector<std::string> all;
  for (const CommentedField& field : fields) {
    JsonObject object;
    object.Add("name", field.name);
    if (!field.type.empty()) object.Add("type", field.type);
    object.Add("meaning", field.comment);
    if (!field.words.empty()) object.AddRaw("words", FieldsJson(field.words));
    all.push_back(object.Build());
  }
  return JsonArray(all);
}

JsonObject ConditionsJson(const std::vector<CommentedCondition>& conditions) {
  std::vector<std::string> all;
  for (const CommentedCondition& condition : conditions) {
    JsonObject object;
    object.Add("name", condition.name).Add("summary", condition.summary).Add("meaning", condition.comment);
    all.push_back(object.AddRaw("fields", FieldsJson(condition.fields)).Build());
  }
  JsonObject object;
  object.AddRaw("conditions", JsonArray(all)).AddRaw("every_rule", FieldsJson(RuleComments().fields));
  return object;
}

std::string PresetsTable() {
  Rows rows = {{"PRESET", "RULES"}};
  for (const PresetLine& preset : kPresets) rows.push_back({preset.name, preset.text});
  return TableText(rows);
}

JsonObject PresetsJson() {
  std::vector<std::string> all;
  for (const PresetLine& preset : kPresets) {
    all.push_back(JsonObject().Add("name", preset.name).Add("meaning", preset.text).Build());
  }
  return JsonObject().AddRaw("presets", JsonArray(all));
}

}  // namespace

CLI::App* AddRulesConditions(CLI::App& parent, RulesConditionsOptions* options) {
  CLI::App* app = parent.add_subcommand("conditions",
                                        "What a rule can watch for: conditions with their fields, units and defaults");
  app->add_option("NAME", options->name, "Only this condition, in full");
  app->footer(
      "A rule is a name and one condition: {name: limit, norm_limit: {max_norm: 100}}. Asks no server.\n"
      "A window takes some 25 bytes a step, with per_tensor of every tensor; all rules of a job 128 MiB at most, but "
      "for foreign programs.");
  return app;
}

CLI::App* AddRulesPresets(CLI::App& parent, RulesPresetsOptions* options) {
  CLI::App* app = parent.add_subcommand("presets", "The sets of rules that have a name, or the rules of one");
  app->add_option("NAME", options->name, "The rules of this one, in full, as `rules apply -f` reads them");
  return app;
}

absl::StatusOr<ExitCode> RunRulesConditions(const RulesConditionsOptions& options, Session& session) {
  std::vector<CommentedCondition> conditions;
  std::vector<std::string> names;
  for (const CommentedCondition& condition : RuleComments().conditions) {
    names.push_back(condition.name);
    if (options.name.empty() || options.name == condition.name) conditions.push_back(condition);
  }
  if (conditions.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no condition \"", options.name, "\"", client::Suggestion(options.name, names)));
  }
  session.Print(ConditionsJson(conditions), [&] { return ConditionsTable(conditions, !options.name.empty()); });
  return ExitCode::kSuccess;
}

std::vector<PresetLine> KnownPresets() { return {std::begin(kPresets), std::end(kPresets)}; }

absl::Status WithNearPreset(const absl::Status& status, const std::string& preset) {
  std::vector<std::string> names;
  for (const PresetLine& known : kPresets) names.push_back(known.name);
  if (std::find(names.begin(), names.end(), preset) != names.end()) return status;  // the server minds another thing
  const std::string nearest = client::NearestSuggestion(preset, names);
  if (nearest.empty() || !absl::IsInvalidArgument(status)) return status;
  google::rpc::BadRequest details;
  for (auto& violation : client::GetFieldViolations(status)) {
    if (absl::EndsWith(violation.field(), "preset")) absl::StrAppend(violation.mutable_description(), nearest);
    *details.add_field_violations() = std::move(violation);
  }
  absl::Status told(status.code(), absl::StrCat(status.message(), nearest));
  status.ForEachPayload([&told](absl::string_view url, const absl::Cord& payload) { told.SetPayload(url, payload); });
  if (details.field_violations().empty()) return told;
  told.SetPayload(absl::StrCat("type.googleapis.com/", details.GetTypeName()), absl::Cord(details.SerializeAsString()));
  return told;
}

// A job with the preset's rules, which is only checked: that fills them in.
absl::StatusOr<v1::RuleSet> ReadPreset(const std::string& name, const Session& session) {
  v1::CreateJobRequest request;
  request.mutable_spec()->mutable_external()->set_framework("none");
  request.mutable_spec()->mutable_rules()->set_preset(name);
  request.set_validate_only(true);
  const absl::StatusOr<v1::Job> job =
      session.connection().Call(session.connection().jobs(), &v1::JobService::StubInterface::CreateJob, request,
                                client::Repeat::kWhenUnavailable);
  if (job.ok()) return job->spec().rules();
  const absl::Status refused = WithNearPreset(job.status(), name);
  const auto violations = client::GetFieldViolations(refused);
  return violations.size() == 1 ? absl::InvalidArgumentError(violations[0].description()) : refused;
}

absl::StatusOr<ExitCode> RunRulesPresets(const RulesPresetsOptions& options, Session& session) {
  if (options.name.empty()) {
    session.Print(PresetsJson(), [] { return PresetsTable(); });
    return ExitCode::kSuccess;
  }
  const absl::StatusOr<v1::RuleSet> rules = ReadPreset(options.name, session);
  if (!rules.ok()) return rules.status();
  session.Print(*rules, [&] { return client::FormatMessage(*rules, client::OutputSyntax::kYaml); }, {});
  return ExitCode::kSuccess;
}

}  // namespace gradwatch::cli
