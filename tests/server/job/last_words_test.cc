// What trainers left in files, because the server was not there at the end of their runs.
#include "server/job/last_words.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/base/last_words_file.h"
#include "tests/server/job/job_manager_fixture.h"
#include "tests/server/store/faulty_vfs.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class LastWordsTest : public JobManagerTest {
 protected:
  static constexpr int32_t kPid = 1001;

  void SetUp() override {
    options_.words_folder = dir_.File("words");
    std::filesystem::create_directory(options_.words_folder);
    JobManagerTest::SetUp();
    ASSERT_THAT(Create("job"), IsOk());
    trainer_ = AttachReady("job");
    Report(trainer_, 0, 9);
    hello_ = Hello("job");
    epoch_ = trainer_.attachment->epoch;
  }

  // The messages of a run that goes on for 20 steps and ends; notices from the second on, as the first is known.
  void SayAlert(v1::AlertState state, int64_t steps_done) {
    v1::Notice notice;
    notice.mutable_alert()->set_alert_id(absl::StrCat(Get("job").uid(), "/1/rule/1"));
    notice.mutable_alert()->set_job_id("job");
    notice.mutable_alert()->set_attempt(1);
    notice.mutable_alert()->set_rule("rule");
    notice.mutable_alert()->set_episode(1);
    notice.mutable_alert()->set_severity(v1::SEVERITY_WARNING);
    notice.mutable_alert()->set_state(state);
    SayNotice(std::move(notice), steps_done);
  }
  void SayNotice(v1::Notice notice, int64_t steps_done) {
    v1::TrainerMessage& message = messages_.emplace_back();
    notice.set_number(++notices_);
    notice.set_steps_done(steps_done);
    message.mutable_notices()->set_epoch(epoch_);
    *message.mutable_notices()->add_notices() = std::move(notice);
  }
  void SayReports(int64_t first, int64_t last) {
    v1::TrainerMessage& message = messages_.emplace_back();
    *message.mutable_reports() = Reports(first, last);
    message.mutable_reports()->set_epoch(epoch_);
  }
  void SayFinished(v1::JobState state = v1::JOB_STATE_SUCCEEDED) {
    v1::Notice notice;
    notice.mutable_finished()->set_state(state);
    SayNotice(std::move(notice), 30);
  }
  void SayAll() {
    SayAlert(v1::ALERT_STATE_FIRING, 12);
    SayAlert(v1::ALERT_STATE_RESOLVED, 14);
    SayReports(5, 19);  // some of it has arrived
    SayReports(20, 29);
    SayFinished();
  }

  std::string WordsFile() { return LastWordsFile(options_.words_folder, Get("job").uid(), 1); }
  void Leave() {
    auto file = core::LastWordsWriter::Create(WordsFile(), 0);
    ASSERT_THAT(file, IsOk());
    v1::TrainerMessage first;
    *first.mutable_hello() = hello_;
    ASSERT_THAT(file->Add(first), IsOk());
    for (const v1::TrainerMessage& message : messages_) ASSERT_THAT(file->Add(message), IsOk());
    ASSERT_THAT(file->Finish(), IsOk());
  }
  std::string FileBytes() {
    std::ifstream file(WordsFile(), std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(file)), {});
  }
  void PutFile(const std::string& bytes) { std::ofstream(WordsFile(), std::ios::binary) << bytes; }

  // The server is killed, and finds at its restart that the process has ended.
  void RestartBehindTheTrainer() {
    StopServer();
    OpenStores();
    launcher_->gone = true;
    MakeManager();
    jobs_->Start();
    Settle();
    Settle();
  }
  // The stream and the process end while the server is there.
  void EndTrainer() {
    Detach(trainer_);
    launcher_->End(kPid, {.exit_code = 0, .signal = 0, .unknown = false, .last_output = {}});
    Settle();
    Settle();
  }
  std::vector<std::string> Losses() {
    std::vector<std::string> losses;
    for (const std::string& line : Log("job")) {
      if (line.find("last words") != std::string::npos) losses.push_back(line);
    }
    return losses;
  }
  // All that SayAll says is known, each once.
  void ExpectAll() {
    EXPECT_EQ(State("job"), "SUCCEEDED");
    EXPECT_EQ(Get("job").steps_done(), 30);
    EXPECT_EQ(Get("job").fired_alerts(), 1);
    EXPECT_EQ(Get("job").firing_alerts(), 0);
    std::vector<int64_t> steps(30);
    for (size_t i = 0; i < steps.size(); ++i) steps[i] = static_cast<int64_t>(i);
    EXPECT_EQ(StoredSteps("job"), steps);
    const auto log = Log("job");
    EXPECT_EQ(std::count(log.begin(), log.end(), "FIRING rule"), 1);
    EXPECT_EQ(std::count(log.begin(), log.end(), "RESOLVED rule"), 1);
    EXPECT_EQ(std::count(log.begin(), log.end(), "SUCCEEDED"), 1);
    EXPECT_FALSE(std::filesystem::exists(WordsFile())) << "what was heard is removed";
  }

  Trainer trainer_;
  v1::TrainerHello hello_;
  int64_t epoch_ = 0;
  int64_t notices_ = 1;
  std::vector<v1::TrainerMessage> messages_;
};

