#include "server/history/job_history.h"

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

#include "core/base/status_macros.h"
#include "server/history/report_batch.h"

namespace gradwatch::server {
namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

StepRange StepsOf(const BlockId& id) { return {.first = id.first_step, .last = id.first_step + kBlockSteps - 1}; }

RowKey BatchKey(const std::string& uid, int32_t attempt, const StepRange& steps) {
  return {.kind = RowKind::kBatch, .uid = uid, .attempt = attempt, .steps = steps};
}

RowKey TierKey(const std::string& uid, int32_t attempt, size_t level, TierGroup group, int64_t first_step) {
  return {.kind = RowKind::kTier,
          .uid = uid,
          .attempt = attempt,
          .level = level,
          .group = group,
          .steps = {first_step, first_step}};
}

// An error, when the bytes to read are not there or damaged, is for the caller to see by their absence.
void PassOver(absl::string_view, absl::string_view) {}

// Puts together the answer of ReadAfter.
class Collector {
 public:
  explicit Collector(size_t max_bytes) : max_bytes_(max_bytes) {}
  // Whether what comes behind `step` has no place any more: a lost range up to there may go on.
  bool IsFullBehind(int64_t step) const { return is_full_ && !(entries_.back().lost && entries_.back().step == step); }
  void Put(EncodedReport entry) {
    if (GoesOn(entry)) return;
    is_full_ = is_full_ || (!entries_.empty() && bytes_ + entry.bytes->size() > max_bytes_);
    if (is_full_ && max_bytes_ < kWholeBlocks) return;
    bytes_ += entry.bytes->size();
    entries_.push_back(std::move(entry));
    is_full_ = is_full_ || bytes_ >= max_bytes_;
  }
  std::vector<EncodedReport> Take() && { return std::move(entries_); }

 private:
  // Who wants so much gets the last block whole: it would be unpacked once more for what is left of it.
  static constexpr size_t kWholeBlocks = size_t{256} << 10;

  // A range that is lost for the same reason as the one before it becomes one with it.
  bool GoesOn(const EncodedReport& entry) {
    if (!entry.lost || entries_.empty()) return false;
    EncodedReport& last = entries_.back();
    if (!last.lost || last.attempt != entry.attempt || last.step + 1 != entry.first_step) return false;
    const absl::StatusOr<v1::StatisticsLost> before = DecodeLost(*last.bytes), now = DecodeLost(*entry.bytes);
    if (!before.ok() || !now.ok() || before->reason() != now->reason()) return false;
    last = EncodeLost(entry.attempt, last.first_step, entry.step, now->reason());
    return true;
  }

  const size_t max_bytes_;
  size_t bytes_ = 0;
  bool is_full_ = false;
  std::vector<EncodedReport> entries_;
};

// Of the items of a block, the ranges before them that have vanished: their batches know what came before. `known`: the
// last step that is accounted for; `others`: what is there besides.
std::vector<EncodedReport> Vanished(int32_t attempt, int64_t known, const std::vector<HistoryItem>& items,
                                    const std::vector<EncodedReport>& others) {
  std::vector<EncodedReport> vanished;
  for (const HistoryItem& item : items) {
    for (const EncodedReport& other : others) {
      if (other.first_step < item.steps.first) known = std::max(known, std::min(other.step, item.steps.first - 1));
    }
    if (item.previous_step > known && item.previous_step < item.steps.first) {
      vanished.push_back(EncodeLost(attempt, known + 1, item.previous_step, kDamagedReason));
    }
    known = std::max(known, item.steps.last);
  }
  return vanished;
}

}  // namespace

JobHistory::~JobHistory() {
  absl::MutexLock lock(&mutex_);
  load_.open -= open_bytes_;
  absl::MutexLock added_lock(&added_mutex_);
  for (const Added& added : added_) load_.waiting -= added.bytes;
}

void JobHistory::Load(const RowKey& key, absl::string_view value) {
  absl::MutexLock lock(&mutex_);
  index_.Load(key, value);
}

