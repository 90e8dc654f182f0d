#include "server/history/encoded_report.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "gradwatch/v1/watch_service.pb.h"

namespace gradwatch::server {
namespace {

using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedInputStream;

constexpr int kReports = v1::WatchJobResponse::kReportsFieldNumber;
constexpr int kLost = v1::WatchJobResponse::kLostFieldNumber;
constexpr uint32_t kStepTag =
    WireFormatLite::MakeTag(v1::StepReport::kStepFieldNumber, WireFormatLite::WIRETYPE_VARINT);

absl::Status Damaged() {
  return core::WithReason(absl::DataLossError("stored statistics cannot be read"), "LOG_CORRUPT");
}

CodedInputStream StreamOf(absl::string_view bytes) {
  return CodedInputStream(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
}

struct Field {
  int number = 0;
  absl::string_view content;
};

// Takes the field from the front of `bytes`.
absl::StatusOr<Field> TakeField(absl::string_view* bytes) {
  CodedInputStream stream = StreamOf(*bytes);
  uint32_t tag = 0, length = 0;
  if (!stream.ReadVarint32(&tag) || !stream.ReadVarint32(&length)) return Damaged();
  const int number = WireFormatLite::GetTagFieldNumber(tag);
  if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) return Damaged();
  if (number != kReports && number != kLost) return Damaged();
  const size_t start = stream.CurrentPosition();
  if (length > bytes->size() - start) return Damaged();
  const Field field{number, bytes->substr(start, length)};
  bytes->remove_prefix(start + length);
  return field;
}

// The message that is the only field of `bytes`.
template <typename Message>
absl::StatusOr<Message> Decode(int number, absl::string_view bytes) {
  GW_ASSIGN_OR_RETURN(const Field field, TakeField(&bytes));
  Message message;
  if (!bytes.empty() || field.number != number) return Damaged();
  if (!message.ParseFromArray(field.content.data(), static_cast<int>(field.content.size()))) return Damaged();
  return message;
}

// The step of a serialised StepReport. Fields are written in the order of their numbers, so only the first are read.
absl::StatusOr<int64_t> StepOf(absl::string_view content) {
  CodedInputStream stream = StreamOf(content);
  while (const uint32_t tag = stream.ReadTag()) {
    uint64_t step = 0;
    if (tag == kStepTag) return stream.ReadVarint64(&step) ? absl::StatusOr<int64_t>(step) : Damaged();
    if (WireFormatLite::GetTagFieldNumber(tag) > v1::StepReport::kStepFieldNumber) return 0;
    if (!WireFormatLite::SkipField(&stream, tag)) return Damaged();
  }
  return stream.ConsumedEntireMessage() ? absl::StatusOr<int64_t>(0) : Damaged();
}

// Entries of one attempt that share no step, by their first.
class Merger {
 public:
  // Puts `entry` on those of its steps that are free.
  void Fill(const EncodedReport& entry) {
    for (int64_t first = entry.first_step;;) {
      const auto next = entries_.upper_bound(first);
      if (next != entries_.begin() && std::prev(next)->second.step >= first) {
        const int64_t taken = std::prev(next)->second.step;
        if (taken >= entry.step) return;
        first = taken + 1;
        continue;
      }
      const int64_t last = next == entries_.end() ? entry.step : std::min(entry.step, next->first - 1);
      entries_.emplace(first, entry.lost ? CutLost(entry, first, last) : entry);
      if (last == entry.step) return;
      first = last + 1;
    }
  }

  void FillAll(const std::vector<EncodedReport>& entries, bool lost) {
    for (const EncodedReport& entry : entries) {
      if (entry.lost == lost) Fill(entry);
    }
  }

  std::vector<EncodedReport> Take() {
    std::vector<EncodedReport> entries;
    for (auto& [step, entry] : entries_) entries.push_back(std::move(entry));
    return entries;
  }

 private:
  std::map<int64_t, EncodedReport> entries_;
};

}  // namespace

EncodedReport EncodeReport(const v1::StepReport& report) {
  return {.attempt = report.attempt(),
          .step = report.step(),
          .first_step = report.step(),
          .bytes = EncodeField(kReports, report),
          .report = nullptr};
}

EncodedReport EncodeLost(const v1::StatisticsLost& lost) {
  return {.attempt = lost.attempt(),
          .step = lost.last_step(),
          .first_step = lost.first_step(),
          .lost = true,
          .bytes = EncodeField(kLost, lost),
          .report = nullptr};
}

EncodedReport EncodeLost(int32_t attempt, int64_t first_step, int64_t last_step, absl::string_view reason) {
  v1::StatisticsLost lost;
  lost.set_attempt(attempt);
  lost.set_first_step(first_step);
  lost.set_last_step(last_step);
  lost.set_reason(std::string(reason));
  return EncodeLost(lost);
}

absl::StatusOr<v1::StepReport> DecodeReport(absl::string_view bytes) { return Decode<v1::StepReport>(kReports, bytes); }

absl::StatusOr<v1::StatisticsLost> DecodeLost(absl::string_view bytes) {
  return Decode<v1::StatisticsLost>(kLost, bytes);
}

absl::StatusOr<std::vector<EncodedReport>> SplitReports(int32_t attempt, absl::string_view bytes) {
  std::vector<EncodedReport> entries;
  while (!bytes.empty()) {
    const absl::string_view rest = bytes;
    GW_ASSIGN_OR_RETURN(const Field field, TakeField(&bytes));
    EncodedReport& entry = entries.emplace_back();
    entry.attempt = attempt;
    entry.bytes = std::make_shared<const std::string>(rest.substr(0, rest.size() - bytes.size()));
    entry.lost = field.number == kLost;
    if (entry.lost) {
      GW_ASSIGN_OR_RETURN(const v1::StatisticsLost lost, DecodeLost(*entry.bytes));
      entry.first_step = lost.first_step();
      entry.step = lost.last_step();
    } else {
      GW_ASSIGN_OR_RETURN(entry.step, StepOf(field.content));
      entry.first_step = entry.step;
    }
  }
  return entries;
}

EncodedReport CutLost(const EncodedReport& lost, int64_t first_step, int64_t last_step) {
  const int64_t first = std::max(first_step, lost.first_step);
  const int64_t last = std::min(last_step, lost.step);
  if (first == lost.first_step && last == lost.step) return lost;
  const absl::StatusOr<v1::StatisticsLost> message = DecodeLost(*lost.bytes);
  return EncodeLost(lost.attempt, first, last, message.ok() ? message->reason() : "");
}

std::vector<EncodedReport> MergeReports(const std::vector<EncodedReport>& old,
                                        const std::vector<EncodedReport>& fresh) {
  Merger merger;
  for (const bool lost : {false, true}) {
    merger.FillAll(fresh, lost);
    merger.FillAll(old, lost);
  }
  return merger.Take();
}

}  // namespace gradwatch::server
