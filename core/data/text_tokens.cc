#include "core/data/text_tokens.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/status_macros.h"
#include "core/base/utf8.h"
#include "core/data/data_root.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kMaxVocabulary = 65'536;  // so that a token fits into 16 bits
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

absl::Status CheckMark(absl::string_view start) {
  const absl::string_view encoding = EncodingOfMark(start);
  if (encoding.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("is ", encoding, "; must be UTF-8"));
}

absl::Status NotUtf8(int64_t position) {
  return absl::InvalidArgumentError(absl::StrCat("not UTF-8 at byte ", position));
}

absl::Status HoldsNul(int64_t position) {
  return absl::InvalidArgumentError(
      absl::StrCat("byte ", position, " is NUL, so this is not UTF-8 text; perhaps it is UTF-16"));
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
      if (position == 0) GW_RETURN_IF_ERROR(CheckMark(rest));
      const size_t before = rest.size();
      const int32_t code_point = TakeCodePoint(&rest);
      if (code_point == kInvalidUtf8) return NotUtf8(position);
      if (code_point == 0) return HoldsNul(position);
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

constexpr int32_t kAbsent = -1;

// By code point, as long as needed.
struct Presence {
  int64_t characters = 0;
  int64_t lines = 0, carriage_returns = 0;  // as in TokenizedText
  std::vector<int32_t> ids;
};

absl::StatusOr<Presence> ScanText(ByteSource& file, int64_t limit) {
  Presence presence;
  int32_t last = 0;
  GW_ASSIGN_OR_RETURN(presence.characters, ForEachCharacter(file, limit, [&](int32_t code_point) {
                        if (code_point >= static_cast<int32_t>(presence.ids.size())) {
                          presence.ids.resize(code_point + 1, kAbsent);
                        }
                        presence.ids[code_point] = 0;
                        if (code_point == '\n') {
                          ++presence.lines;
                          presence.carriage_returns += last == '\r';
                        }
                        last = code_point;
                      }));
  return presence;
}

// The vocabulary of a text that was scanned whole; its ids become positions among the sorted distinct characters.
absl::StatusOr<int64_t> NumberCharacters(Presence* presence) {
  int64_t vocabulary = 0;
  for (int32_t& id : presence->ids) {
    if (id != kAbsent) id = static_cast<int32_t>(vocabulary++);
  }
  if (vocabulary >= 2 && vocabulary <= kMaxVocabulary) return vocabulary;
  return absl::InvalidArgumentError(
      absl::StrCat(vocabulary, " different characters; must be from 2 to ", kMaxVocabulary));
}

// The text once more, which must be what it was.
absl::StatusOr<std::vector<uint16_t>> Tokenize(ByteSource& file, const Presence& presence) {
  std::vector<uint16_t> tokens;
  tokens.reserve(presence.characters);
  GW_RETURN_IF_ERROR(file.Rewind());
  bool changed = false;
  const auto take = [&](int32_t code_point) {
    const bool known = code_point < static_cast<int32_t>(presence.ids.size()) && presence.ids[code_point] != kAbsent;
    changed = changed || !known || static_cast<int64_t>(tokens.size()) == presence.characters;
    if (!changed) tokens.push_back(static_cast<uint16_t>(presence.ids[code_point]));
  };
  // To the end, where the file itself may tell more exactly what happened.
  GW_RETURN_IF_ERROR(ForEachCharacter(file, kNoLimit, take).status());
  if (changed || static_cast<int64_t>(tokens.size()) != presence.characters) {
    return absl::InvalidArgumentError("changed while it was read");
  }
  return tokens;
}

}  // namespace

int64_t TextBytes(int64_t characters) { return characters * static_cast<int64_t>(sizeof(uint16_t)); }

absl::StatusOr<TokenizedText> ReadText(const std::string& path, const DataReading& reading, ByteSource& file) {
  absl::StatusOr<Presence> presence = ScanText(file, reading.max_bytes / TextBytes(1));
  if (!presence.ok()) return InDataFile("path", path, presence.status());
  GW_RETURN_IF_ERROR(CheckDataBytes("path", path, TextBytes(presence->characters), reading));
  TokenizedText text{
      .length = presence->characters, .lines = presence->lines, .carriage_returns = presence->carriage_returns};
  absl::StatusOr<int64_t> vocabulary = NumberCharacters(&*presence);
  if (!vocabulary.ok()) return InDataFile("path", path, vocabulary.status());
  text.vocabulary = *vocabulary;
  if (!reading.keep) return text;
  absl::StatusOr<std::vector<uint16_t>> tokens = Tokenize(file, *presence);
  if (!tokens.ok()) return InDataFile("path", path, tokens.status());
  text.tokens = *std::move(tokens);
  return text;
}

}  // namespace gradwatch::core
