#include "client/cli/watch.h"

#include <atomic>
#include <limits>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/client/cli/cli_fixture.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::gradwatch::testing::JsonLines;
using ::gradwatch::testing::ParseOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using Writer = grpc::ServerWriter<v1::WatchJobResponse>;

TEST(WatchParseTest, ReadsAllOptions) {
  const WatchOptions options = ParseOptions(
      AddWatch, "--from-step 5 --every 10 --tensors a.* --tensors b.* --until-step 100 --fail-on-alert critical job");
  EXPECT_EQ(options.job_id, "job");
  EXPECT_EQ(options.from_step, 5);
  EXPECT_EQ(options.every, 10);
  EXPECT_THAT(options.tensors, ElementsAre("a.*", "b.*"));
  EXPECT_EQ(options.until_step, 100);
  EXPECT_EQ(options.fail_on_alert, v1::SEVERITY_CRITICAL);
  EXPECT_FALSE(options.from_beginning);
}

TEST(WatchParseTest, RefusesContradictions) {
  for (const char* arguments : {"", "x --from-beginning --from-step 3", "x --resume t --from-beginning", "x --every 0",
                                "x --fail-on-alert terrible", "x --until-step 3 --events-only", "x y",
                                "x --until-step -1", "x --from-step -4"}) {
    EXPECT_THROW(ParseOptions(AddWatch, arguments), CLI::ParseError) << arguments;
  }
}

v1::Event AlertEvent(int number, v1::Severity severity) {
  v1::Event event;
  event.set_job_id("x");
  event.set_number(number);
  event.set_attempt(1);
  v1::Alert& alert = *event.mutable_alert_changed()->mutable_alert();
  alert.set_rule("non_finite");
  alert.set_severity(severity);
  alert.set_state(v1::ALERT_STATE_FIRING);
  alert.set_step(1);
  alert.set_tensor("rnn0.weight_hh");
  alert.set_summary("3 NaN");
  alert.add_diagnosis("lower the rate");
  return event;
}

v1::Event StateEvent(int number, v1::JobState to) {
  v1::Event event;
  event.set_job_id("x");
  event.set_number(number);
  event.set_attempt(1);
  event.mutable_state_changed()->set_from(v1::JOB_STATE_RUNNING);
  event.mutable_state_changed()->set_to(to);
  return event;
}

v1::StepReport Report(int step, double loss) {
  v1::StepReport report;
  report.set_attempt(1);
  report.set_step(step);
  report.set_loss(loss);
  report.set_grad_norm(2.5);
  report.set_learning_rate(0.01);
  report.set_control_revision(1);
  report.mutable_clip()->set_action(v1::ClipOutcome::ACTION_CLIPPED);
  report.mutable_clip()->set_coefficient(0.4);
  report.set_step_seconds(0.5);
  auto* tensor = report.add_tensors();
  tensor->set_tensor(1);
  tensor->set_l2_norm(2);
  return report;
}

class WatchTest : public CliTest {
 protected:
  WatchTest() {
    server_.watch_job = [this](const v1::WatchJobRequest& request, grpc::ServerContext* context, Writer* writer) {
      request_ = request;
      for (int i = 0; i < static_cast<int>(messages_.size()); ++i) {
        messages_[i].set_resume_token(absl::StrCat("token", i));
        writer->Write(messages_[i]);
      }
      while (hold_ && !context->IsCancelled()) std::this_thread::yield();
      return grpc::Status::OK;
    };
    v1::Job& job = *Add().mutable_started()->mutable_job();
    job.set_job_id("x");
    job.set_state(v1::JOB_STATE_RUNNING);
    job.mutable_spec()->set_steps(10);
    job.add_tensors()->set_name("dense0.weight");
    job.add_tensors()->set_name("rnn0.weight_hh");
  }

  v1::WatchJobResponse& Add() { return messages_.emplace_back(); }
  v1::Job& job() { return *messages_[0].mutable_started()->mutable_job(); }
  void AddReport(int step, double loss) { *Add().add_reports() = Report(step, loss); }
  void AddEnd(v1::JobState state) {
    *Add().add_events() = StateEvent(9, state);
    Add().mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
  }

  std::vector<v1::WatchJobResponse> messages_;
  v1::WatchJobRequest request_;
  std::atomic<bool> hold_ = false;
};

TEST_F(WatchTest, PrintsLinesForPeople) {
  AddReport(0, 1.5);
  *Add().add_events() = AlertEvent(4, v1::SEVERITY_CRITICAL);
  AddReport(1, std::numeric_limits<double>::quiet_NaN());
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  const CliResult result = Cli("watch x --from-beginning");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            R"(      step        loss   grad norm           clip          lr
         0         1.5         2.5            0.4        0.01
         1         NaN         2.5            0.4        0.01
event 4  alert firing (critical): non_finite at step 1, rnn0.weight_hh: 3 NaN
    lower the rate
event 9  running -> succeeded
)");
  EXPECT_EQ(result.err, "");
  EXPECT_TRUE(request_.from_beginning());
}

