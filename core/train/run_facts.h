// What is known of a run before its first step, for the rules that judge that one.
#ifndef GRADWATCH_CORE_TRAIN_RUN_FACTS_H_
#define GRADWATCH_CORE_TRAIN_RUN_FACTS_H_

#include "core/data/batch.h"
#include "core/detect/detector.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// The facts of a job with such data, from its spec alone: nothing is read for them. The loss of guessing is known of
// every softmax cross-entropy; of a squared error where the spec says how far the targets are spread.
RunFacts FactsOf(const v1::JobSpec& spec, const DataShape& data);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TRAIN_RUN_FACTS_H_
