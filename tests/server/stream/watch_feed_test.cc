#include "server/stream/watch_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <random>
#include <set>

#include "tests/server/store/store_testing.h"
#include "tests/server/stream/stream_testing.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::FakeClock;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kLarge = 1 << 20;
constexpr char kUid[] = "uid";

class WatchFeedTest : public ::testing::Test {
 protected:
  WatchFeedTest() {
    ledger_ = *Ledger::Open(dir_.File("main.db"), &clock_);
    reader_ = *LedgerReader::Open(dir_.File("main.db"));
    statistics_ = *StatisticsStore::Open(dir_.File("history"));
    Restart({}, kLarge);
  }

  void Restart(const WatchCursor& end, size_t ring_bytes) {
    rings_.push_back(std::make_unique<RingBudget>(size_t{1} << 30, ring_bytes));
    channel_ = std::make_shared<JobChannel>(kUid, end, false, rings_.back().get());
    history_ = std::make_unique<ReportHistory>(statistics_.get(), kLarge);
    sources_ = {.ledger = reader_.get(),
                .history = history_.get(),
                .statistics = statistics_.get(),
                .tell_loss = [this](const std::string& uid,
                                    const std::string& what) { losses_.insert(absl::StrCat(uid, ": ", what)); },
                .log_epoch = "epoch"};
  }

  // Makes durable, and publishes.
  void AppendEvents(int64_t first, int64_t last) {
    for (int64_t number = first; number <= last; ++number) {
      StoreEvent(number);
      channel_->AppendEvent(EncodeEvent(MakeEvent("j", number), number), false);
    }
  }
  void StoreEvent(int64_t number) { ASSERT_THAT(AppendEvent(*ledger_, kUid, MakeEvent("j", number)), IsOk()); }
  void AppendReports(int32_t attempt, int64_t first, int64_t last) {
    ASSERT_THAT(AppendAndWait(*statistics_, kUid, MakeReports(attempt, first, last)), IsOk());
    channel_->AppendReports(MakeReports(attempt, first, last));
  }

  WatchFeed MakeFeed(const WatchFilter& filter = {}, const WatchCursor& start = {},
                     const std::vector<std::string>& tensor_names = {}) {
    return WatchFeed(channel_, &sources_, filter, start, tensor_names);
  }

  // "e1" for an event, "r1:2" for a report of attempt 1, step 2; everything there is.
  std::vector<std::string> ReadAll(WatchFeed& feed, size_t max_bytes = kLarge) {
    std::vector<std::string> all;
    while (ReadPart(feed, max_bytes, &all)) {
    }
    return all;
  }

  bool ReadPart(WatchFeed& feed, size_t max_bytes, std::vector<std::string>* all) {
    const auto part = feed.Next(max_bytes, Lane::kCatchUp);
    EXPECT_THAT(part, IsOk());
    if (!part.ok() || !part->message.has_value()) return false;
    const v1::WatchJobResponse response = ParseResponse(*part->message);
    EXPECT_EQ(response.resume_token(), feed.Token());
    for (const v1::Event& event : response.events()) all->push_back(absl::StrCat("e", event.number()));
    for (const v1::StepReport& report : response.reports()) {
      all->push_back(absl::StrCat("r", report.attempt(), ":", report.step()));
    }
    for (const v1::StatisticsLost& lost : response.lost()) {
      all->push_back(absl::StrCat("lost", lost.attempt(), ":", lost.first_step(), "-", lost.last_step()));
    }
    return true;
  }

  const TempDir dir_;
  const FakeClock clock_{};
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<LedgerReader> reader_;
  std::unique_ptr<StatisticsStore> statistics_;
  std::vector<std::unique_ptr<RingBudget>> rings_;  // feeds of earlier lives hold channels that need theirs
  std::shared_ptr<JobChannel> channel_;
  std::unique_ptr<ReportHistory> history_;
  FeedSources sources_;
  std::set<std::string> losses_;
};

TEST_F(WatchFeedTest, DeliversEventsThenReportsWithAToken) {
  AppendEvents(1, 2);
  AppendReports(1, 0, 1);
  WatchFeed feed = MakeFeed();
  EXPECT_THAT(ReadAll(feed), ElementsAre("e1", "e2", "r1:0", "r1:1"));
  EXPECT_EQ(feed.cursor(), (WatchCursor{2, 1, 1}));
  const auto token = ResumeToken::Decode(feed.Token());
  ASSERT_THAT(token, IsOk());
  EXPECT_EQ(token->cursor, feed.cursor());
  EXPECT_EQ(token->uid, kUid);
  EXPECT_EQ(token->log_epoch, "epoch");
  EXPECT_EQ(token->filter_hash, WatchFilter().Hash());
  AppendEvents(3, 3);
  EXPECT_THAT(ReadAll(feed), ElementsAre("e3"));
}

