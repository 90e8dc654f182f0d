#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "core/base/error.h"
#include "server/store/ledger.h"
#include "tests/server/store/store_testing.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::FakeClock;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LedgerReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto ledger = Ledger::Open(path_, &clock_);
    ASSERT_THAT(ledger, IsOk());
    ledger_ = *std::move(ledger);
    auto reader = LedgerReader::Open(path_);
    ASSERT_THAT(reader, IsOk());
    reader_ = *std::move(reader);
  }

  // Positions 1 to 6: jobs a and b, alerts x (pending, firing, resolved), y and z.
  void Fill() {
    const v1::Event events[] = {
        MakeEvent("a", 1),
        MakeAlertEvent("a", 2, "x", v1::ALERT_STATE_PENDING),
        MakeAlertEvent("b", 1, "y", v1::ALERT_STATE_FIRING, v1::SEVERITY_CRITICAL),
        MakeAlertEvent("a", 3, "x", v1::ALERT_STATE_FIRING),
        MakeAlertEvent("a", 4, "z", v1::ALERT_STATE_FIRING, v1::SEVERITY_INFO),
        MakeAlertEvent("a", 5, "x", v1::ALERT_STATE_RESOLVED),
    };
    for (const v1::Event& event : events) {
      ASSERT_THAT(AppendEvent(*ledger_, absl::StrCat("uid-", event.job_id()), event), IsOk());
    }
  }

  std::vector<std::string> AlertIds(const LedgerReader::AlertFilter& filter) {
    const auto alerts = reader_->ListAlerts(filter);
    EXPECT_THAT(alerts, IsOk());
    std::vector<std::string> ids;
    for (const auto& stored : alerts->alerts) ids.push_back(absl::StrCat(stored.position, stored.alert.alert_id()));
    return ids;
  }

  static std::vector<int64_t> Positions(const absl::StatusOr<std::vector<LedgerReader::StoredEvent>>& events) {
    EXPECT_THAT(events, IsOk());
    std::vector<int64_t> positions;
    for (const auto& stored : *events) positions.push_back(stored.position);
    return positions;
  }

  const TempDir dir_;
  const FakeClock clock_{};
  const std::string path_ = dir_.File("main.db");
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<LedgerReader> reader_;
};

TEST_F(LedgerReaderTest, ReadsEventsOfAJobByNumber) {
  Fill();
  EXPECT_THAT(Positions(reader_->ReadEvents("uid-a", 0, 100, SIZE_MAX)), ElementsAre(1, 2, 4, 5, 6));
  EXPECT_THAT(Positions(reader_->ReadEvents("uid-a", 1, 2, SIZE_MAX)), ElementsAre(2, 4));
  EXPECT_THAT(Positions(reader_->ReadEvents("uid-a", 5, 2, SIZE_MAX)), IsEmpty());
  EXPECT_THAT(Positions(reader_->ReadEvents("uid-none", 0, 2, SIZE_MAX)), IsEmpty());
  EXPECT_EQ((*reader_->ReadEvents("uid-a", 0, 1, SIZE_MAX))[0].event.state_changed().reason(), "reason 1");
}

TEST_F(LedgerReaderTest, ReadsAlertEventsByPosition) {
  EXPECT_EQ(*reader_->LastPosition(), 0);
  Fill();
  EXPECT_EQ(*reader_->LastPosition(), 6);
  EXPECT_THAT(Positions(reader_->ReadAlertEvents("", 0, 100, SIZE_MAX)), ElementsAre(2, 3, 4, 5, 6));
  EXPECT_THAT(Positions(reader_->ReadAlertEvents("", 3, 2, SIZE_MAX)), ElementsAre(4, 5));
  EXPECT_THAT(Positions(reader_->ReadAlertEvents("b", 0, 100, SIZE_MAX)), ElementsAre(3));
  EXPECT_THAT(Positions(reader_->ReadAlertEvents("none", 0, 100, SIZE_MAX)), IsEmpty());
}

