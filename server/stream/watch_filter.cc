#include "server/stream/watch_filter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/error.h"
#include "core/base/glob.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/stream/wire_fields.h"

namespace gradwatch::server {
namespace {

// FNV-1a, 64 bits (Fowler, Noll, Vo).
uint64_t HashText(absl::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

constexpr auto kDelimited = WireFields::Type::WIRETYPE_LENGTH_DELIMITED;

absl::Status NoReport() {
  return core::WithReason(absl::DataLossError("stored statistics cannot be read"), "LOG_CORRUPT");
}

}  // namespace

uint64_t WatchFilter::Hash() const {
  std::string text = absl::StrCat(events_only ? 1 : 0, ",", std::max<int64_t>(every_steps, 1));
  std::vector<std::string> globs = tensors;
  std::sort(globs.begin(), globs.end());
  for (const std::string& glob : globs) absl::StrAppend(&text, ",", glob.size(), ":", glob);
  return HashText(text);
}

ReportFilter::ReportFilter(const WatchFilter& filter)
    : every_steps_(std::max<int64_t>(filter.every_steps, 1)), globs_(filter.tensors) {}

void ReportFilter::SetTensorNames(const std::vector<std::string>& names) {
  wanted_tensors_.clear();
  for (const std::string& name : names) {
    wanted_tensors_.push_back(std::any_of(globs_.begin(), globs_.end(),
                                          [&name](const std::string& glob) { return core::GlobMatches(glob, name); }));
  }
}

// The fields are passed on as they are, or not: none is decoded.
absl::StatusOr<SharedBytes> ReportFilter::WithoutUnwanted(absl::string_view report) const {
  if (globs_.empty()) return nullptr;
  WireFields whole(report);
  if (!whole.Next() || !whole.Is(v1::WatchJobResponse::kReportsFieldNumber, kDelimited)) return NoReport();
  std::string kept;
  kept.reserve(report.size());
  WireFields field(whole.content());
  while (field.Next()) {
    const bool is_tensor = field.Is(v1::StepReport::kTensorsFieldNumber, kDelimited);
    if (!is_tensor || IsWanted(field.content())) absl::StrAppend(&kept, field.bytes());
  }
  if (!field.AtEnd() || !whole.AtEnd()) return NoReport();
  if (kept.size() == whole.content().size()) return nullptr;
  return EncodeField(v1::WatchJobResponse::kReportsFieldNumber, kept);
}

bool ReportFilter::IsWanted(absl::string_view tensor) const {
  uint64_t id = 0;
  for (WireFields field(tensor); field.Next();) {
    if (!field.Is(v1::TensorStats::kTensorFieldNumber, WireFields::Type::WIRETYPE_VARINT)) continue;
    id = field.bits();
    break;  // fields are in the order of their numbers
  }
  return id < wanted_tensors_.size() && wanted_tensors_[id];
}

}  // namespace gradwatch::server
