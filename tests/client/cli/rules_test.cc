#include "client/cli/rules.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/controls_text.h"
#include "client/cli/event_text.h"
#include "client/cli/rules_change.h"
#include "client/cli/rules_set.h"
#include "client/cli/rules_text.h"
#include "client/cli/short_rules.h"
#include "client/lib/spec_writer.h"
#include "core/detect/detector.h"
#include "core/detect/presets.h"
#include "tests/client/cli/cli_fixture.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::Reason;
using ::gradwatch::testing::RichStatus;
using ::gradwatch::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

v1::RuleSet ParseRules(const std::string& text) {
  v1::RuleSet rules;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &rules)) << text;
  return rules;
}

v1::Rule ParseRule(const std::string& text) { return ParseRules("rules {" + text + "}").rules(0); }

// --- As people read them ---

TEST(RulesTextTest, AConditionIsToldWithItsNumbers) {
  const struct {
    const char* rule;
    const char* text;
  } cases[] = {
      {"non_finite {}", "NaN or infinity in the loss or a gradient"},
      {"norm_limit { max_norm: 2.5 per_tensor: false }", "norm above 2.5"},
      {"norm_limit { max_norm: 2.5 per_tensor: true } tensors: '*.weight'",
       "norm of a tensor above 2.5; tensors *.weight"},
      // ln 20 / 8
      {"norm_spike { max_deviations: 8 window: 30 min_deviation: 0.37446653 } for_steps: 2 within_steps: 3",
       "norm above x20 its median of 30 steps, by 8 deviations; on 2 of 3 steps"},
      {"norm_spike { max_deviations: 8 window: 30 min_deviation: 0.37446653 start_factor: 1 }",
       "norm above x20 its median of 30 steps, by 8 deviations, and above x1 its first ones"},
      {"loss_jump { factor: 5 window: 30 max_deviations: 3 } for_steps: 3",
       "loss above x5 its median of 30 steps, by 3 deviations; on 3 steps in a row"},
      {"loss_jump { factor: 5 window: 30 max_deviations: 0 norm_factor: 10 } for_steps: 3 within_steps: 3",
       "loss above x5 its median of 30 steps, with a norm above x10 its usual; on 3 steps in a row"},
      {"vanishing { min_mean_abs: 1e-7 } for_steps: 1 within_steps: 1",
       "mean magnitude of a tensor's gradient below 1e-07"},
      {"no_progress { window: 500 min_gain: 0.001 }", "loss down by no more than 0.1% over 500 steps"},
      {"saturation { max_saturated: 1 max_dead: 0.5 }", "units of a layer above 50% dead"},
      {"stall {}", "no step for 30 s and ten median steps"},
      {"series { series: SERIES_GRAD_NORM baseline: BASELINE_MEAN window: 9 factor: 9 }",
       "norm above x9 its mean of 9 steps"},
      {"series { limit: 1.7976931348623157e308 }", "loss not finite"},
      {"series { baseline: BASELINE_MOVING window: 20 max_deviations: 4 limit: 7 keep_out: true }",
       "loss 4 deviations above its moving mean of 20 steps and above 7, outliers kept out of it"},
      {"loss_collapse { factor: 1.5 max_deviations: 8 start_share: 0.75 }",
       "loss of 30 steps above x1.5 its best, by 8 deviations, and back above 75% of its start; or so for 200 steps "
       "above x1.225, by 2 deviations, and nearer its start than its best"},
      {"overshoot { max_log_product: 1.5 start_factor: 1.5 }",
       "updates multiply up to x4.482 the weights while the loss is above x1.5 its start, or one is x7.389 them while "
       "it is above x10"},
      {"off: true", "-"},
      {"", "one that this version of gradwatch does not know"},
  };
  for (const auto& c : cases) EXPECT_EQ(ConditionText(ParseRule(c.rule)), c.text) << c.rule;
}

v1::Job JobAt(int64_t steps_done) {
  v1::Job job;
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_steps_done(steps_done);
  return job;
}

// Sets all numbers and words of a condition: those of the first kind to one value, or to another.
void SetField(const google::protobuf::FieldDescriptor& field, bool other, google::protobuf::Message* condition) {
  const auto& reflection = *condition->GetReflection();
  switch (field.cpp_type()) {
    case google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(condition, &field, other ? 0.25 : 0.5);
    case google::protobuf::FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(condition, &field, other ? 300 : 200);
    case google::protobuf::FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(condition, &field, other);
    default:
      return reflection.SetEnumValue(condition, &field, other ? 3 : 2);
  }
}

TEST(RulesTextTest, EveryConditionHasWordsAndTellsEveryField) {
  const auto& conditions = *v1::Rule::descriptor()->FindOneofByName("condition");
  for (int i = 0; i < conditions.field_count(); ++i) {
    v1::Rule rule;
    auto* const condition = rule.GetReflection()->MutableMessage(&rule, conditions.field(i));
    const auto& type = *condition->GetDescriptor();
    for (int k = 0; k < type.field_count(); ++k) SetField(*type.field(k), false, condition);
    const std::string text = ConditionText(rule);
    EXPECT_THAT(text, Not(HasSubstr("does not know"))) << type.name();
    EXPECT_THAT(text, Not(HasSubstr("_"))) << "field names are no words";
    for (int k = 0; k < type.field_count(); ++k) {
      if (type.field(k)->name() == "warm_up") continue;  // that is what "armed" tells
      SetField(*type.field(k), true, condition);
      EXPECT_NE(ConditionText(rule), text) << type.name() << "." << type.field(k)->name();
      SetField(*type.field(k), false, condition);
    }
  }
}

TEST(RulesTextTest, ArmingIsToldAgainstTheStepsDone) {
  EXPECT_EQ(ArmingText(ParseRule("armed_at: 30"), JobAt(30)), "from step 30") << "step 30 is the next one";
  EXPECT_EQ(ArmingText(ParseRule("armed_at: 30"), JobAt(29)), "not yet: needs 1 more step");
  EXPECT_EQ(ArmingText(ParseRule("armed_at: 30"), JobAt(0)), "not yet: needs 30 more steps");
  EXPECT_EQ(ArmingText(ParseRule("unable: 'needs level FULL'"), JobAt(99)), "cannot judge: needs level FULL");
  EXPECT_EQ(ArmingText(ParseRule("armed_at: 30 unable: 'updates are left out'"), JobAt(99)),
            "from step 30; judges in part: updates are left out");
  EXPECT_EQ(ArmingText(ParseRule("off: true"), JobAt(99)), "off");
  EXPECT_EQ(ArmingText(ParseRule("stall {}"), JobAt(99)), "-") << "it waits for no step";
}

