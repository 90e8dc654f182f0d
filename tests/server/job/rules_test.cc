// Rules of a job that is there: an edit of its controls as any other, and told only where they change.
#include "core/base/error.h"
#include "core/detect/detector.h"
#include "core/detect/presets.h"
#include "core/spec/job_spec.h"
#include "core/spec/resource_limits.h"
#include "server/base/unique_text.h"
#include "tests/server/job/job_manager_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Code = absl::StatusCode;

// No rule but those of these names, each about a norm.
v1::RuleSet NormRules(const std::vector<std::string>& names, double limit = 10) {
  v1::RuleSet rules;
  rules.set_preset("none");
  for (const std::string& name : names) {
    v1::Rule* const rule = rules.add_rules();
    rule->set_name(name);
    rule->mutable_norm_limit()->set_max_norm(limit);
  }
  return rules;
}

v1::RuleSet StallRules(const std::string& name, double seconds) {
  v1::RuleSet rules = NormRules({"norm"});
  v1::Rule* const rule = rules.add_rules();
  rule->set_name(name);
  rule->mutable_stall()->set_seconds(seconds);
  return rules;
}

class RulesTest : public JobManagerTest {
 protected:
  void SetUp() override {
    JobManagerTest::SetUp();
    Submit("job", NormRules({"first"}));
  }
  void Submit(const std::string& job_id, const v1::RuleSet& rules) {
    v1::CreateJobRequest request;
    *request.mutable_spec() = SmallSpec();
    *request.mutable_spec()->mutable_rules() = rules;
    request.set_job_id(job_id);
    ASSERT_THAT(Create(request), IsOk());
  }
  static v1::ApplyRulesRequest Request(const v1::RuleSet& rules) {
    v1::ApplyRulesRequest request;
    request.set_job_id("job");
    *request.mutable_rules() = rules;
    return request;
  }
  absl::StatusOr<v1::ApplyRulesResponse> Apply(const v1::ApplyRulesRequest& request) {
    return Call(&JobManager::ApplyRules, request);
  }
  absl::StatusOr<v1::ApplyRulesResponse> Apply(const v1::RuleSet& rules) { return Apply(Request(rules)); }
  v1::RuleSet InForce() {
    const auto rules = jobs_->GetRules("job");
    EXPECT_THAT(rules, IsOk());
    return rules.ok() ? *rules : v1::RuleSet();
  }
  static std::vector<std::string> Names(const v1::RuleSet& rules) {
    std::vector<std::string> names;
    for (const v1::Rule& rule : rules.rules()) names.push_back(rule.name());
    return names;
  }
  std::vector<std::string> LogAfterStart() {
    std::vector<std::string> log = Log("job");
    log.erase(log.begin(), log.begin() + 3);
    return log;
  }
};

TEST_F(RulesTest, AnEditIsRecordedSentAndApplied) {
  Trainer trainer = AttachReady("job");
  EXPECT_THAT(Names(InForce()), ElementsAre("first"));
  EXPECT_EQ(InForce().rules(0).armed_at(), 0);
  const auto response = Apply(NormRules({"first", "second"}));
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->adjustment().edit(), 1);
  EXPECT_EQ(response->adjustment().actor(), "tester");
  EXPECT_THAT(response->adjustment().paths(), ElementsAre("rules"));
  EXPECT_THAT(Names(response->rules()), ElementsAre("first", "second"));
  EXPECT_EQ(response->rules().rules(1).severity(), v1::SEVERITY_WARNING) << "everything is filled in";
  const v1::EditBatch sent = trainer.link->sent().back().edits();
  ASSERT_THAT(sent.edits(), SizeIs(1));
  EXPECT_THAT(sent.edits(0).paths(), ElementsAre("rules"));
  EXPECT_EQ(sent.edits(0).values().rules().rules(1).severity(), v1::SEVERITY_WARNING) << "a trainer has no defaults";
  EXPECT_THAT(Names(InForce()), ElementsAre("first")) << "it waits";
  EXPECT_THAT(Waiting("job"), ElementsAre("1"));

  SayApplied(trainer, 1, 17);
  EXPECT_THAT(Names(InForce()), ElementsAre("first", "second"));
  EXPECT_EQ(InForce().rules(1).armed_at(), 17);
  EXPECT_THAT(LogAfterStart(), ElementsAre("requested 1", "adjusted 1 from 17"));
  const v1::Adjustment adjusted = EventAt("job", 5).adjusted().adjustment();
  EXPECT_THAT(Names(adjusted.old_controls().rules()), ElementsAre("first")) << "those of the spec";
  EXPECT_THAT(Names(adjusted.new_controls().rules()), ElementsAre("first", "second"));
  EXPECT_THAT(Names(Get("job").spec().rules()), ElementsAre("first"));
}

