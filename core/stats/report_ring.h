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

// Bytes that a ring for records of so many tensors and layers takes at most, with the record into which its reader
// copies. No record is larger packed than not.
inline int64_t ReportRingBytes(int64_t tensors, int64_t layers) {
  constexpr int64_t kIndexEntry = sizeof(uint32_t), kSegment = 128;
  const int64_t record = StepRecordBytes(tensors, layers);
  const int64_t records = std::max(kReportRingBytes, kMinRingSegments * record);
  return records + records / kMinRingRecord * kIndexEntry + kMaxRingSegments * kSegment + record;
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_STATS_REPORT_RING_H_
