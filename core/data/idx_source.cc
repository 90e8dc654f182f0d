#include "core/data/idx_source.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/status_macros.h"
#include "core/data/data_root.h"
#include "core/data/example_order.h"
#include "core/data/example_source.h"
#include "core/data/idx_file.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kMinClasses = 2, kMaxClasses = 65'536;

absl::StatusOr<IdxFile> OpenIdxFile(absl::string_view field, const std::string& path, const DataRoots& roots) {
  GW_ASSIGN_OR_RETURN(std::unique_ptr<DataFile> file, OpenDataFile(field, path, roots));
  const int64_t bytes = file->size();
  absl::StatusOr<IdxFile> idx = IdxFile::Open(std::move(file), bytes, kMaxDataFileBytes);
  if (!idx.ok()) return InDataFile(field, path, idx.status());
  return idx;
}

// The examples of a file that a job uses.
struct ExampleRange {
  int64_t first = 0, count = 0;

  int64_t end() const { return first + count; }
};

// Images as they lie in the file; they are converted when they are read, since bytes take a quarter of floats.
struct Images {
  IdxHeader header;
  int64_t count = 0;
  std::string elements{};  // none if they are only checked

  int64_t bytes() const { return count * header.example_bytes(); }
  void Read(int64_t index, std::span<float> out) const {
    ReadIdxElements(header.type, elements.data() + index * header.example_bytes(), out);
  }
};

// The labels of all examples and the number of classes.
struct Labels {
  int64_t count = 0;
  int64_t class_count = 0;
  std::string note{};              // how the classes were counted; empty if that was said
  std::vector<int32_t> classes{};  // none if they are only checked
};

