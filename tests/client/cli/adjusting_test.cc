#include "client/cli/adjusting.h"

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/client/cli/cli_fixture.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::Reason;
using ::gradwatch::testing::RichStatus;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

// A server with one job, read after event 4, whose next edit is 7.
class ClipSetTest : public CliTest {
 protected:
  ClipSetTest() {
    server_.get_job = [this](const v1::GetJobRequest&, v1::Job* job) {
      job->set_job_id("x");
      job->set_etag(absl::StrCat("e", ++reads_));
      job->mutable_controls()->mutable_clip()->set_mode(mode_);
      job->mutable_controls()->mutable_clip()->set_threshold(threshold_);
      job->set_control_revision(1);
      job->set_waiting_edits(static_cast<int32_t>(waiting_.size()));
      job->set_state(state_);
      job->set_steps_done(12);
      job->set_last_event(4);
      return grpc::Status::OK;
    };
    server_.adjust_job = [this](const v1::AdjustJobRequest& request, v1::AdjustJobResponse* response) {
      requests_.push_back(request);
      if (static_cast<int>(requests_.size()) <= conflicts_) {
        return RichStatus(grpc::StatusCode::ABORTED, "the etag is e9", Reason("ETAG_MISMATCH"));
      }
      v1::Adjustment& edit = *response->mutable_adjustment();
      edit.set_edit(7);
      edit.set_actor("anna");
      *edit.mutable_values() = request.controls();
      *edit.mutable_paths() = request.update_mask().paths();
      if (request.has_at_step()) edit.set_at_step(request.at_step());
      response->set_event_number(5);
      return grpc::Status::OK;
    };
    server_.list_edits = [this](const v1::ListEditsRequest&, v1::ListEditsResponse* response) {
      if (on_list_) on_list_();
      for (const v1::Adjustment& edit : waiting_) *response->add_edits() = edit;
      return grpc::Status::OK;
    };
    server_.watch_job = [this](const v1::WatchJobRequest& request, grpc::ServerContext*,
                               grpc::ServerWriter<v1::WatchJobResponse>* writer) {
      EXPECT_EQ(request.after_event(), 4) << "what happened since the job was read";
      EXPECT_TRUE(request.events_only());
      writer->Write(answer_);
      return grpc::Status::OK;
    };
  }

  void AnswerState(v1::JobState state) { answer_.add_events()->mutable_state_changed()->set_to(state); }

  void AnswerAdjusted(int64_t edit) {
    v1::Event& event = *answer_.add_events();
    event.set_number(6);
    event.set_attempt(1);
    v1::Adjustment& adjustment = *event.mutable_adjusted()->mutable_adjustment();
    adjustment.set_edit(edit);
    adjustment.set_revision(3);
    adjustment.mutable_old_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_VALUE);
    adjustment.mutable_old_controls()->mutable_clip()->set_threshold(8);
    adjustment.mutable_new_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
    adjustment.mutable_new_controls()->mutable_clip()->set_threshold(2);
    adjustment.set_effective_step(12);
  }

  void AnswerDropped(int64_t edit, const std::string& reason, bool may_have_held = false) {
    v1::AdjustDropped& dropped = *answer_.add_events()->mutable_adjust_dropped();
    dropped.mutable_adjustment()->set_edit(edit);
    dropped.set_reason(reason);
    dropped.set_may_have_held(may_have_held);
  }
  // What is said where waiting for the edit ends with an error.
  static std::string Accepted() {
    return "gradwatch: edit 7 is accepted; what becomes of it: gradwatch clip get x --edit 7; withdraw it with: "
           "gradwatch "
           "clip cancel x 7\n";
  }
  // An edit that waits and sets the mode.
  v1::Adjustment& AddWaiting(v1::ClipMode mode) {
    v1::Adjustment& edit = waiting_.emplace_back();
    edit.add_paths("clip.mode");
    edit.mutable_values()->mutable_clip()->set_mode(mode);
    return edit;
  }
  // The paths of the edit that a command asks for.
  std::vector<std::string> PathsOf(const std::string& arguments) {
    requests_.clear();
    const CliResult result = Cli(arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments << ": " << result.err;
    if (requests_.size() != 1) return {};
    const auto& paths = requests_[0].update_mask().paths();
    return {paths.begin(), paths.end()};
  }

  std::atomic<int> reads_ = 0;
  v1::ClipMode mode_ = v1::CLIP_MODE_NONE;  // in force
  double threshold_ = 0;
  std::vector<v1::Adjustment> waiting_;
  std::function<void()> on_list_;  // before the waiting edits are read
  std::atomic<v1::JobState> state_ = v1::JOB_STATE_RUNNING;
  int conflicts_ = 0;
  std::vector<v1::AdjustJobRequest> requests_;
  v1::WatchJobResponse answer_;
};

