// Keeps reading connections for their next use: opening one costs far more than a read.
#ifndef GRADWATCH_SERVER_STORE_READER_POOL_H_
#define GRADWATCH_SERVER_STORE_READER_POOL_H_

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace gradwatch::server {

// Readers by a key that names the database. Thread-safe; a reader is used by one thread at a time.
template <typename Reader>
class ReaderPool {
 public:
  // Keeps at most `max_idle` readers; the one unused for longest goes first.
  explicit ReaderPool(size_t max_idle) : max_idle_(max_idle) {}

  // Runs `body` with a kept reader of `key` or with one that `open` makes, and returns what it returns. A reader whose
  // `body` failed is not kept.
  template <typename Open, typename Body>
  auto Use(absl::string_view key, Open open, Body body) -> decltype(body(std::declval<Reader&>())) {
    Lease lease = Take(key);
    if (lease.reader == nullptr) {
      absl::StatusOr<std::unique_ptr<Reader>> opened = open();
      if (!opened.ok()) {
        GiveBack(std::move(lease), /*keep=*/false);
        return opened.status();
      }
      lease.reader = *std::move(opened);
    }
    auto result = body(*lease.reader);
    GiveBack(std::move(lease), /*keep=*/result.ok());
    return result;
  }

  // Closes the readers of `key`; those in use are closed when they come back.
  void Drop(absl::string_view key) {
    std::list<Idle> dropped;  // closed outside the lock
    absl::MutexLock lock(&mutex_);
    for (InUse& in_use : in_use_) in_use.dropped = in_use.dropped || in_use.key == key;
    for (auto it = idle_.begin(); it != idle_.end();) {
      auto next = std::next(it);
      if (it->key == key) dropped.splice(dropped.end(), idle_, it);
      it = next;
    }
  }

 private:
  struct InUse {
    std::string key;
    bool dropped = false;  // its database has gone since
  };
  struct Idle {
    std::string key;
    std::unique_ptr<Reader> reader;
  };
  struct Lease {
    std::unique_ptr<Reader> reader;  // null: none was kept
    typename std::list<InUse>::iterator in_use;
  };

  Lease Take(absl::string_view key) {
    absl::MutexLock lock(&mutex_);
    Lease lease{nullptr, in_use_.insert(in_use_.end(), {std::string(key)})};
    for (auto it = idle_.begin(); it != idle_.end(); ++it) {
      if (it->key != key) continue;
      lease.reader = std::move(it->reader);
      idle_.erase(it);
      break;
    }
    return lease;
  }

  void GiveBack(Lease lease, bool keep) {
    std::list<Idle> closed;  // outside the lock
    absl::MutexLock lock(&mutex_);
    if (keep && !lease.in_use->dropped) idle_.push_front({lease.in_use->key, std::move(lease.reader)});
    if (idle_.size() > max_idle_) closed.splice(closed.end(), idle_, std::prev(idle_.end()));
    in_use_.erase(lease.in_use);
  }

  const size_t max_idle_;
  absl::Mutex mutex_;
  std::list<Idle> idle_ ABSL_GUARDED_BY(mutex_);  // the last used first
  std::list<InUse> in_use_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_READER_POOL_H_
