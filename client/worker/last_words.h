// Leaves in a file what a trainer could not tell, so that a server that comes back later hears it.
#ifndef GRADWATCH_CLIENT_WORKER_LAST_WORDS_H_
#define GRADWATCH_CLIENT_WORKER_LAST_WORDS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "client/worker/notice_log.h"
#include "client/worker/outbox.h"
#include "core/base/last_words_file.h"

namespace gradwatch::worker {

// Of a run that is over: nothing is added to the log or offered to the ring any more. For the thread of the outbox.
class LastWords {
 public:
  // The file holds at most about `max_bytes`; all notices are in it whatever they take, and so is the newest report.
  // Both pointers must outlive this object.
  LastWords(NoticeLog* notices, const Outbox* outbox, size_t max_bytes = core::kMaxLastWordsBytes)
      : notices_(notices), outbox_(outbox), max_bytes_(max_bytes) {}

  // Writes what is not acknowledged as it would be sent after `hello`; of reports the newest that fit, and a lost range
  // for those before. Changes nothing of what is sent. May be called again, when the file could not be written or
  // more was acknowledged. Errors as LastWordsWriter.
  absl::Status Leave(const std::string& path, const v1::TrainerHello& hello);

 private:
  // What is not acknowledged, as far as it fits.
  struct Plan {
    int64_t first_step = 0;  // reports from here on
    size_t bytes = 0;        // of all
    int64_t progress = 0;    // of the outbox then
  };
  Plan MakePlan() const;

  NoticeLog* const notices_;
  const Outbox* const outbox_;
  const size_t max_bytes_;
  std::optional<Plan> plan_;  // kept while nothing is acknowledged: making it takes a look at every report
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_LAST_WORDS_H_