TEST_F(WatchFeedTest, ReadsTheStoreWhereTheRingBeginsLater) {
  AppendEvents(1, 3);
  AppendReports(1, 0, 1);
  AppendReports(2, 1, 1);
  Restart({3, 2, 1}, kLarge);
  AppendEvents(4, 4);
  AppendReports(2, 2, 2);
  WatchFeed feed = MakeFeed();
  std::vector<std::string> all = ReadAll(feed, 1);
  std::sort(all.begin(), all.end());
  EXPECT_THAT(all, ElementsAre("e1", "e2", "e3", "e4", "r1:0", "r1:1", "r2:1", "r2:2"));
  WatchFeed later = MakeFeed({}, {.event = 2, .attempt = 1, .step = 1});
  EXPECT_THAT(ReadAll(later), ElementsAre("e3", "e4", "r2:1", "r2:2"));
}

// An attempt without reports lies between the cursor and the ring; the store has nothing there.
TEST_F(WatchFeedTest, GoesOnOverPlacesWithoutReports) {
  AppendReports(1, 0, 1);
  Restart({0, 2, -1}, kLarge);
  WatchFeed feed = MakeFeed({}, {.event = 0, .attempt = 1, .step = 1});
  EXPECT_FALSE(feed.Next(kLarge, Lane::kCatchUp)->message.has_value());
  AppendReports(2, 0, 0);
  EXPECT_THAT(ReadAll(feed), ElementsAre("r2:0"));
}

TEST_F(WatchFeedTest, DeliversNothingBeforeItIsPublished) {
  AppendEvents(1, 2);
  AppendReports(1, 0, 1);
  Restart({2, 1, 1}, kLarge);
  StoreEvent(3);
  ASSERT_THAT(AppendAndWait(*statistics_, kUid, MakeReports(1, 2, 2)), IsOk());
  WatchFeed feed = MakeFeed();
  EXPECT_THAT(ReadAll(feed), ElementsAre("e1", "e2", "r1:0", "r1:1"));
  EXPECT_EQ(feed.cursor(), channel_->End());
}

TEST_F(WatchFeedTest, EndsAfterTheLastEntry) {
  StoreEvent(1);
  WatchFeed feed = MakeFeed();
  EXPECT_FALSE(feed.Next(kLarge, Lane::kCatchUp)->ended);
  channel_->AppendEvent(EncodeEvent(MakeEvent("j", 1), 1), true);
  EXPECT_THAT(ReadAll(feed), ElementsAre("e1"));
  const auto part = feed.Next(kLarge, Lane::kCatchUp);
  ASSERT_THAT(part, IsOk());
  EXPECT_TRUE(part->ended);
  EXPECT_FALSE(part->message.has_value());
}

TEST_F(WatchFeedTest, AppliesTheFilter) {
  AppendEvents(1, 1);
  AppendReports(1, 0, 25);
  WatchFeed events_only = MakeFeed({.events_only = true, .every_steps = 1, .tensors = {}});
  EXPECT_THAT(ReadAll(events_only), ElementsAre("e1"));
  WatchFeed tenth = MakeFeed({.events_only = false, .every_steps = 10, .tensors = {}});
  EXPECT_THAT(ReadAll(tenth, 50), ElementsAre("e1", "r1:0", "r1:10", "r1:20"));
  EXPECT_EQ(tenth.cursor(), channel_->End());
}

TEST_F(WatchFeedTest, TensorsAreFilteredOnceTheirNamesAreKnown) {
  v1::StepReport report;
  report.set_attempt(1);
  report.add_tensors()->set_tensor(0);
  report.add_tensors()->set_tensor(1);
  channel_->AppendReports({EncodeReport(report)});
  WatchFeed feed = MakeFeed({.events_only = false, .every_steps = 1, .tensors = {"b*"}});
  ASSERT_TRUE(feed.WantsTensorNames());
  feed.SetTensorNames({"alpha", "beta"});
  ASSERT_FALSE(feed.WantsTensorNames());
  const auto part = feed.Next(kLarge, Lane::kCatchUp);
  ASSERT_THAT(part, IsOk());
  const v1::WatchJobResponse response = ParseResponse(*part->message);
  ASSERT_EQ(response.reports_size(), 1);
  ASSERT_EQ(response.reports(0).tensors_size(), 1);
  EXPECT_EQ(response.reports(0).tensors(0).tensor(), 1);
}