TEST_F(LastWordsTest, AJobThatSucceededWhileTheServerWasAwayHasSucceeded) {
  SayAll();
  Leave();
  RestartBehindTheTrainer();
  ExpectAll();
  EXPECT_THAT(Losses(), IsEmpty());
}

TEST_F(LastWordsTest, AreHeardTooWhenTheServerWasThereButTookNothing) {
  SayAll();
  Leave();
  EndTrainer();
  ExpectAll();
}

TEST_F(LastWordsTest, AStopAndAFailureAreWhatTheTrainerSaid) {
  v1::Notice notice;
  notice.mutable_finished()->set_state(v1::JOB_STATE_FAILED);
  notice.mutable_finished()->set_failure("the loss is not finite");
  SayNotice(notice, 10);
  Leave();
  RestartBehindTheTrainer();
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_EQ(Get("job").failure(), "the loss is not finite");
}

TEST_F(LastWordsTest, ChangesOfControlsHoldFromTheirSteps) {
  const auto adjusted = Adjust(ScaleRequest("job", 0.5));
  ASSERT_THAT(adjusted, IsOk());
  v1::Notice notice;
  notice.mutable_controls_applied()->set_edit(adjusted->adjustment().edit());
  notice.mutable_controls_applied()->set_revision(2);
  notice.mutable_controls_applied()->set_effective_step(15);
  SayNotice(notice, 15);
  SayReports(10, 29);
  SayFinished();
  Leave();
  RestartBehindTheTrainer();
  EXPECT_EQ(State("job"), "SUCCEEDED");
  EXPECT_EQ(Get("job").applied_revision(), 2);
  EXPECT_THAT(Log("job"), Contains(HasSubstr("adjusted")));
}

TEST_F(LastWordsTest, WithoutThemNothingIsKnownOfTheEnd) {
  RestartBehindTheTrainer();
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_THAT(Losses(), IsEmpty());
}

TEST_F(LastWordsTest, ThatDoNotTellTheEndAreHeardAllTheSame) {
  SayAlert(v1::ALERT_STATE_FIRING, 12);
  SayReports(10, 19);
  Leave();
  RestartBehindTheTrainer();
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_EQ(Get("job").fired_alerts(), 1);
  EXPECT_THAT(StoredSteps("job"), SizeIs(20));
}

