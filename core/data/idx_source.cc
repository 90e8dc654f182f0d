#include "core/data/idx_source.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/status_macros.h"
#include "core/data/data_file.h"
#include "core/data/example_order.h"
#include "core/data/example_source.h"
#include "core/data/idx_file.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kMinClasses = 2, kMaxClasses = 65'536;

absl::StatusOr<IdxFile> ReadIdx(absl::string_view field, const std::string& path, const DataRoots& roots) {
  GW_ASSIGN_OR_RETURN(std::string content, ReadDataFile(field, path, roots));
  absl::StatusOr<IdxFile> file = IdxFile::Parse(std::move(content), kMaxDataFileBytes);
  if (!file.ok()) return InDataFile(field, path, file.status());
  return file;
}

// The labels of all examples and the number of classes.
struct Labels {
  std::vector<int32_t> classes;
  int64_t class_count = 0;
};

absl::StatusOr<Labels> ReadLabels(const v1::IdxData& spec, const DataRoots& roots) {
  GW_ASSIGN_OR_RETURN(const IdxFile file, ReadIdx("labels", spec.labels(), roots));
  const bool integers = file.type() != IdxType::kFloat && file.type() != IdxType::kDouble;
  if (!integers || file.dimensions().size() != 1) {
    return InvalidField("labels", absl::StrCat(spec.labels(), ": labels must be one integer an example"));
  }
  Labels labels;
  labels.classes.resize(file.dimensions()[0]);
  const int64_t limit = spec.has_classes() ? spec.classes() : kMaxClasses;
  int64_t largest = 0;
  for (size_t i = 0; i < labels.classes.size(); ++i) {
    float label = 0;  // exact up to 2^24, far above every limit
    file.Read(static_cast<int64_t>(i), {&label, 1});
    if (!(label >= 0 && label < static_cast<float>(limit))) {
      return InvalidField(
          "labels", absl::StrCat(spec.labels(), ": label ", label, " of example ", i, " is not in 0 to ", limit - 1));
    }
    labels.classes[i] = static_cast<int32_t>(label);
    largest = std::max<int64_t>(largest, labels.classes[i]);
  }
  labels.class_count = spec.has_classes() ? limit : std::max(kMinClasses, largest + 1);
  return labels;
}

// Vectors, or images with or without channels.
DataShape IdxShape(const IdxFile& images, int64_t classes) {
  const auto& dimensions = images.dimensions();
  DataShape shape;
  shape.input.features = images.example_size();
  if (dimensions.size() >= 3) {
    shape.input.channels = dimensions.size() == 4 ? dimensions[1] : 1;
    shape.input.height = dimensions[dimensions.size() - 2];
    shape.input.width = dimensions[dimensions.size() - 1];
  }
  shape.outputs = classes;
  return shape;
}

class IdxSource final : public ExampleSource {
 public:
  IdxSource(IdxFile images, Labels labels, int64_t batch_size, int64_t held_out, uint64_t seed)
      : ExampleSource(IdxShape(images, labels.class_count), batch_size),
        images_(std::move(images)),
        labels_(std::move(labels.classes)),
        examples_(static_cast<int64_t>(labels_.size()) - held_out),
        order_(examples_, seed) {}

  int64_t examples() const override { return examples_; }

 protected:
  void FillExample(int64_t place, int64_t slot, BatchBuffer& buffer) override { Read(order_.At(place), slot, buffer); }

  void FillHeldOutExample(int64_t index, int64_t slot, BatchBuffer& buffer) override {
    Read(examples_ + index, slot, buffer);
  }

  int64_t held_bytes() const override {
    return images_.bytes() + static_cast<int64_t>(labels_.size() * sizeof(labels_[0]));
  }

 private:
  void Read(int64_t example, int64_t slot, BatchBuffer& buffer) const {
    const std::span<float> row(buffer.FeatureRow(0, slot), images_.example_size());
    images_.Read(example, row);
    if (images_.type() == IdxType::kUnsignedByte) {
      for (float& value : row) value /= 255;
    }
    buffer.Class(0, slot) = labels_[example];
  }

  const IdxFile images_;
  const std::vector<int32_t> labels_;
  const int64_t examples_;  // those held out come after them
  ExampleOrder order_;
};

absl::Status CheckFields(const v1::IdxData& spec) {
  FieldErrors errors;
  if (spec.images().empty()) errors.Add("images", "required");
  if (spec.labels().empty()) errors.Add("labels", "required");
  if (spec.has_classes()) CheckIntegerRange(errors, "classes", spec.classes(), kMinClasses, kMaxClasses);
  if (spec.first() < 0) errors.Add("first", absl::StrCat("must be at least 0; got ", spec.first()));
  if (spec.has_count() && spec.count() < 1) {
    errors.Add("count", absl::StrCat("must be at least 1; got ", spec.count()));
  }
  return errors.ToStatus();
}

// Drops what is outside the range of examples that `spec` asks for.
absl::Status KeepRange(const v1::IdxData& spec, IdxFile* images, Labels* labels) {
  const int64_t available = images->dimensions()[0];
  if (available != static_cast<int64_t>(labels->classes.size())) {
    return InvalidField("labels", absl::StrCat(labels->classes.size(), " labels for ", available, " examples"));
  }
  if (spec.first() >= available) {
    return InvalidField("first",
                        absl::StrCat("must be below the number of examples, ", available, "; got ", spec.first()));
  }
  const int64_t rest = available - spec.first();
  const int64_t count = spec.has_count() ? spec.count() : rest;
  if (count > rest) {
    return InvalidField("count", absl::StrCat("must be at most ", rest, ", the examples from the first; got ", count));
  }
  images->Keep(spec.first(), count);
  labels->classes.erase(labels->classes.begin() + spec.first() + count, labels->classes.end());
  labels->classes.erase(labels->classes.begin(), labels->classes.begin() + spec.first());
  labels->classes.shrink_to_fit();
  return absl::OkStatus();
}

absl::Status CheckFinite(const v1::IdxData& spec, const IdxFile& images) {
  if (images.type() != IdxType::kFloat && images.type() != IdxType::kDouble) return absl::OkStatus();
  std::vector<float> row(images.example_size());
  for (int64_t i = 0; i < images.dimensions()[0]; ++i) {
    images.Read(i, row);
    const auto bad = std::find_if(row.begin(), row.end(), [](float value) { return !std::isfinite(value); });
    if (bad == row.end()) continue;
    return InvalidField("images", absl::StrCat(spec.images(), ": element ", bad - row.begin(), " of example ",
                                               spec.first() + i, " is not a finite float"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> OpenIdx(const v1::IdxData& spec, int64_t batch_size, int64_t held_out,
                                                    uint64_t seed, const DataRoots& roots) {
  GW_RETURN_IF_ERROR(CheckFields(spec));
  GW_ASSIGN_OR_RETURN(IdxFile images, ReadIdx("images", spec.images(), roots));
  GW_ASSIGN_OR_RETURN(Labels labels, ReadLabels(spec, roots));
  GW_RETURN_IF_ERROR(KeepRange(spec, &images, &labels));
  GW_RETURN_IF_ERROR(CheckFinite(spec, images));
  GW_RETURN_IF_ERROR(CheckHeldOut(held_out, images.dimensions()[0]));
  return std::make_unique<IdxSource>(std::move(images), std::move(labels), batch_size, held_out, seed);
}

}  // namespace gradwatch::core
