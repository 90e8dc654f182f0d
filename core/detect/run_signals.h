// The series of a run that its rules share, kept once for all of them: loss, gradient norm, update and learning rate,
// what was usual of them, and what they were when the loss was best.
#ifndef GRADWATCH_CORE_DETECT_RUN_SIGNALS_H_
#define GRADWATCH_CORE_DETECT_RUN_SIGNALS_H_

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/detect/history.h"
#include "core/detect/judged_weights.h"
#include "core/stats/sorted_window.h"
#include "core/stats/step_record.h"

namespace gradwatch::core {

// Index of the tensor with the largest gradient norm; -1 if no tensor has one.
int LargestTensor(const StepRecord& record);

// What is known of a run beside its reports. NaN: not known.
struct RunFacts {
  // The loss of guessing: ln(classes) for a softmax cross-entropy, the variance of the targets for a squared error.
  double guessing_loss = std::numeric_limits<double>::quiet_NaN();
  // The same by the targets of the first batch alone: right within a factor of 4 or so.
  double rough_guessing_loss = std::numeric_limits<double>::quiet_NaN();
  // The largest root mean square of an input over the first batch, and what that input is called.
  double input_scale = std::numeric_limits<double>::quiet_NaN();
  std::string largest_input = {};
  // What the layers are called, in the order of StepRecord.layers; empty: not known.
  std::vector<std::string> layer_names = {};
};

// Losses are judged by l = ln(loss), norms by y = ln(norm): both are near log-normal. From the first loss on that is
// not above 0, l = asinh(loss / |first loss|), and everything about losses begins anew (loss_era). So it does with the
// first loss above 0 of a run whose losses were all 0: they say nothing of where it began.
//
// A step whose loss or gradients are not finite moves nothing here, but for `last_update`.
//
// The windows of "what was" come in two kinds. A usual window (History) takes a step in after the rules have judged it,
// and no outlier ever. A trailing window has the present step already, and everything: its median does not follow an
// outlier. What is best is a minimum of medians, so that no outlier can move it and it never rises.
//
// Order of a step: BeginStep, rules about gradients, EndGradients; ObserveUpdate, rules about updates, EndUpdate.
// Allocates only when it is made. Thread-compatible.
class RunSignals {
 public:
  static constexpr int kUsualWindow = 30;
  static constexpr int kUsualWarmUp = 20;
  static constexpr int kRisesOfSchedule = 3;

  // The last step whose loss and gradients were finite, before the present one.
  struct FiniteStep {
    int64_t step = -1;  // -1: there was none
    double grad_norm = 0;
    int largest = -1;  // see LargestTensor
  };
  // The update that was largest against its weights, of the last step with one. Of tensors with "weight" in their
  // name, or of all if none has it, without those that JudgedWeights leaves out. NaN or infinite where the update or
  // the weights are; that is told here, and moves nothing else.
  struct Update {
    int64_t step = -1;  // -1: there was none
    double ratio = 0;
    int tensor = -1;
  };
  // How things were when the loss was best.
  struct Best {
    int64_t step = -1;   // -1: too little was seen; the others are then not known, but for `loss`
    int64_t losses = 0;  // losses() then
    double loss = 0;     // lowest median of 50 of l so far, from 5 losses on; before: start_loss()
    double norm = std::numeric_limits<double>::infinity();  // median of 50 of y
    double update_ratio = 0;                                // median of the last ratios; 0: not known
    double learning_rate = 0;
  };

  explicit RunSignals(std::vector<std::string> tensor_names, RunFacts facts = {});
  // Bytes that one of these names takes.
  static int64_t Bytes(const std::vector<std::string>& tensor_names);

  void BeginStep(const StepRecord& record);
  void EndGradients(const StepRecord& record);
  void ObserveUpdate(const StepRecord& record);
  void EndUpdate(const StepRecord& record);

  // Name of a tensor; "" for -1.
  const std::string& NameOf(int tensor) const;
  const std::vector<std::string>& tensor_names() const { return tensor_names_; }
  const RunFacts& facts() const { return facts_; }

  // Whether loss and gradients of the present step are finite. If not, rules with a history know nothing about it.
  bool finite() const { return finite_; }
  // Whether the present step has a norm to judge: it is finite and above 0.
  bool has_norm() const { return finite_ && has_norm_; }
  // l and y of the present step; as of the last one that had them, otherwise.
  double loss() const { return loss_; }
  double norm() const { return norm_; }
  // The loss that has this l, for people.
  double LossOf(double l) const;

  // Finite steps of the present era, the present one included.
  int64_t losses() const { return losses_; }
  // Norms so far, the present one included.
  int64_t norms() const { return norms_; }
  // Rises when everything about losses begins anew.
  int loss_era() const { return loss_era_; }
  // Whether l is an asinh now.
  bool is_additive() const { return is_additive_; }

