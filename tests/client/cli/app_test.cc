#include "client/cli/app.h"

#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/interrupt.h"
#include "client/cli/output_buffer.h"
#include "client/lib/timestamp.h"
#include "tests/client/cli/cli_fixture.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::CliResult;
using ::gradwatch::testing::CliTest;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

class AppTest : public CliTest {
 protected:
  AppTest() {
    server_.get_job = [](const v1::GetJobRequest& request, v1::Job* job) {
      job->set_job_id(request.job_id());
      return grpc::Status::OK;
    };
  }
};

TEST_F(AppTest, UsageErrorsAreTwo) {
  for (const char* arguments :
       {"", "nonsense", "job", "job nonsense", "job get", "job get a b", "job get x --nonsense", "job get x -o xml",
        "job get x --timeout 0", "job get x --timeout nan", "job get x --color blue", "job get x --server"}) {
    const CliResult result = Cli(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_EQ(result.out, "") << arguments;
    EXPECT_NE(result.err, "") << arguments;
  }
}

TEST_F(AppTest, WhatIsNotExpectedIsToldAsItWasTyped) {
  EXPECT_EQ(Cli("health --address host:1 --fast").err,
            "gradwatch: not expected: --address host:1 --fast\nRun with --help for more information.\n");
  EXPECT_THAT(Cli("job get a b").err, HasSubstr("not expected: b\n"));
}

TEST_F(AppTest, ACommandThatIsNotThereIsNamedWithTheNearestOrAll) {
  const std::pair<const char*, const char*> cases[] = {
      {"sumbit x", R"(no command "sumbit"; did you mean submit?)"},
      {"jobs list", R"(no command "jobs"; did you mean job?)"},
      {"job lst -o json", R"(job: no command "lst"; did you mean list?)"},
      {"help",
       R"(no command "help"; one of submit, job, watch, alerts, clip, adjust, rules, stats, compare, health, version)"},
      {"clip", "clip: a command is required; one of get, set, unset, cancel"},
      {"--fast", "not expected: --fast"},
  };
  for (const auto& [arguments, text] : cases) {
    const CliResult result = Cli(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_EQ(result.err, absl::StrCat("gradwatch: ", text, "\nRun with --help for more information.\n"));
  }
}

TEST_F(AppTest, HelpAndVersionAreData) {
  EXPECT_EQ(Cli("--help").exit_code, 0);
  EXPECT_THAT(Cli("--help").out, HasSubstr("130 Ctrl-C"));
  EXPECT_EQ(Cli("clip set --help").exit_code, 0);
  EXPECT_THAT(Cli("clip set --help").out, HasSubstr("--max-norm"));
  EXPECT_THAT(Cli("--version").out, StartsWith("gradwatch "));
  EXPECT_THAT(Cli("version").out, StartsWith("gradwatch "));
  EXPECT_THAT(Cli("version -o json").out, StartsWith("{\"version\":"));
}

TEST_F(AppTest, GlobalOptionsMayStandAnywhere) {
  EXPECT_THAT(Cli("-o json job get x").out, StartsWith("{\"job_id\":\"x\""));
  EXPECT_THAT(Cli("job -o jsonl get x").out, StartsWith("{\"job_id\":\"x\""));
  EXPECT_THAT(Cli("job get x --output yaml").out, StartsWith("job_id: x\n"));
}

TEST_F(AppTest, OutputThatCannotBeWrittenIsAnError) {
  std::ostream out(nullptr);
  std::ostringstream err;
  io_.out = &out;
  io_.err = &err;
  const ExitCode code = RunApp(
      {"job", "get", "x", "--server", server_.address()}, [](const std::string&) { return ""; }, io_, &cancellation_);
  EXPECT_EQ(static_cast<int>(code), 1);
  EXPECT_EQ(err.str(), "gradwatch: cannot write to the standard output\n");
}

// Of a shell variable that nobody has set: it would mean all tensors, all jobs, or no guard.
TEST_F(AppTest, TextsThatMustSaySomethingMustNotBeEmpty) {
  server_.Stop();
  const std::vector<std::string> cases[] = {
      {"clip", "set", "x", "--max-norm", "1", "--tensors", ""},
      {"clip", "unset", "x", "--tensors", ""},
      {"clip", "set", "x", "--max-norm", "1", "--if-etag", ""},
      {"clip", "cancel", "x", "1", "--if-etag", ""},
      {"adjust", "x", "--lr-scale", "1", "--if-etag", ""},
      {"rules", "apply", "x", "--preset", "none", "--if-etag", ""},
      {"job", "update", "x", "--name", "y", "--if-etag", ""},
      {"job", "delete", "x", "--if-etag", ""},
      {"job", "delete", "x", "--if-uid", ""},
      {"submit", "job.yaml", "--job-id", ""},
      {"watch", "x", "--tensors", "a", "--tensors", ""},
      {"alerts", "list", "--job", ""},
      {"alerts", "watch", "--job", ""},
      {"watch", "x", "--resume", ""},
      {"alerts", "watch", "--resume", ""},
      {"alerts", "list", "--page-token", ""},
      {"alerts", "silences", "--page-token", ""},
      {"job", "list", "--page-token", ""},
      {"alerts", "silence", "--for", "2h", "--comment", "c", "--jobs", ""},
      {"alerts", "silence", "--for", "2h", "--comment", "c", "--rules", ""},
      {"alerts", "silence", "--for", "2h", "--comment", "c", "--tensors", ""},
  };
  for (const std::vector<std::string>& words : cases) {
    const CliResult result = CliWords(words);
    const std::string& option = words[words.size() - 2];
    EXPECT_EQ(result.exit_code, 2) << words[0] << " " << words[1] << " " << option;
    EXPECT_THAT(result.err, StartsWith(absl::StrCat(option, ": is empty\n")));
  }
}

// The reader is gone, and the change holds.
TEST_F(AppTest, WhatWasDoneIsSaidWhereTheAnswerCannotBeWritten) {
  server_.pause_job = [](const v1::PauseJobRequest&, v1::Job* job) {
    job->set_job_id("x");
    job->set_state(v1::JOB_STATE_PAUSING);
    return grpc::Status::OK;
  };
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  {
    OutputBuffer buffer(ends[1], &cancellation_);
    std::ostream out(&buffer);
    std::ostringstream err;
    io_.out = &out;
    io_.err = &err;
    const ExitCode code = RunApp(
        {"job", "pause", "x", "--server", server_.address()}, [](const std::string&) { return ""; }, io_,
        &cancellation_);
    EXPECT_EQ(static_cast<int>(code), 1);
    EXPECT_EQ(err.str(), "gradwatch: cannot write to the standard output; x pausing\n");
  }
  close(ends[1]);
}

TEST_F(AppTest, HelpTellsWhatIsNotPlain) {
  for (const char* command : {"clip set --help", "clip unset --help", "adjust --help", "rules apply --help"}) {
    EXPECT_THAT(Cli(command).out, HasSubstr("Waits until the change holds, for 60 seconds")) << command;
    EXPECT_THAT(Cli(command).out, HasSubstr("it does not wait, unless --wait is given")) << command;
  }
  EXPECT_THAT(Cli("submit --help").out, HasSubstr("a job that a program of yours trains"));
  EXPECT_THAT(Cli("watch --help").out, HasSubstr("also a silenced one"));
  EXPECT_THAT(Cli("job stop --help").out, HasSubstr("of several stops"));
}

TEST_F(AppTest, JobsMayBeCalledLikeCommands) {
  for (const char* name : {"job", "get", "watch", "clip"}) {
    EXPECT_EQ(Cli(std::string("job get ") + name).exit_code, 0) << name;
  }
}

TEST_F(AppTest, ArgumentsThatAreNotUtf8AreBadUsage) {
  for (const char* arguments : {"job get \xff", "watch x --tensors \xc3(", "submit job.yaml --name \xfe"}) {
    const CliResult result = Cli(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_THAT(result.err, MatchesRegex("gradwatch: argument [0-9] is not UTF-8\n"));
  }
}

TEST_F(AppTest, CountsBelowOneAreToldInShort) {
  for (const char* arguments : {"job list --limit 0", "alerts list --limit -1", "watch x --every 0"}) {
    const CliResult result = Cli(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_THAT(result.err, HasSubstr(" is not a whole number above 0\n")) << arguments;
  }
}

// CLI11 would take hexadecimal numbers, and "010" as 8.
TEST_F(AppTest, NumbersAreDecimal) {
  const struct {
    const char* arguments;
    const char* error;
  } cases[] = {
      {"job list --limit 0x10", "\"0x10\" is not a decimal number"},
      {"job list --limit 1_000", "\"1_000\" is not a decimal number"},
      {"job list --limit 5x", "\"5x\" is not a decimal number"},
      {"job list --limit 1.5", "\"1.5\" is not a whole number above 0"},
      {"job list --limit 1e300", "\"1e300\" is too large, at most 2147483647"},
      {"job list --limit 1e400", "\"1e400\" is too large, at most 2147483647"},
      {"job list --limit -1e400", "\"-1e400\" is not a whole number above 0"},
      {"job list --limit 3000000000.5", "\"3000000000.5\" is not a whole number above 0"},
      {"job list --limit 3000000000", "\"3000000000\" is too large, at most 2147483647"},
      {"watch x --from-step 0x1", "\"0x1\" is not a decimal number"},
      {"watch x --until-step -1", "\"-1\" is not the number of a step"},
      {"adjust x --at-step 0x10 --lr-scale 2", "\"0x10\" is not a decimal number"},
      {"clip cancel x 0x10", "\"0x10\" is not a decimal number"},
      {"clip cancel x 0", "\"0\" is not a whole number above 0"},
      {"adjust x --at-step -1 --lr-scale 2", "\"-1\" is not the number of a step"},
      {"adjust x --lr-scale 0x1p3", "\"0x1p3\" is not a decimal number"},
      {"adjust x --lr-scale nan", "\"nan\" is not a decimal number"},
      {"adjust x --lr-scale 1e400", "\"1e400\" is too large for a double"},
      {"adjust x --lr-scale -1e400", "\"-1e400\" is not a finite number above 0"},
      {"adjust x --report-every 0x2", "\"0x2\" is not a decimal number"},
      {"adjust x --gradient-cosine 0x1", "--gradient-cosine"},
      {"adjust x --layer-statistics 1abc", "--layer-statistics"},
      {"clip set x --max-norm 0x8", "\"0x8\" is not a decimal number"},
      {"clip set x --max-value inf", "\"inf\" is not a decimal number"},
      {"clip set x --mode zclip --set alpha=0x1p-1", "found \"0x1p-1\""},
      {"job get x --timeout 0x10", "\"0x10\" is not a decimal number"},
      {"compare x --width 0x50", "\"0x50\" is not a decimal number"},
      {"compare x --height 200", "\"200\" is too large, at most 100"},
      {"alerts silence --for 0x1d --comment c", "\"0x1d\" is not a time"},
  };
  for (const auto& c : cases) {
    const CliResult result = Cli(c.arguments);
    EXPECT_EQ(result.exit_code, 2) << c.arguments;
    EXPECT_THAT(result.err, HasSubstr(c.error)) << c.arguments;
  }
}

TEST_F(AppTest, LeadingZerosAndExponentsAreReadAsInSpecs) {
  const struct {
    const char* text;
    int size;
  } cases[] = {{"010", 10}, {"+7", 7}, {"1e2", 100}, {"5.0", 5}};
  for (const auto& c : cases) {
    int asked = 0;
    server_.list_jobs = [&asked](const v1::ListJobsRequest& request, v1::ListJobsResponse*) {
      asked = request.page_size();
      return grpc::Status::OK;
    };
    EXPECT_EQ(Cli(std::string("job list --limit ") + c.text).exit_code, 0) << c.text;
    EXPECT_EQ(asked, c.size) << c.text;
  }
}

TEST_F(AppTest, ATimeoutIsToldInWords) {
  server_.get_job = [](const v1::GetJobRequest&, v1::Job*) {
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  };
  const CliResult result = Cli("job get x");
  EXPECT_EQ(result.exit_code, 124);
  EXPECT_EQ(result.err, "gradwatch: time is up; --timeout gives more\n");
}

TEST_F(AppTest, TheOptionComesBeforeTheEnvironment) {
  environment_["GRADWATCH_SERVER"] = "unix:/nonexistent/environment";
  EXPECT_THAT(Cli("job get x").err, HasSubstr("unix:/nonexistent/environment"));
  EXPECT_THAT(Cli("job get x --server unix:/nonexistent/option").err, HasSubstr("unix:/nonexistent/option"));
  EXPECT_EQ(Cli("--server " + server_.address() + " job get x").exit_code, 0);
}

TEST_F(AppTest, HealthSaysWhetherTheServerServes) {
  server_.get_server_info = [](const v1::GetServerInfoRequest&, v1::ServerInfo* info) {
    info->set_version("1.2.3");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Cli("health").exit_code, 0);
  EXPECT_THAT(Cli("health").out, HasSubstr("serves, version 1.2.3"));
  EXPECT_THAT(Cli("health -o json").out, HasSubstr("\"status\":\"serving\",\"version\":\"1.2.3\""));
  server_.SetServing(false);
  EXPECT_EQ(Cli("health").exit_code, 3);
  server_.Stop();
  EXPECT_EQ(Cli("health").exit_code, 3);
}

TEST(InterruptDeathTest, ASignalCancels) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        client::Cancellation cancellation;
        Interrupt interrupt(&cancellation);
        kill(getpid(), SIGINT);
        const bool cut = !cancellation.Wait(absl::Minutes(1));
        std::_Exit(cut ? 17 : 1);
      },
      ::testing::ExitedWithCode(17), "");
}

TEST(InterruptDeathTest, EndsWithoutASignal) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        client::Cancellation cancellation;
        { Interrupt interrupt(&cancellation); }
        std::_Exit(cancellation.cancelled() ? 1 : 17);
      },
      ::testing::ExitedWithCode(17), "");
}

}  // namespace
}  // namespace gradwatch::cli