bool JobHistory::Holds(const EncodedReport& entry, uint64_t journal) const {
  if (entry.lost) return false;  // it is stored once more, and stays the same
  absl::ReaderMutexLock lock(&mutex_);
  const StepRange step = {.first = entry.step, .last = entry.step};
  const std::vector<HistoryItem> items = index_.Items(entry.attempt, 0, step);
  if (!items.empty()) return items.front().journal >= journal;
  const std::vector<LostSteps> lost = index_.Lost(entry.attempt, step);
  return !lost.empty() && lost.front().reason == kDroppedReason;  // it was in one
}

void JobHistory::Add(std::vector<EncodedReport> entries, uint64_t journal, absl::Duration now) {
  if (entries.empty()) return;
  Added added{.entries = std::move(entries), .journal = journal, .since = now};
  for (const EncodedReport& entry : added.entries) added.bytes += static_cast<int64_t>(entry.bytes->size());
  load_.waiting += added.bytes;
  absl::MutexLock lock(&added_mutex_);
  int64_t& last_step = last_steps_.try_emplace(added.entries.front().attempt, -1).first->second;
  last_step = std::max(last_step, added.entries.back().step);
  added_.push_back(std::move(added));
}

void JobHistory::Absorb() {
  std::vector<Added> all;
  {
    absl::MutexLock lock(&added_mutex_);
    all.swap(added_);
  }
  if (all.empty()) return;
  for (const Added& added : all) {
    for (const EncodedReport& entry : added.entries) Absorb(entry, added);
    absorbed_journal_ = std::max(absorbed_journal_, added.journal);
  }
  CountOpen();  // before it waits no more: in between it would count as nothing
  for (const Added& added : all) load_.waiting -= added.bytes;
}

void JobHistory::CountOpen() {
  const auto bytes = static_cast<int64_t>(open_.memory_bytes());
  load_.open += bytes - std::exchange(open_bytes_, bytes);
}

void JobHistory::Absorb(const EncodedReport& entry, const Added& added) {
  if (entry.lost) {
    const absl::StatusOr<v1::StatisticsLost> lost = DecodeLost(*entry.bytes);
    open_.AddLost(entry.attempt, {{entry.first_step, entry.step}, lost.ok() ? lost->reason() : kDamagedReason},
                  added.journal, added.since);
    return;
  }
  if (entry.report != nullptr) {
    NoteLayers(*entry.report);
    return open_.Add(*entry.report, added.journal, added.since);
  }
  const absl::StatusOr<v1::StepReport> report = DecodeReport(*entry.bytes);
  if (!report.ok()) {
    open_.AddLost(entry.attempt, {{entry.step, entry.step}, kDamagedReason}, added.journal, added.since);
    return;
  }
  NoteLayers(*report);
  open_.Add(*report, added.journal, added.since);
}

void JobHistory::NoteLayers(const v1::StepReport& report) {
  if (report.layers_size() == 0) return;
  std::vector<std::string>& names = index_.layer_names;
  const auto is_name = [](const v1::LayerStats& layer, const std::string& name) { return layer.name() == name; };
  if (std::equal(report.layers().begin(), report.layers().end(), names.begin(), names.end(), is_name)) return;
  names.clear();
  for (const v1::LayerStats& layer : report.layers()) names.push_back(layer.name());
  has_new_names_ = true;
}

int64_t JobHistory::LastStep(int32_t attempt) const {
  int64_t last_step = -1;
  {
    absl::MutexLock lock(&added_mutex_);
    const auto found = last_steps_.find(attempt);
    if (found != last_steps_.end()) last_step = found->second;
  }
  absl::ReaderMutexLock lock(&mutex_);
  return std::max(last_step, index_.LastStep(attempt));
}

std::vector<std::string> JobHistory::LayerNames() const {
  absl::ReaderMutexLock lock(&mutex_);
  return index_.layer_names;
}

JobUsage JobHistory::Usage(const RetentionBudget& otherwise) const {
  absl::ReaderMutexLock lock(&mutex_);
  JobUsage usage;
  usage.report_bytes = index_.bytes()[0];
  for (size_t level = 1; level < kLevels.size(); ++level) usage.range_bytes += index_.bytes()[level];
  usage.first_step = FirstReport();
  usage.budget = budget_.value_or(otherwise);
  return usage;
}