// The disk is full when they are heard, at any of the two stores, and the server is killed in the middle of it.
TEST_F(LastWordsTest, WhatCannotBeStoredIsHeardLaterAndNobodysEndIsGuessed) {
  SayAll();
  Leave();
  statistics_->full = true;
  EndTrainer();
  EXPECT_THAT(State("job"), Not(::testing::AnyOf("FAILED", "SUCCEEDED")));
  EXPECT_EQ(Get("job").fired_alerts(), 1) << "notices before the reports are heard";
  for (int second = 0; second < 40; ++second) Pass(absl::Seconds(1));
  EXPECT_THAT(State("job"), Not(::testing::AnyOf("FAILED", "SUCCEEDED"))) << "however long it takes";
  statistics_->full = false;
  for (int second = 0; second < 62; ++second) Pass(absl::Seconds(1));  // what failed is left alone for a while
  ExpectAll();
}

TEST_F(LastWordsTest, AKillInTheMiddleLosesNothingAndDoublesNothing) {
  SayAll();
  Leave();
  statistics_->full = true;
  EndTrainer();
  EXPECT_EQ(Get("job").fired_alerts(), 1);
  RestartBehindTheTrainer();  // with another disk
  ExpectAll();
}

TEST_F(LastWordsTest, ThatAreThereTwiceAreHeardOnce) {
  SayAll();
  Leave();
  const std::string bytes = FileBytes();
  RestartBehindTheTrainer();
  ExpectAll();
  const auto log = Log("job");
  PutFile(bytes);  // the kill came before the file was removed
  RestartServer();
  EXPECT_EQ(Log("job"), log);
  EXPECT_FALSE(std::filesystem::exists(WordsFile())) << "of a job that has ended";
}

TEST_F(LastWordsTest, OfAnotherTrainerAreNotTaken) {
  const struct {
    const char* what;
    void (*change)(v1::TrainerHello& hello);
  } cases[] = {
      {"job", [](v1::TrainerHello& hello) { hello.set_job_id("other"); }},
      {"attempt", [](v1::TrainerHello& hello) { hello.set_attempt(2); }},
      {"token", [](v1::TrainerHello& hello) { hello.set_attach_token("guessed"); }},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    StopServer();
    for (const char* name : {"words", "statistics", "main.sqlite", "main.sqlite-wal", "main.sqlite-shm"}) {
      std::filesystem::remove_all(dir_.File(name));
    }
    messages_.clear();
    notices_ = 1;
    SetUp();
    SayAll();
    c.change(hello_);
    Leave();
    EndTrainer();
    EXPECT_EQ(State("job"), "FAILED");
    EXPECT_EQ(Get("job").fired_alerts(), 0);
    EXPECT_THAT(StoredSteps("job"), SizeIs(10));
    EXPECT_THAT(Losses(), SizeIs(1));
    EXPECT_THAT(Losses(), Each(HasSubstr("another trainer")));
  }
}

TEST_F(LastWordsTest, OfAnotherTenureAreNotTaken) {
  SayAlert(v1::ALERT_STATE_FIRING, 12);
  ++epoch_;
  SayReports(10, 29);
  SayFinished();
  Leave();
  EndTrainer();
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_EQ(Get("job").fired_alerts(), 1) << "what came before holds";
  EXPECT_THAT(StoredSteps("job"), SizeIs(10));
  EXPECT_THAT(Losses(), Each(HasSubstr("tenure")));
  EXPECT_THAT(Losses(), SizeIs(1));
}

TEST_F(LastWordsTest, ThatNoTrainerMaySayEndThereAndAreTold) {
  SayAlert(v1::ALERT_STATE_FIRING, 12);
  SayReports(995, 1005);  // the job has 1,000 steps
  SayFinished();
  Leave();
  EndTrainer();
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_EQ(Get("job").fired_alerts(), 1);
  EXPECT_THAT(Losses(), SizeIs(1));
}

TEST_F(LastWordsTest, WhatIsGoodOfADamagedFileIsUsedAndTheDamageIsTold) {
  SayAlert(v1::ALERT_STATE_FIRING, 12);
  SayReports(10, 19);
  SayFinished();
  Leave();
  const std::string bytes = FileBytes();
  PutFile(bytes.substr(0, bytes.size() - 12));  // into the last message
  EndTrainer();
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_EQ(Get("job").fired_alerts(), 1);
  EXPECT_THAT(StoredSteps("job"), SizeIs(20));
  EXPECT_THAT(Losses(), SizeIs(1));
  EXPECT_THAT(Losses(), Each(HasSubstr("cut off")));
}

