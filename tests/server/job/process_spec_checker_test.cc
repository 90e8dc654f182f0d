// Checks of specs by processes: real ones, and scripts that behave badly.
#include "server/job/process_spec_checker.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "core/base/error.h"
#include "tests/server/job/process_testing.h"
#include "tests/support/long_wait.h"
#include "tests/support/process.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Not;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
constexpr char kWorker[] = GRADWATCH_BINARY_DIR "/bin/gradwatch-worker";

// What one check was answered.
class Answer {
 public:
  SpecChecker::Done Callback() {
    return [this](absl::StatusOr<core::ValidatedJob> answer) {
      answer_ = std::move(answer);
      answered_.Notify();
    };
  }
  const absl::StatusOr<core::ValidatedJob>& Await() {
    EXPECT_TRUE(answered_.WaitForNotificationWithTimeout(testing::kLongWait));
    return answer_;
  }
  bool is_there() const { return answered_.HasBeenNotified(); }

 private:
  absl::StatusOr<core::ValidatedJob> answer_ = absl::UnknownError("no answer");
  absl::Notification answered_;
};

class ProcessSpecCheckerTest : public ::testing::Test {
 protected:
  ProcessSpecCheckerTest() : roots_(*core::DataRoots::Create({dir_.path()})) {
    dir_.Write("table.csv", "x,y\n1,2\n2,4\n3,5\n");
    spec_.set_steps(10);
    spec_.mutable_model()->add_layers()->mutable_dense()->set_units(1);
    spec_.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_SQUARED_ERROR);
    spec_.mutable_data()->set_batch_size(1);
    spec_.mutable_data()->mutable_csv()->set_path("table.csv");
    spec_.mutable_data()->mutable_csv()->add_inputs("x");
    spec_.mutable_data()->mutable_csv()->add_targets("y");
    spec_.mutable_optimizer()->set_learning_rate(0.1);
  }

  std::unique_ptr<ProcessSpecChecker> MakeChecker(ProcessSpecCheckerOptions options) {
    options.data_roots = roots_;
    auto checker = ProcessSpecChecker::Create(std::move(options));
    EXPECT_THAT(checker, IsOk());
    return *std::move(checker);
  }
  // Each script has a file of its own: a shell may not have read an earlier one yet.
  ProcessSpecCheckerOptions Script(const std::string& script) {
    return {.program = "/bin/sh", .prefix = {dir_.Write(absl::StrCat("script", ++scripts_), script)}};
  }
  absl::StatusOr<core::ValidatedJob> Check(ProcessSpecCheckerOptions options) {
    const auto checker = MakeChecker(std::move(options));
    Answer answer;
    checker->Check(spec_, answer.Callback());
    return answer.Await();
  }
  std::string Read(const std::string& name) const {
    std::ifstream file(dir_.File(name), std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(file)), {});
  }

  TempDir dir_;
  core::DataRoots roots_;
  v1::JobSpec spec_;
  int scripts_ = 0;
};

TEST_F(ProcessSpecCheckerTest, AnswersAsValidateJobDoes) {
  const auto checked = Check({.program = kWorker});
  ASSERT_THAT(checked, IsOk());
  EXPECT_EQ(checked->estimate.parameters(), 2);
  EXPECT_EQ(checked->spec.threads(), 1);
  EXPECT_EQ(checked->spec.data().csv().header(), v1::CsvData::HEADER_YES);
  spec_.mutable_data()->mutable_csv()->set_inputs(0, "z");
  EXPECT_EQ(Check({.program = kWorker}).status(), core::ValidateJob(spec_, roots_, core::SpecLimits()).status());
  spec_.mutable_data()->mutable_csv()->set_path("absent.csv");
  EXPECT_THAT(Check({.program = kWorker}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("data.csv.path: absent.csv")));
}

TEST_F(ProcessSpecCheckerTest, WithoutFilesNoProcessIsStarted) {
  spec_.mutable_data()->mutable_spirals();
  spec_.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY);
  spec_.mutable_model()->mutable_layers(0)->mutable_dense()->set_units(2);
  EXPECT_THAT(Check(Script("exit 1")), IsOk());
  ProcessSpecCheckerOptions large = Script("exit 1");
  large.max_in_place_bytes = 10;
  EXPECT_THAT(Check(large), StatusIs(absl::StatusCode::kUnknown, "the check gave no answer: ended with exit code 1"));
}

