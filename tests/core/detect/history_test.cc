#include "core/detect/history.h"

#include <gtest/gtest.h>

namespace gradwatch::core {
namespace {

TEST(HistoryTest, IsReadyAfterTheWarmUp) {
  History history(10, 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(history.ready());
    history.Admit(1, false);
  }
  EXPECT_TRUE(history.ready());
  History small(2, 20);  // never asks for more than its window
  small.Admit(1, false);
  small.Admit(1, false);
  EXPECT_TRUE(small.ready());
}

TEST(HistoryTest, FlaggedSamplesStayOut) {
  History history(10, 3);
  for (int i = 0; i < 5; ++i) history.Admit(1, false);
  for (int i = 0; i < 5; ++i) history.Admit(100, true);
  EXPECT_EQ(history.usual().size(), 5);
  EXPECT_EQ(history.usual().Median(), 1);
}

TEST(HistoryTest, MoreThanHalfAWindowOfFlaggedSamplesIsTheNewUsual) {
  History history(10, 3);
  for (int i = 0; i < 10; ++i) history.Admit(1, false);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(history.usual().Median(), 1) << i;
    history.Admit(100 + i, true);
    if (i == 2) history.Admit(1, false);  // a few calm samples do not stop it
  }
  EXPECT_TRUE(history.ready());
  EXPECT_EQ(history.usual().size(), 6) << "what was before is dropped, and so is the calm between";
  EXPECT_EQ(history.usual().Median(), 102.5);
}

// Every other sample, or one in ten, for as long as one likes.
TEST(HistoryTest, WhatIsFlaggedHalfTheTimeNeverIsTheUsual) {
  for (const int every : {2, 3, 10}) {
    History history(30, 20);
    for (int i = 0; i < 20'000; ++i) {
      history.Admit(i % every == 0 ? 100 : 1, i % every == 0);
      ASSERT_EQ(history.usual().size() == 0 || history.usual().Median() == 1, true) << every << ", " << i;
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