// What `rules get` prints can be applied as often as one likes.
TEST_F(RulesTest, RulesThatHoldAlreadyAreNoEdit) {
  Trainer trainer = AttachReady("job");
  const v1::Job before = Get("job");
  v1::ApplyRulesRequest request = Request(InForce());
  request.set_request_id(NewUuid());
  for (int i = 0; i < 2; ++i) {
    const auto response = Apply(request);
    ASSERT_THAT(response, IsOk());
    EXPECT_FALSE(response->has_adjustment());
    EXPECT_EQ(response->etag(), before.etag());
    EXPECT_EQ(response->event_number(), 0);
    EXPECT_EQ(response->rules().DebugString(), InForce().DebugString());
  }
  v1::AdjustJobRequest adjust;
  adjust.set_job_id("job");
  adjust.mutable_update_mask()->add_paths("rules");  // those of the spec
  const auto adjusted = Call(&JobManager::AdjustJob, adjust);
  ASSERT_THAT(adjusted, IsOk());
  EXPECT_FALSE(adjusted->has_adjustment());
  EXPECT_EQ(Get("job").etag(), before.etag());
  EXPECT_EQ(Get("job").last_event(), before.last_event());
  EXPECT_THAT(Waiting("job"), IsEmpty());
  // With others on their way they are one.
  ASSERT_THAT(Apply(NormRules({"second"})), IsOk());
  EXPECT_EQ(Apply(NormRules({"first"}))->adjustment().edit(), 2);
}

TEST_F(RulesTest, RulesForALaterStepAreAnEditThoughTheyHold) {
  Trainer trainer = AttachReady("job");
  v1::ApplyRulesRequest later = Request(InForce());
  later.set_at_step(100);
  const auto response = Apply(later);
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->adjustment().edit(), 1);
  ASSERT_THAT(Apply(NormRules({"meanwhile"})), IsOk());
  EXPECT_THAT(Waiting("job"), ElementsAre("2", "1@100"));
  SayApplied(trainer, 2, 3);
  SayApplied(trainer, 1, 100);
  EXPECT_THAT(Names(InForce()), ElementsAre("first"));
}

TEST_F(RulesTest, OnlyEditsOfTheRulesTellThem) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Apply(NormRules({"second"})), IsOk());
  SayApplied(trainer, 1, 3);
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  SayApplied(trainer, 2, 4);
  const v1::Adjustment scaled = EventAt("job", 7).adjusted().adjustment();
  EXPECT_EQ(scaled.new_controls().learning_rate_scale(), 0.5);
  EXPECT_FALSE(scaled.old_controls().has_rules());
  EXPECT_FALSE(scaled.new_controls().has_rules());
  EXPECT_THAT(Names(InForce()), ElementsAre("second")) << "they hold all the same";
  EXPECT_EQ(InForce().rules(0).armed_at(), 3);
}

TEST_F(RulesTest, ARestartForgetsNothing) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Apply(NormRules({"second"})), IsOk());
  SayApplied(trainer, 1, 17);
  v1::ApplyRulesRequest later = Request(NormRules({"third"}));
  later.set_at_step(500);
  ASSERT_THAT(Apply(later), IsOk());
  RestartServer();
  EXPECT_THAT(Names(InForce()), ElementsAre("second"));
  EXPECT_EQ(InForce().rules(0).armed_at(), 17);
  EXPECT_THAT(Waiting("job"), ElementsAre("2@500"));
  const Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  const auto sent = again.link->sent();
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_THAT(Names(sent[0].welcome().controls().controls().rules()), ElementsAre("second"));
  EXPECT_THAT(Names(sent[1].edits().edits(0).values().rules()), ElementsAre("third"));
}

TEST_F(RulesTest, AnEditThatIsWithdrawnNeverHolds) {
  Trainer trainer = AttachReady("job");
  v1::ApplyRulesRequest request = Request(NormRules({"second"}));
  request.set_at_step(100);
  ASSERT_THAT(Apply(request), IsOk());
  ASSERT_THAT(Cancel("job", 1), IsOk());
  Say(trainer, Dropped(1));
  EXPECT_THAT(Names(InForce()), ElementsAre("first"));
  EXPECT_THAT(Waiting("job"), IsEmpty());
}

TEST_F(RulesTest, TheSameRequestAgainIsAnsweredAsItWas) {
  Trainer trainer = AttachReady("job");
  v1::ApplyRulesRequest request = Request(NormRules({"second"}));
  request.set_request_id(NewUuid());
  const auto first = Apply(request);
  ASSERT_THAT(first, IsOk());
  SayApplied(trainer, 1, 5);
  RestartServer();
  const auto again = Apply(request);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->SerializeAsString(), first->SerializeAsString());
  EXPECT_EQ(Get("job").last_edit(), 1) << "once";
  *request.mutable_rules() = NormRules({"third"});
  EXPECT_EQ(core::GetReason(Apply(request).status()), "REQUEST_ID_REUSED");
}