TEST_F(ProcessSpecCheckerTest, ItsCommandLineNamesNoFile) {
  EXPECT_THAT(Check(Script(absl::StrCat("echo \"$@\" >", dir_.File("arguments"), "; exec ", kWorker, " \"$@\""))),
              IsOk());
  EXPECT_EQ(Read("arguments"), "check --max-bytes 1073741824 --max-seconds 30\n");
}

TEST_F(ProcessSpecCheckerTest, TakingTooLongIsToldWithTheFile) {
  const std::string before = Children();
  ProcessSpecCheckerOptions options = Script("sleep 1000");
  options.max_time = absl::Milliseconds(100);
  const absl::Status status = Check(options).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                               "data.csv.path: table.csv: checking it took more than 100ms"));
  EXPECT_EQ(core::GetReason(status), "CHECK_LIMIT");
  EXPECT_EQ(core::GetFieldViolations(status)[0].field, "data.csv.path");
  EXPECT_EQ(Children(), before) << "a child that nobody reaped";
  EXPECT_THAT(Check(Script("kill -XCPU $$")),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "data.csv.path: table.csv: checking it took more than 30s of processor time"));
}

TEST_F(ProcessSpecCheckerTest, AMachineThatTrainsHasTimeForItsWork) {
  // Beside a trainer on every core a nice process waits for most of its time.
  const ProcessSpecCheckerOptions options;
  EXPECT_GE(options.max_time, 4 * options.max_work);
  ProcessSpecCheckerOptions script =
      Script(absl::StrCat("echo \"$@\" >", dir_.File("arguments"), "; exec ", kWorker, " \"$@\""));
  script.max_time = absl::Hours(1);
  EXPECT_THAT(Check(script), IsOk());
  EXPECT_THAT(Read("arguments"), HasSubstr("--max-seconds 30\n")) << "more time is not more work";
}

TEST_F(ProcessSpecCheckerTest, TakingTooMuchMemoryIsToldWithTheFile) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer has memory of its own";
  const absl::Status status = Check({.program = kWorker, .max_bytes = 1 << 20}).status();
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("data.csv.path: table.csv: not enough memory")));
  EXPECT_EQ(core::GetReason(status), "OUT_OF_MEMORY");
}

TEST_F(ProcessSpecCheckerTest, ACrashIsTold) {
  const absl::Status crash = Check(Script("kill -SEGV $$")).status();
  EXPECT_THAT(crash, StatusIs(absl::StatusCode::kUnknown,
                              "data.csv.path: table.csv: the check gave no answer: killed by signal 11 (SIGSEGV)"));
  EXPECT_EQ(core::GetReason(crash), "CHECK_FAILED");
  const absl::Status words = Check(Script("printf 'loading\\n\\033[31mno library' >&2; exit 127")).status();
  EXPECT_THAT(words.message(), HasSubstr("ended with exit code 127: \\x1b[31mno library"));
  EXPECT_THAT(Check(Script("echo nonsense")), StatusIs(absl::StatusCode::kUnknown, HasSubstr("gave no answer")));
}

TEST_F(ProcessSpecCheckerTest, AtMostTwoRunAtOnceAndTheFirstComesFirst) {
  const auto checker = MakeChecker(Script(
      absl::StrCat("echo begins >>", dir_.File("log"), "; ", kWorker, " \"$@\"; echo ends >>", dir_.File("log"))));
  constexpr int kMany = 7;
  Answer answers[kMany];
  for (Answer& answer : answers) checker->Check(spec_, answer.Callback());
  for (Answer& answer : answers) EXPECT_THAT(answer.Await(), IsOk());
  int running = 0, begun = 0;
  for (const auto line : absl::StrSplit(Read("log"), '\n', absl::SkipEmpty())) {
    running += line == "begins" ? 1 : -1;
    begun += line == "begins";
    EXPECT_LE(running, 2);
  }
  EXPECT_EQ(begun, kMany);
}

TEST_F(ProcessSpecCheckerTest, OneAfterTheOtherInTheOrderInWhichTheyCame) {
  ProcessSpecCheckerOptions options = {.program = kWorker};
  options.max_running = 1;
  const auto checker = MakeChecker(options);
  Answer answers[4];
  for (Answer& answer : answers) checker->Check(spec_, answer.Callback());
  for (int i = 3; i > 0; --i) {
    EXPECT_THAT(answers[i].Await(), IsOk());
    EXPECT_TRUE(answers[i - 1].is_there());
  }
}