TEST_F(ClipSetTest, SaysOldValueNewValueAndTheStep) {
  AnswerAdjusted(6);  // another edit: not ours
  AnswerAdjusted(7);
  const CliResult result = Cli("clip set x --max-norm 2 --at-step 12");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "clip: value 8 -> global_norm 2\nholds from step 12 (revision 3)\n")
      << "the values are those of the moment when it was applied";
  EXPECT_EQ(result.err, "");
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].at_step(), 12);
  EXPECT_EQ(requests_[0].request_id().size(), 36u);
}

TEST_F(ClipSetTest, PrintsJson) {
  AnswerAdjusted(7);
  const CliResult result = Cli("clip set x --max-norm 2 -o json");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto objects = gradwatch::testing::JsonLines(result.out);
  ASSERT_EQ(objects.size(), 1u);
  const auto& fields = objects[0].fields();
  EXPECT_EQ(fields.at("job").string_value(), "x");
  EXPECT_EQ(fields.at("attempt").number_value(), 1);
  EXPECT_EQ(fields.at("edit").number_value(), 7);
  EXPECT_EQ(fields.at("state").string_value(), "applied");
  EXPECT_EQ(fields.at("revision").number_value(), 3);
  EXPECT_EQ(fields.at("effective_step").number_value(), 12);
  EXPECT_EQ(fields.at("event").number_value(), 6);
  const auto clip = [&](const char* when) { return fields.at(when).struct_value().fields().at("clip").struct_value(); };
  EXPECT_EQ(clip("old").fields().at("mode").string_value(), "value");
  EXPECT_EQ(clip("new").fields().at("threshold").number_value(), 2);
}

// What others change meanwhile matters only to an edit that was made from what the job had.
TEST_F(ClipSetTest, IsGuardedByAnEtagOnlyWhereItDependsOnWhatWasRead) {
  AnswerAdjusted(7);
  const struct {
    const char* arguments;
    bool guarded;
  } cases[] = {
      {"clip set x --max-norm 2", true},
      {"clip set x --max-norm 2 --mode global_norm", false},
      {"clip set x --max-value 2", false},
      {"clip set x --mode value", true},
      {"clip set x --mode adaptive", true},
      {"clip set x --mode none", false},
      {"clip set x --mode zclip --set alpha=0.5", false},
      {"clip set x --non-finite zero", false},
      {"clip set x --tensors a --max-norm 2", false},
      {"clip unset x --tensors a", false},
      {"adjust x --lr-scale 0.5", false},
  };
  mode_ = v1::CLIP_MODE_VALUE;
  for (const auto& c : cases) {
    requests_.clear();
    EXPECT_EQ(Cli(c.arguments).exit_code, 0) << c.arguments;
    ASSERT_EQ(requests_.size(), 1u);
    EXPECT_EQ(!requests_[0].etag().empty(), c.guarded) << c.arguments;
    requests_.clear();
    EXPECT_EQ(Cli(absl::StrCat(c.arguments, " --if-etag mine")).exit_code, 0);
    EXPECT_EQ(requests_[0].etag(), "mine") << c.arguments;
  }
}

