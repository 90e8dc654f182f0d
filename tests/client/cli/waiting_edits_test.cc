#include "client/cli/waiting_edits.h"

#include <google/protobuf/util/time_util.h>

#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/controls_text.h"
#include "client/cli/event_text.h"
#include "tests/client/cli/cli_fixture.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::Reason;
using ::gradwatch::testing::RichStatus;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

v1::Adjustment Edit(int64_t edit) {
  v1::Adjustment asked;
  asked.set_edit(edit);
  asked.set_actor("anna");
  asked.add_paths("clip.mode");
  asked.add_paths("clip.threshold");
  asked.mutable_values()->mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
  asked.mutable_values()->mutable_clip()->set_threshold(2);
  return asked;
}

TEST(EditTextTest, TellsEveryPathAndItsValue) {
  v1::Adjustment edit;
  v1::Controls& values = *edit.mutable_values();
  values.mutable_clip()->set_mode(v1::CLIP_MODE_ZCLIP);
  values.mutable_clip()->mutable_zclip()->set_alpha(0.5);
  values.mutable_clip()->mutable_zclip()->set_method(v1::ZClip::METHOD_MEAN);
  values.set_report_every(10);
  values.set_gradient_cosine(true);
  values.set_layer_statistics(false);
  v1::TensorClip* own = values.mutable_clip()->add_overrides();
  own->set_tensors("rnn0.*");
  own->set_mode(v1::CLIP_MODE_VALUE);
  own->set_threshold(3);
  const struct {
    const char* path;
    const char* text;
  } cases[] = {
      {"clip.mode", "clip.mode: zclip"},
      {"clip.threshold", "clip.threshold: default"},
      {"clip.zclip.alpha", "clip.zclip.alpha: 0.5"},
      {"clip.zclip", "clip.zclip: alpha 0.5, method mean"},
      {"clip.adagc.beta", "clip.adagc.beta: default"},
      {"clip", "clip: zclip (alpha 0.5, method mean), rnn0.*: value 3"},
      {"clip.overrides", "clip.overrides: rnn0.*: value 3"},
      {"clip.overrides.`rnn0.*`", "clip.overrides.`rnn0.*`: value 3"},
      {"clip.overrides.`rnn0`", "clip.overrides.`rnn0`: removed"},
      {"report_every", "report_every: 10"},
      {"gradient_cosine", "gradient_cosine: on"},
      {"layer_statistics", "layer_statistics: off"},
      {"statistics", "statistics: default"},
      {"of.a.newer.server", "of.a.newer.server: ?"},
      {"report_every.x", "report_every.x: ?"},
      {"clip.overrides.`\x1b[31m`", "clip.overrides.`\\x1b[31m`: removed"},
  };
  for (const auto& c : cases) {
    edit.clear_paths();
    edit.add_paths(c.path);
    EXPECT_EQ(EditText(edit), c.text);
  }
  EXPECT_EQ(EditText(Edit(7)), "clip.mode: global_norm, clip.threshold: 2");
}

TEST(EventTextTest, TellsEditsByTheirNumber) {
  v1::Event requested, scheduled, withdrawal, adjusted, dropped;
  *requested.mutable_adjust_requested()->mutable_adjustment() = Edit(7);
  EXPECT_EQ(EventText(requested), "edit 7 asked for by anna: clip.mode: global_norm, clip.threshold: 2");
  scheduled = requested;
  scheduled.mutable_adjust_requested()->mutable_adjustment()->set_at_step(100);
  EXPECT_THAT(EventText(scheduled), HasSubstr("edit 7 asked for by anna from step 100: clip.mode"));
  withdrawal = scheduled;
  withdrawal.mutable_adjust_requested()->mutable_adjustment()->set_withdrawn_by("bert");
  EXPECT_EQ(EventText(withdrawal), "withdrawal of edit 7 asked for by bert");
  v1::Adjustment& applied = *adjusted.mutable_adjusted()->mutable_adjustment();
  applied = Edit(7);
  applied.set_revision(3);
  applied.set_effective_step(131);
  *applied.mutable_new_controls() = applied.values();
  EXPECT_EQ(EventText(adjusted), "edit 7 holds from step 131 (revision 3): clip: none -> global_norm 2");
  *dropped.mutable_adjust_dropped()->mutable_adjustment() = Edit(7);
  dropped.mutable_adjust_dropped()->set_reason("withdrawn by bert");
  EXPECT_EQ(EventText(dropped), "edit 7 never held: withdrawn by bert");
  dropped.mutable_adjust_dropped()->set_may_have_held(true);
  dropped.mutable_adjust_dropped()->set_reason("the trainer was lost");
  EXPECT_EQ(EventText(dropped), "edit 7 may have held or not: the trainer was lost");
  dropped.mutable_adjust_dropped()->mutable_adjustment()->set_at_step(900);
  dropped.set_steps_done(23);
  EXPECT_EQ(
      EventText(dropped),
      "edit 7 may have held or not (asked for step 900; the run is known to have come to step 23): the trainer was "
      "lost");
  dropped.mutable_adjust_dropped()->set_may_have_held(false);
  EXPECT_EQ(EventText(dropped), "edit 7 never held: the trainer was lost");
}