TEST_F(ProcessSpecCheckerTest, WhoeverCannotWaitIsToldAtOnceAndWhoeverWaitsAtTheEnd) {
  const std::string before = Children();
  ProcessSpecCheckerOptions options = Script(absl::StrCat("echo >", dir_.File("runs"), "; sleep 1000"));
  options.max_running = 1;
  options.max_waiting = 2;
  constexpr int kMany = 10;
  Answer answers[kMany];
  auto checker = MakeChecker(options);
  checker->Check(spec_, answers[0].Callback());
  ASSERT_TRUE(testing::WaitForFile(dir_.File("runs"), testing::kLongWait));
  // From here on the first one runs, two wait, and nobody else has a place.
  for (int i = 1; i < kMany; ++i) {
    checker->Check(spec_, answers[i].Callback());
    EXPECT_EQ(answers[i].is_there(), i > 2) << i;
    if (i <= 2) continue;
    EXPECT_THAT(answers[i].Await(),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("2 checks of data files wait already")));
  }
  checker = nullptr;
  EXPECT_THAT(answers[0].Await(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("shutting down")));
  for (Answer& answer : answers) EXPECT_TRUE(answer.is_there());
  EXPECT_EQ(Children(), before) << "a child that nobody reaped";
}

TEST_F(ProcessSpecCheckerTest, WhatNobodyWaitsForAnyMoreIsNotChecked) {
  ProcessSpecCheckerOptions options = Script("sleep 1000");
  options.max_running = 1;
  options.max_time = absl::Milliseconds(200);
  options.max_wait = absl::Milliseconds(100);
  const auto checker = MakeChecker(options);
  Answer first, second;
  checker->Check(spec_, first.Callback());
  checker->Check(spec_, second.Callback());
  EXPECT_THAT(first.Await(), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("took more than")));
  EXPECT_THAT(second.Await(), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("waited too long")));
  EXPECT_EQ(core::GetReason(second.Await().status()), "CHECKS_WAITING");
}

TEST_F(ProcessSpecCheckerTest, WhatCannotBeStartedIsTold) {
  EXPECT_THAT(ProcessSpecChecker::Create({.program = "/no/such/worker"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/no/such/worker")));
  const std::string program = dir_.File("worker");
  std::filesystem::copy_file("/bin/sh", program);
  const auto checker = MakeChecker({.program = program});
  std::filesystem::remove(program);
  Answer answer;
  checker->Check(spec_, answer.Callback());
  EXPECT_THAT(answer.Await(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(program)));
}

TEST_F(ProcessSpecCheckerTest, WithoutDescriptorsItIsToldAndGoesOnLater) {
  const auto checker = MakeChecker({.program = kWorker});
  Answer refused, answered;
  {
    const FullDescriptorTable full;
    checker->Check(spec_, refused.Callback());
    EXPECT_THAT(refused.Await(), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("Too many open files")));
  }
  checker->Check(spec_, answered.Callback());
  EXPECT_THAT(answered.Await(), IsOk());
}

// What a data file or a path can do to a check: nothing but an error.
TEST_F(ProcessSpecCheckerTest, WhatIsNoFileIsRefused) {
  std::filesystem::create_directory(dir_.File("folder"));
  std::filesystem::create_symlink("/etc/passwd", dir_.File("link"));
  ASSERT_EQ(mkfifo(dir_.File("pipe").c_str(), 0600), 0);
  const auto checker = MakeChecker({.program = kWorker});
  for (const char* path : {"folder", "link", "pipe", "/dev/zero", "../x"}) {
    spec_.mutable_data()->mutable_csv()->set_path(path);
    Answer answer;
    checker->Check(spec_, answer.Callback());
    EXPECT_THAT(answer.Await(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(absl::StrCat("data.csv.path: ", path))))
        << path;
  }
  dir_.Write("escape.csv", "x,y\n1,\x1b[31mred\n");
  spec_.mutable_data()->mutable_csv()->set_path("escape.csv");
  Answer answer;
  checker->Check(spec_, answer.Callback());
  EXPECT_THAT(std::string(answer.Await().status().message()), Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace gradwatch::server
