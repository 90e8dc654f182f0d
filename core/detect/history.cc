#include "core/detect/history.h"

#include <algorithm>
#include <utility>

namespace gradwatch::core {

History::History(int window, int warm_up) : warm_up_(std::min(window, warm_up)), usual_(window), outliers_(window) {}

void History::Admit(double sample, bool outlier) {
  if (!outlier) {
    usual_.Add(sample);
    if (++calm_ == kForgetAfter) outliers_.Clear();
    return;
  }
  calm_ = 0;
  outliers_.Add(sample);
  if (outliers_.size() == outliers_.capacity()) {
    std::swap(usual_, outliers_);
    outliers_.Clear();
  }
}

}  // namespace gradwatch::core
