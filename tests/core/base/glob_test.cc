#include "core/base/glob.h"

#include <gtest/gtest.h>

#include <string>

namespace gradwatch::core {
namespace {

TEST(GlobTest, Matches) {
  const struct {
    const char* pattern;
    const char* text;
    bool matches;
  } cases[] = {
      {"", "", true},
      {"", "a", false},
      {"*", "", true},
      {"*", "anything", true},
      {"rnn0.*", "rnn0.bias", true},
      {"rnn0.*", "rnn01.bias", false},
      {"*.weight", "dense1.weight", true},
      {"*.weight", "dense1.weight_hh", false},
      {"a?c", "abc", true},
      {"a?c", "ac", false},
      {"*a*b*", "xxaxxbxx", true},
      {"*a*b", "ab ab a", false},
      {"a.c", "abc", false},
      {"[ab]", "a", false},
  };
  for (const auto& c : cases) EXPECT_EQ(GlobMatches(c.pattern, c.text), c.matches) << c.pattern << " on " << c.text;
}

TEST(GlobTest, ManyStarsTakeNoExponentialTime) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "*a";
  EXPECT_FALSE(GlobMatches(pattern + "b", std::string(10000, 'a')));
}

}  // namespace
}  // namespace gradwatch::core