// Somebody's mode waits for step 100: a norm for a later step is not a change of that mode.
TEST_F(ClipSetTest, AnEditIsMadeFromWhatItWillFind) {
  AnswerAdjusted(7);
  AddWaiting(v1::CLIP_MODE_TENSOR_NORM).set_at_step(100);
  const std::vector<std::string> both = {"clip.mode", "clip.threshold"};
  const auto mode_of = [&](const std::string& arguments) {
    EXPECT_EQ(PathsOf(arguments), both) << arguments;
    return requests_.empty() ? v1::CLIP_MODE_UNSPECIFIED : requests_[0].controls().clip().mode();
  };
  EXPECT_EQ(mode_of("clip set x --max-norm 2 --at-step 200"), v1::CLIP_MODE_TENSOR_NORM);
  EXPECT_EQ(mode_of("clip set x --max-norm 2 --at-step 100"), v1::CLIP_MODE_TENSOR_NORM) << "it comes after it";
  EXPECT_EQ(mode_of("clip set x --max-norm 2 --at-step 99"), v1::CLIP_MODE_GLOBAL_NORM);
  EXPECT_EQ(mode_of("clip set x --max-norm 2"), v1::CLIP_MODE_GLOBAL_NORM);
  EXPECT_EQ(Cli("clip set x --mode global_norm --at-step 200").exit_code, 2) << "nobody has said which norm";
  waiting_[0].add_paths("clip.threshold");
  waiting_[0].mutable_values()->mutable_clip()->set_threshold(8);
  EXPECT_EQ(mode_of("clip set x --mode global_norm --at-step 200"), v1::CLIP_MODE_GLOBAL_NORM);
  EXPECT_EQ(requests_[0].controls().clip().threshold(), 8);
  EXPECT_EQ(Cli("clip set x --mode global_norm").exit_code, 2) << "there is no norm yet";
  waiting_[0].set_withdrawn_by("bert");
  EXPECT_EQ(mode_of("clip set x --max-norm 2 --at-step 200"), v1::CLIP_MODE_GLOBAL_NORM);

  waiting_.clear();
  AddWaiting(v1::CLIP_MODE_ZCLIP);
  EXPECT_THAT(PathsOf("clip set x --set alpha=0.5"), ElementsAre("clip.zclip.alpha"));
  waiting_[0].set_paths(0, "clip.threshold");  // it says nothing of the mode
  EXPECT_EQ(Cli("clip set x --set alpha=0.5").exit_code, 2);
  waiting_[0].set_paths(0, "clip");
  EXPECT_THAT(PathsOf("clip set x --set alpha=0.5"), ElementsAre("clip.zclip.alpha"));
}

// The trainer applies the edit of step 12, then the other. The list has the one without a step first.
TEST_F(ClipSetTest, AnEditWithoutAStepTakesItsTurnAmongThoseOfTheNext) {
  state_ = v1::JOB_STATE_PENDING;
  AnswerAdjusted(7);
  AddWaiting(v1::CLIP_MODE_VALUE).set_edit(2);
  v1::Adjustment& first = AddWaiting(v1::CLIP_MODE_TENSOR_NORM);
  first.set_edit(1);
  first.set_at_step(12);
  EXPECT_THAT(PathsOf("clip set x --max-norm 1"), ElementsAre("clip.mode", "clip.threshold"));
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].controls().clip().mode(), v1::CLIP_MODE_GLOBAL_NORM) << "or the norm would be a value";
}

// Their steps may have passed already, and a withdrawal may come too late.
TEST_F(ClipSetTest, ANormSaysItsModeWhereAnyEditThatWaitsSetsOne) {
  AnswerAdjusted(7);
  mode_ = v1::CLIP_MODE_TENSOR_NORM;
  EXPECT_THAT(PathsOf("clip set x --max-norm 1"), ElementsAre("clip.threshold")) << "nothing waits";
  AddWaiting(v1::CLIP_MODE_VALUE).set_at_step(14);
  for (const char* withdrawn_by : {"", "bert"}) {
    waiting_[0].set_withdrawn_by(withdrawn_by);
    EXPECT_THAT(PathsOf("clip set x --max-norm 1"), ElementsAre("clip.mode", "clip.threshold"));
    ASSERT_EQ(requests_.size(), 1u);
    EXPECT_EQ(requests_[0].controls().clip().mode(), v1::CLIP_MODE_TENSOR_NORM) << "that was found";
  }
  waiting_[0].set_paths(0, "clip.non_finite");
  EXPECT_THAT(PathsOf("clip set x --max-norm 1"), ElementsAre("clip.threshold"));
}

