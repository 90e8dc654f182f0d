#include "server/history/report_batch.h"

#include <google/protobuf/stubs/common.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/base/status_macros.h"
#include "server/base/checksum.h"

namespace gradwatch::server {
namespace {

constexpr char kVersion = 1;
constexpr size_t kChecksumBytes = 4;
// Of a batch; one report has no more.
constexpr size_t kMaxBuckets = size_t{1} << 22;
constexpr size_t kMaxWords = size_t{1} << 16;

using ::google::protobuf::internal::IsStructurallyValidUTF8;
using Values = std::vector<uint64_t>;

constexpr size_t kSmallOwner = 4096;  // owners below are sorted by counting

// The rows in the order of their owners (tensors, layers), each owner's in the order of steps: numbers of one owner are
// near each other.
std::vector<uint32_t> ByOwner(const ColumnNumbers& owners) {
  std::vector<uint32_t> rows(owners.size());
  uint64_t largest = 0;
  for (size_t i = 0; i < rows.size(); ++i) largest = std::max(largest, owners[i]);
  if (largest >= kSmallOwner) {
    std::iota(rows.begin(), rows.end(), 0u);
    std::stable_sort(rows.begin(), rows.end(), [&owners](uint32_t a, uint32_t b) { return owners[a] < owners[b]; });
    return rows;
  }
  std::vector<uint32_t> place(largest + 2, 0);
  for (size_t i = 0; i < rows.size(); ++i) ++place[owners[i] + 1];
  std::partial_sum(place.begin(), place.end(), place.begin());
  for (size_t i = 0; i < rows.size(); ++i) rows[place[owners[i]]++] = static_cast<uint32_t>(i);
  return rows;
}

// Owners of histograms: those of the tensors that have one.
ColumnNumbers HistogramOwners(const ReportColumns& columns) {
  ColumnNumbers owners;
  for (size_t i = 0; i < columns.tensors.rows; ++i) {
    if (columns.has_histogram[i]) owners.Add(columns.tensors.values[0][i]);
  }
  return owners;
}

// Where the numbers of a table lie in its columns.
struct StoredOrder {
  size_t stored = 0;             // numbers in a column
  bool is_partial = false;       // only these are wanted:
  std::vector<uint32_t> places;  // which of them, rising
  std::vector<uint32_t> rows;    // by number: its row. Empty: its place
  size_t table_rows() const { return is_partial ? rows.size() : stored; }
};

StoredOrder InPlace(size_t rows) { return {.stored = rows, .is_partial = false, .places = {}, .rows = {}}; }

StoredOrder InOrderOf(const ColumnNumbers& owners) {
  return {.stored = owners.size(), .is_partial = false, .places = {}, .rows = ByOwner(owners)};
}

// Of the tensors that are wanted alone; its rows are theirs.
StoredOrder InOrderOfWanted(const ColumnNumbers& ids, const ReportChoice& choice) {
  const size_t known = choice.tensors.size();                     // others are not wanted, and lie behind all that are
  std::vector<uint32_t> place(known + 1, 0), next(known + 1, 0);  // by tensor: of all, and of those that are wanted
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < known) ++place[ids[i] + 1];
  }
  for (size_t id = 0; id < known; ++id) {
    next[id + 1] = next[id] + (choice.tensors[id] ? place[id + 1] : 0);
    place[id + 1] += place[id];
  }
  const std::vector<uint32_t> unset(next[known]);
  StoredOrder order{.stored = ids.size(), .is_partial = true, .places = unset, .rows = unset};
  uint32_t row = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const uint64_t id = ids[i];
    if (!choice.WantsTensor(id)) continue;
    order.places[next[id]] = place[id]++;
    order.rows[next[id]++] = row++;
  }
  return order;
}

// The order of columns: write and read go through the same functions, so that they cannot differ.
class Writer {
 public:
  explicit Writer(int level) : level_(level) { bytes_.push_back(kVersion); }