TEST_F(WatchTest, SaysWhatWasClippedWhereNoCoefficientDoes) {
  struct Case {
    double coefficient;
    int tensors;
    int64_t elements, units;
    const char* text;
  };
  const Case cases[] = {
      {0.4, 2, 0, 0, "0.4"},               // global_norm, autoclip, zclip, adagc in its warm-up
      {1, 2, 0, 0, "2 tensors"},           // tensor_norm, adagc
      {1, 1, 0, 0, "1 tensor"},            //
      {1, 1, 12345, 0, "12345 elements"},  // value, spam
      {1, 2, 0, 30, "30 units"},           // adaptive
      {0.4, 2, 7, 0, "0.4, 7 elements"},   // with an override
  };
  for (const Case& c : cases) {
    AddReport(0, 1.5);
    v1::ClipOutcome& clip = *messages_.back().mutable_reports(0)->mutable_clip();
    clip.set_coefficient(c.coefficient);
    clip.set_tensors_clipped(c.tensors);
    clip.set_elements_clipped(c.elements);
    clip.set_units_clipped(c.units);
  }
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  const CliResult result = Cli("watch x");
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n');
  ASSERT_GE(lines.size(), std::size(cases) + 1) << result.out;
  for (size_t i = 0; i < std::size(cases); ++i) {
    EXPECT_THAT(lines[i + 1], HasSubstr(absl::StrCat(" ", cases[i].text, "        0.01")));
  }
}

TEST_F(WatchTest, OfAJobThatHasEndedAndNothingElseSaysSo) {
  job().set_state(v1::JOB_STATE_FAILED);
  Add().mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
  const CliResult result = Cli("watch x");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "gradwatch: job x has ended (failed); --from-beginning prints what is kept\n");
}

TEST_F(WatchTest, ColoursAlertsOnlyWhereWanted) {
  *Add().add_events() = AlertEvent(4, v1::SEVERITY_CRITICAL);
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Cli("watch x").out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(Cli("watch x --color always").out, HasSubstr("\x1b[31m"));
  io_.out_is_tty = true;
  EXPECT_THAT(Cli("watch x").out, HasSubstr("\x1b[31m"));
  EXPECT_THAT(Cli("watch x --color never").out, Not(HasSubstr("\x1b")));
  environment_["NO_COLOR"] = "1";
  EXPECT_THAT(Cli("watch x").out, Not(HasSubstr("\x1b")));
}

TEST_F(WatchTest, PrintsOneJsonObjectALine) {
  AddReport(0, std::numeric_limits<double>::infinity());
  *Add().add_events() = AlertEvent(4, v1::SEVERITY_WARNING);
  AddEnd(v1::JOB_STATE_FAILED);
  const CliResult result = Cli("watch x -o json");
  EXPECT_EQ(result.exit_code, 1) << "as the job";
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_THAT(lines[0],
              StartsWith(R"({"type":"report","job":"x","attempt":1,"step":0,"loss":"Infinity","grad_norm":2.5,)"
                         R"("learning_rate":0.01,"control_revision":1,)"));
  EXPECT_THAT(lines[0], HasSubstr(R"("clip":{"action":"clipped")"));
  EXPECT_THAT(lines[0], HasSubstr(R"("tensors":{"rnn0.weight_hh":{"tensor":1,"l2_norm":2,)"));
  EXPECT_THAT(lines[1], StartsWith(R"({"type":"event","job":"x","attempt":1,"event":4,"kind":"alert_changed",)"));
  EXPECT_THAT(lines[1], HasSubstr(R"("step":1,"alert":{)"));
  EXPECT_THAT(lines[1], HasSubstr(R"("state":"firing")"));
  EXPECT_THAT(lines[2], HasSubstr(R"("kind":"state_changed")"));
  EXPECT_THAT(lines[2], HasSubstr(R"("from":"running","to":"failed")"));
  EXPECT_EQ(lines[3], R"({"type":"end","job":"x","reason":"terminal","state":"failed","resume_token":"token4"})");
  JsonLines(result.out);
  EXPECT_THAT(Cli("watch x -o yaml").out, StartsWith("--- {\"type\":\"report\""));
}

TEST_F(WatchTest, SendsItsFilters) {
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Cli("watch x --resume abc --every 5 --tensors rnn*").exit_code, 0);
  EXPECT_EQ(request_.resume_token(), "abc");
  EXPECT_EQ(request_.every_steps(), 5);
  EXPECT_THAT(request_.tensors(), ElementsAre("rnn*"));
  EXPECT_EQ(Cli("watch x --from-step 7 --events-only").exit_code, 0);
  EXPECT_EQ(request_.from_step(), 7);
  EXPECT_TRUE(request_.events_only());
}