  // l of the first losses: the larger of the first and the median of those of the first five that are within a factor
  // of 3 of it; of 30, where updates were measured and all below a hundredth of the weights: then the first batch was a
  // lucky one.
  double start_loss() const { return start_loss_; }
  const Best& best() const { return best_; }
  // Whether 20 losses in a row were once below 3 times the best and 1.5 times the start: the run has begun to learn, or
  // at least to hold still.
  bool settled() const { return settled_; }
  // Standard deviation of single steps of l and of y, measured on the good side only: a loss that climbs lies above its
  // median and cannot widen the scale that judges it. Nor can one that is lost already, however it scatters.
  double loss_deviation() const { return loss_deviation_; }
  double norm_deviation() const { return norm_deviation_; }

  // y of the first norms: the median of the first ten, of as many as there are before.
  double start_norm() const { return start_norm_; }

  // Usual windows of l and y; not `ready` below kUsualWarmUp.
  const History& usual_losses() const { return usual_losses_; }
  const History& usual_norms() const { return usual_norms_; }
  // Median of the usual norms as a norm; 0: not known yet. For people, from 5 norms on.
  double usual_norm() const;
  // The largest y of the present step and the two norms before it.
  double recent_norm() const;

  // Trailing windows of l and y.
  const SortedWindow& losses10() const { return losses10_; }
  const SortedWindow& losses20() const { return losses20_; }
  const SortedWindow& losses30() const { return losses30_; }
  const SortedWindow& losses50() const { return losses50_; }
  const SortedWindow& norms10() const { return norms10_; }
  const SortedWindow& norms20() const { return norms20_; }
  const SortedWindow& norms50() const { return norms50_; }

  // Before ObserveUpdate those of the step before; of a step without an update, those of the last one with one.
  const FiniteStep& last_finite() const { return last_finite_; }
  const Update& last_update() const { return last_update_; }
  // The largest ratio of update to weights of the last step that had an update, see Update; NaN: it was not measured.
  double update_ratio() const { return update_ratio_; }
  // Trailing windows of that ratio.
  const SortedWindow& ratios5() const { return ratios5_; }
  const SortedWindow& ratios50() const { return ratios50_; }
  // Median of the last 50 ratios of steps whose rate was not above 1.2 times top_rate(), if known; 0: of none yet.
  double usual_ratio() const { return usual_ratio_; }

  // The highest learning rate that stood for 20 steps without a higher one: the warm-up is over. 0: it is not.
  double top_rate() const { return top_rate_; }
  // Whether the learning rate has risen to its highest on each of the last steps: a schedule is still raising it.
  bool rate_rises() const { return rises_to_highest_ >= kRisesOfSchedule; }

 private:
  struct Outlier {
    double factor;      // natural logarithm
    double deviations;  // robust standard deviations
    double smallest_deviation;
  };
  static bool IsOutlier(double sample, const History& usual, const Outlier& limits);

  void TakeLoss(double loss);
  void ObserveScale(double loss);
  void BeginLossEra(bool is_additive);
  bool UpdatesWereSmall() const;
  bool IsCalm(double loss) const;
  void ObserveStart();
  void TakeNorm(double norm);
  void ObserveBest(const StepRecord& record);
  Update LargestUpdate(const StepRecord& record);
  void ObserveRate(double rate);

  const std::vector<std::string> tensor_names_;
  const RunFacts facts_;
  const std::vector<int> weights_;  // the tensors whose updates are looked at

  bool finite_ = false;
  bool has_norm_ = false;
  FiniteStep last_finite_;

  // Losses.
  bool is_additive_ = false;            // whether l is an asinh
  double smallest_loss_ = 1e-6;         // above 0, of the run
  bool only_zeros_ = true;              // whether all losses were 0
  double loss_scale_ = 0;               // see asinh above
  std::array<double, 5> magnitudes_{};  // of the first losses
  int magnitudes_count_ = 0;
  int loss_era_ = 0;
  double loss_ = 0;
  int64_t losses_ = 0;
  double start_loss_ = 0;
  std::array<double, 5> first_losses_{};
  int first_losses_count_ = 0;
  bool settled_ = false;
  int calm_ = 0;  // losses in a row that were not far above best and start
  Best best_;
  double loss_deviation_ = 0;
  int64_t deviating_losses_ = 0;
  History usual_losses_{kUsualWindow, kUsualWarmUp};
  SortedWindow losses10_{10}, losses20_{20}, losses30_{30}, losses50_{50};

  // Norms.
  double norm_ = 0;
  std::array<double, 2> last_norms_;  // before the present one
  int64_t norms_ = 0;
  double start_norm_ = 0;
  double norm_deviation_ = 0;
  int64_t deviating_norms_ = 0;
  History usual_norms_{kUsualWindow, kUsualWarmUp};
  SortedWindow norms10_{10}, norms20_{20}, norms50_{50};

  // Updates.
  JudgedWeights judged_weights_;  // of weights_
  Update last_update_;
  double update_ratio_ = std::numeric_limits<double>::quiet_NaN();
  SortedWindow ratios5_{5}, ratios50_{50};
  SortedWindow usual_ratios_{50};
  double usual_ratio_ = 0;

  // Learning rate.
  double highest_rate_ = 0;
  int steps_since_highest_ = 0;
  int rises_to_highest_ = 0;  // in a row
  double top_rate_ = 0;
};

// Whether the weights were changed in this step.
bool WasUpdated(const StepRecord& record);
// And by how much is known.
bool UpdateWasMeasured(const StepRecord& record);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_RUN_SIGNALS_H_
