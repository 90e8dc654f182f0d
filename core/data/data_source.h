// Where batches come from: a pure function of (seed, step), so that a run can go on anywhere without saved state.
#ifndef GRADWATCH_CORE_DATA_DATA_SOURCE_H_
#define GRADWATCH_CORE_DATA_DATA_SOURCE_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/data/batch.h"
#include "core/data/data_root.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// Thread-compatible. Holds its data in memory.
class DataSource {
 public:
  virtual ~DataSource() = default;
  virtual const DataShape& shape() const = 0;
  // Number of different examples that Fill walks through or, of text, draws from (windows, which overlap); 0: made at
  // random, without end.
  virtual int64_t examples() const = 0;
  // Bytes held in memory, those that the first Fill takes included.
  virtual int64_t bytes() const = 0;
  // What was found, for people.
  virtual v1::DataSummary Summary() const;
  // The batch of `step` (from 0): examples drawn with the job's seed. Valid until the next call; allocates only in the
  // first call.
  virtual Batch Fill(int64_t step) = 0;
  // Batch `index` (from 0) of the examples that were held out, in order; past their end undefined. Valid until the next
  // call of this or Fill; allocates only if it is the first of them.
  virtual Batch FillHeldOut(int64_t index) = 0;
};

// How files are read.
struct DataReading {
  const DataRoots* roots = nullptr;                         // must outlive the call
  bool keep = true;                                         // false: checked and counted only; Fill must not be called
  int64_t max_bytes = std::numeric_limits<int64_t>::max();  // more data in memory than this is refused
  DataShape::Target targets = DataShape::Target::kValues;   // what the loss takes, see OpenData
};

// INVALID_ARGUMENT (reason QUOTA_MEMORY) about `field` if the `bytes` that the file at `path` takes in memory at least
// are more than they may be.
absl::Status CheckDataBytes(absl::string_view field, const std::string& path, int64_t bytes,
                            const DataReading& reading);

// Opens what `spec` names; paths are looked up below `roots`. Reads everything into memory and checks it. The last
// `held_out` examples are kept out of Fill for FillHeldOut; what is measured over all examples (the scaling of columns)
// leaves them out too. `targets`: what the loss takes (TargetOf); where that is probabilities, targets of a table that
// are not classes are never scaled and must be in [0, 1], and its shape says so. Other sources give what they have.
// INVALID_ARGUMENT: a field is out of range, or a file is malformed, empty, cut short, changed while it was read or
// outside the roots, or a target is not what it must be; NOT_FOUND: no such file; OUT_OF_RANGE: there are not enough
// examples to hold out that many; RESOURCE_EXHAUSTED: not enough memory. Messages and violations name the field
// relative to the DataSpec ("text.path") and the value.
absl::StatusOr<std::unique_ptr<DataSource>> OpenData(const v1::DataSpec& spec, uint64_t seed, const DataRoots& roots,
                                                     int64_t held_out = 0,
                                                     DataShape::Target targets = DataShape::Target::kValues);

// What is known of data without having it.
struct DataDescription {
  DataShape shape;
  int64_t bytes = 0;        // that OpenData's source would hold
  v1::DataSummary summary;  // what was found
};

// Checks all that OpenData checks, but reads files in blocks and keeps nothing: a few MiB, whatever their size. Also
// INVALID_ARGUMENT (QUOTA_MEMORY), as soon as that is clear: the data would take more than `max_bytes`.
absl::StatusOr<DataDescription> DescribeData(const v1::DataSpec& spec, uint64_t seed, const DataRoots& roots,
                                             int64_t held_out, int64_t max_bytes,
                                             DataShape::Target targets = DataShape::Target::kValues);

// A file that a spec names.
struct NamedFile {
  std::string field;  // relative to the DataSpec
  std::string path;
};
// The files that `spec` names; empty for synthetic tasks.
std::vector<NamedFile> DataFilesOf(const v1::DataSpec& spec);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_DATA_SOURCE_H_
