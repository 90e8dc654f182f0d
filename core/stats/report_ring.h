// The numbers of the ring of reports that an attached trainer keeps (client/worker/report_buffer.h). They are here,
// too, because the estimate of a job counts the ring.
#ifndef GRADWATCH_CORE_STATS_REPORT_RING_H_
#define GRADWATCH_CORE_STATS_REPORT_RING_H_

#include <algorithm>
#include <cstdint>

#include "core/stats/step_record.h"

namespace gradwatch::core {

// What the ring may take unless the trainer is told otherwise.
inline constexpr int64_t kReportRingBytes = int64_t{64} << 20;
// It is cut into so many segments, each of which holds a record of any size.
inline constexpr int64_t kMinRingSegments = 4;
inline constexpr int64_t kMaxRingSegments = 64;
// The shortest record; each has a place in an index, of four bytes.
inline constexpr int64_t kMinRingRecord = 128;

// Bytes for the records of a ring that may take `max_bytes` and is never offered more than `steps` records, each of at
// most `record_bytes`: it keeps all of them if they fit, and as many as there are segments at least.
inline int64_t RingRecordBytes(int64_t record_bytes, int64_t steps, int64_t max_bytes) {
  steps = std::max<int64_t>(steps, 1);
  const int64_t segments = std::clamp(steps, kMinRingSegments, kMaxRingSegments);
  const int64_t segment_records = steps / segments + (steps % segments == 0 ? 0 : 1);
  int64_t all;
  // Beyond the largest number there is, it is beyond max_bytes.
  if (__builtin_mul_overflow(segments * record_bytes, segment_records, &all)) all = max_bytes;
  return std::max(std::min(all, max_bytes), kMinRingSegments * record_bytes);
}

// Bytes that a ring for the records of a job of so many tensors, layers and steps takes at most, with the record into
// which its reader copies. No record is larger packed than not.
inline int64_t ReportRingBytes(int64_t tensors, int64_t layers, int64_t steps) {
  constexpr int64_t kIndexEntry = sizeof(uint32_t), kSegment = 128;
  const int64_t record = StepRecordBytes(tensors, layers);
  const int64_t records = RingRecordBytes(record, steps, kReportRingBytes);
  return records + records / kMinRingRecord * kIndexEntry + kMaxRingSegments * kSegment + record;
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_REPORT_RING_H_
