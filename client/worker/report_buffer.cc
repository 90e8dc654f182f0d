#include "client/worker/report_buffer.h"

#include <algorithm>
#include <utility>

#include "client/worker/packed_record.h"

namespace gradwatch::worker {
namespace {

// A segment must hold any record.
size_t SegmentCount(size_t record_bytes, size_t max_bytes, size_t min, size_t max) {
  return std::clamp(max_bytes / record_bytes, min, max);
}

}  // namespace

ReportBuffer::ReportBuffer(size_t tensors, size_t max_bytes, int64_t first_step, std::vector<core::LayerInfo> layers)
    : layers_(std::move(layers)),
      first_step_(first_step),
      segment_bytes_(std::max(
          max_bytes / SegmentCount(MaxPackedBytes(tensors, layers_.size()), max_bytes, kMinSegments, kMaxSegments),
          MaxPackedBytes(tensors, layers_.size()))),
      segment_records_(segment_bytes_ / MinPackedBytes()),
      segments_(SegmentCount(MaxPackedBytes(tensors, layers_.size()), max_bytes, kMinSegments, kMaxSegments)),
      oldest_step_(first_step),
      end_step_(first_step) {
  for (Segment& segment : segments_) {
    // Not set to zero: memory that is never needed is never touched.
    segment.bytes = std::unique_ptr<std::byte[]>(new std::byte[segment_bytes_]);
    segment.offsets = std::unique_ptr<uint32_t[]>(new uint32_t[segment_records_]);
    segment.first_step.store(first_step);
    segment.end_step.store(first_step);
  }
}

void ReportBuffer::Offer(const core::StepRecord& record) {
  if (!Append(record)) {
    Advance(record.step);
    Append(record);
  }
  end_step_.store(record.step + 1, std::memory_order_release);
}

bool ReportBuffer::Append(const core::StepRecord& record) {
  Segment& segment = segments_[present_];
  if (segment.end_step.load(std::memory_order_relaxed) != record.step) return false;  // no gaps in a segment
  const auto index = static_cast<size_t>(record.step - segment.first_step.load(std::memory_order_relaxed));
  if (index == segment_records_) return false;
  const size_t bytes = PackRecord(record, {segment.bytes.get() + used_bytes_, segment_bytes_ - used_bytes_});
  if (bytes == 0) return false;
  segment.offsets[index] = static_cast<uint32_t>(used_bytes_);
  used_bytes_ += bytes;
  segment.end_step.store(record.step + 1, std::memory_order_release);
  return true;
}

void ReportBuffer::Advance(int64_t step) {
  const auto after = [this](size_t index) { return (index + 1) % segments_.size(); };
  present_ = after(present_);
  // A reader that is still in the oldest segment is not waited for: the one after it is replaced instead.
  while (segments_[present_].taken.exchange(true, std::memory_order_acquire)) present_ = after(present_);
  Segment& segment = segments_[present_];
  // Never goes back, though a segment that was passed over holds older steps than its neighbours.
  const int64_t oldest = segments_[after(present_)].first_step.load(std::memory_order_relaxed);
  oldest_step_.store(std::max(oldest, oldest_step()), std::memory_order_release);
  segment.first_step.store(step, std::memory_order_relaxed);
  segment.end_step.store(step, std::memory_order_relaxed);
  segment.taken.store(false, std::memory_order_release);
  used_bytes_ = 0;
}

bool ReportBuffer::Read(int64_t step, absl::FunctionRef<void(const core::StepRecord&)> visit) {
  const auto holds = [step](const Segment& segment) {
    return segment.first_step.load(std::memory_order_relaxed) <= step &&
           step < segment.end_step.load(std::memory_order_acquire);
  };
  const auto segment = std::find_if(segments_.begin(), segments_.end(), holds);
  if (segment == segments_.end() || !Copy(*segment, step)) return false;
  visit(copy_);
  return true;
}

bool ReportBuffer::Copy(Segment& segment, int64_t step) {
  if (segment.taken.exchange(true, std::memory_order_acquire)) return false;  // is being replaced right now
  const int64_t first = segment.first_step.load(std::memory_order_relaxed);
  const bool here = first <= step && step < segment.end_step.load(std::memory_order_acquire);
  if (here) UnpackRecord(segment.bytes.get() + segment.offsets[static_cast<size_t>(step - first)], &copy_);
  segment.taken.store(false, std::memory_order_release);
  return here;
}

}  // namespace gradwatch::worker