TEST_F(ClipSetTest, AModeAloneAsksForItsLimitWhereAnEditThatWaitsMayMakeItAnother) {
  AnswerAdjusted(7);
  mode_ = v1::CLIP_MODE_TENSOR_NORM;
  AddWaiting(v1::CLIP_MODE_VALUE).set_at_step(14);
  const CliResult result = Cli("clip set x --mode global_norm");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("give --max-norm"));
  EXPECT_EQ(Cli("clip set x --mode global_norm --max-norm 1").exit_code, 0);
}

// Until then anybody may set a mode of another kind.
TEST_F(ClipSetTest, ALimitForLaterNamesItsMode) {
  AnswerAdjusted(7);
  mode_ = v1::CLIP_MODE_TENSOR_NORM;
  EXPECT_THAT(PathsOf("clip set x --max-norm 1 --at-step 5000"), ElementsAre("clip.mode", "clip.threshold"));
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].controls().clip().mode(), v1::CLIP_MODE_TENSOR_NORM);
}

TEST_F(ClipSetTest, AModeForLaterNamesTheLimitThatItFinds) {
  AnswerAdjusted(7);
  const struct {
    v1::ClipMode mode;
    double threshold;
    const char* arguments;
    std::vector<std::string> paths;
    double sent;  // 0: the default
  } cases[] = {
      {v1::CLIP_MODE_GLOBAL_NORM, 4, "--mode tensor_norm", {"clip.mode"}, 0},
      {v1::CLIP_MODE_GLOBAL_NORM, 4, "--mode tensor_norm --at-step 5000", {"clip.mode", "clip.threshold"}, 4},
      {v1::CLIP_MODE_VALUE, 0.5, "--mode value --at-step 5000", {"clip.mode", "clip.threshold"}, 0.5},
      {v1::CLIP_MODE_ADAPTIVE, 0.02, "--mode adaptive --at-step 5000", {"clip.mode", "clip.threshold"}, 0.02},
      {v1::CLIP_MODE_ADAPTIVE, 0, "--mode adaptive --at-step 5000", {"clip.mode", "clip.threshold"}, 0},
      {v1::CLIP_MODE_GLOBAL_NORM, 4, "--mode adaptive --at-step 5000", {"clip.mode", "clip.threshold"}, 0},
      {v1::CLIP_MODE_GLOBAL_NORM, 4, "--mode zclip --at-step 5000", {"clip.mode"}, 0},
  };
  for (const auto& c : cases) {
    mode_ = c.mode;
    threshold_ = c.threshold;
    EXPECT_EQ(PathsOf(absl::StrCat("clip set x ", c.arguments)), c.paths) << c.arguments;
    ASSERT_EQ(requests_.size(), 1u);
    EXPECT_EQ(requests_[0].controls().clip().threshold(), c.sent) << c.arguments;
  }
}

// The edit that sets that limit may still be withdrawn: then the value in force would be a norm.
TEST_F(ClipSetTest, AModeNamesTheLimitThatOnlyAnEditThatWaitsMakesOfItsKind) {
  AnswerAdjusted(7);
  mode_ = v1::CLIP_MODE_VALUE;
  threshold_ = 0.5;
  v1::Adjustment& edit = AddWaiting(v1::CLIP_MODE_TENSOR_NORM);
  edit.add_paths("clip.threshold");
  edit.mutable_values()->mutable_clip()->set_threshold(8);
  EXPECT_THAT(PathsOf("clip set x --mode global_norm"), ElementsAre("clip.mode", "clip.threshold"));
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].controls().clip().threshold(), 8);
  mode_ = v1::CLIP_MODE_GLOBAL_NORM;
  EXPECT_THAT(PathsOf("clip set x --mode global_norm"), ElementsAre("clip.mode")) << "whichever it is, is a norm";
}