TEST_F(RulesTest, AnEtagGuardsThem) {
  const Trainer trainer = AttachReady("job");
  v1::ApplyRulesRequest request = Request(NormRules({"second"}));
  request.set_etag(Get("job").etag());
  ASSERT_THAT(Apply(request), IsOk());
  EXPECT_EQ(core::GetReason(Apply(request).status()), "ETAG_MISMATCH") << "it has changed with the edit";
}

TEST_F(RulesTest, ACheckChangesNothing) {
  const Trainer trainer = AttachReady("job");
  const std::string etag = Get("job").etag();
  v1::ApplyRulesRequest request = Request(NormRules({"second"}));
  request.set_validate_only(true);
  request.set_request_id(NewUuid());
  const auto checked = Apply(request);
  ASSERT_THAT(checked, IsOk());
  EXPECT_FALSE(checked->has_adjustment());
  EXPECT_THAT(Names(checked->rules()), ElementsAre("second"));
  EXPECT_EQ(Get("job").etag(), etag);
  EXPECT_THAT(LogAfterStart(), IsEmpty());
  EXPECT_THAT(SentEdits(trainer), IsEmpty());
  *request.mutable_rules() = NormRules({"bad"}, -1);
  request.clear_request_id();
  EXPECT_FALSE(Apply(request).ok());
}

TEST_F(RulesTest, WhatMustNotBeIsRefusedAtItsPlace) {
  const Trainer trainer = AttachReady("job");
  v1::RuleSet rules = NormRules({"good"});
  *rules.add_rules() = NormRules({"bad"}, -1).rules(0);
  EXPECT_THAT(Apply(rules), StatusIs(Code::kInvalidArgument, HasSubstr("rules.rules[1].norm_limit.max_norm")));
  v1::AdjustJobRequest edit;
  edit.set_job_id("job");
  *edit.mutable_controls()->mutable_rules() = rules;
  edit.mutable_update_mask()->add_paths("rules");
  EXPECT_THAT(Adjust(edit), StatusIs(Code::kInvalidArgument, HasSubstr("controls.rules.rules[1].norm_limit.max_norm")));
  edit.mutable_update_mask()->set_paths(0, "rules.preset");
  EXPECT_THAT(Adjust(edit), StatusIs(Code::kInvalidArgument, HasSubstr("give all of them")));
  v1::ApplyRulesRequest empty;
  empty.set_job_id("job");
  EXPECT_THAT(Apply(empty), StatusIs(Code::kInvalidArgument, HasSubstr("rules: required")));
  v1::ApplyRulesRequest request = Request(NormRules({"good"}));
  request.set_at_step(1000);
  EXPECT_THAT(Apply(request), StatusIs(Code::kInvalidArgument, HasSubstr("at_step")));
  request.clear_at_step();
  request.set_job_id("nobody");
  EXPECT_THAT(Apply(request), StatusIs(Code::kNotFound, HasSubstr("nobody")));
  EXPECT_THAT(jobs_->GetRules("nobody"), StatusIs(Code::kNotFound, HasSubstr("nobody")));
  EXPECT_THAT(LogAfterStart(), IsEmpty());
}

TEST_F(RulesTest, AJobThatHasEndedKeepsItsRules) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Apply(NormRules({"second"})), IsOk());
  SayApplied(trainer, 1, 3);
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Apply(NormRules({"third"})), StatusIs(Code::kFailedPrecondition, HasSubstr("it has ended")));
  EXPECT_THAT(Names(InForce()), ElementsAre("second"));
  RestartServer();
  EXPECT_THAT(Names(InForce()), ElementsAre("second"));
}

// The path alone: nothing is asked for, so that those of the spec hold again. Trainers are told which these are.
TEST_F(RulesTest, APathWithoutAValueGoesBackToTheRulesOfTheSpec) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Apply(NormRules({"second"})), IsOk());
  SayApplied(trainer, 1, 3);
  v1::AdjustJobRequest back;
  back.set_job_id("job");
  back.mutable_update_mask()->add_paths("rules");
  ASSERT_THAT(Adjust(back), IsOk());
  EXPECT_THAT(Names(trainer.link->sent().back().edits().edits(0).values().rules()), ElementsAre("first"));
  SayApplied(trainer, 2, 5);
  EXPECT_THAT(Names(InForce()), ElementsAre("first"));
}