TEST(RulesTextTest, NothingIsArmedThatNobodyJudgesHere) {
  v1::Job job = JobAt(7);
  job.mutable_spec()->mutable_external();
  EXPECT_EQ(ArmingText(ParseRule("non_finite {}"), job), "judged by the program");
  EXPECT_EQ(ArmingText(ParseRule("stall {}"), job), "-") << "that is the server's";
}

TEST(RulesTextTest, OfAJobThatHasEndedItSaysSinceWhenARuleCouldFire) {
  for (const auto state : {v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED, v1::JOB_STATE_STOPPED}) {
    v1::Job job = JobAt(31);
    job.set_state(state);
    EXPECT_EQ(ArmingText(ParseRule("non_finite {} armed_at: 30"), job), "from step 30");
    EXPECT_EQ(ArmingText(ParseRule("non_finite {} armed_at: 31"), job), "never: step 31 would have been the first");
    EXPECT_EQ(ArmingText(ParseRule("unable: 'needs level FULL'"), job), "never: needs level FULL");
    EXPECT_EQ(ArmingText(ParseRule("stall {}"), job), "-") << "it waits for no step";
    EXPECT_EQ(ArmingText(ParseRule("non_finite {}"), job), "-") << "an older server does not say it";
  }
}

TEST(RulesTextTest, ASetIsToldByItsFirstNames) {
  EXPECT_EQ(RulesText(v1::RuleSet()), "none");
  EXPECT_EQ(RulesText(ParseRules("preset: 'gradwatch'")), "preset gradwatch");
  EXPECT_EQ(RulesText(ParseRules("rules { name: 'a' }")), "1 rule (a)");
  EXPECT_EQ(RulesText(ParseRules("rules { name: 'a' } rules { name: 'gone' off: true } rules { name: 'b' }")),
            "2 rules (a, b)");
  v1::RuleSet many;
  for (int i = 0; i < 64; ++i) many.add_rules()->set_name(absl::StrCat("r", i));
  EXPECT_EQ(RulesText(many), "64 rules (r0, r1, r2, r3, r4, r5, r6, r7, ...)");
}

TEST(RulesTextTest, AChangeIsToldByNames) {
  const v1::RuleSet before = ParseRules(R"(
    rules { name: 'same' norm_limit { max_norm: 1 } armed_at: 3 }
    rules { name: 'other' norm_limit { max_norm: 1 } }
    rules { name: 'gone' non_finite {} }
    rules { name: 'off' non_finite {} })");
  const v1::RuleSet after = ParseRules(R"(
    rules { name: 'new2' non_finite {} } rules { name: 'new1' non_finite {} }
    rules { name: 'other' norm_limit { max_norm: 2 } }
    rules { name: 'same' norm_limit { max_norm: 1 } unable: 'no' off: false }
    rules { name: 'off' off: true })");
  EXPECT_EQ(RulesChangeText(before, after),
            "added new1, new2; removed gone, off; changed other (norm_limit.max_norm 1 -> 2)");
  EXPECT_EQ(RulesChangeText(before, before), "");
  EXPECT_EQ(RulesChangeText(v1::RuleSet(), before), "added gone, off, other, same");
}

TEST(RulesTextTest, AChangeOfARuleIsToldByItsFields) {
  const struct {
    const char *before, *after, *text, *json;
  } cases[] = {
      {"severity: SEVERITY_WARNING non_finite {}", "severity: SEVERITY_CRITICAL for_steps: 3 non_finite {}",
       "severity warning -> critical, for_steps unset -> 3",
       R"({"field":"severity","old":"warning","new":"critical"},{"field":"for_steps","old":null,"new":3})"},
      {"norm_limit { max_norm: 1e-3 per_tensor: false }", "tensors: 'a*' norm_limit { max_norm: 2.5 per_tensor: true }",
       "tensors unset -> a*, norm_limit.max_norm 0.001 -> 2.5, norm_limit.per_tensor false -> true",
       R"({"field":"tensors","old":null,"new":"a*"},{"field":"norm_limit.max_norm","old":0.001,"new":2.5},)"
       R"({"field":"norm_limit.per_tensor","old":false,"new":true})"},
      {"series { limit: 1 }", "series { series: SERIES_GRAD_NORM limit: 1 }", "series.series unset -> grad_norm",
       R"({"field":"series.series","old":null,"new":"grad_norm"})"},
      {"non_finite {}", "norm_limit { max_norm: 2 }",
       "condition NaN or infinity in the loss or a gradient -> norm above 2",
       R"({"field":"condition","old":"non_finite","new":"norm_limit"})"},
  };
  for (const auto& c : cases) {
    const auto rules = [](const std::string& rule) { return ParseRules("rules { name: 'a' " + rule + " }"); };
    const RulesChange change = ChangeOf(rules(c.before), rules(c.after));
    EXPECT_EQ(RulesChangeText(change), absl::StrCat("changed a (", c.text, ")"));
    EXPECT_EQ(RulesChangeJson(change).Build(),
              absl::StrCat(R"({"added":[],"removed":[],"changed":[{"rule":"a","fields":[)", c.json, "]}]}"));
  }
}

TEST(RulesTextTest, EventsTellWhichRulesChangedAndNoMore) {
  v1::Event event;
  v1::Adjustment& edit = *event.mutable_adjust_requested()->mutable_adjustment();
  edit.set_edit(7);
  edit.set_actor("anna");
  edit.add_paths("rules");
  *edit.mutable_values()->mutable_rules() = ParseRules("rules { name: 'a' norm_limit { max_norm: 1 } }");
  EXPECT_EQ(EventText(event), "edit 7 asked for by anna: rules: 1 rule (a)");
  edit.clear_values();
  EXPECT_EQ(EventText(event), "edit 7 asked for by anna: rules: those of the spec");

  v1::Adjustment& applied = *event.mutable_adjusted()->mutable_adjustment();
  applied.set_edit(7);
  applied.set_revision(2);
  applied.set_effective_step(12);
  *applied.mutable_old_controls()->mutable_rules() = ParseRules("rules { name: 'a' norm_limit { max_norm: 1 } }");
  *applied.mutable_new_controls()->mutable_rules() = ParseRules("rules { name: 'b' norm_limit { max_norm: 1 } }");
  EXPECT_EQ(EventText(event), "edit 7 holds from step 12 (revision 2): rules: added b; removed a");
  applied.mutable_new_controls()->clear_rules();
  EXPECT_EQ(EventText(event), "edit 7 holds from step 12 (revision 2): no change") << "nobody says that all are gone";
}

