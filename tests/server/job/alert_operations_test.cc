// Alerts that people acknowledge and silence.
#include <algorithm>

#include "core/base/error.h"
#include "core/base/timestamp.h"
#include "server/base/unique_text.h"
#include "server/job/job_table.h"
#include "tests/server/job/job_manager_fixture.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class AlertOperationsTest : public JobManagerTest {
 protected:
  void SetUp() override {
    JobManagerTest::SetUp();
    ASSERT_THAT(Create("job"), IsOk());
    trainer_ = AttachReady("job");
  }
  absl::StatusOr<v1::Alert> Acknowledge(const std::string& rule, const std::string& comment,
                                        const std::string& request_id = "") {
    v1::AcknowledgeAlertRequest request;
    request.set_alert_id(rule.empty() ? "" : AlertId("job", rule));
    request.set_comment(comment);
    request.set_request_id(request_id);
    return Call(&JobManager::AcknowledgeAlert, request);
  }
  v1::CreateSilenceRequest SilenceFor(absl::Duration time) const {
    v1::CreateSilenceRequest request;
    request.mutable_silence()->set_comment("maintenance");
    *request.mutable_silence()->mutable_end_time() = core::ToTimestamp(clock_.Now() + time);
    return request;
  }
  absl::StatusOr<v1::Silence> MakeSilence(const v1::CreateSilenceRequest& request) {
    return Call(&JobManager::CreateSilence, request);
  }
  absl::Status EndSilence(const std::string& id) {
    v1::DeleteSilenceRequest request;
    request.set_silence_id(id);
    return Call(&JobManager::DeleteSilence, request).status();
  }
  // The ids of the silences that hold, newest first.
  std::vector<std::string> Silences() {
    std::vector<std::string> ids;
    const auto response = jobs_->ListSilences({});
    EXPECT_TRUE(response.ok()) << response.status();
    for (const v1::Silence& silence : response->silences()) ids.push_back(silence.silence_id());
    return ids;
  }
  v1::Alert LastAlert() { return EventAt("job", Get("job").last_event()).alert_changed().alert(); }

  Trainer trainer_;
};

TEST_F(AlertOperationsTest, AnAcknowledgementIsAnEventAndStaysWithTheEpisode) {
  SayAlert(trainer_, "a", v1::ALERT_STATE_FIRING);
  const auto alert = Acknowledge("a", "looking into it");
  ASSERT_THAT(alert, IsOk());
  EXPECT_EQ(alert->acknowledged_by(), "tester");
  EXPECT_EQ(alert->acknowledge_comment(), "looking into it");
  EXPECT_EQ(core::FromTimestamp(alert->acknowledge_time()), clock_.Now());
  EXPECT_EQ(alert->state(), v1::ALERT_STATE_FIRING);
  EXPECT_EQ(LastAlert().SerializeAsString(), alert->SerializeAsString());
  EXPECT_EQ(reader_->GetAlert(AlertId("job", "a"))->SerializeAsString(), alert->SerializeAsString());
  EXPECT_EQ(Get("job").firing_alerts(), 1);
  EXPECT_EQ(Get("job").fired_alerts(), 1) << "it fires no second time";

  all_launches();
  RestartServer();
  Trainer again = Attach(Hello("job"));
  again.notices = 2;
  SayAlert(again, "a", v1::ALERT_STATE_RESOLVED);
  EXPECT_EQ(LastAlert().state(), v1::ALERT_STATE_RESOLVED);
  EXPECT_EQ(LastAlert().acknowledged_by(), "tester");
  EXPECT_EQ(LastAlert().acknowledge_comment(), "looking into it");
}

TEST_F(AlertOperationsTest, OnlyTheAcknowledgementItselfIsOne) {
  SayAlert(trainer_, "a", v1::ALERT_STATE_PENDING);
  ASSERT_THAT(Acknowledge("a", "seen"), IsOk());
  SayAlert(trainer_, "a", v1::ALERT_STATE_FIRING);
  SayAlert(trainer_, "a", v1::ALERT_STATE_RESOLVED);
  ASSERT_THAT(Acknowledge("a", "it was the data"), IsOk());
  const bool expected[] = {false, true, false, false, true};
  const int64_t last = Get("job").last_event();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(EventAt("job", last - 4 + i).alert_changed().acknowledgement(), expected[i]) << i;
  }
  EXPECT_EQ(EventAt("job", last - 2).alert_changed().alert().acknowledged_by(), "tester") << "it stays known";
}

