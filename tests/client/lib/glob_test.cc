#include "client/lib/glob.h"

#include <gtest/gtest.h>

namespace gradwatch::client {
namespace {

TEST(GlobTest, StarsAndQuestionMarks) {
  for (const char* glob : {"rnn0.weight_hh", "*", "rnn*", "*hh", "rnn?.w*t_??", "r*n*0*", "**hh*"}) {
    EXPECT_TRUE(GlobMatches(glob, "rnn0.weight_hh")) << glob;
  }
  for (const char* glob : {"", "rnn", "rnn0.weight_hh?", "*ih", "RNN*", "?rnn0.weight_hh", "rnn0*weight_hh*x"}) {
    EXPECT_FALSE(GlobMatches(glob, "rnn0.weight_hh")) << glob;
  }
  EXPECT_TRUE(GlobMatches("*", ""));
  EXPECT_TRUE(GlobMatches("*aab", "aaaaab")) << "a star takes back";
}

}  // namespace
}  // namespace gradwatch::client
