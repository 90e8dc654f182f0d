// What was usual of a series: a window of samples that no outlier gets into, unless most samples have become outliers.
#ifndef GRADWATCH_CORE_DETECT_HISTORY_H_
#define GRADWATCH_CORE_DETECT_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/stats/sorted_window.h"

namespace gradwatch::core {

// Outliers stay out, however often they come: one in ten, or every other one, is never the usual. But when more than
// half of the last window of samples were outliers, the series has changed for good (a new phase of training, another
// learning rate): those become the history, and what was before is dropped. Otherwise such a change would be an alert
// for ever.
//
// The price: a run that stays broken for half a window is then taken as it is, and its alert ends (the summary of the
// alert says when it began); what has a memory of the whole run (loss_divergence) still knows.
//
// Samples must be finite: one NaN would make any statistic blind. Allocates only when it is made.
class History {
 public:
  // `window` samples are kept; the history is ready with `warm_up` of them, at most `window`.
  History(int window, int warm_up);
  // Bytes that one of this window allocates.
  static int64_t Bytes(int64_t window) {
    return SortedWindow::Bytes(window) + window * (sizeof(double) + sizeof(char));
  }

  // Whether there are enough samples to judge another by.
  bool ready() const { return usual_.size() >= warm_up_; }
  // The samples that are no outliers; not empty when ready.
  const SortedWindow& usual() const { return usual_; }
  // Robust standard deviation of those samples, of logarithms: 1.4826 times their median deviation, at most
  // kLargestDeviation, at least `floor`, which counts where it is above that too. Not of an empty history.
  double Deviation(double floor) const;
  // What has wandered by more than a factor of two from step to step is so wide that nothing would be outside of it.
  static constexpr double kLargestDeviation = 1;
  // Takes in a sample after it was judged.
  void Admit(double sample, bool outlier);
  void Clear();

 private:
  void TakeOutliersAsUsual();

  const int warm_up_;
  SortedWindow usual_;
  // The last samples of either kind, a ring, and whether each was an outlier.
  std::vector<double> last_;
  std::vector<char> flags_;
  size_t next_ = 0;
  int outliers_ = 0;  // of those
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_HISTORY_H_
