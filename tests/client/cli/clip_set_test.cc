#include "client/cli/clip_set.h"

#include <google/protobuf/text_format.h>

#include <atomic>

#include "absl/strings/str_cat.h"
#include "client/lib/grpc_status.h"
#include "tests/client/cli/cli_fixture.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::ParseOptions;
using ::gradwatch::testing::Reason;
using ::gradwatch::testing::RichStatus;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

TEST(ClipSetParseTest, ReadsAllOptions) {
  const ClipSetOptions options = ParseOptions(
      AddClipSet,
      "job --max-norm 1.5 --mode tensor_norm --tensors a* --non-finite zero --if-etag e --at-step 7 --no-wait");
  EXPECT_EQ(options.adjusting.job_id, "job");
  EXPECT_EQ(options.max_norm, 1.5);
  EXPECT_FALSE(options.max_value.has_value());
  EXPECT_EQ(options.mode, v1::CLIP_MODE_TENSOR_NORM);
  EXPECT_EQ(options.tensors, "a*");
  EXPECT_EQ(options.non_finite, v1::NON_FINITE_ACTION_ZERO);
  EXPECT_EQ(options.adjusting.if_etag, "e");
  EXPECT_EQ(options.adjusting.at_step, 7);
  EXPECT_TRUE(options.adjusting.no_wait);
}

TEST(ClipSetParseTest, RefusesWhatIsNoLimit) {
  for (const char* arguments :
       {"", "x --max-norm 0", "x --max-norm -1", "x --max-norm nan", "x --max-norm inf", "x --max-norm 1e999",
        "x --max-norm abc", "x --max-norm 1 --max-value 1", "x --factor 0", "x --factor 1 --max-norm 1", "x --set",
        "x --mode soft", "x --non-finite ignore"}) {
    EXPECT_THROW(ParseOptions(AddClipSet, arguments), CLI::ParseError) << arguments;
  }
}

// The request that the arguments make of `present`.
absl::StatusOr<v1::AdjustJobRequest> Make(const std::string& arguments, const v1::ClipSettings& present = {}) {
  return MakeClipRequest(ParseOptions(AddClipSet, "job " + arguments), present);
}

TEST(MakeClipRequestTest, ALimitSetsModeAndThreshold) {
  const struct {
    const char* arguments;
    v1::ClipMode before, after;
    double threshold;
  } cases[] = {
      {"--max-norm 2", v1::CLIP_MODE_UNSPECIFIED, v1::CLIP_MODE_GLOBAL_NORM, 2},
      {"--max-norm 2", v1::CLIP_MODE_VALUE, v1::CLIP_MODE_GLOBAL_NORM, 2},
      {"--max-norm 2", v1::CLIP_MODE_TENSOR_NORM, v1::CLIP_MODE_TENSOR_NORM, 2},
      {"--max-norm 2 --mode global_norm", v1::CLIP_MODE_TENSOR_NORM, v1::CLIP_MODE_GLOBAL_NORM, 2},
      {"--max-value 3", v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_VALUE, 3},
      {"--mode tensor_norm", v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM, 9},
      {"--factor 0.02", v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_ADAPTIVE, 0.02},
      {"--mode adaptive", v1::CLIP_MODE_ADAPTIVE, v1::CLIP_MODE_ADAPTIVE, 9},
      {"--mode adaptive", v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_ADAPTIVE, 0},  // a norm is no fraction: the default
      {"--mode global_norm", v1::CLIP_MODE_ADAPTIVE, v1::CLIP_MODE_GLOBAL_NORM, 0},  // refused by the server
  };
  for (const auto& c : cases) {
    v1::ClipSettings present;
    present.set_mode(c.before);
    present.set_threshold(9);
    const auto request = Make(c.arguments, present);
    ASSERT_THAT(request, IsOk()) << c.arguments;
    EXPECT_EQ(request->controls().clip().mode(), c.after) << c.arguments;
    EXPECT_EQ(request->controls().clip().threshold(), c.threshold) << c.arguments;
    EXPECT_THAT(request->update_mask().paths(), ElementsAre("clip.mode", "clip.threshold"));
  }
}