TEST_F(RulesTest, AForeignProgramIsToldTheRulesThatHold) {
  v1::CreateJobRequest create;
  create.set_job_id("external");
  create.mutable_spec()->mutable_external()->set_framework("pytorch 1.13");
  *create.mutable_spec()->mutable_rules() = NormRules({"first"});
  const auto job = Create(create);
  ASSERT_THAT(job, IsOk());
  v1::TrainerHello hello;
  hello.set_job_id("external");
  hello.set_attach_token(job->attach_token());
  hello.set_trainer_id(kTrainerId);
  hello.set_trainer("pytorch");
  Trainer trainer = Attach(hello);
  ASSERT_THAT(trainer.attachment, IsOk());
  EXPECT_THAT(Names(trainer.link->sent()[0].welcome().rules()), ElementsAre("first"));
  v1::ApplyRulesRequest request = Request(NormRules({"second"}));
  request.set_job_id("external");
  ASSERT_THAT(Apply(request), IsOk());
  SayApplied(trainer, 1, 3);
  const Trainer again = Attach(hello);
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_THAT(Names(again.link->sent()[0].welcome().rules()), ElementsAre("second"));
}

// --- Stalls ---

// Alerts of the server and of the trainer are told apart by the names of their rules.
TEST_F(RulesTest, NamesOfRulesAboutStallsStay) {
  Submit("named", StallRules("hangs", 3));
  const auto apply = [this](const char* job_id, const v1::RuleSet& rules) {
    v1::ApplyRulesRequest request = Request(rules);
    request.set_job_id(job_id);
    request.set_validate_only(true);
    return Apply(request).status();
  };
  EXPECT_THAT(apply("named", StallRules("hangs", 7)), IsOk());
  EXPECT_THAT(apply("named", StallRules("stall", 7)), IsOk());
  EXPECT_THAT(apply("named", NormRules({"norm"})), IsOk()) << "the one that every job has";
  EXPECT_THAT(apply("named", StallRules("waits", 7)), StatusIs(Code::kInvalidArgument, HasSubstr("keeps its name")));
  EXPECT_THAT(apply("named", NormRules({"hangs"})),
              StatusIs(Code::kInvalidArgument, HasSubstr("\"hangs\" is the name of this job's rule about stalls")));
  EXPECT_THAT(apply("job", StallRules("hangs", 7)), StatusIs(Code::kInvalidArgument, HasSubstr("is \"stall\"")));
  EXPECT_THAT(apply("job", NormRules({"hangs"})), IsOk());
}

TEST_F(RulesTest, ANewRuleAboutStallsIsJudgedByTheServer) {
  Trainer trainer = AttachReady("job");
  Report(trainer, 0, 9);
  Pass(absl::Seconds(1));
  Report(trainer, 10, 19);
  Pass(absl::Seconds(5));
  EXPECT_THAT(LogAfterStart(), IsEmpty()) << "half a minute, without a rule";
  ASSERT_THAT(Apply(StallRules("stall", 3)), IsOk());
  SayApplied(trainer, 1, 20);
  Pass(absl::Seconds(5));
  EXPECT_EQ(Log("job").back(), "FIRING stall");
}

TEST_F(RulesTest, AStallThatFiresEndsWithTheSeverityThatItsRuleHasThen) {
  v1::RuleSet rules = StallRules("stall", 3);
  Submit("named", rules);
  Trainer trainer = AttachReady("named");
  Report(trainer, 0, 9);
  Pass(absl::Seconds(1));
  Report(trainer, 10, 19);
  Pass(absl::Seconds(5));
  ASSERT_EQ(Log("named").back(), "FIRING stall");
  EXPECT_EQ(EventAt("named", Get("named").last_event()).alert_changed().alert().severity(), v1::SEVERITY_WARNING);
  rules.mutable_rules(1)->set_severity(v1::SEVERITY_CRITICAL);
  v1::ApplyRulesRequest request = Request(rules);
  request.set_job_id("named");
  ASSERT_THAT(Apply(request), IsOk());
  SayApplied(trainer, 1, 20);
  Report(trainer, 20, 29);
  Pass(absl::Seconds(1));
  ASSERT_EQ(Log("named").back(), "RESOLVED stall");
  EXPECT_EQ(EventAt("named", Get("named").last_event()).alert_changed().alert().severity(), v1::SEVERITY_CRITICAL);
}

TEST_F(RulesTest, AStallThatFiresEndsThoughItsRuleIsGone) {
  Submit("named", StallRules("hangs", 3));
  Trainer trainer = AttachReady("named");
  Report(trainer, 0, 9);
  Pass(absl::Seconds(1));
  Report(trainer, 10, 19);
  Pass(absl::Seconds(5));
  ASSERT_EQ(Log("named").back(), "FIRING hangs");
  v1::ApplyRulesRequest request = Request(NormRules({"norm"}));
  request.set_job_id("named");
  ASSERT_THAT(Apply(request), IsOk());
  SayApplied(trainer, 1, 20);
  Report(trainer, 20, 29);
  Pass(absl::Seconds(1));
  EXPECT_EQ(Log("named").back(), "RESOLVED hangs");
}