Edits ListOf(const std::vector<v1::Adjustment>& edits) { return {edits.begin(), edits.end()}; }

v1::Adjustment ModeEdit(int64_t edit, int64_t at_step, v1::ClipMode mode) {
  v1::Adjustment asked;
  asked.set_edit(edit);
  if (at_step >= 0) asked.set_at_step(at_step);
  asked.add_paths("clip.mode");
  asked.mutable_values()->mutable_clip()->set_mode(mode);
  return asked;
}

v1::ClipSettings Clip(v1::ClipMode mode, double threshold = 0) {
  v1::ClipSettings clip;
  clip.set_mode(mode);
  clip.set_threshold(threshold);
  return clip;
}

TEST(ModeUpToTest, EditsTakeTheirTurnsAsTheTrainerLetsThem) {
  const v1::ClipMode none = v1::CLIP_MODE_NONE, tensor = v1::CLIP_MODE_TENSOR_NORM, value = v1::CLIP_MODE_VALUE;
  // As the server lists them.
  const Edits waiting = ListOf({ModeEdit(2, -1, value), ModeEdit(1, 5, tensor), ModeEdit(3, 9, none)});
  EXPECT_EQ(ModeUpTo(5, 5, Clip(none), waiting).mode, value) << "1, then 2";
  EXPECT_EQ(ModeUpTo(5, 4, Clip(none), waiting).mode, tensor) << "2, then 1";
  EXPECT_EQ(ModeUpTo(4, 4, Clip(none), waiting).mode, value);
  EXPECT_EQ(ModeUpTo(8, 6, Clip(none), waiting).mode, value) << "1 is late";
  EXPECT_EQ(ModeUpTo(9, 6, Clip(tensor), waiting).mode, none);
  EXPECT_EQ(ModeUpTo(9, 6, Clip(tensor), {}).mode, tensor);
  EXPECT_THAT(ModeUpTo(4, 4, Clip(none), waiting).waiting, UnorderedElementsAre(none, tensor, value)) << "due or not";
}

TEST(ModeUpToTest, LimitsAreThoseOfTheLastWhoSetsOne) {
  const v1::ClipMode tensor = v1::CLIP_MODE_TENSOR_NORM;
  Edits waiting = ListOf({ModeEdit(1, 5, tensor), ModeEdit(2, 7, tensor), ModeEdit(3, 9, tensor)});
  for (v1::Adjustment& edit : waiting) {
    edit.mutable_values()->mutable_clip()->set_threshold(static_cast<double>(edit.edit()));
  }
  waiting[1].add_paths("clip.threshold");
  waiting[2].set_paths(0, "clip");
  const v1::ClipSettings in_force = Clip(tensor, 8);
  EXPECT_EQ(ModeUpTo(6, 4, in_force, waiting).threshold, 8) << "the first says nothing of it";
  EXPECT_EQ(ModeUpTo(7, 4, in_force, waiting).threshold, 2);
  EXPECT_EQ(ModeUpTo(9, 4, in_force, waiting).threshold, 3);
  waiting[2].set_withdrawn_by("bert");
  EXPECT_EQ(ModeUpTo(9, 4, in_force, waiting).threshold, 2);
  waiting[1].mutable_values()->mutable_clip()->clear_threshold();
  EXPECT_EQ(ModeUpTo(9, 4, in_force, waiting).threshold, 0) << "the default";
}