// Nobody has asked for another.
TEST_F(ClipSetTest, AFactorIsNotResetByAnEditThatWaits) {
  AnswerAdjusted(7);
  mode_ = v1::CLIP_MODE_ADAPTIVE;
  threshold_ = 0.02;
  AddWaiting(v1::CLIP_MODE_ZCLIP).set_at_step(9000);
  for (const char* step : {"", " --at-step 100", " --at-step 10000"}) {
    requests_.clear();
    const CliResult result = Cli(absl::StrCat("clip set x --mode adaptive", step));
    EXPECT_EQ(result.exit_code, 2) << step;
    EXPECT_THAT(result.err, HasSubstr("give --factor")) << step;
    EXPECT_TRUE(requests_.empty()) << step;
  }
  EXPECT_EQ(Cli("clip set x --mode adaptive --factor 0.02").exit_code, 0);
  mode_ = v1::CLIP_MODE_ZCLIP;
  EXPECT_THAT(PathsOf("clip set x --mode adaptive"), ElementsAre("clip.mode", "clip.threshold")) << "nobody's factor";
  waiting_[0].mutable_values()->mutable_clip()->set_mode(v1::CLIP_MODE_ADAPTIVE);
  EXPECT_EQ(Cli("clip set x --mode adaptive").exit_code, 2) << "somebody's, by then";
}

TEST_F(ClipSetTest, SaysWhichEditThatWaitsOverturnsIt) {
  AnswerAdjusted(7);
  for (const int64_t step : {4000, 3000, 12}) {
    v1::Adjustment& edit = AddWaiting(v1::CLIP_MODE_GLOBAL_NORM);
    edit.set_edit(step / 1000 + 1);
    edit.add_paths("clip.threshold");
    edit.set_at_step(step);
  }
  const std::string note = "gradwatch: edit 4 sets clip.threshold again at step 3000\n";
  EXPECT_EQ(Cli("clip set x --max-value 1 --no-wait").err,
            "gradwatch: edit 4 sets clip.mode, clip.threshold again at step 3000\n");
  waiting_[1].mutable_paths()->Clear();
  waiting_[1].add_paths("clip.threshold");
  EXPECT_EQ(Cli("clip set x --max-value 1").err, note);
  EXPECT_EQ(Cli("clip set x --max-value 1 --at-step 2999 -o json").err, note);
  EXPECT_EQ(Cli("clip set x --max-value 1 --at-step 4000").err, "") << "this one is the last";
  EXPECT_EQ(Cli("clip set x --non-finite zero").err, "");
  EXPECT_EQ(Cli("adjust x --lr-scale 0.5").err, "");
  waiting_[1].set_withdrawn_by("bert");
  waiting_[0].set_paths(0, "clip");
  EXPECT_EQ(Cli("clip unset x --tensors a").err, "gradwatch: edit 5 sets clip again at step 4000\n");
}

// The etag does not tell that an edit was applied between the reads of the job and of its edits.
TEST_F(ClipSetTest, WhatIsAppliedMeanwhileIsNotMissed) {
  AnswerAdjusted(7);
  AddWaiting(v1::CLIP_MODE_TENSOR_NORM);
  on_list_ = [this] {
    mode_ = v1::CLIP_MODE_TENSOR_NORM;
    waiting_.clear();
  };
  EXPECT_THAT(PathsOf("clip set x --max-norm 2"), ElementsAre("clip.threshold"));
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].etag(), "e1") << "that of the first read: nothing was accepted since";
}

TEST_F(ClipSetTest, TriesAgainWhenSomebodyElseWasFaster) {
  conflicts_ = 2;
  AnswerAdjusted(7);
  EXPECT_EQ(Cli("clip set x --max-norm 2").exit_code, 0);
  ASSERT_EQ(requests_.size(), 3u);
  EXPECT_EQ(requests_[2].etag(), "e3") << "it was read again";
  EXPECT_NE(requests_[2].request_id(), requests_[1].request_id()) << "another request";
}