TEST_F(LedgerReaderTest, ReadsEventsOfAllJobsByPosition) {
  Fill();
  EXPECT_THAT(Positions(reader_->ReadAllEvents(0, 100, SIZE_MAX)), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(Positions(reader_->ReadAllEvents(2, 2, SIZE_MAX)), ElementsAre(3, 4));
  EXPECT_THAT(Positions(reader_->ReadAllEvents(6, 2, SIZE_MAX)), IsEmpty());
}

// A page of 1,000 large events would be too much for a client.
TEST_F(LedgerReaderTest, PagesEndAtTheirSizeInBytes) {
  for (int i = 1; i <= 20; ++i) {
    v1::Event event = MakeAlertEvent("a", i, absl::StrCat("alert ", i), v1::ALERT_STATE_FIRING);
    event.mutable_alert_changed()->mutable_alert()->set_summary(std::string(10'000, 'x'));
    ASSERT_THAT(AppendEvent(*ledger_, "uid-a", event), IsOk());
  }
  EXPECT_EQ(reader_->ReadEvents("uid-a", 0, 1000, 35'000)->size(), 4u);
  EXPECT_EQ(reader_->ReadEvents("uid-a", 0, 1000, 0)->size(), 1u);
  EXPECT_EQ(reader_->ReadEvents("uid-a", 18, 1000, 35'000)->size(), 2u);
  EXPECT_EQ(reader_->ReadAllEvents(0, 1000, 35'000)->size(), 4u);
  EXPECT_EQ(reader_->ReadAlertEvents("", 0, 1000, 35'000)->size(), 4u);
  EXPECT_EQ(reader_->ReadAlertEvents("a", 0, 1000, 35'000)->size(), 4u);
  LedgerReader::AlertFilter filter;
  filter.max_bytes = 35'000;
  EXPECT_EQ(reader_->ListAlerts(filter)->alerts.size(), 4u);
  EXPECT_TRUE(reader_->ListAlerts(filter)->more);
  filter.before = 4;
  EXPECT_EQ(reader_->ListAlerts(filter)->alerts.size(), 3u);
  EXPECT_FALSE(reader_->ListAlerts(filter)->more);
  filter.limit = 2;
  EXPECT_EQ(reader_->ListAlerts(filter)->alerts.size(), 2u);
  EXPECT_TRUE(reader_->ListAlerts(filter)->more);
}

TEST_F(LedgerReaderTest, ListsAlertsOfRulesByPages) {
  const char* const rules[] = {"a", "b", "a", "c", "a", "b"};
  for (int i = 0; i < 6; ++i) {
    v1::Event event = MakeAlertEvent("job", i + 1, absl::StrCat("-", i), v1::ALERT_STATE_FIRING);
    event.mutable_alert_changed()->mutable_alert()->set_rule(rules[i]);
    ASSERT_THAT(AppendEvent(*ledger_, "uid", event), IsOk());
  }
  EXPECT_THAT(AlertIds({.rules = {"a"}}), ElementsAre("5-4", "3-2", "1-0"));
  EXPECT_THAT(AlertIds({.rules = {"c", "b"}}), ElementsAre("6-5", "4-3", "2-1"));
  EXPECT_THAT(AlertIds({.rules = {"none"}}), IsEmpty());
  EXPECT_THAT(AlertIds({.rules = {"a"}, .limit = 2}), ElementsAre("5-4", "3-2"));
  EXPECT_TRUE(reader_->ListAlerts({.rules = {"a"}, .limit = 2})->more);
  EXPECT_FALSE(reader_->ListAlerts({.rules = {"a"}, .limit = 3})->more);
  EXPECT_THAT(AlertIds({.rules = {"a"}, .before = 3, .limit = 2}), ElementsAre("1-0"));
}

// A rule of which there is nothing must not cost a walk through all alerts at once.
TEST_F(LedgerReaderTest, APageOfARuleLooksAtSoManyAlertsAtMost) {
  constexpr int kAlerts = 10'003;
  const auto append_all = [](LedgerTransaction& transaction) {
    absl::Status status;
    for (int i = 0; i < kAlerts; ++i) {
      v1::Event event = MakeAlertEvent("job", i + 1, absl::StrCat("-", i), v1::ALERT_STATE_FIRING);
      event.mutable_alert_changed()->mutable_alert()->set_rule(i == 0 ? "rare" : "common");
      status.Update(transaction.AppendEvent("uid", &event).status());
    }
    return status;
  };
  ASSERT_THAT(CommitAndWait(*ledger_, append_all), IsOk());
  const auto page = reader_->ListAlerts({.rules = {"rare"}});
  EXPECT_THAT(page->alerts, IsEmpty());
  EXPECT_TRUE(page->more);
  EXPECT_THAT(AlertIds({.rules = {"rare"}, .before = page->last}), ElementsAre("1-0"));
}

TEST_F(LedgerReaderTest, ListsAlertsNewestFirst) {
  Fill();
  EXPECT_THAT(AlertIds({}), ElementsAre("5z", "3y", "2x"));
  EXPECT_THAT(AlertIds({.job_id = "a", .states = {}}), ElementsAre("5z", "2x"));
  EXPECT_THAT(AlertIds({.job_id = "", .states = {v1::ALERT_STATE_RESOLVED}}), ElementsAre("2x"));
  EXPECT_THAT(AlertIds({.job_id = "", .states = {v1::ALERT_STATE_RESOLVED, v1::ALERT_STATE_FIRING}}),
              ElementsAre("5z", "3y", "2x"));
  EXPECT_THAT(AlertIds({.job_id = "", .states = {v1::ALERT_STATE_PENDING}}), IsEmpty());
  EXPECT_THAT(AlertIds({.job_id = "", .states = {}, .min_severity = v1::SEVERITY_WARNING}), ElementsAre("3y", "2x"));
  LedgerReader::AlertFilter page;
  page.limit = 2;
  EXPECT_THAT(AlertIds(page), ElementsAre("5z", "3y"));
  page.before = 3;
  EXPECT_THAT(AlertIds(page), ElementsAre("2x"));
}

TEST_F(LedgerReaderTest, WhatWentAwayBeforeItFiredIsInNoList) {
  Fill();
  ASSERT_THAT(AppendEvent(*ledger_, "uid-a", MakeAlertEvent("a", 6, "w", v1::ALERT_STATE_PENDING)), IsOk());
  EXPECT_THAT(AlertIds({}), ElementsAre("7w", "5z", "3y", "2x"));
  // The second time as somebody acknowledges it.
  for (int64_t number : {7, 8}) {
    v1::Event event = MakeAlertEvent("a", number, "w", v1::ALERT_STATE_RESOLVED);
    event.mutable_alert_changed()->mutable_alert()->set_summary("did not fire, which needs 3 steps in a row; ...");
    ASSERT_THAT(AppendEvent(*ledger_, "uid-a", event), IsOk());
    EXPECT_THAT(AlertIds({}), ElementsAre("5z", "3y", "2x"));
    EXPECT_THAT(AlertIds({.job_id = "a", .states = {v1::ALERT_STATE_RESOLVED}}), ElementsAre("2x"));
    EXPECT_THAT(AlertIds({.job_id = "a", .states = {v1::ALERT_STATE_PENDING}}), IsEmpty());
  }
  EXPECT_EQ(reader_->GetAlert("w")->state(), v1::ALERT_STATE_RESOLVED) << "who knows it can look it up";
}

// The end of a run, or the death of its trainer, says nothing of what would have become of it.
TEST_F(LedgerReaderTest, WhatStillHeldAtTheEndIsListed) {
  Fill();
  ASSERT_THAT(AppendEvent(*ledger_, "uid-a", MakeAlertEvent("a", 6, "w", v1::ALERT_STATE_PENDING)), IsOk());
  for (int64_t number : {7, 8}) {
    v1::Event event = MakeAlertEvent("a", number, "w", v1::ALERT_STATE_RESOLVED);
    event.mutable_alert_changed()->mutable_alert()->set_summary("still held when the job ended; ...");
    ASSERT_THAT(AppendEvent(*ledger_, "uid-a", event), IsOk());
    EXPECT_THAT(AlertIds({.job_id = "a", .states = {v1::ALERT_STATE_RESOLVED}}), ElementsAre("7w", "2x"));
  }
}

TEST_F(LedgerReaderTest, GetsTheLastStateOfAnAlert) {
  Fill();
  const auto alert = reader_->GetAlert("x");
  ASSERT_THAT(alert, IsOk());
  EXPECT_EQ(alert->state(), v1::ALERT_STATE_RESOLVED);
  const auto none = reader_->GetAlert("none");
  EXPECT_THAT(none, StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"none\"")));
  EXPECT_EQ(core::GetReason(none.status()), "ALERT_NOT_FOUND");
}

TEST_F(LedgerReaderTest, ManyThreadsReadWhileTheLedgerWrites) {
  constexpr int kEvents = 300;
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([this] {
      int64_t last = 0;
      while (last < kEvents) {
        const auto events = reader_->ReadEvents("u", last, 7, SIZE_MAX);
        ASSERT_THAT(events, IsOk());
        for (const auto& stored : *events) ASSERT_EQ(stored.event.number(), ++last);
        std::this_thread::yield();
      }
    });
  }
  for (int i = 1; i <= kEvents; ++i) ASSERT_THAT(AppendEvent(*ledger_, "u", MakeEvent("j", i)), IsOk());
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace gradwatch::server
