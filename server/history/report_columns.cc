#include "server/history/report_columns.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <limits>
#include <type_traits>
#include <utility>

namespace gradwatch::server {
namespace {

using google::protobuf::Timestamp;

constexpr uint64_t kLargestNarrow = std::numeric_limits<uint32_t>::max();

uint64_t Bits(double value) { return std::bit_cast<uint64_t>(value); }
uint64_t Bits(float value) { return std::bit_cast<uint32_t>(value); }
uint64_t Bits(int64_t value) { return static_cast<uint64_t>(value); }
uint64_t Bits(int32_t value) { return Bits(int64_t{value}); }
uint64_t Bits(bool value) { return value ? 1 : 0; }
uint64_t Bits(v1::ClipOutcome::Action value) { return Bits(int64_t{value}); }

void FromBits(uint64_t bits, double* value) { *value = std::bit_cast<double>(bits); }
void FromBits(uint64_t bits, float* value) { *value = std::bit_cast<float>(static_cast<uint32_t>(bits)); }
void FromBits(uint64_t bits, int64_t* value) { *value = static_cast<int64_t>(bits); }
void FromBits(uint64_t bits, int32_t* value) { *value = static_cast<int32_t>(bits); }
void FromBits(uint64_t bits, bool* value) { *value = bits != 0; }
void FromBits(uint64_t bits, v1::ClipOutcome::Action* value) { *value = static_cast<v1::ClipOutcome::Action>(bits); }

template <typename T>
constexpr ColumnKind KindOf() {
  if (std::is_same_v<T, double>) return ColumnKind::kDouble;
  return std::is_same_v<T, float> ? ColumnKind::kFloat : ColumnKind::kInteger;
}

// A field that cannot be unset, and one that can.
#define GW_FIELD(Message, name)                                                                                           \
  ColumnField<Message> {                                                                                                  \
#name, KindOf<decltype(std::declval<Message>().name())>(), [](const Message& message) { return Bits(message.name()); }, \
        [](Message* message, uint64_t bits) {                                                                        \
          std::remove_const_t<decltype(std::declval<Message>().name())> value;                                       \
          FromBits(bits, &value);                                                                                    \
          message->set_##name(value);                                                                                \
        },                                                                                                           \
        nullptr \
  }
#define GW_OPTIONAL(Message, name)                                                                                        \
  ColumnField<Message> {                                                                                                  \
#name, KindOf<decltype(std::declval<Message>().name())>(), [](const Message& message) { return Bits(message.name()); }, \
        [](Message* message, uint64_t bits) {                                                                        \
          std::remove_const_t<decltype(std::declval<Message>().name())> value;                                       \
          FromBits(bits, &value);                                                                                    \
          message->set_##name(value);                                                                                \
        },                                                                                                           \
        [](const Message& message) { return message.has_##name(); } \
  }

// By kind of message.
template <typename Message>
constexpr auto kFields = nullptr;

template <>
constexpr auto kFields<v1::StepReport> = std::array{GW_FIELD(v1::StepReport, attempt),
                                                    GW_FIELD(v1::StepReport, step),
                                                    GW_FIELD(v1::StepReport, loss),
                                                    GW_OPTIONAL(v1::StepReport, grad_norm),
                                                    GW_FIELD(v1::StepReport, learning_rate),
                                                    GW_FIELD(v1::StepReport, control_revision),
                                                    GW_FIELD(v1::StepReport, nan_count),
                                                    GW_FIELD(v1::StepReport, pos_inf_count),
                                                    GW_FIELD(v1::StepReport, neg_inf_count),
                                                    GW_FIELD(v1::StepReport, step_seconds),
                                                    GW_OPTIONAL(v1::StepReport, cosine_with_last)};

template <>
constexpr auto kFields<v1::ClipOutcome> =
    std::array{GW_FIELD(v1::ClipOutcome, action),        GW_OPTIONAL(v1::ClipOutcome, norm_after),
               GW_FIELD(v1::ClipOutcome, coefficient),   GW_FIELD(v1::ClipOutcome, tensors_clipped),
               GW_OPTIONAL(v1::ClipOutcome, threshold),  GW_FIELD(v1::ClipOutcome, elements_clipped),
               GW_FIELD(v1::ClipOutcome, units_clipped), GW_FIELD(v1::ClipOutcome, moments_reset)};

template <>
constexpr auto kFields<Timestamp> = std::array{GW_FIELD(Timestamp, seconds), GW_FIELD(Timestamp, nanos)};

template <>
constexpr auto kFields<v1::Validation> =
    std::array{GW_FIELD(v1::Validation, loss), GW_FIELD(v1::Validation, targets), GW_OPTIONAL(v1::Validation, accuracy),
               GW_OPTIONAL(v1::Validation, perplexity)};

template <>
constexpr auto kFields<v1::TensorStats> = std::array{GW_FIELD(v1::TensorStats, tensor),
                                                     GW_OPTIONAL(v1::TensorStats, l2_norm),
                                                     GW_OPTIONAL(v1::TensorStats, max_abs),
                                                     GW_OPTIONAL(v1::TensorStats, mean),
                                                     GW_OPTIONAL(v1::TensorStats, mean_abs),
                                                     GW_OPTIONAL(v1::TensorStats, std_dev),
                                                     GW_FIELD(v1::TensorStats, nan_count),
                                                     GW_FIELD(v1::TensorStats, pos_inf_count),
                                                     GW_FIELD(v1::TensorStats, neg_inf_count),
                                                     GW_OPTIONAL(v1::TensorStats, zero_count),
                                                     GW_OPTIONAL(v1::TensorStats, denormal_count),
                                                     GW_OPTIONAL(v1::TensorStats, weight_norm),
                                                     GW_OPTIONAL(v1::TensorStats, update_norm),
                                                     GW_OPTIONAL(v1::TensorStats, cosine_with_last),
                                                     GW_OPTIONAL(v1::TensorStats, clip_scale)};

template <>
constexpr auto kFields<v1::Histogram> =
    std::array{GW_FIELD(v1::Histogram, zero_count), GW_FIELD(v1::Histogram, positive_offset),
               GW_FIELD(v1::Histogram, negative_offset), GW_OPTIONAL(v1::Histogram, sample_stride)};

template <>
constexpr auto kFields<v1::LayerStats> = std::array{GW_OPTIONAL(v1::LayerStats, output_mean),
                                                    GW_OPTIONAL(v1::LayerStats, output_variance),
                                                    GW_FIELD(v1::LayerStats, output_non_finite),
                                                    GW_OPTIONAL(v1::LayerStats, saturated),
                                                    GW_OPTIONAL(v1::LayerStats, dead),
                                                    GW_OPTIONAL(v1::LayerStats, backward_norm),
                                                    GW_OPTIONAL(v1::LayerStats, backward_growth),
                                                    GW_OPTIONAL(v1::LayerStats, largest_logit),
                                                    GW_OPTIONAL(v1::LayerStats, attention_entropy)};

#undef GW_FIELD
#undef GW_OPTIONAL

template <typename Message>
bool HasUnknown(const Message& message) {
  static const auto& reflection = *message.GetReflection();  // looking it up takes longer than the question
  return !reflection.GetUnknownFields(message).empty();
}

// Whether it has something that no column holds: fields of a later version.
bool IsOdd(const v1::StepReport& report) {
  if (HasUnknown(report)) return true;
  if (report.has_clip() && HasUnknown(report.clip())) return true;
  if (report.has_time() && HasUnknown(report.time())) return true;
  if (report.has_validation() && HasUnknown(report.validation())) return true;
  for (const v1::TensorStats& tensor : report.tensors()) {
    if (HasUnknown(tensor) || (tensor.has_histogram() && HasUnknown(tensor.histogram()))) return true;
  }
  return std::any_of(report.layers().begin(), report.layers().end(), HasUnknown<v1::LayerStats>);
}

uint64_t PlaceOf(const std::string& word, ReportColumns* columns) {
  const auto [place, is_new] = columns->word_places.try_emplace(word, columns->words.size());
  if (is_new) columns->words.push_back(word);
  return place->second;
}

void AddBuckets(const google::protobuf::RepeatedField<int64_t>& counts, ReportColumns* columns) {
  columns->bucket_counts.Add(static_cast<uint64_t>(counts.size()));
  for (const int64_t count : counts) columns->buckets.Add(Bits(count));
}

void AddTensor(const v1::TensorStats& tensor, ReportColumns* columns) {
  columns->tensors.Add(tensor);
  columns->has_histogram.push_back(tensor.has_histogram());
  if (!tensor.has_histogram()) return;
  columns->histograms.Add(tensor.histogram());
  AddBuckets(tensor.histogram().positive_counts(), columns);
  AddBuckets(tensor.histogram().negative_counts(), columns);
}

}  // namespace

std::span<const ColumnField<v1::StepReport>> FieldsOf(const v1::StepReport&) { return kFields<v1::StepReport>; }
std::span<const ColumnField<v1::ClipOutcome>> FieldsOf(const v1::ClipOutcome&) { return kFields<v1::ClipOutcome>; }
std::span<const ColumnField<Timestamp>> FieldsOf(const Timestamp&) { return kFields<Timestamp>; }
std::span<const ColumnField<v1::Validation>> FieldsOf(const v1::Validation&) { return kFields<v1::Validation>; }
std::span<const ColumnField<v1::TensorStats>> FieldsOf(const v1::TensorStats&) { return kFields<v1::TensorStats>; }
std::span<const ColumnField<v1::Histogram>> FieldsOf(const v1::Histogram&) { return kFields<v1::Histogram>; }
std::span<const ColumnField<v1::LayerStats>> FieldsOf(const v1::LayerStats&) { return kFields<v1::LayerStats>; }

template <typename Message>
FieldMask FieldNamed(absl::string_view name) {
  const auto fields = FieldsOf(Message::default_instance());
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name == name) return FieldMask{1} << i;
  }
  assert(false);
  return 0;
}

