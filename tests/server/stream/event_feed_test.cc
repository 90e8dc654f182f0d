#include "server/stream/event_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "gradwatch/v1/watch_service.pb.h"
#include "tests/server/store/store_testing.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kLarge = 1 << 20;

class EventFeedTest : public ::testing::Test {
 protected:
  EventFeedTest() {
    ledger_ = *Ledger::Open(dir_.File("main.db"), &clock_);
    reader_ = *LedgerReader::Open(dir_.File("main.db"));
    Restart(kLarge);
  }

  void Restart(size_t ring_bytes) { channel_ = std::make_unique<EventChannel>(*reader_->LastPosition(), ring_bytes); }
  // Makes durable, and publishes if so told.
  int64_t Append(const std::string& job_id, v1::Event event, bool publish = true, const std::string& uid = "") {
    int64_t position = 0;
    EXPECT_THAT(CommitAndWait(*ledger_,
                              [&](LedgerTransaction& transaction) {
                                const auto given =
                                    transaction.AppendEvent(uid.empty() ? "uid of " + job_id : uid, &event);
                                if (given.ok()) position = *given;
                                return given.status();
                              }),
                IsOk());
    if (publish) channel_->Append(EncodeEvent(event, position));
    return position;
  }
  // Two jobs, a and b, with a state each and alerts: a (warning), b (critical).
  void AppendSome() {
    Append("a", MakeEvent("a", 1));
    Append("b", MakeEvent("b", 1));
    Append("a", MakeAlertEvent("a", 2, "alert-a", v1::ALERT_STATE_FIRING, v1::SEVERITY_WARNING));
    Append("b", MakeAlertEvent("b", 2, "alert-b", v1::ALERT_STATE_FIRING, v1::SEVERITY_CRITICAL));
  }

  EventFeed MakeFeed(const EventFilter& filter = {}, int64_t start = 0) {
    return EventFeed(channel_.get(), reader_.get(), filter, start);
  }
  // All there is: "a1" for event 1 of job a.
  std::vector<std::string> ReadAll(EventFeed& feed, size_t max_bytes = kLarge) {
    std::vector<std::string> all;
    for (;;) {
      auto part = feed.Next(max_bytes, Lane::kCatchUp);
      EXPECT_THAT(part, IsOk());
      if (!part.ok()) return all;
      v1::WatchJobsResponse response;
      EXPECT_TRUE(response.ParseFromString(EncodedMessage{part->events}.Flatten()));
      for (const v1::Event& event : response.events()) all.push_back(absl::StrCat(event.job_id(), event.number()));
      if (part->complete) return all;
    }
  }

  const testing::TempDir dir_;
  const testing::FakeClock clock_{};
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<LedgerReader> reader_;
  std::unique_ptr<EventChannel> channel_;
};

TEST_F(EventFeedTest, RingAndLedgerSayTheSame) {
  AppendSome();
  for (const bool from_ledger : {false, true}) {
    if (from_ledger) Restart(kLarge);
    for (const size_t max_bytes : {size_t{1}, kLarge}) {
      EventFeed all = MakeFeed();
      EXPECT_THAT(ReadAll(all, max_bytes), ElementsAre("a1", "b1", "a2", "b2"));
      EXPECT_EQ(all.position(), channel_->End());
      EventFeed alerts = MakeFeed({.alerts_only = true, .job_id = "", .min_severity = {}});
      EXPECT_THAT(ReadAll(alerts, max_bytes), ElementsAre("a2", "b2"));
      EventFeed severe = MakeFeed({.alerts_only = true, .job_id = "", .min_severity = v1::SEVERITY_CRITICAL});
      EXPECT_THAT(ReadAll(severe, max_bytes), ElementsAre("b2"));
      EventFeed of_a = MakeFeed({.alerts_only = true, .job_id = "a", .min_severity = {}});
      EXPECT_THAT(ReadAll(of_a, max_bytes), ElementsAre("a2"));
      EXPECT_EQ(of_a.position(), channel_->End());
    }
  }
}

