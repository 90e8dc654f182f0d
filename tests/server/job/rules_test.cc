// Rules of a job that is there: an edit of its controls as any other, and told only where they change.
#include "core/base/error.h"
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
