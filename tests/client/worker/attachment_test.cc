#include "client/worker/attachment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "client/lib/channel.h"
#include "core/base/last_words_file.h"
#include "tests/client/worker/fake_trainer_service.h"
#include "tests/support/fake_clock.h"
#include "tests/support/long_wait.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::worker {
namespace {

using core::LiveControls;
using testing::Arrived;
using ::testing::ElementsAre;
using testing::FakeTrainerService;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using testing::StreamPlan;

v1::TrainerWelcome Welcome() {
  v1::TrainerWelcome welcome;
  welcome.set_attempt(3);
  welcome.mutable_controls()->set_revision(1);
  return welcome;
}

AttachmentOptions Quick() {
  AttachmentOptions options;
  options.min_backoff = absl::Milliseconds(1);
  options.max_backoff = absl::Milliseconds(10);
  options.report_period = absl::Milliseconds(1);
  return options;
}

class Trainer {
 public:
  explicit Trainer(const std::string& address, AttachmentOptions options = Quick(),
                   const core::Clock* clock = &core::RealClock(), size_t report_bytes = size_t{64} << 20)
      : reports(1, report_bytes), attachment(client::MakeChannel(address), Hello(), options, clock) {
    attachment.SetReports(&reports);
  }

  // Runs steps up to `end`, with a notice after every `notice_every` steps.
  void RunTo(int64_t end, int64_t notice_every = std::numeric_limits<int64_t>::max()) {
    core::StepRecord record;
    record.tensors.resize(1);
    for (record.step = reports.end_step(); record.step < end; ++record.step) {
      reports.Offer(record);
      if ((record.step + 1) % notice_every == 0) Notify(record.step + 1);
    }
  }
  void Notify(int64_t steps_done) {
    v1::Notice notice;
    notice.set_steps_done(steps_done);
    attachment.Notify(notice);
  }
  void Finish() {
    v1::Notice notice;
    notice.set_steps_done(reports.end_step());
    notice.mutable_finished()->set_state(v1::JOB_STATE_SUCCEEDED);
    attachment.Notify(notice);
  }

  ReportBuffer reports;
  Attachment attachment;

