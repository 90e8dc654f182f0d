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

#include "gradwatch/v1/telemetry.pb.h"
#include "server/history/column_codec.h"

namespace gradwatch::server {

// A field of a message as the bits of a number. `has` is null where the field cannot be unset.
template <typename Message>
struct ColumnField {
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

// The rows of one kind of message, by fields.
template <typename Message>
struct ColumnTable {
  size_t rows = 0;
  std::vector<std::vector<uint64_t>> values;    // by field; 0 where it is unset
  std::vector<std::vector<uint64_t>> presence;  // by field; 1: it is set. Empty for fields without `has`

  ColumnTable();
  void Add(const Message& message);
  void Get(size_t row, Message* message) const;
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
  std::vector<uint64_t> parts;          // which messages it has: 1 clip, 2 time, 4 validation, 8 it is odd
  std::vector<uint64_t> tensor_counts;  // its statistics of tensors
  std::vector<uint64_t> layer_counts;
  // By tensor: 1: it has a histogram.
  std::vector<uint64_t> has_histogram;
  // By histogram, positive and negative in turn: how many counts it has; the counts, one after the other.
  std::vector<uint64_t> bucket_counts, buckets;
  // By layer: its name and its kind, as places in `words`.
  std::vector<uint64_t> layer_names, layer_kinds;
  std::vector<std::string> words;
  std::map<std::string, uint64_t, std::less<>> word_places;
  // Reports that have something that no column holds, as they are on the wire, in their order.
  std::vector<std::string> odd;

  void Add(const v1::StepReport& report);
};

// Puts reports together again, one after the other.
class ReportAssembler {
 public:
  explicit ReportAssembler(const ReportColumns* columns) : columns_(*columns) {}
  // The next report in `report`, whatever that was. False: the tables do not belong together.
  bool Next(v1::StepReport* report);

 private:
  bool NextTensors(size_t count, v1::StepReport* report);
  bool NextLayers(size_t count, v1::StepReport* report);
  bool NextHistogram(v1::Histogram* histogram);
  bool NextBuckets(google::protobuf::RepeatedField<int64_t>* counts);

  const ReportColumns& columns_;
  size_t report_ = 0, clip_ = 0, time_ = 0, validation_ = 0, tensor_ = 0, histogram_ = 0, layer_ = 0, odd_ = 0;
  size_t bucket_list_ = 0, bucket_ = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_REPORT_COLUMNS_H_
