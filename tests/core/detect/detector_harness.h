// Plays steps of a small network to a detector, for tests.
#ifndef GRADWATCH_TESTS_CORE_DETECT_DETECTOR_HARNESS_H_
#define GRADWATCH_TESTS_CORE_DETECT_DETECTOR_HARNESS_H_

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "core/base/random.h"
#include "core/detect/detector.h"
#include "core/detect/run_signals.h"

namespace gradwatch::testing {

// The tensors of the network, from the input to the output.
inline std::vector<std::string> HarnessTensors() {
  return {"rnn0.weight_ih", "rnn0.weight_hh", "rnn0.bias_ih", "dense1.weight", "dense1.bias"};
}

// A set with one rule, "r", to be given its condition, and none beside it.
inline v1::RuleSet OneRule(int for_steps = 1, int resolve_after_steps = 20) {
  v1::RuleSet rules;
  rules.set_preset("none");
  v1::Rule* rule = rules.add_rules();
  rule->set_name("r");
  rule->set_for_steps(for_steps);
  rule->set_resolve_after_steps(resolve_after_steps);
  return rules;
}

// Owns a detector and the record of its next step, which starts healthy: loss 1, a gradient norm of 1,
// every tensor of weight norm 10 and update norm 0.01.
class DetectorHarness {
 public:
  explicit DetectorHarness(const v1::RuleSet& rules, core::RunFacts facts = {},
                           const std::vector<std::string>& tensors = HarnessTensors())
      : detector_(rules, tensors, core::AlertIdentity{"job", "uid", 2}, facts) {
    record_.tensors.resize(tensors.size());
    record_.learning_rate = 0.5;
    Reset();
  }

  core::StepRecord& record() { return record_; }
  core::TensorStatistics& tensor(int i) { return record_.tensors[i]; }

  // Gives every tensor the gradient norm that makes the global norm `norm`.
  void SetNorm(double norm) {
    for (core::TensorStatistics& tensor : record_.tensors) {
      tensor.l2_norm = norm / std::sqrt(static_cast<double>(record_.tensors.size()));
    }
    record_.grad_norm = norm;
  }
  void SetTensorNorm(int i, double norm) {
    tensor(i).l2_norm = norm;
    double squares = 0;
    for (const core::TensorStatistics& tensor : record_.tensors) squares += tensor.l2_norm * tensor.l2_norm;
    record_.grad_norm = std::sqrt(squares);
  }
  // Makes every update this share of its weights.
  void SetUpdateRatio(double ratio) {
    for (core::TensorStatistics& tensor : record_.tensors) tensor.update_norm = ratio * tensor.weight_norm;
  }
  // What clipping does on this step. As the trainer does, it is told after the gradients have been judged.
  void SetClip(const core::ClipOutcome& clip) { clip_ = clip; }
  core::ClipOutcome& clip() { return clip_; }
  void BreakTensor(int i) {
    ++tensor(i).nan_count;
    ++record_.nan_count;
  }

  // Runs the step and returns its transitions; the next one is healthy again.
  std::vector<v1::Alert> Step() {
    std::vector<v1::Alert> alerts;
    const absl::Time now = absl::FromUnixMillis(1'700'000'000'000 + record_.step);
    detector_.JudgeGradients(record_, now, &alerts);
    record_.clip = clip_;
    detector_.JudgeUpdate(record_, now, &alerts);
    ++record_.step;
    Reset();
    return alerts;
  }
  // As many steps with a norm and a loss that vary as those of a healthy run do; expects no alert.
  std::vector<v1::Alert> HealthySteps(int count, double norm = 1, double loss = 1) {
    std::vector<v1::Alert> alerts;
    for (int i = 0; i < count; ++i) {
      SetNorm(norm * std::exp(0.2 * random_.NextNormal()));
      record_.loss = loss * std::exp(0.1 * random_.NextNormal());
      for (v1::Alert& alert : Step()) alerts.push_back(std::move(alert));
    }
    return alerts;
  }
  // Changes the rules before the next step.
  std::vector<v1::Alert> SetRules(const v1::RuleSet& rules) {
    std::vector<v1::Alert> alerts;
    detector_.SetRules(rules, record_.step, absl::UnixEpoch(), &alerts);
    return alerts;
  }
  int64_t last_holding() const { return detector_.last_holding(); }
  std::vector<v1::Alert> Finish() {
    std::vector<v1::Alert> alerts;
    detector_.Finish(record_.step, absl::UnixEpoch(), &alerts);
    return alerts;
  }

 private:
  void Reset() {
    record_.loss = 1;
    record_.nan_count = record_.pos_inf_count = record_.neg_inf_count = 0;
    record_.level = v1::STATISTICS_LEVEL_FULL;
    clip_ = core::ClipOutcome();  // record_.clip stays that of the step before, as in the trainer
    for (core::TensorStatistics& tensor : record_.tensors) {
      tensor.ClearNumbers();
      tensor.weight_norm = 10;
      tensor.update_norm = 0.01;
    }
    SetNorm(1);
  }

  core::Detector detector_;
  core::StepRecord record_;
  core::ClipOutcome clip_;
  core::Random random_{7, core::RandomStream::kSyntheticData, 0};
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_CORE_DETECT_DETECTOR_HARNESS_H_