TEST_F(WatchTest, EndsAtAStepAndSaysHowToGoOn) {
  for (int step = 0; step < 5; ++step) AddReport(step, 1);
  hold_ = true;
  const CliResult result = Cli("watch x --until-step 3 --every 1 --tensors r*");
  hold_ = false;
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("\n         3 "));
  EXPECT_THAT(result.out, Not(HasSubstr("\n         4 ")));
  EXPECT_EQ(result.err, "gradwatch: again with: gradwatch watch x --every 1 --tensors 'r*' --resume token4\n");
}

// It stands behind the report with which the watch ends.
TEST_F(WatchTest, AnAlertOfTheLastStepIsPrintedAndCounts) {
  AddReport(0, 1);
  *Add().add_events() = AlertEvent(4, v1::SEVERITY_CRITICAL);
  v1::WatchJobResponse& message = Add();
  for (int step = 1; step < 4; ++step) *message.add_reports() = Report(step, 1);
  hold_ = true;
  const CliResult result = Cli("watch x --from-beginning --until-step 1");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_LT(result.out.find("\n         1 "), result.out.find("event 4"));
  EXPECT_THAT(result.out, Not(HasSubstr("\n         2 ")));
  EXPECT_EQ(Cli("watch x --from-beginning --until-step 1 --fail-on-alert critical").exit_code, 9);
  EXPECT_THAT(Cli("watch x --from-beginning --until-step 0").out, Not(HasSubstr("event 4")));
  hold_ = false;
}

TEST_F(WatchTest, PrintsNothingThatComesAfterTheStepWhereverAMessageEnds) {
  v1::WatchJobResponse& message = Add();
  for (int step = 0; step < 10; ++step) *message.add_reports() = Report(step, 1);
  *message.add_events() = AlertEvent(4, v1::SEVERITY_INFO);
  message.mutable_events(0)->mutable_alert_changed()->mutable_alert()->set_step(7);
  hold_ = true;
  const CliResult result = Cli("watch x --until-step 3");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("\n         3 "));
  EXPECT_THAT(result.out, Not(HasSubstr("\n         4 ")));
  EXPECT_THAT(result.out, Not(HasSubstr("alert")));
  EXPECT_EQ(result.err, "gradwatch: again with: gradwatch watch x --from-step 4\n");
  EXPECT_THAT(Cli("watch x --until-step 3 -o json").out, HasSubstr(R"("resume_token":"token0"})"))
      << "it must not claim what was not printed";
  // The server sends multiples of --every only.
  const CliResult every = Cli("watch x --until-step 3 --every 2");
  EXPECT_THAT(every.out, HasSubstr("\n         2 "));
  EXPECT_THAT(every.out, Not(HasSubstr("\n         3 ")));
  hold_ = false;
}

v1::ConflatedPoint Point(int first, int last) {
  v1::ConflatedPoint point;
  point.set_attempt(1);
  point.set_first_step(first);
  point.set_last_step(last);
  point.set_loss_min(0.5);
  point.set_loss_max(80);
  point.set_non_finite_steps(first == 2 ? 1 : 0);
  *point.mutable_last() = Report(last, 1);
  return point;
}

TEST_F(WatchTest, RowsOfManyStepsHideNoSpike) {
  v1::WatchJobResponse& message = Add();
  *message.add_points() = Point(0, 1);
  message.mutable_points(0)->clear_last();
  *message.add_points() = Point(2, 3);
  *message.add_events() = AlertEvent(4, v1::SEVERITY_INFO);
  message.mutable_events(0)->mutable_alert_changed()->mutable_alert()->set_step(2);
  message.mutable_events(0)->set_steps_done(2);
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  const CliResult result = Cli("watch x --from-beginning --every 2 --ranges");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(request_.delivery(), v1::WatchJobRequest::DELIVERY_CONFLATED);
  EXPECT_EQ(request_.every_steps(), 2);
  EXPECT_THAT(result.out, HasSubstr("\n         1           -           -              -           -  "
                                    "from step 0: loss 0.5 to 80\n"));
  EXPECT_THAT(result.out, HasSubstr("from step 2: loss 0.5 to 80, 1 step not finite\n"));
  EXPECT_LT(result.out.find("from step 0"), result.out.find("event 4"));
  EXPECT_LT(result.out.find("event 4"), result.out.find("from step 2")) << "an alert stands before its step";
  const CliResult json = Cli("watch x --from-beginning --every 2 --ranges -o json");
  EXPECT_THAT(json.out, HasSubstr(R"({"type":"point","job":"x","attempt":1,"first_step":0,"last_step":1,)"
                                  R"("loss_min":0.5,"loss_max":80,"non_finite_steps":0})"));
  EXPECT_THAT(json.out, HasSubstr(R"("last":{"type":"report","job":"x","attempt":1,"step":3,)"));
}

