// The record of a step in as few bytes as it needs, for the buffer: only what is reported, and of histograms only the
// buckets from the first to the last that is not empty. Much less memory is touched than by a copy, and more steps fit.
#ifndef GRADWATCH_CLIENT_WORKER_PACKED_RECORD_H_
#define GRADWATCH_CLIENT_WORKER_PACKED_RECORD_H_

#include <cstddef>
#include <span>

#include "core/stats/step_record.h"

namespace gradwatch::worker {

// Bytes that a record needs at least, and that one of `tensors` tensors and `layers` layers needs at most.
size_t MinPackedBytes();
size_t MaxPackedBytes(size_t tensors, size_t layers = 0);

// Writes `record` to the front of `to` and returns how many bytes that took; 0 if it does not fit. Never allocates.
size_t PackRecord(const core::StepRecord& record, std::span<std::byte> to);

// Reads what PackRecord wrote. Tensors that were not reported are left out; with level NORM only norms and non-finite
// counts mean something, and histograms only with report_histograms: else they are left alone. Allocates only if
// `record` has never had as many tensors or layers.
void UnpackRecord(const std::byte* from, core::StepRecord* record);

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_PACKED_RECORD_H_
