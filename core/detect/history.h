// What was usual of a series: a window of samples that no outlier gets into, unless outliers have become the usual.
#ifndef GRADWATCH_CORE_DETECT_HISTORY_H_
#define GRADWATCH_CORE_DETECT_HISTORY_H_

#include <cstdint>

#include "core/stats/sorted_window.h"

namespace gradwatch::core {

// Outliers are kept apart. They are forgotten after kForgetAfter samples in a row that are none. But when as many as a
// whole window have come without such a calm, the series has changed for good (a new phase of training, another
// learning rate): they become the history, and what was before is dropped. Otherwise such a change would be an alert
// for ever.
//
// The price: a run that stays broken for a whole window is then taken as it is, and its alert ends (the summary of the
// alert says when it began); and a change for good alerts for a whole window.
//
// Samples must be finite: one NaN would make any statistic blind. Allocates only when it is made.
class History {
 public:
  static constexpr int kForgetAfter = 20;

  // `window` samples are kept; the history is ready with `warm_up` of them, at most `window`.
  History(int window, int warm_up);
  // Bytes that one of this window allocates: also the outliers may fill it.
  static int64_t Bytes(int64_t window) { return 2 * SortedWindow::Bytes(window); }

  // Whether there are enough samples to judge another by.
  bool ready() const { return usual_.size() >= warm_up_; }
  // The samples that are no outliers; not empty when ready.
  const SortedWindow& usual() const { return usual_; }
  // Takes in a sample after it was judged.
  void Admit(double sample, bool outlier);

 private:
  const int warm_up_;
  SortedWindow usual_;
  SortedWindow outliers_;
  int calm_ = 0;  // samples in a row that are no outliers
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_HISTORY_H_