FieldMask ReportField(absl::string_view name) { return FieldNamed<v1::StepReport>(name); }
FieldMask ClipField(absl::string_view name) { return FieldNamed<v1::ClipOutcome>(name); }
FieldMask ValidationField(absl::string_view name) { return FieldNamed<v1::Validation>(name); }
FieldMask TensorField(absl::string_view name) { return FieldNamed<v1::TensorStats>(name); }
FieldMask LayerField(absl::string_view name) { return FieldNamed<v1::LayerStats>(name); }

ReportChoice ReportChoice::Nothing() {
  return {.report = ReportField("attempt") | ReportField("step"),
          .clip = 0,
          .time = 0,
          .validation = 0,
          .tensor = 0,
          .layer = 0,
          .histograms = false,
          .tensors = {}};
}

const ReportChoice& ReportChoice::Everything() {
  static const auto& everything = *new ReportChoice;
  return everything;
}

ColumnNumbers::ColumnNumbers(std::vector<uint64_t> values) {
  uint64_t all = 0;
  for (const uint64_t value : values) all |= value;
  if (all > kLargestNarrow) {
    wide_ = std::move(values);
  } else {
    narrow_.assign(values.begin(), values.end());
  }
}

void ColumnNumbers::Add(uint64_t bits) {
  if (wide_.empty() && bits <= kLargestNarrow) {
    narrow_.push_back(static_cast<uint32_t>(bits));
    return;
  }
  if (wide_.empty()) {
    wide_.assign(narrow_.begin(), narrow_.end());
    narrow_ = {};
  }
  wide_.push_back(bits);
}