 private:
  static v1::TrainerHello Hello() {
    v1::TrainerHello hello;
    hello.set_job_id("job");
    hello.set_trainer_id("the trainer");
    return hello;
  }
};

// Every step up to `steps` was told exactly once, in order, as a report or in a lost range.
void ExpectAllSteps(const Arrived& arrived, int64_t steps) {
  int64_t next = 0;
  auto lost = arrived.lost.begin();
  const auto skip_lost = [&] {
    while (lost != arrived.lost.end() && lost->first == next) next = (lost++)->second + 1;
  };
  for (const int64_t step : arrived.steps) {
    skip_lost();
    ASSERT_EQ(step, next);
    ++next;
  }
  skip_lost();
  EXPECT_EQ(next, steps);
  EXPECT_EQ(lost, arrived.lost.end());
}

// Notices came once, in order, the last one, which tells the end, after all reports.
void ExpectAllNotices(const Arrived& arrived, size_t count) {
  ASSERT_EQ(arrived.notices.size(), count);
  for (size_t i = 0; i < count; ++i) EXPECT_EQ(arrived.notices[i].number(), static_cast<int64_t>(i) + 1);
  EXPECT_TRUE(arrived.notices.back().has_finished());
  EXPECT_EQ(arrived.end_steps.back(), arrived.notices.back().steps_done());
}

v1::TrainerDirective Command(v1::TrainerCommand::Action action) {
  v1::TrainerDirective directive;
  directive.mutable_command()->set_action(action);
  return directive;
}

// An edit of the learning rate's scale.
v1::ControlEdit Scale(int64_t edit, double learning_rate_scale, int64_t at_step = -1) {
  v1::ControlEdit asked;
  asked.set_edit(edit);
  asked.mutable_values()->set_learning_rate_scale(learning_rate_scale);
  asked.add_paths("learning_rate_scale");
  if (at_step >= 0) asked.set_at_step(at_step);
  return asked;
}

v1::TrainerDirective Edits(const std::vector<v1::ControlEdit>& edits, const std::vector<int64_t>& withdrawn = {}) {
  v1::TrainerDirective directive;
  for (const v1::ControlEdit& edit : edits) *directive.mutable_edits()->add_edits() = edit;
  for (const int64_t edit : withdrawn) directive.mutable_edits()->add_withdrawn(edit);
  return directive;
}

// What the training loop does for a step: the revision and the scale that hold, and what became of which edits.
std::string Take(LiveControls& controls, int64_t step) {
  std::vector<core::EditOutcome> outcomes;
  const auto fits = [](const v1::Controls&) { return absl::OkStatus(); };
  const auto now = controls.ForStep(step, fits, &outcomes);
  std::string text = absl::StrCat(now->revision, ": ", now->controls.learning_rate_scale());
  for (const core::EditOutcome& outcome : outcomes) {
    absl::StrAppend(&text, outcome.applied ? ", applied " : ", withdrawn ", outcome.edit);
  }
  return text;
}

// Waits for something that the attach thread does.
template <typename Predicate>
bool Eventually(Predicate holds) {
  const absl::Time end = absl::Now() + testing::kLongWait;
  while (!holds()) {
    if (absl::Now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST(AttachmentTest, TellsEverythingAndEnds) {
  FakeTrainerService service(Welcome(), {{}});
  Trainer trainer(service.address());
  const absl::StatusOr<v1::TrainerWelcome> welcome = trainer.attachment.AwaitWelcome();
  ASSERT_THAT(welcome, IsOk());
  EXPECT_EQ(welcome->attempt(), 3);
  trainer.RunTo(3000, 1000);
  trainer.Finish();
  EXPECT_THAT(trainer.attachment.Close(), IsOk());
  const Arrived arrived = service.arrived();
  ExpectAllSteps(arrived, 3000);
  ExpectAllNotices(arrived, 4);
  EXPECT_THAT(arrived.attempts, ElementsAre(3));
  EXPECT_EQ(arrived.hellos.size(), 1u);
}

TEST(AttachmentTest, NothingIsLostOrDoubledOverBrokenStreams) {
  std::mt19937 random(7);
  std::vector<StreamPlan> plans;
  for (int i = 0; i < 30; ++i) {
    StreamPlan& plan = plans.emplace_back();
    plan.acknowledges = random() % 2 == 0;
    // Without an acknowledgement a trainer stops after three full batches, and the last of them breaks the stream.
    plan.messages = static_cast<int>(random() % (plan.acknowledges ? 12 : 3));
  }
  plans.emplace_back();
  FakeTrainerService service(Welcome(), plans);
  Trainer trainer(service.address());
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  trainer.RunTo(200'000, 1000);
  trainer.Finish();
  EXPECT_THAT(trainer.attachment.Close(), IsOk());
  const Arrived arrived = service.arrived();
  ExpectAllSteps(arrived, 200'000);
  ExpectAllNotices(arrived, 201);
  EXPECT_EQ(arrived.hellos.size(), plans.size());
  for (const v1::TrainerHello& hello : arrived.hellos) EXPECT_EQ(hello.trainer_id(), "the trainer");
  EXPECT_EQ(arrived.hellos[0].attempt(), 0);
  EXPECT_EQ(arrived.hellos[1].attempt(), 3) << "comes back as the attempt that it was given";
}

TEST(AttachmentTest, AServerThatDoesNotReadDoesNotStopTheTraining) {
  FakeTrainerService service(Welcome(), {{.reads = false}});
  Trainer trainer(service.address(), Quick(), &core::RealClock(), /*report_bytes=*/0);
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  trainer.RunTo(200'000);
  EXPECT_EQ(trainer.reports.end_step(), 200'000);
  EXPECT_TRUE(service.arrived().steps.empty());
  service.Release();
  trainer.Finish();
  EXPECT_THAT(trainer.attachment.Close(), IsOk());
  const Arrived arrived = service.arrived();
  ExpectAllSteps(arrived, 200'000);
  EXPECT_FALSE(arrived.lost.empty());
  EXPECT_EQ(arrived.steps.back(), 199'999);
}

TEST(AttachmentTest, ANoticeDoesNotWaitForReportsThatNobodyAcknowledges) {
  FakeTrainerService service(Welcome(), {{.acknowledges = false}});
  Trainer trainer(service.address());
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  trainer.RunTo(50'000);
  ASSERT_TRUE(service.Await([](const Arrived& arrived) { return !arrived.steps.empty(); }));
  trainer.RunTo(50'001, 1);
  EXPECT_TRUE(service.Await([](const Arrived& arrived) { return arrived.notices.size() == 1; }));
  EXPECT_LE(service.arrived().steps.size(), size_t{Outbox::kMaxReportsOnWay});
}

TEST(AttachmentTest, WaitsForAServerThatIsNotThereYet) {
  const testing::TempDir dir;
  const std::string address = "unix:" + dir.File("server");
  Trainer trainer(address);
  trainer.RunTo(10);
  trainer.Finish();
  FakeTrainerService service(Welcome(), {{}}, address);
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  EXPECT_THAT(trainer.attachment.Close(), IsOk());
  ExpectAllSteps(service.arrived(), 10);
}

TEST(AttachmentTest, GoesOnWithTheNextLifeOfTheServer) {
  const testing::TempDir dir;
  const std::string address = "unix:" + dir.File("server");
  auto service = std::make_unique<FakeTrainerService>(Welcome(), std::vector<StreamPlan>(1), address);
  Trainer trainer(address);
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  service.reset();
  trainer.RunTo(10);
  trainer.Finish();
  service = std::make_unique<FakeTrainerService>(Welcome(), std::vector<StreamPlan>(1), address);
  EXPECT_THAT(trainer.attachment.Close(), IsOk());
  ExpectAllSteps(service->arrived(), 10);
}

TEST(AttachmentTest, RefusalsAreFinal) {
  struct Case {
    grpc::StatusCode grpc_code;
    absl::StatusCode code;
  };
  for (const Case& c : {Case{grpc::StatusCode::ABORTED, absl::StatusCode::kAborted},
                        Case{grpc::StatusCode::PERMISSION_DENIED, absl::StatusCode::kPermissionDenied},
                        Case{grpc::StatusCode::NOT_FOUND, absl::StatusCode::kNotFound},
                        Case{grpc::StatusCode::FAILED_PRECONDITION, absl::StatusCode::kFailedPrecondition}}) {
    FakeTrainerService service(Welcome(), {{.refusal = grpc::Status(c.grpc_code, "no")}});
    Trainer trainer(service.address());
    EXPECT_THAT(trainer.attachment.AwaitWelcome(), StatusIs(c.code, "no"));
    EXPECT_EQ(service.arrived().hellos.size(), 1u);
  }
}

TEST(AttachmentTest, OtherRefusalsMayPass) {
  FakeTrainerService service(Welcome(), {{.refusal = grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "later")}, {}});
  Trainer trainer(service.address());
  EXPECT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
}

TEST(AttachmentTest, AFencedTrainerStopsTraining) {
  FakeTrainerService service(Welcome(),
                             {{.messages = 0, .end = grpc::Status(grpc::StatusCode::ABORTED, "taken over")}});
  Trainer trainer(service.address());
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  trainer.RunTo(1, 1);
  EXPECT_TRUE(Eventually([&] { return trainer.attachment.controls().command() == LiveControls::Command::kStop; }));
  EXPECT_THAT(trainer.attachment.Close(), StatusIs(absl::StatusCode::kAborted, "taken over"));
}

TEST(AttachmentTest, EditsAndWithdrawalsComeDown) {
  v1::TrainerWelcome welcome = Welcome();
  welcome.mutable_controls()->set_revision(5);
  welcome.mutable_controls()->mutable_controls()->set_learning_rate_scale(0.5);
  const v1::TrainerDirective first = Edits({Scale(11, 0.25, 100), Scale(12, 4), Scale(13, 8, 50)}, {13, 12});
  const v1::TrainerDirective second = Edits({Scale(14, 2, 10), Scale(11, 99)});
  FakeTrainerService service(welcome, {{.directives = {first, second, Command(v1::TrainerCommand::ACTION_PAUSE)}}});
  Trainer trainer(service.address());
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  LiveControls& controls = trainer.attachment.controls();
  EXPECT_TRUE(Eventually([&] { return controls.command() == LiveControls::Command::kPause; }));
  EXPECT_EQ(Take(controls, 0), "5: 0.5, withdrawn 13, withdrawn 12");
  EXPECT_EQ(Take(controls, 9), "5: 0.5");
  EXPECT_EQ(Take(controls, 10), "6: 2, applied 14");
  EXPECT_EQ(Take(controls, 99), "6: 2");
  EXPECT_EQ(Take(controls, 100), "7: 0.25, applied 11");
}

TEST(AttachmentTest, WithoutControlsInTheWelcomeThoseOfTheSpecHold) {
  v1::TrainerWelcome welcome = Welcome();
  welcome.clear_controls();
  welcome.mutable_spec()->mutable_controls()->set_learning_rate_scale(0.5);
  FakeTrainerService service(welcome, {{}});
  Trainer trainer(service.address());
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  EXPECT_EQ(Take(trainer.attachment.controls(), 0), "1: 0.5");
}

// They may be for the first step.
TEST(AttachmentTest, TheRunBeginsWithTheEditsOfTheWelcome) {
  const struct {
    const char* name;
    std::vector<v1::TrainerDirective> directives;
    std::string first_step;
  } cases[] = {
      {"in two batches",
       {Edits({Scale(2, 4)}), Edits({Scale(3, 8, 0), Scale(4, 16, 1)})},
       "3: 8, applied 2, applied 3"},
      {"fewer than were told, but something else came",
       {Edits({Scale(2, 4)}), Command(v1::TrainerCommand::ACTION_RESUME)},
       "2: 4, applied 2"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    v1::TrainerWelcome welcome = Welcome();
    welcome.set_waiting_edits(3);
    FakeTrainerService service(welcome, {{.directives = c.directives}});
    Trainer trainer(service.address());
    ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
    EXPECT_EQ(Take(trainer.attachment.controls(), 0), c.first_step);
  }
}

v1::TrainerWelcome WelcomeWithEditsToCome() {
  v1::TrainerWelcome welcome = Welcome();
  welcome.set_waiting_edits(2);
  return welcome;
}

TEST(AttachmentTest, EditsThatDoNotComeEndWithTheStream) {
  const StreamPlan broken = {.directives = {Edits({Scale(2, 4)})}, .messages = 0};
  const StreamPlan whole = {.directives = {Edits({Scale(2, 4), Scale(3, 8)})}};
  FakeTrainerService service(WelcomeWithEditsToCome(), {broken, whole});
  Trainer trainer(service.address());
  trainer.Notify(0);  // a message, on which the first stream breaks
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  EXPECT_EQ(Take(trainer.attachment.controls(), 0), "3: 8, applied 2, applied 3");
}

// Welcome by a server that says nothing more.
class AttachmentWithoutItsEditsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // A heartbeat is said by who is welcome.
    ASSERT_TRUE(Eventually([this] {
      clock_.Advance(absl::Seconds(1));
      return service_->Await([](const Arrived& arrived) { return arrived.heartbeats > 0; }, absl::Milliseconds(1));
    }));
  }

  const testing::TempDir dir_;
  const std::string address_ = "unix:" + dir_.File("server");
  std::unique_ptr<FakeTrainerService> service_ = std::make_unique<FakeTrainerService>(
      WelcomeWithEditsToCome(), std::vector<StreamPlan>{{.acknowledges = false}}, address_);
  testing::FakeClock clock_;
  Trainer trainer_{address_, Quick(), &clock_};
};

TEST_F(AttachmentWithoutItsEditsTest, AStopDoesNotWaitForThem) {
  trainer_.attachment.RequestStop();
  ASSERT_THAT(trainer_.attachment.AwaitWelcome(), IsOk());
  EXPECT_EQ(trainer_.attachment.controls().command(), LiveControls::Command::kStop);
}

TEST_F(AttachmentWithoutItsEditsTest, AServerThatIsGoneForGoodIsNotWaitedForWithoutEnd) {
  service_.reset();
  clock_.Advance(absl::Hours(24));
  EXPECT_THAT(trainer_.attachment.AwaitWelcome(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("24h")));
}

// The server may not have heard yet what the run has applied: its controls are older than those of the run, and what it
// sends again is known.
TEST(AttachmentTest, OnlyTheFirstWelcomeSaysWhatHolds) {
  v1::TrainerWelcome welcome = Welcome();
  welcome.mutable_controls()->mutable_controls()->set_learning_rate_scale(0.5);
  const StreamPlan first = {
      .directives = {Edits({Scale(2, 4), Scale(3, 8, 20)}), Command(v1::TrainerCommand::ACTION_PAUSE)}, .messages = 0};
  const StreamPlan second = {.directives = {Edits({Scale(2, 4), Scale(3, 8, 20), Scale(4, 16)}, {3}),
                                            Command(v1::TrainerCommand::ACTION_STOP)}};
  FakeTrainerService service(welcome, {first, second});
  Trainer trainer(service.address());
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  LiveControls& controls = trainer.attachment.controls();
  EXPECT_TRUE(Eventually([&] { return controls.command() == LiveControls::Command::kPause; }));
  EXPECT_EQ(Take(controls, 0), "2: 4, applied 2");
  trainer.RunTo(1, 1);  // a message, on which the stream breaks
  EXPECT_TRUE(Eventually([&] { return controls.command() == LiveControls::Command::kStop; }));
  EXPECT_EQ(Take(controls, 1), "3: 16, withdrawn 3, applied 4");
}

TEST(AttachmentTest, ThePauseOfTheWelcomeHoldsBeforeTheFirstStep) {
  v1::TrainerWelcome welcome = Welcome();
  welcome.mutable_command()->set_action(v1::TrainerCommand::ACTION_PAUSE);
  FakeTrainerService service(welcome, {{.directives = {Command(v1::TrainerCommand::ACTION_RESUME)}}});
  Trainer trainer(service.address());
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  EXPECT_EQ(trainer.attachment.controls().AwaitRun(0), LiveControls::Command::kRun);
}

TEST(AttachmentTest, StopIsObeyed) {
  FakeTrainerService service(Welcome(), {{.directives = {Command(v1::TrainerCommand::ACTION_STOP)}}});
  Trainer trainer(service.address());
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  EXPECT_TRUE(Eventually([&] { return trainer.attachment.controls().command() == LiveControls::Command::kStop; }));
}

TEST(AttachmentTest, RequestStopStopsTheTraining) {
  FakeTrainerService service(Welcome(), {{}});
  Trainer trainer(service.address());
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  trainer.attachment.RequestStop();
  EXPECT_TRUE(Eventually([&] { return trainer.attachment.controls().command() == LiveControls::Command::kStop; }));
  trainer.Finish();
  EXPECT_THAT(trainer.attachment.Close(), IsOk()) << "the end is still told";
}

TEST(AttachmentTest, RequestStopEndsTheWaitForAServer) {
  const testing::TempDir dir;
  Trainer trainer("unix:" + dir.File("nobody"));
  trainer.attachment.RequestStop();
  EXPECT_THAT(trainer.attachment.AwaitWelcome(), StatusIs(absl::StatusCode::kCancelled, HasSubstr("before")));
}

TEST(AttachmentTest, TheFirstWelcomeIsNotWaitedForWithoutEnd) {
  const testing::TempDir dir;
  testing::FakeClock clock;
  Trainer trainer("unix:" + dir.File("nobody"), Quick(), &clock);
  clock.Advance(absl::Hours(24));
  EXPECT_THAT(trainer.attachment.AwaitWelcome(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("24h")));
}

TEST(AttachmentTest, ARunIsNeverStoppedBecauseTheServerIsAway) {
  const testing::TempDir dir;
  const std::string address = "unix:" + dir.File("server");
  auto service = std::make_unique<FakeTrainerService>(Welcome(), std::vector<StreamPlan>(1), address);
  testing::FakeClock clock;
  Trainer trainer(address, Quick(), &clock);
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  service.reset();
  clock.Advance(absl::Hours(240));
  trainer.RunTo(10);
  service = std::make_unique<FakeTrainerService>(Welcome(), std::vector<StreamPlan>(1), address);
  EXPECT_TRUE(Eventually([&] {
    clock.Advance(absl::Milliseconds(1));
    return service->Await([](const Arrived& arrived) { return arrived.steps.size() == 10; }, absl::Milliseconds(1));
  }));
  EXPECT_EQ(trainer.attachment.controls().command(), LiveControls::Command::kRun);
}

// Nobody else would ever end the pause.
TEST(AttachmentTest, APauseDoesNotOutliveItsServerForMoreThanADay) {
  const testing::TempDir dir;
  const std::string address = "unix:" + dir.File("server");
  v1::TrainerWelcome welcome = Welcome();
  welcome.mutable_command()->set_action(v1::TrainerCommand::ACTION_PAUSE);
  auto service = std::make_unique<FakeTrainerService>(welcome, std::vector<StreamPlan>(1), address);
  AttachmentOptions options = Quick();
  options.patience = absl::ZeroDuration();
  testing::FakeClock clock;
  Trainer trainer(address, options, &clock);
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  LiveControls& controls = trainer.attachment.controls();
  EXPECT_EQ(controls.command(), LiveControls::Command::kPause);
  service.reset();
  clock.Advance(absl::Hours(24));
  EXPECT_EQ(controls.AwaitRun(0), LiveControls::Command::kStop);
  trainer.Finish();
  EXPECT_THAT(trainer.attachment.Close(dir.File("words")), IsOk());
  EXPECT_TRUE(std::filesystem::exists(dir.File("words"))) << "a server that comes later hears of it";
}

TEST(AttachmentTest, HeartbeatsAreSaidWhenNothingElseIs) {
  FakeTrainerService service(Welcome(), {{}});
  testing::FakeClock clock;
  Trainer trainer(service.address(), Quick(), &clock);
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  clock.Advance(absl::Seconds(5));
  EXPECT_TRUE(service.Await([](const Arrived& arrived) { return arrived.heartbeats == 1; }));
}

TEST(AttachmentTest, ASilentStreamIsBroken) {
  FakeTrainerService service(Welcome(), {{.acknowledges = false}, {}});
  testing::FakeClock clock;
  Trainer trainer(service.address(), Quick(), &clock);
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  trainer.RunTo(10);
  trainer.Finish();
  ASSERT_TRUE(service.Await([](const Arrived& arrived) { return arrived.finished; }));
  clock.Advance(absl::Seconds(30));
  EXPECT_TRUE(Eventually([&] {
    clock.Advance(absl::Milliseconds(1));
    return service.Await([](const Arrived& arrived) { return arrived.hellos.size() == 2; }, absl::Milliseconds(1));
  }));
  EXPECT_THAT(trainer.attachment.Close(), IsOk());
  ExpectAllSteps(service.arrived(), 10);
}

// --- The end of a run ---

// Closes the attachment while a clock that stands still otherwise goes on.
absl::Status CloseWhileTimePasses(Trainer& trainer, testing::FakeClock& clock, absl::Duration at_once,
                                  const std::string& last_words = "") {
  absl::Status status = absl::UnknownError("not closed");
  std::atomic<bool> closed = false;
  std::thread closer([&] {
    status = trainer.attachment.Close(last_words);
    closed = true;
  });
  while (!closed) {
    clock.Advance(at_once);
    std::this_thread::yield();
  }
  closer.join();
  return status;
}

// What the file says, as if it had been sent.
Arrived ReadWords(const std::string& path) {
  Arrived arrived;
  absl::StatusOr<core::LastWordsReader> reader = core::LastWordsReader::Open(path);
  EXPECT_THAT(reader, IsOk());
  while (reader.ok()) {
    const auto message = reader->Next();
    EXPECT_THAT(message, IsOk());
    if (!message.ok() || !message->has_value()) break;
    if ((*message)->has_hello()) arrived.hellos.push_back((*message)->hello());
    for (const v1::StepRange& lost : (*message)->reports().lost()) {
      arrived.lost.emplace_back(lost.first_step(), lost.last_step());
    }
    for (const v1::StepReport& report : (*message)->reports().reports()) {
      arrived.steps.push_back(report.step());
      arrived.attempts.insert(report.attempt());
    }
    for (const v1::Notice& notice : (*message)->notices().notices()) {
      EXPECT_EQ((*message)->notices().epoch(), 9);
      arrived.notices.push_back(notice);
    }
  }
  return arrived;
}

v1::TrainerWelcome WelcomeOfEpoch9() {
  v1::TrainerWelcome welcome = Welcome();
  welcome.set_epoch(9);
  return welcome;
}

AttachmentOptions WithPatience(absl::Duration patience) {
  AttachmentOptions options = Quick();
  options.patience = patience;
  options.retry_file = absl::Milliseconds(1);
  return options;
}

TEST(AttachmentTest, WhatTheServerDoesNotKnowIsLeftInTheFile) {
  const testing::TempDir dir;
  const std::string address = "unix:" + dir.File("server");
  auto service = std::make_unique<FakeTrainerService>(WelcomeOfEpoch9(), std::vector<StreamPlan>(1), address);
  Trainer trainer(address, WithPatience(absl::ZeroDuration()));
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  trainer.RunTo(100, 50);
  // Notices that have arrived are acknowledged when the server says so; what it has not said is in the file too.
  EXPECT_TRUE(service->Await([](const Arrived& arrived) { return arrived.notices.size() == 2; }));
  service.reset();
  trainer.RunTo(300, 50);
  trainer.Finish();
  EXPECT_THAT(trainer.attachment.Close(dir.File("words")), IsOk());
  const Arrived words = ReadWords(dir.File("words"));
  ASSERT_EQ(words.hellos.size(), 1u);
  EXPECT_EQ(words.hellos[0].job_id(), "job");
  EXPECT_EQ(words.hellos[0].trainer_id(), "the trainer");
  EXPECT_EQ(words.hellos[0].attempt(), 3);
  EXPECT_THAT(words.attempts, ElementsAre(3));
  ASSERT_GE(words.steps.size(), 200u);
  EXPECT_EQ(words.steps.back(), 299);
  EXPECT_TRUE(std::is_sorted(words.steps.begin(), words.steps.end()));
  ASSERT_GE(words.notices.size(), 5u);
  EXPECT_EQ(words.notices.back().number(), 7);
  EXPECT_TRUE(words.notices.back().has_finished()) << "the end comes last";
}

TEST(AttachmentTest, AServerThatTakesNothingIsNotWaitedForEither) {
  const testing::TempDir dir;
  FakeTrainerService service(WelcomeOfEpoch9(), {{.acknowledges = false}});
  testing::FakeClock clock;
  AttachmentOptions options = Quick();
  options.max_silence = absl::Hours(1000);  // a new stream would say what has arrived
  Trainer trainer(service.address(), options, &clock);
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  trainer.RunTo(10);
  trainer.Finish();
  // Heartbeats, and new streams, are no progress.
  EXPECT_THAT(CloseWhileTimePasses(trainer, clock, absl::Milliseconds(1), dir.File("words")), IsOk());
  EXPECT_TRUE(ReadWords(dir.File("words")).notices.back().has_finished());
}

TEST(AttachmentTest, AServerThatComesBackInTimeIsToldAndNoFileIsLeft) {
  const testing::TempDir dir;
  const std::string address = "unix:" + dir.File("server");
  auto service = std::make_unique<FakeTrainerService>(Welcome(), std::vector<StreamPlan>(1), address);
  Trainer trainer(address, WithPatience(absl::Hours(1)));
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  service.reset();
  trainer.RunTo(100, 10);
  trainer.Finish();
  absl::Status closed;
  std::thread closer([&] { closed = trainer.attachment.Close(dir.File("words")); });
  service = std::make_unique<FakeTrainerService>(Welcome(), std::vector<StreamPlan>(1), address);
  closer.join();
  EXPECT_THAT(closed, IsOk());
  ExpectAllSteps(service->arrived(), 100);
  EXPECT_FALSE(std::filesystem::exists(dir.File("words")));
}

// The clock goes on before each welcome and nowhere else: what a stream acknowledges comes three seconds after what the
// one before did, and the last of it many times the patience after the end of the run.
TEST(AttachmentTest, WhileAcknowledgementsAdvanceItWaits) {
  constexpr int kStreams = 40;
  const testing::TempDir dir;
  testing::FakeClock clock;
  absl::Notification closing;
  const auto go_on = [&] {
    closing.WaitForNotification();
    clock.Advance(absl::Seconds(3));
  };
  // Each stream takes a message full of notices and breaks on the next; the welcome of the one after acknowledges it.
  std::vector<StreamPlan> plans(kStreams, {.before_welcome = go_on, .messages = 1, .acknowledges = false});
  plans.push_back({.before_welcome = go_on});
  FakeTrainerService service(WelcomeOfEpoch9(), plans);
  AttachmentOptions options = Quick();
  options.min_backoff = options.max_backoff = absl::ZeroDuration();  // of a clock that stands still
  Trainer trainer(service.address(), options, &clock);
  for (int i = 0; i < kStreams * Outbox::kMaxNotices; ++i) trainer.Notify(0);
  trainer.Finish();
  closing.Notify();
  EXPECT_THAT(trainer.attachment.Close(dir.File("words")), IsOk());
  EXPECT_FALSE(std::filesystem::exists(dir.File("words")));
  EXPECT_TRUE(service.arrived().finished);
  EXPECT_EQ(service.arrived().hellos.size(), plans.size());
}

// Counts what is logged as an error.
class ErrorCount final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  int count() const { return count_; }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override { count_ += message.level == spdlog::level::err; }
  void flush_() override {}

  std::atomic<int> count_ = 0;
};

// Takes the place of the default logger while it lives.
class DefaultLogger {
 public:
  explicit DefaultLogger(spdlog::sink_ptr sink) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", std::move(sink)));
  }
  ~DefaultLogger() { spdlog::set_default_logger(before_); }
  DefaultLogger(const DefaultLogger&) = delete;
  DefaultLogger& operator=(const DefaultLogger&) = delete;

 private:
  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
};

class AttachmentOnAFullDiskTest : public ::testing::Test {
 protected:
  // Ends a run whose server is away and whose file cannot be written, and waits until that was tried.
  void EndRun() {
    service_.reset();
    trainer_.RunTo(100, 10);
    trainer_.Finish();
    closer_ = std::thread([this] { closed_ = trainer_.attachment.Close(words_); });
    EXPECT_TRUE(Eventually([this] { return errors_->count() > 0; }));
  }

  const std::shared_ptr<ErrorCount> errors_ = std::make_shared<ErrorCount>();
  const DefaultLogger logger_{errors_};  // before the trainer, whose thread logs
  const testing::TempDir dir_;
  const std::string address_ = "unix:" + dir_.File("server");
  const std::string words_ = dir_.File("folder/words");  // the folder is not there
  std::unique_ptr<FakeTrainerService> service_ =
      std::make_unique<FakeTrainerService>(WelcomeOfEpoch9(), std::vector<StreamPlan>(1), address_);
  Trainer trainer_{address_, WithPatience(absl::ZeroDuration())};
  std::thread closer_;
  absl::Status closed_ = absl::UnknownError("not closed");
};

TEST_F(AttachmentOnAFullDiskTest, TheFileIsTriedAgainUntilItCanBeWritten) {
  ASSERT_THAT(trainer_.attachment.AwaitWelcome(), IsOk());
  EndRun();
  std::filesystem::create_directory(dir_.File("folder"));
  closer_.join();
  EXPECT_THAT(closed_, IsOk());
  EXPECT_EQ(errors_->count(), 1) << "said once";
  EXPECT_TRUE(ReadWords(words_).notices.back().has_finished());
}

TEST_F(AttachmentOnAFullDiskTest, SoIsTheServer) {
  ASSERT_THAT(trainer_.attachment.AwaitWelcome(), IsOk());
  EndRun();
  service_ = std::make_unique<FakeTrainerService>(WelcomeOfEpoch9(), std::vector<StreamPlan>(1), address_);
  closer_.join();
  EXPECT_THAT(closed_, IsOk());
  ExpectAllSteps(service_->arrived(), 100);
}

TEST(AttachmentTest, WhoIsNotWantedAnyMoreLeavesNoFile) {
  const testing::TempDir dir;
  FakeTrainerService service(Welcome(),
                             {{.messages = 0, .end = grpc::Status(grpc::StatusCode::ABORTED, "taken over")}});
  Trainer trainer(service.address(), WithPatience(absl::Hours(1)));
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  trainer.RunTo(1, 1);
  trainer.Finish();
  EXPECT_THAT(trainer.attachment.Close(dir.File("words")), StatusIs(absl::StatusCode::kAborted, "taken over"));
  EXPECT_FALSE(std::filesystem::exists(dir.File("words")));
}

TEST(AttachmentTest, WithoutAFileTheServerIsWaitedForADay) {
  FakeTrainerService service(Welcome(), {{.acknowledges = false}});
  testing::FakeClock clock;
  AttachmentOptions options = Quick();
  options.max_silence = absl::Hours(1000);  // a new stream would say what has arrived
  Trainer trainer(service.address(), options, &clock);
  ASSERT_THAT(trainer.attachment.AwaitWelcome(), IsOk());
  trainer.Finish();
  const absl::Duration begin = clock.Monotonic();
  EXPECT_THAT(CloseWhileTimePasses(trainer, clock, absl::Minutes(10)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("acknowledge")));
  EXPECT_GE(clock.Monotonic() - begin, absl::Hours(24));
}

}  // namespace
}  // namespace gradwatch::worker