// A long history of which the filter keeps nothing is read in bounded parts, each with a token.
TEST_F(WatchFeedTest, ALongReadWithoutResultIsCutByTokens) {
  AppendReports(1, 1, 500);
  WatchFeed feed = MakeFeed({.events_only = false, .every_steps = 1000, .tensors = {}});
  int tokens = 0;
  for (;;) {
    const auto part = feed.Next(100, Lane::kCatchUp);
    ASSERT_THAT(part, IsOk());
    if (!part->message.has_value()) break;
    EXPECT_EQ(ParseResponse(*part->message).reports_size(), 0);
    ++tokens;
  }
  EXPECT_GT(tokens, 2);
  EXPECT_EQ(feed.cursor(), channel_->End());
}

// Only the lane kCatchUp reads the stores.
TEST_F(WatchFeedTest, OnTheLiveLaneItSaysThatItIsBehind) {
  AppendEvents(1, 2);
  AppendReports(1, 0, 1);
  Restart({2, 1, 1}, kLarge);
  WatchFeed feed = MakeFeed();
  auto part = feed.Next(kLarge, Lane::kLive);
  ASSERT_THAT(part, IsOk());
  EXPECT_TRUE(part->behind);
  EXPECT_FALSE(part->message.has_value() || part->ended);
  EXPECT_THAT(ReadAll(feed), ElementsAre("e1", "e2", "r1:0", "r1:1"));
  AppendReports(1, 2, 2);
  part = feed.Next(kLarge, Lane::kLive);
  ASSERT_THAT(part, IsOk());
  EXPECT_FALSE(part->behind);
  ASSERT_TRUE(part->message.has_value());
  EXPECT_EQ(ParseResponse(*part->message).reports_size(), 1);
}

// Hundreds who begin at the beginning must not hold the live lane up either, though the ring has it all.
TEST_F(WatchFeedTest, WhoHasMuchToTakeFromARingIsBehindToo) {
  Restart({}, size_t{8} << 20);
  channel_->AppendReports(MakeReports(1, 0, 9999));
  WatchFeed feed = MakeFeed();
  auto part = feed.Next(kLarge, Lane::kLive);
  ASSERT_THAT(part, IsOk());
  EXPECT_TRUE(part->behind);
  EXPECT_FALSE(part->message.has_value());
  for (int parts = 0; part->behind && parts < 10'000; ++parts) {
    part = feed.Next(1000, Lane::kCatchUp);
    ASSERT_THAT(part, IsOk());
    EXPECT_TRUE(part->message.has_value());
  }
  EXPECT_LT(feed.cursor().step, 9999);
  part = feed.Next(kLarge, Lane::kLive);
  ASSERT_THAT(part, IsOk());
  EXPECT_TRUE(part->message.has_value());
  EXPECT_EQ(feed.cursor(), channel_->End());
}

TEST_F(WatchFeedTest, LostRangesAreDeliveredInPlaceAndPassEveryFilter) {
  std::vector<EncodedReport> reports = MakeReports(1, 0, 1);
  reports.push_back(EncodeLost(1, 2, 7, "no room"));
  reports.push_back(MakeReport(1, 8));
  ASSERT_THAT(AppendAndWait(*statistics_, kUid, reports), IsOk());
  channel_->AppendReports(reports);
  const WatchFilter filter{.events_only = false, .every_steps = 8, .tensors = {"none*"}};
  for (const bool from_store : {false, true}) {
    if (from_store) Restart({0, 1, 8}, kLarge);
    WatchFeed all = MakeFeed();
    EXPECT_THAT(ReadAll(all), ElementsAre("r1:0", "r1:1", "r1:8", "lost1:2-7")) << from_store;
    WatchFeed some = MakeFeed(filter, {}, {"a tensor"});
    EXPECT_THAT(ReadAll(some), ElementsAre("r1:0", "r1:8", "lost1:2-7")) << from_store;
    WatchFeed later = MakeFeed({}, {.event = 0, .attempt = 1, .step = 4});
    EXPECT_THAT(ReadAll(later), ElementsAre("r1:8", "lost1:5-7")) << from_store;
    EXPECT_EQ(later.cursor(), channel_->End());
  }
  EXPECT_THAT(losses_, IsEmpty()) << "nothing was damaged";
}

// The store has one range of what was told as two.
TEST_F(WatchFeedTest, OfALostRangeThatIsPublishedInPartThePartIsTold) {
  ASSERT_THAT(AppendAndWait(*statistics_, kUid, MakeReports(1, 0, 9)), IsOk());
  const std::vector<EncodedReport> more = {EncodeLost(1, 10, 29, "away"), MakeReport(1, 30)};
  ASSERT_THAT(AppendAndWait(*statistics_, kUid, more), IsOk());
  Restart({0, 1, 19}, kLarge);
  WatchFeed feed = MakeFeed({}, {.event = 0, .attempt = 1, .step = 8});
  EXPECT_THAT(ReadAll(feed), ElementsAre("r1:9", "lost1:10-19"));
  EXPECT_EQ(feed.cursor(), channel_->End());
  channel_->AppendReports(more);
  EXPECT_THAT(ReadAll(feed), ElementsAre("r1:30", "lost1:20-29"));
  EXPECT_THAT(losses_, IsEmpty()) << "nothing was damaged";
}