// The presets of other tools have rules about stalls too, and a job that runs keeps the name of its own.
TEST_F(RulesTest, EveryPresetCanBeAppliedToAJobThatRuns) {
  Submit("defaults", v1::RuleSet());
  for (const std::string& preset : core::PresetNames()) {
    for (const char* job_id : {"job", "defaults"}) {
      v1::ApplyRulesRequest request;
      request.set_job_id(job_id);
      request.mutable_rules()->set_preset(preset);
      request.set_validate_only(true);
      EXPECT_THAT(Apply(request), IsOk()) << preset;
    }
  }
}

TEST_F(RulesTest, ANameThatIsTheStallRulesIsToldAtItsPlace) {
  Submit("named", StallRules("hangs", 3));
  const auto field = [this](const v1::RuleSet& rules) {
    v1::ApplyRulesRequest request = Request(rules);
    request.set_job_id("named");
    const auto violations = core::GetFieldViolations(Apply(request).status());
    return violations.size() == 1 ? violations[0].field : absl::StrCat(violations.size(), " violations");
  };
  EXPECT_EQ(field(NormRules({"norm", "other", "hangs"})), "rules.rules[2].name");
  EXPECT_EQ(field(StallRules("waits", 3)), "rules.rules[1].name");
  v1::RuleSet behind_preset = NormRules({"norm", "hangs"});
  behind_preset.set_preset("gradwatch");
  EXPECT_EQ(field(behind_preset), "rules.rules[1].name") << "where the user wrote it, not behind the preset";
}

TEST_F(RulesTest, AGlobThatMatchesNoTensorIsTold) {
  v1::RuleSet rules = NormRules({"there", "nowhere"});
  const char* const globs[] = {"dense*", "conv*"};
  for (int i = 0; i < 2; ++i) {
    rules.mutable_rules(i)->set_tensors(globs[i]);
    rules.mutable_rules(i)->mutable_norm_limit()->set_per_tensor(true);
  }
  v1::ApplyRulesRequest request = Request(rules);
  request.set_validate_only(true);
  Trainer trainer = AttachReady("job");
  const v1::RuleSet told = Apply(request)->rules();
  EXPECT_EQ(told.rules(0).unable(), "");
  EXPECT_TRUE(told.rules(0).has_armed_at());
  EXPECT_EQ(told.rules(1).unable(), "no tensor matches conv*");
  EXPECT_FALSE(told.rules(1).has_armed_at());
}

TEST_F(RulesTest, ARuleAboutAttentionNeedsSome) {
  v1::RuleSet rules;
  rules.set_preset("none");
  v1::Rule& rule = *rules.add_rules();
  rule.set_name("attention");
  rule.mutable_attention();
  v1::ApplyRulesRequest request = Request(rules);
  request.set_validate_only(true);
  Trainer trainer = AttachReady("job");
  const v1::RuleSet told = Apply(request)->rules();
  EXPECT_EQ(told.rules(0).unable(), "the network has no attention");
  EXPECT_FALSE(told.rules(0).has_armed_at());
}

TEST_F(RulesTest, AnAlertIsToldAgainAsSevereAsItsRuleIsByNow) {
  const auto rules = [](v1::Severity severity, double limit) {
    v1::RuleSet all = NormRules({"first", "second"}, limit);
    all.mutable_rules(0)->set_severity(severity);
    return all;
  };
  Trainer trainer = AttachReady("job");
  SayAlert(trainer, "first", v1::ALERT_STATE_FIRING);
  SayAlert(trainer, "second", v1::ALERT_STATE_FIRING);
  ASSERT_THAT(Apply(rules(v1::SEVERITY_CRITICAL, 10)), IsOk());
  SayApplied(trainer, 1, 5);
  const v1::Event told = EventAt("job", Get("job").last_event());
  EXPECT_EQ(told.alert_changed().alert().alert_id(), AlertId("job", "first"));
  EXPECT_EQ(told.alert_changed().alert().severity(), v1::SEVERITY_CRITICAL);
  EXPECT_EQ(told.alert_changed().alert().state(), v1::ALERT_STATE_FIRING);
  EXPECT_EQ(reader_->GetAlert(AlertId("job", "first"))->severity(), v1::SEVERITY_CRITICAL);
  EXPECT_THAT(LogAfterStart(),
              ElementsAre("FIRING first", "FIRING second", "requested 1", "adjusted 1 from 5", "FIRING first"));
  EXPECT_EQ(Get("job").fired_alerts(), 2) << "the same episode";
  EXPECT_EQ(Get("job").firing_alerts(), 2);
  // A rule that measures another thing is another one: its trainer ends the alert.
  ASSERT_THAT(Apply(rules(v1::SEVERITY_INFO, 20)), IsOk());
  SayApplied(trainer, 2, 6);
  EXPECT_EQ(LogAfterStart().back(), "adjusted 2 from 6");
}

