#include "core/data/csv_source.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/status_macros.h"
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

// Positions of the columns that a spec names.
struct Columns {
  std::vector<int> all;  // inputs, then targets
  size_t inputs = 0;
};

// The numbers of a table, row after row; only their count if they are checked and not kept.
struct Rows {
  std::vector<float> inputs{};   // [rows, inputs]
  std::vector<float> targets{};  // [rows, targets]
  int64_t count = 0;
};

int64_t BytesOf(const v1::CsvData& spec, int64_t rows) {
  return rows * (spec.inputs_size() + spec.targets_size()) * static_cast<int64_t>(sizeof(float));
}

void ResolveColumns(const google::protobuf::RepeatedPtrField<std::string>& names, absl::string_view field,
                    const CsvTable& table, FieldErrors& errors, std::vector<int>* columns) {
  const size_t begin = columns->size();
  for (int i = 0; i < names.size(); ++i) {
    const std::string path = absl::StrCat(field, "[", i, "]");
    const absl::StatusOr<int> column = table.FindColumn(names[i]);
    if (!column.ok()) {
      errors.AddStatus(path, column.status());
    } else if (std::find(columns->begin() + begin, columns->end(), *column) != columns->end()) {
      errors.Add(path, absl::StrCat("column \"", names[i], "\" is named twice"));
    } else {
      columns->push_back(*column);
    }
  }
}

absl::StatusOr<Columns> FindColumns(const v1::CsvData& spec, const CsvTable& table) {
  Columns columns;
  FieldErrors errors;
  ResolveColumns(spec.inputs(), "inputs", table, errors, &columns.all);
  columns.inputs = columns.all.size();
  ResolveColumns(spec.targets(), "targets", table, errors, &columns.all);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  if (Window(spec) > 1) return columns;
  const auto first_target = columns.all.begin() + columns.inputs;
  for (auto target = first_target; target != columns.all.end(); ++target) {
    if (std::find(columns.all.begin(), first_target, *target) == first_target) continue;
    const int i = static_cast<int>(target - first_target);
    errors.Add(absl::StrCat("targets[", i, "]"),
               absl::StrCat("column \"", spec.targets(i), "\" is an input too; that needs a window above 1"));
  }
  GW_RETURN_IF_ERROR(errors.ToStatus());
  return columns;
}

// Shift and factor of every column.
struct Scaling {
  std::vector<double> mean, factor;
};

// Mean 0 and standard deviation 1 over the first `rows` rows; a constant column is only shifted. Welford's recurrence.
absl::StatusOr<Scaling> MeasureColumns(CsvTable& table, const Columns& columns, int64_t rows) {
  const size_t width = columns.all.size();
  std::vector<double> mean(width, 0), squares(width, 0);
  double count = 0;
  GW_RETURN_IF_ERROR(table.ForEachRow(columns.all, [&](std::span<const double> row) {
    if (static_cast<int64_t>(count) == rows) return false;
    ++count;
    for (size_t i = 0; i < width; ++i) {
      const double difference = row[i] - mean[i];
      mean[i] += difference / count;
      squares[i] += difference * (row[i] - mean[i]);
    }
    return true;
  }));
  Scaling scaling{.mean = mean, .factor = std::vector<double>(width, 1)};
  for (size_t i = 0; i < width; ++i) {
    if (squares[i] > 0) scaling.factor[i] = 1 / std::sqrt(squares[i] / count);
  }
  return scaling;
}

// A column of classes must hold classes.
class ClassCheck {
 public:
  explicit ClassCheck(const v1::CsvData& spec) : spec_(spec) {}

  // The numbers of the next row; false if the last of them should be a class and is none.
  bool Accept(std::span<const double> row) {
    ++row_;
    value_ = static_cast<float>(row.back());
    return spec_.classes() == 0 ||
           (value_ >= 0 && value_ < static_cast<float>(spec_.classes()) && value_ == std::floor(value_));
  }
  // About the row that was refused.
  absl::Status Error() const {
    return InvalidField("targets[0]", absl::StrCat(spec_.path(), ": data row ", row_, ", column \"", spec_.targets(0),
                                                   "\": ", value_, " is not a class from 0 to ", spec_.classes() - 1));
  }

 private:
  const v1::CsvData& spec_;
  int64_t row_ = 0;
  float value_ = 0;
};

// Checks every row and gives each to `use`, as many as may be.
absl::StatusOr<int64_t> WalkRows(const v1::CsvData& spec, CsvTable& table, const Columns& columns, int64_t max_rows,
                                 absl::FunctionRef<void(std::span<const double>)> use) {
  ClassCheck check(spec);
  bool classes = true;
  int64_t count = 0;
  const absl::Status status = table.ForEachRow(columns.all, [&](std::span<const double> row) {
    classes = check.Accept(row);
    if (!classes || count == max_rows) return false;
    use(row);
    ++count;
    return true;
  });
  if (!classes) return check.Error();
  if (!status.ok()) return InDataFile("path", spec.path(), status);
  return count;
}

