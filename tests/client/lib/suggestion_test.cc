#include "client/lib/suggestion.h"

#include <gtest/gtest.h>

namespace gradwatch::client {
namespace {

TEST(SuggestionTest, TellsTheNearestOrTheChoices) {
  const std::vector<std::string> fields = {"dense", "dropout", "gru"};
  EXPECT_EQ(Suggestion("dens", fields), "; did you mean dense?");
  EXPECT_EQ(Suggestion("Dense", fields), "; did you mean dense?");
  EXPECT_EQ(Suggestion("dropuot", fields), "; did you mean dropout?");
  EXPECT_EQ(Suggestion("transformer", fields), "; one of dense, dropout, gru");
  EXPECT_EQ(NearestSuggestion("dropuot", fields, 1), "; did you mean dropout?") << "a swap is one edit";
  EXPECT_EQ(NearestSuggestion("drpuot", fields, 1), "");
  EXPECT_EQ(Suggestion("lr", {"momentum", "learning_rate", "beta1"}), "; did you mean learning_rate?");
  EXPECT_EQ(Suggestion("x", {"units"}), "; there is units");
  EXPECT_EQ(Suggestion("x", {}), "");
  EXPECT_EQ(Suggestion("transformer", std::vector<std::string>(21, "candidate")), "");
  EXPECT_EQ(Suggestion(std::string(100'000, 'd'), fields), "; one of dense, dropout, gru");
}

}  // namespace
}  // namespace gradwatch::client