  void Number(uint64_t value) { AppendVarint(value, &bytes_); }
  // `Numbers`: ColumnNumbers or std::vector<bool>.
  template <typename Numbers>
  void Column(const Numbers& values, ColumnKind kind, const std::vector<uint32_t>* order = nullptr) {
    scratch_.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i) scratch_[i] = values[order == nullptr ? i : (*order)[i]];
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
    const uint32_t checksum = Crc32(bytes_);
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
  absl::Status Column(ColumnKind kind, const StoredOrder& order, ColumnNumbers* numbers) {
    GW_ASSIGN_OR_RETURN(Values values, TakeValues(kind, order));
    *numbers = ColumnNumbers(std::move(values));
    return absl::OkStatus();
  }
  absl::Status Column(const StoredOrder& order, std::vector<bool>* bits) {
    GW_ASSIGN_OR_RETURN(const Values values, TakeValues(ColumnKind::kInteger, order));
    bits->assign(values.begin(), values.end());
    return absl::OkStatus();
  }
  absl::Status Skip(int columns = 1) {
    for (; columns > 0; --columns) GW_RETURN_IF_ERROR(SkipColumn(&bytes_));
    return absl::OkStatus();
  }
  template <typename Message>
  absl::Status Table(const StoredOrder& order, FieldMask wanted, ColumnTable<Message>* table, size_t first_field = 0) {
    const auto fields = FieldsOf(Message::default_instance());
    table->rows = order.table_rows();
    for (size_t i = first_field; i < fields.size(); ++i) {
      const bool can_be_unset = fields[i].has != nullptr;
      if ((wanted >> i & 1) == 0) {
        GW_RETURN_IF_ERROR(Skip(can_be_unset ? 2 : 1));
        continue;
      }
      if (can_be_unset) GW_RETURN_IF_ERROR(Column(order, &table->presence[i]));
      GW_RETURN_IF_ERROR(Column(fields[i].kind, order, &table->values[i]));
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
  absl::StatusOr<Values> TakeValues(ColumnKind kind, const StoredOrder& order) {
    if (order.is_partial && order.rows.empty()) {
      GW_RETURN_IF_ERROR(SkipColumn(&bytes_));
      return Values();
    }
    GW_ASSIGN_OR_RETURN(Values stored, order.is_partial ? TakeChosen(kind, order.stored, order.places, &bytes_)
                                                        : TakeColumn(kind, order.stored, &bytes_));
    if (order.rows.empty()) return stored;
    Values values(stored.size());
    for (size_t i = 0; i < stored.size(); ++i) values[order.rows[i]] = stored[i];
    return values;
  }

  absl::string_view bytes_;
};

void WriteTensors(const ReportColumns& columns, Writer* writer) {
  const ColumnNumbers& ids = columns.tensors.values[0];
  writer->Column(ids, ColumnKind::kInteger);
  const std::vector<uint32_t> order = ByOwner(ids);
  writer->Table(columns.tensors, &order, 1);
  writer->Column(columns.has_histogram, ColumnKind::kInteger, &order);
  const std::vector<uint32_t> histograms = ByOwner(HistogramOwners(columns));
  writer->Table(columns.histograms, &histograms);
  writer->Column(columns.bucket_counts, ColumnKind::kInteger);
  writer->Column(columns.buckets, ColumnKind::kInteger);
}

// The sum of `counts`; DATA_LOSS if it is above `most`.
absl::StatusOr<size_t> SumOf(const ColumnNumbers& counts, size_t most) {
  size_t sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > most || (sum += counts[i]) > most) return BatchIsDamaged();
  }
  return sum;
}

absl::Status SkipHistograms(Reader* reader, ReportColumns* columns) {
  GW_RETURN_IF_ERROR(reader->Skip());
  GW_RETURN_IF_ERROR(reader->Table(InPlace(0), 0, &columns->histograms));
  return reader->Skip(2);
}

absl::Status ReadHistograms(const StoredOrder& tensors, Reader* reader, ReportColumns* columns) {
  GW_RETURN_IF_ERROR(reader->Column(tensors, &columns->has_histogram));
  const StoredOrder histograms = InOrderOf(HistogramOwners(*columns));
  GW_RETURN_IF_ERROR(reader->Table(histograms, kAllFields, &columns->histograms));
  GW_RETURN_IF_ERROR(reader->Column(ColumnKind::kInteger, InPlace(2 * histograms.stored), &columns->bucket_counts));
  GW_ASSIGN_OR_RETURN(const size_t buckets, SumOf(columns->bucket_counts, kMaxBuckets));
  return reader->Column(ColumnKind::kInteger, InPlace(buckets), &columns->buckets);
}