TEST(MakeClipRequestTest, EveryModeOfItsOwnNumbersCanBeSet) {
  const struct {
    const char* arguments;
    v1::ClipMode mode;
    std::vector<std::string> paths;
    const char* clip;  // in text format
  } cases[] = {
      {"--mode autoclip", v1::CLIP_MODE_AUTOCLIP, {"clip.mode"}, "mode: CLIP_MODE_AUTOCLIP"},
      {"--mode autoclip --set percentile=20 --set history=500",
       v1::CLIP_MODE_AUTOCLIP,
       {"clip.autoclip.percentile", "clip.autoclip.history", "clip.mode"},
       "mode: CLIP_MODE_AUTOCLIP autoclip { percentile: 20 history: 500 }"},
      {"--mode zclip --set alpha=0.9 --set method=mean --set max_norm=0",
       v1::CLIP_MODE_ZCLIP,
       {"clip.zclip.alpha", "clip.zclip.method", "clip.zclip.max_norm", "clip.mode"},
       "mode: CLIP_MODE_ZCLIP zclip { alpha: 0.9 method: METHOD_MEAN max_norm: 0 }"},
      {"--mode adagc --set warmup_steps=1e3",
       v1::CLIP_MODE_ADAGC,
       {"clip.adagc.warmup_steps", "clip.mode"},
       "mode: CLIP_MODE_ADAGC adagc { warmup_steps: 1000 }"},
      {"--mode spam --set theta=1000",
       v1::CLIP_MODE_SPAM,
       {"clip.spam.theta", "clip.mode"},
       "mode: CLIP_MODE_SPAM spam { theta: 1000 }"},
      {"--mode adaptive --factor 0.02 --set epsilon=0.01",
       v1::CLIP_MODE_ADAPTIVE,
       {"clip.adaptive.epsilon", "clip.mode", "clip.threshold"},
       "mode: CLIP_MODE_ADAPTIVE threshold: 0.02 adaptive { epsilon: 0.01 }"},
  };
  v1::ClipSettings present;
  present.set_mode(v1::CLIP_MODE_GLOBAL_NORM);
  present.set_threshold(9);
  for (const auto& c : cases) {
    const auto request = Make(c.arguments, present);
    ASSERT_THAT(request, IsOk()) << c.arguments;
    EXPECT_THAT(request->update_mask().paths(), ::testing::ElementsAreArray(c.paths)) << c.arguments;
    v1::ClipSettings want;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(c.clip, &want));
    EXPECT_EQ(request->controls().clip().DebugString(), want.DebugString()) << c.arguments;
  }
}

TEST(MakeClipRequestTest, SetAloneChangesTheModeThatHolds) {
  v1::ClipSettings present;
  present.set_mode(v1::CLIP_MODE_ZCLIP);
  const auto request = Make("--set z_threshold=3", present);
  ASSERT_THAT(request, IsOk());
  EXPECT_THAT(request->update_mask().paths(), ElementsAre("clip.zclip.z_threshold"));
  EXPECT_EQ(request->controls().clip().zclip().z_threshold(), 3);
  for (const char* wrong : {"--set percentile=3", "--set z_threshold=much", "--set z_threshold", "--set =3",
                            "--set alpha.x=3", "--mode global_norm --max-norm 1 --set alpha=3"}) {
    EXPECT_THAT(Make(wrong, present), StatusIs(absl::StatusCode::kInvalidArgument, _)) << wrong;
  }
  present.set_mode(v1::CLIP_MODE_NONE);
  EXPECT_THAT(Make("--set alpha=0.9", present), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("zclip")));
}

TEST(MakeClipRequestTest, AGlobMayBeAdaptive) {
  const auto request = Make("--tensors dense* --factor 0.05");
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->controls().clip().overrides(0).mode(), v1::CLIP_MODE_ADAPTIVE);
  EXPECT_EQ(request->controls().clip().overrides(0).threshold(), 0.05);
}

