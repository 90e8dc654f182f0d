// Hears what trainers left in files because this server was not there, or took nothing, at the end of their runs.
#ifndef GRADWATCH_SERVER_JOB_LAST_WORDS_H_
#define GRADWATCH_SERVER_JOB_LAST_WORDS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/job/job.h"
#include "server/job/job_context.h"

namespace gradwatch::server {

class Recovery;
class Supervisor;

// Thread-safe. A file is read on the executor, message by message; its reports go the way of all reports, its notices
// that of all notices, with the same checks. What the server knows already counts once, so a file may be heard again
// from its beginning, also after the server was killed in the middle of it. What is damaged, or of another trainer or
// tenure, ends it there, and what came before holds. What the job ends without is an event DATA_LOSS, written together
// with its end (TrainerSlot::unheard_words).
class LastWords {
 public:
  // `ended`: the job has ended, by these words or otherwise, or is gone.
  using Done = absl::AnyInvocable<void(bool ended)>;

  LastWords(JobContext* context, Supervisor* supervisor, Recovery* recovery)
      : context_(context), supervisor_(supervisor), recovery_(recovery) {}

  // Hears what the trainer of this attempt left; its process has ended, or will never be heard again. The file is
  // removed once the end is durable. `done` runs when it is clear what became of the job, on the ledger's thread, the
  // executor's, or before this returns: at once where there is no file, not before there is room again where what was
  // read cannot be stored. It does not run when the server goes down. One call for a job at a time, on the ledger's
  // thread.
  void Hear(const std::shared_ptr<JobEntry>& entry, int32_t attempt, Done done);
  // Time has passed: hears again what could not be stored.
  void Tick() ABSL_LOCKS_EXCLUDED(mutex_);

  // The description of a loss of such words.
  static std::string LossOf(int32_t attempt, absl::string_view what);
  // Forgets the words of a job, attempts 1 to `attempts`, and what was to become some.
  void Remove(const std::string& uid, int32_t attempts);
  // At the start, when the table is whole: removes the words of jobs that have ended and of attempts that are over.
  // Those of jobs that nobody knows stay, as their statistics do: the ledger may be older than they are.
  void RemoveOld();

 private:
  class Hearing;
  // What could not be stored, and is heard again.
  struct Later {
    std::shared_ptr<JobEntry> entry;
    int32_t attempt = 0;
    int failures = 0;  // in a row
    absl::Duration not_before;
    Done done;
  };

  void Begin(Later words);
  void Postpone(Later words) ABSL_LOCKS_EXCLUDED(mutex_);
  std::string FileOf(absl::string_view uid, int32_t attempt) const;
  absl::Duration Now() const { return context_->deps.clock->Monotonic(); }

  JobContext* const context_;
  Supervisor* const supervisor_;
  Recovery* const recovery_;
  absl::Mutex mutex_;
  std::vector<Later> later_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_LAST_WORDS_H_
