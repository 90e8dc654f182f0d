#include "server/history/report_batch.h"

#include <google/protobuf/stubs/common.h>
#include <zlib.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

constexpr char kVersion = 1;
constexpr size_t kChecksumBytes = 4;
constexpr size_t kMaxBuckets = size_t{1} << 22;
constexpr size_t kMaxWords = size_t{1} << 16;

uint32_t Checksum(absl::string_view bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

using ::google::protobuf::internal::IsStructurallyValidUTF8;
using Values = std::vector<uint64_t>;

// The places of rows in the order of their owners (tensors, layers), each owner's in the order of steps: numbers of one
// owner are near each other.
std::vector<uint32_t> ByOwner(const Values& owners) {
  std::vector<uint32_t> places(owners.size());
  std::iota(places.begin(), places.end(), 0u);
  std::stable_sort(places.begin(), places.end(), [&owners](uint32_t a, uint32_t b) { return owners[a] < owners[b]; });
  return places;
}

// Owners of histograms: those of the tensors that have one. Of lists of buckets: of either sign in turn.
Values HistogramOwners(const Values& tensors, const Values& has_histogram) {
  Values owners;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (has_histogram[i] != 0) owners.push_back(tensors[i]);
  }
  return owners;
}

// The order of columns: write and read go through the same functions, so that they cannot differ.
class Writer {
 public:
  explicit Writer(int level) : level_(level) { bytes_.push_back(kVersion); }

  void Number(uint64_t value) { AppendVarint(value, &bytes_); }
  void Column(const Values& values, ColumnKind kind, const std::vector<uint32_t>* order = nullptr) {
    if (order == nullptr) {
      AppendColumn(values, kind, level_, &bytes_);
      return;
    }
    scratch_.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i) scratch_[i] = values[(*order)[i]];
    AppendColumn(scratch_, kind, level_, &bytes_);
  }
  template <typename Message>
  void Table(const ColumnTable<Message>& table, const std::vector<uint32_t>* order = nullptr, size_t first_field = 0) {
    const auto fields = FieldsOf(Message::default_instance());
    for (size_t i = first_field; i < fields.size(); ++i) {
      if (fields[i].has != nullptr) Column(table.presence[i], ColumnKind::kInteger, order);
      Column(table.values[i], fields[i].kind, order);
    }
  }
  void Text(const std::string& text) {
    Number(text.size());
    bytes_ += text;
  }
  std::string Finish() && {
    const uint32_t checksum = Checksum(bytes_);
    for (size_t i = 0; i < kChecksumBytes; ++i) bytes_.push_back(static_cast<char>(checksum >> 8 * i));
    return std::move(bytes_);
  }

 private:
  const int level_;
  std::string bytes_;
  Values scratch_;
};

class Reader {
 public:
  explicit Reader(absl::string_view bytes) : bytes_(bytes) {}

