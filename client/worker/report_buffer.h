// The reports of the last steps, on their way from the training thread to the network: a ring that is allocated once
// and in which new steps replace the oldest ones, so that a server that is away costs history, never training time.
#ifndef GRADWATCH_CLIENT_WORKER_REPORT_BUFFER_H_
#define GRADWATCH_CLIENT_WORKER_REPORT_BUFFER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/stats/layer_statistics.h"
#include "core/stats/report_ring.h"
#include "core/stats/step_record.h"

namespace gradwatch::worker {

// One thread offers, one thread reads; neither ever waits for the other. A record stays readable until it is replaced,
// whether it was read or not, so that it can be sent again. Records are packed into segments, one after the other; a
// segment is replaced as a whole.
class ReportBuffer {
 public:
  // For records of at most `tensors` tensors and of `layers`. Uses about `max_bytes`, but holds at least kMinSegments
  // records; core::ReportRingBytes counts it. `first_step` is the first step that will be offered.
  ReportBuffer(size_t tensors, size_t max_bytes, int64_t first_step = 0, std::vector<core::LayerInfo> layers = {});
  ReportBuffer(const ReportBuffer&) = delete;
  ReportBuffer& operator=(const ReportBuffer&) = delete;

  // Training thread: keeps a copy of a record; its step must follow the last one's. Never waits, never allocates, and
  // copies only what will be reported.
  void Offer(const core::StepRecord& record);

  // The layers that records may tell of.
  const std::vector<core::LayerInfo>& layers() const { return layers_; }
  // The first step that was, or will be, offered.
  int64_t first_step() const { return first_step_; }
  // The first step that is, or will be, kept.
  int64_t oldest_step() const { return oldest_step_.load(std::memory_order_acquire); }
  // The step after the last one offered.
  int64_t end_step() const { return end_step_.load(std::memory_order_acquire); }

  // Reader: calls `visit` with the record of `step`, which is valid during the call. False: it has been replaced, or
  // was not offered yet.
  bool Read(int64_t step, absl::FunctionRef<void(const core::StepRecord&)> visit);

 private:
  static constexpr size_t kMinSegments = core::kMinRingSegments;
  static constexpr size_t kMaxSegments = core::kMaxRingSegments;

  // Records of consecutive steps. The training thread appends; what it has published below `end_step` it does not touch
  // until it replaces the segment, and for that it must take it.
  struct Segment {
    std::atomic<bool> taken{false};  // by the reader, or by the training thread that is about to replace it
    std::atomic<int64_t> first_step{0};
    std::atomic<int64_t> end_step{0};
    std::unique_ptr<std::byte[]> bytes;
    std::unique_ptr<uint32_t[]> offsets;  // of the records in `bytes`, by step - first_step
  };

  // Training thread. Whether the record was added to the present segment.
  bool Append(const core::StepRecord& record);
  // Training thread. Makes the oldest segment that the reader is not in the present one, empty, to begin with `step`.
  void Advance(int64_t step);
  // Reader. Copies a record out of a segment, if it is still there.
  bool Copy(Segment& segment, int64_t step);

  const std::vector<core::LayerInfo> layers_;
  const int64_t first_step_;
  const size_t segment_bytes_;
  const size_t segment_records_;
  std::vector<Segment> segments_;
  std::atomic<int64_t> oldest_step_;
  std::atomic<int64_t> end_step_;

  // Training thread.
  size_t present_ = 0;
  size_t used_bytes_ = 0;

  // Reader.
  core::StepRecord copy_;
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_REPORT_BUFFER_H_