// --- Since when ---

TEST_F(RulesTest, OfAJobThatHasEndedTheLogTellsSinceWhenItsRulesCouldFire) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Apply(NormRules({"first", "second"})), IsOk());
  SayApplied(trainer, 1, 17);
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  for (const bool restarted : {false, true}) {
    if (restarted) RestartServer();
    const v1::RuleSet rules = InForce();
    ASSERT_THAT(Names(rules), ElementsAre("first", "second"));
    EXPECT_EQ(rules.rules(0).armed_at(), 0) << restarted;
    EXPECT_EQ(rules.rules(1).armed_at(), 17) << restarted;
  }
}

int64_t ArmedAt(const v1::RuleSet& rules, const std::string& name) {
  for (const v1::Rule& rule : rules.rules()) {
    if (rule.name() == name) return rule.has_armed_at() ? rule.armed_at() : -1;
  }
  return -2;
}

TEST_F(RulesTest, ARuleThatAnEditLeavesAsItIsIsAsOldAsItWas) {
  Trainer trainer = AttachReady("job");
  const auto answer = Apply(NormRules({"first", "second"}));
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(ArmedAt(answer->rules(), "first"), 0) << "told with the edit too";
  SayApplied(trainer, 1, 17);
  EXPECT_EQ(ArmedAt(InForce(), "first"), 0);
  EXPECT_EQ(ArmedAt(InForce(), "second"), 17);
  v1::RuleSet changed = NormRules({"first", "second"});
  changed.mutable_rules(0)->mutable_norm_limit()->set_max_norm(20);
  ASSERT_THAT(Apply(changed), IsOk());
  SayApplied(trainer, 2, 30);
  EXPECT_EQ(ArmedAt(InForce(), "first"), 30) << "it is another one now";
  EXPECT_EQ(ArmedAt(InForce(), "second"), 17);
  RestartServer();
  EXPECT_EQ(ArmedAt(InForce(), "first"), 30);
  EXPECT_EQ(ArmedAt(InForce(), "second"), 17);
}

TEST_F(RulesTest, ARuleThatMeasuresTheSameIsAsOldAsItWas) {
  Trainer trainer = AttachReady("job");
  v1::RuleSet rules = NormRules({"first"});
  rules.mutable_rules(0)->set_severity(v1::SEVERITY_CRITICAL);
  EXPECT_EQ(ArmedAt(Apply(rules)->rules(), "first"), 0) << "told with the edit too";
  SayApplied(trainer, 1, 17);
  EXPECT_EQ(ArmedAt(InForce(), "first"), 0);
  rules.mutable_rules(0)->set_for_steps(3);
  ASSERT_THAT(Apply(rules), IsOk());
  SayApplied(trainer, 2, 20);
  EXPECT_EQ(ArmedAt(InForce(), "first"), 22) << "the steps are counted anew";
  rules.mutable_rules(0)->set_resolve_after_steps(5);
  ASSERT_THAT(Apply(rules), IsOk());
  SayApplied(trainer, 3, 30);
  EXPECT_EQ(ArmedAt(InForce(), "first"), 22);
  RestartServer();
  EXPECT_EQ(ArmedAt(InForce(), "first"), 22);
}

// Whatever was measured meanwhile: a rule that needs it has seen nothing before.
TEST_F(RulesTest, ARuleIsArmedFromTheStepFromWhichWhatItNeedsIsMeasured) {
  v1::RuleSet rules = NormRules({"norm"});
  v1::Rule& layers = *rules.add_rules();
  layers.set_name("layers");
  layers.mutable_saturation();
  v1::Rule& updates = *rules.add_rules();
  updates.set_name("updates");
  updates.mutable_update_ratio();
  Submit("measured", rules);
  Trainer trainer = AttachReady("measured");
  const auto in_force = [this] { return *jobs_->GetRules("measured"); };
  EXPECT_EQ(ArmedAt(in_force(), "layers"), -1) << "layers are not measured";
  const auto measure = [&](v1::StatisticsLevel level, bool with_layers, int64_t edit, int64_t step) {
    v1::AdjustJobRequest request;
    request.set_job_id("measured");
    request.mutable_controls()->set_statistics(level);
    request.mutable_controls()->set_layer_statistics(with_layers);
    request.mutable_update_mask()->add_paths("statistics");
    request.mutable_update_mask()->add_paths("layer_statistics");
    ASSERT_THAT(Adjust(request), IsOk());
    SayApplied(trainer, edit, step);
  };
  measure(v1::STATISTICS_LEVEL_NONE, true, 1, 17);
  EXPECT_EQ(ArmedAt(in_force(), "norm"), 0);
  EXPECT_EQ(ArmedAt(in_force(), "layers"), 17);
  EXPECT_EQ(ArmedAt(in_force(), "updates"), -1);
  measure(v1::STATISTICS_LEVEL_FULL, true, 2, 30);
  EXPECT_EQ(ArmedAt(in_force(), "layers"), 17) << "it goes on";
  EXPECT_EQ(ArmedAt(in_force(), "updates"), 30);
  RestartServer();
  EXPECT_EQ(ArmedAt(in_force(), "norm"), 0);
  EXPECT_EQ(ArmedAt(in_force(), "layers"), 17);
  EXPECT_EQ(ArmedAt(in_force(), "updates"), 30);
}