TEST_F(LastWordsTest, DamageBehindTheEndOfTheJobChangesNothingOfIt) {
  SayReports(10, 29);
  SayFinished();
  Leave();
  std::string bytes = FileBytes();
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  PutFile(bytes);
  EndTrainer();
  EXPECT_EQ(State("job"), "SUCCEEDED");
  EXPECT_THAT(Losses(), SizeIs(1));
}

TEST_F(LastWordsTest, ThoseThatNobodyNeedsAreRemovedAtTheStart) {
  Trainer& trainer = trainer_;
  JobManagerTest::SayFinished(trainer, v1::JOB_STATE_SUCCEEDED);
  const std::string ended = WordsFile();
  const std::string unknown = LastWordsFile(options_.words_folder, "00000000-0000-4000-8000-000000000000", 1);
  const std::string other = options_.words_folder + "/notes";
  for (const std::string& file : {ended, ended + ".part", unknown, other}) std::ofstream(file) << "words";
  RestartServer();
  EXPECT_FALSE(std::filesystem::exists(ended));
  EXPECT_FALSE(std::filesystem::exists(ended + ".part"));
  EXPECT_TRUE(std::filesystem::exists(unknown)) << "the ledger may be older than it";
  EXPECT_TRUE(std::filesystem::exists(other));
}

TEST_F(LastWordsTest, ThatNobodyMayOpenAreDamaged) {
  std::filesystem::create_symlink("/etc/hostname", WordsFile());
  EndTrainer();
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_THAT(Losses(), SizeIs(1));
}

TEST_F(LastWordsTest, AStopEndsTheWaitForWhatCannotBeStored) {
  SayAll();
  Leave();
  statistics_->full = true;
  EndTrainer();
  Pass(absl::Seconds(5));
  EXPECT_EQ(State("job"), "RECOVERING") << "nobody trains";
  ASSERT_THAT(Stop("job", 10), IsOk());
  Pass(absl::Seconds(20));
  EXPECT_EQ(State("job"), "STOPPING") << "there is time to read them";
  Pass(absl::Seconds(12));
  EXPECT_EQ(State("job"), "STOPPED");
  Pass(absl::Seconds(62));
  EXPECT_THAT(Losses(), SizeIs(1));
  EXPECT_THAT(Losses(), Each(HasSubstr("before the job ended")));
  EXPECT_FALSE(std::filesystem::exists(WordsFile()));
}

// A deletion that is not stored stands in one commit with the word that nothing is left.
TEST_F(LastWordsTest, ThatAreNoneEndTheJobAlsoBehindADeletionThatFails) {
  FaultyVfs vfs;
  RestartServer();
  executor_.Hold();
  launcher_->End(kPid, {.exit_code = 3, .signal = 0, .unknown = false, .last_output = {}});
  Settle();
  v1::DeleteJobRequest request;
  request.set_job_id("job");
  request.set_force(true);
  FaultyVfs::full = true;
  absl::Notification answered;
  InOneCommit([&] {
    jobs_->DeleteJob(request, "tester", [&](const absl::StatusOr<v1::DeleteJobResponse>& answer) {
      EXPECT_FALSE(answer.ok());
      answered.Notify();
    });
    executor_.Release();  // the file is looked for, and what that says is queued behind the deletion
  });
  answered.WaitForNotification();
  FaultyVfs::full = false;
  Pass(absl::Seconds(2));
  EXPECT_EQ(Get("job").failure(), "trainer ended with exit code 3");
  EXPECT_THAT(Losses(), IsEmpty());
  StopServer();  // before the file system
}

