#include "server/stream/hub.h"

#include <algorithm>
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

// A subscriber. It is in the queue in the stage kQueued only, so it never runs twice at once; a wake-up while it runs
// makes it run once more, so none is lost.
struct Entry {
  enum class Stage { kIdle, kQueued, kRunning, kRunningAgain };
  std::shared_ptr<Subscriber> subscriber;
  Stage stage = Stage::kIdle;
  int topics = 0;  // 0: unsubscribed, kept only until its run ends
};

}  // namespace

struct Hub::State {
  mutable absl::Mutex mutex;
  absl::flat_hash_map<Subscriber*, std::shared_ptr<Entry>> entries ABSL_GUARDED_BY(mutex);
  absl::flat_hash_map<std::string, absl::flat_hash_set<std::shared_ptr<Entry>>> topics ABSL_GUARDED_BY(mutex);
  std::deque<std::shared_ptr<Entry>> queue ABSL_GUARDED_BY(mutex);
  bool closing ABSL_GUARDED_BY(mutex) = false;
  std::vector<std::thread> threads;  // constant after construction

  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return closing || !queue.empty(); }

  void WakeEntry(const std::shared_ptr<Entry>& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (entry->topics == 0) return;
    if (entry->stage == Entry::Stage::kIdle) {
      entry->stage = Entry::Stage::kQueued;
      queue.push_back(entry);
    } else if (entry->stage == Entry::Stage::kRunning) {
      entry->stage = Entry::Stage::kRunningAgain;
    }
  }

  // The next entry, now running; null: the hub closes.
  std::shared_ptr<Entry> TakeEntry() ABSL_LOCKS_EXCLUDED(mutex) {
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(this, &State::HasWork));
    if (closing) return nullptr;
    std::shared_ptr<Entry> entry = std::move(queue.front());
    queue.pop_front();
    entry->stage = Entry::Stage::kRunning;
    return entry;
  }

  void EndRun(const std::shared_ptr<Entry>& entry) ABSL_LOCKS_EXCLUDED(mutex) {
    absl::MutexLock lock(&mutex);
    const bool again = entry->stage == Entry::Stage::kRunningAgain;
    entry->stage = Entry::Stage::kIdle;
    if (entry->topics == 0) {
      entries.erase(entry->subscriber.get());
    } else if (again) {
      WakeEntry(entry);
    }
  }

  void Dispatch() {
    while (const std::shared_ptr<Entry> entry = TakeEntry()) {
      entry->subscriber->OnWake();
      EndRun(entry);
    }
  }
};

Hub::Hub(int threads) : state_(std::make_unique<State>()) {
  for (int i = 0; i < threads; ++i) {
    state_->threads.emplace_back([state = state_.get(), name = absl::StrCat("dispatch-", i)] {
      core::NameThisThread(name);
      state->Dispatch();
    });
  }
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
  if (--entry->topics > 0) return;
  if (entry->stage == Entry::Stage::kQueued) {
    state_->queue.erase(std::find(state_->queue.begin(), state_->queue.end(), entry));
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
