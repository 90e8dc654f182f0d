#include "client/lib/utf8.h"

#include <gtest/gtest.h>

#include <string>

#include "core/base/utf8.h"

namespace gradwatch::client {
namespace {

// The client may not use core's reader, but must agree with it: on every text of up to three bytes out of those where
// the rules change, and on texts of four that start like four-byte forms.
TEST(Utf8Test, AgreesWithCore) {
  const std::string bytes =
      "a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xff";
  const auto check = [](const std::string& text) {
    EXPECT_EQ(ValidUtf8Prefix(text) == text.size(), core::CountCodePoints(text) != core::kInvalidUtf8)
        << ::testing::PrintToString(text);
  };
  for (const char a : bytes) {
    check({a});
    for (const char b : bytes) {
      check({a, b});
      for (const char c : bytes) {
        check({a, b, c});
        for (const char d : bytes) check({a, b, c, d});
      }
    }
  }
}

TEST(Utf8Test, TellsWhereItGoesWrong) {
  EXPECT_EQ(ValidUtf8Prefix(""), 0u);
  EXPECT_EQ(ValidUtf8Prefix("abc"), 3u);
  EXPECT_EQ(ValidUtf8Prefix("ab\xffz"), 2u);
  EXPECT_EQ(ValidUtf8Prefix("\xc3\xa9\xc3"), 2u);
}

}  // namespace
}  // namespace gradwatch::client
