// The norm of parts from the norms of the parts, without overflow or underflow.
#ifndef GRADWATCH_CORE_STATS_NORM_SUM_H_
#define GRADWATCH_CORE_STATS_NORM_SUM_H_

#include <cmath>

namespace gradwatch::core {

// sqrt(sum of squares) of the values added so far, kept as scale * sqrt(squares) as in BLAS nrm2: right as long as the
// result itself can be held. Values are finite and not negative.
class NormSum {
 public:
  void Add(double value) {
    if (value == 0) return;
    if (value > scale_) {
      const double ratio = scale_ / value;
      squares_ = 1 + squares_ * ratio * ratio;
      scale_ = value;
    } else {
      const double ratio = value / scale_;
      squares_ += ratio * ratio;
    }
  }
  double Norm() const { return scale_ * std::sqrt(squares_); }

 private:
  double scale_ = 0;
  double squares_ = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_NORM_SUM_H_
