#include "server/history/history_loader.h"

#include <algorithm>
#include <optional>

#include "absl/functional/function_ref.h"
#include "core/base/status_macros.h"
#include "server/history/history_rows.h"

namespace gradwatch::server {
namespace {

using OnRow = absl::FunctionRef<void(const RowKey& key, absl::string_view value)>;

// Of all jobs; `is_damaged` becomes true if some cannot be read.
absl::Status ForEachRow(const HistoryDatabase& database, RowKind kind, OnRow row, bool* is_damaged) {
  const KeyRange range = RowsOf(kind);
  const auto on_row = [&](absl::string_view key, absl::string_view value) {
    const std::optional<RowKey> parts = RowKey::Decode(key);
    if (parts.has_value()) row(*parts, value);
    return true;
  };
  return database.ForEach(range.from, range.to, on_row,
                          [is_damaged](absl::string_view, absl::string_view) { *is_damaged = true; });
}

class Loader {
 public:
  Loader(const HistoryDatabase* database, const core::Clock* clock, HistoryJobs* jobs)
      : database_(*database), clock_(*clock), jobs_(*jobs) {}

  absl::StatusOr<LoadedHistory> Load() && {
    loaded_.is_damaged = database_.found() > HistoryDatabase::Found::kNew;
    const auto load = [this](const RowKey& key, absl::string_view value) {
      jobs_.FindOrMake(key.uid)->Load(key, value);
      if (key.kind != RowKind::kItem) return;
      // Numbers are never given twice: an item says of which records all is in it.
      const std::optional<HistoryItem> item = DecodeItem(key.steps.first, value);
      if (item.has_value()) loaded_.next_journal = std::max(loaded_.next_journal, item->journal + 2);
    };
    for (const RowKind kind : {RowKind::kItem, RowKind::kLost, RowKind::kProtected, RowKind::kNames}) {
      GW_RETURN_IF_ERROR(ForEachRow(database_, kind, load, &loaded_.is_damaged));
    }
    if (loaded_.is_damaged) GW_RETURN_IF_ERROR(FindItems());
    GW_RETURN_IF_ERROR(ReadJournal());
    loaded_.first_journal = loaded_.records.empty() ? loaded_.next_journal : loaded_.records.front().first;
    if (loaded_.is_damaged) loaded_.first_journal = 0;  // what cannot be read is cut off, too
    return std::move(loaded_);
  }

 private:
  // Items of batches and tiers that the index does not know.
  absl::Status FindItems() {
    bool ignored = false;
    GW_RETURN_IF_ERROR(ForEachRow(
        database_, RowKind::kBatch,
        [this](const RowKey& key, absl::string_view value) { AddItem(key, 0, value.size()); }, &ignored));
    return ForEachRow(
        database_, RowKind::kTier,
        [this](const RowKey& key, absl::string_view value) { AddItem(key, key.level, value.size()); }, &ignored);
  }

  // A later attempt goes on where it likes: before its first step nothing needs to have been.
  static bool BeginsAnywhere(int32_t attempt, int64_t last_step) { return attempt > 1 && last_step < 0; }

  void AddItem(const RowKey& key, size_t level, size_t bytes) {
    const HistoryJobs::Job job = jobs_.FindOrMake(key.uid);
    HistoryItem item{
        .steps = key.steps, .through = key.steps.last, .bytes = static_cast<int64_t>(bytes), .stored = clock_.Now()};
    const std::vector<HistoryItem> known =
        job->Ask([&](const HistoryIndex& index) { return index.Items(key.attempt, level, key.steps); });
    const auto same =
        std::find_if(known.begin(), known.end(), [&key](const HistoryItem& one) { return one.steps == key.steps; });
    if (level == 0) {
      if (same != known.end()) return;
      const int64_t before =
          job->Ask([&](const HistoryIndex& index) { return index.StepBefore(key.attempt, key.steps.first); });
      item.previous_step = BeginsAnywhere(key.attempt, before) ? -1 : key.steps.first - 1;  // what is not there is lost
    } else {
      const int64_t last = job->Ask([&](const HistoryIndex& index) { return index.LastStep(key.attempt); });
      if (last >= key.steps.first) item.through = std::min(last, key.steps.last);
      const uint32_t group = uint32_t{1} << static_cast<int>(key.group);
      if (same != known.end()) {
        if ((same->groups & group) != 0) return;
        item = *same;
        item.bytes += static_cast<int64_t>(bytes);
      }
      item.groups |= group;
    }
    job->Apply({.attempt = key.attempt, .stored = {{level, item}}});
  }

  absl::Status ReadJournal() {
    bool is_damaged = false;
    const auto row = [&](absl::string_view key, absl::string_view value) {
      const std::optional<uint64_t> number = JournalNumber(key);
      if (!number.has_value()) return true;
      loaded_.next_journal = std::max(loaded_.next_journal, *number + 1);
      loaded_.records.emplace_back(*number, static_cast<int64_t>(value.size()));
      absl::StatusOr<std::vector<JournalPart>> parts = DecodeJournal(value);
      is_damaged = is_damaged || !parts.ok();
      if (!parts.ok()) return true;
      for (const JournalPart& part : *parts) AddPart(part, *number, &is_damaged);
      return true;
    };
    const KeyRange range = RowsOf(RowKind::kJournal);
    GW_RETURN_IF_ERROR(database_.ForEach(range.from, range.to, row,
                                         [&is_damaged](absl::string_view, absl::string_view) { is_damaged = true; }));
    loaded_.is_damaged = loaded_.is_damaged || is_damaged;
    return absl::OkStatus();
  }

  void AddPart(const JournalPart& part, uint64_t number, bool* is_damaged) {
    if (IsRemoval(part)) return jobs_.Remove(part.uid);
    absl::StatusOr<std::vector<EncodedReport>> entries = SplitReports(part.attempt, part.entries);
    *is_damaged = *is_damaged || !entries.ok();
    if (!entries.ok() || entries->empty() || !CheckUid(part.uid).ok()) return;
    const HistoryJobs::Job job = jobs_.FindOrMake(part.uid);
    const int64_t last_step = job->LastStep(part.attempt);
    std::vector<EncodedReport> open;
    const bool is_gap = entries->front().first_step > last_step + 1 && !BeginsAnywhere(part.attempt, last_step);
    if (*is_damaged && is_gap) {
      open.push_back(EncodeLost(part.attempt, last_step + 1, entries->front().first_step - 1, kDamagedReason));
    }
    for (EncodedReport& entry : *entries) {
      if (!job->Holds(entry, number)) open.push_back(std::move(entry));
    }
    job->Add(std::move(open), number, clock_.Monotonic());
  }

  const HistoryDatabase& database_;
  const core::Clock& clock_;
  HistoryJobs& jobs_;
  LoadedHistory loaded_;
};

}  // namespace

JournalPart RemovalPart(absl::string_view uid) { return {std::string(uid), -1, ""}; }
bool IsRemoval(const JournalPart& part) { return part.attempt == -1 && part.entries.empty(); }

absl::StatusOr<LoadedHistory> LoadHistory(HistoryDatabase* database, const core::Clock* clock, HistoryJobs* jobs) {
  return Loader(database, clock, jobs).Load();
}

}  // namespace gradwatch::server