// A server with one job, read after event 4, and the edits that wait.
class WaitingEditsTest : public CliTest {
 protected:
  WaitingEditsTest() {
    server_.get_job = [this](const v1::GetJobRequest&, v1::Job* job) {
      if (jobs_ > 1 && --jobs_ == 1) edits_.clear();  // they are applied between two reads
      job->set_job_id("x");
      job->set_etag("e");
      job->set_last_event(4);
      job->set_steps_done(12);
      job->set_state(state_);
      job->set_control_revision(edits_.empty() ? 9 : 1);
      job->set_waiting_edits(static_cast<int32_t>(edits_.size()));
      return grpc::Status::OK;
    };
    server_.list_edits = [this](const v1::ListEditsRequest& request, v1::ListEditsResponse* response) {
      EXPECT_EQ(request.job_id(), "x");
      const size_t first = request.page_token().empty() ? 0 : std::stoul(request.page_token());
      const size_t end = std::min(first + std::min<size_t>(request.page_size(), 700), edits_.size());
      for (size_t i = first; i < end; ++i) *response->add_edits() = edits_[i];
      if (end < edits_.size()) response->set_next_page_token(std::to_string(end));
      return grpc::Status::OK;
    };
    server_.cancel_edit = [this](const v1::CancelEditRequest& request, v1::CancelEditResponse* response) {
      requests_.push_back(request);
      if (!refusal_.ok()) return refusal_;
      response->mutable_adjustment()->set_edit(request.edit());
      return grpc::Status::OK;
    };
    server_.watch_job = [this](const v1::WatchJobRequest& request, grpc::ServerContext*,
                               grpc::ServerWriter<v1::WatchJobResponse>* writer) {
      EXPECT_EQ(request.after_event(), refusal_.ok() && !reads_log_ ? 4 : 0);
      writer->Write(answer_);
      return grpc::Status::OK;
    };
  }

  void AnswerApplied(int64_t edit) {
    v1::Adjustment& applied = *answer_.add_events()->mutable_adjusted()->mutable_adjustment();
    applied.set_edit(edit);
    applied.set_revision(3);
    applied.set_effective_step(12);
  }
  void AnswerDropped(int64_t edit, const std::string& reason) {
    v1::AdjustDropped& dropped = *answer_.add_events()->mutable_adjust_dropped();
    dropped.mutable_adjustment()->set_edit(edit);
    dropped.set_reason(reason);
  }

  std::atomic<v1::JobState> state_ = v1::JOB_STATE_RUNNING;
  std::vector<v1::Adjustment> edits_;
  int jobs_ = 0;  // reads of the job until the edits are applied; 0: they wait
  grpc::Status refusal_;
  bool reads_log_ = false;  // from its beginning
  std::vector<v1::CancelEditRequest> requests_;
  v1::WatchJobResponse answer_;
};

TEST_F(WaitingEditsTest, GetPrintsWhatHolds) {
  server_.list_edits = nullptr;  // not asked where nothing waits
  const CliResult result = Cli("clip get x");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "clip: none\nrevision 9, etag e, at step 12\n");
  EXPECT_EQ(Cli("clip get x -o json").out,
            R"({"job":"x","revision":9,"etag":"e","steps_done":12,"clip":{"mode":"unspecified",)"
            R"("threshold":0,"non_finite":"unspecified","overrides":[]},"pending":[]})"
            "\n");
}

TEST_F(WaitingEditsTest, GetPrintsWhatWaits) {
  edits_ = {Edit(7), Edit(5)};
  edits_[1].set_at_step(100);
  edits_[1].set_withdrawn_by("bert");
  *edits_[1].mutable_request_time() = google::protobuf::util::TimeUtil::SecondsToTimestamp(0);
  const CliResult result = Cli("clip get x");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(
      result.out,
      "clip: none\nrevision 1, etag e, at step 12\n"
      "waits: edit 7, asked for by anna: clip.mode: global_norm, clip.threshold: 2\n"
      "waits: edit 5 from step 100, asked for by anna: clip.mode: global_norm, clip.threshold: 2 (its withdrawal is "
      "asked for by bert)\n");
  EXPECT_THAT(Cli("clip get x -o json").out,
              HasSubstr(R"("pending":[{"edit":7,"paths":["clip.mode","clip.threshold"],)"
                        R"("values":{"clip":{"mode":"global_norm","threshold":2}},"actor":"anna"},)"
                        R"({"edit":5,"paths":["clip.mode","clip.threshold"],)"
                        R"("values":{"clip":{"mode":"global_norm","threshold":2}},"at_step":100,"actor":"anna",)"
                        R"("request_time":"1970-01-01T00:00:00Z","withdrawn_by":"bert"}]})"));
}

