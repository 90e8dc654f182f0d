#include "core/data/csv_source.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/byte_units.h"
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/status_macros.h"
#include "core/data/csv_rows.h"
#include "core/data/csv_table.h"
#include "core/data/data_root.h"
#include "core/data/example_order.h"
#include "core/data/example_source.h"
#include "core/data/gzip.h"

namespace gradwatch::core {
namespace {

constexpr int kMaxColumns = 4'096;
constexpr int kMaxWindow = 65'536;

int Window(const v1::CsvData& spec) { return spec.has_window() ? spec.window() : 1; }

void ResolveColumns(const google::protobuf::RepeatedPtrField<std::string>& names, absl::string_view field,
                    const CsvTable& table, FieldErrors& errors, bool* listed, std::vector<int>* columns) {
  const size_t begin = columns->size();
  for (int i = 0; i < names.size(); ++i) {
    const std::string path = absl::StrCat(field, "[", i, "]");
    const absl::StatusOr<int> column = table.FindColumn(names[i], listed);
    if (!column.ok()) {
      errors.AddStatus(path, column.status());
    } else if (std::find(columns->begin() + begin, columns->end(), *column) != columns->end()) {
      errors.Add(path, absl::StrCat(table.ColumnText(*column), " is named twice"));
    } else {
      columns->push_back(*column);
    }
  }
}

absl::StatusOr<CsvColumns> FindColumns(const v1::CsvData& spec, const CsvTable& table) {
  CsvColumns columns;
  FieldErrors errors;
  bool listed = false;  // the columns that there are, once
  ResolveColumns(spec.inputs(), "inputs", table, errors, &listed, &columns.all);
  columns.inputs = columns.all.size();
  ResolveColumns(spec.targets(), "targets", table, errors, &listed, &columns.all);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  if (Window(spec) > 1) return columns;
  const auto first_target = columns.all.begin() + columns.inputs;
  for (auto target = first_target; target != columns.all.end(); ++target) {
    if (std::find(columns.all.begin(), first_target, *target) == first_target) continue;
    const int i = static_cast<int>(target - first_target);
    errors.Add(absl::StrCat("targets[", i, "]"),
               absl::StrCat(table.ColumnText(*target), " is an input too; that needs a window above 1"));
  }
  GW_RETURN_IF_ERROR(errors.ToStatus());
  return columns;
}

// Targets that are numbers are as the loss takes them.
DataShape CsvShape(const v1::CsvData& spec, DataShape::Target targets) {
  DataShape shape;
  shape.input.steps = Window(spec) > 1 ? Window(spec) : 0;
  shape.input.features = spec.inputs_size();
  const bool probabilities = targets == DataShape::Target::kProbabilities;
  shape.target = spec.classes() > 0 ? DataShape::Target::kClasses
                 : probabilities    ? DataShape::Target::kProbabilities
                                    : DataShape::Target::kValues;
  shape.outputs = spec.classes() > 0 ? spec.classes() : spec.targets_size();
  return shape;
}

// How many rows after an example's first row its target stands.
int64_t TargetOffset(const v1::CsvData& spec) { return Window(spec) > 1 ? Window(spec) : 0; }

class CsvSource final : public ExampleSource {
 public:
  // `found` tells how the first line was read.
  CsvSource(const v1::CsvData& spec, DataShape::Target targets, CsvRows rows, v1::DataSummary found, int64_t batch_size,
            int64_t held_out, uint64_t seed)
      : ExampleSource(CsvShape(spec, targets), batch_size),
        rows_(std::move(rows)),
        found_(std::move(found)),
        bytes_(CsvRowBytes(spec, rows_.count)),
        target_offset_(TargetOffset(spec)),
        target_columns_(spec.targets_size()),
        examples_(rows_.count - target_offset_ - held_out),
        order_(examples_, seed) {}

  int64_t examples() const override { return examples_; }
  v1::DataSummary Summary() const override {
    v1::DataSummary summary = found_;
    summary.set_examples(examples_);
    return summary;
  }

 protected:
  void FillExample(int64_t place, int64_t slot, BatchBuffer& buffer) override { Read(order_.At(place), slot, buffer); }

  void FillHeldOutExample(int64_t index, int64_t slot, BatchBuffer& buffer) override {
    Read(examples_ + index, slot, buffer);
  }

  int64_t held_bytes() const override { return bytes_; }

 private:
  void Read(int64_t example, int64_t slot, BatchBuffer& buffer) const {
    const int64_t features = shape().input.features;
    for (int64_t step = 0; step < shape().input.rows(); ++step) {
      std::copy_n(rows_.inputs.data() + (example + step) * features, features, buffer.FeatureRow(step, slot));
    }
    const float* const target = rows_.targets.data() + (example + target_offset_) * target_columns_;
    if (shape().target == DataShape::Target::kClasses) {
      buffer.Class(0, slot) = static_cast<int32_t>(*target);
    } else {
      std::copy_n(target, target_columns_, buffer.ValueRow(slot));
    }
  }

