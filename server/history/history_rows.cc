#include "server/history/history_rows.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/history/column_codec.h"
#include "server/history/statistics_query.h"

namespace gradwatch::server {
namespace {

constexpr size_t kLongestUid = 36;
constexpr char kEndOfUid = '\0';

// Big-endian, so that keys are in the order of numbers.
template <typename Number>
void AppendNumber(Number number, std::string* key) {
  for (int shift = 8 * (static_cast<int>(sizeof(Number)) - 1); shift >= 0; shift -= 8) {
    key->push_back(static_cast<char>(number >> shift));
  }
}

template <typename Number>
bool TakeNumber(absl::string_view* key, Number* number) {
  if (key->size() < sizeof(Number)) return false;
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(Number); ++i) value = value << 8 | static_cast<uint8_t>((*key)[i]);
  *number = static_cast<Number>(value);
  key->remove_prefix(sizeof(Number));
  return true;
}

bool HasAttempt(RowKind kind) { return kind != RowKind::kNames; }
bool HasLevel(RowKind kind) { return kind == RowKind::kItem || kind == RowKind::kTier; }
bool HasFirst(RowKind kind) { return kind != RowKind::kNames && kind != RowKind::kProtected; }
bool HasLast(RowKind kind) { return kind == RowKind::kBatch || kind == RowKind::kTier; }
bool IsOfJob(RowKind kind) {
  return absl::string_view("bilnpt").find(static_cast<char>(kind)) != absl::string_view::npos;
}

bool TakeParts(absl::string_view rest, RowKey* key) {
  uint8_t level = 0, group = 0;
  if (HasAttempt(key->kind) && !TakeNumber(&rest, &key->attempt)) return false;
  if (HasLevel(key->kind) && (!TakeNumber(&rest, &level) || level >= kLevels.size())) return false;
  key->level = level;
  if (key->kind == RowKind::kTier && (!TakeNumber(&rest, &group) || group >= kTierGroups)) return false;
  key->group = static_cast<TierGroup>(group);
  if (HasFirst(key->kind) && (!TakeNumber(&rest, &key->steps.first) || key->steps.first < 0)) return false;
  if (HasLast(key->kind) && (!TakeNumber(&rest, &key->steps.last) || key->steps.empty())) return false;
  return rest.empty();
}

// Whole numbers that are not negative.
template <typename Number>
bool TakeCount(absl::string_view* value, Number* number) {
  uint64_t bits = 0;
  if (!TakeVarint(value, &bits) || bits >> 63 != 0) return false;
  *number = static_cast<Number>(bits);
  return true;
}

void AppendCount(int64_t number, std::string* value) { AppendVarint(static_cast<uint64_t>(number), value); }

}  // namespace

absl::Status CheckUid(absl::string_view uid) {
  const bool is_valid = !uid.empty() && uid.size() <= kLongestUid && std::all_of(uid.begin(), uid.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
  });
  if (is_valid) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", absl::CHexEscape(uid.substr(0, 64)), "\" is no uid of a job"));
}

std::string RowKey::Encode() const {
  std::string key(1, static_cast<char>(kind));
  key += uid;
  key += kEndOfUid;
  if (HasAttempt(kind)) AppendNumber(static_cast<uint32_t>(attempt), &key);
  if (HasLevel(kind)) AppendNumber(static_cast<uint8_t>(level), &key);
  if (kind == RowKind::kTier) AppendNumber(static_cast<uint8_t>(group), &key);
  if (HasFirst(kind)) AppendNumber(static_cast<uint64_t>(steps.first), &key);
  if (HasLast(kind)) AppendNumber(static_cast<uint64_t>(steps.last), &key);
  return key;
}

std::optional<RowKey> RowKey::Decode(absl::string_view key) {
  if (key.empty() || !IsOfJob(static_cast<RowKind>(key[0]))) return std::nullopt;
  const size_t end = key.find(kEndOfUid);
  if (end == absl::string_view::npos) return std::nullopt;
  RowKey parts{.kind = static_cast<RowKind>(key[0]), .uid = std::string(key.substr(1, end - 1))};
  if (!CheckUid(parts.uid).ok() || !TakeParts(key.substr(end + 1), &parts)) return std::nullopt;
  return parts;
}