// The job is at step 12.
TEST_F(WaitingEditsTest, GetPrintsThemInTheOrderOfTheirTurns) {
  edits_ = {Edit(7), Edit(5), Edit(8)};
  edits_[1].set_at_step(12);
  edits_[2].set_at_step(12);
  const std::string out = Cli("clip get x").out;
  EXPECT_LT(out.find("waits: edit 5 "), out.find("waits: edit 7,"));
  EXPECT_LT(out.find("waits: edit 7,"), out.find("waits: edit 8 "));
  EXPECT_NE(out.find("waits: edit 8 "), out.npos);
}

TEST_F(WaitingEditsTest, GetReadsAllPages) {
  for (int64_t edit = 1; edit <= 10'000; ++edit) edits_.push_back(Edit(edit));
  const auto objects = gradwatch::testing::JsonLines(Cli("clip get x -o json").out);
  ASSERT_EQ(objects.size(), 1u);
  const auto& pending = objects[0].fields().at("pending").list_value();
  ASSERT_EQ(pending.values_size(), 10'000);
  EXPECT_EQ(pending.values(9'999).struct_value().fields().at("edit").number_value(), 10'000);
}

// Whatever is applied between two reads is in one of them and not in none.
TEST_F(WaitingEditsTest, GetTellsOneMoment) {
  edits_ = {Edit(7)};
  jobs_ = 3;  // applied when the job is read again, after the list
  const CliResult result = Cli("clip get x");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "clip: none\nrevision 9, etag e, at step 12\n");
}

TEST_F(WaitingEditsTest, GetSaysWhereItIsNoMoment) {
  edits_ = {Edit(7)};
  const auto list = server_.list_edits;
  server_.list_edits = [this, list](const v1::ListEditsRequest& request, v1::ListEditsResponse* response) {
    const grpc::Status status = list(request, response);
    edits_.push_back(Edit(static_cast<int64_t>(edits_.size()) + 7));  // somebody writes all the while
    return status;
  };
  const CliResult result = Cli("clip get x");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("waits: edit 7"));
  EXPECT_EQ(result.err,
            "gradwatch: the edits of x change too fast: what is said to wait may hold already, or not be all\n");
}

TEST_F(WaitingEditsTest, GetOfAnEditSaysThatItWaits) {
  edits_ = {Edit(7), Edit(5)};
  edits_[1].set_at_step(100);
  const CliResult result = Cli("clip get x --edit 5");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "waits: edit 5 from step 100, asked for by anna: clip.mode: global_norm, clip.threshold: 2\n"
            "the job is at step 12\n");
  EXPECT_EQ(Cli("clip get x --edit 5 -o json").out,
            R"({"job":"x","edit":5,"state":"waiting","asked":{"edit":5,"paths":["clip.mode","clip.threshold"],)"
            R"("values":{"clip":{"mode":"global_norm","threshold":2}},"at_step":100,"actor":"anna"},"steps_done":12})"
            "\n");
}

TEST_F(WaitingEditsTest, GetOfAnEditSaysFromWhichStepItHolds) {
  reads_log_ = true;
  AnswerApplied(6);
  AnswerApplied(7);
  v1::Adjustment& edit = *answer_.mutable_events(1)->mutable_adjusted()->mutable_adjustment();
  edit.set_actor("anna");
  edit.mutable_new_controls()->set_learning_rate_scale(0.5);
  const CliResult result = Cli("clip get x --edit 7");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "edit 7, asked for by anna: learning_rate_scale: 1 -> 0.5\n"
            "holds from step 12 (revision 3); the controls are at revision 9 now\n");
  const auto objects = gradwatch::testing::JsonLines(Cli("clip get x --edit 7 -o json").out);
  ASSERT_EQ(objects.size(), 1u);
  EXPECT_EQ(objects[0].fields().at("state").string_value(), "applied");
  EXPECT_EQ(objects[0].fields().at("effective_step").number_value(), 12);
  EXPECT_EQ(objects[0].fields().at("actor").string_value(), "anna");
  edit.set_revision(9);
  EXPECT_THAT(Cli("clip get x --edit 7").out, HasSubstr("\nholds from step 12 (revision 9)\n"));
}