  const CsvRows rows_;
  const v1::DataSummary found_;
  const int64_t bytes_;
  const int64_t target_offset_;
  const int64_t target_columns_;
  const int64_t examples_;  // those held out come after them
  ExampleOrder order_;
};

absl::Status CheckFields(const v1::CsvData& spec) {
  FieldErrors errors;
  if (spec.path().empty()) errors.Add("path", "required");
  if (spec.inputs().empty()) errors.Add("inputs", "required: names or positions of columns");
  if (spec.targets().empty()) errors.Add("targets", "required: names or positions of columns");
  if (spec.inputs_size() > kMaxColumns) errors.Add("inputs", absl::StrCat("at most ", kMaxColumns, " columns"));
  if (spec.targets_size() > kMaxColumns) errors.Add("targets", absl::StrCat("at most ", kMaxColumns, " columns"));
  CheckIntegerRange(errors, "window", Window(spec), 1, kMaxWindow);
  if (!v1::CsvData::Header_IsValid(spec.header())) {
    errors.Add("header", absl::StrCat("no value ", static_cast<int>(spec.header())));
  }
  if (spec.classes() != 0) {
    CheckIntegerRange(errors, "classes", spec.classes(), 2, 65'536);
    if (spec.targets_size() > 1) errors.Add("targets", "must be one column where classes is set");
  }
  return errors.ToStatus();
}

// Whether a table is far beyond the limit of memory, by its size and its first rows. The rows of the rest may be
// longer, so only twice the limit is refused here, and the rest when its rows are counted.
absl::Status CheckEstimate(const v1::CsvData& spec, const CsvTable& table, int64_t bytes, const DataReading& reading) {
  const int64_t rows = table.EstimateRows(bytes);
  const int64_t memory = CsvRowBytes(spec, rows);
  if (memory / 2 <= reading.max_bytes) return absl::OkStatus();
  return WithReason(
      InvalidField("path", absl::StrCat(spec.path(), ": about ", rows, " rows by its size, which take about ", memory,
                                        " bytes of memory", InUnits(memory), "; the limit is ", reading.max_bytes,
                                        InUnits(reading.max_bytes))),
      "QUOTA_MEMORY");
}

absl::Status CheckCount(const v1::CsvData& spec, bool has_header, int64_t rows, int64_t held_out) {
  if (rows <= TargetOffset(spec)) {
    return InvalidField(
        Window(spec) > 1 ? "window" : "path",
        absl::StrCat(spec.path(), ": ", rows, " data rows; needed are at least ", TargetOffset(spec) + 1,
                     has_header ? " besides the first line, which is read as a header" : ""));
  }
  return CheckHeldOut(held_out, rows - TargetOffset(spec));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> OpenCsv(const v1::CsvData& spec, int64_t batch_size, int64_t held_out,
                                                    uint64_t seed, const DataReading& reading) {
  GW_RETURN_IF_ERROR(CheckFields(spec));
  GW_ASSIGN_OR_RETURN(std::unique_ptr<DataFile> file, OpenDataFile("path", spec.path(), *reading.roots));
  const int64_t bytes = file->size();
  absl::StatusOr<Unpacked> content = UnpackIfGzip(std::move(file), kMaxDataFileBytes);
  if (!content.ok()) return InDataFile("path", spec.path(), content.status());
  absl::StatusOr<CsvTable> table = CsvTable::Open(std::move(content->source), spec.header());
  if (!table.ok()) {
    const bool is_undecided = GetReason(table.status()) == kHeaderUndecided;
    return InDataFile(is_undecided ? "header" : "path", spec.path(), table.status());
  }
  GW_ASSIGN_OR_RETURN(const CsvColumns columns, FindColumns(spec, *table));
  // How long a gzipped table is tells nobody but its end.
  if (!content->packed) GW_RETURN_IF_ERROR(CheckEstimate(spec, *table, bytes, reading));
  GW_ASSIGN_OR_RETURN(CsvRows rows, reading.keep ? ReadCsvRows(spec, *table, columns, held_out, reading)
                                                 : CheckCsvRows(spec, *table, columns, held_out, reading));
  GW_RETURN_IF_ERROR(CheckCount(spec, table->has_header(), rows.count, held_out));
  v1::DataSummary found;
  found.set_header(table->has_header());
  found.set_note(table->note());
  return std::make_unique<CsvSource>(spec, reading.targets, std::move(rows), std::move(found), batch_size, held_out,
                                     seed);
}

}  // namespace gradwatch::core