// As with twenty others at it.
TEST_F(ClipSetTest, ManyWhoAreFasterAreNoErrorAndNeverAskedForAnEtag) {
  conflicts_ = 22;
  AnswerAdjusted(7);
  EXPECT_EQ(Cli("clip set x --max-norm 2").exit_code, 0);
  requests_.clear();
  conflicts_ = 1000;
  const CliResult result = Cli("clip set x --max-norm 2");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, "gradwatch: others change the job all the time; nothing was done; try it again\n");
}

TEST_F(ClipSetTest, AnEtagOfTheUserIsNotReplaced) {
  conflicts_ = 1;
  const CliResult result = Cli("clip set x --max-norm 2 --if-etag mine");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, "gradwatch: the etag is e9\n");
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].etag(), "mine");
}

TEST_F(ClipSetTest, ADroppedEditIsAConflict) {
  AnswerDropped(6, "not ours");
  AnswerDropped(7, "the job ended first");
  const CliResult result = Cli("clip set x --max-norm 2");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, "gradwatch: edit 7 never held: the job ended first\n");
  EXPECT_EQ(result.out, "");
}

TEST_F(ClipSetTest, WhatMayHaveHeldIsNotSaidNeverToHave) {
  AnswerDropped(7, "the trainer was lost", /*may_have_held=*/true);
  const CliResult result = Cli("adjust x --lr-scale 0.5");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, "gradwatch: edit 7 may have held or not: the trainer was lost\n");
}

// Whether it can have held is seen from the steps.
TEST_F(ClipSetTest, OfWhatMayHaveHeldLaterBothStepsAreTold) {
  AnswerDropped(7, "the trainer was lost", /*may_have_held=*/true);
  v1::Event& event = *answer_.mutable_events(0);
  event.mutable_adjust_dropped()->mutable_adjustment()->set_at_step(90'000);
  event.set_steps_done(2346);
  EXPECT_EQ(
      Cli("adjust x --lr-scale 0.5 --at-step 90000 --wait").err,
      "gradwatch: edit 7 may have held or not (asked for step 90000; the run is known to have come to step 2346): "
      "the trainer was lost\n");
  event.set_steps_done(90'000);
  EXPECT_EQ(Cli("adjust x --lr-scale 0.5 --at-step 90000 --wait").err,
            "gradwatch: edit 7 may have held or not: the trainer was lost\n");
}

TEST_F(ClipSetTest, AnEndWithoutAWordDoesNotSayThatItNeverHeld) {
  answer_.mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
  const CliResult result = Cli("clip set x --max-norm 2");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, Accepted() + "gradwatch: the log of the job ended without a word of edit 7\n");
}

TEST_F(ClipSetTest, AJobThatIsDeletedMeanwhileIsSaidToBe) {
  answer_.mutable_ended()->set_reason(v1::WatchEnded::REASON_DELETED);
  const CliResult result = Cli("clip set x --max-norm 2");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(result.err, "gradwatch: job x was deleted\n") << "there is nothing to look up";
}

TEST_F(ClipSetTest, DoesNotWaitIfNotWanted) {
  server_.watch_job = nullptr;
  const CliResult result = Cli("clip set x --max-norm 2 --no-wait");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "clip.mode: global_norm, clip.threshold: 2\nasked for (edit 7)\n");
}

TEST_F(ClipSetTest, AnEditForALaterStepIsToldAtOnceAndHowToWithdrawIt) {
  server_.watch_job = nullptr;
  const CliResult result = Cli("clip set x --tensors rnn0.* --max-norm 2 --at-step 100");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "clip.overrides.`rnn0.*`: tensor_norm 2\n"
            "waits: holds from step 100 (edit 7; withdraw it with: gradwatch clip cancel x 7)\n");
  EXPECT_EQ(Cli("adjust x --lr-scale 0.5 --at-step 13 -o json").out,
            R"({"job":"x","edit":7,"state":"waiting","asked":{"edit":7,"paths":["learning_rate_scale"],)"
            R"("values":{"learning_rate_scale":0.5},"at_step":13,"actor":"anna"},"event":5})"
            "\n");
}

