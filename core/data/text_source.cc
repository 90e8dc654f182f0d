#include "core/data/text_source.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/error.h"
#include "core/base/field_range.h"
#include "core/base/random.h"
#include "core/base/status_macros.h"
#include "core/base/utf8.h"
#include "core/data/data_root.h"
#include "core/data/example_source.h"
#include "core/data/gzip.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kMaxVocabulary = 65'536;  // so that a token fits into 16 bits
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// A text as tokens; only their count if they are checked and not kept.
struct TokenizedText {
  int64_t length = 0;
  int64_t vocabulary = 0;
  std::vector<uint16_t> tokens{};
};

int64_t BytesOf(int64_t characters) { return characters * static_cast<int64_t>(sizeof(uint16_t)); }

// What is wrong with the bytes from `position` on.
absl::Status NotUtf8(absl::string_view rest, int64_t position) {
  if (position == 0 && (absl::StartsWith(rest, "\xff\xfe") || absl::StartsWith(rest, "\xfe\xff"))) {
    return absl::InvalidArgumentError("is UTF-16; must be UTF-8");
  }
  return absl::InvalidArgumentError(absl::StrCat("not UTF-8 at byte ", position));
}

// Calls `visit` with the characters of a text, a byte order mark at its start left out, until there are more than
// `limit`. Returns how many there were. INVALID_ARGUMENT: not UTF-8, NUL bytes, or it cannot be read.
absl::StatusOr<int64_t> ForEachCharacter(ByteSource& file, int64_t limit, absl::FunctionRef<void(int32_t)> visit) {
  constexpr int32_t kByteOrderMark = 0xfeff;
  constexpr size_t kLongest = 4;  // bytes of a character
  std::string block(kReadBlock, '\0');
  int64_t characters = 0, position = 0;
  size_t kept = 0;  // bytes of a character whose end is in the next block
  for (;;) {
    GW_ASSIGN_OR_RETURN(const int64_t count, file.Read(block.data() + kept, static_cast<int64_t>(block.size() - kept)));
    absl::string_view rest(block.data(), kept + count);
    while (!rest.empty() && (rest.size() >= kLongest || count == 0)) {
      const size_t before = rest.size();
      const int32_t code_point = TakeCodePoint(&rest);
      if (code_point == kInvalidUtf8) return NotUtf8(rest, position);
      if (code_point == 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("byte ", position, " is NUL, so this is not UTF-8 text; perhaps it is UTF-16"));
      }
      const bool is_mark = position == 0 && code_point == kByteOrderMark;
      position += static_cast<int64_t>(before - rest.size());
      if (is_mark) continue;
      visit(code_point);
      ++characters;
    }
    if (count == 0 || characters > limit) return characters;
    kept = rest.size();
    std::copy(rest.begin(), rest.end(), block.begin());
  }
}

// By code point: 1 where it is present, as long as needed.
struct Presence {
  int64_t characters = 0;
  std::vector<int32_t> ids;
};

absl::StatusOr<Presence> ScanText(ByteSource& file, int64_t limit) {
  Presence presence;
  GW_ASSIGN_OR_RETURN(presence.characters, ForEachCharacter(file, limit, [&](int32_t code_point) {
                        if (code_point >= static_cast<int32_t>(presence.ids.size())) {
                          presence.ids.resize(code_point + 1, 0);
                        }
                        presence.ids[code_point] = 1;
                      }));
  return presence;
}

// The vocabulary of a text that was scanned whole; its ids become positions among the sorted distinct characters.
absl::StatusOr<int64_t> NumberCharacters(Presence* presence) {
  int64_t vocabulary = 0;
  for (int32_t& id : presence->ids) {
    if (id != 0) id = static_cast<int32_t>(vocabulary++);
  }
  if (vocabulary >= 2 && vocabulary <= kMaxVocabulary) return vocabulary;
  return absl::InvalidArgumentError(
      absl::StrCat(vocabulary, " different characters; must be from 2 to ", kMaxVocabulary));
}

absl::StatusOr<std::vector<uint16_t>> Tokenize(ByteSource& file, const Presence& presence) {
  std::vector<uint16_t> tokens;
  tokens.reserve(presence.characters);
  GW_RETURN_IF_ERROR(file.Rewind());
  // A file that changes in between is told at its end; until then nothing may be asked for that is not there.
  const auto take = [&](int32_t code_point) {
    if (static_cast<int64_t>(tokens.size()) == presence.characters) return;
    const bool known = code_point < static_cast<int32_t>(presence.ids.size());
    tokens.push_back(known ? static_cast<uint16_t>(presence.ids[code_point]) : 0);
  };
  GW_RETURN_IF_ERROR(ForEachCharacter(file, kNoLimit, take).status());
  return tokens;
}

// As much of the text as the limit of memory allows is read before that is refused.
absl::StatusOr<TokenizedText> ReadText(const std::string& path, const DataReading& reading, ByteSource& file) {
  absl::StatusOr<Presence> presence = ScanText(file, reading.max_bytes / BytesOf(1));
  if (!presence.ok()) return InDataFile("path", path, presence.status());
  GW_RETURN_IF_ERROR(CheckDataBytes("path", path, BytesOf(presence->characters), reading));
  TokenizedText text{.length = presence->characters};
  absl::StatusOr<int64_t> vocabulary = NumberCharacters(&*presence);
  if (!vocabulary.ok()) return InDataFile("path", path, vocabulary.status());
  text.vocabulary = *vocabulary;
  if (!reading.keep) return text;
  absl::StatusOr<std::vector<uint16_t>> tokens = Tokenize(file, *presence);
  if (!tokens.ok()) return InDataFile("path", path, tokens.status());
  text.tokens = *std::move(tokens);
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
        length_(text.length),
        sequence_length_(sequence_length),
        examples_(length_ - (held_out + 1) * sequence_length),
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

  int64_t held_bytes() const override { return BytesOf(length_); }

 private:
  void Read(int64_t first, int64_t slot, BatchBuffer& buffer) const {
    const uint16_t* const window = tokens_.data() + first;
    for (int64_t step = 0; step < sequence_length_; ++step) {
      buffer.Token(step, slot) = window[step];
      buffer.Class(step, slot) = window[step + 1];
    }
  }

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
  if (!content->packed) GW_RETURN_IF_ERROR(CheckDataBytes("path", spec.path(), BytesOf(file_bytes / 4), reading));
  GW_ASSIGN_OR_RETURN(TokenizedText text, ReadText(spec.path(), reading, *content->source));
  if (text.length <= spec.sequence_length()) {
    return InvalidField("sequence_length", absl::StrCat("must be below the length of the text, ", text.length,
                                                        " characters; got ", spec.sequence_length()));
  }
  GW_RETURN_IF_ERROR(CheckHeldOut(held_out, (text.length - 1) / spec.sequence_length()));
  return std::make_unique<TextSource>(std::move(text), spec.sequence_length(), batch_size, held_out, seed);
}

}  // namespace gradwatch::core