  absl::Status Number(uint64_t most, uint64_t* value) {
    return TakeVarint(&bytes_, value) && *value <= most ? absl::OkStatus() : BatchIsDamaged();
  }
  absl::Status Column(ColumnKind kind, size_t count, Values* values, const std::vector<uint32_t>* order = nullptr) {
    GW_ASSIGN_OR_RETURN(Values stored, TakeColumn(kind, count, &bytes_));
    if (order == nullptr) {
      *values = std::move(stored);
      return absl::OkStatus();
    }
    values->resize(count);
    for (size_t i = 0; i < count; ++i) (*values)[(*order)[i]] = stored[i];
    return absl::OkStatus();
  }
  template <typename Message>
  absl::Status Table(size_t rows, ColumnTable<Message>* table, const std::vector<uint32_t>* order = nullptr,
                     size_t first_field = 0) {
    const auto fields = FieldsOf(Message::default_instance());
    table->rows = rows;
    for (size_t i = first_field; i < fields.size(); ++i) {
      if (fields[i].has != nullptr) GW_RETURN_IF_ERROR(Column(ColumnKind::kInteger, rows, &table->presence[i], order));
      GW_RETURN_IF_ERROR(Column(fields[i].kind, rows, &table->values[i], order));
    }
    return absl::OkStatus();
  }
  absl::Status Text(std::string* text) {
    uint64_t size = 0;
    GW_RETURN_IF_ERROR(Number(bytes_.size(), &size));
    if (size > bytes_.size()) return BatchIsDamaged();
    *text = std::string(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return absl::OkStatus();
  }
  bool AtEnd() const { return bytes_.empty(); }

 private:
  absl::string_view bytes_;
};

void WriteTensors(const ReportColumns& columns, Writer* writer) {
  const Values& ids = columns.tensors.values[0];
  writer->Column(ids, ColumnKind::kInteger);
  const std::vector<uint32_t> order = ByOwner(ids);
  writer->Table(columns.tensors, &order, 1);
  writer->Column(columns.has_histogram, ColumnKind::kInteger, &order);
  const std::vector<uint32_t> histograms = ByOwner(HistogramOwners(ids, columns.has_histogram));
  writer->Table(columns.histograms, &histograms);
  writer->Column(columns.bucket_counts, ColumnKind::kInteger);
  writer->Column(columns.buckets, ColumnKind::kInteger);
}

absl::Status ReadTensors(Reader* reader, ReportColumns* columns) {
  size_t rows = 0;
  for (const uint64_t count : columns->tensor_counts) {
    if (count > kMaxBatchTensors) return BatchIsDamaged();
    rows += count;
  }
  // One report may have more than fit a batch of several.
  if (rows > kMaxBatchTensors) return BatchIsDamaged();
  Values& ids = columns->tensors.values[0];
  GW_RETURN_IF_ERROR(reader->Column(ColumnKind::kInteger, rows, &ids));
  const std::vector<uint32_t> order = ByOwner(ids);
  GW_RETURN_IF_ERROR(reader->Table(rows, &columns->tensors, &order, 1));
  GW_RETURN_IF_ERROR(reader->Column(ColumnKind::kInteger, rows, &columns->has_histogram, &order));
  const std::vector<uint32_t> histograms = ByOwner(HistogramOwners(ids, columns->has_histogram));
  GW_RETURN_IF_ERROR(reader->Table(histograms.size(), &columns->histograms, &histograms));
  GW_RETURN_IF_ERROR(reader->Column(ColumnKind::kInteger, 2 * histograms.size(), &columns->bucket_counts));
  size_t buckets = 0;
  for (const uint64_t count : columns->bucket_counts) {
    if (count > kMaxBuckets || (buckets += count) > kMaxBuckets) return BatchIsDamaged();
  }
  return reader->Column(ColumnKind::kInteger, buckets, &columns->buckets);
}

void WriteLayers(const ReportColumns& columns, Writer* writer) {
  writer->Number(columns.words.size());
  for (const std::string& word : columns.words) writer->Text(word);
  writer->Column(columns.layer_names, ColumnKind::kInteger);
  writer->Column(columns.layer_kinds, ColumnKind::kInteger);
  const std::vector<uint32_t> order = ByOwner(columns.layer_names);
  writer->Table(columns.layers, &order);
}

absl::Status ReadLayers(Reader* reader, ReportColumns* columns) {
  uint64_t words = 0;
  GW_RETURN_IF_ERROR(reader->Number(kMaxWords, &words));
  for (; words > 0; --words) {
    std::string& word = columns->words.emplace_back();
    GW_RETURN_IF_ERROR(reader->Text(&word));
    // A message with another text could be written, and read by nobody.
    if (!IsStructurallyValidUTF8(word.data(), static_cast<int>(word.size()))) return BatchIsDamaged();
  }
  size_t rows = 0;
  for (const uint64_t count : columns->layer_counts) {
    if (count > kMaxBatchTensors || (rows += count) > kMaxBatchTensors) return BatchIsDamaged();
  }
  GW_RETURN_IF_ERROR(reader->Column(ColumnKind::kInteger, rows, &columns->layer_names));
  GW_RETURN_IF_ERROR(reader->Column(ColumnKind::kInteger, rows, &columns->layer_kinds));
  const std::vector<uint32_t> order = ByOwner(columns->layer_names);
  return reader->Table(rows, &columns->layers, &order);
}

size_t CountParts(const Values& parts, uint64_t part) {
  return static_cast<size_t>(
      std::count_if(parts.begin(), parts.end(), [part](uint64_t has) { return (has & part) != 0; }));
}

absl::StatusOr<absl::string_view> CheckedContent(absl::string_view batch) {
  if (batch.size() < 1 + kChecksumBytes || batch[0] != kVersion) return BatchIsDamaged();
  const absl::string_view content = batch.substr(0, batch.size() - kChecksumBytes);
  uint32_t checksum = 0;
  for (size_t i = 0; i < kChecksumBytes; ++i) {
    checksum |= uint32_t{static_cast<uint8_t>(batch[content.size() + i])} << 8 * i;
  }
  if (checksum != Checksum(content)) return BatchIsDamaged();
  return content.substr(1);
}

}  // namespace

