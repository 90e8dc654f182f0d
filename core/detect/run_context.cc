#include "core/detect/run_context.h"

#include <cmath>
#include <utility>

namespace gradwatch::core {
namespace {

constexpr int kWindow = 101;
constexpr int kWarmUp = 5;
// A norm this many times the median is not usual.
constexpr double kOutlierFactor = 10;
// Weights of a smaller norm say nothing about an update.
constexpr double kSmallestWeightNorm = 1e-12;

}  // namespace

int LargestTensor(const StepRecord& record) {
  int largest = -1;
  double norm = 0;
  for (size_t i = 0; i < record.tensors.size(); ++i) {
    if (record.tensors[i].l2_norm > norm) {
      norm = record.tensors[i].l2_norm;
      largest = static_cast<int>(i);
    }
  }
  return largest;
}

RunContext::RunContext(std::vector<std::string> tensor_names)
    : tensor_names_(std::move(tensor_names)), norms_(kWindow, kWarmUp) {}

int64_t RunContext::Bytes(const std::vector<std::string>& tensor_names) {
  // Twice the vector, which may have grown by doubling.
  int64_t bytes = static_cast<int64_t>(sizeof(RunContext)) + History::Bytes(kWindow);
  for (const std::string& name : tensor_names) {
    bytes += 2 * static_cast<int64_t>(sizeof(std::string)) + static_cast<int64_t>(name.size()) + 1;
  }
  return bytes;
}

void RunContext::ObserveGradients(const StepRecord& record) {
  const double norm = record.grad_norm;
  if (record.non_finite() > 0 || !std::isfinite(record.loss) || !std::isfinite(norm) || norm <= 0) return;
  norms_.Admit(norm, norms_.ready() && norm > kOutlierFactor * norms_.usual().Median());
  last_finite_ = {record.step, norm, LargestTensor(record)};
}

void RunContext::ObserveUpdate(const StepRecord& record) {
  Update largest;
  for (size_t i = 0; i < record.tensors.size(); ++i) {
    const TensorStatistics& tensor = record.tensors[i];
    if (!(tensor.weight_norm > kSmallestWeightNorm)) continue;
    const double ratio = tensor.update_norm / tensor.weight_norm;
    if (ratio > largest.ratio) largest = {record.step, ratio, static_cast<int>(i)};
  }
  if (largest.step >= 0) last_update_ = largest;
}

const std::string& RunContext::NameOf(int tensor) const {
  static const std::string* const nobody = new std::string();
  return tensor >= 0 && tensor < static_cast<int>(tensor_names_.size()) ? tensor_names_[tensor] : *nobody;
}

}  // namespace gradwatch::core