TEST_F(WatchTest, RangesAreNoReportsOfSingleStepsOrTensors) {
  for (const char* const other : {"--until-step 5", "--tensors r*", "--events-only"}) {
    EXPECT_EQ(Cli(absl::StrCat("watch x --ranges ", other)).exit_code, 2) << other;
  }
}

TEST_F(WatchTest, PrintsNoEventThatHappenedAfterTheStep) {
  v1::Event requested = StateEvent(4, v1::JOB_STATE_RUNNING);
  requested.mutable_adjust_requested()->mutable_adjustment()->set_actor("anna");
  requested.set_steps_done(9);
  *Add().add_events() = requested;  // the log comes first, as from the store
  for (int step = 0; step < 5; ++step) AddReport(step, 1);
  hold_ = true;
  const CliResult reached = Cli("watch x --from-beginning --until-step 3");
  hold_ = false;
  EXPECT_EQ(reached.exit_code, 0);
  EXPECT_THAT(reached.out, HasSubstr("\n         3 "));
  EXPECT_THAT(reached.out, Not(HasSubstr("asked for by")));
  server_.watch_job = [script = server_.watch_job](const v1::WatchJobRequest& request, grpc::ServerContext* context,
                                                   Writer* writer) {
    script(request, context, writer);
    return grpc::Status(grpc::StatusCode::INTERNAL, "broken");
  };
  const CliResult broken = Cli("watch x --from-beginning --until-step 7");
  EXPECT_THAT(broken.out, HasSubstr("\n         4 "));
  EXPECT_THAT(broken.out, Not(HasSubstr("asked for by")));
  EXPECT_THAT(broken.err, HasSubstr("--resume token0")) << "it must not claim what was not printed";
}

TEST_F(WatchTest, AfterTheLastStepThereIsNoOther) {
  v1::WatchJobResponse& message = Add();
  for (int step = 0; step < 10; ++step) *message.add_reports() = Report(step, 1);
  hold_ = true;
  EXPECT_EQ(Cli("watch x --until-step 8").err, "gradwatch: again with: gradwatch watch x --from-step 9\n");
  EXPECT_EQ(Cli("watch x --until-step 9").err, "");
  job().set_state(v1::JOB_STATE_STOPPED);
  job().set_steps_done(10);
  job().mutable_spec()->set_steps(20);
  EXPECT_EQ(Cli("watch x --until-step 9 --from-beginning").err, "") << "it was stopped here";
  job().set_state(v1::JOB_STATE_RUNNING);
  EXPECT_EQ(Cli("watch x --until-step 9").err.find("gradwatch: again with: "), 0u);
  job().mutable_spec()->clear_steps();  // only its trainer knows
  EXPECT_EQ(Cli("watch x --until-step 9").err.find("gradwatch: again with: "), 0u);
  hold_ = false;
}

TEST_F(WatchTest, EndsWhereTheStepIsMissing) {
  AddReport(0, 1);
  AddReport(5, 1);
  hold_ = true;
  const CliResult result = Cli("watch x --until-step 3");
  hold_ = false;
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("\n         0 "));
  EXPECT_THAT(result.out, Not(HasSubstr("\n         5 ")));
}

TEST_F(WatchTest, EndsAsTheJobDoes) {
  const struct {
    v1::JobState state;
    int exit_code;
  } cases[] = {{v1::JOB_STATE_SUCCEEDED, 0}, {v1::JOB_STATE_FAILED, 1}, {v1::JOB_STATE_STOPPED, 8}};
  for (const auto& c : cases) {
    messages_.resize(1);
    AddEnd(c.state);
    EXPECT_EQ(Cli("watch x").exit_code, c.exit_code);
    EXPECT_EQ(Cli("watch x -o json").exit_code, c.exit_code);
  }
  messages_.resize(1);
  Add().mutable_ended()->set_reason(v1::WatchEnded::REASON_DELETED);
  const CliResult deleted = Cli("watch x -o json");
  EXPECT_EQ(deleted.exit_code, 5);
  EXPECT_THAT(deleted.out, HasSubstr(R"("reason":"deleted")"));
  EXPECT_EQ(deleted.err, "gradwatch: job x was deleted\n");
}