template <typename Message>
ColumnTable<Message>::ColumnTable()
    : values(FieldsOf(Message::default_instance()).size()), presence(FieldsOf(Message::default_instance()).size()) {}

template <typename Message>
void ColumnTable<Message>::Add(const Message& message) {
  const auto add = [&]<size_t i>() {
    constexpr const auto& field = kFields<Message>[i];
    if constexpr (field.has == nullptr) {
      values[i].Add(field.get(message));
    } else {
      const bool has = field.has(message);
      presence[i].push_back(has);
      values[i].Add(has ? field.get(message) : 0);
    }
  };
  // Unrolled: of what is known when it is compiled, nothing is called.
  [&]<size_t... i>(std::index_sequence<i...>) { (add.template operator()<i>(), ...); }
  (std::make_index_sequence<std::size(kFields<Message>)>());
  ++rows;
}

template <typename Message>
void ColumnTable<Message>::Get(size_t row, FieldMask wanted, Message* message) const {
  const auto fields = FieldsOf(*message);
  for (size_t i = 0; i < fields.size(); ++i) {
    if ((wanted >> i & 1) == 0 || (fields[i].has != nullptr && !presence[i][row])) continue;
    fields[i].set(message, values[i][row]);
  }
}

template <typename Message>
size_t ColumnTable<Message>::memory_bytes() const {
  size_t bytes = 0;
  for (const ColumnNumbers& column : values) bytes += column.memory_bytes();
  for (const std::vector<bool>& column : presence) bytes += column.capacity() / 8;
  return bytes;
}

template struct ColumnTable<v1::StepReport>;
template struct ColumnTable<v1::ClipOutcome>;
template struct ColumnTable<Timestamp>;
template struct ColumnTable<v1::Validation>;
template struct ColumnTable<v1::TensorStats>;
template struct ColumnTable<v1::Histogram>;
template struct ColumnTable<v1::LayerStats>;

void ReportColumns::Add(const v1::StepReport& report) {
  reports.Add(report);
  const bool is_odd = IsOdd(report);
  parts.Add(is_odd ? 8 : (report.has_clip() ? 1 : 0) + (report.has_time() ? 2 : 0) + (report.has_validation() ? 4 : 0));
  tensor_counts.Add(is_odd ? 0 : static_cast<uint64_t>(report.tensors_size()));
  layer_counts.Add(is_odd ? 0 : static_cast<uint64_t>(report.layers_size()));
  if (is_odd) {
    odd.push_back(report.SerializeAsString());
    return;
  }
  if (report.has_clip()) clips.Add(report.clip());
  if (report.has_time()) times.Add(report.time());
  if (report.has_validation()) validations.Add(report.validation());
  for (const v1::TensorStats& tensor : report.tensors()) AddTensor(tensor, this);
  for (const v1::LayerStats& layer : report.layers()) {
    layers.Add(layer);
    layer_names.Add(PlaceOf(layer.name(), this));
    layer_kinds.Add(PlaceOf(layer.kind(), this));
  }
}