// tensor_counts as they are when only rows of wanted tensors are there.
ColumnNumbers CountWanted(const ColumnNumbers& counts, const ColumnNumbers& ids, const ReportChoice& choice) {
  ColumnNumbers wanted;
  size_t row = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    uint64_t count = 0;
    for (const size_t end = row + counts[i]; row < end; ++row) count += choice.WantsTensor(ids[row]) ? 1 : 0;
    wanted.Add(count);
  }
  return wanted;
}

absl::Status ReadTensors(const ReportChoice& choice, Reader* reader, ReportColumns* columns) {
  // One report may have more than fit a batch of several.
  GW_ASSIGN_OR_RETURN(const size_t rows, SumOf(columns->tensor_counts, kMaxBatchTensors));
  if (choice.tensor == 0) {
    GW_RETURN_IF_ERROR(reader->Table(InPlace(0), 0, &columns->tensors));
    return SkipHistograms(reader, columns);
  }
  ColumnNumbers ids;
  GW_RETURN_IF_ERROR(reader->Column(ColumnKind::kInteger, InPlace(rows), &ids));
  // Histograms of all come, since where they lie hangs on all.
  const bool is_partial = !choice.histograms && !choice.tensors.empty();
  const StoredOrder order = is_partial ? InOrderOfWanted(ids, choice) : InOrderOf(ids);
  GW_RETURN_IF_ERROR(reader->Table(order, choice.tensor, &columns->tensors, 1));
  if (is_partial) {
    columns->tensor_counts = CountWanted(columns->tensor_counts, ids, choice);
    ColumnNumbers wanted;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (choice.WantsTensor(ids[i])) wanted.Add(ids[i]);
    }
    ids = std::move(wanted);
  }
  columns->tensors.values[0] = std::move(ids);
  return choice.histograms ? ReadHistograms(order, reader, columns) : SkipHistograms(reader, columns);
}

void WriteLayers(const ReportColumns& columns, Writer* writer) {
  writer->Number(columns.words.size());
  for (const std::string& word : columns.words) writer->Text(word);
  writer->Column(columns.layer_names, ColumnKind::kInteger);
  writer->Column(columns.layer_kinds, ColumnKind::kInteger);
  const std::vector<uint32_t> order = ByOwner(columns.layer_names);
  writer->Table(columns.layers, &order);
}

absl::Status ReadLayers(const ReportChoice& choice, Reader* reader, ReportColumns* columns) {
  uint64_t words = 0;
  GW_RETURN_IF_ERROR(reader->Number(kMaxWords, &words));
  for (; words > 0; --words) {
    std::string& word = columns->words.emplace_back();
    GW_RETURN_IF_ERROR(reader->Text(&word));
    // A message with another text could be written, and read by nobody.
    if (!IsStructurallyValidUTF8(word.data(), static_cast<int>(word.size()))) return BatchIsDamaged();
  }
  if (choice.layer == 0) {
    GW_RETURN_IF_ERROR(reader->Skip(2));
    return reader->Table(InPlace(0), 0, &columns->layers);
  }
  GW_ASSIGN_OR_RETURN(const size_t rows, SumOf(columns->layer_counts, kMaxBatchTensors));
  GW_RETURN_IF_ERROR(reader->Column(ColumnKind::kInteger, InPlace(rows), &columns->layer_names));
  GW_RETURN_IF_ERROR(reader->Column(ColumnKind::kInteger, InPlace(rows), &columns->layer_kinds));
  return reader->Table(InOrderOf(columns->layer_names), choice.layer, &columns->layers);
}

size_t CountParts(const ColumnNumbers& parts, uint64_t part) {
  size_t count = 0;
  for (size_t i = 0; i < parts.size(); ++i) count += (parts[i] & part) != 0 ? 1 : 0;
  return count;
}

absl::StatusOr<absl::string_view> CheckedContent(absl::string_view batch) {
  if (batch.size() < 1 + kChecksumBytes || batch[0] != kVersion) return BatchIsDamaged();
  const absl::string_view content = batch.substr(0, batch.size() - kChecksumBytes);
  uint32_t checksum = 0;
  for (size_t i = 0; i < kChecksumBytes; ++i) {
    checksum |= uint32_t{static_cast<uint8_t>(batch[content.size() + i])} << 8 * i;
  }
  if (checksum != Crc32(content)) return BatchIsDamaged();
  return content.substr(1);
}