TEST(RulesTextTest, SettingsSayThatAJobHasRulesOfItsOwn) {
  v1::JobSpec spec;
  *spec.mutable_rules() = ParseRules("preset: 'none' rules { name: 'a' non_finite {} }");
  v1::Controls controls;
  EXPECT_EQ(SettingsText(spec, controls), "");
  controls.mutable_rules();
  EXPECT_EQ(SettingsText(spec, controls), "rules of its own") << "none";
  *controls.mutable_rules() = ParseRules("preset: 'none' rules { name: 'a' norm_limit { max_norm: 1 } }");
  EXPECT_EQ(SettingsText(spec, controls), "rules of its own");
  *controls.mutable_rules() = spec.rules();
  EXPECT_EQ(SettingsText(spec, controls), "") << "an edit went back to those of the spec";
}

// --- Commands ---

constexpr char kRules[] = R"(
  preset: 'none'
  rules { name: 'nan' severity: SEVERITY_CRITICAL for_steps: 1 resolve_after_steps: 20 within_steps: 1 armed_at: 0
          non_finite {} }
  rules { name: 'spike' severity: SEVERITY_WARNING for_steps: 2 resolve_after_steps: 20 within_steps: 3 armed_at: 30
          tensors: '*.weight'
          norm_spike { max_deviations: 10.25 window: 30 min_deviation: 0.05 per_tensor: true } }
  rules { name: 'layers' severity: SEVERITY_INFO for_steps: 1 resolve_after_steps: 20 within_steps: 1
          unable: 'needs layer_statistics' growth { max_growth: 10000 } })";

class RulesCommandTest : public CliTest {
 protected:
  RulesCommandTest() {
    server_.get_job = [](const v1::GetJobRequest&, v1::Job* job) {
      job->set_job_id("x");
      job->set_steps_done(12);
      job->set_last_event(4);
      job->set_state(v1::JOB_STATE_RUNNING);
      return grpc::Status::OK;
    };
    server_.get_rules = [](const v1::GetRulesRequest& request, v1::RuleSet* rules) {
      EXPECT_EQ(request.job_id(), "x");
      *rules = ParseRules(kRules);
      return grpc::Status::OK;
    };
    server_.apply_rules = [this](const v1::ApplyRulesRequest& request, v1::ApplyRulesResponse* response) {
      checked_.push_back(request);
      *response->mutable_rules() = ParseRules(kRules);
      return grpc::Status::OK;
    };
    server_.adjust_job = [this](const v1::AdjustJobRequest& request, v1::AdjustJobResponse* response) {
      requests_.push_back(request);
      v1::Adjustment& edit = *response->mutable_adjustment();
      edit.set_edit(7);
      *edit.mutable_values() = request.controls();
      *edit.mutable_paths() = request.update_mask().paths();
      if (request.has_at_step()) edit.set_at_step(request.at_step());
      response->set_event_number(5);
      return grpc::Status::OK;
    };
    server_.watch_job = [](const v1::WatchJobRequest&, grpc::ServerContext*,
                           grpc::ServerWriter<v1::WatchJobResponse>* writer) {
      v1::WatchJobResponse answer;
      v1::Event& event = *answer.add_events();
      event.set_number(6);
      v1::Adjustment& applied = *event.mutable_adjusted()->mutable_adjustment();
      applied.set_edit(7);
      applied.set_revision(3);
      applied.set_effective_step(12);
      *applied.mutable_old_controls()->mutable_rules() = ParseRules("rules { name: 'old' non_finite {} }");
      *applied.mutable_new_controls()->mutable_rules() = ParseRules(kRules);
      writer->Write(answer);
      return grpc::Status::OK;
    };
  }

  TempDir dir_;
  std::vector<v1::AdjustJobRequest> requests_;
  std::vector<v1::ApplyRulesRequest> checked_;
};

TEST_F(RulesCommandTest, GetIsATableOfRulesConditionsAndArming) {
  const CliResult result = Cli("rules get x");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  // The cells of each row; two blanks are between columns.
  std::vector<std::vector<std::string>> rows;
  for (const absl::string_view line : absl::StrSplit(result.out, '\n', absl::SkipEmpty())) {
    std::vector<std::string>& cells = rows.emplace_back();
    for (const absl::string_view cell : absl::StrSplit(line, "  ", absl::SkipWhitespace())) {
      cells.emplace_back(absl::StripAsciiWhitespace(cell));
    }
  }
  EXPECT_THAT(
      rows,
      ElementsAre(ElementsAre("RULE", "SEVERITY", "CONDITION", "ARMED"),
                  ElementsAre("nan", "critical", "NaN or infinity in the loss or a gradient", "from step 0"),
                  ElementsAre("spike", "warning",
                              "norm of a tensor above x1.669 its median of 30 steps, by 10.25 deviations; on 2 of 3 "
                              "steps; tensors *.weight",
                              "not yet: needs 18 more steps"),
                  ElementsAre("layers", "info", "gradient of a layer's output above x10000 that of the network's",
                              "cannot judge: needs "
                              "layer_statistics")));
}

TEST_F(RulesCommandTest, WhatGetWritesApplyReads) {
  for (const char* form : {"json", "yaml"}) {
    const CliResult got = Cli(absl::StrCat("rules get x -o ", form));
    ASSERT_EQ(got.exit_code, 0) << got.err;
    const std::string file = dir_.Write(absl::StrCat("rules.", form), got.out);
    requests_.clear();
    const CliResult applied = CliWords({"rules", "apply", "x", "-f", file});
    ASSERT_EQ(applied.exit_code, 0) << applied.err;
    ASSERT_EQ(requests_.size(), 1u);
    v1::RuleSet expected = ParseRules(kRules);
    if (form == std::string("yaml")) {
      for (v1::Rule& rule : *expected.mutable_rules()) {
        rule.clear_armed_at();
        rule.clear_unable();
      }
    }
    EXPECT_EQ(requests_[0].controls().rules().DebugString(), expected.DebugString()) << form;
    EXPECT_THAT(requests_[0].update_mask().paths(), ElementsAre("rules"));
  }
}