// Vectors, or images with or without channels.
DataShape IdxShape(const IdxHeader& images, int64_t classes) {
  const auto& dimensions = images.dimensions;
  DataShape shape;
  shape.input.features = images.example_size;
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
  IdxSource(Images images, Labels labels, int64_t batch_size, int64_t held_out, uint64_t seed)
      : ExampleSource(IdxShape(images.header, labels.class_count), batch_size),
        images_(std::move(images)),
        labels_(std::move(labels.classes)),
        note_(std::move(labels.note)),
        examples_(images_.count - held_out),
        order_(examples_, seed) {}

  int64_t examples() const override { return examples_; }
  v1::DataSummary Summary() const override {
    v1::DataSummary summary;
    summary.set_examples(examples_);
    summary.set_note(note_);
    return summary;
  }

 protected:
  void FillExample(int64_t place, int64_t slot, BatchBuffer& buffer) override { Read(order_.At(place), slot, buffer); }

  void FillHeldOutExample(int64_t index, int64_t slot, BatchBuffer& buffer) override {
    Read(examples_ + index, slot, buffer);
  }

  int64_t held_bytes() const override {
    return images_.bytes() + images_.count * static_cast<int64_t>(sizeof(labels_[0]));
  }

 private:
  void Read(int64_t example, int64_t slot, BatchBuffer& buffer) const {
    const std::span<float> row(buffer.FeatureRow(0, slot), images_.header.example_size);
    images_.Read(example, row);
    if (images_.header.type == IdxType::kUnsignedByte) {
      for (float& value : row) value /= 255;
    }
    buffer.Class(0, slot) = labels_[example];
  }

  const Images images_;
  const std::vector<int32_t> labels_;
  const std::string note_;
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

// What the headers alone can tell: the range that `spec` asks for, if the files have it.
absl::StatusOr<ExampleRange> FindRange(const v1::IdxData& spec, const IdxHeader& images, const IdxHeader& labels) {
  const bool integers = labels.type != IdxType::kFloat && labels.type != IdxType::kDouble;
  if (!integers || labels.dimensions.size() != 1) {
    return InvalidField("labels", absl::StrCat(spec.labels(), ": labels must be one integer an example"));
  }
  const int64_t available = images.examples();
  if (available != labels.examples()) {
    return InvalidField("labels", absl::StrCat(labels.examples(), " labels for ", available, " examples"));
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
  return ExampleRange{.first = spec.first(), .count = count};
}

std::string ClassesNote(int64_t largest, int64_t example) {
  return absl::StrCat("classes are ",
                      largest + 1 < kMinClasses ? "the fewest that there may be, 2, for" : "one more than",
                      " the largest label, ", largest, " (example ", example, "); idx.classes says how many there are");
}

// Every label of the file must be a class, also outside of the range.
absl::StatusOr<Labels> ReadLabels(const v1::IdxData& spec, const ExampleRange& range, bool keep, IdxFile& file) {
  Labels labels{.count = range.count};
  if (keep) labels.classes.reserve(range.count);
  const int64_t limit = spec.has_classes() ? spec.classes() : kMaxClasses;
  int64_t largest = -1, largest_at = 0;
  const auto visit = [&](int64_t first, absl::string_view elements) {
    const int64_t size = file.header().example_bytes();
    for (int64_t i = first; !elements.empty(); ++i, elements.remove_prefix(size)) {
      const int64_t label = ReadIdxInteger(file.header().type, elements.data());
      if (label < 0 || label >= limit) {
        return absl::InvalidArgumentError(
            absl::StrCat("label ", label, " of example ", i, " is not in 0 to ", limit - 1));
      }
      if (keep && i >= range.first && i < range.end()) labels.classes.push_back(static_cast<int32_t>(label));
      if (label > largest) largest_at = i;
      largest = std::max(largest, label);
    }
    return absl::OkStatus();
  };
  if (const absl::Status status = file.ForEachBlock(visit); !status.ok()) {
    return InDataFile("labels", spec.labels(), status);
  }
  labels.class_count = spec.has_classes() ? limit : std::max(kMinClasses, largest + 1);
  if (!spec.has_classes()) labels.note = ClassesNote(largest, largest_at);
  return labels;
}

absl::Status CheckFinite(const IdxHeader& header, const ExampleRange& range, int64_t first,
                         absl::string_view elements) {
  if (header.type != IdxType::kFloat && header.type != IdxType::kDouble) return absl::OkStatus();
  const int64_t size = IdxElementBytes(header.type);
  for (int64_t i = first; !elements.empty(); ++i, elements.remove_prefix(size)) {
    float value = 0;
    ReadIdxElements(header.type, elements.data(), {&value, 1});
    const int64_t example = i / header.example_size;
    if (std::isfinite(value) || example < range.first || example >= range.end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("element ", i % header.example_size, " of example ", example, " is not a finite float"));
  }
  return absl::OkStatus();
}

// The part of a block that lies in the range, byte by byte.
absl::string_view Within(const ExampleRange& range, const IdxHeader& header, int64_t first,
                         absl::string_view elements) {
  const int64_t start = first * IdxElementBytes(header.type);
  const auto size = static_cast<int64_t>(elements.size());
  const int64_t from = std::clamp<int64_t>(range.first * header.example_bytes() - start, 0, size);
  const int64_t to = std::clamp<int64_t>(range.end() * header.example_bytes() - start, from, size);
  return elements.substr(from, to - from);
}

absl::StatusOr<Images> ReadImages(const v1::IdxData& spec, const ExampleRange& range, bool keep, IdxFile& file) {
  Images images{.header = file.header(), .count = range.count};
  if (keep) images.elements.reserve(images.bytes());
  const absl::Status status = file.ForEachBlock([&](int64_t first, absl::string_view elements) {
    if (first == 0 && LooksLittleEndian(images.header.type, elements)) {
      return absl::InvalidArgumentError("looks like little-endian numbers; IDX is big-endian");
    }
    GW_RETURN_IF_ERROR(CheckFinite(images.header, range, first, elements));
    if (keep) absl::StrAppend(&images.elements, Within(range, images.header, first, elements));
    return absl::OkStatus();
  });
  if (!status.ok()) return InDataFile("images", spec.images(), status);
  return images;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> OpenIdx(const v1::IdxData& spec, int64_t batch_size, int64_t held_out,
                                                    uint64_t seed, const DataReading& reading) {
  GW_RETURN_IF_ERROR(CheckFields(spec));
  GW_ASSIGN_OR_RETURN(IdxFile image_file, OpenIdxFile("images", spec.images(), *reading.roots));
  GW_ASSIGN_OR_RETURN(IdxFile label_file, OpenIdxFile("labels", spec.labels(), *reading.roots));
  GW_ASSIGN_OR_RETURN(const ExampleRange range, FindRange(spec, image_file.header(), label_file.header()));
  GW_RETURN_IF_ERROR(CheckHeldOut(held_out, range.count));
  const int64_t bytes = range.count * (image_file.header().example_bytes() + static_cast<int64_t>(sizeof(int32_t)));
  GW_RETURN_IF_ERROR(CheckDataBytes("images", spec.images(), bytes, reading));
  GW_ASSIGN_OR_RETURN(Images images, ReadImages(spec, range, reading.keep, image_file));
  GW_ASSIGN_OR_RETURN(Labels labels, ReadLabels(spec, range, reading.keep, label_file));
  return std::make_unique<IdxSource>(std::move(images), std::move(labels), batch_size, held_out, seed);
}

}  // namespace gradwatch::core
