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
                                "x --fail-on-alert terrible", "x --until-step 3 --events-only", "x y"}) {
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
event 4  alert firing (critical): non_finite at step 1, rnn0.weight_hh: 3 NaN
    lower the rate
         1         NaN         2.5            0.4        0.01
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
  messages_[0].mutable_started()->mutable_job()->set_state(v1::JOB_STATE_FAILED);
  Add().mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
  const CliResult result = Cli("watch x");
  EXPECT_EQ(result.exit_code, 0);
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
  EXPECT_EQ(result.exit_code, 0) << "the watch went well, whatever became of the job";
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

TEST_F(WatchTest, FailsOnAlertsThatAreBadEnough) {
  *Add().add_events() = AlertEvent(4, v1::SEVERITY_WARNING);
  AddEnd(v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Cli("watch x --fail-on-alert critical").exit_code, 0);
  EXPECT_EQ(Cli("watch x --fail-on-alert warning").exit_code, 9);
  EXPECT_EQ(Cli("watch x --fail-on-alert info").exit_code, 9);
}

// Calls `Cancel` when the given text is written: the user who presses Ctrl-C when something was seen.
class CancelAfter : public std::stringbuf {
 public:
  CancelAfter(std::string text, client::Cancellation* cancellation)
      : text_(std::move(text)), cancellation_(cancellation) {}

 protected:
  int sync() override {
    if (str().find(text_) != std::string::npos) cancellation_->Cancel();
    return 0;
  }

 private:
  const std::string text_;
  client::Cancellation* const cancellation_;
};

TEST_F(WatchTest, CtrlCDetachesAndSaysHowToGoOn) {
  AddReport(0, 1);
  hold_ = true;
  CancelAfter buffer("\n         0 ", &cancellation_);
  std::ostream out(&buffer);
  std::ostringstream err;
  io_.out = &out;
  io_.err = &err;
  const ExitCode code = RunApp(
      {"watch", "x", "--server", server_.address()}, [](const std::string&) { return ""; }, io_, &cancellation_);
  EXPECT_EQ(static_cast<int>(code), 130);
  EXPECT_EQ(err.str(), "gradwatch: detached; the job goes on; again with: gradwatch watch x --resume token1\n");
}

TEST_F(WatchTest, EndsWhenItsOutputCannotBeWrittenAndResumesBeforeWhatWasLost) {
  AddReport(0, 1);
  AddReport(1, 1);
  hold_ = true;
  // Room for one row.
  class Full : public std::stringbuf {
    int sync() override { return str().find("\n         1 ") == std::string::npos ? 0 : -1; }
  } buffer;
  std::ostream out(&buffer);
  std::ostringstream err;
  io_.out = &out;
  io_.err = &err;
  const ExitCode code = RunApp(
      {"watch", "x", "--server", server_.address()}, [](const std::string&) { return ""; }, io_, &cancellation_);
  EXPECT_EQ(static_cast<int>(code), 1);
  EXPECT_EQ(err.str(),
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
    response.mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
    writer->Write(response);
    return grpc::Status::OK;
  };
  const CliResult result = Cli("watch x");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err,
            "gradwatch: connection lost (going down); trying again\ngradwatch: connected again; nothing was missed\n");
}

TEST_F(WatchTest, EndsWithItsTimeout) {
  hold_ = true;
  const CliResult result = Cli("watch x --timeout 0.3");
  hold_ = false;
  EXPECT_EQ(result.exit_code, 124);
  EXPECT_THAT(result.err, HasSubstr("--resume token0"));
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
