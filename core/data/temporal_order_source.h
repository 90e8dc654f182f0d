// The temporal order problem: name the order of two symbols in a sequence (Pascanu et al. 2013, section 4.1.1).
#ifndef GRADWATCH_CORE_DATA_TEMPORAL_ORDER_SOURCE_H_
#define GRADWATCH_CORE_DATA_TEMPORAL_ORDER_SOURCE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/data/data_source.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// Six symbols, one-hot: A, B and four distractors. One of A, B stands at a step in [L/10, 2L/10), another in [L/2,
// L/2 + L/10), as in the authors' program; class = first + 2 * second, with A = 0, B = 1. Violations are relative to
// the TemporalOrderTask.
absl::StatusOr<std::unique_ptr<DataSource>> MakeTemporalOrder(const v1::TemporalOrderTask& spec, int64_t batch_size,
                                                              uint64_t seed);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_TEMPORAL_ORDER_SOURCE_H_