KeyRange RowsOf(RowKind kind) {
  const char first = static_cast<char>(kind);
  return {std::string(1, first), std::string(1, static_cast<char>(first + 1))};
}

KeyRange RowsOf(RowKind kind, absl::string_view uid) {
  std::string from = absl::StrCat(std::string(1, static_cast<char>(kind)), uid);
  std::string to = from + static_cast<char>(kEndOfUid + 1);
  from += kEndOfUid;
  return {std::move(from), std::move(to)};
}

std::string JournalKey(uint64_t number) {
  std::string key(1, static_cast<char>(RowKind::kJournal));
  AppendNumber(number, &key);
  return key;
}

std::optional<uint64_t> JournalNumber(absl::string_view key) {
  uint64_t number = 0;
  if (key.empty() || key[0] != static_cast<char>(RowKind::kJournal)) return std::nullopt;
  key.remove_prefix(1);
  if (!TakeNumber(&key, &number) || !key.empty()) return std::nullopt;
  return number;
}

std::string EncodeItem(const HistoryItem& item) {
  std::string value;
  AppendCount(item.steps.last - item.steps.first, &value);
  AppendCount(item.through - item.steps.first, &value);
  AppendCount(item.previous_step + 1, &value);
  AppendCount(item.bytes, &value);
  AppendCount(std::max<int64_t>(0, absl::ToUnixSeconds(item.stored)), &value);
  AppendVarint(item.journal, &value);
  AppendVarint(item.groups, &value);
  return value;
}

std::optional<HistoryItem> DecodeItem(int64_t first_step, absl::string_view value) {
  HistoryItem item;
  int64_t seconds = 0;
  item.steps.first = first_step;
  const bool is_good = TakeCount(&value, &item.steps.last) && TakeCount(&value, &item.through) &&
                       TakeCount(&value, &item.previous_step) && TakeCount(&value, &item.bytes) &&
                       TakeCount(&value, &seconds) && TakeCount(&value, &item.journal) &&
                       TakeCount(&value, &item.groups);
  if (!is_good) return std::nullopt;
  item.steps.last += first_step;
  item.through += first_step;
  --item.previous_step;
  item.stored = absl::FromUnixSeconds(seconds);
  return item;
}

std::string EncodeLostSteps(const LostSteps& lost) {
  std::string value;
  AppendCount(lost.steps.last - lost.steps.first, &value);
  return value + lost.reason;
}

std::optional<LostSteps> DecodeLostSteps(int64_t first_step, absl::string_view value) {
  int64_t more = 0;
  if (!TakeCount(&value, &more)) return std::nullopt;
  return LostSteps{{first_step, first_step + more}, std::string(value)};
}

std::string EncodeRanges(const StepRanges& ranges) {
  std::string value;
  for (const StepRange& range : ranges) {
    AppendCount(range.first, &value);
    AppendCount(range.last - range.first, &value);
  }
  return value;
}

std::optional<StepRanges> DecodeRanges(absl::string_view value) {
  StepRanges ranges;
  while (!value.empty()) {
    StepRange& range = ranges.emplace_back();
    if (!TakeCount(&value, &range.first) || !TakeCount(&value, &range.last)) return std::nullopt;
    range.last += range.first;
  }
  return Together(std::move(ranges));
}

std::string EncodeNames(const std::vector<std::string>& names) {
  std::string value;
  for (const std::string& name : names) {
    AppendVarint(name.size(), &value);
    value += name;
  }
  return value;
}

std::optional<std::vector<std::string>> DecodeNames(absl::string_view value) {
  std::vector<std::string> names;
  while (!value.empty()) {
    size_t size = 0;
    if (!TakeCount(&value, &size) || size > value.size()) return std::nullopt;
    names.emplace_back(value.substr(0, size));
    value.remove_prefix(size);
  }
  return names;
}

}  // namespace gradwatch::server
