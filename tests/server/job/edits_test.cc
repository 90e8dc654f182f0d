// Edits of the controls: accepted, waiting, withdrawn, applied and dropped, with their trainer and without.
#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "server/base/unique_text.h"
#include "server/job/job.h"
#include "tests/server/job/job_manager_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::SizeIs;
using Code = absl::StatusCode;

class EditsTest : public JobManagerTest {
 protected:
  void SetUp() override {
    JobManagerTest::SetUp();
    ASSERT_THAT(Create("job"), IsOk());
  }
  // Events after those of the start.
  std::vector<std::string> LogAfterStart() {
    std::vector<std::string> log = Log("job");
    log.erase(log.begin(), log.begin() + 3);
    return log;
  }
  static v1::AdjustJobRequest ScaleAt(double scale, int64_t step) {
    v1::AdjustJobRequest request = ScaleRequest("job", scale);
    request.set_at_step(step);
    return request;
  }
  static v1::AdjustJobRequest ClipRequest(double threshold) {
    v1::AdjustJobRequest request;
    request.set_job_id("job");
    request.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
    request.mutable_controls()->mutable_clip()->set_threshold(threshold);
    request.mutable_update_mask()->add_paths("clip.mode");
    request.mutable_update_mask()->add_paths("clip.threshold");
    return request;
  }
  // Says several notices in one message.
  void SayTogether(Trainer& trainer, std::vector<v1::Notice> notices) {
    v1::NoticeBatch batch;
    batch.set_epoch(trainer.attachment->epoch);
    for (v1::Notice& notice : notices) {
      notice.set_number(++trainer.notices);
      *batch.add_notices() = std::move(notice);
    }
    jobs_->OnNotices(*trainer.attachment, trainer.link, batch, [&] { ++trainer.accepted; });
    Settle();
  }
  v1::Event LastEvent() { return EventAt("job", Get("job").last_event()); }
  // The trainer of this process attaches again; what it had not told is said by the test.
  Trainer AttachAgain(int64_t notices) {
    Trainer again = Attach(Hello("job"));
    EXPECT_THAT(again.attachment, IsOk());
    again.notices = notices;
    return again;
  }
};

TEST_F(EditsTest, AnEditIsRecordedSentAndApplied) {
  Trainer trainer = AttachReady("job");
  const std::string etag = Get("job").etag();
  v1::AdjustJobRequest request = ScaleRequest("job", 0.5);
  request.mutable_controls()->set_report_every(7);
  request.set_etag(etag);
  const auto response = Adjust(request);
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->adjustment().edit(), 1);
  EXPECT_EQ(response->adjustment().actor(), "tester");
  EXPECT_EQ(response->adjustment().revision(), 0);
  EXPECT_FALSE(response->adjustment().has_old_controls() || response->adjustment().has_new_controls());
  EXPECT_FALSE(response->adjustment().has_effective_step());
  EXPECT_EQ(response->adjustment().values().learning_rate_scale(), 0.5);
  EXPECT_FALSE(response->adjustment().values().has_report_every()) << "the mask does not name it";
  EXPECT_EQ(response->event_number(), 4);
  EXPECT_NE(response->etag(), etag);
  EXPECT_EQ(response->etag(), Get("job").etag());

  const v1::EditBatch sent = trainer.link->sent().back().edits();
  ASSERT_THAT(sent.edits(), SizeIs(1));
  EXPECT_EQ(sent.edits(0).edit(), 1);
  EXPECT_EQ(sent.edits(0).values().learning_rate_scale(), 0.5);
  EXPECT_THAT(sent.edits(0).paths(), ElementsAre("learning_rate_scale"));
  EXPECT_FALSE(sent.edits(0).has_at_step());
  v1::Job job = Get("job");
  EXPECT_EQ(job.control_revision(), 1) << "it waits";
  EXPECT_EQ(job.controls().learning_rate_scale(), 1);
  EXPECT_EQ(job.waiting_edits(), 1);
  EXPECT_EQ(job.last_edit(), 1);
  EXPECT_THAT(Waiting("job"), ElementsAre("1"));

  SayApplied(trainer, 1, 17);
  job = Get("job");
  EXPECT_EQ(job.control_revision(), 2);
  EXPECT_EQ(job.applied_revision(), 2);
  EXPECT_EQ(job.controls().learning_rate_scale(), 0.5);
  EXPECT_EQ(job.waiting_edits(), 0);
  EXPECT_EQ(job.etag(), response->etag()) << "an application is no change that somebody else has made";
  EXPECT_THAT(LogAfterStart(), ElementsAre("requested 1", "adjusted 1 from 17"));
  const v1::Adjustment adjusted = EventAt("job", 5).adjusted().adjustment();
  EXPECT_EQ(adjusted.revision(), 2);
  EXPECT_EQ(adjusted.old_controls().learning_rate_scale(), 1);
  EXPECT_EQ(adjusted.new_controls().learning_rate_scale(), 0.5);
  EXPECT_EQ(adjusted.new_controls().report_every(), 1);
  EXPECT_EQ(adjusted.actor(), "tester");
  EXPECT_THAT(adjusted.paths(), ElementsAre("learning_rate_scale"));
}

