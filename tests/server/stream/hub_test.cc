#include "server/stream/hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

namespace gradwatch::server {
namespace {

using ::testing::ElementsAre;

// Does what the test says on each wake-up, and fails if two run at once.
class TestSubscriber final : public Subscriber {
 public:
  explicit TestSubscriber(std::function<void(int)> on_wake = [](int) {}) : on_wake_(std::move(on_wake)) {}

  Lane OnWake(Lane lane) override {
    EXPECT_EQ(lane, Lane::kLive);
    EXPECT_FALSE(running_.exchange(true));
    int wake = 0;
    {
      absl::MutexLock lock(&mutex_);
      wake = ++wakes_;
    }
    on_wake_(wake);
    running_ = false;
    return Lane::kLive;
  }

  int wakes() const {
    absl::MutexLock lock(&mutex_);
    return wakes_;
  }
  void AwaitWakes(int wanted) const {
    const auto reached = [this, wanted] { return wakes_ >= wanted; };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&reached));
  }

 private:
  const std::function<void(int)> on_wake_;
  std::atomic<bool> running_ = false;
  mutable absl::Mutex mutex_;
  int wakes_ = 0;
};

// Waits until everything that was queued before has run; for hubs of one thread.
void Drain(Hub& hub) {
  auto last = std::make_shared<TestSubscriber>();
  hub.Subscribe("drain", last);
  hub.Wake(last);
  last->AwaitWakes(1);
  hub.Unsubscribe("drain", last);
}

TEST(HubTest, WakesTheSubscribersOfATopic) {
  Hub hub(1, 1);
  auto first = std::make_shared<TestSubscriber>();
  auto second = std::make_shared<TestSubscriber>();
  auto other = std::make_shared<TestSubscriber>();
  hub.Subscribe("job", first);
  hub.Subscribe("job", second);
  hub.Subscribe("other", other);
  EXPECT_EQ(hub.subscribers(), 3);
  hub.Notify("job");
  hub.Notify("nobody is here");
  Drain(hub);
  EXPECT_EQ(first->wakes(), 1);
  EXPECT_EQ(second->wakes(), 1);
  EXPECT_EQ(other->wakes(), 0);
  hub.Wake(other);
  Drain(hub);
  EXPECT_EQ(first->wakes(), 1);
  EXPECT_EQ(other->wakes(), 1);
}

TEST(HubTest, WakeUpsThatAreQueuedAreNotQueuedAgain) {
  absl::Notification running, go_on;
  Hub hub(1, 1);
  auto blocker = std::make_shared<TestSubscriber>([&](int) {
    running.Notify();
    go_on.WaitForNotification();
  });
  auto waiting = std::make_shared<TestSubscriber>();
  hub.Subscribe("blocker", blocker);
  hub.Subscribe("job", waiting);
  hub.Notify("blocker");
  running.WaitForNotification();
  for (int i = 0; i < 10; ++i) hub.Notify("job");
  go_on.Notify();
  Drain(hub);
  EXPECT_EQ(waiting->wakes(), 1);
}

TEST(HubTest, WhoFollowsAllEventsDoesNotQueueBehindTheOthers) {
  absl::Notification running, go_on;
  Hub hub(1, 1);
  auto blocker = std::make_shared<TestSubscriber>([&](int) {
    running.Notify();
    go_on.WaitForNotification();
  });
  std::vector<std::string> order;
  auto reports = std::make_shared<TestSubscriber>([&](int) { order.push_back("reports"); });
  auto alerts = std::make_shared<TestSubscriber>([&](int) { order.push_back("alerts"); });
  hub.Subscribe("blocker", blocker);
  hub.Subscribe("job", reports);
  hub.Subscribe(Hub::kEventsTopic, alerts);
  hub.Notify("blocker");
  running.WaitForNotification();
  hub.Notify("job");
  hub.Notify(Hub::kEventsTopic);
  go_on.Notify();
  Drain(hub);
  EXPECT_THAT(order, ElementsAre("alerts", "reports"));
}