TEST_F(AlertOperationsTest, ACommentCanBeChangedAlsoWhenAllIsOver) {
  SayAlert(trainer_, "a", v1::ALERT_STATE_FIRING);
  ASSERT_THAT(Acknowledge("a", "first"), IsOk());
  const int64_t events = Get("job").last_event();
  ASSERT_THAT(Acknowledge("a", "first"), IsOk());
  EXPECT_EQ(Get("job").last_event(), events) << "it says so already";
  SayFinished(trainer_, v1::JOB_STATE_FAILED, "NaN");
  RestartServer();
  ASSERT_THAT(Acknowledge("a", "second"), IsOk());
  EXPECT_EQ(LastAlert().acknowledge_comment(), "second");
  EXPECT_EQ(LastAlert().state(), v1::ALERT_STATE_RESOLVED);
  EXPECT_EQ(Get("job").firing_alerts(), 0);
  EXPECT_EQ(State("job"), "FAILED");
}

// Nobody knows whether it would have fired; of one that went away its summary says so.
TEST_F(AlertOperationsTest, APendingAlertThatEndsWithItsTrainerIsListed) {
  SayAlert(trainer_, "a", v1::ALERT_STATE_PENDING);
  SayFinished(trainer_, v1::JOB_STATE_FAILED, "killed");
  ASSERT_EQ(State("job"), "FAILED");
  const auto page = reader_->ListAlerts({.job_id = "job", .states = {v1::ALERT_STATE_RESOLVED}});
  ASSERT_THAT(page, IsOk());
  ASSERT_EQ(page->alerts.size(), 1u);
  EXPECT_EQ(page->alerts[0].alert.alert_id(), AlertId("job", "a"));
}

TEST_F(AlertOperationsTest, AcknowledgementsAreChecked) {
  SayAlert(trainer_, "a", v1::ALERT_STATE_FIRING);
  const auto nobody = Acknowledge("nobody", "");
  EXPECT_THAT(nobody, StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nobody/1\"")));
  EXPECT_EQ(core::GetReason(nobody.status()), "ALERT_NOT_FOUND");
  EXPECT_THAT(Acknowledge("", ""), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("alert_id")));
  EXPECT_THAT(Acknowledge("a", std::string(1025, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("comment")));
  const std::string id = NewUuid();
  ASSERT_THAT(Acknowledge("a", "first", id), IsOk());
  ASSERT_THAT(Acknowledge("a", "second"), IsOk());
  EXPECT_EQ(Acknowledge("a", "first", id)->acknowledge_comment(), "first") << "the answer of then";
  EXPECT_EQ(LastAlert().acknowledge_comment(), "second");
}

TEST_F(AlertOperationsTest, WhatATrainerSaysOfAcknowledgementsDoesNotCount) {
  v1::Notice notice = AlertNotice(trainer_, "a", v1::ALERT_STATE_FIRING);
  notice.mutable_alert()->set_acknowledged_by("somebody");
  notice.mutable_alert()->add_silenced_by("something");
  Say(trainer_, notice);
  EXPECT_EQ(LastAlert().acknowledged_by(), "");
  EXPECT_THAT(LastAlert().silenced_by(), IsEmpty());
}

