#include "client/worker/packed_record.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "core/stats/report_ring.h"

namespace gradwatch::worker {
namespace {

using core::HistogramCounts;
using core::LayerStatistics;
using core::TensorStatistics;
using Buckets = std::span<const uint32_t, HistogramCounts::kBuckets>;

// A record without its tensors.
struct Scalars {
  int64_t step, control_revision, nan_count, pos_inf_count, neg_inf_count;
  double loss, grad_norm, learning_rate, step_seconds, cosine_with_last;
  core::ClipOutcome clip;
  core::ValidationOutcome validation;
  absl::Time time;
  v1::StatisticsLevel level;
  bool report_tensors, report_histograms;
  uint32_t tensors, layers;  // that follow
};

// The numbers of a tensor lie before its histogram, and are copied as they are.
constexpr size_t kNumbers = offsetof(TensorStatistics, histogram);
static_assert(std::is_trivially_copyable_v<TensorStatistics> && std::is_standard_layout_v<TensorStatistics>);
static_assert(kNumbers + sizeof(HistogramCounts) == sizeof(TensorStatistics));

static_assert(std::is_trivially_copyable_v<LayerStatistics>);

// No record is larger packed than not, which the estimate of a ring relies on.
static_assert(sizeof(Scalars) <= sizeof(core::StepRecord) && sizeof(Scalars) >= core::kMinRingRecord);

// The buckets that follow: from `first` on, `count` of them.
struct Range {
  uint8_t first, count;
};
static_assert(HistogramCounts::kBuckets <= 255);

Range UsedBuckets(Buckets buckets) {
  constexpr int kEnd = HistogramCounts::kBuckets;
  int first = 0, end = kEnd;
  // Most buckets are empty; eight at a time are looked at without a branch for each.
  const auto any_of_eight = [buckets](int from) {
    uint32_t any = 0;
    for (int i = 0; i < 8; ++i) any |= buckets[static_cast<size_t>(from + i)];
    return any != 0;
  };
  while (first + 8 <= kEnd && !any_of_eight(first)) first += 8;
  while (first < kEnd && buckets[static_cast<size_t>(first)] == 0) ++first;
  if (first == kEnd) return {0, 0};
  while (end - 8 >= first && !any_of_eight(end - 8)) end -= 8;
  while (buckets[static_cast<size_t>(end - 1)] == 0) --end;
  return {static_cast<uint8_t>(first), static_cast<uint8_t>(end - first)};
}

// Writes one thing after the other.
class Writer {
 public:
  explicit Writer(std::span<std::byte> to) : begin_(to.data()), next_(to.data()), end_(to.data() + to.size()) {}
  bool HasRoomFor(size_t bytes) const { return static_cast<size_t>(end_ - next_) >= bytes; }
  void Write(const void* from, size_t bytes) {
    if (bytes == 0) return;  // `from` may be null
    std::memcpy(next_, from, bytes);
    next_ += bytes;
  }
  size_t written() const { return static_cast<size_t>(next_ - begin_); }

 private:
  std::byte* const begin_;
  std::byte* next_;
  std::byte* const end_;
};

class Reader {
 public:
  explicit Reader(const std::byte* from) : next_(from) {}
  void Read(void* to, size_t bytes) {
    if (bytes == 0) return;  // `to` may be null
    std::memcpy(to, next_, bytes);
    next_ += bytes;
  }

