#include "client/cli/rules_help.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/rule_comments.h"
#include "client/lib/grpc_status.h"
#include "client/lib/spec_reader.h"
#include "core/base/glob.h"
#include "core/detect/detector.h"
#include "core/detect/presets.h"
#include "tests/client/cli/cli_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

std::string Content(const std::string& path) {
  std::ifstream file(absl::StrCat(GRADWATCH_SOURCE_DIR, "/", path));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(RuleCommentsTest, AreAllFieldsOfAllConditions) {
  // Those of generated code, which has no comments, are the oracle.
  const auto& oneof = *v1::Rule::descriptor()->FindOneofByName("condition");
  const auto& conditions = RuleComments().conditions;
  ASSERT_EQ(static_cast<int>(conditions.size()), oneof.field_count());
  for (const CommentedCondition& condition : conditions) {
    const auto* const field = v1::Rule::descriptor()->FindFieldByName(condition.name);
    ASSERT_NE(field, nullptr) << condition.name;
    EXPECT_TRUE(absl::EndsWith(condition.summary, ".")) << condition.name << ": " << condition.summary;
    EXPECT_THAT(condition.comment, HasSubstr("Holds ")) << condition.name;
    ASSERT_EQ(static_cast<int>(condition.fields.size()), field->message_type()->field_count()) << condition.name;
    for (const CommentedField& own : condition.fields) {
      EXPECT_NE(field->message_type()->FindFieldByName(own.name), nullptr) << condition.name << "." << own.name;
      EXPECT_TRUE(absl::StrContains(own.comment, "Unset: ") || absl::StrContains(own.comment, "Required."))
          << condition.name << "." << own.name << ": " << own.comment;
      EXPECT_EQ(own.words.empty(), own.type != "word") << own.name;
    }
  }
}

TEST(RuleCommentsTest, OfARuleTellWhatPeopleWrite) {
  std::vector<std::string> names;
  for (const CommentedField& field : RuleComments().fields) names.push_back(field.name);
  EXPECT_THAT(names, UnorderedElementsAre("name", "severity", "tensors", "for_steps", "within_steps",
                                          "resolve_after_steps", "off"))
      << "armed_at and unable are the server's";
}

TEST(KnownPresetsTest, AreThoseThatThereAre) {
  std::vector<std::string> names;
  for (const PresetLine& preset : KnownPresets()) {
    names.push_back(preset.name);
    EXPECT_STRNE(preset.text, "") << preset.name;
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAreArray(core::PresetNames()));
}

TEST(RuleExampleTest, IsGoodAndMeansWhatTheReadmeSays) {
  v1::RuleSet rules;
  ASSERT_THAT(client::ReadMessage(GRADWATCH_SOURCE_DIR "/deploy/rules/example.yaml", &rules), IsOk());
  ASSERT_THAT(core::ValidateRules(rules), IsOk());
  const auto by_name = [](const v1::RuleSet& set) {
    std::map<std::string, v1::Rule> named;
    for (const v1::Rule& rule : set.rules()) named[rule.name()] = rule;
    return named;
  };
  auto resolved = by_name(core::ResolveRules(rules)), defaults = by_name(core::ResolveRules(v1::RuleSet()));
  EXPECT_EQ(resolved.count("loss_collapse"), 0u);
  EXPECT_EQ(resolved.size(), defaults.size() - 1 + 3);
  v1::Rule quieter = defaults.at("loss_spike");
  EXPECT_EQ(quieter.severity(), v1::SEVERITY_WARNING);
  quieter.set_severity(v1::SEVERITY_INFO);
  EXPECT_EQ(resolved.at("loss_spike").DebugString(), quieter.DebugString());
  EXPECT_EQ(resolved.at("no_progress").no_progress().window(), 500);
  EXPECT_THAT(Content("README.md"), HasSubstr("```\n" + Content("deploy/rules/example.yaml") + "```\n"));
}

// The job that the README shows before it.
TEST(RuleExampleTest, NamesTensorsThatTheExampleJobHas) {
  v1::RuleSet rules;
  ASSERT_THAT(client::ReadMessage(GRADWATCH_SOURCE_DIR "/deploy/rules/example.yaml", &rules), IsOk());
  const std::string readme = Content("README.md");
  const size_t begin = readme.find("```\nsteps: 1000\n");
  ASSERT_NE(begin, std::string::npos);
  const TempDir dir;
  const std::string path = dir.Write("job.yaml", readme.substr(begin + 4, readme.find("```", begin + 4) - begin - 4));
  v1::JobSpec job;
  ASSERT_THAT(client::ReadMessage(path, &job), IsOk());
  std::vector<std::string> names;
  for (int i = 0; i < job.model().layers_size(); ++i) {
    if (job.model().layers(i).has_dense()) names.push_back(absl::StrCat("dense", i, ".weight"));
  }
  for (const v1::Rule& rule : rules.rules()) {
    if (rule.tensors().empty()) continue;
    EXPECT_TRUE(std::ranges::any_of(names, [&](const auto& name) { return core::GlobMatches(rule.tensors(), name); }))
        << rule.tensors();
  }
}

// --- Commands ---

class RulesHelpTest : public CliTest {
 protected:
  TempDir dir_;
};

TEST_F(RulesHelpTest, ConditionsAreToldWithoutAServer) {
  server_.Stop();
  const CliResult all = Cli("rules conditions");
  EXPECT_EQ(all.exit_code, 0) << all.err;
  for (const CommentedCondition& condition : RuleComments().conditions) {
    EXPECT_THAT(all.out, HasSubstr("\n" + condition.name + " "));
  }
  EXPECT_THAT(all.out, HasSubstr("Robust standard deviations. Range from 0, finite. Unset: 3."));
  EXPECT_THAT(all.out, HasSubstr("update_ratio"));
  const CliResult one = Cli("rules conditions vanishing");
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_THAT(one.out, HasSubstr("min_mean_abs"));
  EXPECT_THAT(one.out, HasSubstr("Needs level FULL."));
  EXPECT_THAT(one.out, HasSubstr("for_steps"));
  EXPECT_THAT(one.out, Not(HasSubstr("max_ratio")));
  const CliResult wrong = Cli("rules conditions norm_spik");
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_EQ(wrong.err, "gradwatch: no condition \"norm_spik\"; did you mean norm_spike?\n");
}

TEST_F(RulesHelpTest, ConditionsAreJsonForPrograms) {
  const CliResult result = Cli("rules conditions norm_limit -o json");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out,
              HasSubstr(R"({"conditions":[{"name":"norm_limit","summary":"A norm above a limit.","meaning":)"
                        R"("Holds when a norm exceeds a limit.","fields":[{"name":"max_norm","type":)"
                        R"("number","meaning":"The limit. Range above 0, finite. Required."},)"));
  EXPECT_THAT(result.out, HasSubstr(R"("name":"critical","meaning":"The run is being lost.")"));
}