TEST_F(AlertOperationsTest, SilencesThatMatchAreNamedInTheTransition) {
  v1::CreateSilenceRequest request = SilenceFor(absl::Hours(1));
  request.mutable_silence()->set_jobs("j*");
  request.mutable_silence()->set_rules("norm-*");
  const auto silence = MakeSilence(request);
  ASSERT_THAT(silence, IsOk());
  EXPECT_TRUE(IsUuid(silence->silence_id()));
  EXPECT_EQ(silence->author(), "tester");
  SayAlert(trainer_, "norm-spike", v1::ALERT_STATE_FIRING);
  EXPECT_THAT(LastAlert().silenced_by(), ElementsAre(silence->silence_id()));
  SayAlert(trainer_, "loss-jump", v1::ALERT_STATE_FIRING);
  EXPECT_THAT(LastAlert().silenced_by(), IsEmpty());
  ASSERT_THAT(Acknowledge("norm-spike", ""), IsOk());
  EXPECT_THAT(LastAlert().silenced_by(), ElementsAre(silence->silence_id())) << "no transition";

  all_launches();
  RestartServer();
  EXPECT_THAT(Silences(), ElementsAre(silence->silence_id()));
  Trainer again = Attach(Hello("job"));
  again.notices = 3;
  SayAlert(again, "norm-limit", v1::ALERT_STATE_PENDING);
  EXPECT_THAT(LastAlert().silenced_by(), ElementsAre(silence->silence_id()));
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(Silences(), IsEmpty());
  SayAlert(again, "norm-limit", v1::ALERT_STATE_FIRING);
  EXPECT_THAT(LastAlert().silenced_by(), IsEmpty()) << "it has ended";
}

TEST_F(AlertOperationsTest, AnAlertThatGoesOnShowsTheSilencesOfNow) {
  const auto silenced = [this](const std::string& rule) {
    v1::Alert alert = *reader_->GetAlert(AlertId("job", rule));
    jobs_->ShowSilences(&alert);
    return std::vector<std::string>(alert.silenced_by().begin(), alert.silenced_by().end());
  };
  SayAlert(trainer_, "goes-on", v1::ALERT_STATE_FIRING);
  SayAlert(trainer_, "over", v1::ALERT_STATE_FIRING);
  SayAlert(trainer_, "over", v1::ALERT_STATE_RESOLVED);
  v1::CreateSilenceRequest request = SilenceFor(absl::Hours(1));
  request.mutable_silence()->set_jobs("*");
  const auto silence = MakeSilence(request);
  ASSERT_THAT(silence, IsOk());
  EXPECT_THAT(silenced("goes-on"), ElementsAre(silence->silence_id()));
  EXPECT_THAT(silenced("over"), IsEmpty()) << "it was not silenced when it ended";
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(silenced("goes-on"), IsEmpty());
}

TEST_F(AlertOperationsTest, AnAcknowledgementWithoutACommentKeepsTheOneThatIsThere) {
  SayAlert(trainer_, "a", v1::ALERT_STATE_FIRING);
  ASSERT_THAT(Acknowledge("a", "looking into it"), IsOk());
  EXPECT_EQ(Acknowledge("a", "")->acknowledge_comment(), "looking into it");
  EXPECT_EQ(LastAlert().acknowledge_comment(), "looking into it");
}

TEST_F(AlertOperationsTest, ASilenceOfTensorsMatchesAlertsThatNameThem) {
  v1::CreateSilenceRequest request = SilenceFor(absl::Hours(1));
  request.mutable_silence()->set_tensors("dense0.*");
  ASSERT_THAT(MakeSilence(request), IsOk());
  SayAlert(trainer_, "a", v1::ALERT_STATE_FIRING);
  EXPECT_THAT(LastAlert().silenced_by(), IsEmpty()) << "it names no tensor";
  v1::Notice notice = AlertNotice(trainer_, "b", v1::ALERT_STATE_FIRING);
  notice.mutable_alert()->set_tensor("dense0.weight");
  Say(trainer_, notice);
  EXPECT_THAT(LastAlert().silenced_by(), SizeIs(1));
}

