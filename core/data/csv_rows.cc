#include "core/data/csv_rows.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/data/data_root.h"

namespace gradwatch::core {
namespace {

// Shift and factor of every column.
struct Scaling {
  std::vector<double> mean, factor;
};

// Mean 0 and standard deviation 1 over the first `rows` rows; a constant column is only shifted. Welford's recurrence,
// in long double, whose range holds the squares of all doubles. The rest is read too, since only the end of a file
// tells whether it is still the same.
absl::StatusOr<Scaling> MeasureColumns(CsvTable& table, const CsvColumns& columns, int64_t rows) {
  const size_t width = columns.all.size();
  std::vector<long double> mean(width, 0), squares(width, 0);
  long double count = 0;
  GW_RETURN_IF_ERROR(table.ForEachRow(columns.all, [&](std::span<const double> row) {
    if (static_cast<int64_t>(count) == rows) return true;
    ++count;
    for (size_t i = 0; i < width; ++i) {
      const long double difference = row[i] - mean[i];
      mean[i] += difference / count;
      squares[i] += difference * (row[i] - mean[i]);
    }
    return true;
  }));
  Scaling scaling{.mean = {mean.begin(), mean.end()}, .factor = std::vector<double>(width, 1)};
  for (size_t i = 0; i < width; ++i) {
    if (squares[i] > 0) scaling.factor[i] = static_cast<double>(1 / std::sqrt(squares[i] / count));
  }
  return scaling;
}

// The shortest decimal number that is read as `value` again.
std::string Exactly(double value) {
  char buffer[32];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

// Whether targets are classes or probabilities, which are checked and never scaled.
bool AreChecked(const v1::CsvData& spec, const DataReading& reading) {
  return spec.classes() > 0 || reading.targets == DataShape::Target::kProbabilities;
}

// Whether a number may be a target, where targets are checked. A double, since a float would round.
bool IsTarget(const v1::CsvData& spec, double value) {
  if (spec.classes() > 0) return value >= 0 && value < spec.classes() && value == std::floor(value);
  return value >= 0 && value <= 1;
}

absl::Status NoTarget(const v1::CsvData& spec, const CsvTable& table, int target, int column, double value) {
  const std::string wanted = spec.classes() > 0 ? absl::StrCat("a class from 0 to ", spec.classes() - 1)
                                                : "a probability from 0 to 1, which is what the loss takes";
  return InvalidField(absl::StrCat("targets[", target, "]"),
                      absl::StrCat(spec.path(), ": ", table.PlaceInRow(column), ": ", Exactly(value), " is not ",
                                   wanted, table.DataHint(table.row_line())));
}

absl::Status TooLargeScaled(const v1::CsvData& spec, const CsvTable& table, int column, double value) {
  return InDataFile("path", spec.path(),
                    absl::InvalidArgumentError(absl::StrCat(table.PlaceInRow(column), ": ", Exactly(value),
                                                            " is too large for a float once it is standardized")));
}

absl::Status Changed(const v1::CsvData& spec) {
  return InDataFile("path", spec.path(), absl::InvalidArgumentError("changed while it was read"));
}

// Checks every row and gives it to `use`, until that returns false.
absl::Status WalkRows(const v1::CsvData& spec, CsvTable& table, const CsvColumns& columns, const DataReading& reading,
                      absl::FunctionRef<bool(std::span<const double>)> use) {
  const size_t first_checked = AreChecked(spec, reading) ? columns.inputs : columns.all.size();
  absl::Status no_target;
  const absl::Status status = table.ForEachRow(columns.all, [&](std::span<const double> row) {
    for (size_t i = first_checked; i < row.size(); ++i) {
      if (IsTarget(spec, row[i])) continue;
      no_target = NoTarget(spec, table, static_cast<int>(i - columns.inputs), columns.all[i], row[i]);
      return false;
    }
    return use(row);
  });
  GW_RETURN_IF_ERROR(no_target);
  return status.ok() ? status : InDataFile("path", spec.path(), status);
}

// How the columns are scaled, which the spec asks for.
absl::StatusOr<Scaling> FindScaling(const v1::CsvData& spec, CsvTable& table, const CsvColumns& columns, int64_t rows,
                                    const DataReading& reading) {
  Scaling scaling{.mean = std::vector<double>(columns.all.size(), 0),
                  .factor = std::vector<double>(columns.all.size(), 1)};
  if (spec.standardize()) {
    absl::StatusOr<Scaling> measured = MeasureColumns(table, columns, std::max<int64_t>(rows, 0));
    if (!measured.ok()) return InDataFile("path", spec.path(), measured.status());
    scaling = *std::move(measured);
  }
  if (AreChecked(spec, reading)) {  // neither a class nor a probability is a number to be scaled
    std::fill(scaling.mean.begin() + columns.inputs, scaling.mean.end(), 0);
    std::fill(scaling.factor.begin() + columns.inputs, scaling.factor.end(), 1);
  }
  return scaling;
}

// Checks and scales every row and gives it to `use`, as it is kept.
absl::Status WalkScaled(const v1::CsvData& spec, CsvTable& table, const CsvColumns& columns, const DataReading& reading,
                        const Scaling& scaling, absl::FunctionRef<void(std::span<const float>)> use) {
  std::vector<float> scaled(columns.all.size());
  absl::Status too_large;
  GW_RETURN_IF_ERROR(WalkRows(spec, table, columns, reading, [&](std::span<const double> row) {
    for (size_t i = 0; i < row.size(); ++i) {
      scaled[i] = static_cast<float>((row[i] - scaling.mean[i]) * scaling.factor[i]);
      if (std::isfinite(scaled[i])) continue;  // a row that is held out may be beyond all by which it is scaled
      too_large = TooLargeScaled(spec, table, columns.all[i], row[i]);
      return false;
    }
    use(scaled);
    return true;
  }));
  return too_large;
}

// Checks every row and counts them, up to `most`.
absl::StatusOr<int64_t> CountRows(const v1::CsvData& spec, CsvTable& table, const CsvColumns& columns,
                                  const DataReading& reading, int64_t most) {
  int64_t count = 0;
  const auto count_row = [&](std::span<const double>) { return ++count < most; };
  GW_RETURN_IF_ERROR(WalkRows(spec, table, columns, reading, count_row));
  return count;
}

}  // namespace

int64_t CsvRowBytes(const v1::CsvData& spec, int64_t rows) {
  return rows * (spec.inputs_size() + spec.targets_size()) * static_cast<int64_t>(sizeof(float));
}

absl::StatusOr<CsvRows> CheckCsvRows(const v1::CsvData& spec, CsvTable& table, const CsvColumns& columns,
                                     int64_t held_out, const DataReading& reading) {
  const int64_t too_many = reading.max_bytes / CsvRowBytes(spec, 1) + 1;
  GW_ASSIGN_OR_RETURN(const int64_t count, CountRows(spec, table, columns, reading, too_many));
  GW_RETURN_IF_ERROR(CheckDataBytes("path", spec.path(), CsvRowBytes(spec, count), reading));
  if (spec.standardize()) {
    GW_ASSIGN_OR_RETURN(const Scaling scaling, FindScaling(spec, table, columns, count - held_out, reading));
    GW_RETURN_IF_ERROR(WalkScaled(spec, table, columns, reading, scaling, [](std::span<const float>) {}));
  }
  return CsvRows{.count = count};
}

absl::StatusOr<CsvRows> ReadCsvRows(const v1::CsvData& spec, CsvTable& table, const CsvColumns& columns,
                                    int64_t held_out, const DataReading& reading) {
  constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
  GW_ASSIGN_OR_RETURN(const int64_t count, CountRows(spec, table, columns, reading, kAll));
  GW_ASSIGN_OR_RETURN(const Scaling scaling, FindScaling(spec, table, columns, count - held_out, reading));
  CsvRows rows;
  rows.inputs.reserve(count * spec.inputs_size());
  rows.targets.reserve(count * spec.targets_size());
  const auto keep = [&](std::span<const float> row) {
    if (++rows.count > count) return;  // there is no room for more; the end tells why there are
    rows.inputs.insert(rows.inputs.end(), row.begin(), row.begin() + columns.inputs);
    rows.targets.insert(rows.targets.end(), row.begin() + columns.inputs, row.end());
  };
  GW_RETURN_IF_ERROR(WalkScaled(spec, table, columns, reading, scaling, keep));
  if (rows.count != count) return Changed(spec);
  return rows;
}

}  // namespace gradwatch::core