std::optional<int64_t> JobHistory::FirstReport() const {
  const std::vector<int32_t> stored = index_.Attempts(), open = open_.Attempts();
  const int32_t attempt = std::max(stored.empty() ? 0 : stored.back(), open.empty() ? 0 : open.back());
  std::optional<int64_t> first;
  if (const auto item = index_.FirstItemAfter(attempt, 0, -1)) first = item->steps.first;
  const StepRanges extents = open_.Extents(attempt);
  if (!extents.empty()) first = std::min(first.value_or(extents.front().first), extents.front().first);
  return first;
}

bool JobHistory::is_empty() const {
  absl::ReaderMutexLock lock(&mutex_);
  absl::MutexLock added_lock(&added_mutex_);
  return index_.Attempts().empty() && last_steps_.empty();
}

void JobHistory::SetBudget(const RetentionBudget& budget) {
  absl::MutexLock lock(&mutex_);
  budget_ = budget;
}

RetentionBudget JobHistory::budget(const RetentionBudget& otherwise) const {
  absl::ReaderMutexLock lock(&mutex_);
  return budget_.value_or(otherwise);
}

void JobHistory::Protect(int32_t attempt, const StepRange& steps) {
  absl::MutexLock lock(&mutex_);
  index_.Protect(attempt, steps);
  has_new_protection_ = true;
}

JobHistory::BlockContents JobHistory::ContentsOf(const BlockId& id) const {
  return {.items = index_.Items(id.attempt, 0, StepsOf(id)), .batches = {}, .open = open_.Blocks(id)};
}

absl::StatusOr<JobHistory::BlockContents> JobHistory::ReadBlock(const BlockId& id) {
  while (true) {
    BlockContents contents;
    {
      absl::ReaderMutexLock lock(&mutex_);
      contents = ContentsOf(id);
    }
    GW_ASSIGN_OR_RETURN(const bool is_current, ReadBatches(id, &contents));
    if (is_current) return contents;
  }
}

absl::StatusOr<bool> JobHistory::ReadBatches(const BlockId& id, BlockContents* contents) const {
  for (const HistoryItem& item : contents->items) contents->batches.push_back({item.steps.first, item.steps.last, ""});
  if (contents->items.empty()) return true;
  bool is_whole = true;
  for (StoredBatch& batch : contents->batches) {
    // By its key: who looks for a range of keys reads a row of every file, and the one behind the range.
    auto bytes = database_.Get(BatchKey(uid_, id.attempt, {batch.first_step, batch.last_step}).Encode());
    if (bytes.ok()) {
      batch.bytes = *std::move(bytes);
    } else if (!absl::IsNotFound(bytes.status()) && !absl::IsDataLoss(bytes.status())) {
      return bytes.status();
    }
    is_whole = is_whole && !batch.bytes.empty();
  }
  return is_whole ||
         contents->items == Ask([&](const HistoryIndex& index) { return index.Items(id.attempt, 0, StepsOf(id)); });
}

void JobHistory::ForEachOpen(const BlockContents& contents, const StepRange& window, const ReportChoice& choice,
                             absl::FunctionRef<void(const v1::StepReport&)> each) const {
  absl::ReaderMutexLock lock(&mutex_);
  ForEachOpenLocked(contents, window, choice, each);
}

void JobHistory::ForEachOpenLocked(const BlockContents& contents, const StepRange& window, const ReportChoice& choice,
                                   absl::FunctionRef<void(const v1::StepReport&)> each) const {
  std::map<int64_t, v1::StepReport> reports;  // where there are two, the newer wins
  for (const std::shared_ptr<const OpenBlock>& block : contents.open) {
    const auto tell = [&](const v1::StepReport& report) {
      if (report.step() > window.last) return false;
      if (contents.open.size() == 1) {
        each(report);
      } else {
        reports.insert_or_assign(report.step(), report);
      }
      return true;
    };
    block->ForEachAfter(window.first - 1, tell, choice);
  }
  for (const auto& [step, report] : reports) each(report);
}

std::vector<int32_t> JobHistory::AttemptsFrom(int32_t attempt) {
  absl::MutexLock lock(&mutex_);
  Absorb();
  std::set<int32_t> attempts;
  for (const int32_t one : index_.Attempts()) attempts.insert(one);
  for (const int32_t one : open_.Attempts()) attempts.insert(one);
  return {attempts.lower_bound(attempt), attempts.end()};
}