// However short the grace is: while some of them are taken in again and again, the next ones are waited for.
TEST_F(LastWordsTest, OfAJobThatIsToStopAreHeardToTheirEnd) {
  SayReports(10, 14);
  SayReports(15, 19);
  SayReports(20, 29);
  SayFinished();
  Leave();
  ASSERT_THAT(Stop("job", 0), IsOk());
  statistics_->Hold(Get("job").uid());
  EndTrainer();
  for (int message = 0; message < 3; ++message) {
    Pass(absl::Seconds(25));
    EXPECT_EQ(State("job"), "STOPPING");
    EXPECT_EQ(statistics_->kept(), 1u);
    statistics_->LetThrough();
    Settle();
  }
  EXPECT_EQ(State("job"), "SUCCEEDED");
  EXPECT_THAT(StoredSteps("job"), SizeIs(30));
  EXPECT_THAT(Losses(), IsEmpty());
}

TEST_F(LastWordsTest, ThereIsNoMoreTimeForAreToldWithTheEndOfTheJob) {
  SayAll();
  Leave();
  ASSERT_THAT(Stop("job", 0), IsOk());
  statistics_->Hold(Get("job").uid());
  EndTrainer();
  Pass(absl::Seconds(31));
  EXPECT_EQ(State("job"), "STOPPED");
  EXPECT_THAT(Losses(), SizeIs(1));
  EXPECT_THAT(Losses(), Each(HasSubstr("no time")));
  const auto log = Log("job");
  EXPECT_EQ(log.back(), "STOPPED") << "nothing follows the end";
  statistics_->Release();
  Settle();
  RestartServer();
  EXPECT_EQ(Log("job"), log);
}

// The verdict is stored when there is room again, and the loss with it.
TEST_F(LastWordsTest, ThatAreDamagedAreToldHoweverLateTheEndIsStored) {
  std::ofstream(WordsFile(), std::ios::binary) << "words";
  FaultyVfs vfs;
  RestartServer();  // on that file system
  FaultyVfs::full = true;
  launcher_->End(kPid, {.exit_code = 0, .signal = SIGKILL, .unknown = false, .last_output = {}});
  Settle();
  Pass(absl::Seconds(2));
  FaultyVfs::full = false;
  Pass(absl::Seconds(2));
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_THAT(Losses(), SizeIs(1));
  EXPECT_EQ(Log("job").back(), "FAILED");
  StopServer();  // before the file system
}

TEST_F(LastWordsTest, WhatCanNeverBeStoredIsNotWaitedForForEver) {
  SayAll();
  Leave();
  options_.lease.last_words = absl::Minutes(5);
  RestartServer();
  statistics_->full = true;
  launcher_->End(kPid, {.exit_code = 0, .signal = 0, .unknown = true, .last_output = {}});
  Pass(absl::Minutes(4));
  EXPECT_EQ(State("job"), "RECOVERING");
  Pass(absl::Minutes(2));
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_THAT(Losses(), SizeIs(1));
}

TEST_F(LastWordsTest, GoWithTheEndOfTheJobAndOfItsProcess) {
  JobManagerTest::SayFinished(trainer_, v1::JOB_STATE_SUCCEEDED);
  for (const std::string& file : {WordsFile(), WordsFile() + ".part"}) std::ofstream(file) << "words";
  EndTrainer();
  EXPECT_EQ(State("job"), "SUCCEEDED");
  EXPECT_TRUE(std::filesystem::is_empty(options_.words_folder));
}

TEST_F(LastWordsTest, ThatDidNotTellTheEndGoToo) {
  SayReports(10, 19);
  Leave();
  EndTrainer();
  EXPECT_EQ(State("job"), "FAILED");
  EXPECT_TRUE(std::filesystem::is_empty(options_.words_folder));
}

TEST_F(LastWordsTest, OfATrainerThatMayComeBackStay) {
  SayAll();
  Leave();
  RestartServer();  // its process lives
  EXPECT_TRUE(std::filesystem::exists(WordsFile()));
  Trainer again = Attach(Hello("job"));
  ASSERT_THAT(again.attachment, IsOk());
  EXPECT_EQ(State("job"), "RUNNING");
}

}  // namespace
}  // namespace gradwatch::server