// The set that names a preset, as people write it, for rules as a server fills them in.
std::string ByPreset(const v1::RuleSet& written) {
  v1::RuleSet rules = core::ResolveRules(written);
  for (v1::Rule& rule : *rules.mutable_rules()) core::DescribeArming(v1::Controls(), {40}, &rule);
  v1::RuleSet preset;
  preset.set_preset(written.preset());
  const auto by_preset = RulesByPreset(rules, written.preset(), core::ResolveRules(preset));
  if (!by_preset.has_value()) return "none";
  EXPECT_TRUE(core::ValidateRules(*by_preset).ok()) << by_preset->DebugString();
  EXPECT_EQ(core::ResolveRules(*by_preset).DebugString(), core::ResolveRules(written).DebugString());
  return by_preset->ShortDebugString();
}

TEST(ShortRulesTest, NameThePresetAndWhatIsNotAsThere) {
  for (const std::string& name : core::PresetNames()) {
    EXPECT_EQ(ByPreset(ParseRules("preset: '" + name + "'")), "preset: \"" + name + "\"");
  }
  const std::string cases[] = {
      "rules { name: \"loss_jump\" severity: SEVERITY_CRITICAL } preset: \"gradwatch\"",
      "rules { name: \"loss_jump\" loss_jump { factor: 7 } } preset: \"gradwatch\"",
      "rules { name: \"joint_growth\" off: true } preset: \"gradwatch\"",
      "rules { name: \"grad_norm_exploding\" for_steps: 3 within_steps: 3 } preset: \"gradwatch\"",
      "rules { name: \"z_score\" series { window: 40 warm_up: 30 } } preset: \"trainscope\"",
  };
  for (const std::string& text : cases) EXPECT_EQ(ByPreset(ParseRules(text)), text);
  EXPECT_THAT(ByPreset(ParseRules("preset: 'gradwatch' rules { name: 'mine' norm_limit { max_norm: 1 } }")),
              HasSubstr("name: \"mine\" severity: SEVERITY_WARNING"));
  EXPECT_THAT(ByPreset(ParseRules("preset: 'gradwatch' rules { name: 'loss_jump' non_finite {} for_steps: 2 }")),
              HasSubstr("non_finite"));
}

TEST(ShortRulesTest, WhatCannotBeSaidSoIsNot) {
  const v1::RuleSet preset = core::ResolveRules(v1::RuleSet());
  v1::RuleSet rules = preset;
  rules.mutable_rules()->SwapElements(0, 1);
  EXPECT_FALSE(RulesByPreset(rules, "gradwatch", preset).has_value()) << "the order is another";
  rules = preset;
  for (v1::Rule& rule : *rules.mutable_rules()) {
    if (rule.name() == "loss_spike") rule.mutable_loss_jump()->clear_norm_factor();
  }
  EXPECT_FALSE(RulesByPreset(rules, "gradwatch", preset).has_value()) << "the preset says what they do not";
}

TEST_F(RulesCommandTest, YamlNamesThePresetOfTheJob) {
  server_.create_job = [](const v1::CreateJobRequest& request, v1::Job* job) {
    EXPECT_TRUE(request.validate_only());
    *job->mutable_spec()->mutable_rules() = core::ResolveRules(request.spec().rules());
    return grpc::Status::OK;
  };
  v1::RuleSet changed = ParseRules("preset: 'gradwatch' rules { name: 'loss_jump' severity: SEVERITY_CRITICAL }");
  server_.get_rules = [&](const v1::GetRulesRequest&, v1::RuleSet* rules) {
    *rules = core::ResolveRules(changed);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("rules get x -o yaml").out, "rules:\n  - name: loss_jump\n    severity: critical\npreset: gradwatch\n");
  EXPECT_THAT(Cli("rules get x -o json").out, HasSubstr("update_growth")) << "programs get all of them";
  changed.clear_rules();
  EXPECT_EQ(Cli("rules get x -o yaml").out, "preset: gradwatch\n");
}

TEST_F(RulesCommandTest, GetTellsRulesThatWait) {
  server_.get_job = [](const v1::GetJobRequest&, v1::Job* job) {
    job->set_job_id("x");
    job->set_waiting_edits(2);
    return grpc::Status::OK;
  };
  server_.list_edits = [](const v1::ListEditsRequest&, v1::ListEditsResponse* response) {
    for (const char* const path : {"rules", "clip.threshold"}) {
      v1::Adjustment& edit = *response->add_edits();
      edit.set_edit(7 + response->edits_size());
      edit.add_paths(path);
      edit.set_at_step(5000);
      edit.set_actor("ana");
    }
    return grpc::Status::OK;
  };
  const CliResult result = Cli("rules get x");
  EXPECT_THAT(result.err, HasSubstr("waits: edit 8 from step 5000, asked for by ana"));
  EXPECT_THAT(result.err, Not(HasSubstr("edit 9")));
}

TEST_F(RulesCommandTest, YamlNamesAPresetThoughTheServerLacksAnother) {
  v1::RuleSet of_job;
  std::vector<std::string> asked;
  server_.create_job = [&](const v1::CreateJobRequest& request, v1::Job* job) {
    const v1::RuleSet& rules = request.spec().rules();
    asked.push_back(rules.preset());
    if (rules.preset() == "autotrainer") return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "there is none");
    *job->mutable_spec()->mutable_rules() = core::ResolveRules(rules);
    return grpc::Status::OK;
  };
  server_.get_rules = [&](const v1::GetRulesRequest&, v1::RuleSet* rules) {
    *rules = core::ResolveRules(of_job);
    for (v1::Rule& rule : *rules->mutable_rules()) core::DescribeArming(v1::Controls(), {40}, &rule);
    return grpc::Status::OK;
  };
  of_job.set_preset("keras");
  EXPECT_EQ(Cli("rules get x -o yaml").out, "preset: keras\n");
  of_job.set_preset("gradwatch");
  asked.clear();
  EXPECT_EQ(Cli("rules get x -o yaml").out, "preset: gradwatch\n");
  EXPECT_THAT(asked, ElementsAre("gradwatch")) << "nothing is shorter";
}