TEST_F(WatchTest, HistoryIsToldInTheOrderInWhichItHappened) {
  v1::WatchJobResponse& events = Add();  // the log comes first, as from the store
  *events.add_events() = StateEvent(1, v1::JOB_STATE_RUNNING);
  *events.add_events() = AlertEvent(2, v1::SEVERITY_WARNING);
  *events.add_events() = StateEvent(3, v1::JOB_STATE_SUCCEEDED);
  events.mutable_events(2)->set_steps_done(3);
  AddReport(0, 1);
  AddReport(1, 1);
  AddReport(2, 1);
  Add().mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
  std::string order;
  for (const auto& object : JsonLines(Cli("watch x --from-beginning -o json").out)) {
    const auto& fields = object.fields();
    if (fields.at("type").string_value() == "end") break;
    const auto& number = fields.count("event") > 0 ? fields.at("event") : fields.at("step");
    absl::StrAppend(&order, fields.at("type").string_value(), " ", number.number_value(), ", ");
  }
  EXPECT_EQ(order, "event 1, report 0, report 1, event 2, report 2, event 3, ");
}

TEST_F(WatchTest, WhatIsHeldBackIsPrintedWhenTheWatchIsLeft) {
  *Add().add_events() = StateEvent(3, v1::JOB_STATE_PAUSED);
  messages_.back().mutable_events(0)->set_steps_done(3);
  AddReport(0, 1);
  hold_ = true;
  const CliResult result = CliUntil("\n         0 ", "watch x --from-beginning");
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_THAT(result.out, HasSubstr("event 3  running -> paused\n"));
  EXPECT_THAT(result.err, HasSubstr("--resume token2")) << "all of it was printed";
}

TEST_F(WatchTest, WhatWasNotMeasuredIsNotZero) {
  AddReport(0, 1);
  v1::StepReport* report = messages_.back().mutable_reports(0);
  report->clear_grad_norm();  // not told
  report->clear_tensors();
  AddReport(1, 1);
  report = messages_.back().mutable_reports(0);
  report->clear_grad_norm();  // nothing is finite
  report->set_nan_count(5);
  report->set_neg_inf_count(1);
  report->mutable_tensors(0)->clear_l2_norm();
  report->mutable_tensors(0)->set_nan_count(5);
  AddReport(2, 1);
  messages_.back().mutable_reports(0)->set_nan_count(2);
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  const CliResult result = Cli("watch x --tensors rnn*");
  EXPECT_THAT(result.out, HasSubstr("         0           1           -            0.4        0.01\n"));
  EXPECT_THAT(result.out, HasSubstr("         1           1  not finite            0.4        0.01  NaN 5  -Inf 1\n"));
  EXPECT_THAT(result.out, HasSubstr("rnn0.weight_hh: norm not finite, largest -, NaN 5, +Inf 0, -Inf 0\n"));
  EXPECT_THAT(result.out, HasSubstr("         2           1         2.5            0.4        0.01  NaN 2\n"));
  const auto objects = JsonLines(Cli("watch x -o json").out);
  EXPECT_EQ(objects[0].fields().count("grad_norm"), 0u);
  EXPECT_EQ(objects[2].fields().at("grad_norm").number_value(), 2.5);
  io_.err_is_tty = true;
  io_.now = [now = absl::Now()]() mutable { return now += absl::Seconds(1); };
  const std::string progress = Cli("watch x").err;
  EXPECT_THAT(progress, HasSubstr("norm -  ETA"));
  EXPECT_THAT(progress, HasSubstr("norm not finite (5 NaN, 1 Inf)"));
  EXPECT_THAT(progress, HasSubstr("norm 2.5 (2 NaN)"));
}

TEST_F(WatchTest, ShowsValidations) {
  AddReport(0, 1);
  v1::Validation& validation = *messages_.back().mutable_reports(0)->mutable_validation();
  validation.set_loss(0.5);
  validation.set_targets(100);
  validation.set_accuracy(0.75);
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Cli("watch x").out, HasSubstr("0.01  validation loss 0.5, accuracy 0.75\n"));
  EXPECT_THAT(Cli("watch x -o json").out, HasSubstr(R"("validation":{"loss":0.5,"targets":100,"accuracy":0.75})"));
}

TEST_F(WatchTest, TellsWhatIsLost) {
  v1::WatchJobResponse& message = Add();
  *message.add_reports() = Report(10, 1);
  v1::StatisticsLost& lost = *message.add_lost();
  lost.set_attempt(1);
  lost.set_first_step(0);
  lost.set_last_step(9);
  lost.set_reason("what was stored is damaged");
  v1::Event event = StateEvent(5, v1::JOB_STATE_RUNNING);
  event.mutable_data_loss()->set_description("statistics: attempt 1, steps 0 to 9 are damaged");
  *message.add_events() = event;
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  const CliResult result = Cli("watch x");
  EXPECT_EQ(result.exit_code, 0) << "the job itself went well";
  EXPECT_THAT(result.out, StartsWith("event 5  history is lost: statistics: attempt 1, steps 0 to 9 are damaged\n"
                                     "statistics of attempt 1, steps 0 to 9 are lost: what was stored is damaged\n"
                                     "      step"));
  EXPECT_EQ(result.err,
            "gradwatch: the statistics of 10 steps are lost\n"
            "gradwatch: a part of the job's history is lost; its events \"data_loss\" say which\n");
  const CliResult json = Cli("watch x -o json");
  EXPECT_THAT(json.out, HasSubstr(R"({"type":"lost","job":"x","attempt":1,"first_step":0,"last_step":9,"reason":)"));
  EXPECT_THAT(json.out, HasSubstr(R"("kind":"data_loss")"));
}