// Each new event finds those who have run already behind those who have not.
TEST(HubTest, WhoFollowsAllEventsTakesTurns) {
  absl::Notification running, go_on;
  Hub hub(1, 1);
  auto blocker = std::make_shared<TestSubscriber>([&](int) {
    running.Notify();
    go_on.WaitForNotification();
  });
  hub.Subscribe("blocker", blocker);
  constexpr int kWatchers = 5;
  std::vector<std::shared_ptr<TestSubscriber>> watchers;
  std::vector<int> runs(kWatchers), most_ahead(kWatchers);
  for (int i = 0; i < kWatchers; ++i) {
    watchers.push_back(std::make_shared<TestSubscriber>([&, i](int wake) {
      ++runs[i];
      for (int other = 0; other < kWatchers; ++other) {
        most_ahead[i] = std::max(most_ahead[i], runs[i] - runs[other]);
      }
      if (wake < 20) hub.Notify(Hub::kEventsTopic);  // the next event comes while it runs
    }));
    hub.Subscribe(Hub::kEventsTopic, watchers.back());
  }
  hub.Notify("blocker");
  running.WaitForNotification();
  hub.Notify(Hub::kEventsTopic);
  go_on.Notify();
  for (const auto& watcher : watchers) watcher->AwaitWakes(20);
  Drain(hub);
  for (int i = 0; i < kWatchers; ++i) EXPECT_LE(most_ahead[i], 1) << i;
}

// Whatever wakes them: an event, or that their last write is done.
TEST(HubTest, WhoFollowsAllEventsGoesFirstAlsoWhenItWasQueuedBefore) {
  absl::Notification running, go_on;
  Hub hub(1, 1);
  auto blocker = std::make_shared<TestSubscriber>([&](int) {
    running.Notify();
    go_on.WaitForNotification();
  });
  std::vector<std::string> order;
  auto reports = std::make_shared<TestSubscriber>([&](int) { order.push_back("reports"); });
  auto alerts = std::make_shared<TestSubscriber>([&](int) { order.push_back("alerts"); });
  auto late = std::make_shared<TestSubscriber>([&](int) { order.push_back("late"); });
  auto gone = std::make_shared<TestSubscriber>([&](int) { order.push_back("gone"); });
  hub.Subscribe("blocker", blocker);
  for (const auto& subscriber : {gone, reports, late}) hub.Subscribe("job", subscriber);
  for (const auto& subscriber : {gone, alerts}) hub.Subscribe(Hub::kEventsTopic, subscriber);
  hub.Notify("blocker");
  running.WaitForNotification();
  for (const auto& subscriber : {gone, reports, late, alerts}) hub.Wake(subscriber);
  hub.Unsubscribe(Hub::kEventsTopic, gone);  // goes on as the others
  hub.Subscribe(Hub::kEventsTopic, late);
  go_on.Notify();
  Drain(hub);
  EXPECT_THAT(order, ElementsAre("alerts", "late", "reports", "gone"));
}

TEST(HubTest, AWakeUpDuringARunMakesOneMoreRun) {
  absl::Notification running, go_on;
  Hub hub(3, 1);  // idle threads, which must not take it up at once
  auto subscriber = std::make_shared<TestSubscriber>([&](int wake) {
    if (wake > 1) return;
    running.Notify();
    go_on.WaitForNotification();
  });
  hub.Subscribe("job", subscriber);
  hub.Notify("job");
  running.WaitForNotification();
  for (int i = 0; i < 10; ++i) hub.Notify("job");
  EXPECT_EQ(subscriber->wakes(), 1);
  go_on.Notify();
  subscriber->AwaitWakes(2);
  Drain(hub);
  EXPECT_EQ(subscriber->wakes(), 2);
}

