#include "core/spec/resource_limits.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/optim/optimizer.h"

namespace gradwatch::core {
namespace {

// As large as numbers get, rather than wrong.
int64_t Multiply(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

int64_t Add(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

int64_t ModelBytes(const v1::ResourceEstimate& estimate) {
  return Add(estimate.parameter_bytes(), estimate.activation_bytes());
}

absl::Status TooLarge(absl::string_view field, absl::string_view description, absl::string_view reason) {
  return WithReason(InvalidField(field, description), reason);
}

}  // namespace

v1::ResourceEstimate EstimateResources(const Network<float>& network, const v1::JobSpec& spec, int64_t data_bytes) {
  // Parameters and gradients; the sum of gradients where a step is several batches; the last gradients where they are
  // compared; then the optimizer's state.
  const int64_t arenas = 2 + (spec.accumulation() > 1 ? 1 : 0) + (spec.controls().gradient_cosine() ? 1 : 0) +
                         OptimizerStatePerParameter(spec.optimizer());
  const int64_t bytes_each = static_cast<int64_t>(sizeof(float)) * arenas;
  v1::ResourceEstimate estimate;
  estimate.set_parameters(network.layout().parameter_count());
  estimate.set_parameter_bytes(Multiply(estimate.parameters(), bytes_each));
  estimate.set_activation_bytes(network.activation_bytes());
  estimate.set_data_bytes(data_bytes);
  return estimate;
}

absl::Status CheckLimits(const v1::ResourceEstimate& estimate, const ParameterLayout& layout,
                         const SpecLimits& limits) {
  if (estimate.parameters() > limits.max_parameters) {
    const auto& segments = layout.segments();
    const auto largest = std::max_element(segments.begin(), segments.end(),
                                          [](const auto& a, const auto& b) { return a.size < b.size; });
    return TooLarge("model",
                    absl::StrCat(estimate.parameters(), " parameters exceed the limit of ", limits.max_parameters,
                                 "; the largest tensor is ", largest->name, " with ", largest->size),
                    "QUOTA_PARAMS");
  }
  const int64_t model_bytes = ModelBytes(estimate);
  const int64_t bytes = Add(model_bytes, estimate.data_bytes());
  if (bytes > limits.max_bytes) {
    return TooLarge(model_bytes >= estimate.data_bytes() ? "model" : "data",
                    absl::StrCat(bytes, " bytes exceed the limit of ", limits.max_bytes, ": ",
                                 estimate.parameter_bytes(), " for parameters, gradients and optimizer, ",
                                 estimate.activation_bytes(), " for activations, ", estimate.data_bytes(), " for data"),
                    "QUOTA_MEMORY");
  }
  return absl::OkStatus();
}

absl::Status CheckControlsMemory(const v1::Job& job, const v1::Controls& changed, const SpecLimits& limits) {
  const bool switched_on = changed.gradient_cosine() && !job.controls().gradient_cosine();
  if (!switched_on || job.spec().controls().gradient_cosine()) return absl::OkStatus();
  const int64_t copy = Multiply(job.estimate().parameters(), sizeof(float));
  const int64_t bytes = Add(Add(ModelBytes(job.estimate()), job.estimate().data_bytes()), copy);
  if (bytes <= limits.max_bytes) return absl::OkStatus();
  return TooLarge("gradient_cosine",
                  absl::StrCat("the copy of the gradients takes ", copy, " bytes; the job would need ", bytes,
                               ", beyond the limit of ", limits.max_bytes),
                  "QUOTA_MEMORY");
}

}  // namespace gradwatch::core