TEST_F(WatchFeedTest, DamageIsToldOfTheAttemptThatHasIt) {
  ASSERT_THAT(AppendAndWait(*statistics_, kUid, MakeReports(1, 0, 9)), IsOk());
  ASSERT_THAT(AppendAndWait(*statistics_, kUid, {EncodeLost(2, 0, 4, kDamagedReason), MakeReport(2, 5)}), IsOk());
  Restart({0, 2, 5}, kLarge);
  WatchFeed feed = MakeFeed();
  EXPECT_EQ(ReadAll(feed).size(), 12u);
  EXPECT_THAT(losses_, ElementsAre("uid: statistics of attempt 2: what was stored is damaged"));
}

// The ledger knows how far the job went; the store has nothing, or only a part.
TEST_F(WatchFeedTest, WhatIsGoneFromTheStoreIsDeliveredAsLost) {
  AppendReports(1, 0, 9);
  Restart({0, 1, 19}, kLarge);
  channel_->AppendReports(MakeReports(1, 20, 20));
  WatchFeed feed = MakeFeed();
  std::vector<std::string> all = ReadAll(feed);
  EXPECT_EQ(all.size(), 12u);
  EXPECT_EQ(std::count(all.begin(), all.end(), "lost1:10-19"), 1);
  EXPECT_EQ(feed.cursor(), channel_->End());
  EXPECT_THAT(losses_, ElementsAre("uid: statistics of attempt 1: what was stored is gone"));
  WatchFeed later = MakeFeed({}, {.event = 0, .attempt = 1, .step = 14});
  EXPECT_THAT(ReadAll(later), ElementsAre("r1:20", "lost1:15-19"));
  EXPECT_EQ(losses_.size(), 1u) << "the same for all readers";
}

TEST_F(WatchFeedTest, AStoreThatIsGoneIsDeliveredAsLost) {
  ASSERT_THAT(AppendAndWait(*statistics_, kUid, MakeReports(1, 0, 9)), IsOk());
  statistics_.reset();
  std::filesystem::remove_all(dir_.File("history"));
  statistics_ = *StatisticsStore::Open(dir_.File("history"));
  Restart({0, 1, 9}, kLarge);
  WatchFeed feed = MakeFeed();
  EXPECT_THAT(ReadAll(feed), ElementsAre("lost1:0-9"));
  EXPECT_THAT(losses_, ElementsAre("uid: statistics of attempt 1: what was stored is gone"));
}

TEST_F(WatchFeedTest, TellsWhatTheStoreHasLost) {
  AppendEvents(1, 3);
  AppendReports(1, 0, 3);
  Restart({3, 1, 3}, kLarge);
  WatchFeed feed = MakeFeed();
  const auto remove = [](LedgerTransaction& transaction) { return transaction.DeleteJob(kUid, 1); };
  ASSERT_THAT(CommitAndWait(*ledger_, remove), IsOk());
  EXPECT_THAT(feed.Next(kLarge, Lane::kCatchUp), StatusIs(absl::StatusCode::kNotFound, HasSubstr("deleted")));
  EXPECT_EQ(feed.cursor(), WatchCursor());
}

// One watcher of the property test: a feed, and all that it has delivered.
struct Watcher {
  WatchFilter filter;
  size_t max_bytes;
  std::unique_ptr<WatchFeed> feed;
  std::vector<int64_t> events;
  std::vector<std::pair<int32_t, int64_t>> reports;
};