TEST(HubTest, OneSlowSubscriberDoesNotHoldTheOthersUp) {
  absl::Notification running, go_on;
  Hub hub(2, 1);
  auto slow = std::make_shared<TestSubscriber>([&](int wake) {
    if (wake > 1) return;
    running.Notify();
    go_on.WaitForNotification();
  });
  auto quick = std::make_shared<TestSubscriber>();
  hub.Subscribe("job", slow);
  hub.Notify("job");
  running.WaitForNotification();
  hub.Subscribe("job", quick);
  for (int i = 1; i <= 20; ++i) {
    hub.Notify("job");
    quick->AwaitWakes(i);
  }
  go_on.Notify();
}

TEST(HubTest, AnUnsubscribedSubscriberIsNotWokenEvenIfQueued) {
  absl::Notification running, go_on;
  Hub hub(1, 1);
  auto blocker = std::make_shared<TestSubscriber>([&](int) {
    running.Notify();
    go_on.WaitForNotification();
  });
  auto queued = std::make_shared<TestSubscriber>();
  hub.Subscribe("blocker", blocker);
  hub.Subscribe("job", queued);
  hub.Notify("blocker");
  running.WaitForNotification();
  hub.Notify("job");
  hub.Unsubscribe("job", queued);
  hub.Unsubscribe("job", queued);
  hub.Wake(queued);
  EXPECT_EQ(queued.use_count(), 1);
  EXPECT_EQ(hub.subscribers(), 1);
  go_on.Notify();
  Drain(hub);
  EXPECT_EQ(queued->wakes(), 0);
}

TEST(HubTest, ASubscriberMayUnsubscribeItself) {
  Hub hub(1, 1);
  std::shared_ptr<TestSubscriber> subscriber;
  subscriber = std::make_shared<TestSubscriber>([&](int) {
    hub.Unsubscribe("job", subscriber);
    hub.Wake(subscriber);
  });
  hub.Subscribe("job", subscriber);
  hub.Notify("job");
  Drain(hub);
  hub.Notify("job");
  Drain(hub);
  EXPECT_EQ(subscriber->wakes(), 1);
  EXPECT_EQ(subscriber.use_count(), 1);
  EXPECT_EQ(hub.subscribers(), 0);
}

TEST(HubTest, ASubscriberThatComesBackDuringItsRunDoesNotRunTwiceAtOnce) {
  absl::Notification running, go_on;
  Hub hub(2, 1);
  auto subscriber = std::make_shared<TestSubscriber>([&](int wake) {
    if (wake > 1) return;
    running.Notify();
    go_on.WaitForNotification();
  });
  hub.Subscribe("job", subscriber);
  hub.Notify("job");
  running.WaitForNotification();
  hub.Unsubscribe("job", subscriber);
  hub.Subscribe("job", subscriber);
  hub.Notify("job");
  go_on.Notify();
  subscriber->AwaitWakes(2);
}

TEST(HubTest, TopicsAreLeftOneByOne) {
  Hub hub(1, 1);
  auto subscriber = std::make_shared<TestSubscriber>();
  hub.Subscribe("a", subscriber);
  hub.Subscribe("b", subscriber);
  hub.Subscribe("b", subscriber);
  EXPECT_EQ(hub.subscribers(), 1);
  hub.Unsubscribe("a", subscriber);
  hub.Notify("a");
  Drain(hub);
  EXPECT_EQ(subscriber->wakes(), 0);
  hub.Notify("b");
  Drain(hub);
  EXPECT_EQ(subscriber->wakes(), 1);
  hub.Unsubscribe("b", subscriber);
  EXPECT_EQ(subscriber.use_count(), 1);
}

// Reads stores whenever it is woken, until it is told not to.
class Reader final : public Subscriber {
 public:
  Lane OnWake(Lane lane) override {
    absl::MutexLock lock(&mutex_);
    lanes_.push_back(lane);
    if (lane == Lane::kCatchUp && hold_ != nullptr) {
      held_.Notify();
      hold_->WaitForNotification();
      hold_ = nullptr;
      return Lane::kLive;
    }
    return behind_ ? Lane::kCatchUp : Lane::kLive;
  }
  void SetBehind(bool behind) {
    absl::MutexLock lock(&mutex_);
    behind_ = behind;
  }
  void HoldCatchUp(absl::Notification* hold) {
    absl::MutexLock lock(&mutex_);
    hold_ = hold;
  }
  void AwaitHeld() const { held_.WaitForNotification(); }
  std::vector<Lane> AwaitRuns(size_t wanted) const {
    const auto reached = [this, wanted] { return lanes_.size() >= wanted; };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&reached));
    return lanes_;
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<Lane> lanes_;
  bool behind_ = true;
  absl::Notification* hold_ = nullptr;
  mutable absl::Notification held_;
};

