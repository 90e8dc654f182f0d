#include "server/history/tiers.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/base/status_macros.h"
#include "server/base/checksum.h"
#include "server/history/column_codec.h"

namespace gradwatch::server {
namespace {

constexpr char kVersion = 1;
constexpr size_t kChecksumBytes = 4;
constexpr size_t kMaxCells = size_t{1} << 23;

constexpr double kLargestFloat = std::numeric_limits<float>::max();
// As TensorStats.update_norm says.
constexpr double kSmallestWeight = 1e-12;

ColumnKind KindOf(TierGroup group) { return group == TierGroup::kJob ? ColumnKind::kDouble : ColumnKind::kFloat; }

uint64_t ToBits(double value, ColumnKind kind) {
  if (kind == ColumnKind::kDouble) return std::bit_cast<uint64_t>(value);
  return std::bit_cast<uint32_t>(static_cast<float>(value));
}

double ToDouble(uint64_t bits, ColumnKind kind) {
  if (kind == ColumnKind::kDouble) return std::bit_cast<double>(bits);
  return std::bit_cast<float>(static_cast<uint32_t>(bits));
}

// A sum of floats is told as one; what is too large for it as the largest one, as everywhere.
void RoundSums(Tier* tier) {
  if (tier->group == TierGroup::kJob) return;
  for (Bucket& bucket : tier->cells) {
    bucket.sum = static_cast<float>(std::clamp(bucket.sum, -kLargestFloat, kLargestFloat));
  }
}

double NonFiniteElements(const v1::StepReport& report) {
  return static_cast<double>(report.nan_count() + report.pos_inf_count() + report.neg_inf_count());
}

bool HasNonFinite(const v1::StepReport& report) { return NonFiniteElements(report) > 0; }

bool HasNonFinite(const v1::TensorStats& tensor) {
  return tensor.nan_count() + tensor.pos_inf_count() + tensor.neg_inf_count() > 0;
}

std::optional<double> UpdateRatio(const v1::TensorStats& tensor) {
  if (!tensor.has_update_norm() || !tensor.has_weight_norm()) return std::nullopt;
  const double ratio = tensor.update_norm() / (tensor.weight_norm() + kSmallestWeight);
  // Infinity is never told of what is finite.
  return std::isfinite(ratio) ? static_cast<float>(std::min<double>(ratio, kLargestFloat)) : ratio;
}

std::optional<double> If(bool has, double value) { return has ? std::optional<double>(value) : std::nullopt; }

// Templates, so that who adds up what comes does so without a call for each number.
template <typename Visit>
void VisitJob(const v1::StepReport& report, const Visit& visit) {
  const bool bad = HasNonFinite(report);
  const auto job = [&](JobSeries series, std::optional<double> value, bool has_non_finite = false) {
    visit(TierGroup::kJob, static_cast<size_t>(series), value, has_non_finite);
  };
  job(JobSeries::kLoss, report.loss());
  job(JobSeries::kValidationLoss, If(report.has_validation(), report.validation().loss()));
  job(JobSeries::kGradNorm, If(report.has_grad_norm(), report.grad_norm()), bad);
  job(JobSeries::kNormAfter, If(report.clip().has_norm_after(), report.clip().norm_after()));
  job(JobSeries::kLearningRate, report.learning_rate());
  job(JobSeries::kThreshold, If(report.clip().has_threshold(), report.clip().threshold()));
  job(JobSeries::kStepSeconds, report.step_seconds());
  job(JobSeries::kNonFinite, NonFiniteElements(report), bad || !std::isfinite(report.loss()));
}

template <typename Visit>
void VisitTensor(const v1::TensorStats& tensor, const Visit& visit) {
  const bool bad = HasNonFinite(tensor);
  const auto add = [&](TierGroup group, std::optional<double> value, bool has_non_finite) {
    visit(group, static_cast<size_t>(tensor.tensor()), value, has_non_finite);
  };
  add(TierGroup::kTensorNorm, If(tensor.has_l2_norm(), tensor.l2_norm()), bad);
  add(TierGroup::kTensorMaxAbs, If(tensor.has_max_abs(), tensor.max_abs()), bad);
  add(TierGroup::kTensorMean, If(tensor.has_mean(), tensor.mean()), bad);
  add(TierGroup::kTensorUpdateRatio, UpdateRatio(tensor), false);
}

template <typename Visit>
void VisitLayer(const v1::LayerStats& layer, size_t series, const Visit& visit) {
  const bool bad = layer.output_non_finite() > 0;
  const auto add = [&](TierGroup group, std::optional<double> value, bool has_non_finite = false) {
    visit(group, series, value, has_non_finite);
  };
  add(TierGroup::kLayerOutputMean, If(layer.has_output_mean(), layer.output_mean()), bad);
  add(TierGroup::kLayerOutputVariance, If(layer.has_output_variance(), layer.output_variance()), bad);
  add(TierGroup::kLayerSaturated, If(layer.has_saturated(), layer.saturated()));
  add(TierGroup::kLayerDead, If(layer.has_dead(), layer.dead()));
  add(TierGroup::kLayerBackwardNorm, If(layer.has_backward_norm(), layer.backward_norm()));
  add(TierGroup::kLayerBackwardGrowth, If(layer.has_backward_growth(), layer.backward_growth()));
  add(TierGroup::kLayerLargestLogit, If(layer.has_largest_logit(), layer.largest_logit()));
  add(TierGroup::kLayerAttentionEntropy, If(layer.has_attention_entropy(), layer.attention_entropy()));
}

template <typename Visit>
void VisitAll(const v1::StepReport& report, const Visit& visit) {
  VisitJob(report, visit);
  for (const v1::TensorStats& tensor : report.tensors()) VisitTensor(tensor, visit);
  for (int i = 0; i < report.layers_size(); ++i) VisitLayer(report.layers(i), static_cast<size_t>(i), visit);
}

// The fields of a bucket that are numbers of the group's kind, in the order in which they are stored.
struct NumberField {
  double Bucket::*field;
  Aggregate aggregate;
};
constexpr std::array kNumbers = {NumberField{&Bucket::min, Aggregate::kMin}, NumberField{&Bucket::max, Aggregate::kMax},
                                 NumberField{&Bucket::last, Aggregate::kLast},
                                 NumberField{&Bucket::sum, Aggregate::kSum}};
constexpr std::array<int64_t Bucket::*, 2> kCounts = {&Bucket::count, &Bucket::non_finite};

// What is wanted of a tier, as places in its columns.
struct ChosenCells {
  bool all = true;
  std::vector<uint32_t> places;  // in a column
  std::vector<uint32_t> cells;   // of each: its cell in the tier that comes back
};

ChosenCells Choose(const std::vector<uint32_t>& series, size_t stored_series, size_t buckets) {
  ChosenCells chosen{.all = false, .places = {}, .cells = {}};
  for (size_t i = 0; i < series.size() && series[i] < stored_series; ++i) {
    for (size_t bucket = 0; bucket < buckets; ++bucket) {
      chosen.places.push_back(static_cast<uint32_t>(series[i] * buckets + bucket));
      chosen.cells.push_back(static_cast<uint32_t>(i * buckets + bucket));
    }
  }
  return chosen;
}

// Calls `set(cell, bits)` for what is wanted of the next column.
template <typename Set>
absl::Status ReadCells(ColumnKind kind, size_t stored, const ChosenCells& chosen, absl::string_view* bytes, Set set) {
  if (chosen.all) {
    GW_ASSIGN_OR_RETURN(const std::vector<uint64_t> column, TakeColumn(kind, stored, bytes));
    for (size_t i = 0; i < column.size(); ++i) set(i, column[i]);
    return absl::OkStatus();
  }
  GW_ASSIGN_OR_RETURN(const std::vector<uint64_t> column, TakeChosen(kind, stored, chosen.places, bytes));
  for (size_t i = 0; i < column.size(); ++i) set(chosen.cells[i], column[i]);
  return absl::OkStatus();
}

}  // namespace

void VisitSeries(
    const v1::StepReport& report,
    absl::FunctionRef<void(TierGroup group, size_t series, std::optional<double> value, bool has_non_finite)> visit) {
  VisitAll(report, visit);
}

void Bucket::Add(std::optional<double> value, bool has_non_finite) {
  if (value.has_value()) last = *value;
  if (!value.has_value() && has_non_finite) last = std::numeric_limits<double>::quiet_NaN();
  const bool is_finite = value.has_value() && std::isfinite(*value);
  if (has_non_finite || (value.has_value() && !is_finite)) ++non_finite;
  if (!is_finite) return;
  min = count == 0 ? *value : std::min(min, *value);
  max = count == 0 ? *value : std::max(max, *value);
  sum += *value;
  ++count;
}

void Bucket::Merge(const Bucket& later) {
  if (!later.empty()) last = later.last;
  non_finite += later.non_finite;
  if (later.count == 0) return;
  min = count == 0 ? later.min : std::min(min, later.min);
  max = count == 0 ? later.max : std::max(max, later.max);
  sum += later.sum;
  count += later.count;
}

TierBuilder::TierBuilder(int64_t first_step) : first_step_(first_step) {}

void TierBuilder::AddTo(TierGroup group, size_t series, size_t bucket, std::optional<double> value,
                        bool has_non_finite) {
  auto& rows = groups_[static_cast<size_t>(group)];
  if (rows.size() <= series) rows.resize(series + 1);
  rows[series][bucket].Add(value, has_non_finite);
}

void TierBuilder::Add(const v1::StepReport& report) {
  const auto bucket = static_cast<size_t>((report.step() - first_step_) / kTierFactor);
  VisitAll(report, [&](TierGroup group, size_t series, std::optional<double> value, bool has_non_finite) {
    AddTo(group, series, bucket, value, has_non_finite);
  });
}

std::vector<Tier> TierBuilder::Tiers() const {
  std::vector<Tier> tiers;
  for (size_t group = 0; group < groups_.size(); ++group) {
    const auto& rows = groups_[group];
    const auto is_empty = [](const auto& row) {
      return std::all_of(row.begin(), row.end(), [](const Bucket& bucket) { return bucket.empty(); });
    };
    if (std::all_of(rows.begin(), rows.end(), is_empty)) continue;
    Tier& tier = tiers.emplace_back();
    tier.group = static_cast<TierGroup>(group);
    tier.series = rows.size();
    tier.buckets = kTierFactor;
    for (const auto& row : rows) tier.cells.insert(tier.cells.end(), row.begin(), row.end());
    RoundSums(&tier);
  }
  return tiers;
}

size_t TierBuilder::memory_bytes() const {
  size_t bytes = 0;
  for (const auto& rows : groups_) bytes += rows.capacity() * sizeof(rows[0]);
  return bytes;
}

Tier Coarser(const Tier& tier) {
  Tier coarser{.group = tier.group, .series = tier.series, .buckets = tier.buckets / kTierFactor, .cells = {}};
  coarser.cells.resize(coarser.series * coarser.buckets);
  // Whole runs of sixteen lie one after the other, within a series and from one to the next.
  for (size_t i = 0; i < coarser.cells.size(); ++i) {
    for (size_t j = 0; j < kTierFactor; ++j) coarser.cells[i].Merge(tier.cells[i * kTierFactor + j]);
  }
  RoundSums(&coarser);
  return coarser;
}

Tier Join(absl::Span<const Tier> tiers) {
  Tier joined;
  for (const Tier& tier : tiers) {
    joined.group = tier.group;
    joined.series = std::max(joined.series, tier.series);
    joined.buckets += tier.buckets;
  }
  joined.cells.resize(joined.series * joined.buckets);
  size_t offset = 0;
  for (const Tier& tier : tiers) {
    for (size_t i = 0; i < tier.series; ++i) {
      std::copy_n(tier.cells.begin() + static_cast<ptrdiff_t>(i * tier.buckets), tier.buckets,
                  joined.cells.begin() + static_cast<ptrdiff_t>(i * joined.buckets + offset));
    }
    offset += tier.buckets;
  }
  return joined;
}

std::string EncodeTier(const Tier& tier) {
  std::string bytes = {kVersion, static_cast<char>(tier.group)};
  AppendVarint(tier.series, &bytes);
  AppendVarint(tier.buckets, &bytes);
  std::vector<uint64_t> column(tier.cells.size());
  const auto append = [&](ColumnKind kind, auto bits_of) {
    for (size_t i = 0; i < column.size(); ++i) column[i] = bits_of(tier.cells[i]);
    AppendColumn(column, kind, 3, &bytes);
  };
  for (const auto count : kCounts) {
    append(ColumnKind::kInteger, [count](const Bucket& bucket) { return static_cast<uint64_t>(bucket.*count); });
  }
  const ColumnKind kind = KindOf(tier.group);
  for (const NumberField& number : kNumbers) {
    append(kind, [&number, kind](const Bucket& bucket) { return ToBits(bucket.*number.field, kind); });
  }
  const uint32_t checksum = Crc32(bytes);
  for (size_t i = 0; i < kChecksumBytes; ++i) bytes.push_back(static_cast<char>(checksum >> 8 * i));
  return bytes;
}

absl::StatusOr<Tier> DecodeTier(absl::string_view bytes, AggregateMask aggregates,
                                const std::vector<uint32_t>* series) {
  if (bytes.size() < 2 + kChecksumBytes || bytes[0] != kVersion) return BatchIsDamaged();
  absl::string_view content = bytes.substr(0, bytes.size() - kChecksumBytes);
  uint32_t checksum = 0;
  for (size_t i = 0; i < kChecksumBytes; ++i) {
    checksum |= uint32_t{static_cast<uint8_t>(bytes[content.size() + i])} << 8 * i;
  }
  const auto group = static_cast<uint8_t>(bytes[1]);
  if (checksum != Crc32(content) || group >= kTierGroups) return BatchIsDamaged();
  content.remove_prefix(2);
  uint64_t stored = 0, buckets = 0;
  if (!TakeVarint(&content, &stored) || !TakeVarint(&content, &buckets)) return BatchIsDamaged();
  if (stored > kMaxCells || buckets > kMaxCells || stored * buckets > kMaxCells) return BatchIsDamaged();
  const ChosenCells chosen = series == nullptr ? ChosenCells() : Choose(*series, stored, buckets);
  const size_t kept = series == nullptr ? stored : series->size();
  if (kept * buckets > kMaxCells) return BatchIsDamaged();
  Tier tier{.group = static_cast<TierGroup>(group), .series = kept, .buckets = buckets, .cells = {}};
  tier.cells.resize(kept * buckets);
  for (const auto count : kCounts) {
    const auto set = [&](size_t cell, uint64_t bits) { tier.cells[cell].*count = static_cast<int64_t>(bits); };
    GW_RETURN_IF_ERROR(ReadCells(ColumnKind::kInteger, stored * buckets, chosen, &content, set));
  }
  const ColumnKind kind = KindOf(tier.group);
  for (const NumberField& number : kNumbers) {
    if ((aggregates & MaskOf(number.aggregate)) == 0) {
      GW_RETURN_IF_ERROR(SkipColumn(&content));
      continue;
    }
    const auto set = [&](size_t cell, uint64_t bits) { tier.cells[cell].*number.field = ToDouble(bits, kind); };
    GW_RETURN_IF_ERROR(ReadCells(kind, stored * buckets, chosen, &content, set));
  }
  return content.empty() ? absl::StatusOr<Tier>(std::move(tier)) : BatchIsDamaged();
}

}  // namespace gradwatch::server
