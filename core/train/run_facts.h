// What is known of a run before its first step, for the rules that judge that one.
#ifndef GRADWATCH_CORE_TRAIN_RUN_FACTS_H_
#define GRADWATCH_CORE_TRAIN_RUN_FACTS_H_

#include <span>

#include "core/data/batch.h"
#include "core/detect/detector.h"
#include "core/stats/layer_statistics.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// The facts of a job with such data and layers, whose first batch this is. The loss of guessing is known of every
// softmax cross-entropy; of a squared error from the spec, where it says how far the targets are spread; else roughly
// from the first batch, where that has 8 target rows. An input of a table is called as the spec names it, cut to 60
// characters, another by its place. A layer is called as the network names it, "residual1.dense0", and where its kind
// is no part of that, "encoder (dense)".
RunFacts FactsOf(const v1::JobSpec& spec, const DataShape& data, const Batch& first, std::span<const LayerInfo> layers);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TRAIN_RUN_FACTS_H_