TEST(HubTest, WhoIsBehindRunsOnTheOtherLaneAndComesBack) {
  Hub hub(1, 1);
  auto reader = std::make_shared<Reader>();
  hub.Subscribe("job", reader);
  hub.Notify("job");
  EXPECT_THAT(reader->AwaitRuns(2), ElementsAre(Lane::kLive, Lane::kCatchUp)) << "at once";
  reader->SetBehind(false);
  hub.Notify("job");
  EXPECT_THAT(reader->AwaitRuns(4), ElementsAre(Lane::kLive, Lane::kCatchUp, Lane::kCatchUp, Lane::kLive));
  hub.Notify("job");
  EXPECT_EQ(reader->AwaitRuns(5).back(), Lane::kLive);
}

TEST(HubTest, CatchingUpHoldsNoLiveStreamBack) {
  absl::Notification go_on;
  Hub hub(1, 1);
  auto behind = std::make_shared<Reader>();
  behind->HoldCatchUp(&go_on);
  hub.Subscribe("job", behind);
  hub.Notify("job");
  behind->AwaitHeld();
  auto live = std::make_shared<TestSubscriber>();
  hub.Subscribe("job", live);
  for (int i = 1; i <= 20; ++i) {
    hub.Notify("job");
    live->AwaitWakes(i);
  }
  go_on.Notify();
}

TEST(HubTest, NothingRunsAfterItsEnd) {
  std::atomic<bool> ended = false;
  absl::Notification running;
  {
    Hub hub(1, 1);
    auto subscriber = std::make_shared<TestSubscriber>([&](int wake) {
      EXPECT_FALSE(ended);
      if (wake == 1) running.Notify();
    });
    hub.Subscribe("job", subscriber);
    hub.Notify("job");
    running.WaitForNotification();
    for (int i = 0; i < 100; ++i) hub.Notify("job");
  }
  ended = true;
}

// 4 publishers, 100 subscribers that come and go: each sees the last value of its topic, so no wake-up was lost.
TEST(HubTest, NoWakeUpIsLostUnderLoad) {
  constexpr int kTopics = 4, kSubscribers = 100, kPublications = 2000;
  std::vector<std::atomic<int>> values(kTopics);
  absl::BlockingCounter finished(kSubscribers);
  std::vector<std::shared_ptr<TestSubscriber>> subscribers;
  Hub hub(3, 1);
  for (int i = 0; i < kSubscribers; ++i) {
    auto last = std::make_shared<int>(0);  // guarded by the promise that no two runs overlap
    subscribers.push_back(std::make_shared<TestSubscriber>([&, last, topic = i % kTopics](int) {
      const int value = values[topic].load();
      if (*last < kPublications && value == kPublications) finished.DecrementCount();
      *last = value;
    }));
    hub.Subscribe(absl::StrCat("topic-", i % kTopics), subscribers.back());
  }
  std::vector<std::thread> threads;
  for (int topic = 0; topic < kTopics; ++topic) {
    threads.emplace_back([&, topic] {
      for (int i = 1; i <= kPublications; ++i) {
        values[topic] = i;
        hub.Notify(absl::StrCat("topic-", topic));
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < 500; ++i) {
      auto passing = std::make_shared<TestSubscriber>();
      hub.Subscribe("topic-0", passing);
      hub.Wake(passing);
      hub.Unsubscribe("topic-0", passing);
    }
  });
  finished.Wait();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(hub.subscribers(), kSubscribers);
}

}  // namespace
}  // namespace gradwatch::server