std::optional<BlockId> JobHistory::BlockAfter(int32_t attempt, int64_t step) const {
  std::optional<BlockId> first;
  const std::optional<HistoryItem> item = index_.FirstItemAfter(attempt, 0, step);
  if (item.has_value()) first = BlockOf(attempt, std::max(item->steps.first, step + 1));
  open_.ForEachAfter(attempt, step, [&](const v1::StepReport& report) {
    const BlockId block = BlockOf(attempt, report.step());
    first = std::min(first.value_or(block), block);
    return false;
  });
  return first;
}

JobHistory::Part JobHistory::NextPart(int32_t attempt, int64_t step) {
  TakeApart();
  // What comes, is packed or dropped between two looks would be missed by one, and not be told by the other.
  absl::ReaderMutexLock lock(&mutex_);
  Part part{.window = {.first = step + 1, .last = kEnd},
            .block = BlockAfter(attempt, step),
            .contents = {},
            .lost = {},
            .fresh = {}};
  if (part.block.has_value()) {
    part.window.last = StepsOf(*part.block).last;
    part.contents = ContentsOf(*part.block);
    ForEachOpenLocked(part.contents, part.window, ReportChoice::Everything(),
                      [&part](const v1::StepReport& report) { part.fresh.push_back(EncodeReport(report)); });
  }
  part.lost = index_.Lost(attempt, part.window);
  const std::vector<LostSteps> open = open_.Lost(attempt);
  for (auto lost = open.rbegin(); lost != open.rend(); ++lost) {  // what came last wins
    const StepRange steps = Common(lost->steps, part.window);
    if (!steps.empty()) part.fresh.push_back(EncodeLost(attempt, steps.first, steps.last, lost->reason));
  }
  return part;
}

absl::StatusOr<JobHistory::Part> JobHistory::ReadPart(int32_t attempt, int64_t step) {
  while (true) {
    Part part = NextPart(attempt, step);
    if (!part.block.has_value()) return part;
    GW_ASSIGN_OR_RETURN(const bool is_current, ReadBatches(*part.block, &part.contents));
    if (is_current) return part;
  }
}

std::vector<EncodedReport> JobHistory::EntriesOf(int32_t attempt, const Part& part) {
  std::vector<EncodedReport> old, damaged;
  for (const LostSteps& lost : part.lost) {
    old.push_back(EncodeLost(attempt, lost.steps.first, lost.steps.last, lost.reason));
  }
  for (const StoredBatch& batch : part.contents.batches) {
    const auto add = [&](const v1::StepReport& report) {
      if (part.window.Has(report.step())) old.push_back(EncodeReport(report));
    };
    if (!DecodeReports(batch.bytes, add).ok() && batch.last_step >= part.window.first) {
      damaged.push_back(
          EncodeLost(attempt, std::max(batch.first_step, part.window.first), batch.last_step, kDamagedReason));
    }
  }
  // Mostly there are reports alone, in their order.
  const bool is_plain = part.lost.empty() && damaged.empty() && part.fresh.empty();
  old.insert(old.end(), damaged.begin(), damaged.end());  // behind what is known to be lost
  std::vector<EncodedReport> all = is_plain ? std::move(old) : MergeReports(old, part.fresh);
  const std::vector<EncodedReport> vanished = Vanished(attempt, part.window.first - 1, part.contents.items, all);
  return vanished.empty() ? all : MergeReports(all, vanished);
}

absl::StatusOr<std::vector<EncodedReport>> JobHistory::ReadAfter(int32_t attempt, int64_t step, size_t max_bytes) {
  Collector collector(max_bytes);
  for (const int32_t at : AttemptsFrom(attempt)) {
    if (at != attempt) step = -1;
    for (int64_t end = step; !collector.IsFullBehind(end);) {
      GW_ASSIGN_OR_RETURN(const Part part, ReadPart(at, step));
      std::vector<EncodedReport> entries = EntriesOf(at, part);
      end = part.window.last;
      // Behind the last of them, not behind the block: more of it may have come meanwhile.
      step = entries.empty() ? end : entries.back().step;
      for (EncodedReport& entry : entries) collector.Put(std::move(entry));
      if (!part.block.has_value()) break;
    }
  }
  return std::move(collector).Take();
}

