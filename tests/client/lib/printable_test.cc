#include "client/lib/printable.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "client/lib/spec_writer.h"
#include "core/base/utf8.h"

namespace gradwatch::client {
namespace {

std::string Utf8(char32_t code_point) {
  const auto continued = [code_point](int shift) { return static_cast<char>(0x80 | (code_point >> shift & 0x3f)); };
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  if (code_point < 0x800) return {static_cast<char>(0xc0 | code_point >> 6), continued(0)};
  if (code_point < 0x10000) return {static_cast<char>(0xe0 | code_point >> 12), continued(6), continued(0)};
  return {static_cast<char>(0xf0 | code_point >> 18), continued(12), continued(6), continued(0)};
}

TEST(PrintableTest, ControlCharactersNeverReachATerminal) {
  EXPECT_EQ(Printable("plain \xc3\xa4 \xe2\xa1\x87 \xf0\x9f\x98\x80"), "plain \xc3\xa4 \xe2\xa1\x87 \xf0\x9f\x98\x80");
  EXPECT_EQ(Printable("a\nb\x1b[31m\x7f\t\r"), "a\\nb\\x1b[31m\\x7f\\t\\x0d");
  EXPECT_EQ(Printable(absl::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\x9b") << "control characters of Unicode, too";
}

TEST(PrintableTest, NeitherDoMarksThatTurnTheDirection) {
  EXPECT_EQ(Printable("a\xe2\x80\xae"
                      "b"),
            "a\\u202eb");
  EXPECT_EQ(Printable("\xe2\x81\xa6\xe2\x81\xa9\xd8\x9c\xe2\x80\x8f"), "\\u2066\\u2069\\u061c\\u200f");
  EXPECT_EQ(Printable("\xe2\x80\xa8"), "\\u2028") << "a line separator";
}

TEST(PrintableTest, NeitherDoBytesThatAreNotUtf8) {
  EXPECT_EQ(Printable("\x9b"
                      "2J"),
            "\\x9b2J")
      << "a control character to terminals that are set to Latin-1";
  EXPECT_EQ(Printable("\xe2\x80"), "\\xe2\\x80");
}

// Names that differ in such characters only would look the same.
TEST(PrintableTest, NeitherDoesWhatCannotBeSeen) {
  EXPECT_EQ(Printable("\xef\xbb\xbfx\xc2\xa0y\xe2\x80\x8bz"), "\\ufeffx\\xa0y\\u200bz");
  EXPECT_EQ(Printable("\xef\xb8\x8f\xf3\xa0\x80\x81"), "\\ufe0f\\U000e0001");
}

// The client may not use core's, but must show every character alike.
TEST(PrintableTest, AgreesWithCore) {
  for (char32_t code_point = 0; code_point < 0x110000; ++code_point) {
    if ((code_point >= 0xd800 && code_point < 0xe000) || code_point == '\n' || code_point == '\t') continue;
    const std::string text = Utf8(code_point);
    ASSERT_EQ(Printable(text), core::Printable(text)) << std::hex << static_cast<uint32_t>(code_point);
  }
  for (int byte = 0x80; byte < 0x100; ++byte) {
    const std::string text(1, static_cast<char>(byte));
    EXPECT_EQ(Printable(text), core::Printable(text)) << byte;
  }
}

TEST(PrintableTest, LinesStayIfWanted) { EXPECT_EQ(PrintableLines("a\nb\x1b\n"), "a\nb\\x1b\n"); }

TEST(JsonStringTest, EscapesTheSameCharacters) {
  EXPECT_EQ(JsonString("\"\\\n\t\x1b\x7f"), R"("\"\\\n\t\u001b\u007f")");
  EXPECT_EQ(JsonString("\xc2\x9b\xe2\x80\xae \xc3\xa4"), "\"\\u009b\\u202e \xc3\xa4\"");
  EXPECT_EQ(JsonString("\xef\xbb\xbf\xc2\xa0"), R"("\ufeff\u00a0")");
  EXPECT_EQ(JsonString("\xf3\xa0\x80\x81"), "\"\xf3\xa0\x80\x81\"") << "neither JSON nor YAML has an escape for both";
  EXPECT_EQ(JsonString("a\xff"
                       "b"),
            "\"a\\ufffdb\"")
      << "JSON is UTF-8";
}

}  // namespace
}  // namespace gradwatch::client