TEST_F(EditsTest, TwoWritersAndAScheduleAreEachAppliedToWhatHoldsThen) {
  Trainer trainer = AttachReady("job");
  v1::AdjustJobRequest scheduled = ClipRequest(0.25);
  scheduled.set_at_step(500);
  ASSERT_THAT(Adjust(scheduled), IsOk());
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  ASSERT_THAT(Adjust(ClipRequest(2)), IsOk());
  EXPECT_THAT(Waiting("job"), ElementsAre("2", "3", "1@500"));
  EXPECT_THAT(SentEdits(trainer), ElementsAre("1@500", "2", "3"));
  SayTogether(trainer, {Applied(2, 2, 8), Applied(3, 3, 8)});
  EXPECT_THAT(Waiting("job"), ElementsAre("1@500"));
  EXPECT_EQ(Get("job").controls().clip().threshold(), 2);
  SayApplied(trainer, 1, 500);
  EXPECT_THAT(LogAfterStart(), ElementsAre("requested 1", "requested 2", "requested 3", "adjusted 2 from 8",
                                           "adjusted 3 from 8", "adjusted 1 from 500"));
  const v1::Adjustment rate = EventAt("job", 7).adjusted().adjustment();
  const v1::Adjustment clip = EventAt("job", 8).adjusted().adjustment();
  const v1::Adjustment later = EventAt("job", 9).adjusted().adjustment();
  EXPECT_EQ(rate.old_controls().clip().mode(), v1::CLIP_MODE_NONE);
  EXPECT_EQ(clip.old_controls().SerializeAsString(), rate.new_controls().SerializeAsString());
  EXPECT_EQ(later.old_controls().SerializeAsString(), clip.new_controls().SerializeAsString());
  EXPECT_EQ(later.new_controls().learning_rate_scale(), 0.5) << "somebody else's rate is left alone";
  EXPECT_EQ(later.new_controls().clip().threshold(), 0.25);
  EXPECT_THAT((std::vector{rate.revision(), clip.revision(), later.revision()}), ElementsAre(2, 3, 4));
}

TEST_F(EditsTest, StepsThatFallAreEachKept) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Pause("job"), IsOk());
  SayPaused(trainer);
  for (const int64_t step : {300, 200, 200, 100}) {
    ASSERT_THAT(Adjust(ScaleAt(1 / static_cast<double>(step), step)), IsOk());
  }
  EXPECT_THAT(Waiting("job"), ElementsAre("4@100", "2@200", "3@200", "1@300"));
  EXPECT_EQ(Get("job").waiting_edits(), 4);
  SayTogether(trainer, {Applied(4, 2, 100)});
  SayTogether(trainer, {Applied(2, 3, 200), Applied(3, 4, 200)});
  SayTogether(trainer, {Applied(1, 5, 300)});
  EXPECT_DOUBLE_EQ(Get("job").controls().learning_rate_scale(), 1.0 / 300);
  EXPECT_THAT(Waiting("job"), IsEmpty());
}