JobHistory::Standing JobHistory::StandingOf(int32_t attempt) {
  TakeApart();
  absl::ReaderMutexLock lock(&mutex_);
  Standing standing{.kept = index_.Kept(attempt, open_.Extents(attempt)),
                    .lost = index_.Lost(attempt, {.first = 0, .last = kEnd})};
  const std::vector<LostSteps> open = open_.Lost(attempt);
  standing.lost.insert(standing.lost.end(), open.begin(), open.end());
  std::stable_sort(standing.lost.begin(), standing.lost.end(),
                   [](const LostSteps& a, const LostSteps& b) { return a.steps.first < b.steps.first; });
  return standing;
}

absl::Status JobHistory::ForEachRow(int32_t attempt, size_t level, TierGroup group, const StepRange& window,
                                    absl::FunctionRef<void(const StepRange&, absl::string_view)> each) const {
  StepRanges expected, read;
  for (const HistoryItem& item : Ask([&](const HistoryIndex& index) { return index.Items(attempt, level, window); })) {
    if ((item.groups >> static_cast<int>(group) & 1) != 0) expected.push_back(item.steps);
  }
  // A row begins within the range that the longest would have.
  const int64_t from = window.first / (kLevels[level] * 256) * (kLevels[level] * 256);
  const auto row = [&](absl::string_view key, absl::string_view bytes) {
    const std::optional<RowKey> parts = RowKey::Decode(key);
    if (!parts.has_value() || Common(parts->steps, window).empty()) return true;
    each(parts->steps, bytes);
    read.push_back(parts->steps);
    return true;
  };
  // Steps that are kept have no end; keys have.
  const int64_t end = window.last == kEnd ? kEnd : window.last + 1;
  GW_RETURN_IF_ERROR(database_.ForEach(TierKey(uid_, attempt, level, group, from).Encode(),
                                       TierKey(uid_, attempt, level, group, end).Encode(), row, PassOver));
  for (const StepRange& missing : Without(Together(expected), Together(read))) each(missing, "");
  return absl::OkStatus();
}

std::vector<BlockId> JobHistory::Due(absl::Duration oldest) {
  absl::MutexLock lock(&mutex_);
  Absorb();
  return open_.Due(oldest);
}

void JobHistory::TakeApart() {
  absl::MutexLock lock(&mutex_);
  Absorb();
}

std::optional<uint64_t> JobHistory::FirstJournal() {
  absl::MutexLock lock(&mutex_);
  Absorb();
  return open_.FirstJournal();
}

int64_t JobHistory::open_bytes() const {
  absl::ReaderMutexLock lock(&mutex_);
  return open_bytes_;
}

JobHistory::ClosingBlock JobHistory::StartClosing(const BlockId& id) {
  absl::MutexLock lock(&mutex_);
  // More of the last record may come.
  const uint64_t whole = absorbed_journal_ == 0 ? 0 : absorbed_journal_ - 1;
  return {.block = open_.StartClosing(id), .journal = closing_journals_.try_emplace(id, whole).first->second};
}

void JobHistory::PutRows(const IndexChange& change, HistoryChanges* rows) const {
  absl::ReaderMutexLock lock(&mutex_);
  index_.PutRows(uid_, change, rows);
}

void JobHistory::PutAllRows(HistoryChanges* rows) const {
  absl::ReaderMutexLock lock(&mutex_);
  index_.PutAllRows(uid_, rows);
}

void JobHistory::PutNotes(HistoryChanges* rows) {
  absl::MutexLock lock(&mutex_);
  if (has_new_names_) index_.PutNames(uid_, rows);
  has_new_names_ = false;
  if (!has_new_protection_) return;
  for (const int32_t attempt : index_.Attempts()) index_.PutProtected(uid_, attempt, rows);
  has_new_protection_ = false;
}

void JobHistory::NotesFailed() {
  absl::MutexLock lock(&mutex_);
  has_new_names_ = has_new_protection_ = true;
}

void JobHistory::Apply(const IndexChange& change, std::optional<BlockId> closed) {
  absl::MutexLock lock(&mutex_);
  index_.Apply(change);
  if (!closed.has_value()) return;
  open_.Closed(*closed);
  closing_journals_.erase(*closed);
  CountOpen();
}

}  // namespace gradwatch::server