TEST(MakeClipRequestTest, ModeNoneKeepsTheThreshold) {
  const auto request = Make("--mode none --non-finite stop");
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->controls().clip().mode(), v1::CLIP_MODE_NONE);
  EXPECT_EQ(request->controls().clip().non_finite(), v1::NON_FINITE_ACTION_STOP);
  EXPECT_THAT(request->update_mask().paths(), ElementsAre("clip.mode", "clip.non_finite"));
}

TEST(MakeClipRequestTest, AGlobGetsItsOwnLimitBeforeTheOthers) {
  v1::ClipSettings present;
  auto* all = present.add_overrides();
  all->set_tensors("*");
  all->set_mode(v1::CLIP_MODE_VALUE);
  all->set_threshold(5);
  const auto added = Make("--tensors rnn* --max-norm 2", present);
  ASSERT_THAT(added, IsOk());
  EXPECT_THAT(added->update_mask().paths(), ElementsAre("clip.overrides"));
  ASSERT_EQ(added->controls().clip().overrides_size(), 2);
  EXPECT_EQ(added->controls().clip().overrides(0).tensors(), "rnn*");
  EXPECT_EQ(added->controls().clip().overrides(0).mode(), v1::CLIP_MODE_TENSOR_NORM);
  EXPECT_EQ(added->controls().clip().overrides(0).threshold(), 2);
  EXPECT_EQ(added->controls().clip().overrides(1).tensors(), "*");

  const auto replaced = Make("--tensors * --mode none", present);
  ASSERT_THAT(replaced, IsOk());
  ASSERT_EQ(replaced->controls().clip().overrides_size(), 1);
  EXPECT_EQ(replaced->controls().clip().overrides(0).mode(), v1::CLIP_MODE_NONE);
  EXPECT_EQ(replaced->controls().clip().overrides(0).threshold(), 0);

  const auto kept = Make("--tensors * --mode tensor_norm", present);
  ASSERT_THAT(kept, IsOk());
  EXPECT_EQ(kept->controls().clip().overrides(0).threshold(), 5);
}

TEST(MakeClipRequestTest, RefusesContradictions) {
  for (const char* arguments :
       {"", "--tensors a", "--tensors a --non-finite zero", "--mode none --max-norm 1", "--mode value --max-norm 1",
        "--mode global_norm --max-value 1", "--tensors a --mode tensor_norm", "--mode zclip --max-norm 1",
        "--mode zclip --factor 1", "--mode none --factor 1", "--mode adaptive --max-value 1",
        "--tensors a --max-norm 1 --set alpha=1"}) {
    EXPECT_THAT(Make(arguments), StatusIs(absl::StatusCode::kInvalidArgument, _)) << arguments;
  }
}