// Whether in short or in full: what a file of rules has in it is what people write.
TEST_F(RulesCommandTest, YamlSaysNothingOfArmingInEitherForm) {
  const std::string in_full = Cli("rules get x -o yaml").out;  // the server has no preset
  EXPECT_THAT(in_full, HasSubstr("name: spike"));
  EXPECT_THAT(in_full, Not(HasSubstr("armed_at")));
  EXPECT_THAT(in_full, Not(HasSubstr("unable")));
  EXPECT_THAT(Cli("rules get x -o json").out, HasSubstr("armed_at")) << "programs are told";
}

TEST_F(RulesCommandTest, RulesThatHoldAlreadyAreToldAsUnchanged) {
  server_.adjust_job = [](const v1::AdjustJobRequest&, v1::AdjustJobResponse* response) {
    response->set_etag("e1");
    return grpc::Status::OK;
  };
  const CliResult result = Cli("rules apply x --preset gradwatch");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "unchanged: that holds already (revision 0)\n");
  EXPECT_THAT(Cli("rules apply x --preset gradwatch -o json").out, HasSubstr("\"state\":\"unchanged\""));
}

TEST_F(RulesCommandTest, ApplySaysWhatChangedAndFromWhichStep) {
  const std::string file = dir_.Write("rules.textproto", kRules);
  const CliResult result = CliWords({"rules", "apply", "x", "-f", file, "--if-etag", "e1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "rules: added layers, nan, spike; removed old\nholds from step 12 (revision 3)\n");
  EXPECT_EQ(result.err, "gradwatch: layers cannot judge: needs layer_statistics\n");
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].etag(), "e1");
  EXPECT_EQ(requests_[0].request_id().size(), 36u);
}

// What is not measured blinds rules, and that is told where it is changed.
TEST_F(RulesCommandTest, EditsOfWhatIsMeasuredSayWhichRulesCannotJudge) {
  const char* const line = "gradwatch: layers cannot judge: needs layer_statistics\n";
  EXPECT_EQ(Cli("adjust x --statistics norm").err, line);
  EXPECT_EQ(Cli("adjust x --layer-statistics false").err, line);
  EXPECT_EQ(Cli("adjust x --lr-scale 0.5").err, "") << "it changes nothing about them";
  EXPECT_EQ(Cli("adjust x --statistics norm --no-wait").err, "") << "it does not hold yet";
  server_.get_rules = [](const v1::GetRulesRequest&, v1::RuleSet*) { return gradwatch::testing::NotFound("no job"); };
  const CliResult result = Cli("adjust x --statistics norm");
  EXPECT_EQ(result.exit_code, 0) << "the edit holds";
  EXPECT_EQ(result.err, "");
}

TEST_F(RulesCommandTest, APresetNeedsNoFile) {
  const CliResult result = Cli("rules apply x --preset none --at-step 100");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "rules: preset none\nwaits: holds from step 100 (edit 7; withdraw it with: gradwatch clip cancel x 7)\n");
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].controls().rules().ShortDebugString(), "preset: \"none\"");
  EXPECT_EQ(requests_[0].at_step(), 100);
}

// It is easily taken for one that is added to them.
TEST_F(RulesCommandTest, APresetInThePlaceOfTheDefaultRulesSaysHowManyItReplaces) {
  const auto preset_rules = [](const std::string& preset, v1::RuleSet* rules) {
    rules->set_preset("none");
    if (preset == "keras") rules->add_rules()->set_name("loss_not_finite");
    if (preset != "gradwatch") return;
    for (const char* name : {"non_finite", "loss_jump"}) rules->add_rules()->set_name(name);
  };
  server_.create_job = [&](const v1::CreateJobRequest& request, v1::Job* job) {
    preset_rules(request.spec().rules().preset(), job->mutable_spec()->mutable_rules());
    return grpc::Status::OK;
  };
  server_.apply_rules = [&](const v1::ApplyRulesRequest& request, v1::ApplyRulesResponse* response) {
    preset_rules(request.rules().preset(), response->mutable_rules());
    return grpc::Status::OK;
  };
  const struct {
    const char* preset;
    const char* note;
  } cases[] = {
      {"keras", "gradwatch: preset keras replaces the 2 default rules; the job has 1 rule\n"},
      {"none", "gradwatch: preset none replaces the 2 default rules; the job has no rules\n"},
      {"gradwatch", ""},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Cli(absl::StrCat("rules apply x --dry-run --preset ", c.preset)).err,
              absl::StrCat(c.note, "the rules are valid; nothing was changed\n"));
  }
}

TEST_F(RulesCommandTest, HelpOfSetSaysWhatIsSent) {
  EXPECT_THAT(Cli("rules set --help").out, HasSubstr("All rules of the job are sent, with this one changed"));
}

TEST_F(RulesCommandTest, ADryRunShowsTheRulesAndChangesNothing) {
  const CliResult result = Cli("rules apply x --preset gradwatch --dry-run --if-etag e1 --at-step 50");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("unchanged: that holds already (revision 0)\n"));
  EXPECT_THAT(result.out, HasSubstr("norm of a tensor above")) << "the rules";
  EXPECT_EQ(result.err, "the rules are valid; nothing was changed\n");
  EXPECT_TRUE(requests_.empty());
  ASSERT_EQ(checked_.size(), 1u);
  EXPECT_TRUE(checked_[0].validate_only());
  EXPECT_EQ(checked_[0].job_id(), "x");
  EXPECT_EQ(checked_[0].rules().preset(), "gradwatch");
  EXPECT_EQ(checked_[0].etag(), "e1");
  EXPECT_EQ(checked_[0].at_step(), 50);
}