TEST_F(WaitingEditsTest, GetOfAnEditSaysWhyItNeverHeldOrThatNobodyKnows) {
  reads_log_ = true;
  AnswerDropped(7, "withdrawn by anna");
  CliResult result = Cli("clip get x --edit 7");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "edit 7 never held: withdrawn by anna\n");
  EXPECT_THAT(Cli("clip get x --edit 7 -o json").out,
              HasSubstr(R"("edit":7,"state":"never_held","reason":"withdrawn by anna",)"));
  answer_.mutable_events(0)->mutable_adjust_dropped()->set_may_have_held(true);
  result = Cli("clip get x --edit 7");
  EXPECT_EQ(result.out, "edit 7 may have held or not: withdrawn by anna\n");
  EXPECT_THAT(Cli("clip get x --edit 7 -o json").out, HasSubstr(R"("state":"may_have_held")"));
}

TEST_F(WaitingEditsTest, GetOfAnUnknownEditIsNotFound) {
  reads_log_ = true;
  answer_.mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
  const CliResult result = Cli("clip get x --edit 8");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(result.err, "gradwatch: job \"x\" has no edit 8\n");
  EXPECT_EQ(Cli("clip get x --edit 0").exit_code, 2);
}

// Between the two reads it is in the list of those that wait no more.
TEST_F(WaitingEditsTest, GetOfAnEditThatIsAppliedMeanwhileReadsTheLogAfterTheList) {
  reads_log_ = true;
  edits_ = {Edit(6)};
  const auto list = server_.list_edits;
  server_.list_edits = [this, list](const v1::ListEditsRequest& request, v1::ListEditsResponse* response) {
    AnswerApplied(7);
    return list(request, response);
  };
  EXPECT_THAT(Cli("clip get x --edit 7").out, HasSubstr("holds from step 12 (revision 3)"));
}

TEST_F(WaitingEditsTest, GetSaysAfterHowManyStepsAJobHasEnded) {
  state_ = v1::JOB_STATE_FAILED;
  EXPECT_THAT(Cli("clip get x").out, HasSubstr("revision 9, etag e, ended after 12 steps\n"));
}

TEST_F(WaitingEditsTest, AWithdrawalThatCannotBePrintedIsSaidToBeDone) {
  AnswerDropped(7, "withdrawn by anna");
  EXPECT_EQ(CliIntoNothing("clip cancel x 7").err,
            "gradwatch: cannot write to the standard output; edit 7 is withdrawn: it never held\n");
}

TEST_F(WaitingEditsTest, CancelSaysThatItIsWithdrawn) {
  AnswerDropped(6, "not ours");
  AnswerDropped(7, "withdrawn by anna");
  const CliResult result = Cli("clip cancel x 7 --if-etag mine");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "edit 7 withdrawn: it never held\n");
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_EQ(requests_[0].edit(), 7);
  EXPECT_EQ(requests_[0].etag(), "mine");
  EXPECT_EQ(requests_[0].request_id().size(), 36u);
  EXPECT_EQ(Cli("clip cancel x 7 -o json").out,
            R"({"job":"x","edit":7,"state":"withdrawn","reason":"withdrawn by anna","event":0})"
            "\n");
}

TEST_F(WaitingEditsTest, CancelTellsAnotherReasonWhyItNeverHeld) {
  AnswerDropped(7, "the job ended first");
  const CliResult result = Cli("clip cancel x 7");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "edit 7 withdrawn: it never held (the job ended first)\n");
}

