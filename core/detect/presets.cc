#include "core/detect/presets.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <array>

namespace gradwatch::core {
namespace {

struct Preset {
  absl::string_view name;
  absl::string_view rules;  // RuleSet in text form
};

// Rules after other tools have the names and the published defaults that they have there, and judge every step. A rule
// is critical where the tool stops the run, leaves the step out or goes back at it, also where that is switched on by
// hand; else it is a warning. What cannot be said exactly by a condition is left out, and why is said beside it.
//
// Common to all: a limit that they write ">=" is ">" here. What they write for both sides, as |x - mean|, is the upper
// side here. Values that are not finite are never part of a baseline, though some of them take them in and are blind
// afterwards. A series with the limit 1.7976931348623157e308, the largest double, holds just when it is not finite.
constexpr Preset kPresets[] = {
    {kNoPreset, ""},

    // They keep healthy runs quiet and look at what is lost, not at what is odd. The norm spikes: with the smallest
    // deviation, max_deviations of them are just ln 100 and ln 20.
    {kDefaultPreset, R"(
      rules { name: "non_finite" severity: SEVERITY_CRITICAL non_finite {} }
      rules {
        name: "grad_norm_exploding" severity: SEVERITY_CRITICAL for_steps: 2 within_steps: 3
        norm_spike { max_deviations: 10 min_deviation: 0.46051701859880917 window: 30 start_factor: 1 }
      }
      rules {
        name: "grad_norm_spike" severity: SEVERITY_WARNING
        norm_spike { max_deviations: 8 min_deviation: 0.37446653419424886 window: 30 }
      }
      rules {
        name: "loss_jump" severity: SEVERITY_WARNING
        loss_jump { factor: 5 max_deviations: 8 window: 30 }
      }
      rules {
        name: "loss_spike" severity: SEVERITY_WARNING
        loss_jump { factor: 3 max_deviations: 2 norm_factor: 10 window: 30 }
      }
      rules { name: "loss_divergence" severity: SEVERITY_CRITICAL loss_divergence {} }
      rules { name: "loss_collapse" severity: SEVERITY_CRITICAL loss_collapse {} }
      rules { name: "norm_growth" severity: SEVERITY_CRITICAL norm_growth {} }
      rules { name: "joint_growth" severity: SEVERITY_CRITICAL joint_growth {} }
      rules { name: "first_step" severity: SEVERITY_WARNING first_step {} }
      rules { name: "update_overshoot" severity: SEVERITY_CRITICAL overshoot {} }
      rules { name: "update_growth" severity: SEVERITY_CRITICAL update_growth {} }
      rules { name: "dead_network" severity: SEVERITY_WARNING for_steps: 20 frozen { max_share: 0.7 } }
    )"},

    // AUTOTRAINER (Zhang et al. 2021). Of "explode" the part about NaN and infinity. Left out: the ratio of the
    // gradient norms of the first and the last kernel (over 70, or under 0.001 for "vanish"), which no condition looks
    // at, `growth` being about the backward signal; the share of exact zeros in a gradient (0.7), for want of a limit
    // on it; what it judges by accuracy and by epochs.
    {"autotrainer", R"(
      rules { name: "explode" severity: SEVERITY_CRITICAL non_finite {} }
    )"},

    // axolotl's LossWatchDogCallback. The threshold is the user's; 5 is that of its documentation. Left out: that a
    // NaN sets its count back to 0.
    {"axolotl", R"(
      rules {
        name: "loss_watchdog" severity: SEVERITY_CRITICAL for_steps: 3
        series { series: SERIES_LOSS limit: 5 }
      }
    )"},

    // Composer's NaNMonitor, and KillLossSpike of llm-foundry: twice the mean of the 100 losses before, more than four
    // times in a row. Left out: its cap on the loss (over 10 on half of the last 100 steps), for want of within_steps
    // above 64; that NaNMonitor does not mind an infinity.
    {"composer", R"(
      rules {
        name: "nan_monitor" severity: SEVERITY_CRITICAL
        series { series: SERIES_LOSS limit: 1.7976931348623157e308 }
      }
      rules {
        name: "kill_loss_spike" severity: SEVERITY_CRITICAL for_steps: 5
        series { series: SERIES_LOSS baseline: BASELINE_MEAN window: 100 factor: 2 }
      }
    )"},

    // DeepDiagnosis (Wardat et al. 2022). Left out: means that are exactly 0 count as numerical errors there; the lower
    // limit 1e-5 of the update, for want of one; dead and saturated units by bounds of their own, judged by epochs;
    // poor weights by their variance; a loss that is the same five times.
    {"deepdiagnosis", R"(
      rules { name: "numerical_error" severity: SEVERITY_CRITICAL non_finite {} }
      rules { name: "vanishing_gradient" severity: SEVERITY_CRITICAL vanishing { min_mean_abs: 1e-7 } }
      rules { name: "learning_rate" severity: SEVERITY_CRITICAL update_ratio { max_ratio: 0.1 } }
    )"},

    // The slow mean of paiml/entrenar#127. Its decay and its warm-up were not given: 0.99 and 10 are assumed.
    {"entrenar", R"(
      rules {
        name: "loss_spike" severity: SEVERITY_CRITICAL
        series { series: SERIES_LOSS baseline: BASELINE_MOVING window: 100 warm_up: 10 factor: 3 keep_out: true }
      }
    )"},

    // The gradient monitor of pytorch/ignite (proposed), first form. Its mean of 10 has the value itself in it: over 5
    // times that is over 9 times the mean of the 9 before. Left out: while there are fewer than 9; the later form, mean
    // and deviation of all norms so far.
    {"ignite", R"(
      rules { name: "max_norm" severity: SEVERITY_CRITICAL norm_limit { max_norm: 100 } }
      rules {
        name: "relative_norm" severity: SEVERITY_CRITICAL
        series { series: SERIES_GRAD_NORM baseline: BASELINE_MEAN window: 9 factor: 9 }
      }
    )"},

    // Keras' TerminateOnNaN.
    {"keras", R"(
      rules {
        name: "terminate_on_nan" severity: SEVERITY_CRITICAL
        series { series: SERIES_LOSS limit: 1.7976931348623157e308 }
      }
    )"},

    // Lightning's SpikeDetection: the mean of the last 10, and twice the mean above it. Left out: a loss that is lower
    // than the one before is no spike. EarlyStopping judges by epochs.
    {"lightning", R"(
      rules {
        name: "spike_detection" severity: SEVERITY_CRITICAL
        series { series: SERIES_LOSS baseline: BASELINE_MEAN window: 10 warm_up: 1 factor: 3 keep_out: true }
      }
    )"},

    // Megatron-LM's check for NaN and infinity in loss and gradients, and for spiky losses (off by default there): ten
    // times the largest of the first 100, for ever.
    {"megatron", R"(
      rules { name: "nan_in_loss_and_grad" severity: SEVERITY_CRITICAL non_finite {} }
      rules {
        name: "spiky_loss" severity: SEVERITY_CRITICAL
        series { series: SERIES_LOSS baseline: BASELINE_FIRST_LARGEST window: 100 factor: 10 }
      }
    )"},

    // OLMo-core: a loss that is not finite, and SkipStepOptimizer, six standard deviations over the 128 values before,
    // from the 64th value on. StabilityMonitor counts by the same rule.
    {"olmo", R"(
      rules {
        name: "non_finite_loss" severity: SEVERITY_CRITICAL
        series { series: SERIES_LOSS limit: 1.7976931348623157e308 }
      }
      rules {
        name: "skip_step_loss" severity: SEVERITY_CRITICAL
        series { series: SERIES_LOSS baseline: BASELINE_MEAN window: 128 warm_up: 63 max_deviations: 6 }
      }
      rules {
        name: "skip_step_grad_norm" severity: SEVERITY_CRITICAL
        series { series: SERIES_GRAD_NORM baseline: BASELINE_MEAN window: 128 warm_up: 63 max_deviations: 6 }
      }
    )"},

    // SageMaker Debugger. Its rules look at every 500th step by default, these at every one. ExplodingTensor is about
    // NaN and infinity alone. StalledTrainingRule has the name that the server's rule about stalls has in every job:
    // else the preset could not be applied to one that runs. Left out: the small_threshold 1e-8 of WeightUpdateRatio,
    // for want of a lower limit; LossNotDecreasing, two single losses ten steps apart; SaturatedActivation and
    // DeadRelu, which go by bounds and by the share of a batch of their own; AllZero, UnchangedTensor (allclose),
    // TensorVariance; what looks at validation, at data, at the machine or at another run.
    {"sagemaker_debugger", R"(
      rules { name: "exploding_tensor" severity: SEVERITY_CRITICAL non_finite {} }
      rules { name: "vanishing_gradient" severity: SEVERITY_CRITICAL vanishing { min_mean_abs: 1e-7 } }
      rules { name: "weight_update_ratio" severity: SEVERITY_CRITICAL update_ratio { max_ratio: 10 } }
      rules { name: "stall" severity: SEVERITY_CRITICAL stall { seconds: 1800 } }
    )"},

    // SpikeGuard of rusting_brain: twice the slow mean of what it has accepted, after ten of those.
    {"spikeguard", R"(
      rules {
        name: "spike_guard" severity: SEVERITY_CRITICAL
        series { series: SERIES_LOSS baseline: BASELINE_MOVING window: 100 warm_up: 10 factor: 2 keep_out: true }
      }
    )"},

    // trainpulse, with its own severities. Left out: a norm below 1e-7, for want of a lower limit; a rate that changes
    // tenfold; the time of a step; no gain over 1e-5 in 100 steps, which is about the best one and not about medians.
    {"trainpulse", R"(
      rules { name: "nan_loss" severity: SEVERITY_CRITICAL non_finite {} }
      rules { name: "gradient_explosion" severity: SEVERITY_CRITICAL norm_limit { max_norm: 100 } }
      rules {
        name: "loss_spike" severity: SEVERITY_WARNING
        series { series: SERIES_LOSS baseline: BASELINE_MEAN window: 50 factor: 5 }
      }
    )"},

    // trainscope: its z-score, and its NaN collapse. Left out: the default, a CUSUM on median and MAD of 200 that
    // follows the loss; percentiles; a norm against that of 50 steps before; three steps in a row over the median and
    // MAD of the first 40, and ten times their mean: for want of such baselines.
    {"trainscope", R"(
      rules {
        name: "z_score" severity: SEVERITY_CRITICAL
        series { series: SERIES_LOSS baseline: BASELINE_MEAN window: 200 warm_up: 30 max_deviations: 3.5 }
      }
      rules {
        name: "nan_collapse" severity: SEVERITY_CRITICAL
        series { series: SERIES_LOSS limit: 1.7976931348623157e308 }
      }
    )"},
};

using ParsedPresets = std::array<v1::RuleSet, std::size(kPresets)>;

// A text that cannot be read has no rules; the test of the table sees to it that there is none.
ParsedPresets* Parse() {
  auto* const parsed = new ParsedPresets;
  for (size_t i = 0; i < parsed->size(); ++i) {
    if (!google::protobuf::TextFormat::ParseFromString(std::string(kPresets[i].rules), &(*parsed)[i])) {
      (*parsed)[i].Clear();
    }
  }
  return parsed;
}

// Place in the table; its end if there is no such preset.
size_t IndexOf(absl::string_view name) {
  return std::find_if(std::begin(kPresets), std::end(kPresets), [&](const Preset& p) { return p.name == name; }) -
         std::begin(kPresets);
}

}  // namespace

std::vector<std::string> PresetNames() {
  std::vector<std::string> names;
  for (const Preset& preset : kPresets) names.emplace_back(preset.name);
  return names;
}

bool IsPreset(absl::string_view name) { return IndexOf(name) < std::size(kPresets); }

const v1::RuleSet& PresetRules(absl::string_view name) {
  static const ParsedPresets* const parsed = Parse();
  const size_t index = IndexOf(name.empty() ? kDefaultPreset : name);
  return (*parsed)[index < parsed->size() ? index : IndexOf(kNoPreset)];
}

}  // namespace gradwatch::core