// Random appends, publications, reads, reconnections with the token and restarts of the server, over a ring that holds
// a handful of entries. In the end each watcher has everything that its filter lets through, once, in order.
TEST_F(WatchFeedTest, NoGapAndNoRepeatWhateverHappens) {
  constexpr size_t kTinyRing = 1500;
  std::mt19937 random(11);
  const auto chance = [&random](int percent) { return static_cast<int>(random() % 100) < percent; };
  std::vector<Watcher> watchers;
  for (const size_t max_bytes : {1, 60, 200, 5000}) {
    watchers.push_back({{}, max_bytes, nullptr, {}, {}});
    watchers.push_back({{.events_only = false, .every_steps = 3, .tensors = {}}, max_bytes, nullptr, {}, {}});
  }
  watchers.push_back({{.events_only = true, .every_steps = 1, .tensors = {}}, 100, nullptr, {}, {}});

  std::vector<std::pair<int32_t, int64_t>> history;  // of reports
  std::vector<EncodedReport> unpublished;
  int64_t stored_event = 0, published_event = 0;
  int32_t attempt = 1;
  int64_t step = -1;

  const auto connect = [&](Watcher& watcher, const WatchCursor& cursor) {
    watcher.feed = std::make_unique<WatchFeed>(MakeFeed(watcher.filter, cursor));
  };
  const auto publish = [&] {
    while (published_event < stored_event)
      channel_->AppendEvent(EncodeEvent(MakeEvent("j", ++published_event), 1), false);
    channel_->AppendReports(unpublished);
    unpublished.clear();
  };
  const auto read = [&](Watcher& watcher, bool* ended) {
    const auto part = watcher.feed->Next(watcher.max_bytes, Lane::kCatchUp);
    ASSERT_THAT(part, IsOk());
    *ended = part->ended;
    if (!part->message.has_value()) return;
    const v1::WatchJobResponse response = ParseResponse(*part->message);
    for (const v1::Event& event : response.events()) watcher.events.push_back(event.number());
    for (const v1::StepReport& report : response.reports()) {
      watcher.reports.emplace_back(report.attempt(), report.step());
    }
    if (chance(10)) {
      const auto token = ResumeToken::Decode(response.resume_token());
      ASSERT_THAT(token, IsOk());
      EXPECT_EQ(token->filter_hash, watcher.filter.Hash());
      connect(watcher, token->cursor);
    }
  };

  Restart({}, kTinyRing);
  for (Watcher& watcher : watchers) connect(watcher, {});
  for (int round = 0; round < 1500; ++round) {
    if (chance(30)) StoreEvent(++stored_event);
    if (chance(5)) ++attempt, step = -1;
    if (chance(40)) {
      std::vector<EncodedReport> reports;
      for (int i = 1 + static_cast<int>(random() % 4); i > 0; --i) {
        step += 1 + static_cast<int64_t>(random() % 2);
        reports.push_back(MakeReport(attempt, step));
        history.emplace_back(attempt, step);
      }
      unpublished.insert(unpublished.end(), reports.begin(), reports.end());
      ASSERT_THAT(AppendAndWait(*statistics_, kUid, std::move(reports)), IsOk());
    }
    if (chance(50)) publish();
    if (chance(2)) {
      publish();
      Restart({stored_event, attempt, *statistics_->LastStep(kUid, attempt)}, kTinyRing);
      for (Watcher& watcher : watchers) connect(watcher, watcher.feed->cursor());
    }
    for (Watcher& watcher : watchers) {
      bool ended = false;
      if (chance(30)) read(watcher, &ended);
      ASSERT_FALSE(ended);
    }
  }
  publish();
  StoreEvent(++stored_event);
  channel_->AppendEvent(EncodeEvent(MakeEvent("j", stored_event), 1), /*ends_job=*/true);

  std::vector<int64_t> all_events(stored_event);
  std::iota(all_events.begin(), all_events.end(), 1);
  for (Watcher& watcher : watchers) {
    bool ended = false;
    while (!ended && !HasFatalFailure()) read(watcher, &ended);
    EXPECT_EQ(watcher.events, all_events);
    std::vector<std::pair<int32_t, int64_t>> wanted;
    for (const auto& report : history) {
      if (!watcher.filter.events_only && report.second % watcher.filter.every_steps == 0) wanted.push_back(report);
    }
    EXPECT_EQ(watcher.reports, wanted);
  }
}

// Conflated: ranges of steps, as "p1:first-last min..max", of what a reader gets at once.
class ConflatedFeedTest : public WatchFeedTest {
 protected:
  static WatchFilter Conflated(int64_t every = 1) {
    WatchFilter filter;
    filter.every_steps = every;
    filter.conflated = true;
    return filter;
  }

  // Reports whose losses are their steps, but for a spike and what is not finite.
  static v1::StepReport ReportOf(int32_t attempt, int64_t step) {
    v1::StepReport report;
    report.set_attempt(attempt);
    report.set_step(step);
    report.set_loss(step == kSpike ? 1e9 : step == kBad ? NAN : static_cast<double>(step));
    return report;
  }
  void Append(int32_t attempt, int64_t first, int64_t last) {
    std::vector<EncodedReport> reports;
    for (int64_t step = first; step <= last; ++step) reports.push_back(EncodeReport(ReportOf(attempt, step)));
    ASSERT_THAT(AppendAndWait(*statistics_, kUid, reports), IsOk());
    channel_->AppendReports(reports);
  }