TEST_F(EditsTest, AnEditIsCheckedAgainstWhatWillHoldAtItsTurn) {
  Trainer trainer = AttachReady("job");
  v1::AdjustJobRequest mode;
  mode.set_job_id("job");
  mode.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_VALUE);
  mode.mutable_update_mask()->add_paths("clip.mode");
  EXPECT_THAT(Adjust(mode), StatusIs(Code::kInvalidArgument, HasSubstr("controls.clip.threshold")));
  v1::AdjustJobRequest clip = ClipRequest(3);
  clip.set_at_step(100);
  ASSERT_THAT(Adjust(clip), IsOk());
  EXPECT_THAT(Adjust(mode), StatusIs(Code::kInvalidArgument, HasSubstr("controls.clip.threshold")));
  mode.set_at_step(99);
  EXPECT_FALSE(Adjust(mode).ok());
  mode.set_at_step(100);
  EXPECT_THAT(Adjust(mode), IsOk()) << "it comes after the other";
  // One that is withdrawn gives no threshold.
  ASSERT_THAT(Cancel("job", 1), IsOk());
  EXPECT_FALSE(Adjust(mode).ok());
}

// The job has not started: its next step is 0. What is for step 0 and was accepted first is applied first, too.
TEST_F(EditsTest, TheForecastTakesThoseOfTheNextStepInTheirTurn) {
  v1::AdjustJobRequest first = ClipRequest(5);
  first.set_at_step(0);
  ASSERT_THAT(Adjust(first), IsOk());
  v1::AdjustJobRequest none;
  none.set_job_id("job");
  none.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_NONE);
  none.mutable_update_mask()->add_paths("clip.mode");
  ASSERT_THAT(Adjust(none), IsOk());
  EXPECT_THAT(Waiting("job"), ElementsAre("2", "1@0"));
  v1::AdjustJobRequest threshold = ClipRequest(1);
  threshold.mutable_update_mask()->clear_paths();
  threshold.mutable_update_mask()->add_paths("clip.threshold");
  EXPECT_THAT(Adjust(threshold), StatusIs(Code::kInvalidArgument, HasSubstr("controls.clip.threshold")))
      << "no mode will read it";
}

TEST_F(EditsTest, TheEtagChangesWithEachEditAndEachWithdrawalOnly) {
  Trainer trainer = AttachReady("job");
  std::set<std::string> etags = {Get("job").etag()};
  const auto is_new = [&] { return etags.insert(Get("job").etag()).second; };
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  EXPECT_TRUE(is_new());
  ASSERT_THAT(Adjust(ScaleAt(0.5, 100)), IsOk());
  EXPECT_TRUE(is_new());
  SayApplied(trainer, 1, 3);
  EXPECT_FALSE(is_new());
  const std::string before = Get("job").etag();
  const auto cancelled = Cancel("job", 2);
  ASSERT_THAT(cancelled, IsOk());
  EXPECT_EQ(cancelled->etag(), Get("job").etag());
  EXPECT_TRUE(is_new());
  Say(trainer, Dropped(2));
  EXPECT_FALSE(is_new());
  RestartServer();
  EXPECT_FALSE(is_new());

  v1::AdjustJobRequest stale = ScaleRequest("job", 2);
  stale.set_etag(before);
  EXPECT_EQ(core::GetReason(Adjust(stale).status()), "ETAG_MISMATCH");
  ASSERT_THAT(Adjust(ScaleAt(2, 100)), IsOk());
  v1::CancelEditRequest late;
  late.set_job_id("job");
  late.set_edit(4);
  late.set_etag(before);
  EXPECT_EQ(core::GetReason(Call(&JobManager::CancelEdit, late).status()), "ETAG_MISMATCH");
}

// --- Withdrawals ---

TEST_F(EditsTest, AWithdrawalIsSentAndConfirmed) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Adjust(ScaleAt(0.5, 100)), IsOk());
  const auto response = Cancel("job", 1);
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->adjustment().edit(), 1);
  EXPECT_EQ(response->adjustment().withdrawn_by(), "tester");
  EXPECT_EQ(response->event_number(), 5);
  EXPECT_THAT(SentEdits(trainer), ElementsAre("1@100", "not 1"));
  EXPECT_THAT(Waiting("job"), ElementsAre("1@100")) << "the trainer may have applied it";
  const auto again = Cancel("job", 1);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->SerializeAsString(), response->SerializeAsString());
  EXPECT_THAT(SentEdits(trainer), ElementsAre("1@100", "not 1"));
  Say(trainer, Dropped(1));
  EXPECT_THAT(Waiting("job"), IsEmpty());
  EXPECT_THAT(LogAfterStart(), ElementsAre("requested 1", "withdrawal of 1", "dropped 1"));
  EXPECT_EQ(LastEvent().adjust_dropped().reason(), "withdrawn by tester");
  EXPECT_EQ(Get("job").control_revision(), 1);
  EXPECT_EQ(core::GetReason(Cancel("job", 1).status()), "EDIT_DONE");
  EXPECT_EQ(Adjust(ScaleAt(0.5, 100))->adjustment().edit(), 3) << "a withdrawal has a number too";
}

