#include "server/store/report_codec.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <utility>

#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "gradwatch/v1/watch_service.pb.h"

namespace gradwatch::server {
namespace {

using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedInputStream;
using ::google::protobuf::io::CodedOutputStream;

constexpr uint32_t kReportTag =
    WireFormatLite::MakeTag(v1::WatchJobResponse::kReportsFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr uint32_t kStepTag =
    WireFormatLite::MakeTag(v1::StepReport::kStepFieldNumber, WireFormatLite::WIRETYPE_VARINT);

absl::Status Damaged() {
  return core::WithReason(absl::DataLossError("stored statistics cannot be read"), "LOG_CORRUPT");
}

CodedInputStream StreamOf(absl::string_view bytes) {
  return CodedInputStream(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
}

// Takes the field from the front of `bytes` and returns its content.
absl::StatusOr<absl::string_view> TakeField(absl::string_view* bytes) {
  CodedInputStream stream = StreamOf(*bytes);
  uint32_t tag = 0, length = 0;
  if (!stream.ReadVarint32(&tag) || tag != kReportTag || !stream.ReadVarint32(&length)) return Damaged();
  const size_t start = stream.CurrentPosition();
  if (length > bytes->size() - start) return Damaged();
  const absl::string_view content = bytes->substr(start, length);
  bytes->remove_prefix(start + length);
  return content;
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

}  // namespace

EncodedReport EncodeReport(const v1::StepReport& report) {
  const size_t length = report.ByteSizeLong();
  uint8_t head[16];
  uint8_t* end = CodedOutputStream::WriteTagToArray(kReportTag, head);
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(length), end);
  EncodedReport encoded{report.attempt(), report.step(), std::string(head, end)};
  encoded.bytes.resize(end - head + length);
  report.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(encoded.bytes.data()) + (end - head));
  return encoded;
}

absl::StatusOr<v1::StepReport> DecodeReport(absl::string_view bytes) {
  GW_ASSIGN_OR_RETURN(const absl::string_view content, TakeField(&bytes));
  v1::StepReport report;
  if (!bytes.empty() || !report.ParseFromArray(content.data(), static_cast<int>(content.size()))) return Damaged();
  return report;
}

absl::StatusOr<std::vector<EncodedReport>> SplitReports(int32_t attempt, absl::string_view bytes) {
  std::vector<EncodedReport> reports;
  while (!bytes.empty()) {
    const char* const start = bytes.data();
    GW_ASSIGN_OR_RETURN(const absl::string_view content, TakeField(&bytes));
    GW_ASSIGN_OR_RETURN(const int64_t step, StepOf(content));
    reports.push_back({attempt, step, std::string(start, bytes.data())});
  }
  return reports;
}

}  // namespace gradwatch::server
