#include "server/stream/watch_filter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/glob.h"
#include "core/base/status_macros.h"
#include "server/history/encoded_report.h"

namespace gradwatch::server {
namespace {

// FNV-1a, 64 bits (Fowler, Noll, Vo).
uint64_t HashText(absl::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
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

absl::StatusOr<SharedBytes> ReportFilter::WithoutUnwanted(absl::string_view report) const {
  if (globs_.empty()) return nullptr;
  GW_ASSIGN_OR_RETURN(v1::StepReport decoded, DecodeReport(report));
  auto* tensors = decoded.mutable_tensors();
  const auto is_wanted = [this](const v1::TensorStats& stats) {
    return stats.tensor() >= 0 && static_cast<size_t>(stats.tensor()) < wanted_tensors_.size() &&
           wanted_tensors_[stats.tensor()];
  };
  const auto kept = std::stable_partition(tensors->pointer_begin(), tensors->pointer_end(),
                                          [&](const v1::TensorStats* stats) { return is_wanted(*stats); });
  const int unwanted = static_cast<int>(tensors->pointer_end() - kept);
  if (unwanted == 0) return nullptr;
  tensors->DeleteSubrange(tensors->size() - unwanted, unwanted);
  return EncodeReport(decoded).bytes;
}

}  // namespace gradwatch::server
