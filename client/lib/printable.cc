#include "client/lib/printable.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/lib/utf8.h"

namespace gradwatch::client {
namespace {

void AppendEscape(char32_t code_point, std::string* text) {
  if (code_point == '\n' || code_point == '\t') {
    absl::StrAppend(text, code_point == '\n' ? "\\n" : "\\t");
  } else if (code_point < 0x100) {
    absl::StrAppendFormat(text, "\\x%02x", static_cast<uint32_t>(code_point));
  } else if (code_point < 0x10000) {
    absl::StrAppendFormat(text, "\\u%04x", static_cast<uint32_t>(code_point));
  } else {
    absl::StrAppendFormat(text, "\\U%08x", static_cast<uint32_t>(code_point));
  }
}

std::string Escape(absl::string_view text, bool keep_lines) {
  std::string printable;
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const char32_t code_point = length == 0 ? static_cast<uint8_t>(text[0]) : Utf8CodePoint(text.substr(0, length));
    if (length > 0 && (IsPrintable(code_point) || (keep_lines && code_point == '\n'))) {
      absl::StrAppend(&printable, text.substr(0, length));
    } else {
      AppendEscape(code_point, &printable);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return printable;
}

}  // namespace

std::string Printable(absl::string_view text) { return Escape(text, /*keep_lines=*/false); }

std::string PrintableLines(absl::string_view text) { return Escape(text, /*keep_lines=*/true); }

}  // namespace gradwatch::client
