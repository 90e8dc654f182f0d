#include "client/lib/printable.h"

#include <gtest/gtest.h>

#include "client/lib/spec_writer.h"

namespace gradwatch::client {
namespace {

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

TEST(PrintableTest, LinesStayIfWanted) { EXPECT_EQ(PrintableLines("a\nb\x1b\n"), "a\nb\\x1b\n"); }

TEST(JsonStringTest, EscapesTheSameCharacters) {
  EXPECT_EQ(JsonString("\"\\\n\t\x1b\x7f"), R"("\"\\\n\t\u001b\u007f")");
  EXPECT_EQ(JsonString("\xc2\x9b\xe2\x80\xae \xc3\xa4"), "\"\\u009b\\u202e \xc3\xa4\"");
  EXPECT_EQ(JsonString("a\xff"
                       "b"),
            "\"a\\ufffdb\"")
      << "JSON is UTF-8";
}

}  // namespace
}  // namespace gradwatch::client
