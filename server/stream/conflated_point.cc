#include "server/stream/conflated_point.h"

#include <bit>
#include <limits>
#include <string>

#include "gradwatch/v1/telemetry.pb.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/stream/wire_fields.h"

namespace gradwatch::server {
namespace {

constexpr auto kVarint = WireFields::Type::WIRETYPE_VARINT;
constexpr auto kDouble = WireFields::Type::WIRETYPE_FIXED64;

// The content of the only field of `bytes`.
absl::string_view ContentOf(absl::string_view bytes) {
  WireFields fields(bytes);
  return fields.Next() ? fields.content() : absl::string_view();
}

}  // namespace

StepFigures ReadFigures(const EncodedReport& report) {
  using Report = v1::StepReport;
  StepFigures figures{.step = report.step, .loss = 0, .grad_norm = std::nullopt};
  WireFields whole(*report.bytes);
  const bool is_whole = whole.Next();
  WireFields field(whole.content());
  while (field.Next()) {
    if (field.Is(Report::kLossFieldNumber, kDouble)) {
      figures.loss = std::bit_cast<double>(field.bits());
    } else if (field.Is(Report::kGradNormFieldNumber, kDouble)) {
      figures.grad_norm = std::bit_cast<double>(field.bits());
    } else if (field.Is(Report::kNanCountFieldNumber, kVarint) || field.Is(Report::kPosInfCountFieldNumber, kVarint) ||
               field.Is(Report::kNegInfCountFieldNumber, kVarint)) {
      figures.gradient_is_finite &= field.bits() == 0;
    }
  }
  if (!is_whole || !field.AtEnd()) {
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