ReportBatchEncoder::ReportBatchEncoder() : columns_(std::make_unique<ReportColumns>()) {}
ReportBatchEncoder::~ReportBatchEncoder() = default;
ReportBatchEncoder::ReportBatchEncoder(ReportBatchEncoder&&) noexcept = default;
ReportBatchEncoder& ReportBatchEncoder::operator=(ReportBatchEncoder&&) noexcept = default;

bool ReportBatchEncoder::Add(const v1::StepReport& report) {
  const bool fits = columns_->reports.rows < kMaxBatchReports &&
                    columns_->tensors.rows + static_cast<size_t>(report.tensors_size()) <= kMaxBatchTensors &&
                    columns_->layers.rows + static_cast<size_t>(report.layers_size()) <= kMaxBatchTensors;
  if (columns_->reports.rows > 0 && !fits) return false;
  columns_->Add(report);
  return true;
}

size_t ReportBatchEncoder::reports() const { return columns_->reports.rows; }

size_t ReportBatchEncoder::memory_bytes() const {
  const ReportColumns& columns = *columns_;
  const size_t numbers = columns.reports.rows * 28 + columns.tensors.rows * 28 + columns.histograms.rows * 8 +
                         columns.buckets.size() + columns.layers.rows * 20;
  return numbers * sizeof(uint64_t);
}

std::string ReportBatchEncoder::Encode(int level) const {
  const ReportColumns& columns = *columns_;
  Writer writer(level);
  writer.Number(columns.reports.rows);
  writer.Column(columns.parts, ColumnKind::kInteger);
  writer.Column(columns.tensor_counts, ColumnKind::kInteger);
  writer.Column(columns.layer_counts, ColumnKind::kInteger);
  writer.Table(columns.reports);
  writer.Table(columns.clips);
  writer.Table(columns.times);
  writer.Table(columns.validations);
  WriteTensors(columns, &writer);
  WriteLayers(columns, &writer);
  for (const std::string& odd : columns.odd) writer.Text(odd);
  return std::move(writer).Finish();
}

std::string ReportBatchEncoder::Finish(int level) {
  std::string batch = Encode(level);
  *columns_ = ReportColumns();
  return batch;
}

absl::StatusOr<ReportColumns> DecodeColumns(absl::string_view batch) {
  GW_ASSIGN_OR_RETURN(const absl::string_view content, CheckedContent(batch));
  Reader reader(content);
  ReportColumns columns;
  uint64_t rows = 0;
  GW_RETURN_IF_ERROR(reader.Number(kMaxBatchReports, &rows));
  GW_RETURN_IF_ERROR(reader.Column(ColumnKind::kInteger, rows, &columns.parts));
  GW_RETURN_IF_ERROR(reader.Column(ColumnKind::kInteger, rows, &columns.tensor_counts));
  GW_RETURN_IF_ERROR(reader.Column(ColumnKind::kInteger, rows, &columns.layer_counts));
  GW_RETURN_IF_ERROR(reader.Table(rows, &columns.reports));
  GW_RETURN_IF_ERROR(reader.Table(CountParts(columns.parts, 1), &columns.clips));
  GW_RETURN_IF_ERROR(reader.Table(CountParts(columns.parts, 2), &columns.times));
  GW_RETURN_IF_ERROR(reader.Table(CountParts(columns.parts, 4), &columns.validations));
  GW_RETURN_IF_ERROR(ReadTensors(&reader, &columns));
  GW_RETURN_IF_ERROR(ReadLayers(&reader, &columns));
  for (size_t odd = CountParts(columns.parts, 8); odd > 0; --odd) {
    GW_RETURN_IF_ERROR(reader.Text(&columns.odd.emplace_back()));
  }
  if (!reader.AtEnd()) return BatchIsDamaged();
  return columns;
}

absl::Status DecodeReports(absl::string_view batch, absl::FunctionRef<void(const v1::StepReport&)> each) {
  GW_ASSIGN_OR_RETURN(const ReportColumns columns, DecodeColumns(batch));
  ReportAssembler assembler(&columns);
  v1::StepReport report;
  for (size_t i = 0; i < columns.reports.rows; ++i) {
    if (!assembler.Next(&report)) return BatchIsDamaged();
    each(report);
  }
  return absl::OkStatus();
}

}  // namespace gradwatch::server