TEST_F(RulesCommandTest, ADryRunSaysWhatWouldChangeAsTheAnswerDoes) {
  v1::RuleSet changed = ParseRules(kRules);
  changed.mutable_rules(0)->set_severity(v1::SEVERITY_INFO);
  changed.mutable_rules(1)->mutable_norm_spike()->set_window(50);
  *changed.mutable_rules(2) = ParseRule("name: 'new' severity: SEVERITY_INFO non_finite {}");
  server_.apply_rules = [&](const v1::ApplyRulesRequest&, v1::ApplyRulesResponse* response) {
    *response->mutable_rules() = changed;
    return grpc::Status::OK;
  };
  server_.watch_job = [&](const v1::WatchJobRequest&, grpc::ServerContext*,
                          grpc::ServerWriter<v1::WatchJobResponse>* writer) {
    v1::WatchJobResponse answer;
    v1::Adjustment& applied = *answer.add_events()->mutable_adjusted()->mutable_adjustment();
    applied.set_edit(7);
    *applied.mutable_old_controls()->mutable_rules() = ParseRules(kRules);
    *applied.mutable_new_controls()->mutable_rules() = changed;
    writer->Write(answer);
    return grpc::Status::OK;
  };
  const std::string line =
      "rules: added new; removed layers; changed nan (severity critical -> info), spike (norm_spike.window 30 -> 50)\n";
  EXPECT_THAT(Cli("rules apply x --preset keras --dry-run").out, ::testing::StartsWith(line));
  EXPECT_THAT(Cli("rules apply x --preset keras").out, ::testing::StartsWith(line));
  const CliResult json = Cli("rules apply x --preset keras --dry-run -o json");
  ASSERT_EQ(json.exit_code, 0) << json.err;
  EXPECT_THAT(json.out, HasSubstr(R"("state":"checked","change":{"added":["new"],"removed":["layers"],"changed":[)"
                                  R"({"rule":"nan","fields":[{"field":"severity","old":"critical","new":"info"}]},)"));
  EXPECT_THAT(json.out, HasSubstr(R"("rules":{"rules":[{"name":"nan")"));
}

TEST_F(RulesCommandTest, AMisspeltPresetIsToldTheNearOne) {
  const grpc::Status refused(grpc::StatusCode::INVALID_ARGUMENT, "there is no such preset");
  server_.adjust_job = [&](const v1::AdjustJobRequest&, v1::AdjustJobResponse*) { return refused; };
  server_.apply_rules = [&](const v1::ApplyRulesRequest&, v1::ApplyRulesResponse*) { return refused; };
  for (const char* command : {"rules apply x --preset Keras", "rules apply x --preset Keras --dry-run"}) {
    const CliResult result = Cli(command);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr("there is no such preset; did you mean keras?")) << command;
  }
}

// It is no error: it may be meant.
TEST_F(RulesCommandTest, ANewRuleWithNearlyTheNameOfOneOfThePresetIsToldIt) {
  const auto resolve = [](const v1::RuleSet& rules) { return core::ResolveRules(rules); };
  server_.apply_rules = [&](const v1::ApplyRulesRequest& request, v1::ApplyRulesResponse* response) {
    *response->mutable_rules() = resolve(request.rules());
    return grpc::Status::OK;
  };
  server_.adjust_job = [&](const v1::AdjustJobRequest& request, v1::AdjustJobResponse* response) {
    response->mutable_adjustment()->set_edit(7);
    *response->mutable_adjustment()->mutable_values()->mutable_rules() = resolve(request.controls().rules());
    return grpc::Status::OK;
  };
  const auto note = [&](const std::string& rule, const char* option) {
    const std::string file = dir_.Write("near.yaml", absl::StrCat("rules: [{", rule, ", loss_jump: {factor: 4}}]\n"));
    const CliResult result = CliWords({"rules", "apply", "x", "-f", file, option});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.err;
  };
  for (const char* const option : {"--no-wait", "--dry-run"}) {
    EXPECT_THAT(note("name: loss_jmup", option),
                HasSubstr("gradwatch: loss_jmup is a rule beside those of the preset; did you mean loss_jump?\n"));
    EXPECT_THAT(note("name: loss_jump", option), Not(HasSubstr("did you mean"))) << "it takes its place";
    EXPECT_THAT(note("name: jumps", option), Not(HasSubstr("did you mean")));
    EXPECT_THAT(note("name: loss_jump, off: true}, {name: loss_jump2", option), Not(HasSubstr("did you mean")))
        << "there is no other";
  }
}

TEST_F(RulesCommandTest, WrongUseIsSaidBeforeTheServerIsAsked) {
  const std::string wrong = dir_.Write("wrong.yaml", "rulez: []\n"), file = dir_.Write("rules.textproto", kRules);
  const struct {
    std::vector<std::string> words;
    const char* message;
  } cases[] = {
      {{"rules", "apply", "x"}, "nothing to apply: give --file, --preset or --of-spec"},
      {{"rules", "apply", "x", "-f", file, "--of-spec"}, "--of-spec"},
      {{"rules", "apply", "x", "--preset", "none", "--of-spec"}, "--of-spec"},
      {{"rules", "apply", "x", "-f", dir_.File("none.yaml")}, "none.yaml"},
      {{"rules", "apply", "x", "-f", wrong}, "rulez: no such field"},
      {{"rules", "apply", "x", "-f", file, "--preset", "none"}, "--file"},
      {{"rules", "apply", "x", "--preset", ""}, "is empty"},
      {{"rules", "set", "x"}, "RULE"},
      {{"rules", "set", "x", "nan"}, "FIELD"},
      {{"rules", "set", "x", "nan", "severity"}, "expected FIELD=VALUE"},
      {{"rules", "set", "x", "nn", "severity=info"}, "the job has no rule \"nn\"; did you mean nan?"},
      {{"rules"}, "rules: a command is required"},
  };
  for (const auto& c : cases) {
    const CliResult result = CliWords(c.words);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(c.message));
  }
  EXPECT_TRUE(requests_.empty());
}

// A file that was cut short is not a wish for the default rules.
TEST_F(RulesCommandTest, AFileThatSaysNothingIsRefused) {
  const std::pair<const char*, const char*> files[] = {{"empty.textproto", ""},
                                                       {"comment.textproto", "# none\n"},
                                                       {"braces.json", "{}"},
                                                       {"braces.yaml", "{}\n"},
                                                       {"list.json", "{\"rules\": []}"}};
  for (const auto& [name, text] : files) {
    for (const bool dry : {false, true}) {
      std::vector<std::string> words = {"rules", "apply", "x", "-f", dir_.Write(name, text)};
      if (dry) words.push_back("--dry-run");
      const CliResult result = CliWords(words);
      EXPECT_EQ(result.exit_code, 2) << name << result.out;
      EXPECT_THAT(result.err, HasSubstr("has neither rules nor a preset")) << name;
    }
  }
  EXPECT_TRUE(requests_.empty());
  EXPECT_TRUE(checked_.empty());
  EXPECT_EQ(CliWords({"rules", "apply", "x", "-f", dir_.Write("none.yaml", "preset: none\n")}).exit_code, 0);
}