// A server with one job whose changes hold from step 12.
class ClipSetTest : public CliTest {
 protected:
  ClipSetTest() {
    server_.get_job = [this](const v1::GetJobRequest&, v1::Job* job) {
      job->set_job_id("x");
      job->set_etag("e" + std::to_string(++reads_));
      job->mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_NONE);
      job->set_control_revision(1);
      job->set_state(state_);
      return grpc::Status::OK;
    };
    server_.adjust_job = [this](const v1::AdjustJobRequest& request, v1::AdjustJobResponse* response) {
      requests_.push_back(request);
      if (static_cast<int>(requests_.size()) <= conflicts_) {
        return RichStatus(grpc::StatusCode::ABORTED, "the etag is e9", Reason("ETAG_MISMATCH"));
      }
      adjustment_.set_revision(2);
      adjustment_.mutable_old_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_NONE);
      *adjustment_.mutable_new_controls() = request.controls();
      *adjustment_.mutable_paths() = request.update_mask().paths();
      *response->mutable_adjustment() = adjustment_;
      response->set_event_number(5);
      return grpc::Status::OK;
    };
    server_.watch_job = [this](const v1::WatchJobRequest& request, grpc::ServerContext*,
                               grpc::ServerWriter<v1::WatchJobResponse>* writer) {
      EXPECT_EQ(request.after_event(), 5);
      EXPECT_TRUE(request.events_only());
      writer->Write(answer_);
      return grpc::Status::OK;
    };
  }

  v1::Adjustment& AnswerAdjusted(int64_t revision) {
    v1::Event& event = *answer_.add_events();
    event.set_number(6);
    event.set_attempt(1);
    v1::Adjustment& adjustment = *event.mutable_adjusted()->mutable_adjustment();
    adjustment.set_revision(revision);
    adjustment.mutable_new_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
    adjustment.mutable_new_controls()->mutable_clip()->set_threshold(2);
    adjustment.set_effective_step(12);
    return adjustment;
  }

  void AnswerDropped(int64_t revision, int64_t superseded_by) {
    v1::AdjustDropped& dropped = *answer_.add_events()->mutable_adjust_dropped();
    dropped.mutable_adjustment()->set_revision(revision);
    dropped.set_reason(superseded_by == 0 ? "the job ended first" : absl::StrCat("superseded by ", superseded_by));
    dropped.set_superseded_by(superseded_by);
  }

  std::atomic<int> reads_ = 0;
  std::atomic<v1::JobState> state_ = v1::JOB_STATE_RUNNING;
  int conflicts_ = 0;
  std::vector<v1::AdjustJobRequest> requests_;
  v1::Adjustment adjustment_;
  v1::WatchJobResponse answer_;
};

TEST_F(ClipSetTest, SaysOldValueNewValueAndTheStep) {
  AnswerAdjusted(2);
  const CliResult result = Cli("clip set x --max-norm 2 --at-step 12");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "clip: none -> global_norm 2\nholds from step 12 (revision 2)\n");
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].etag(), "e1");
  EXPECT_EQ(requests_[0].at_step(), 12);
  EXPECT_EQ(requests_[0].request_id().size(), 36u);
}

TEST_F(ClipSetTest, PrintsJson) {
  AnswerAdjusted(1);  // an earlier change: not ours
  AnswerAdjusted(2);
  const CliResult result = Cli("clip set x --max-norm 2 -o json");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto objects = gradwatch::testing::JsonLines(result.out);
  ASSERT_EQ(objects.size(), 1u);
  const auto& fields = objects[0].fields();
  EXPECT_EQ(fields.at("job").string_value(), "x");
  EXPECT_EQ(fields.at("attempt").number_value(), 1);
  EXPECT_EQ(fields.at("revision").number_value(), 2);
  EXPECT_EQ(fields.at("effective_step").number_value(), 12);
  EXPECT_EQ(fields.at("event").number_value(), 6);
  const auto clip = [&](const char* when) { return fields.at(when).struct_value().fields().at("clip").struct_value(); };
  EXPECT_EQ(clip("old").fields().at("mode").string_value(), "none");
  EXPECT_EQ(clip("new").fields().at("threshold").number_value(), 2);
}

TEST_F(ClipSetTest, TriesAgainWhenSomebodyElseWasFaster) {
  conflicts_ = 2;
  AnswerAdjusted(2);
  EXPECT_EQ(Cli("clip set x --max-norm 2").exit_code, 0);
  ASSERT_EQ(requests_.size(), 3u);
  EXPECT_EQ(requests_[2].etag(), "e3") << "it was read again";
  EXPECT_NE(requests_[2].request_id(), requests_[1].request_id()) << "another request";
}

TEST_F(ClipSetTest, AnEtagOfTheUserIsNotReplaced) {
  conflicts_ = 1;
  const CliResult result = Cli("clip set x --max-norm 2 --if-etag mine");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, "gradwatch: the etag is e9\n");
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].etag(), "mine");
}