TEST_F(EditsTest, AWithdrawalThatComesTooLateChangesNothing) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  ASSERT_THAT(Cancel("job", 1), IsOk());
  SayApplied(trainer, 1, 4);
  EXPECT_THAT(LogAfterStart(), ElementsAre("requested 1", "withdrawal of 1", "adjusted 1 from 4"));
  EXPECT_EQ(LastEvent().adjusted().adjustment().withdrawn_by(), "") << "nobody waits for an answer";
  EXPECT_EQ(Get("job").controls().learning_rate_scale(), 0.5);
  EXPECT_EQ(core::GetReason(Cancel("job", 1).status()), "EDIT_DONE");
}

TEST_F(EditsTest, WhatNoTrainerHasHadIsDroppedAtOnce) {
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.25)), IsOk());
  const auto response = Cancel("job", 1);
  ASSERT_THAT(response, IsOk());
  EXPECT_THAT(Log("job"), ElementsAre("PENDING", "requested 1", "requested 2", "withdrawal of 1", "dropped 1"));
  EXPECT_EQ(response->event_number(), 4);
  EXPECT_EQ(response->adjustment().withdrawn_by(), "tester");
  Trainer trainer = AttachReady("job");
  EXPECT_THAT(SentEdits(trainer), ElementsAre("2"));
}

TEST_F(EditsTest, AWithdrawalIsToldToATrainerThatWasAway) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Adjust(ScaleAt(0.5, 100)), IsOk());
  Detach(trainer);
  ASSERT_THAT(Cancel("job", 1), IsOk());
  EXPECT_THAT(Waiting("job"), ElementsAre("1@100"));
  Trainer again = AttachAgain(1);
  EXPECT_THAT(SentEdits(again), ElementsAre("1@100", "not 1")) << "it may know neither";
  Say(again, Dropped(1));
  EXPECT_EQ(LastEvent().adjust_dropped().reason(), "withdrawn by tester");
}

TEST_F(EditsTest, WithdrawalsAreChecked) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  EXPECT_EQ(core::GetReason(Cancel("nobody", 1).status()), "JOB_NOT_FOUND");
  for (const int64_t edit : {0, -1, 2}) {
    const auto refused = Cancel("job", edit);
    EXPECT_THAT(refused, StatusIs(Code::kNotFound, HasSubstr(absl::StrCat(edit))));
    EXPECT_EQ(core::GetReason(refused.status()), "EDIT_NOT_FOUND");
  }
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  const auto refused = Cancel("job", 1);
  EXPECT_THAT(refused, StatusIs(Code::kFailedPrecondition, HasSubstr("edit 1")));
  EXPECT_EQ(core::GetReason(refused.status()), "EDIT_DONE");
  v1::ListEditsRequest list;
  list.set_job_id("nobody");
  EXPECT_EQ(core::GetReason(jobs_->ListEdits(list).status()), "JOB_NOT_FOUND");
}

TEST_F(EditsTest, ARepeatedWithdrawalIsAnsweredAsItWas) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  v1::CancelEditRequest request;
  request.set_job_id("job");
  request.set_edit(1);
  request.set_request_id(NewUuid());
  const auto first = Call(&JobManager::CancelEdit, request);
  ASSERT_THAT(first, IsOk());
  Say(trainer, Dropped(1));
  RestartServer();
  const auto again = Call(&JobManager::CancelEdit, request);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->SerializeAsString(), first->SerializeAsString());
}

// --- What trainers say ---

