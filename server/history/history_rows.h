// The rows of the statistics database: their keys, whose order is that of kinds, jobs, attempts and steps, and the
// values that are no batches, tiers or records of the journal.
#ifndef GRADWATCH_SERVER_HISTORY_HISTORY_ROWS_H_
#define GRADWATCH_SERVER_HISTORY_HISTORY_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/history/step_ranges.h"
#include "server/history/tiers.h"

namespace gradwatch::server {

// INVALID_ARGUMENT: it is not 1 to 36 letters, digits, '-' and '_'.
absl::Status CheckUid(absl::string_view uid);

enum class RowKind : char {
  kBatch = 'b',      // of reports, see report_batch.h
  kItem = 'i',       // that a batch, or a row of tiers of all groups, is stored, with its size: read at the start
  kJournal = 'j',    // see journal.h
  kLost = 'l',       // a range of steps that are lost, and why
  kNames = 'n',      // of layers
  kProtected = 'p',  // steps of an attempt that retention spares
  kTier = 't',       // see EncodeTier
};

// The parts of a key; those that its kind does not have stay as they are here.
struct RowKey {
  RowKind kind = RowKind::kBatch;
  std::string uid = {};
  int32_t attempt = 0;                // of all kinds but kNames
  size_t level = 0;                   // by its place in kLevels: kItem, kTier
  TierGroup group = TierGroup::kJob;  // kTier
  StepRange steps = {};               // kBatch, kTier; of kItem and kLost the first alone

  std::string Encode() const;
  // Nothing: it is not the key of a row of a job.
  static std::optional<RowKey> Decode(absl::string_view key);
};

struct KeyRange {
  std::string from, to;  // the first that is not one
};
KeyRange RowsOf(RowKind kind);
KeyRange RowsOf(RowKind kind, absl::string_view uid);

std::string JournalKey(uint64_t number);
std::optional<uint64_t> JournalNumber(absl::string_view key);

// A batch, or what is stored of one range of one level of tiers.
struct HistoryItem {
  StepRange steps = {};        // of its reports; of tiers, of its buckets
  int64_t through = -1;        // the last step of a report in it
  int64_t previous_step = -1;  // of a batch: the last step stored before it, when it was written; -1: none
  int64_t bytes = 0;
  absl::Time stored = absl::UnixEpoch();  // in whole seconds
  uint64_t journal = 0;                   // the last record of the journal of which something may be in it
  uint32_t groups = 0;                    // bits by TierGroup; a group that has no values has no row

  friend bool operator==(const HistoryItem&, const HistoryItem&) = default;
};
std::string EncodeItem(const HistoryItem& item);
// With these first steps. Nothing: it is none; the same below.
std::optional<HistoryItem> DecodeItem(int64_t first_step, absl::string_view value);

std::string EncodeLostSteps(const LostSteps& lost);
std::optional<LostSteps> DecodeLostSteps(int64_t first_step, absl::string_view value);
std::string EncodeRanges(const StepRanges& ranges);
std::optional<StepRanges> DecodeRanges(absl::string_view value);
std::string EncodeNames(const std::vector<std::string>& names);
std::optional<std::vector<std::string>> DecodeNames(absl::string_view value);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_HISTORY_ROWS_H_