 private:
  const std::byte* next_;
};

bool WriteTensor(const TensorStatistics& tensor, bool with_histogram, Writer* writer) {
  if (!with_histogram) {
    if (!writer->HasRoomFor(kNumbers)) return false;
    writer->Write(&tensor, kNumbers);
    return true;
  }
  const Range positive = UsedBuckets(tensor.histogram.positive()), negative = UsedBuckets(tensor.histogram.negative());
  const size_t counts = size_t{positive.count} + negative.count;
  if (!writer->HasRoomFor(kNumbers + 2 * sizeof(Range) + counts * sizeof(uint32_t))) return false;
  writer->Write(&tensor, kNumbers);
  writer->Write(&positive, sizeof(Range));
  writer->Write(&negative, sizeof(Range));
  writer->Write(tensor.histogram.positive().data() + positive.first, positive.count * sizeof(uint32_t));
  writer->Write(tensor.histogram.negative().data() + negative.first, negative.count * sizeof(uint32_t));
  return true;
}

void ReadTensor(bool with_histogram, Reader* reader, TensorStatistics* tensor) {
  reader->Read(tensor, kNumbers);
  if (!with_histogram) return;
  tensor->histogram = HistogramCounts();
  Range positive, negative;
  reader->Read(&positive, sizeof(Range));
  reader->Read(&negative, sizeof(Range));
  reader->Read(tensor->histogram.positive().data() + positive.first, positive.count * sizeof(uint32_t));
  reader->Read(tensor->histogram.negative().data() + negative.first, negative.count * sizeof(uint32_t));
}

// Of a record or its scalars.
template <typename Step>
bool HasHistograms(const Step& step) {
  return step.report_histograms && step.level != v1::STATISTICS_LEVEL_NORM;
}

Scalars ScalarsOf(const core::StepRecord& record) {
  const bool has_tensors = record.report_tensors && record.level != v1::STATISTICS_LEVEL_NONE;
  return {.step = record.step,
          .control_revision = record.control_revision,
          .nan_count = record.nan_count,
          .pos_inf_count = record.pos_inf_count,
          .neg_inf_count = record.neg_inf_count,
          .loss = record.loss,
          .grad_norm = record.grad_norm,
          .learning_rate = record.learning_rate,
          .step_seconds = record.step_seconds,
          .cosine_with_last = record.cosine_with_last,
          .clip = record.clip,
          .validation = record.validation,
          .time = record.time,
          .level = record.level,
          .report_tensors = record.report_tensors,
          .report_histograms = record.report_histograms,
          .tensors = has_tensors ? static_cast<uint32_t>(record.tensors.size()) : 0,
          .layers = record.report_tensors ? static_cast<uint32_t>(record.layers.size()) : 0};
}

void SetScalars(const Scalars& scalars, core::StepRecord* record) {
  record->step = scalars.step;
  record->control_revision = scalars.control_revision;
  record->nan_count = scalars.nan_count;
  record->pos_inf_count = scalars.pos_inf_count;
  record->neg_inf_count = scalars.neg_inf_count;
  record->loss = scalars.loss;
  record->grad_norm = scalars.grad_norm;
  record->learning_rate = scalars.learning_rate;
  record->step_seconds = scalars.step_seconds;
  record->cosine_with_last = scalars.cosine_with_last;
  record->clip = scalars.clip;
  record->validation = scalars.validation;
  record->time = scalars.time;
  record->level = scalars.level;
  record->report_tensors = scalars.report_tensors;
  record->report_histograms = scalars.report_histograms;
}

}  // namespace

size_t MinPackedBytes() { return sizeof(Scalars); }

size_t MaxPackedBytes(size_t tensors, size_t layers) {
  constexpr size_t kHistogram = 2 * (sizeof(Range) + HistogramCounts::kBuckets * sizeof(uint32_t));
  static_assert(kHistogram <= sizeof(HistogramCounts));
  return sizeof(Scalars) + tensors * (kNumbers + kHistogram) + layers * sizeof(LayerStatistics);
}

size_t PackRecord(const core::StepRecord& record, std::span<std::byte> to) {
  Writer writer(to);
  const Scalars scalars = ScalarsOf(record);
  if (!writer.HasRoomFor(sizeof(Scalars))) return 0;
  writer.Write(&scalars, sizeof(Scalars));
  for (uint32_t i = 0; i < scalars.tensors; ++i) {
    if (!WriteTensor(record.tensors[i], HasHistograms(record), &writer)) return 0;
  }
  const size_t layer_bytes = scalars.layers * sizeof(LayerStatistics);
  if (!writer.HasRoomFor(layer_bytes)) return 0;
  writer.Write(record.layers.data(), layer_bytes);
  return writer.written();
}

void UnpackRecord(const std::byte* from, core::StepRecord* record) {
  Reader reader(from);
  Scalars scalars;
  reader.Read(&scalars, sizeof(Scalars));
  SetScalars(scalars, record);
  record->tensors.resize(scalars.tensors);
  for (TensorStatistics& tensor : record->tensors) ReadTensor(HasHistograms(scalars), &reader, &tensor);
  record->layers.resize(scalars.layers);
  reader.Read(record->layers.data(), scalars.layers * sizeof(LayerStatistics));
}

}  // namespace gradwatch::worker
