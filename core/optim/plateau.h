// A learning rate that falls when the loss no longer does, as torch.optim.lr_scheduler.ReduceLROnPlateau defines it.
#ifndef GRADWATCH_CORE_OPTIM_PLATEAU_H_
#define GRADWATCH_CORE_OPTIM_PLATEAU_H_

#include <cstdint>
#include <limits>

#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// A mean loss of `average_steps` steps is one observation. It is better if it is below the best one times
// (1 - threshold). After more than `period` observations in a row that are not, the rate is multiplied by gamma, and
// the next `cooldown` observations do not count as such. An observation that is not finite is never better, so it
// cannot become the best one. Changes of at most 1e-8 are not made (PyTorch's eps). Thread-compatible.
class Plateau {
 public:
  // All that changes, for checkpoints.
  struct State {
    double rate = 0;
    double best = std::numeric_limits<double>::infinity();
    int64_t bad = 0;       // observations in a row without improvement
    int64_t cooldown = 0;  // observations left
    double loss_sum = 0;   // of the steps since the last observation
    int64_t losses = 0;
  };

  // `spec` is resolved and may be of any method.
  Plateau(double rate, const v1::ScheduleSpec& spec);

  void Observe(double loss);
  double rate() const { return state_.rate; }

  const State& state() const { return state_; }
  void Restore(const State& state) { state_ = state; }

 private:
  void Judge(double observation);

  const int64_t average_steps_, patience_, cooldown_;
  const double threshold_, gamma_, lowest_rate_;
  State state_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_PLATEAU_H_