TEST_F(WatchTest, TellsThatAJobWasRenamed) {
  v1::Event event = StateEvent(5, v1::JOB_STATE_RUNNING);
  v1::JobUpdated& updated = *event.mutable_job_updated();
  updated.set_display_name("Run\x1b[31m");
  updated.set_actor("anna");
  (*updated.mutable_labels())["team"] = "vision";
  (*updated.mutable_labels())["run"] = "7";
  *Add().add_events() = event;
  event.set_number(6);
  event.mutable_job_updated()->mutable_retention()->set_max_bytes(1 << 20);
  *Add().add_events() = event;
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(
      Cli("watch x").out,
      StartsWith(
          "event 5  job changed by anna: name \"Run\\x1b[31m\", labels run=7, team=vision, kept: the server's "
          "own\n"
          "event 6  job changed by anna: name \"Run\\x1b[31m\", labels run=7, team=vision, kept: 1 MiB, age: the "
          "server's own\n"));
}

TEST_F(WatchTest, SaysThatNoTensorMatches) {
  job().clear_tensors();  // no trainer has attached yet
  server_.get_job = [](const v1::GetJobRequest&, v1::Job* job) {
    job->add_tensors()->set_name("dense0.weight");
    job->add_tensors()->set_name("dense0.bias");
    return grpc::Status::OK;
  };
  AddReport(0, 1);
  AddReport(1, 1);
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Cli("watch x --tensors nosuch* --tensors *.bias").err,
            "gradwatch: no tensor of x matches --tensors 'nosuch*'; its 2 tensors begin with dense0.weight\n");
  EXPECT_THAT(Cli("watch x --tensors dense* -o json").out, HasSubstr(R"("tensors":{"dense0.bias":)"))
      << "names that were not known when the stream began";
}

TEST_F(WatchTest, ATokenOfAnotherHistoryIsToldWithTheWayOut) {
  server_.watch_job = [](const v1::WatchJobRequest&, grpc::ServerContext*, Writer*) {
    return grpc::Status(grpc::StatusCode::OUT_OF_RANGE, "resume_token: it belongs to another data folder");
  };
  const CliResult result = Cli("watch x --resume old --every 5");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err,
            "gradwatch: what is kept: gradwatch watch x --every 5 --from-beginning\n"
            "gradwatch: resume_token: it belongs to another data folder\n");
}

TEST_F(WatchTest, NothingThatCameFromElsewhereMovesTheTerminal) {
  const std::string evil =
      "\x1b]0;owned\x07\xc2\x9b"
      "2J\xe2\x80\xae\n\r";
  v1::Event alert = AlertEvent(4, v1::SEVERITY_CRITICAL);
  alert.mutable_alert_changed()->mutable_alert()->set_rule(evil);
  alert.mutable_alert_changed()->mutable_alert()->set_tensor(evil);
  alert.mutable_alert_changed()->mutable_alert()->set_summary(evil);
  alert.mutable_alert_changed()->mutable_alert()->set_diagnosis(0, evil);
  v1::Event attached = StateEvent(5, v1::JOB_STATE_RUNNING);
  attached.mutable_trainer_attached()->set_trainer(evil);
  attached.mutable_trainer_attached()->set_host(evil);
  attached.mutable_trainer_attached()->set_engine_variant(evil);
  v1::Event adjusted = StateEvent(6, v1::JOB_STATE_RUNNING);
  adjusted.mutable_adjust_requested()->mutable_adjustment()->set_actor(evil);
  adjusted.mutable_adjust_requested()->mutable_adjustment()->add_paths("clip");
  auto& clip = *adjusted.mutable_adjust_requested()->mutable_adjustment()->mutable_values()->mutable_clip();
  clip.add_overrides()->set_tensors(evil);
  v1::Event failed = StateEvent(7, v1::JOB_STATE_FAILED);
  failed.mutable_state_changed()->set_reason(evil);
  for (const v1::Event& event : {alert, attached, adjusted, failed}) *Add().add_events() = event;
  job().mutable_tensors(1)->set_name("rnn" + evil);
  AddReport(0, 1);
  v1::StatisticsLost& lost = *Add().add_lost();
  lost.set_reason(evil);
  Add().mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
  for (const char* form : {"table", "json", "yaml"}) {
    const CliResult result = Cli(absl::StrCat("watch x --tensors rnn* -o ", form));
    EXPECT_THAT(result.out, HasSubstr("owned")) << form;
    for (const char* forbidden : {"\x1b", "\x07", "\r", "\xc2\x9b", "\xe2\x80\xae"}) {
      EXPECT_THAT(result.out, Not(HasSubstr(forbidden))) << form;
    }
  }
  server_.watch_job = [&](const v1::WatchJobRequest&, grpc::ServerContext*, Writer*) {
    return grpc::Status(grpc::StatusCode::INTERNAL, evil);
  };
  EXPECT_EQ(Cli("watch x").err, "gradwatch: \\x1b]0;owned\\x07\\x9b2J\\u202e\\n\\x0d\n");
}

