// Reports as columns: a table for the reports, one for the statistics of their tensors, one for those of layers, and so
// on; each field of a message is a column of its table.
#ifndef GRADWATCH_SERVER_HISTORY_REPORT_COLUMNS_H_
#define GRADWATCH_SERVER_HISTORY_REPORT_COLUMNS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gradwatch/v1/telemetry.pb.h"
#include "server/history/column_codec.h"

namespace gradwatch::server {

// A field of a message as the bits of a number. `has` is null where the field cannot be unset.
template <typename Message>
struct ColumnField {
  absl::string_view name;
  ColumnKind kind;
  uint64_t (*get)(const Message&);
  void (*set)(Message*, uint64_t);
  bool (*has)(const Message&);
};

// The fields of each kind of message. Their order is that of the stored columns: new ones go to the end.
std::span<const ColumnField<v1::StepReport>> FieldsOf(const v1::StepReport&);
std::span<const ColumnField<v1::ClipOutcome>> FieldsOf(const v1::ClipOutcome&);
std::span<const ColumnField<google::protobuf::Timestamp>> FieldsOf(const google::protobuf::Timestamp&);
std::span<const ColumnField<v1::Validation>> FieldsOf(const v1::Validation&);
std::span<const ColumnField<v1::TensorStats>> FieldsOf(const v1::TensorStats&);
std::span<const ColumnField<v1::Histogram>> FieldsOf(const v1::Histogram&);
std::span<const ColumnField<v1::LayerStats>> FieldsOf(const v1::LayerStats&);

// Which fields of a kind of message are wanted: bit i is field i of FieldsOf.
using FieldMask = uint32_t;
inline constexpr FieldMask kAllFields = ~FieldMask{0};

// What is wanted of reports; what is not comes unset. Attempt and step always come, and reports that are odd whole.
struct ReportChoice {
  FieldMask report = kAllFields, clip = kAllFields, time = kAllFields, validation = kAllFields;
  FieldMask tensor = kAllFields, layer = kAllFields;  // none: no statistics of tensors, of layers
  bool histograms = true;
  std::vector<bool> tensors;  // by TensorStats.tensor: wanted; behind the end: not. Empty: all

  static ReportChoice Nothing();
  static const ReportChoice& Everything();
  bool WantsTensor(uint64_t id) const { return tensors.empty() || (id < tensors.size() && tensors[id]); }
};

// The bit of a field of FieldsOf; the name is one of them.
FieldMask ReportField(absl::string_view name);
FieldMask ClipField(absl::string_view name);
FieldMask ValidationField(absl::string_view name);
FieldMask TensorField(absl::string_view name);
FieldMask LayerField(absl::string_view name);

// The numbers of one column, as their bits, in 32 of them as long as all fit.
class ColumnNumbers {
 public:
  ColumnNumbers() = default;
  explicit ColumnNumbers(std::vector<uint64_t> values);
  size_t size() const { return narrow_.size() + wide_.size(); }  // one of them is empty
  uint64_t operator[](size_t row) const { return wide_.empty() ? narrow_[row] : wide_[row]; }
  void Add(uint64_t bits);
  size_t memory_bytes() const { return 4 * narrow_.capacity() + 8 * wide_.capacity(); }

 private:
  std::vector<uint32_t> narrow_;
  std::vector<uint64_t> wide_;
};

// The rows of one kind of message, by fields.
template <typename Message>
struct ColumnTable {
  size_t rows = 0;
  std::vector<ColumnNumbers> values;        // by field; 0 where it is unset. Empty: it was not read
  std::vector<std::vector<bool>> presence;  // by field: it is set. Empty for fields without `has`

  ColumnTable();
  void Add(const Message& message);
  // Of the fields that are wanted.
  void Get(size_t row, FieldMask fields, Message* message) const;
  size_t memory_bytes() const;
};

// The tables are in the order of reports; where a report has no such message, its table has no row of it.
struct ReportColumns {
  ColumnTable<v1::StepReport> reports;
  ColumnTable<v1::ClipOutcome> clips;
  ColumnTable<google::protobuf::Timestamp> times;
  ColumnTable<v1::Validation> validations;
  ColumnTable<v1::TensorStats> tensors;
  ColumnTable<v1::Histogram> histograms;  // of tensors
  ColumnTable<v1::LayerStats> layers;

  // By report.
  ColumnNumbers parts;          // which messages it has: 1 clip, 2 time, 4 validation, 8 it is odd
  ColumnNumbers tensor_counts;  // its statistics of tensors
  ColumnNumbers layer_counts;
  // By tensor: it has a histogram.
  std::vector<bool> has_histogram;
  // By histogram, positive and negative in turn: how many counts it has; the counts, one after the other.
  ColumnNumbers bucket_counts, buckets;
  // By layer: its name and its kind, as places in `words`.
  ColumnNumbers layer_names, layer_kinds;
  std::vector<std::string> words;
  std::map<std::string, uint64_t, std::less<>> word_places;
  // Reports that have something that no column holds, as they are on the wire, in their order.
  std::vector<std::string> odd;

  void Add(const v1::StepReport& report);
  // What the vectors occupy.
  size_t memory_bytes() const;
};

// Puts reports together again, one after the other, or what is wanted of them. Columns that are not wanted may be
// empty, and so may rows of tensors that are not; `columns` and `choice` outlive it.
class ReportAssembler {
 public:
  explicit ReportAssembler(const ReportColumns* columns, const ReportChoice* choice = &ReportChoice::Everything())
      : columns_(*columns), choice_(*choice) {}
  // The next report in `report`, whatever that was. False: the tables do not belong together.
  bool Next(v1::StepReport* report);

 private:
  bool NextTensors(size_t count, v1::StepReport* report);
  bool NextLayers(size_t count, v1::StepReport* report);
  // Null: it is passed over.
  bool NextHistogram(v1::Histogram* histogram);
  bool NextBuckets(google::protobuf::RepeatedField<int64_t>* counts);

  const ReportColumns& columns_;
  const ReportChoice& choice_;
  size_t report_ = 0, clip_ = 0, time_ = 0, validation_ = 0, tensor_ = 0, histogram_ = 0, layer_ = 0, odd_ = 0;
  size_t bucket_list_ = 0, bucket_ = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_REPORT_COLUMNS_H_