// The reports of its last steps may come after the news of a pause: then the step is the next one, and the edit is
// applied at once.
TEST_F(ClipSetTest, OfAPausedJobItIsSeenWhetherALaterStepIsTheNext) {
  for (const v1::JobState state : {v1::JOB_STATE_PAUSED, v1::JOB_STATE_PAUSING}) {
    state_ = state;
    answer_.Clear();
    AnswerState(v1::JOB_STATE_PAUSED);
    AnswerAdjusted(7);
    const CliResult result = Cli("clip set x --max-norm 2 --at-step 14");
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("holds from step 12, the first after the pause (revision 3)\n"));
    EXPECT_EQ(result.err, "");
  }
  server_.watch_job = [](const v1::WatchJobRequest&, grpc::ServerContext* context,
                         grpc::ServerWriter<v1::WatchJobResponse>*) {
    EXPECT_LT(absl::FromChrono(context->deadline()), absl::Now() + absl::Seconds(30)) << "a moment only";
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  };
  const CliResult result = Cli("clip unset x --tensors rnn0.* --at-step 13");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("clip.overrides.`rnn0.*`: removed\nwaits: holds from step 13 (edit 7; "));
  EXPECT_EQ(result.err, "");
}

TEST_F(ClipSetTest, WaitsForALaterStepIfAskedTo) {
  AnswerAdjusted(7);
  const CliResult result = Cli("clip set x --max-norm 2 --at-step 100 --wait");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("holds from step 12 (revision 3)"));
  EXPECT_EQ(result.err, "");
}

// In a pause an edit is applied at once; whether that was so is told by the events.
TEST_F(ClipSetTest, OfAPausedJobItSaysThatTheStepIsTheFirstAfterThePause) {
  const struct {
    v1::JobState before;
    std::vector<v1::JobState> events;
    bool in_pause;
  } cases[] = {
      {v1::JOB_STATE_PAUSED, {}, true},
      {v1::JOB_STATE_PAUSING, {v1::JOB_STATE_PAUSED}, true},
      {v1::JOB_STATE_PAUSED, {v1::JOB_STATE_RUNNING}, false},
      {v1::JOB_STATE_PAUSING, {}, false},
      {v1::JOB_STATE_RUNNING, {}, false},
      {v1::JOB_STATE_RUNNING, {v1::JOB_STATE_PAUSING, v1::JOB_STATE_PAUSED}, true},
  };
  for (const auto& c : cases) {
    state_ = c.before;
    answer_.Clear();
    for (const v1::JobState state : c.events) AnswerState(state);
    AnswerAdjusted(7);
    const CliResult result = Cli("clip set x --max-norm 2");
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(c.in_pause ? "holds from step 12, the first after the pause (revision 3)\n"
                                                 : "holds from step 12 (revision 3)\n"));
    EXPECT_EQ(result.err, "") << "it is not waited for";
  }
}

TEST_F(ClipSetTest, SaysWhatIsWaitedFor) {
  AnswerAdjusted(7);
  const struct {
    v1::JobState state;
    const char* arguments;
    const char* note;
  } cases[] = {
      {v1::JOB_STATE_RUNNING, "", ""},
      {v1::JOB_STATE_PENDING, "", "gradwatch: x has not started yet; waiting until it does (see --no-wait)\n"},
      {v1::JOB_STATE_RECOVERING, "", "gradwatch: x has lost its trainer; waiting until it is back (see --no-wait)\n"},
      {v1::JOB_STATE_PAUSED, " --at-step 13 --wait",
       "gradwatch: x is paused; waiting until it goes on (see --no-wait)\n"},
  };
  for (const auto& c : cases) {
    state_ = c.state;
    const CliResult result = Cli(absl::StrCat("clip set x --max-norm 2", c.arguments));
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err, c.note);
  }
}

