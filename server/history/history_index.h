// What is stored of one job, without the reports: which batches and tiers, which steps are lost, what is spared.
#ifndef GRADWATCH_SERVER_HISTORY_HISTORY_INDEX_H_
#define GRADWATCH_SERVER_HISTORY_HISTORY_INDEX_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/history/history_database.h"
#include "server/history/history_rows.h"
#include "server/history/retention.h"
#include "server/history/statistics_query.h"
#include "server/history/step_ranges.h"

namespace gradwatch::server {

// Lost ranges of an attempt at most: of more, the first ones become one.
inline constexpr size_t kMostLostRanges = 4096;
// The reason of one that was made of several, and may have reports in it.
inline constexpr char kManyLostReason[] = "parts of these steps, for several reasons";

// What one commit changes in the index of an attempt.
struct IndexChange {
  using Place = std::pair<size_t, int64_t>;  // of a level in kLevels; the first step
  int32_t attempt = 0;
  std::vector<Place> removed = {};
  std::vector<std::pair<size_t, HistoryItem>> stored = {};  // after the removals, by level
  std::vector<LostSteps> lost = {};                         // take the place of what was lost of their steps
  std::vector<LostSteps> dropped = {};                      // do not
};

// Not thread-safe.
class HistoryIndex {
 public:
  // A row that was found at the start: an item, a lost range, protected steps, names. Others, and those that are none,
  // are passed over.
  void Load(const RowKey& key, absl::string_view value);

  // The rows of the index that a change changes.
  void PutRows(absl::string_view uid, const IndexChange& change, HistoryChanges* rows) const;
  // All of them, where the stored ones are gone.
  void PutAllRows(absl::string_view uid, HistoryChanges* rows) const;
  void Apply(const IndexChange& change);

  // Rising.
  std::vector<int32_t> Attempts() const;
  // As a report or as lost; -1: none.
  int64_t LastStep(int32_t attempt) const;
  // The last step stored before `step`, -1: none.
  int64_t StepBefore(int32_t attempt, int64_t step) const;
  // Those of a level that overlap the window, in the order of steps.
  std::vector<HistoryItem> Items(int32_t attempt, size_t level, const StepRange& window) const;
  // The first of a level that ends behind `step`.
  std::optional<HistoryItem> FirstItemAfter(int32_t attempt, size_t level, int64_t step) const;
  // The last ones of a level that are shorter than `steps`, up to the last that is not; in the order of steps.
  std::vector<HistoryItem> ShortItems(int32_t attempt, size_t level, int64_t steps) const;
  // Parts of what is lost, in the order of steps.
  std::vector<LostSteps> Lost(int32_t attempt, const StepRange& window) const;
  // See BlockSource::Kept; `open`: the steps of the reports that are in no batch.
  std::array<StepRanges, kLevels.size()> Kept(int32_t attempt, const StepRanges& open) const;

  void Protect(int32_t attempt, const StepRange& steps);
  void PutProtected(absl::string_view uid, int32_t attempt, HistoryChanges* rows) const;
  void PutNames(absl::string_view uid, HistoryChanges* rows) const;
  // By level.
  const std::array<int64_t, kLevels.size()>& bytes() const { return bytes_; }
  // What retention may drop of a level.
  RetainedJob Retained(size_t level) const;

  std::vector<std::string> layer_names;

 private:
  using ItemTable = std::map<int64_t, HistoryItem>;  // by first step
  using LostTable = std::map<int64_t, LostSteps>;    // disjoint, by first step
  struct Attempt {
    std::array<ItemTable, kLevels.size()> levels;
    LostTable lost;
    StepRanges protected_steps;
  };

  const Attempt& Find(int32_t attempt) const;
  static void AddLost(LostSteps lost, LostTable* table);
  // Keeps it within its bound.
  static void Shorten(LostTable* table);
  static LostTable LostAfter(const IndexChange& change, LostTable table);

  std::map<int32_t, Attempt> attempts_;
  std::array<int64_t, kLevels.size()> bytes_ = {};
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_HISTORY_INDEX_H_