// People cut them out of a job, or give the job.
TEST_F(RulesCommandTest, RulesOfAJobAreReadToo) {
  const v1::RuleSet rules = ParseRules("preset: 'none' rules { name: 'a' norm_limit { max_norm: 1 } }");
  const std::pair<const char*, const char*> files[] = {
      {"bare.yaml", "preset: none\nrules: [{name: a, norm_limit: {max_norm: 1}}]\n"},
      {"block.yaml", "rules: {preset: none, rules: [{name: a, norm_limit: {max_norm: 1}}]}\n"},
      {"block.json", R"({"rules": {"preset": "none", "rules": [{"name": "a", "norm_limit": {"max_norm": 1}}]}})"},
      {"block.textproto", "rules { preset: 'none' rules { name: 'a' norm_limit { max_norm: 1 } } }"},
      {"job.yaml", "steps: 5\nrules: {preset: none, rules: [{name: a, norm_limit: {max_norm: 1}}]}\n"},
  };
  for (const auto& [name, text] : files) {
    requests_.clear();
    EXPECT_EQ(CliWords({"rules", "apply", "x", "-f", dir_.Write(name, text)}).exit_code, 0) << name;
    ASSERT_EQ(requests_.size(), 1u) << name;
    EXPECT_EQ(requests_[0].controls().rules().DebugString(), rules.DebugString()) << name;
  }
  requests_.clear();
  const std::pair<const char*, const char*> wrong[] = {
      {"rules: {rules: [{name: a, norm_limt: {}}]}\n", "rules.rules[0].norm_limt: no such field"},
      {"rules: [{name: a, norm_limt: {}}]\n", " rules[0].norm_limt: no such field"},
      {"steps: 5\n", "steps: no such field"},
      {"rules: {}\n", "has neither rules nor a preset"},
  };
  for (const auto& [text, message] : wrong) {
    const CliResult result = CliWords({"rules", "apply", "x", "-f", dir_.Write("wrong.yaml", text)});
    EXPECT_EQ(result.exit_code, 2) << text;
    EXPECT_THAT(result.err, HasSubstr(message)) << text;
  }
  EXPECT_TRUE(requests_.empty());
}

// --- One rule ---