TEST_F(ClipSetTest, AnEditThatDoesNotHoldInTimeWaits) {
  server_.watch_job = [](const v1::WatchJobRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>*) {
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  };
  const CliResult result = Cli("clip set x --max-norm 2");
  EXPECT_EQ(result.exit_code, 124);
  EXPECT_EQ(result.err, Accepted() + "gradwatch: time is up; --timeout gives more\n");
}

// The server went away when it had answered: nobody else would tell the number.
TEST_F(ClipSetTest, AnEditWhoseOutcomeCannotBeReadIsSaidToBeAccepted) {
  for (const char* command : {"clip set x --max-norm 2", "clip unset x --tensors a", "adjust x --lr-scale 0.5"}) {
    for (const auto code : {grpc::StatusCode::RESOURCE_EXHAUSTED, grpc::StatusCode::DATA_LOSS}) {
      server_.watch_job = [code](const v1::WatchJobRequest&, grpc::ServerContext*,
                                 grpc::ServerWriter<v1::WatchJobResponse>*) { return grpc::Status(code, "no"); };
      EXPECT_EQ(Cli(command).err, Accepted() + "gradwatch: no\n") << command;
    }
  }
}

TEST_F(ClipSetTest, WhatCannotBePrintedHoldsAllTheSame) {
  AnswerAdjusted(7);
  const std::string lost = "gradwatch: cannot write to the standard output; edit 7 ";
  for (const char* command : {"clip set x --max-norm 2", "clip unset x --tensors a", "adjust x --lr-scale 0.5"}) {
    for (const char* form : {"", " -o json"}) {
      const CliResult result = CliIntoNothing(absl::StrCat(command, form));
      EXPECT_EQ(result.exit_code, 1);
      EXPECT_EQ(result.err, lost + "holds from step 12 (revision 3)\n") << command;
    }
  }
  EXPECT_EQ(CliIntoNothing("clip set x --max-norm 2 --at-step 100").err,
            lost + "is accepted and waits; withdraw it with: gradwatch clip cancel x 7\n");
}

TEST_F(ClipSetTest, UsageErrorsAskNoServer) {
  server_.Stop();
  EXPECT_EQ(Cli("clip set x").exit_code, 2);
  EXPECT_EQ(Cli("clip set x --mode none --max-norm 1").exit_code, 2);
  EXPECT_EQ(Cli("clip unset x").exit_code, 2);
  EXPECT_EQ(Cli("clip set x --max-norm 1").exit_code, 3);
}

TEST_F(ClipSetTest, UnsetNamesTheOverrideAndGivesNoValue) {
  AnswerAdjusted(7);
  EXPECT_EQ(Cli("clip unset x --tensors rnn0.*").exit_code, 0);
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_THAT(requests_[0].update_mask().paths(), ElementsAre("clip.overrides.`rnn0.*`"));
  EXPECT_FALSE(requests_[0].has_controls());
}

TEST_F(ClipSetTest, AdjustChangesTheOtherControls) {
  AnswerAdjusted(7);
  EXPECT_EQ(Cli("adjust x --lr-scale 0.5 --report-every 10 --statistics norm").exit_code, 0);
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_THAT(requests_[0].update_mask().paths(),
              UnorderedElementsAre("learning_rate_scale", "report_every", "statistics"));
  EXPECT_EQ(requests_[0].controls().learning_rate_scale(), 0.5);
  EXPECT_EQ(requests_[0].controls().report_every(), 10);
  EXPECT_EQ(requests_[0].controls().statistics(), v1::STATISTICS_LEVEL_NORM);
  EXPECT_EQ(Cli("adjust x").exit_code, 2);
  EXPECT_EQ(Cli("adjust x --report-every 0").exit_code, 2);
  EXPECT_EQ(Cli("adjust x --lr-scale -1").exit_code, 2);
}

}  // namespace
}  // namespace gradwatch::cli