// The columns that are wanted.
absl::StatusOr<ReportColumns> DecodeColumns(absl::string_view batch, const ReportChoice& choice) {
  GW_ASSIGN_OR_RETURN(const absl::string_view content, CheckedContent(batch));
  Reader reader(content);
  ReportColumns columns;
  uint64_t rows = 0;
  GW_RETURN_IF_ERROR(reader.Number(kMaxBatchReports, &rows));
  GW_RETURN_IF_ERROR(reader.Column(ColumnKind::kInteger, InPlace(rows), &columns.parts));
  GW_RETURN_IF_ERROR(reader.Column(ColumnKind::kInteger, InPlace(rows), &columns.tensor_counts));
  GW_RETURN_IF_ERROR(reader.Column(ColumnKind::kInteger, InPlace(rows), &columns.layer_counts));
  const auto with = [&columns](uint64_t part) { return InPlace(CountParts(columns.parts, part)); };
  GW_RETURN_IF_ERROR(reader.Table(InPlace(rows), choice.report, &columns.reports));
  GW_RETURN_IF_ERROR(reader.Table(with(1), choice.clip, &columns.clips));
  GW_RETURN_IF_ERROR(reader.Table(with(2), choice.time, &columns.times));
  GW_RETURN_IF_ERROR(reader.Table(with(4), choice.validation, &columns.validations));
  GW_RETURN_IF_ERROR(ReadTensors(choice, &reader, &columns));
  GW_RETURN_IF_ERROR(ReadLayers(choice, &reader, &columns));
  for (size_t odd = CountParts(columns.parts, 8); odd > 0; --odd) {
    GW_RETURN_IF_ERROR(reader.Text(&columns.odd.emplace_back()));
  }
  if (!reader.AtEnd()) return BatchIsDamaged();
  return columns;
}

size_t BucketsOf(const v1::StepReport& report) {
  int buckets = 0;
  for (const v1::TensorStats& tensor : report.tensors()) {
    if (!tensor.has_histogram()) continue;
    buckets += tensor.histogram().positive_counts_size() + tensor.histogram().negative_counts_size();
  }
  return static_cast<size_t>(buckets);
}

}  // namespace

ReportBatchEncoder::ReportBatchEncoder() : columns_(std::make_unique<ReportColumns>()) {}
ReportBatchEncoder::~ReportBatchEncoder() = default;
ReportBatchEncoder::ReportBatchEncoder(ReportBatchEncoder&&) noexcept = default;
ReportBatchEncoder& ReportBatchEncoder::operator=(ReportBatchEncoder&&) noexcept = default;

bool ReportBatchEncoder::Add(const v1::StepReport& report) {
  const auto layers = static_cast<size_t>(report.layers_size());
  const bool fits = columns_->reports.rows < kMaxBatchReports &&
                    columns_->tensors.rows + static_cast<size_t>(report.tensors_size()) <= kMaxBatchTensors &&
                    columns_->layers.rows + layers <= kMaxBatchTensors &&
                    columns_->words.size() + 2 * layers <= kMaxWords &&
                    columns_->buckets.size() + BucketsOf(report) <= kMaxBuckets;
  if (columns_->reports.rows > 0 && !fits) return false;
  columns_->Add(report);
  return true;
}

size_t ReportBatchEncoder::reports() const { return columns_->reports.rows; }

size_t ReportBatchEncoder::memory_bytes() const { return columns_->memory_bytes(); }

void ReportBatchEncoder::ForEach(const ReportChoice& choice,
                                 absl::FunctionRef<void(const v1::StepReport&)> each) const {
  ReportAssembler assembler(columns_.get(), &choice);
  v1::StepReport report;
  while (assembler.Next(&report)) each(report);
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

absl::Status DecodeReports(absl::string_view batch, absl::FunctionRef<void(const v1::StepReport&)> each) {
  return DecodeReports(batch, ReportChoice::Everything(), each);
}

absl::Status DecodeReports(absl::string_view batch, const ReportChoice& choice,
                           absl::FunctionRef<void(const v1::StepReport&)> each) {
  GW_ASSIGN_OR_RETURN(const ReportColumns columns, DecodeColumns(batch, choice));
  ReportAssembler assembler(&columns, &choice);
  v1::StepReport report;
  for (size_t i = 0; i < columns.reports.rows; ++i) {
    if (!assembler.Next(&report)) return BatchIsDamaged();
    each(report);
  }
  return absl::OkStatus();
}

}  // namespace gradwatch::server