// Keeps nothing. Ends as soon as there are more rows than the limit of memory allows.
absl::StatusOr<Rows> CheckRows(const v1::CsvData& spec, CsvTable& table, const Columns& columns,
                               const DataReading& reading) {
  const int64_t too_many = reading.max_bytes / BytesOf(spec, 1) + 1;
  GW_ASSIGN_OR_RETURN(const int64_t count, WalkRows(spec, table, columns, too_many, [](std::span<const double>) {}));
  GW_RETURN_IF_ERROR(CheckDataBytes("path", spec.path(), BytesOf(spec, count), reading));
  return Rows{.count = count};
}

absl::StatusOr<Rows> ReadRows(const v1::CsvData& spec, CsvTable& table, const Columns& columns, int64_t held_out) {
  Scaling scaling{.mean = std::vector<double>(columns.all.size(), 0),
                  .factor = std::vector<double>(columns.all.size(), 1)};
  absl::StatusOr<int64_t> count = table.CountRows();
  if (!count.ok()) return InDataFile("path", spec.path(), count.status());
  if (spec.standardize()) {
    absl::StatusOr<Scaling> measured = MeasureColumns(table, columns, std::max<int64_t>(*count - held_out, 0));
    if (!measured.ok()) return InDataFile("path", spec.path(), measured.status());
    scaling = *std::move(measured);
  }
  if (spec.classes() > 0) {  // a class is not a number to be scaled
    scaling.mean.back() = 0;
    scaling.factor.back() = 1;
  }
  Rows rows;
  rows.inputs.reserve(*count * spec.inputs_size());
  rows.targets.reserve(*count * spec.targets_size());
  // A file that changes in between is told at its end; until then it must not make the rows grow.
  GW_ASSIGN_OR_RETURN(rows.count, WalkRows(spec, table, columns, *count, [&](std::span<const double> row) {
                        for (size_t i = 0; i < row.size(); ++i) {
                          auto& half = i < columns.inputs ? rows.inputs : rows.targets;
                          half.push_back(static_cast<float>((row[i] - scaling.mean[i]) * scaling.factor[i]));
                        }
                      }));
  return rows;
}

DataShape CsvShape(const v1::CsvData& spec) {
  DataShape shape;
  shape.input.steps = Window(spec) > 1 ? Window(spec) : 0;
  shape.input.features = spec.inputs_size();
  shape.target = spec.classes() > 0 ? DataShape::Target::kClasses : DataShape::Target::kValues;
  shape.outputs = spec.classes() > 0 ? spec.classes() : spec.targets_size();
  return shape;
}

// How many rows after an example's first row its target stands.
int64_t TargetOffset(const v1::CsvData& spec) { return Window(spec) > 1 ? Window(spec) : 0; }

class CsvSource final : public ExampleSource {
 public:
  CsvSource(const v1::CsvData& spec, Rows rows, FirstLine first_line, int64_t batch_size, int64_t held_out,
            uint64_t seed)
      : ExampleSource(CsvShape(spec), batch_size),
        rows_(std::move(rows)),
        first_line_(std::move(first_line)),
        bytes_(BytesOf(spec, rows_.count)),
        target_offset_(TargetOffset(spec)),
        target_columns_(spec.targets_size()),
        examples_(rows_.count - target_offset_ - held_out),
        order_(examples_, seed) {}

  int64_t examples() const override { return examples_; }
  std::optional<FirstLine> first_line() const override { return first_line_; }

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

  const Rows rows_;
  const FirstLine first_line_;
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
  if (BytesOf(spec, rows) / 2 <= reading.max_bytes) return absl::OkStatus();
  return WithReason(
      InvalidField("path", absl::StrCat(spec.path(), ": about ", rows, " rows by its size, which take about ",
                                        BytesOf(spec, rows), " bytes of memory; the limit is ", reading.max_bytes)),
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
  if (!table.ok()) return InDataFile("path", spec.path(), table.status());
  GW_ASSIGN_OR_RETURN(const Columns columns, FindColumns(spec, *table));
  // How long a gzipped table is tells nobody but its end.
  if (!content->packed) GW_RETURN_IF_ERROR(CheckEstimate(spec, *table, bytes, reading));
  GW_ASSIGN_OR_RETURN(
      Rows rows, reading.keep ? ReadRows(spec, *table, columns, held_out) : CheckRows(spec, *table, columns, reading));
  GW_RETURN_IF_ERROR(CheckCount(spec, table->has_header(), rows.count, held_out));
  FirstLine first_line = {.is_header = table->has_header(), .note = table->note()};
  return std::make_unique<CsvSource>(spec, std::move(rows), std::move(first_line), batch_size, held_out, seed);
}

}  // namespace gradwatch::core
