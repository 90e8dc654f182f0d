#include "core/base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace gradwatch::core {
namespace {

TEST(Utf8Test, TakesCodePointsOfEveryLength) {
  absl::string_view text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf";
  for (const int32_t expected : {0x61, 0xe9, 0x20ac, 0x1f600, 0x10ffff}) EXPECT_EQ(TakeCodePoint(&text), expected);
  EXPECT_TRUE(text.empty());
}

TEST(Utf8Test, RefusesWhatTheStandardDoesNotAllow) {
  const char* const cases[] = {
      "\x80",              // stray continuation
      "\xc3",              // cut short
      "\xc3(",             // no continuation
      "\xc0\x80",          // overlong NUL
      "\xe0\x80\x80",      // overlong
      "\xf0\x80\x80\x80",  // overlong
      "\xed\xa0\x80",      // surrogate
      "\xf4\x90\x80\x80",  // above U+10FFFF
      "\xf8\x88\x80\x80",  // five bytes
      "\xff",
  };
  for (const char* const text : cases) {
    absl::string_view rest = text;
    EXPECT_EQ(TakeCodePoint(&rest), kInvalidUtf8) << text;
    EXPECT_EQ(rest, text) << "must be left as it is";
    EXPECT_EQ(CountCodePoints(std::string("abc") + text), kInvalidUtf8);
  }
}

TEST(Utf8Test, ShowsNothingThatCouldSteerATerminal) {
  const struct {
    absl::string_view text, shown;
  } cases[] = {
      {"plain, h\xc3\xa9 \xf0\x9f\x98\x80", "plain, h\xc3\xa9 \xf0\x9f\x98\x80"},
      {"\x1b[31mred\r\n\t", "\\x1b[31mred\\x0d\\x0a\\x09"},
      {absl::string_view("a\0b\x7f", 4), "a\\x00b\\x7f"},
      {"\xc2\x9b"
       "31m",
       "\\x9b31m"},                // C1
      {"\xff\xc3", "\\xff\\xc3"},  // no UTF-8
      {"a\xe2\x80\xae"
       "b\xe2\x81\xa6",
       "a\\u202eb\\u2066"},                                               // turns the direction
      {"\xe2\x80\xa8", "\\u2028"},                                        // ends a line
      {"\xef\xbb\xbfx\xc2\xa0y\xe2\x80\x8bz", "\\ufeffx\\xa0y\\u200bz"},  // cannot be seen
      {"\xc2\xad\xe2\x80\x8d\xe2\x81\xa0\xe3\x80\x80\xe3\x85\xa4", "\\xad\\u200d\\u2060\\u3000\\u3164"},
      {"\xef\xb8\x8f\xf3\xa0\x80\x81", "\\ufe0f\\U000e0001"},
      {"\xef\xbf\xbd\xe2\xa0\x80\xe6\x97\xa5\xd9\x85", "\xef\xbf\xbd\xe2\xa0\x80\xe6\x97\xa5\xd9\x85"},  // can
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Printable(c.text), c.shown);
    EXPECT_EQ(Printable(c.shown), c.shown) << "stays as it is";
  }
}

TEST(Utf8Test, KnowsOtherEncodingsByTheirMarks) {
  EXPECT_EQ(EncodingOfMark("\xff\xfe"), "UTF-16");
  EXPECT_EQ(EncodingOfMark(absl::string_view("\xff\xfe\0x", 4)), "UTF-16");
  EXPECT_EQ(EncodingOfMark("\xfe\xff"), "UTF-16");
  EXPECT_EQ(EncodingOfMark(absl::string_view("\xff\xfe\0\0", 4)), "UTF-32");
  EXPECT_EQ(EncodingOfMark(absl::string_view("\0\0\xfe\xff", 4)), "UTF-32");
  for (const char* const text : {"", "x", "\xff", "\xef\xbb\xbf"}) EXPECT_EQ(EncodingOfMark(text), "") << text;
}

TEST(Utf8Test, Counts) {
  EXPECT_EQ(CountCodePoints(""), 0);
  EXPECT_EQ(CountCodePoints("h\xc3\xa9!"), 3);
}

}  // namespace
}  // namespace gradwatch::core
