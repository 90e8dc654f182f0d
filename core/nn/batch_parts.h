// The examples of a batch shared by the threads of a pass: for layers whose examples do not see each other, such as
// recurrent ones, where sharing once a pass is cheaper than once a step.
#ifndef GRADWATCH_CORE_NN_BATCH_PARTS_H_
#define GRADWATCH_CORE_NN_BATCH_PARTS_H_

#include <algorithm>
#include <cstdint>

#include "core/nn/memory_plan.h"

namespace gradwatch::core {

// Calls f(begin, end) for ranges of the examples 0 ... batch - 1, side by side on the pass's threads. What f makes of
// an example must not depend on the range.
template <typename T, typename Function>
void ForBatchParts(const Pass<T>& pass, int64_t batch, const Function& f) {
  constexpr int64_t kMinExamples = 4;  // fewer make poor use of vectors
  Workers* const workers = pass.product.workers;
  const int64_t threads = workers == nullptr ? 1 : workers->threads();
  const int parts = static_cast<int>(std::clamp<int64_t>(batch / kMinExamples, 1, threads));
  RunParts(workers, parts, [&](int part) { f(PartBegin(batch, part, parts), PartBegin(batch, part + 1, parts)); });
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_BATCH_PARTS_H_