  // The points of one message; none: nothing new.
  static std::vector<v1::ConflatedPoint> Points(WatchFeed& feed, size_t max_bytes = kLarge) {
    const auto part = feed.Next(max_bytes, Lane::kCatchUp);
    EXPECT_THAT(part, IsOk());
    if (!part.ok() || !part->message.has_value()) return {};
    const v1::WatchJobResponse response = ParseResponse(*part->message);
    EXPECT_EQ(response.reports_size(), 0);
    EXPECT_LE(response.points_size(), WatchFeed::kMaxPoints);
    EXPECT_EQ(response.resume_token(), feed.Token());
    return {response.points().begin(), response.points().end()};
  }
  static std::vector<v1::ConflatedPoint> AllPoints(WatchFeed& feed) {
    std::vector<v1::ConflatedPoint> all;
    for (auto points = Points(feed); !points.empty(); points = Points(feed)) {
      all.insert(all.end(), points.begin(), points.end());
    }
    return all;
  }
  // Every step from `first` to `last` once, the spike and the bad step where they are.
  static void ExpectAll(const std::vector<v1::ConflatedPoint>& points, int64_t first, int64_t last) {
    for (const v1::ConflatedPoint& point : points) {
      ASSERT_EQ(point.first_step(), first);
      const bool has_spike = point.first_step() <= kSpike && kSpike <= point.last_step();
      const bool has_bad = point.first_step() <= kBad && kBad <= point.last_step();
      EXPECT_EQ(point.loss_max() == 1e9, has_spike);
      EXPECT_EQ(point.non_finite_steps(), has_bad ? 1 : 0);
      if (first != kSpike && first != kBad) {
        EXPECT_EQ(point.loss_min(), static_cast<double>(first));
      }
      first = point.last_step() + 1;
    }
    EXPECT_EQ(first, last + 1);
  }

  static constexpr int64_t kSpike = 2'345, kBad = 3'456;
};