TEST_F(WaitingEditsTest, CancelOfWhatMayHaveHeldDoesNotSayThatItNeverDid) {
  AnswerDropped(7, "the trainer was lost");
  answer_.mutable_events(0)->mutable_adjust_dropped()->set_may_have_held(true);
  for (const char* form : {"", " -o json"}) {
    const CliResult result = Cli(absl::StrCat("clip cancel x 7", form));
    EXPECT_EQ(result.exit_code, 6);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err, "gradwatch: edit 7 may have held or not: the trainer was lost\n");
  }
}

TEST_F(WaitingEditsTest, CancelThatComesTooLateSaysSinceWhenItHolds) {
  AnswerApplied(6);
  AnswerApplied(7);
  const std::string late =
      "gradwatch: edit 7 was applied before it could be withdrawn: it holds from step 12 (revision 3)\n";
  CliResult result = Cli("clip cancel x 7");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, late);
  EXPECT_EQ(result.out, "");
  // Also where the server knows that it is done: the log tells.
  refusal_ = RichStatus(grpc::StatusCode::FAILED_PRECONDITION, "edit 7 is done", Reason("EDIT_DONE"));
  result = Cli("clip cancel x 7");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, late);
  answer_.Clear();
  AnswerDropped(7, "it did not fit");
  result = Cli("clip cancel x 7");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, "gradwatch: edit 7 never held: it did not fit\n");
  answer_.Clear();
  answer_.mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
  EXPECT_EQ(Cli("clip cancel x 7").err, "gradwatch: edit 7 is done\n");
}

// Numbers of withdrawals are no edits: the log is read as far as it was when the server refused, and no further.
TEST_F(WaitingEditsTest, CancelOfWhatIsNoEditDoesNotWaitForMoreOfTheLog) {
  refusal_ = RichStatus(grpc::StatusCode::FAILED_PRECONDITION, "no edit 8 waits", Reason("EDIT_DONE"));
  server_.watch_job = [this](const v1::WatchJobRequest&, grpc::ServerContext*,
                             grpc::ServerWriter<v1::WatchJobResponse>* writer) {
    for (int64_t number = 1; number <= 4; ++number) answer_.add_events()->set_number(number);
    writer->Write(answer_);
    answer_.Clear();
    AnswerApplied(8);
    answer_.mutable_events(0)->set_number(5);
    writer->Write(answer_);
    return grpc::Status::OK;
  };
  const CliResult result = Cli("clip cancel x 8");
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err, "gradwatch: no edit 8 waits\n");
}

TEST_F(WaitingEditsTest, CancelOfAnUnknownEditIsNotFound) {
  refusal_ = RichStatus(grpc::StatusCode::NOT_FOUND, "no edit 8", Reason("EDIT_NOT_FOUND"));
  const CliResult result = Cli("clip cancel x 8");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(result.err, "gradwatch: no edit 8\n");
}

TEST_F(WaitingEditsTest, CancelSaysWhatItWaitsFor) {
  AnswerDropped(7, "");
  EXPECT_EQ(Cli("clip cancel x 7").err, "");
  state_ = v1::JOB_STATE_PENDING;
  EXPECT_EQ(Cli("clip cancel x 7").err, "") << "nobody else has it: that is at once";
  state_ = v1::JOB_STATE_RECOVERING;
  const CliResult result = Cli("clip cancel x 7");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "gradwatch: x has lost its trainer; waiting until it is back\n");
  server_.watch_job = [](const v1::WatchJobRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>*) {
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  };
  const CliResult late = Cli("clip cancel x 7");
  EXPECT_EQ(late.exit_code, 124);
  EXPECT_THAT(late.err, HasSubstr("the withdrawal of edit 7 is accepted, but the trainer has not said yet whether it "
                                  "came in time; what becomes of it: gradwatch clip get x --edit 7\n"));
  EXPECT_THAT(late.err, Not(HasSubstr("never held")));
  server_.watch_job = [](const v1::WatchJobRequest&, grpc::ServerContext*, grpc::ServerWriter<v1::WatchJobResponse>*) {
    return grpc::Status(grpc::StatusCode::DATA_LOSS, "no");
  };
  EXPECT_THAT(Cli("clip cancel x 7").err,
              HasSubstr("what becomes of it: gradwatch clip get x --edit 7\ngradwatch: no\n"))
      << "whatever the error";
}

}  // namespace
}  // namespace gradwatch::cli