TEST_F(WatchTest, AnAcknowledgementIsNoNewAlert) {
  v1::Event event = AlertEvent(4, v1::SEVERITY_CRITICAL);
  v1::Alert& alert = *event.mutable_alert_changed()->mutable_alert();
  alert.set_acknowledged_by("anna");
  alert.mutable_acknowledge_time()->set_seconds(1);
  alert.set_acknowledge_comment("on it");
  event.mutable_alert_changed()->set_acknowledgement(true);
  *Add().add_events() = event;
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  const CliResult result = Cli("watch x --fail-on-alert info");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, StartsWith("event 4  acknowledged by anna: non_finite at step 1, rnn0.weight_hh "
                                     "(critical, firing): on it\n"));
}

TEST_F(WatchTest, AnAlertThatWasAcknowledgedGoesOnAsAnyOther) {
  v1::Event event = AlertEvent(4, v1::SEVERITY_CRITICAL);
  v1::Alert& alert = *event.mutable_alert_changed()->mutable_alert();
  alert.set_state(v1::ALERT_STATE_PENDING);
  alert.set_acknowledged_by("anna");
  alert.mutable_acknowledge_time()->set_seconds(1);
  event.mutable_alert_changed()->set_acknowledgement(true);
  *Add().add_events() = event;
  event.mutable_alert_changed()->set_acknowledgement(false);
  event.set_number(5);
  alert.set_state(v1::ALERT_STATE_FIRING);
  *Add().add_events() = event;
  event.set_number(6);
  alert.set_state(v1::ALERT_STATE_RESOLVED);
  *Add().add_events() = event;
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  constexpr char kAcknowledged[] =
      "event 4  acknowledged by anna: non_finite at step 1, rnn0.weight_hh (critical, pending)\n";
  constexpr char kFires[] =
      "event 5  alert firing (critical): non_finite at step 1, rnn0.weight_hh: 3 NaN\n    lower the rate\n";
  EXPECT_THAT(Cli("watch x").out,
              StartsWith(absl::StrCat(kAcknowledged, kFires,
                                      "event 6  alert resolved (critical): non_finite at step 1, rnn0.weight_hh: "
                                      "3 NaN\n")));
  const CliResult failed = Cli("watch x --fail-on-alert critical");
  EXPECT_EQ(failed.exit_code, 9);
  EXPECT_EQ(failed.out, absl::StrCat(kAcknowledged, kFires));
  EXPECT_THAT(failed.err, HasSubstr(" --fail-on-alert critical --resume ")) << "what goes on fails on the next one";
}

TEST_F(WatchTest, FailsOnAlertsThatAreBadEnough) {
  *Add().add_events() = AlertEvent(4, v1::SEVERITY_WARNING);
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Cli("watch x --fail-on-alert critical").exit_code, 0);
  EXPECT_EQ(Cli("watch x --fail-on-alert warning").exit_code, 9);
  EXPECT_EQ(Cli("watch x --fail-on-alert info").exit_code, 9);
}

TEST_F(WatchTest, FailsOnWhatFiredBeforeAWatchThatStartsNow) {
  job().set_firing_alerts(1);
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  server_.list_alerts = [](const v1::ListAlertsRequest& request, v1::ListAlertsResponse* response) {
    EXPECT_EQ(request.job_id(), "x");
    EXPECT_THAT(request.states(), ::testing::ElementsAre(v1::ALERT_STATE_FIRING));
    if (request.min_severity() == v1::SEVERITY_CRITICAL) return grpc::Status::OK;
    *response->add_alerts() = AlertEvent(1, v1::SEVERITY_WARNING).alert_changed().alert();
    return grpc::Status::OK;
  };
  const CliResult failed = Cli("watch x --fail-on-alert warning");
  EXPECT_EQ(failed.exit_code, 9);
  EXPECT_THAT(failed.err, HasSubstr("non_finite fires since step "));
  EXPECT_EQ(Cli("watch x --fail-on-alert critical").exit_code, 0);
  EXPECT_EQ(Cli("watch x").exit_code, 0);
  EXPECT_EQ(Cli("watch x --fail-on-alert warning --from-beginning").exit_code, 0) << "its events tell it";
  server_.list_alerts = [](const auto&, auto*) { return gradwatch::testing::NotFound("no list"); };
  const CliResult unread = Cli("watch x --fail-on-alert warning");
  EXPECT_EQ(unread.exit_code, 0);
  EXPECT_THAT(unread.err, HasSubstr("what fires already could not be read: no list"));
}