TEST_F(RulesHelpTest, PresetsAreListed) {
  server_.Stop();
  const CliResult result = Cli("rules presets");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const std::string& name : core::PresetNames()) EXPECT_THAT(result.out, HasSubstr("\n" + name + " "));
}

TEST_F(RulesHelpTest, APresetIsToldAsItCanBeApplied) {
  server_.create_job = [](const v1::CreateJobRequest& request, v1::Job* job) {
    EXPECT_TRUE(request.validate_only());
    *job->mutable_spec() = request.spec();
    *job->mutable_spec()->mutable_rules() = core::ResolveRules(request.spec().rules());
    return grpc::Status::OK;
  };
  for (const std::string& name : core::PresetNames()) {
    const CliResult result = Cli("rules presets " + name);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    v1::RuleSet read, preset;
    preset.set_preset(name);
    ASSERT_THAT(client::ReadMessage(dir_.Write("preset.yaml", result.out), &read), IsOk()) << result.out;
    EXPECT_EQ(read.DebugString(), core::ResolveRules(preset).DebugString());
  }
}

TEST_F(RulesHelpTest, AnUnknownPresetIsRefusedInTheServersWords) {
  server_.create_job = [](const v1::CreateJobRequest&, v1::Job*) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "there is no preset \"x\"");
  };
  const CliResult result = Cli("rules presets x");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err, "gradwatch: there is no preset \"x\"\n");
}

TEST_F(RulesHelpTest, AMisspeltPresetIsToldTheNearOne) {
  server_.create_job = [](const v1::CreateJobRequest&, v1::Job*) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "there is no such preset");
  };
  EXPECT_EQ(Cli("rules presets kera").err, "gradwatch: there is no such preset; did you mean keras?\n");
  EXPECT_EQ(Cli("rules presets Keras").err, "gradwatch: there is no such preset; did you mean keras?\n");
  EXPECT_EQ(Cli("rules presets keras").err, "gradwatch: there is no such preset\n");
}

TEST_F(RulesHelpTest, TheNearPresetStandsWhereThePresetIsRefused) {
  google::rpc::BadRequest details;
  for (const char* field : {"rules.preset", "rules.rules[0].name"}) {
    auto* const violation = details.add_field_violations();
    violation->set_field(field);
    violation->set_description("is wrong");
  }
  absl::Status status = absl::InvalidArgumentError("rules.preset: is wrong (and 1 more)");
  status.SetPayload("type.googleapis.com/google.rpc.BadRequest", absl::Cord(details.SerializeAsString()));
  const auto told = client::GetFieldViolations(WithNearPreset(status, "Keras"));
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0].description(), "is wrong; did you mean keras?");
  EXPECT_EQ(told[1].description(), "is wrong");
  EXPECT_EQ(client::GetFieldViolations(WithNearPreset(status, "keras"))[0].description(), "is wrong");
}

}  // namespace
}  // namespace gradwatch::cli
