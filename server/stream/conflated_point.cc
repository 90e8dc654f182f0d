#include "server/stream/conflated_point.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "gradwatch/v1/telemetry.pb.h"
#include "gradwatch/v1/watch_service.pb.h"

namespace gradwatch::server {
namespace {

using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedInputStream;

CodedInputStream StreamOf(absl::string_view bytes) {
  return CodedInputStream(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
}

// The content of the only field of `bytes`.
absl::string_view ContentOf(absl::string_view bytes) {
  CodedInputStream stream = StreamOf(bytes);
  uint32_t length = 0;
  if (stream.ReadTag() == 0 || !stream.ReadVarint32(&length)) return {};
  return bytes.substr(static_cast<size_t>(stream.CurrentPosition()));
}

bool ReadDouble(CodedInputStream* stream, double* value) {
  uint64_t bits = 0;
  if (!stream->ReadLittleEndian64(&bits)) return false;
  *value = std::bit_cast<double>(bits);
  return true;
}

// Takes the field of a StepReport that begins with `tag`.
bool TakeField(uint32_t tag, CodedInputStream* stream, StepFigures* figures) {
  constexpr auto kVarint = WireFormatLite::WIRETYPE_VARINT;
  constexpr auto kDouble = WireFormatLite::WIRETYPE_FIXED64;
  uint64_t count = 0;
  switch (tag) {
    case WireFormatLite::MakeTag(v1::StepReport::kLossFieldNumber, kDouble):
      return ReadDouble(stream, &figures->loss);
    case WireFormatLite::MakeTag(v1::StepReport::kGradNormFieldNumber, kDouble):
      return ReadDouble(stream, &figures->grad_norm.emplace());
    case WireFormatLite::MakeTag(v1::StepReport::kNanCountFieldNumber, kVarint):
    case WireFormatLite::MakeTag(v1::StepReport::kPosInfCountFieldNumber, kVarint):
    case WireFormatLite::MakeTag(v1::StepReport::kNegInfCountFieldNumber, kVarint):
      if (!stream->ReadVarint64(&count)) return false;
      figures->gradient_is_finite &= count == 0;
      return true;
    default:
      return WireFormatLite::SkipField(stream, tag);
  }
}

}  // namespace

StepFigures ReadFigures(const EncodedReport& report) {
  StepFigures figures{.step = report.step, .loss = 0, .grad_norm = std::nullopt};
  CodedInputStream stream = StreamOf(ContentOf(*report.bytes));
  while (const uint32_t tag = stream.ReadTag()) {
    if (!TakeField(tag, &stream, &figures)) break;
  }
  if (!stream.ConsumedEntireMessage()) {
    figures.loss = std::numeric_limits<double>::quiet_NaN();
    figures.gradient_is_finite = false;
  }
  return figures;
}

SharedBytes EncodePoint(int32_t attempt, const ConflatedRange& range, absl::string_view last_report) {
  v1::ConflatedPoint point;
  point.set_attempt(attempt);
  point.set_first_step(range.steps.first);
  point.set_last_step(range.steps.last);
  if (range.loss.count > 0) {
    point.set_loss_min(range.loss.min);
    point.set_loss_max(range.loss.max);
  }
  if (range.grad_norm.count > 0) {
    point.set_grad_norm_min(range.grad_norm.min);
    point.set_grad_norm_max(range.grad_norm.max);
  }
  point.set_non_finite_steps(range.non_finite_steps);
  std::string content = point.SerializeAsString();
  if (!last_report.empty()) {
    content += *EncodeField(v1::ConflatedPoint::kLastFieldNumber, ContentOf(last_report));
  }
  return EncodeField(v1::WatchJobResponse::kPointsFieldNumber, content);
}

}  // namespace gradwatch::server