TEST_F(ConflatedFeedTest, WhoKeepsUpGetsEveryStepAndWhoDoesNotFewerAndWiderRanges) {
  Append(1, 0, 9);
  WatchFeed feed = MakeFeed(Conflated());
  std::vector<v1::ConflatedPoint> points = Points(feed);
  ASSERT_EQ(points.size(), 10u);
  ExpectAll(points, 0, 9);
  EXPECT_EQ(points[4].last().step(), 4);
  Append(1, 10, 4'000);
  points = Points(feed);
  EXPECT_GE(points.size(), 32u);
  ExpectAll(points, 10, 4'000);
  for (const v1::ConflatedPoint& point : points) EXPECT_EQ(point.last().step(), point.last_step());
  EXPECT_TRUE(Points(feed).empty());
  EXPECT_EQ(feed.cursor(), (WatchCursor{0, 1, 4'000}));
}

TEST_F(ConflatedFeedTest, LargeReportsMakeFewerRanges) {
  Append(1, 0, 4'000);
  WatchFeed feed = MakeFeed(Conflated());
  const auto points = Points(feed, /*max_bytes=*/500);
  EXPECT_LE(points.size(), 8u);
  ExpectAll(points, 0, 4'000);
}

TEST_F(ConflatedFeedTest, BehindTheRingTheStoreAnswersAndNoStepCountsTwice) {
  Append(1, 0, 9'000);
  for (const int64_t from : {-1, 2'344, 2'345, 4'000}) {
    Restart({0, 1, 7'777}, kLarge);
    std::vector<EncodedReport> ring;
    for (int64_t step = 7'778; step <= 9'000; ++step) ring.push_back(EncodeReport(ReportOf(1, step)));
    channel_->AppendReports(ring);
    WatchFeed feed = MakeFeed(Conflated(), {.event = 0, .attempt = from < 0 ? 0 : 1, .step = from});
    const auto points = AllPoints(feed);
    EXPECT_LE(points.size(), 2u * WatchFeed::kMaxPoints);
    ExpectAll(points, from + 1, 9'000);
    for (const v1::ConflatedPoint& point : points) EXPECT_EQ(point.last().step(), point.last_step());
  }
}

TEST_F(ConflatedFeedTest, AttemptsFollowOneAnother) {
  Append(1, 0, 99);
  Append(2, 50, 299);
  Restart({0, 2, 199}, kLarge);
  std::vector<EncodedReport> ring;
  for (int64_t step = 200; step <= 299; ++step) ring.push_back(EncodeReport(ReportOf(2, step)));
  channel_->AppendReports(ring);
  WatchFeed feed = MakeFeed(Conflated());
  std::vector<v1::ConflatedPoint> first, second;
  for (const v1::ConflatedPoint& point : AllPoints(feed)) (point.attempt() == 1 ? first : second).push_back(point);
  ExpectAll(first, 0, 99);
  ExpectAll(second, 50, 299);
}

// Of a unit nothing is told before it is closed, by its last step, by the next attempt, or by the end of the job.
TEST_F(ConflatedFeedTest, RangesOfAUnitComeWhenTheyAreClosed) {
  Append(1, 0, 98);
  WatchFeed feed = MakeFeed(Conflated(100));
  EXPECT_TRUE(Points(feed).empty());
  Append(1, 99, 250);
  auto points = Points(feed);
  ASSERT_EQ(points.size(), 2u);
  ExpectAll(points, 0, 199);
  EXPECT_TRUE(Points(feed).empty());
  Append(2, 200, 210);
  points = Points(feed);
  ASSERT_EQ(points.size(), 1u);
  EXPECT_EQ(points[0].attempt(), 1);
  EXPECT_EQ(points[0].last_step(), 250);
  StoreEvent(1);
  channel_->AppendEvent(EncodeEvent(MakeEvent("j", 1), 1), /*ends_job=*/true);
  points = Points(feed);
  ASSERT_EQ(points.size(), 1u);
  EXPECT_EQ(points[0].attempt(), 2);
  EXPECT_EQ(points[0].last_step(), 210);
  EXPECT_TRUE(feed.Next(kLarge, Lane::kCatchUp)->ended);
}

// Also the one in which the ring begins: it comes from the store as a whole, once it is closed.
TEST_F(ConflatedFeedTest, RangesOfAUnitAreTheSameWhereverTheyComeFrom) {
  const auto told = [](const std::vector<v1::ConflatedPoint>& points) {
    std::vector<std::string> texts;
    for (const v1::ConflatedPoint& point : points) {
      texts.push_back(absl::StrCat(point.first_step(), "-", point.last_step(), " ", point.loss_min(), " to ",
                                   point.loss_max(), ", ", point.last().step()));
    }
    return texts;
  };
  Append(1, 0, 899);
  WatchFeed in_memory = MakeFeed(Conflated(100));
  const auto wanted = told(AllPoints(in_memory));
  ASSERT_EQ(wanted.size(), 9u);
  EXPECT_EQ(wanted[3], "300-399 300 to 399, 399");
  Restart({0, 1, 777}, kLarge);
  std::vector<EncodedReport> ring;
  for (int64_t step = 778; step < 790; ++step) ring.push_back(EncodeReport(ReportOf(1, step)));
  channel_->AppendReports(ring);
  WatchFeed feed = MakeFeed(Conflated(100));
  auto got = told(AllPoints(feed));
  EXPECT_EQ(got, std::vector(wanted.begin(), wanted.begin() + 7)) << "what is not closed is not told";
  for (int64_t step = 790; step < 900; ++step) channel_->AppendReports({EncodeReport(ReportOf(1, step))});
  for (const std::string& more : told(AllPoints(feed))) got.push_back(more);
  EXPECT_EQ(got, wanted);
  EXPECT_EQ(feed.cursor(), channel_->End());
}

TEST_F(ConflatedFeedTest, TheRangeInWhichTheRingBeginsEndsWithTheJob) {
  AppendEvents(1, 1);
  Append(1, 0, 789);
  Restart({1, 1, 777}, kLarge);
  std::vector<EncodedReport> ring;
  for (int64_t step = 778; step < 790; ++step) ring.push_back(EncodeReport(ReportOf(1, step)));
  channel_->AppendReports(ring);
  StoreEvent(2);
  channel_->AppendEvent(EncodeEvent(MakeEvent("j", 2), 2), /*ends_job=*/true);
  WatchFeed feed = MakeFeed(Conflated(100), {.event = 2, .attempt = 1, .step = 699});
  const auto points = Points(feed);
  ASSERT_EQ(points.size(), 1u);
  ExpectAll(points, 700, 789);
  EXPECT_TRUE(feed.Next(kLarge, Lane::kCatchUp)->ended);
}

TEST_F(ConflatedFeedTest, WhatIsLostIsTold) {
  Append(1, 0, 9);
  const std::vector<EncodedReport> lost = {EncodeLost(1, 10, 19, "away"), EncodeReport(ReportOf(1, 20))};
  ASSERT_THAT(AppendAndWait(*statistics_, kUid, lost), IsOk());
  channel_->AppendReports(lost);
  for (const bool from_store : {false, true}) {
    if (from_store) Restart({0, 1, 20}, kLarge);
    WatchFeed feed = MakeFeed(Conflated(), {.event = 0, .attempt = 1, .step = 14});
    const auto part = feed.Next(kLarge, Lane::kCatchUp);
    ASSERT_THAT(part, IsOk());
    ASSERT_TRUE(part->message.has_value());
    const v1::WatchJobResponse response = ParseResponse(*part->message);
    ASSERT_EQ(response.lost_size(), 1);
    EXPECT_EQ(response.lost(0).first_step(), 15);
    EXPECT_EQ(response.lost(0).last_step(), 19);
    EXPECT_EQ(response.lost(0).reason(), "away");
    ASSERT_EQ(response.points_size(), 1);
    EXPECT_EQ(response.points(0).last().step(), 20);
  }
}

TEST_F(ConflatedFeedTest, NoMessageHasMoreLostRangesThanSoMany) {
  std::vector<EncodedReport> entries;
  for (int64_t step = 0; step < 1'000; step += 2) {
    entries.push_back(EncodeReport(ReportOf(1, step)));
    entries.push_back(EncodeLost(1, step + 1, step + 1, "away"));
  }
  ASSERT_THAT(AppendAndWait(*statistics_, kUid, entries), IsOk());
  channel_->AppendReports(entries);
  for (const bool from_store : {false, true}) {
    if (from_store) Restart({0, 1, 999}, kLarge);
    for (const int64_t unit : {1, 10, 1'000}) {
      WatchFeed feed = MakeFeed(Conflated(unit));
      v1::WatchJobResponse all;
      for (auto part = feed.Next(kLarge, Lane::kCatchUp); part->message.has_value();
           part = feed.Next(kLarge, Lane::kCatchUp)) {
        const v1::WatchJobResponse response = ParseResponse(*part->message);
        EXPECT_LE(response.lost_size(), WatchFeed::kMaxLost);
        EXPECT_LE(response.points_size(), WatchFeed::kMaxPoints);
        all.MergeFrom(response);
      }
      ASSERT_EQ(all.lost_size(), 500) << from_store << ", " << unit;
      for (int i = 0; i < 500; ++i) EXPECT_EQ(all.lost(i).first_step(), 2 * i + 1);
      int64_t next = 0;
      for (const v1::ConflatedPoint& point : all.points()) {
        EXPECT_EQ((point.first_step() + 1) / 2 * 2, next) << "the next report";
        next = point.last_step() / 2 * 2 + 2;
      }
      EXPECT_EQ(next, 1'000);
    }
  }
}

TEST_F(ConflatedFeedTest, AUnitInWhichSomeIsLostIsOneRange) {
  std::vector<EncodedReport> entries;
  for (int64_t step = 0; step < 1'000; ++step) {
    entries.push_back(step % 2 == 1 ? EncodeLost(1, step, step, "away") : EncodeReport(ReportOf(1, step)));
  }
  ASSERT_THAT(AppendAndWait(*statistics_, kUid, entries), IsOk());
  channel_->AppendReports(entries);
  for (const bool from_store : {false, true}) {
    if (from_store) Restart({0, 1, 999}, kLarge);
    WatchFeed feed = MakeFeed(Conflated(10));
    const auto points = AllPoints(feed);
    ASSERT_EQ(points.size(), 100u) << from_store;
    for (int i = 0; i < 100; ++i) EXPECT_EQ(points[static_cast<size_t>(i)].first_step(), 10 * i) << from_store;
  }
}

// A message ended with the first lost range, so that who is slow got every step of a few, and never caught up.
TEST_F(ConflatedFeedTest, RangesGoOnOverWhatIsLost) {
  std::vector<EncodedReport> entries;
  for (int64_t step = 0; step < 600; ++step) {
    entries.push_back(step % 10 == 9 ? EncodeLost(1, step, step, "away") : EncodeReport(ReportOf(1, step)));
  }
  channel_->AppendReports(entries);
  WatchFeed feed = MakeFeed(Conflated());
  const auto points = Points(feed);
  EXPECT_GE(points.size(), 32u);
  EXPECT_EQ(points.back().last_step(), 598);
  EXPECT_EQ(feed.cursor(), channel_->End());
}

TEST_F(ConflatedFeedTest, EventsAreNeverConflatedAndComeWhileNoRangeIsClosed) {
  AppendEvents(1, 3);
  Append(1, 0, 10);
  WatchFeed feed = MakeFeed(Conflated(1'000));
  const auto part = feed.Next(kLarge, Lane::kCatchUp);
  ASSERT_THAT(part, IsOk());
  EXPECT_EQ(ParseResponse(*part->message).events_size(), 3);
  EXPECT_EQ(feed.cursor(), (WatchCursor{3, 0, -1}));
}

// A place is one in either kind of stream.
TEST_F(ConflatedFeedTest, ATokenOfOneKindGoesOnInTheOther) {
  Append(1, 0, 99);
  WatchFeed conflated = MakeFeed(Conflated());
  EXPECT_EQ(WatchFilter().Hash(), Conflated().Hash());
  EXPECT_FALSE(Points(conflated).empty());
  Append(1, 100, 101);
  WatchFeed lossless = MakeFeed({}, ResumeToken::Decode(conflated.Token())->cursor);
  EXPECT_THAT(ReadAll(lossless), ElementsAre("r1:100", "r1:101"));
}

}  // namespace
}  // namespace gradwatch::server
