#include "core/data/csv_source.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/status_macros.h"
#include "core/data/csv_table.h"
#include "core/data/data_file.h"
#include "core/data/example_order.h"
#include "core/data/example_source.h"

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

// The numbers of a table, row after row.
struct Rows {
  std::vector<float> inputs;   // [rows, inputs]
  std::vector<float> targets;  // [rows, targets]
  int64_t count = 0;
};

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

absl::StatusOr<int64_t> CountRows(const CsvTable& table, const Columns& columns) {
  int64_t count = 0;
  GW_RETURN_IF_ERROR(table.ForEachRow(columns.all, [&](std::span<const double>) { ++count; }));
  return count;
}

// Mean 0 and standard deviation 1 over the first `rows` rows; a constant column is only shifted. Welford's recurrence.
absl::StatusOr<Scaling> MeasureColumns(const CsvTable& table, const Columns& columns, int64_t rows) {
  const size_t width = columns.all.size();
  std::vector<double> mean(width, 0), squares(width, 0);
  double count = 0;
  GW_RETURN_IF_ERROR(table.ForEachRow(columns.all, [&](std::span<const double> row) {
    if (static_cast<int64_t>(count) == rows) return;
    ++count;
    for (size_t i = 0; i < width; ++i) {
      const double difference = row[i] - mean[i];
      mean[i] += difference / count;
      squares[i] += difference * (row[i] - mean[i]);
    }
  }));
  Scaling scaling{.mean = mean, .factor = std::vector<double>(width, 1)};
  for (size_t i = 0; i < width; ++i) {
    if (squares[i] > 0) scaling.factor[i] = 1 / std::sqrt(squares[i] / count);
  }
  return scaling;
}

absl::StatusOr<Rows> ReadRows(const v1::CsvData& spec, const CsvTable& table, const Columns& columns,
                              int64_t held_out) {
  Scaling scaling{.mean = std::vector<double>(columns.all.size(), 0),
                  .factor = std::vector<double>(columns.all.size(), 1)};
  if (spec.standardize()) {
    GW_ASSIGN_OR_RETURN(const int64_t count, CountRows(table, columns));
    GW_ASSIGN_OR_RETURN(scaling, MeasureColumns(table, columns, std::max<int64_t>(count - held_out, 0)));
  }
  if (spec.classes() > 0) {  // a class is not a number to be scaled
    scaling.mean.back() = 0;
    scaling.factor.back() = 1;
  }
  Rows rows;
  GW_RETURN_IF_ERROR(table.ForEachRow(columns.all, [&](std::span<const double> row) {
    ++rows.count;
    for (size_t i = 0; i < row.size(); ++i) {
      auto& half = i < columns.inputs ? rows.inputs : rows.targets;
      half.push_back(static_cast<float>((row[i] - scaling.mean[i]) * scaling.factor[i]));
    }
  }));
  rows.inputs.shrink_to_fit();  // what they grew beyond their numbers, up to as much again
  rows.targets.shrink_to_fit();
  return rows;
}

absl::Status CheckClasses(const v1::CsvData& spec, const Rows& rows) {
  if (spec.classes() == 0) return absl::OkStatus();
  for (int64_t row = 0; row < rows.count; ++row) {
    const float value = rows.targets[row];
    if (value >= 0 && value < static_cast<float>(spec.classes()) && value == std::floor(value)) continue;
    return InvalidField("targets[0]", absl::StrCat(spec.path(), ": data row ", row + 1, ", column \"", spec.targets(0),
                                                   "\": ", value, " is not a class from 0 to ", spec.classes() - 1));
  }
  return absl::OkStatus();
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
  CsvSource(const v1::CsvData& spec, Rows rows, int64_t batch_size, int64_t held_out, uint64_t seed)
      : ExampleSource(CsvShape(spec), batch_size),
        rows_(std::move(rows)),
        target_offset_(TargetOffset(spec)),
        target_columns_(spec.targets_size()),
        examples_(rows_.count - target_offset_ - held_out),
        order_(examples_, seed) {}

  int64_t examples() const override { return examples_; }

 protected:
  void FillExample(int64_t place, int64_t slot, BatchBuffer& buffer) override { Read(order_.At(place), slot, buffer); }

  void FillHeldOutExample(int64_t index, int64_t slot, BatchBuffer& buffer) override {
    Read(examples_ + index, slot, buffer);
  }

  int64_t held_bytes() const override {
    return static_cast<int64_t>((rows_.inputs.size() + rows_.targets.size()) * sizeof(float));
  }

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
  if (spec.classes() != 0) {
    CheckIntegerRange(errors, "classes", spec.classes(), 2, 65'536);
    if (spec.targets_size() > 1) errors.Add("targets", "must be one column where classes is set");
  }
  return errors.ToStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> OpenCsv(const v1::CsvData& spec, int64_t batch_size, int64_t held_out,
                                                    uint64_t seed, const DataRoots& roots) {
  GW_RETURN_IF_ERROR(CheckFields(spec));
  GW_ASSIGN_OR_RETURN(const std::string content, ReadDataFile("path", spec.path(), roots));
  const absl::StatusOr<CsvTable> table = CsvTable::Open(content);
  if (!table.ok()) return InDataFile("path", spec.path(), table.status());
  GW_ASSIGN_OR_RETURN(const Columns columns, FindColumns(spec, *table));
  absl::StatusOr<Rows> rows = ReadRows(spec, *table, columns, held_out);
  if (!rows.ok()) return InDataFile("path", spec.path(), rows.status());
  GW_RETURN_IF_ERROR(CheckClasses(spec, *rows));
  if (rows->count <= TargetOffset(spec)) {
    return InvalidField(
        Window(spec) > 1 ? "window" : "path",
        absl::StrCat(spec.path(), ": ", rows->count, " data rows; needed are at least ", TargetOffset(spec) + 1));
  }
  GW_RETURN_IF_ERROR(CheckHeldOut(held_out, rows->count - TargetOffset(spec)));
  return std::make_unique<CsvSource>(spec, *std::move(rows), batch_size, held_out, seed);
}

}  // namespace gradwatch::core
