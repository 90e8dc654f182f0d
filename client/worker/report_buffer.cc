#include "client/worker/report_buffer.h"

#include <algorithm>

namespace gradwatch::worker {
namespace {

constexpr int64_t kNoStep = -1;

// With level NORM only these are measured, and told.
void CopyNorm(const core::TensorStatistics& from, core::TensorStatistics* to) {
  to->l2_norm = from.l2_norm;
  to->max_abs = from.max_abs;
  to->nan_count = from.nan_count;
  to->pos_inf_count = from.pos_inf_count;
  to->neg_inf_count = from.neg_inf_count;
}

// Histograms make a tensor's statistics two kilobytes: what is not reported is not copied.
void CopyTensors(const core::StepRecord& from, core::StepRecord* to) {
  if (!from.report_tensors || from.level == v1::STATISTICS_LEVEL_NONE) return;
  const size_t count = std::min(from.tensors.size(), to->tensors.size());
  if (from.level == v1::STATISTICS_LEVEL_NORM) {
    for (size_t i = 0; i < count; ++i) CopyNorm(from.tensors[i], &to->tensors[i]);
  } else {
    std::copy_n(from.tensors.begin(), count, to->tensors.begin());
  }
}

void CopyRecord(const core::StepRecord& from, core::StepRecord* to) {
  to->step = from.step;
  to->loss = from.loss;
  to->grad_norm = from.grad_norm;
  to->learning_rate = from.learning_rate;
  to->control_revision = from.control_revision;
  to->nan_count = from.nan_count;
  to->pos_inf_count = from.pos_inf_count;
  to->neg_inf_count = from.neg_inf_count;
  to->clip = from.clip;
  to->step_seconds = from.step_seconds;
  to->time = from.time;
  to->level = from.level;
  to->report_tensors = from.report_tensors;
  CopyTensors(from, to);
}

}  // namespace

size_t ReportBuffer::RecordBytes(size_t tensors) { return sizeof(Cell) + tensors * sizeof(core::TensorStatistics); }

ReportBuffer::ReportBuffer(size_t tensors, size_t max_bytes, int64_t first_step)
    : first_step_(first_step),
      cells_(std::max(kMinRecords, max_bytes / RecordBytes(tensors)) + kGuard),
      end_step_(first_step) {
  for (Cell& cell : cells_) {
    cell.record.step = kNoStep;
    cell.record.tensors.resize(tensors);
  }
}

void ReportBuffer::Offer(const core::StepRecord& record) {
  Cell& cell = CellOf(record.step);
  // A reader that is still here has fallen behind by the whole ring and the guard. It is not waited for: this step is
  // then not kept, and Read says so, as for any replaced step.
  if (!cell.taken.exchange(true, std::memory_order_acquire)) {
    CopyRecord(record, &cell.record);
    cell.taken.store(false, std::memory_order_release);
  }
  end_step_.store(record.step + 1, std::memory_order_release);
}

int64_t ReportBuffer::oldest_step() const { return std::max(first_step_, end_step() - capacity()); }

bool ReportBuffer::Read(int64_t step, absl::FunctionRef<void(const core::StepRecord&)> visit) {
  if (step < oldest_step() || step >= end_step()) return false;
  Cell& cell = CellOf(step);
  if (cell.taken.exchange(true, std::memory_order_acquire)) return false;  // is being replaced right now
  const bool here = cell.record.step == step;
  if (here) visit(cell.record);
  cell.taken.store(false, std::memory_order_release);
  return here;
}

}  // namespace gradwatch::worker
