#include "server/stream/hub.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/base/thread_name.h"

namespace gradwatch::server {
namespace {

constexpr int kCatchUpNice = 5;

// A subscriber. It is in the queue in the stage kQueued only, so it never runs twice at once; a wake-up while it runs
// makes it run once more, so none is lost.
struct Entry {
  enum class Stage { kIdle, kQueued, kRunning, kRunningAgain };
  std::shared_ptr<Subscriber> subscriber;
  Stage stage = Stage::kIdle;
  Lane lane = Lane::kLive;  // where it runs next
  bool follows_events = false;
  int topics = 0;  // 0: unsubscribed, kept only until its run ends
};

}  // namespace

struct Hub::State {
  mutable absl::Mutex mutex;
  absl::flat_hash_map<Subscriber*, std::shared_ptr<Entry>> entries ABSL_GUARDED_BY(mutex);
  absl::flat_hash_map<std::string, absl::flat_hash_set<std::shared_ptr<Entry>>> topics ABSL_GUARDED_BY(mutex);
  // By lane, and then those who follow the events of all jobs before the others: there are few events and many reports,
  // so nobody waits for long, and they do not queue behind all watchers. In each whoever has waited longest comes
  // first.
  std::array<std::array<std::deque<std::shared_ptr<Entry>>, 2>, 2> queues ABSL_GUARDED_BY(mutex);
  bool closing ABSL_GUARDED_BY(mutex) = false;
  std::vector<std::thread> threads;  // constant after construction

  std::deque<std::shared_ptr<Entry>>& QueueOf(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return queues[static_cast<size_t>(entry.lane)][entry.follows_events ? 0 : 1];
  }
  // The queue of the next entry of a lane; null: nobody waits.
  std::deque<std::shared_ptr<Entry>>* NextQueue(Lane lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    for (auto& queue : queues[static_cast<size_t>(lane)]) {
      if (!queue.empty()) return &queue;
    }
    return nullptr;
  }

  // An entry that is queued moves to the end of the other queue.
  void SetFollowsEvents(const std::shared_ptr<Entry>& entry, bool follows) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (entry->follows_events == follows) return;
    if (entry->stage == Entry::Stage::kQueued) std::erase(QueueOf(*entry), entry);
    entry->follows_events = follows;
    if (entry->stage == Entry::Stage::kQueued) QueueOf(*entry).push_back(entry);
  }

  void WakeEntry(const std::shared_ptr<Entry>& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (entry->topics == 0) return;
    if (entry->stage == Entry::Stage::kIdle) {
      entry->stage = Entry::Stage::kQueued;
      QueueOf(*entry).push_back(entry);
    } else if (entry->stage == Entry::Stage::kRunning) {
      entry->stage = Entry::Stage::kRunningAgain;
    }
  }

  // The next entry of a lane, now running; null: the hub closes.
  std::shared_ptr<Entry> TakeEntry(Lane lane) ABSL_LOCKS_EXCLUDED(mutex) {
    const auto has_work = [this, lane]()
                              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return closing || NextQueue(lane) != nullptr; };
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(&has_work));
    if (closing) return nullptr;
    std::deque<std::shared_ptr<Entry>>& queue = *NextQueue(lane);
    std::shared_ptr<Entry> entry = std::move(queue.front());
    queue.pop_front();
    entry->stage = Entry::Stage::kRunning;
    return entry;
  }

  void EndRun(const std::shared_ptr<Entry>& entry, Lane next) ABSL_LOCKS_EXCLUDED(mutex) {
    absl::MutexLock lock(&mutex);
    const bool again = entry->stage == Entry::Stage::kRunningAgain || next != entry->lane;
    entry->stage = Entry::Stage::kIdle;
    entry->lane = next;
    if (entry->topics == 0) {
      entries.erase(entry->subscriber.get());
    } else if (again) {
      WakeEntry(entry);
    }
  }

  void Dispatch(Lane lane) {
    while (const std::shared_ptr<Entry> entry = TakeEntry(lane)) {
      const Lane next = entry->subscriber->OnWake(lane);
      EndRun(entry, next);
    }
  }

  void StartThreads(Lane lane, absl::string_view name, int count) {
    for (int i = 0; i < std::max(count, 1); ++i) {
      threads.emplace_back([this, lane, thread_name = absl::StrCat(name, "-", i)] {
        core::NameThisThread(thread_name);
        // Linux has a priority for each thread. Without it catching up is as quick and live streams wait a little more.
        if (lane == Lane::kCatchUp) (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kCatchUpNice);
        Dispatch(lane);
      });
    }
  }
};

Hub::Hub(int live_threads, int catch_up_threads) : state_(std::make_unique<State>()) {
  state_->StartThreads(Lane::kLive, "dispatch", live_threads);
  state_->StartThreads(Lane::kCatchUp, "catch-up", catch_up_threads);
}

Hub::~Hub() {
  {
    absl::MutexLock lock(&state_->mutex);
    state_->closing = true;
  }
  for (std::thread& thread : state_->threads) thread.join();
}

void Hub::Subscribe(absl::string_view topic, std::shared_ptr<Subscriber> subscriber) {
  absl::MutexLock lock(&state_->mutex);
  std::shared_ptr<Entry>& entry = state_->entries[subscriber.get()];
  if (entry == nullptr) {
    entry = std::make_shared<Entry>();
    entry->subscriber = std::move(subscriber);
  }
  if (state_->topics[topic].insert(entry).second) ++entry->topics;
  if (topic == kEventsTopic) state_->SetFollowsEvents(entry, true);
}

void Hub::Unsubscribe(absl::string_view topic, const std::shared_ptr<Subscriber>& subscriber) {
  std::shared_ptr<Entry> entry;  // destroyed, perhaps with the subscriber, outside the lock
  absl::MutexLock lock(&state_->mutex);
  const auto found = state_->entries.find(subscriber.get());
  const auto members = state_->topics.find(topic);
  if (found == state_->entries.end() || members == state_->topics.end()) return;
  entry = found->second;
  if (members->second.erase(entry) == 0) return;
  if (members->second.empty()) state_->topics.erase(members);
  if (topic == kEventsTopic) state_->SetFollowsEvents(entry, false);
  if (--entry->topics > 0) return;
  if (entry->stage == Entry::Stage::kQueued) {
    std::erase(state_->QueueOf(*entry), entry);
    entry->stage = Entry::Stage::kIdle;
  }
  if (entry->stage == Entry::Stage::kIdle) state_->entries.erase(found);
}

void Hub::Notify(absl::string_view topic) {
  absl::MutexLock lock(&state_->mutex);
  const auto members = state_->topics.find(topic);
  if (members == state_->topics.end()) return;
  for (const std::shared_ptr<Entry>& entry : members->second) state_->WakeEntry(entry);
}

void Hub::Wake(const std::shared_ptr<Subscriber>& subscriber) {
  absl::MutexLock lock(&state_->mutex);
  const auto entry = state_->entries.find(subscriber.get());
  if (entry != state_->entries.end()) state_->WakeEntry(entry->second);
}

int64_t Hub::subscribers() const {
  absl::MutexLock lock(&state_->mutex);
  int64_t count = 0;
  for (const auto& [subscriber, entry] : state_->entries) count += entry->topics > 0 ? 1 : 0;
  return count;
}

}  // namespace gradwatch::server