TEST(SetInRulesTest, SetsFieldsAsAFileSaysThem) {
  const v1::RuleSet rules = core::ResolveRules(ParseRules(R"(
    preset: 'none'
    rules { name: 'jump' for_steps: 2 loss_jump { factor: 5 } }
    rules { name: 'some' for_steps: 2 within_steps: 3 norm_limit { max_norm: 1 per_tensor: true } }
    rules { name: 'mean' series { baseline: BASELINE_MEAN factor: 2 window: 60 } }
    rules { name: 'warm' series { baseline: BASELINE_MEAN factor: 2 window: 60 warm_up: 30 } })"));
  const struct {
    const char* rule;
    std::vector<std::string> assignments;
    const char* change;
  } cases[] = {
      {"jump", {"severity=critical"}, "severity warning -> critical"},
      {"jump",
       {"loss_jump.factor=4", "loss_jump.norm_factor=10"},
       "loss_jump.factor 5 -> 4, loss_jump.norm_factor unset -> 10"},
      {"jump", {"for_steps=3"}, "for_steps 2 -> 3, within_steps 2 -> 3"},
      {"jump", {"within_steps=4"}, "within_steps 2 -> 4"},
      {"some", {"for_steps=1", "tensors=*.weight"}, "tensors unset -> *.weight, for_steps 2 -> 1"},
      {"some", {"for_steps=5"}, "for_steps 2 -> 5, within_steps 3 -> 5"},
      {"mean", {"series.window=20"}, "series.window 60 -> 20, series.warm_up 60 -> 20"},
      {"warm", {"series.window=40"}, "series.window 60 -> 40"},
      {"warm", {"series.window=20"}, "series.window 60 -> 20, series.warm_up 30 -> 20"},
      {"warm", {"series.window=20", "series.warm_up=10"}, "series.window 60 -> 20, series.warm_up 30 -> 10"},
  };
  for (const auto& c : cases) {
    const auto set = SetInRules(rules, c.rule, c.assignments);
    ASSERT_TRUE(set.ok()) << set.status();
    EXPECT_TRUE(core::ValidateRules(*set).ok()) << core::ValidateRules(*set);
    EXPECT_EQ(RulesChangeText(rules, core::ResolveRules(*set)), absl::StrCat("changed ", c.rule, " (", c.change, ")"));
  }
  EXPECT_EQ(RulesChangeText(rules, *SetInRules(rules, "mean", {"off=true"})), "removed mean");
}

TEST(SetInRulesTest, RefusesWhatIsNoWish) {
  const v1::RuleSet rules = core::ResolveRules(v1::RuleSet());
  const struct {
    const char *rule, *assignment, *message;
  } cases[] = {
      {"los_jump", "severity=info", "the job has no rule \"los_jump\"; did you mean loss_jump?"},
      {"loss_jump", "severty=info", "did you mean severity?"},
      {"loss_jump", "severity=loud", "loud"},
      {"loss_jump", "norm_limit.max_norm=1",
       "norm_limit.max_norm: rule loss_jump has the condition loss_jump; give it another one by `rules apply`"},
      {"loss_jump", "loss_jump.factr=1", "did you mean factor?"},
      {"loss_jump", "name=other", "name: cannot be set"},
      {"loss_jump", "armed_at=3", "armed_at: cannot be set"},
      {"loss_jump", "severity", "expected FIELD=VALUE, found \"severity\""},
      {"loss_jump", "=3", "expected FIELD=VALUE, found \"=3\""},
  };
  for (const auto& c : cases) {
    const absl::Status status = SetInRules(rules, c.rule, {c.assignment}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST_F(RulesCommandTest, SetIsAnEditOfAllRulesGuardedByTheEtag) {
  server_.get_job = [](const v1::GetJobRequest&, v1::Job* job) {
    job->set_job_id("x");
    job->set_etag("e5");
    return grpc::Status::OK;
  };
  const CliResult result = Cli("rules set x spike severity=critical norm_spike.window=50 --at-step 100");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("waits: holds from step 100 (edit 7;"));
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].etag(), "e5");
  EXPECT_EQ(requests_[0].at_step(), 100);
  EXPECT_THAT(requests_[0].update_mask().paths(), ElementsAre("rules"));
  EXPECT_EQ(RulesChangeText(ParseRules(kRules), requests_[0].controls().rules()),
            "changed spike (severity warning -> critical, norm_spike.window 30 -> 50)");
  EXPECT_THAT(Cli("rules set x nan severity=info").out, HasSubstr("holds from step 12 (revision 3)"));
}

TEST_F(RulesCommandTest, SetChangesTheRulesThatItWillFind) {
  server_.get_job = [](const v1::GetJobRequest&, v1::Job* job) {
    job->set_job_id("x");
    job->set_steps_done(12);
    job->set_waiting_edits(4);
    return grpc::Status::OK;
  };
  server_.list_edits = [](const v1::ListEditsRequest&, v1::ListEditsResponse* response) {
    for (const int64_t step : {0, 50, 60, 200}) {
      v1::Adjustment& edit = *response->add_edits();
      edit.set_edit(response->edits_size());
      edit.add_paths("rules");
      if (step > 0) edit.set_at_step(step);
      if (step == 60) edit.set_withdrawn_by("ana");
      *edit.mutable_values()->mutable_rules() =
          ParseRules(absl::StrCat("rules { name: 'of_", step, "' non_finite {} } rules { name: 'nan' non_finite {} }"));
    }
    return grpc::Status::OK;
  };
  const std::pair<const char*, const char*> cases[] = {
      {"", "of_0"}, {" --at-step 100", "of_50"}, {" --at-step 300", "of_200"}};
  for (const auto& [option, first] : cases) {
    requests_.clear();
    EXPECT_EQ(Cli(absl::StrCat("rules set x nan severity=info --no-wait", option)).exit_code, 0);
    ASSERT_EQ(requests_.size(), 1u);
    EXPECT_EQ(requests_[0].controls().rules().rules(0).name(), first);
    EXPECT_EQ(requests_[0].controls().rules().rules(1).severity(), v1::SEVERITY_INFO);
  }
}

TEST_F(RulesCommandTest, OfSpecAsksForThePathAlone) {
  EXPECT_EQ(Cli("rules apply x --of-spec").exit_code, 0);
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_FALSE(requests_[0].controls().has_rules());
  EXPECT_THAT(requests_[0].update_mask().paths(), ElementsAre("rules"));
}

TEST_F(RulesCommandTest, ADryRunOfThoseOfTheSpecChecksThem) {
  server_.get_job = [](const v1::GetJobRequest&, v1::Job* job) {
    job->set_job_id("x");
    *job->mutable_spec()->mutable_rules() = ParseRules(kRules);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("rules apply x --of-spec --dry-run").exit_code, 0);
  ASSERT_EQ(checked_.size(), 1u);
  EXPECT_EQ(checked_[0].rules().DebugString(), ParseRules(kRules).DebugString());
}

TEST_F(RulesCommandTest, HelpListsThePresetsThatThereAre) {
  EXPECT_THAT(PresetNames(), ::testing::UnorderedElementsAreArray(core::PresetNames())) << "as the server has them";
  const CliResult help = Cli("rules apply --help");
  for (const std::string& name : PresetNames()) EXPECT_THAT(help.out, HasSubstr(name));
}

// A dry run is a check of rules, an apply an edit of the controls: users give the same file to both.
TEST_F(RulesCommandTest, ADryRunAndAnApplyNameTheSameFields) {
  const auto refuse = [](const char* prefix) {
    google::rpc::BadRequest details;
    for (const char* field : {"rules.rules[1].norm_limit.max_norm", "rules.preset"}) {
      auto* const violation = details.add_field_violations();
      violation->set_field(absl::StrCat(prefix, field));
      violation->set_description("is wrong");
    }
    return RichStatus(grpc::StatusCode::INVALID_ARGUMENT, absl::StrCat(prefix, "rules: is wrong"), Reason("BAD_FIELD"),
                      details);
  };
  server_.apply_rules = [&](const v1::ApplyRulesRequest&, v1::ApplyRulesResponse*) { return refuse(""); };
  server_.adjust_job = [&](const v1::AdjustJobRequest&, v1::AdjustJobResponse*) { return refuse("controls."); };
  const CliResult checked = Cli("rules apply x --preset none --dry-run"), applied = Cli("rules apply x --preset none");
  EXPECT_EQ(checked.exit_code, 2);
  EXPECT_EQ(applied.exit_code, 2);
  EXPECT_EQ(checked.err,
            "gradwatch: rules.rules[1].norm_limit.max_norm: is wrong\ngradwatch: rules.preset: is wrong\n");
  EXPECT_EQ(applied.err, checked.err);
}

// What is not set is not written, neither by `rules get` nor where rules stand in something else.
TEST_F(RulesCommandTest, RulesAreWrittenAlikeEverywhere) {
  const CliResult got = Cli("rules get x -o json");
  const std::string rules(absl::StripAsciiWhitespace(got.out));
  EXPECT_THAT(rules, Not(HasSubstr("\"tensors\":\"\"")));
  const std::string file = dir_.Write("rules.textproto", kRules);
  const CliResult applied = CliWords({"rules", "apply", "x", "-f", file, "-o", "json"});
  EXPECT_THAT(applied.out, HasSubstr(absl::StrCat("\"rules\":", rules)));
  v1::Job job;
  *job.mutable_spec()->mutable_rules() = ParseRules(kRules);
  EXPECT_THAT(client::FormatMessage(job, client::OutputSyntax::kJson, {.include_defaults = true}),
              HasSubstr(absl::StrCat("\"rules\":", rules)));
}

TEST_F(RulesCommandTest, WhatTheServerRefusesHasItsExitCode) {
  server_.get_rules = [](const v1::GetRulesRequest&, v1::RuleSet*) { return gradwatch::testing::NotFound("no job"); };
  EXPECT_EQ(Cli("rules get x").exit_code, 5);
  server_.apply_rules = [](const v1::ApplyRulesRequest&, v1::ApplyRulesResponse*) {
    return RichStatus(grpc::StatusCode::ABORTED, "the etag is e9", Reason("ETAG_MISMATCH"));
  };
  EXPECT_EQ(Cli("rules apply x --preset none --dry-run").exit_code, 6);
  server_.adjust_job = [](const v1::AdjustJobRequest&, v1::AdjustJobResponse*) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "controls.rules.preset: there is none");
  };
  const CliResult result = Cli("rules apply x --preset oops");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("there is none"));
}

}  // namespace
}  // namespace gradwatch::cli