TEST_F(EditsTest, AnEditThatDoesNotFitIsDroppedWithItsReason) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  Say(trainer, Dropped(1, "clip.mode: \x1b[31m does not fit"));
  EXPECT_THAT(LastEvent().adjust_dropped().reason(), HasSubstr("does not fit"));
  EXPECT_EQ(LastEvent().adjust_dropped().reason().find('\x1b'), std::string::npos) << "it goes to terminals";
  EXPECT_EQ(Get("job").control_revision(), 1);
  EXPECT_EQ(Get("job").waiting_edits(), 0);
}

TEST_F(EditsTest, WhatATrainerSaysOfEditsIsChecked) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  struct Case {
    v1::Notice notice;
    std::string field;
  };
  for (const Case& bad :
       {Case{Applied(2, 2, 5), "controls_applied.edit"}, Case{Applied(0, 2, 5), "controls_applied.edit"},
        Case{Applied(1, 1, 5), "controls_applied.revision"}, Case{Applied(1, 3, 5), "controls_applied.revision"},
        Case{Applied(1, 2, -1), "controls_applied.effective_step"},
        Case{Applied(1, 2, 1001), "controls_applied.effective_step"}, Case{Dropped(2, "why"), "edit_dropped.edit"},
        Case{Dropped(1), "edit_dropped.reason"}}) {
    trainer = AttachAgain(1);
    Say(trainer, bad.notice);
    ASSERT_TRUE(trainer.link->closed().has_value()) << bad.field;
    EXPECT_THAT(*trainer.link->closed(),
                StatusIs(Code::kInvalidArgument, HasSubstr(absl::StrCat("notice.", bad.field))));
  }
  EXPECT_THAT(Waiting("job"), ElementsAre("1")) << "nothing was half applied";
  EXPECT_EQ(Get("job").control_revision(), 1);
}

TEST_F(EditsTest, WhatNoTrainerCanHaveDoneIsRefused) {
  Trainer trainer = AttachReady("job");
  for (const auto& request : {ScaleAt(0.5, 100), ScaleRequest("job", 0.25), ScaleAt(2, 100), ScaleRequest("job", 3)}) {
    ASSERT_THAT(Adjust(request), IsOk());
  }
  int64_t heard = 1;
  const auto refuses = [&](int64_t edit, int64_t step, const char* why) {
    trainer = AttachAgain(heard);
    SayApplied(trainer, edit, step);
    ASSERT_TRUE(trainer.link->closed().has_value()) << why;
    EXPECT_THAT(*trainer.link->closed(), StatusIs(Code::kInvalidArgument, HasSubstr(why)));
  };
  const auto takes = [&](int64_t edit, int64_t step) {
    trainer = AttachAgain(heard++);
    SayApplied(trainer, edit, step);
    EXPECT_FALSE(trainer.link->closed().has_value()) << *trainer.link->closed();
  };
  refuses(1, 99, "effective_step: 99: edit 1 is for step 100");
  refuses(3, 100, "edit: 3: the turn of edit 2 was before it");
  refuses(4, 50, "edit: 4: the turn of edit 2 was before it");
  takes(2, 50);
  refuses(4, 49, "effective_step: 49 comes after 50");
  refuses(3, 100, "edit: 3: the turn of edit 1 was before it");
  takes(1, 101);  // late, but so it may be
  all_launches();
  RestartServer();
  refuses(4, 100, "effective_step: 100 comes after 101");
  refuses(4, 102, "edit: 4: the turn of edit 3 was before it");
  takes(3, 102);
  takes(4, 102);
}

TEST_F(EditsTest, WhatIsLeftAtTheEndIsDropped) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Adjust(ScaleAt(0.5, 900)), IsOk());
  ASSERT_THAT(Adjust(ScaleAt(0.5, 950)), IsOk());
  ASSERT_THAT(Cancel("job", 2), IsOk());
  SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(LogAfterStart(),
              ElementsAre("requested 1", "requested 2", "withdrawal of 2", "dropped 1", "dropped 2", "SUCCEEDED"));
  EXPECT_EQ(EventAt("job", 7).adjust_dropped().reason(), "the job ended before its turn came");
  EXPECT_FALSE(EventAt("job", 7).adjust_dropped().may_have_held());
  EXPECT_EQ(EventAt("job", 8).adjust_dropped().reason(), "withdrawn by tester");
  EXPECT_EQ(Get("job").waiting_edits(), 0);
  EXPECT_THAT(Waiting("job"), IsEmpty());
}