TEST_F(EventFeedTest, TheLedgerIsReadOnTheOtherLaneOnly) {
  AppendSome();
  Restart(kLarge);
  EventFeed feed = MakeFeed();
  const auto part = feed.Next(kLarge, Lane::kLive);
  ASSERT_THAT(part, IsOk());
  EXPECT_TRUE(part->behind);
  EXPECT_FALSE(part->complete);
  EXPECT_THAT(part->events, IsEmpty());
}

TEST_F(EventFeedTest, DeliversNothingBeforeItIsPublished) {
  AppendSome();
  Restart(kLarge);
  Append("a", MakeEvent("a", 3), /*publish=*/false);
  EventFeed feed = MakeFeed();
  EXPECT_THAT(ReadAll(feed), ElementsAre("a1", "b1", "a2", "b2"));
  EXPECT_EQ(feed.position(), channel_->End());
}

// The ring holds the newest, the ledger the rest, and what was deleted is passed over.
TEST_F(EventFeedTest, GoesOnOverDeletedJobs) {
  AppendSome();
  Restart(1);
  Append("a", MakeEvent("a", 3));
  Append("b", MakeEvent("b", 3));
  ASSERT_THAT(
      CommitAndWait(*ledger_, [](LedgerTransaction& transaction) { return transaction.DeleteJob("uid of a", 1); }),
      IsOk());
  EventFeed feed = MakeFeed();
  EXPECT_THAT(ReadAll(feed), ElementsAre("b1", "b2", "b3"));
  EXPECT_EQ(feed.position(), channel_->End());
}

// Whether what came before lies in the ring or in the ledger.
TEST_F(EventFeedTest, AJobThatWasDeletedIsForgotten) {
  AppendSome();
  EventFeed live = MakeFeed();
  EXPECT_THAT(ReadAll(live, 1), ElementsAre("a1", "b1", "a2", "b2"));
  const int64_t before = Append("a", MakeEvent("a", 3));
  ASSERT_THAT(
      CommitAndWait(*ledger_, [](LedgerTransaction& transaction) { return transaction.DeleteJob("uid of a", 1); }),
      IsOk());
  channel_->Forget("a");
  channel_->Forget("nobody");
  EXPECT_THAT(ReadAll(live), IsEmpty());
  EXPECT_EQ(live.position(), before) << "it goes on behind what was deleted";
  Append("a", MakeAlertEvent("a", 1, "next", v1::ALERT_STATE_FIRING), /*publish=*/true, "the next a");
  EXPECT_THAT(ReadAll(live), ElementsAre("a1"));
  for (const bool from_ledger : {false, true}) {
    if (from_ledger) Restart(kLarge);
    EventFeed all = MakeFeed();
    EXPECT_THAT(ReadAll(all), ElementsAre("b1", "b2", "a1"));
    EventFeed of_a = MakeFeed({.alerts_only = true, .job_id = "a", .min_severity = {}});
    EXPECT_THAT(ReadAll(of_a), ElementsAre("a1"));
    EventFeed since = MakeFeed({}, before);
    EXPECT_THAT(ReadAll(since), ElementsAre("a1"));
  }
}

TEST_F(EventFeedTest, WhatIsForgottenGivesItsRoomBack) {
  const size_t one = EncodeEvent(MakeEvent("a", 1), 1).bytes->size() + kEntryOverhead;
  EventChannel channel(0, 2 * one);
  channel.Append(EncodeEvent(MakeEvent("a", 1), 1));
  channel.Append(EncodeEvent(MakeEvent("b", 1), 2));
  channel.Forget("a");
  channel.Append(EncodeEvent(MakeEvent("b", 2), 3));
  EXPECT_FALSE(channel.Read(0, kLarge).behind);
  EXPECT_EQ(channel.Read(0, kLarge).events.size(), 2u);
}

TEST_F(EventFeedTest, APositionThatWasPublishedAlreadyIsPassedOver) {
  EventChannel channel(7, kLarge);
  channel.Append(EncodeEvent(MakeEvent("a", 1), 7));
  EXPECT_EQ(channel.End(), 7);
  channel.Append(EncodeEvent(MakeEvent("a", 2), 9));
  EXPECT_EQ(channel.End(), 9);
  EXPECT_EQ(channel.Read(7, kLarge).events.size(), 1u);
  EXPECT_TRUE(channel.Read(6, kLarge).behind);
}

}  // namespace
}  // namespace gradwatch::server
