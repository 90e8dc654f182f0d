#include "core/stats/gradient_cosine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/stats/norm_sum.h"

namespace gradwatch::core {
namespace {

// NaN if a norm is 0. Rounding may take the quotient out of [-1, 1] by a little.
double Cosine(double dot, double norm, double last_norm) {
  if (norm == 0 || last_norm == 0) return std::numeric_limits<double>::quiet_NaN();
  return std::clamp(dot / norm / last_norm, -1.0, 1.0);
}

}  // namespace

template <typename T>
void GradientCosine<T>::Switch(bool on) {
  if (on == is_on()) return;
  last_ = on ? Arena<T>(layout_->arena_size()) : Arena<T>();
  last_norms_.assign(on ? layout_->segments().size() : 0, 0);
  dots_ = last_norms_;
  last_norm_ = 0;
}

template <typename T>
void GradientCosine<T>::Forget() {
  std::fill(last_norms_.begin(), last_norms_.end(), 0);
  last_norm_ = 0;
}

template <typename T>
void GradientCosine<T>::FillTensor(size_t tensor, double dot, TensorStatistics* statistics) {
  const double norm = statistics->non_finite() == 0 ? statistics->l2_norm : 0;
  statistics->cosine_with_last = Cosine(dot, norm, last_norms_[tensor]);
  last_norms_[tensor] = norm;
  dots_[tensor] = dot;
}

template <typename T>
void GradientCosine<T>::FillStep(StepRecord* record) {
  const double norm = record->non_finite() == 0 ? record->grad_norm : 0;
  record->cosine_with_last = Cosine(std::accumulate(dots_.begin(), dots_.end(), 0.0), norm, last_norm_);
  last_norm_ = norm;
}

template class GradientCosine<float>;
template class GradientCosine<double>;

}  // namespace gradwatch::core
