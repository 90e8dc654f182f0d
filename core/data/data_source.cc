#include "core/data/data_source.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/byte_units.h"
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/status_macros.h"
#include "core/data/adding_source.h"
#include "core/data/bad_batch.h"
#include "core/data/csv_source.h"
#include "core/data/gaussian_clusters_source.h"
#include "core/data/idx_source.h"
#include "core/data/spirals_source.h"
#include "core/data/temporal_order_source.h"
#include "core/data/text_source.h"

namespace gradwatch::core {
namespace {

using SourceOr = absl::StatusOr<std::unique_ptr<DataSource>>;

// The source with violations below `field`. What is out of range is not in the source's own spec.
SourceOr Below(absl::string_view field, SourceOr source) {
  if (!source.ok() && !absl::IsOutOfRange(source.status())) return WithFieldPrefix(field, source.status());
  return source;
}

SourceOr OpenSource(const v1::DataSpec& spec, uint64_t seed, int64_t held_out, const DataReading& reading) {
  const int64_t batch_size = spec.batch_size();
  switch (spec.source_case()) {
    case v1::DataSpec::kIdx:
      return Below("idx", OpenIdx(spec.idx(), batch_size, held_out, seed, reading));
    case v1::DataSpec::kCsv:
      return Below("csv", OpenCsv(spec.csv(), batch_size, held_out, seed, reading));
    case v1::DataSpec::kText:
      return Below("text", OpenText(spec.text(), batch_size, held_out, seed, reading));
    case v1::DataSpec::kAdding:
      return Below("adding", MakeAdding(spec.adding(), batch_size, seed));
    case v1::DataSpec::kTemporalOrder:
      return Below("temporal_order", MakeTemporalOrder(spec.temporal_order(), batch_size, seed));
    case v1::DataSpec::kSpirals:
      return Below("spirals", MakeSpirals(spec.spirals(), batch_size, seed));
    case v1::DataSpec::kGaussianClusters:
      return Below("gaussian_clusters", MakeGaussianClusters(spec.gaussian_clusters(), batch_size, seed));
    case v1::DataSpec::SOURCE_NOT_SET:
      break;
  }
  return absl::InternalError("unreachable: the source was checked above");
}

SourceOr Open(const v1::DataSpec& spec, uint64_t seed, int64_t held_out, const DataReading& reading) {
  FieldErrors errors;
  CheckIntegerRange(errors, "batch_size", spec.batch_size(), 1, 1'048'576);
  if (spec.source_case() == v1::DataSpec::SOURCE_NOT_SET) {
    errors.Add("source", "required: one of idx, csv, text, adding, temporal_order, spirals, gaussian_clusters");
  }
  GW_RETURN_IF_ERROR(errors.ToStatus());
  GW_ASSIGN_OR_RETURN(std::unique_ptr<DataSource> source, OpenSource(spec, seed, held_out, reading));
  if (!spec.has_bad_batch()) return source;
  return Below("bad_batch", SpoilBatch(spec.bad_batch(), spec.batch_size(), std::move(source)));
}

// The same, with the end of memory told as an error of the file.
SourceOr OpenWithinMemory(const v1::DataSpec& spec, uint64_t seed, int64_t held_out, const DataReading& reading) {
  SourceOr source = OrOutOfMemory("to read it", [&] { return Open(spec, seed, held_out, reading); });
  const std::vector<NamedFile> files = DataFilesOf(spec);
  if (GetReason(source.status()) != "OUT_OF_MEMORY" || files.empty()) return source;
  return WithFieldPrefix(
      files[0].field,
      WithReason(absl::ResourceExhaustedError(absl::StrCat(files[0].path, ": ", source.status().message())),
                 "OUT_OF_MEMORY"));
}

}  // namespace

v1::DataSummary DataSource::Summary() const {
  v1::DataSummary summary;
  if (examples() > 0) summary.set_examples(examples());
  return summary;
}

absl::Status CheckDataBytes(absl::string_view field, const std::string& path, int64_t bytes,
                            const DataReading& reading) {
  if (bytes <= reading.max_bytes) return absl::OkStatus();
  return WithReason(
      InvalidField(field, absl::StrCat(path, ": takes at least ", bytes, " bytes of memory", InUnits(bytes),
                                       "; the limit is ", reading.max_bytes, InUnits(reading.max_bytes))),
      "QUOTA_MEMORY");
}

absl::StatusOr<std::unique_ptr<DataSource>> OpenData(const v1::DataSpec& spec, uint64_t seed, const DataRoots& roots,
                                                     int64_t held_out, DataShape::Target targets) {
  return OpenWithinMemory(spec, seed, held_out, {.roots = &roots, .targets = targets});
}

absl::StatusOr<DataDescription> DescribeData(const v1::DataSpec& spec, uint64_t seed, const DataRoots& roots,
                                             int64_t held_out, int64_t max_bytes, DataShape::Target targets) {
  const DataReading reading = {.roots = &roots, .keep = false, .max_bytes = max_bytes, .targets = targets};
  GW_ASSIGN_OR_RETURN(const auto source, OpenWithinMemory(spec, seed, held_out, reading));
  return DataDescription{.shape = source->shape(), .bytes = source->bytes(), .summary = source->Summary()};
}

std::vector<NamedFile> DataFilesOf(const v1::DataSpec& spec) {
  switch (spec.source_case()) {
    case v1::DataSpec::kIdx:
      return {{"idx.images", spec.idx().images()}, {"idx.labels", spec.idx().labels()}};
    case v1::DataSpec::kCsv:
      return {{"csv.path", spec.csv().path()}};
    case v1::DataSpec::kText:
      return {{"text.path", spec.text().path()}};
    default:
      return {};
  }
}

}  // namespace gradwatch::core