// Between two steps a trainer takes all edits that are due, and compares what comes out with what was.
TEST_F(RulesTest, ARuleThatIsTakenAwayAndBroughtBackAtOneStepGoesOn) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Apply(NormRules({"second"})), IsOk());
  ASSERT_THAT(Apply(NormRules({"first"})), IsOk());
  SayApplied(trainer, 1, 17);
  SayApplied(trainer, 2, 17);
  EXPECT_EQ(ArmedAt(InForce(), "first"), 0);
  ASSERT_THAT(Apply(NormRules({"second"})), IsOk());
  ASSERT_THAT(Apply(NormRules({"first"})), IsOk());
  SayApplied(trainer, 3, 18);
  SayApplied(trainer, 4, 19);
  EXPECT_EQ(ArmedAt(InForce(), "first"), 19) << "it was away for a step";
}

TEST_F(RulesTest, OfAJobThatHasEndedItIsToldSinceWhenARuleCouldFire) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Apply(NormRules({"second"})), IsOk());
  SayApplied(trainer, 1, 3);
  SayFinished(trainer, v1::JOB_STATE_STOPPED);
  for (int restarts = 0; restarts < 2; ++restarts) {
    EXPECT_EQ(ArmedAt(InForce(), "second"), 3) << restarts;
    RestartServer();
  }
}

TEST_F(RulesTest, WhatAForeignProgramJudgesIsNotSaidToBeArmed) {
  v1::CreateJobRequest create;
  create.set_job_id("external");
  create.mutable_spec()->mutable_external()->set_framework("pytorch 1.13");
  *create.mutable_spec()->mutable_rules() = NormRules({"first"});
  ASSERT_THAT(Create(create), IsOk());
  const auto rules = jobs_->GetRules("external");
  ASSERT_THAT(rules, IsOk());
  EXPECT_EQ(ArmedAt(*rules, "first"), -1);
  v1::ApplyRulesRequest request = Request(NormRules({"second"}));
  request.set_job_id("external");
  request.set_validate_only(true);
  EXPECT_EQ(ArmedAt(Apply(request)->rules(), "second"), -1);
}

// --- As servers stored them before presets were added to ---

class StoredRulesTest : public RulesTest {
 protected:
  // Makes the stored spec of the job one of such a server, and starts anew.
  void StoreOld(const v1::RuleSet& rules) {
    StopServer();
    OpenStores();
    JobRow row = ledger_->LoadJobs()->at(0);
    *row.job.mutable_spec()->mutable_rules() = rules;
    ledger_->Submit([row](LedgerTransaction& transaction) { return transaction.PutJob(row); });
    Commit();
    MakeManager();
    jobs_->Start();
    Settle();
  }
  // The rules as ResolveRules left them then: in full, with no word about within_steps.
  static v1::RuleSet OldRules(const std::string& preset, int count) {
    v1::RuleSet rules;
    rules.set_preset(preset);
    for (int i = 0; i < count; ++i) {
      v1::Rule* const rule = rules.add_rules();
      rule->set_name(absl::StrCat("own", i));
      rule->set_severity(v1::SEVERITY_WARNING);
      rule->set_for_steps(3);
      rule->set_resolve_after_steps(20);
      rule->mutable_norm_limit()->set_max_norm(10);
      rule->mutable_norm_limit()->set_per_tensor(false);
    }
    return rules;
  }
};

TEST_F(StoredRulesTest, AreAllThatHold) {
  AttachReady("job");
  for (const char* preset : {"", "gradwatch"}) {
    for (const int count : {1, 53, 64}) {
      StoreOld(OldRules(preset, count));
      const v1::RuleSet rules = InForce();
      EXPECT_EQ(rules.rules_size(), count) << preset;
      EXPECT_EQ(rules.rules(0).within_steps(), 3) << "filled in";
      const v1::RuleSet spec = Get("job").spec().rules();
      EXPECT_EQ(core::ResolveRules(spec).rules_size(), count) << "for whoever resolves them again";
      EXPECT_THAT(core::ValidateRules(spec), IsOk()) << count;
    }
  }
  const Trainer trainer = Attach(Hello("job"));
  ASSERT_THAT(trainer.attachment, IsOk());
  EXPECT_EQ(core::ResolveRules(trainer.link->sent()[0].welcome().spec().rules()).rules_size(), 64);
}