TEST_F(EditsTest, OfATrainerThatIsGoneNobodyKnowsWhatItHadApplied) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  Detach(trainer);
  launcher_->End(1001, {.exit_code = 0, .signal = 9, .unknown = false, .last_output = {}});
  Settle();
  ASSERT_EQ(State("job"), "FAILED");
  std::string reason;
  bool may_have_held = false;
  for (int64_t number = 1; number <= Get("job").last_event(); ++number) {
    const v1::Event event = EventAt("job", number);
    if (!event.has_adjust_dropped()) continue;
    reason = event.adjust_dropped().reason();
    may_have_held = event.adjust_dropped().may_have_held();
  }
  EXPECT_EQ(reason, "its trainer was gone before it told what became of it");
  EXPECT_TRUE(may_have_held);
}

// --- Restarts and trainers that come back ---

TEST_F(EditsTest, WaitingEditsSurviveARestartAndReachTheTrainerAgain) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Adjust(ScaleAt(0.25, 100)), IsOk());
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  ASSERT_THAT(Adjust(ScaleAt(2, 100)), IsOk());
  ASSERT_THAT(Cancel("job", 3), IsOk());
  SayApplied(trainer, 2, 8);
  const v1::Job before = Get("job");
  all_launches();
  RestartServer();
  EXPECT_THAT(Waiting("job"), ElementsAre("1@100", "3@100"));
  EXPECT_EQ(Get("job").waiting_edits(), 2);
  EXPECT_EQ(Get("job").last_edit(), 4);
  EXPECT_EQ(Get("job").etag(), before.etag());
  Trainer again = AttachAgain(2);
  const v1::RevisedControls controls = again.link->sent()[0].welcome().controls();
  EXPECT_EQ(controls.revision(), 2) << "what is in force, without what waits";
  EXPECT_EQ(controls.controls().learning_rate_scale(), 0.5);
  EXPECT_THAT(SentEdits(again), ElementsAre("1@100", "3@100", "not 3"));
  SayTogether(again, {Applied(1, 3, 100), Dropped(3)});
  EXPECT_THAT(Waiting("job"), IsEmpty());
  EXPECT_EQ(Adjust(ScaleRequest("job", 1))->adjustment().edit(), 5);
}

TEST_F(EditsTest, ATrainerThatComesBackTellsWhatItAppliedMeanwhileOnce) {
  Trainer trainer = AttachReady("job");
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.5)), IsOk());
  ASSERT_THAT(Adjust(ScaleRequest("job", 0.25)), IsOk());
  SayApplied(trainer, 1, 8);
  all_launches();
  RestartServer();
  // The acknowledgement of its second notice was lost with the server, so it comes again, with what came after it.
  Trainer again = AttachAgain(1);
  EXPECT_EQ(again.link->sent()[0].welcome().acked_notice(), 2);
  SayTogether(again, {Applied(1, 2, 8), Applied(2, 3, 8)});
  EXPECT_FALSE(again.link->closed().has_value());
  const std::vector<std::string> log = Log("job");
  EXPECT_EQ(std::count(log.begin(), log.end(), "adjusted 1 from 8"), 1);
  EXPECT_EQ(log.back(), "adjusted 2 from 8");
  EXPECT_EQ(Get("job").control_revision(), 3);
}

TEST_F(EditsTest, EditsBeforeTheTrainerComesFollowItsWelcome) {
  ASSERT_THAT(Adjust(ScaleAt(3, 5)), IsOk());
  ASSERT_THAT(Adjust(ScaleRequest("job", 2)), IsOk());
  Trainer trainer = AttachReady("job");
  EXPECT_EQ(trainer.link->sent()[0].welcome().controls().revision(), 1);
  EXPECT_TRUE(trainer.link->sent()[1].has_edits());
  EXPECT_THAT(SentEdits(trainer), ElementsAre("1@5", "2"));
  SayTogether(trainer, {Applied(2, 2, 0), Applied(1, 3, 5)});
  EXPECT_EQ(Log("job").back(), "adjusted 1 from 5");
}