size_t ReportColumns::memory_bytes() const {
  size_t bytes = reports.memory_bytes() + clips.memory_bytes() + times.memory_bytes() + validations.memory_bytes() +
                 tensors.memory_bytes() + histograms.memory_bytes() + layers.memory_bytes() +
                 has_histogram.capacity() / 8;
  for (const ColumnNumbers* column :
       {&parts, &tensor_counts, &layer_counts, &bucket_counts, &buckets, &layer_names, &layer_kinds}) {
    bytes += column->memory_bytes();
  }
  for (const std::string& report : odd) bytes += report.capacity();
  return bytes;
}

bool ReportAssembler::Next(v1::StepReport* report) {
  report->Clear();
  if (report_ >= columns_.reports.rows) return false;
  const size_t row = report_++;
  const uint64_t parts = columns_.parts[row];
  if ((parts & 8) != 0) {
    return odd_ < columns_.odd.size() && report->ParseFromString(columns_.odd[odd_++]);
  }
  columns_.reports.Get(row, choice_.report, report);
  if ((parts & 1) != 0) {
    if (clip_ >= columns_.clips.rows) return false;
    const size_t clip = clip_++;
    if (choice_.clip != 0) columns_.clips.Get(clip, choice_.clip, report->mutable_clip());
  }
  if ((parts & 2) != 0) {
    if (time_ >= columns_.times.rows) return false;
    const size_t time = time_++;
    if (choice_.time != 0) columns_.times.Get(time, choice_.time, report->mutable_time());
  }
  if ((parts & 4) != 0) {
    if (validation_ >= columns_.validations.rows) return false;
    const size_t validation = validation_++;
    if (choice_.validation != 0) {
      columns_.validations.Get(validation, choice_.validation, report->mutable_validation());
    }
  }
  if (choice_.tensor != 0 && !NextTensors(columns_.tensor_counts[row], report)) return false;
  return choice_.layer == 0 || NextLayers(columns_.layer_counts[row], report);
}

bool ReportAssembler::NextTensors(size_t count, v1::StepReport* report) {
  if (count > columns_.tensors.rows - tensor_) return false;
  for (; count > 0; --count, ++tensor_) {
    const bool has_histogram = choice_.histograms && columns_.has_histogram[tensor_];
    if (!choice_.WantsTensor(columns_.tensors.values[0][tensor_])) {
      if (has_histogram && !NextHistogram(nullptr)) return false;
      continue;
    }
    v1::TensorStats* tensor = report->add_tensors();
    columns_.tensors.Get(tensor_, choice_.tensor, tensor);
    if (has_histogram && !NextHistogram(tensor->mutable_histogram())) return false;
  }
  return true;
}

bool ReportAssembler::NextHistogram(v1::Histogram* histogram) {
  if (histogram_ >= columns_.histograms.rows) return false;
  const size_t row = histogram_++;
  if (histogram == nullptr) return NextBuckets(nullptr) && NextBuckets(nullptr);
  columns_.histograms.Get(row, kAllFields, histogram);
  return NextBuckets(histogram->mutable_positive_counts()) && NextBuckets(histogram->mutable_negative_counts());
}

bool ReportAssembler::NextBuckets(google::protobuf::RepeatedField<int64_t>* counts) {
  if (bucket_list_ >= columns_.bucket_counts.size()) return false;
  const size_t count = columns_.bucket_counts[bucket_list_++];
  if (count > columns_.buckets.size() - bucket_) return false;
  if (counts == nullptr) {
    bucket_ += count;
    return true;
  }
  counts->Reserve(static_cast<int>(count));
  for (size_t i = 0; i < count; ++i) counts->AddAlreadyReserved(static_cast<int64_t>(columns_.buckets[bucket_++]));
  return true;
}

bool ReportAssembler::NextLayers(size_t count, v1::StepReport* report) {
  if (count > columns_.layers.rows - layer_) return false;
  for (; count > 0; --count, ++layer_) {
    v1::LayerStats* layer = report->add_layers();
    columns_.layers.Get(layer_, choice_.layer, layer);
    const uint64_t name = columns_.layer_names[layer_], kind = columns_.layer_kinds[layer_];
    if (name >= columns_.words.size() || kind >= columns_.words.size()) return false;
    layer->set_name(columns_.words[name]);
    layer->set_kind(columns_.words[kind]);
  }
  return true;
}

}  // namespace gradwatch::server