TEST_F(ClipSetTest, ADroppedChangeIsAConflict) {
  AnswerDropped(2, 0);
  const CliResult result = Cli("clip set x --max-norm 2");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, "gradwatch: revision 2 never held: the job ended first\n");
  EXPECT_EQ(result.out, "");
}

TEST_F(ClipSetTest, AChangeThatALaterOneTookOverHoldsWithThat) {
  AnswerDropped(2, 3);
  AnswerDropped(3, 4);
  AnswerAdjusted(4).mutable_new_controls()->set_learning_rate_scale(0.5);
  const CliResult result = Cli("clip set x --max-norm 2");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "clip: none -> global_norm 2\nholds from step 12, with revision 4\n");
  const CliResult json = Cli("clip set x --max-norm 2 -o json");
  EXPECT_THAT(json.out, HasSubstr(R"("revision":2,)"));
  EXPECT_THAT(json.out, HasSubstr(R"("applied_revision":4,"effective_step":12,)"));
}

TEST_F(ClipSetTest, AChangeThatALaterOneOverwroteNeverHeld) {
  AnswerDropped(2, 3);
  AnswerAdjusted(3).mutable_new_controls()->mutable_clip()->set_threshold(7);
  const CliResult result = Cli("clip set x --max-norm 2");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, "gradwatch: revision 2 never held: overwritten by revision 3\n");
  EXPECT_EQ(result.out, "");
}

TEST_F(ClipSetTest, AChangeWhoseSuccessorIsDroppedNeverHeld) {
  AnswerDropped(2, 3);
  AnswerDropped(3, 0);
  const CliResult result = Cli("clip set x --max-norm 2");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, "gradwatch: revision 2 never held: the job ended first\n");
}

TEST_F(ClipSetTest, TheEndOfTheJobIsAConflict) {
  answer_.mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
  EXPECT_EQ(Cli("clip set x --max-norm 2").exit_code, 6);
}

TEST_F(ClipSetTest, DoesNotWaitIfNotWanted) {
  server_.watch_job = nullptr;
  const CliResult result = Cli("clip set x --max-norm 2 --no-wait");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "clip: none -> global_norm 2\nasked for (revision 2)\n");
}

TEST_F(ClipSetTest, SaysWhyAPausedJobIsWaitedFor) {
  AnswerAdjusted(2);
  EXPECT_EQ(Cli("clip set x --max-norm 2").err, "");
  state_ = v1::JOB_STATE_PAUSED;
  const CliResult result = Cli("clip set x --max-norm 2");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "gradwatch: x is paused; waiting until it goes on (see --no-wait)\n");
}

TEST_F(ClipSetTest, AChangeThatDoesNotHoldInTimeStaysAskedFor) {
  server_.watch_job = [](const v1::WatchJobRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>*) {
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  };
  const CliResult result = Cli("clip set x --max-norm 2");
  EXPECT_EQ(result.exit_code, 124);
  EXPECT_EQ(result.err,
            "gradwatch: revision 2 is accepted but does not hold yet; it stays asked for\n"
            "gradwatch: time is up; --timeout gives more\n");
}

TEST_F(ClipSetTest, UsageErrorsAskNoServer) {
  server_.Stop();
  EXPECT_EQ(Cli("clip set x").exit_code, 2);
  EXPECT_EQ(Cli("clip set x --mode none --max-norm 1").exit_code, 2);
  EXPECT_EQ(Cli("clip set x --max-norm 1").exit_code, 3);
}

TEST_F(ClipSetTest, AdjustChangesTheOtherControls) {
  AnswerAdjusted(2);
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

TEST_F(ClipSetTest, GetPrintsWhatHolds) {
  const CliResult result = Cli("clip get x");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "clip: none\nrevision 1, the trainer uses revision 0, etag e1\n");
  EXPECT_THAT(Cli("clip get x -o json").out, HasSubstr(R"("etag":"e2","clip":{"mode":"none")"));
}

}  // namespace
}  // namespace gradwatch::cli