// Each edit is with the welcome or behind it, whatever of the commit of the welcome comes first.
TEST_F(EditsTest, AnEditBesideAnAttachReachesTheTrainer) {
  for (int round = 0; round < 30; ++round) {
    Trainer trainer;
    absl::Notification answered;
    const int64_t first = Get("job").last_edit() + 1;
    std::vector<std::string> expected;
    InOneCommit([&] {
      for (int i = 0; i < 10; ++i) {
        if (i == round % 10) {
          jobs_->Attach(Hello("job"), trainer.link, [&](absl::StatusOr<JobManager::Attachment> attachment) {
            trainer.attachment = std::move(attachment);
            answered.Notify();
          });
        }
        jobs_->AdjustJob(ScaleAt(0.5, 100), "tester",
                         [](const absl::StatusOr<v1::AdjustJobResponse>& response) { EXPECT_THAT(response, IsOk()); });
        expected.push_back(absl::StrCat(first + i, "@100"));
      }
    });
    answered.WaitForNotification();
    Settle();
    ASSERT_THAT(trainer.attachment, IsOk());
    EXPECT_THAT(SentEdits(trainer), IsSupersetOf(expected)) << round;
  }
}

// --- Limits, and many ---

TEST_F(EditsTest, TenThousandMayWait) {
  Trainer trainer = AttachReady("job");
  absl::Mutex mutex;
  int accepted = 0, refused = 0;
  for (int i = 0; i < 10'100; ++i) {
    jobs_->AdjustJob(i % 2 == 0 ? ScaleAt(0.5, 999 - i % 900) : ScaleRequest("job", 2), "tester",
                     [&](const absl::StatusOr<v1::AdjustJobResponse>& response) {
                       absl::MutexLock lock(&mutex);
                       if (response.ok()) {
                         ++accepted;
                       } else {
                         EXPECT_THAT(response, StatusIs(Code::kResourceExhausted, HasSubstr("10000 edits")));
                         EXPECT_EQ(core::GetReason(response.status()), "QUOTA_EDITS");
                         ++refused;
                       }
                     });
  }
  Settle();
  EXPECT_EQ(accepted, 10'000);
  EXPECT_EQ(refused, 100);
  EXPECT_EQ(Get("job").waiting_edits(), 10'000);
  EXPECT_EQ(Get("job").last_edit(), 10'000);
  all_launches();
  RestartServer();
  EXPECT_EQ(Get("job").waiting_edits(), 10'000);
  Trainer again = AttachAgain(1);
  std::vector<std::string> sent = SentEdits(again);
  EXPECT_THAT(sent, SizeIs(10'000));
  for (const v1::TrainerDirective& directive : again.link->sent()) EXPECT_LE(directive.edits().edits_size(), 256);
  SayApplied(again, 2, 4);
  EXPECT_THAT(Adjust(ScaleRequest("job", 1)), IsOk()) << "there is room again";
  // The end answers all of them.
  const int64_t last = Get("job").last_event();
  SayFinished(again, v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(State("job"), "SUCCEEDED");
  EXPECT_EQ(Get("job").waiting_edits(), 0);
  EXPECT_EQ(Get("job").last_event(), last + 10'001);
  EXPECT_TRUE(EventAt("job", last + 1).has_adjust_dropped());
  EXPECT_TRUE(EventAt("job", last + 10'000).has_adjust_dropped());
}

// --- Jobs of servers before there were edits ---

TEST_F(EditsTest, WhatWaitedAtAnOlderServerDoesNotHoldYet) {
  Trainer trainer = AttachReady("job");
  StopServer();
  OpenStores();
  JobRow row = ledger_->LoadJobs()->at(0);
  ledger_->Submit([&row](LedgerTransaction& transaction) -> absl::Status {
    for (const int64_t revision : {2, 3}) {
      v1::Event event;
      event.set_job_id("job");
      event.set_attempt(1);
      event.set_number(row.job.last_event() + 1);
      row.job.set_last_event(event.number());
      v1::Adjustment* const asked = event.mutable_adjust_requested()->mutable_adjustment();
      asked->set_revision(revision);
      asked->set_at_step(100 * revision);
      asked->add_paths("learning_rate_scale");
      *asked->mutable_old_controls() = row.job.controls();
      row.job.mutable_controls()->set_learning_rate_scale(static_cast<double>(revision));
      *asked->mutable_new_controls() = row.job.controls();
      row.job.set_control_revision(revision);
      const absl::Status appended = transaction.AppendEvent(row.job.uid(), &event).status();
      if (!appended.ok()) return appended;
    }
    return transaction.PutJob(row);
  });
  Commit();
  MakeManager();
  jobs_->Start();
  Settle();
  EXPECT_EQ(Get("job").control_revision(), 1);
  EXPECT_EQ(Get("job").controls().learning_rate_scale(), 1);
  Trainer again = AttachAgain(1);
  EXPECT_EQ(again.link->sent()[0].welcome().controls().revision(), 1);
  EXPECT_THAT(SentEdits(again), ElementsAre("2@200", "3@300"));
  SayApplied(again, 2, 200);
  RestartServer();
  EXPECT_EQ(Get("job").control_revision(), 2) << "the row is of this server now";
  EXPECT_EQ(Get("job").controls().learning_rate_scale(), 2);
  EXPECT_THAT(Waiting("job"), ElementsAre("3@300"));
}

class FoldTest : public ::testing::Test {
 protected:
  FoldTest() {
    record_.row.job.set_control_revision(3);
    record_.row.job.mutable_controls()->set_learning_rate_scale(0.25);
  }
  // A change as it was recorded when it was asked for.
  static v1::Adjustment Old(int64_t revision, double scale) {
    v1::Adjustment old;
    old.set_revision(revision);
    old.mutable_old_controls()->set_learning_rate_scale(1);
    old.mutable_new_controls()->set_learning_rate_scale(scale);
    old.mutable_new_controls()->set_report_every(1);
    old.add_paths("learning_rate_scale");
    old.set_actor("somebody");
    if (revision == 3) old.set_at_step(70);
    return old;
  }
  void Request(const v1::Adjustment& adjustment) {
    v1::Event event;
    *event.mutable_adjust_requested()->mutable_adjustment() = adjustment;
    FoldEvent(event, &record_);
  }

  JobRecord record_;
};

TEST_F(FoldTest, AChangeOfAnOlderServerWaitsAsAnEdit) {
  Request(Old(2, 0.5));
  Request(Old(3, 0.25));
  EXPECT_EQ(record_.row.job.waiting_edits(), 2);
  EXPECT_EQ(record_.row.job.last_edit(), 3);
  const auto edit = record_.edits->Find(3);
  ASSERT_NE(edit, nullptr);
  EXPECT_EQ(edit->at_step(), 70);
  EXPECT_EQ(edit->values().learning_rate_scale(), 0.25);
  EXPECT_EQ(edit->revision(), 0);
  EXPECT_FALSE(edit->has_old_controls() || edit->has_new_controls());
  EXPECT_EQ(edit->actor(), "somebody");
}

TEST_F(FoldTest, WhatBecameOfChangesOfAnOlderServerIsKnownByTheirRevision) {
  Request(Old(2, 0.5));
  Request(Old(3, 0.25));
  v1::Event event;
  *event.mutable_adjust_dropped()->mutable_adjustment() = Old(2, 0.5);
  FoldEvent(event, &record_);
  EXPECT_EQ(record_.row.job.waiting_edits(), 1);
  *event.mutable_adjusted()->mutable_adjustment() = Old(3, 0.25);
  FoldEvent(event, &record_);
  EXPECT_EQ(record_.row.job.waiting_edits(), 0);
  EXPECT_EQ(record_.row.job.last_edit(), 3);
}

TEST_F(FoldTest, AWithdrawalOfWhatDoesNotWaitIsNothing) {
  v1::Adjustment edit;
  edit.set_edit(1);
  Request(edit);
  edit.set_withdrawn_by("somebody");
  Request(edit);
  EXPECT_EQ(record_.edits->size(), 1u);
  EXPECT_EQ(record_.edits->Find(1)->withdrawn_by(), "somebody");
  v1::Event event;
  *event.mutable_adjust_dropped()->mutable_adjustment() = edit;
  FoldEvent(event, &record_);
  Request(edit);
  EXPECT_EQ(record_.edits->size(), 0u);
}

}  // namespace
}  // namespace gradwatch::server
