// What goes forward out of a layer and comes back to it: measured on request, on whole batches, in double.
#ifndef GRADWATCH_CORE_STATS_LAYER_STATISTICS_H_
#define GRADWATCH_CORE_STATS_LAYER_STATISTICS_H_

#include <cstdint>
#include <string>

#include "core/stats/step_record.h"
#include "gradwatch/v1/model.pb.h"

namespace gradwatch::core {

// A layer that can be measured. It does not change during a run.
struct LayerInfo {
  std::string name;  // "residual1.dense0"
  std::string kind;  // "dense"
};

// Fills the fields of the output `y`, `rows` x `features` row by row. A unit is one number of a row. `function` is what
// gave the outputs: tanh and sigmoid saturate (|h| > 0.97; h < 0.03 or h > 0.97), units of ReLU can be dead (zero in
// all rows). Never allocates.
template <typename T>
void MeasureOutput(const T* y, int64_t rows, int64_t features, v1::ActivationFunction function,
                   LayerStatistics* statistics);

// Fills the fields of the way back from the norms of the gradients of the layer's output and input; `input_norm` is 0
// where there is none.
void FillBackward(double output_norm, double input_norm, LayerStatistics* statistics);

extern template void MeasureOutput<float>(const float*, int64_t, int64_t, v1::ActivationFunction, LayerStatistics*);
extern template void MeasureOutput<double>(const double*, int64_t, int64_t, v1::ActivationFunction, LayerStatistics*);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_LAYER_STATISTICS_H_
