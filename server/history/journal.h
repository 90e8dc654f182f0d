// A record of the journal: what one commit took in, of all jobs, until it lies in batches.
//
// Batches are small only if they hold many steps, and a report is acknowledged long before there are so many; so it is
// written twice, here first.
#ifndef GRADWATCH_SERVER_HISTORY_JOURNAL_H_
#define GRADWATCH_SERVER_HISTORY_JOURNAL_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gradwatch::server {

// What a record holds at most before it is compressed.
inline constexpr size_t kMaxJournalBytes = size_t{256} << 20;

// Entries of one attempt of one job in the order in which they came.
struct JournalPart {
  std::string uid;
  int32_t attempt = 0;
  std::string entries;  // bytes of EncodedReports, one after the other

  friend bool operator==(const JournalPart&, const JournalPart&) = default;
};

// One job may have several parts. Together at most kMaxJournalBytes.
std::string EncodeJournal(absl::Span<const JournalPart> parts);
// DATA_LOSS, reason LOG_CORRUPT: it is not a record that was written so. Thread-safe, as EncodeJournal.
absl::StatusOr<std::vector<JournalPart>> DecodeJournal(absl::string_view record);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_JOURNAL_H_