TEST_F(StoredRulesTest, OfJobsThatHaveEndedToo) {
  Trainer trainer = AttachReady("job");
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  StoreOld(OldRules("gradwatch", 2));
  EXPECT_THAT(Names(InForce()), ElementsAre("own0", "own1"));
  EXPECT_EQ(core::ResolveRules(Get("job").spec().rules()).rules_size(), 2);
}

TEST_F(StoredRulesTest, OfThisServerStayAsTheyAre) {
  const v1::RuleSet before = Get("job").spec().rules();
  RestartServer();
  EXPECT_EQ(Get("job").spec().rules().DebugString(), before.DebugString());
}

// --- Names ---

// A trainer that told alerts under more names than one attempt has room for would be refused for good.
TEST_F(RulesTest, EditsThatCouldRaiseAlertsUnderTooManyNamesAreRefused) {
  Trainer trainer = AttachReady("job");
  const auto fresh = [](int edit) {
    std::vector<std::string> names;
    for (int i = 0; i < 64; ++i) names.push_back(absl::StrCat("e", edit, "-", i));
    return NormRules(names);
  };
  int edits = 0;
  absl::Status refused;
  while (refused.ok() && edits < 20) {
    refused = Apply(fresh(edits)).status();
    if (!refused.ok()) break;
    ++edits;
    SayApplied(trainer, edits, edits);
    const v1::RuleSet in_force = InForce();
    for (const v1::Rule& rule : in_force.rules()) SayAlert(trainer, rule.name(), v1::ALERT_STATE_FIRING);
  }
  EXPECT_EQ(edits, 15) << "960 names";
  EXPECT_THAT(refused, StatusIs(Code::kResourceExhausted, HasSubstr("names that it had before")));
  EXPECT_EQ(core::GetReason(refused), "QUOTA_RULES");
  EXPECT_THAT(Apply(fresh(3)), IsOk()) << "names that it had";
  EXPECT_TRUE(Adjust(ScaleRequest("job", 0.5)).ok()) << "no edit of the rules";
}

TEST_F(RulesTest, NamesOfEditsThatWaitCount) {
  Trainer trainer = AttachReady("job");
  int accepted = 0;
  for (int edit = 0; edit < 20; ++edit) {
    std::vector<std::string> names;
    for (int i = 0; i < 64; ++i) names.push_back(absl::StrCat("e", edit, "-", i));
    v1::ApplyRulesRequest request = Request(NormRules(names));
    request.set_at_step(100);
    accepted += Apply(request).ok() ? 1 : 0;
  }
  EXPECT_EQ(accepted, 15);
}

TEST_F(RulesTest, AnswersAsAnyOtherEdit) {
  Trainer trainer = AttachReady("job");
  const auto response = Apply(NormRules({"second"}));
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->etag(), Get("job").etag());
  EXPECT_TRUE(EventAt("job", response->event_number()).has_adjust_requested());
  v1::ApplyRulesRequest check = Request(NormRules({"third"}));
  check.set_validate_only(true);
  const auto checked = Apply(check);
  ASSERT_THAT(checked, IsOk());
  EXPECT_EQ(checked->etag(), "");
  EXPECT_EQ(checked->event_number(), 0);
}

// --- Memory ---

class RulesMemoryTest : public RulesTest {
 protected:
  void SetUp() override {
    v1::JobSpec spec = SmallSpec();
    *spec.mutable_rules() = NormRules({"first"});
    const auto job = core::ValidateJob(spec, core::DataRoots(), core::SpecLimits());
    ASSERT_THAT(job, IsOk());
    options_.limits.max_bytes = core::EstimatedBytes(job->estimate) + (32 << 10);
    RulesTest::SetUp();
  }
};

TEST_F(RulesMemoryTest, RulesThatNeedMoreThanTheLimitAreRefused) {
  v1::RuleSet large = NormRules({"norm"});
  for (int i = 0; i < 10; ++i) {
    v1::Rule* const rule = large.add_rules();
    rule->set_name(absl::StrCat("jump", i));
    rule->mutable_loss_jump()->set_window(10'000);
  }
  const auto refused = Apply(large);
  EXPECT_THAT(refused, StatusIs(Code::kInvalidArgument, HasSubstr("rules: what the rules keep takes ")));
  EXPECT_EQ(core::GetReason(refused.status()), "QUOTA_MEMORY");
  EXPECT_THAT(Apply(NormRules({"second"})), IsOk());
}

}  // namespace
}  // namespace gradwatch::server