TEST_F(WatchTest, CtrlCDetachesAndSaysHowToGoOn) {
  AddReport(0, 1);
  hold_ = true;
  const CliResult result = CliUntil("\n         0 ", "watch x");
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_EQ(result.err, "gradwatch: detached; the job goes on; again with: gradwatch watch x --resume token1\n");
}

TEST_F(WatchTest, EndsWhenItsOutputCannotBeWrittenAndResumesBeforeWhatWasLost) {
  AddReport(0, 1);
  AddReport(1, 1);
  hold_ = true;
  // Room for one row.
  class Full : public std::stringbuf {
    int sync() override { return str().find("\n         1 ") == std::string::npos ? 0 : -1; }
  } buffer;
  const CliResult result = RunInto({"watch", "x"}, &buffer, &cancellation_);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err,
            "gradwatch: again with: gradwatch watch x --resume token1\n"
            "gradwatch: cannot write to the standard output\n");
}

TEST_F(WatchTest, AServerThatIsNotThereIsOneLine) {
  server_.Stop();
  const CliResult result = Cli("watch x");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "gradwatch: no server at " + server_.address() + " (connection refused)\n");
}

TEST_F(WatchTest, TellsAboutALostConnectionOnce) {
  std::atomic<int> streams = 0;
  server_.watch_job = [&](const v1::WatchJobRequest& request, grpc::ServerContext*, Writer* writer) {
    v1::WatchJobResponse response = messages_[0];
    response.set_resume_token("t");
    const int stream = ++streams;
    if (stream == 1 || stream == 4) writer->Write(response);
    if (stream < 4) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
    EXPECT_EQ(request.resume_token(), "t");
    response.mutable_started()->mutable_job()->set_state(v1::JOB_STATE_SUCCEEDED);
    response.mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
    writer->Write(response);
    return grpc::Status::OK;
  };
  const CliResult result = Cli("watch x -o json");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err,
            "gradwatch: connection lost (going down); trying again\n"
            "gradwatch: connected again; going on from where it was\n");
}

TEST_F(WatchTest, EndsWithItsTimeout) {
  absl::Time deadline;
  server_.watch_job = [&](const v1::WatchJobRequest&, grpc::ServerContext* context, Writer* writer) {
    deadline = absl::FromChrono(context->deadline());
    messages_[0].set_resume_token("token0");
    writer->Write(messages_[0]);
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");  // as the client's gRPC says
  };
  const absl::Time begin = absl::Now();
  const CliResult result = Cli("watch x --timeout 7200");
  EXPECT_EQ(result.exit_code, 124);
  EXPECT_EQ(result.err,
            "gradwatch: again with: gradwatch watch x --resume token0\n"
            "gradwatch: time is up; --timeout gives more\n");
  EXPECT_GT(deadline, begin + absl::Hours(1));
  EXPECT_LT(deadline, absl::Now() + absl::Hours(3)) << "the server was told none";
  const CliResult json = Cli("watch x --timeout 7200 -o json");
  EXPECT_EQ(json.exit_code, 124);
  EXPECT_EQ(json.out, R"({"type":"end","job":"x","reason":"timeout","state":"running","resume_token":"token0"})"
                      "\n");
}

TEST_F(WatchTest, DrawsProgressOnTerminalsOnlyAndNotTooOften) {
  for (int step = 0; step < 5; ++step) AddReport(step, 1);
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  io_.err_is_tty = true;
  absl::Time now = absl::Now();
  io_.now = [&now] { return now += absl::Milliseconds(40); };
  const CliResult result = Cli("watch x");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("\r\x1b[Kstep 0/10  2 steps/s  loss 1  norm 2.5  ETA 4 s"));
  EXPECT_THAT(result.err, Not(HasSubstr("step 1/10"))) << "not yet";
  EXPECT_THAT(result.err, Not(HasSubstr("step 2/10"))) << "not yet";
  EXPECT_THAT(result.err, HasSubstr("step 3/10"));
  EXPECT_THAT(result.err, ::testing::EndsWith("\r\x1b[K")) << "gone in the end";
}

}  // namespace
}  // namespace gradwatch::cli
