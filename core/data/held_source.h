// A finite set of synthetic examples: made once, held in memory and walked in epochs, as a file's are.
#ifndef GRADWATCH_CORE_DATA_HELD_SOURCE_H_
#define GRADWATCH_CORE_DATA_HELD_SOURCE_H_

#include <cstdint>
#include <memory>

#include "core/data/data_source.h"

namespace gradwatch::core {

// Walks through the examples of the first batch of `set`, whose batch size is their number: every epoch has each of them
// once, in an order of its own. With as many examples as a batch has, every batch is the set as it lies, and nothing is
// copied. Examples held out come from `endless`, the same task with the job's batch size.
std::unique_ptr<DataSource> HoldExamples(std::unique_ptr<DataSource> set, std::unique_ptr<DataSource> endless,
                                         int64_t examples, int64_t batch_size, uint64_t seed);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_HELD_SOURCE_H_
