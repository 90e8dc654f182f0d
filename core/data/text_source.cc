#include "core/data/text_source.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "core/base/utf8.h"
#include "core/data/data_file.h"
#include "core/data/example_source.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kMaxVocabulary = 65'536;  // so that a token fits into 16 bits

struct TokenizedText {
  std::vector<uint16_t> tokens;
  int64_t vocabulary = 0;
};

// Marks the code points of `content` in `ids` (1 where present, as long as needed) and returns how many characters
// there are.
absl::StatusOr<int64_t> ScanText(absl::string_view content, std::vector<int32_t>* ids) {
  int64_t characters = 0;
  for (absl::string_view rest = content; !rest.empty(); ++characters) {
    const int32_t code_point = TakeCodePoint(&rest);
    if (code_point == kInvalidUtf8) {
      return absl::InvalidArgumentError(absl::StrCat("not UTF-8 at byte ", content.size() - rest.size()));
    }
    if (code_point >= static_cast<int32_t>(ids->size())) ids->resize(code_point + 1, 0);
    (*ids)[code_point] = 1;
  }
  return characters;
}

// Tokens are positions among the sorted distinct characters.
absl::StatusOr<TokenizedText> Tokenize(absl::string_view content) {
  std::vector<int32_t> ids;  // by code point
  GW_ASSIGN_OR_RETURN(const int64_t characters, ScanText(content, &ids));
  TokenizedText text;
  for (int32_t& id : ids) {
    if (id != 0) id = static_cast<int32_t>(text.vocabulary++);
  }
  if (text.vocabulary < 2 || text.vocabulary > kMaxVocabulary) {
    return absl::InvalidArgumentError(
        absl::StrCat(text.vocabulary, " different characters; must be from 2 to ", kMaxVocabulary));
  }
  text.tokens.reserve(characters);
  while (!content.empty()) text.tokens.push_back(static_cast<uint16_t>(ids[TakeCodePoint(&content)]));
  return text;
}

DataShape TextShape(int64_t sequence_length, int64_t vocabulary) {
  DataShape shape;
  shape.input = {.steps = sequence_length, .features = vocabulary};
  shape.tokens = true;
  shape.outputs = vocabulary;
  shape.target_per_step = true;
  return shape;
}

class TextSource final : public ExampleSource {
 public:
  TextSource(TokenizedText text, int64_t sequence_length, int64_t batch_size, int64_t held_out, uint64_t seed)
      : ExampleSource(TextShape(sequence_length, text.vocabulary), batch_size),
        tokens_(std::move(text.tokens)),
        sequence_length_(sequence_length),
        examples_(static_cast<int64_t>(tokens_.size()) - (held_out + 1) * sequence_length),
        seed_(seed) {}

  // The windows, which overlap.
  int64_t examples() const override { return examples_; }

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

  int64_t held_bytes() const override { return static_cast<int64_t>(tokens_.size() * sizeof(tokens_[0])); }

 private:
  void Read(int64_t first, int64_t slot, BatchBuffer& buffer) const {
    const uint16_t* const window = tokens_.data() + first;
    for (int64_t step = 0; step < sequence_length_; ++step) {
      buffer.Token(step, slot) = window[step];
      buffer.Class(step, slot) = window[step + 1];
    }
  }

  const std::vector<uint16_t> tokens_;
  const int64_t sequence_length_;
  const int64_t examples_;
  const uint64_t seed_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> OpenText(const v1::TextData& spec, int64_t batch_size, int64_t held_out,
                                                     uint64_t seed, const DataRoots& roots) {
  FieldErrors errors;
  if (spec.path().empty()) errors.Add("path", "required");
  CheckIntegerRange(errors, "sequence_length", spec.sequence_length(), 1, 65'536);
  GW_RETURN_IF_ERROR(errors.ToStatus());
  GW_ASSIGN_OR_RETURN(const std::string content, ReadDataFile("path", spec.path(), roots));
  absl::StatusOr<TokenizedText> text = Tokenize(content);
  if (!text.ok()) return InDataFile("path", spec.path(), text.status());
  if (static_cast<int64_t>(text->tokens.size()) <= spec.sequence_length()) {
    return InvalidField("sequence_length", absl::StrCat("must be below the length of the text, ", text->tokens.size(),
                                                        " characters; got ", spec.sequence_length()));
  }
  GW_RETURN_IF_ERROR(CheckHeldOut(held_out, (static_cast<int64_t>(text->tokens.size()) - 1) / spec.sequence_length()));
  return std::make_unique<TextSource>(*std::move(text), spec.sequence_length(), batch_size, held_out, seed);
}

}  // namespace gradwatch::core
