// The reports of the last steps, on their way from the training thread to the network: a ring that is allocated once
// and in which new steps replace the oldest ones, so that a server that is away costs history, never training time.
#ifndef GRADWATCH_CLIENT_WORKER_REPORT_BUFFER_H_
#define GRADWATCH_CLIENT_WORKER_REPORT_BUFFER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/stats/step_record.h"

namespace gradwatch::worker {

// One thread offers, one thread reads; neither ever waits for the other. A record stays readable until it is replaced,
// whether it was read or not, so that it can be sent again.
class ReportBuffer {
 public:
  // For records of `tensors` tensors. Uses about `max_bytes`, but keeps at least kMinRecords records. `first_step` is
  // the first step that will be offered.
  ReportBuffer(size_t tensors, size_t max_bytes, int64_t first_step = 0);
  ReportBuffer(const ReportBuffer&) = delete;
  ReportBuffer& operator=(const ReportBuffer&) = delete;

  static constexpr size_t kMinRecords = 16;
  // Bytes that a record of `tensors` tensors takes.
  static size_t RecordBytes(size_t tensors);

  // Training thread: keeps a copy of a record; its step must follow the last one's. Never waits, never allocates, and
  // copies only what will be reported.
  void Offer(const core::StepRecord& record);

  // The first step that was, or will be, offered.
  int64_t first_step() const { return first_step_; }
  // Number of records that are kept.
  int64_t capacity() const { return static_cast<int64_t>(cells_.size()) - kGuard; }
  // The first step that is, or will be, kept.
  int64_t oldest_step() const;
  // The step after the last one offered.
  int64_t end_step() const { return end_step_.load(std::memory_order_acquire); }

  // Reader: calls `visit` with the record of `step`. False: it has been replaced, or was not offered yet. The training
  // thread cannot use this record's place during the call; be quick.
  bool Read(int64_t step, absl::FunctionRef<void(const core::StepRecord&)> visit);

 private:
  // Places that are kept free of readers ahead of the training thread.
  static constexpr int64_t kGuard = 8;

  // A place in the ring; whoever sets `taken` owns the rest until it is cleared.
  struct Cell {
    std::atomic<bool> taken{false};
    core::StepRecord record;
  };

  Cell& CellOf(int64_t step) { return cells_[static_cast<size_t>(step) % cells_.size()]; }

  const int64_t first_step_;
  std::vector<Cell> cells_;
  std::atomic<int64_t> end_step_;
};

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_REPORT_BUFFER_H_