TEST_F(AlertOperationsTest, SilencesAreListedNewestFirstByPagesAndCanBeEnded) {
  std::vector<std::string> made;
  for (int i = 0; i < 5; ++i) made.push_back(MakeSilence(SilenceFor(absl::Hours(1)))->silence_id());
  v1::ListSilencesRequest request;
  request.set_page_size(2);
  std::vector<std::string> listed;
  do {
    const auto page = jobs_->ListSilences(request);
    ASSERT_THAT(page, IsOk());
    for (const v1::Silence& silence : page->silences()) listed.push_back(silence.silence_id());
    request.set_page_token(page->next_page_token());
    if (listed.size() == 2) RestartServer();  // tokens hold over a restart
  } while (!request.page_token().empty());
  EXPECT_THAT(listed, ElementsAre(made[4], made[3], made[2], made[1], made[0]));
  EXPECT_THAT(EndSilence(made[3]), IsOk());
  EXPECT_EQ(core::GetReason(EndSilence(made[3])), "SILENCE_NOT_FOUND");
  EXPECT_THAT(Silences(), ElementsAre(made[4], made[2], made[1], made[0]));
  RestartServer();
  EXPECT_THAT(Silences(), SizeIs(4));
  request.set_page_size(-1);
  EXPECT_THAT(jobs_->ListSilences(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_size")));
}

TEST(SilenceTableTest, PagesOfLargeSilencesStayBelowAMebibyte) {
  const absl::Time now = absl::FromUnixSeconds(1'000'000);
  SilenceTable table;
  std::vector<std::string> made;
  for (int i = 0; i < 300; ++i) {
    v1::Silence silence;
    made.push_back(absl::StrCat(i));
    silence.set_silence_id(made.back());
    silence.set_comment(std::string(10'000, 'x'));
    *silence.mutable_create_time() = core::ToTimestamp(table.NextCreateTime(now));
    *silence.mutable_end_time() = core::ToTimestamp(now + absl::Hours(1));
    table.Add(silence, now);
  }
  table.Publish();
  v1::ListSilencesRequest request;
  request.set_page_size(1000);
  std::vector<std::string> listed;
  do {
    const auto page = table.List(request, now);
    ASSERT_THAT(page, IsOk());
    EXPECT_LE(page->ByteSizeLong(), size_t{1} << 20);
    for (const v1::Silence& silence : page->silences()) listed.push_back(silence.silence_id());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  std::reverse(made.begin(), made.end());
  EXPECT_EQ(listed, made);
}

TEST_F(AlertOperationsTest, SilencesAreChecked) {
  const auto refuses = [this](auto change, const char* why) {
    v1::CreateSilenceRequest request = SilenceFor(absl::Hours(1));
    change(*request.mutable_silence());
    EXPECT_THAT(MakeSilence(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  refuses([](auto& silence) { silence.clear_comment(); }, "silence.comment");
  refuses([](auto& silence) { silence.set_comment(std::string(1025, 'x')); }, "silence.comment");
  refuses([](auto& silence) { silence.clear_end_time(); }, "silence.end_time: is missing");
  refuses([this](auto& silence) { *silence.mutable_end_time() = core::ToTimestamp(clock_.Now()); }, "is over");
  refuses([](auto& silence) { silence.mutable_end_time()->set_seconds(int64_t{1} << 60); }, "more than a year");
  refuses([](auto& silence) { silence.mutable_end_time()->set_nanos(-1); }, "nanoseconds");
  refuses([](auto& silence) { silence.set_jobs("\xFF"); }, "silence.jobs: must be UTF-8");
  v1::CreateSilenceRequest request = SilenceFor(absl::Hours(24 * 365));
  request.set_request_id(NewUuid());
  const auto silence = MakeSilence(request);
  ASSERT_THAT(silence, IsOk());
  clock_.Advance(absl::Minutes(1));
  EXPECT_EQ(MakeSilence(request)->silence_id(), silence->silence_id());
  EXPECT_THAT(Silences(), SizeIs(1));
}

TEST_F(AlertOperationsTest, AThousandSilencesHoldAtMost) {
  for (int i = 0; i < 1000; ++i) {
    jobs_->CreateSilence(SilenceFor(absl::Hours(1)), "tester",
                         [](const absl::StatusOr<v1::Silence>& made) { EXPECT_THAT(made, IsOk()); });
  }
  const auto refused = MakeSilence(SilenceFor(absl::Hours(2)));
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("1000")));
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(MakeSilence(SilenceFor(absl::Hours(2))), IsOk()) << "those that have ended do not count";
  EXPECT_THAT(Silences(), SizeIs(1));
}

}  // namespace
}  // namespace gradwatch::server
