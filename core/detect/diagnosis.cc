#include "core/detect/diagnosis.h"

#include <cmath>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace gradwatch::core {
namespace {

// A tensor with this share of the squared norm is what the norm is about.
constexpr double kDominantShare = 0.5;
// The gradient grows through the layers if the first weight's norm is this many times the last one's.
constexpr double kNotableGrowth = 10;
// An update this large against its weights may be why the gradients after it are large; about 0.001 is usual.
constexpr double kLargeUpdate = 0.03;
// Threshold to suggest, in medians of the norm. Pascanu et al. 2013 name 0.5 to 10 times the average.
constexpr double kClipFactor = 5;

bool IsRecurrentWeight(absl::string_view name) {
  return absl::StrContains(name, "weight_hh") || absl::StrContains(name, "recurrent");
}

// Growth of the gradient from the weight nearest the output to the one nearest the input.
struct Growth {
  int first, last;
  double total;      // first's norm over last's
  double per_layer;  // geometric mean
};

std::optional<Growth> GrowthOf(const StepRecord& record, const RunContext& context) {
  Growth growth = {-1, -1, 0, 0};
  int weights = 0;
  for (size_t i = 0; i < record.tensors.size(); ++i) {
    if (!absl::StrContains(context.NameOf(static_cast<int>(i)), "weight")) continue;
    if (growth.first < 0) growth.first = static_cast<int>(i);
    growth.last = static_cast<int>(i);
    ++weights;
  }
  if (weights < 2 || record.tensors[growth.last].l2_norm <= 0) return std::nullopt;
  growth.total = record.tensors[growth.first].l2_norm / record.tensors[growth.last].l2_norm;
  if (!(growth.total >= kNotableGrowth)) return std::nullopt;
  growth.per_layer = std::pow(growth.total, 1.0 / (weights - 1));
  return growth;
}

// Share of a tensor in the squared global norm.
double ShareOf(const StepRecord& record, int tensor) {
  if (tensor < 0 || tensor >= static_cast<int>(record.tensors.size()) || !(record.grad_norm > 0)) return 0;
  const double part = record.tensors[tensor].l2_norm / record.grad_norm;
  return part * part;
}

}  // namespace

std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return absl::StrFormat("%.3g", value);
}

std::string LargestIn(absl::string_view tensor_name) {
  return tensor_name.empty() ? "" : absl::StrCat("; largest in ", tensor_name);
}

bool ExplainLastUpdate(const StepRecord& record, const RunContext& context, v1::Alert* alert) {
  const RunContext::Update& update = context.last_update();
  if (update.step < 0 || update.ratio < kLargeUpdate) return false;
  alert->add_diagnosis(
      absl::StrFormat("The update of step %d changed %s by %s of its norm, and about 0.001 is usual: the learning rate "
                      "%s is likely too "
                      "high.",
                      update.step, context.NameOf(update.tensor), Number(update.ratio), Number(record.learning_rate)));
  return true;
}

void ExplainLargeGradient(const StepRecord& record, int tensor, const RunContext& context, v1::Alert* alert) {
  const int lines = alert->diagnosis_size();
  const std::string& name = context.NameOf(tensor);
  const double share = ShareOf(record, tensor);
  if (share >= kDominantShare) {
    alert->add_diagnosis(absl::StrFormat("%s holds %.0f%% of the squared gradient norm.", name, 100 * share));
  }
  if (IsRecurrentWeight(name)) {
    alert->add_diagnosis(absl::StrCat(name,
                                      " is a recurrent weight: the backward pass multiplies by it once per time step, "
                                      "so a gain above 1 grows exponentially with the length of the sequence."));
  }
  if (const auto growth = GrowthOf(record, context); growth.has_value()) {
    alert->add_diagnosis(absl::StrFormat(
        "The gradient grows towards the input: %s times from %s to %s, %s times per weight on the way.",
        Number(growth->total), context.NameOf(growth->last), context.NameOf(growth->first), Number(growth->per_layer)));
  }
  ExplainLastUpdate(record, context, alert);
  if (alert->diagnosis_size() == lines) {
    alert->add_diagnosis("No tensor stands out and no large update came before: an unusual batch is likely.");
  }
}

void SuggestCures(const StepRecord& record, int tensor, const RunContext& context, v1::Alert* alert) {
  if (record.clip.threshold > 0) {
    alert->add_diagnosis(absl::StrFormat("Clipping is on, with threshold %s, and limits what the optimizer sees.",
                                         Number(record.clip.threshold)));
  } else if (context.usual_norm() > 0) {
    alert->add_diagnosis(absl::StrFormat("Try clipping the global norm at %.2g, %.0f times its median of %s.",
                                         kClipFactor * context.usual_norm(), kClipFactor,
                                         Number(context.usual_norm())));
  } else {
    alert->add_diagnosis("Try clipping the global norm, for a start at 1.");
  }
  if (record.learning_rate > 0) {
    alert->add_diagnosis(absl::StrFormat("Try a lower learning rate, for a start %.2g instead of %s.",
                                         record.learning_rate / 10, Number(record.learning_rate)));
  }
  if (IsRecurrentWeight(context.NameOf(tensor))) {
    alert->add_diagnosis("Try to start recurrent weights as an orthogonal matrix, or use shorter sequences.");
  } else if (GrowthOf(record, context).has_value()) {
    alert->add_diagnosis(
        "Try an initialisation that fits the activation (He for ReLU, Xavier for tanh), or residual "
        "blocks.");
  }
}

}  // namespace gradwatch::core
