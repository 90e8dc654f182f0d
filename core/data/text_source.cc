#include "core/data/text_source.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "core/data/data_root.h"
#include "core/data/example_source.h"
#include "core/data/gzip.h"
#include "core/data/text_tokens.h"

namespace gradwatch::core {
namespace {

DataShape TextShape(int64_t sequence_length, int64_t vocabulary) {
  DataShape shape;
  shape.input = {.steps = sequence_length, .features = vocabulary};
  shape.tokens = true;
  shape.outputs = vocabulary;
  shape.target_per_step = true;
  return shape;
}

// What was taken for granted: that a carriage return is a character as any other.
std::string NoteOf(const TokenizedText& text) {
  if (2 * text.carriage_returns <= text.lines) return "";
  return absl::StrCat(text.carriage_returns == text.lines ? "lines" : "most lines",
                      " end with CR LF; CR is one of its ", text.vocabulary, " characters");
}

class TextSource final : public ExampleSource {
 public:
  TextSource(TokenizedText text, int64_t sequence_length, int64_t batch_size, int64_t held_out, uint64_t seed)
      : ExampleSource(TextShape(sequence_length, text.vocabulary), batch_size),
        note_(NoteOf(text)),
        tokens_(std::move(text.tokens)),
        length_(text.length),
        sequence_length_(sequence_length),
        examples_(length_ - (held_out + 1) * sequence_length),
        seed_(seed) {}

  // The windows, which overlap.
  int64_t examples() const override { return examples_; }
  // Nobody walks through them, so their number is not told.
  v1::DataSummary Summary() const override {
    v1::DataSummary summary;
    summary.set_note(note_);
    return summary;
  }

 protected:
  bool has_epochs() const override { return false; }

  void FillExample(int64_t place, int64_t slot, BatchBuffer& buffer) override {
    Random random(seed_, RandomStream::kBatches, static_cast<uint64_t>(place));
    Read(static_cast<int64_t>(random.NextBelow(examples_)), slot, buffer);
  }

  // These windows do not overlap, and none of the characters that they predict was one to be predicted in training.
  void FillHeldOutExample(int64_t index, int64_t slot, BatchBuffer& buffer) override {
    Read(examples_ - 1 + (index + 1) * sequence_length_, slot, buffer);
  }

  int64_t held_bytes() const override { return TextBytes(length_); }

 private:
  void Read(int64_t first, int64_t slot, BatchBuffer& buffer) const {
    const uint16_t* const window = tokens_.data() + first;
    for (int64_t step = 0; step < sequence_length_; ++step) {
      buffer.Token(step, slot) = window[step];
      buffer.Class(step, slot) = window[step + 1];
    }
  }

  const std::string note_;
  const std::vector<uint16_t> tokens_;
  const int64_t length_;
  const int64_t sequence_length_;
  const int64_t examples_;
  const uint64_t seed_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> OpenText(const v1::TextData& spec, int64_t batch_size, int64_t held_out,
                                                     uint64_t seed, const DataReading& reading) {
  FieldErrors errors;
  if (spec.path().empty()) errors.Add("path", "required");
  CheckIntegerRange(errors, "sequence_length", spec.sequence_length(), 1, 65'536);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  GW_ASSIGN_OR_RETURN(std::unique_ptr<DataFile> file, OpenDataFile("path", spec.path(), *reading.roots));
  const int64_t file_bytes = file->size();
  absl::StatusOr<Unpacked> content = UnpackIfGzip(std::move(file), kMaxDataFileBytes);
  if (!content.ok()) return InDataFile("path", spec.path(), content.status());
  // A character has four bytes at most; what a gzipped file holds is only known when it is read.
  if (!content->packed) GW_RETURN_IF_ERROR(CheckDataBytes("path", spec.path(), TextBytes(file_bytes / 4), reading));
  GW_ASSIGN_OR_RETURN(TokenizedText text, ReadText(spec.path(), reading, *content->source));
  if (text.length <= spec.sequence_length()) {
    return InvalidField("sequence_length", absl::StrCat("must be below the length of the text, ", text.length,
                                                        " characters; got ", spec.sequence_length()));
  }
  GW_RETURN_IF_ERROR(CheckHeldOut(held_out, (text.length - 1) / spec.sequence_length()));
  return std::make_unique<TextSource>(std::move(text), spec.sequence_length(), batch_size, held_out, seed);
}

}  // namespace gradwatch::core
