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
  for (int i = 0; i < 9; ++i) history.Admit(100, true);
  EXPECT_EQ(history.usual().size(), 5);
  EXPECT_EQ(history.usual().Median(), 1);
}

TEST(HistoryTest, AWholeWindowOfFlaggedSamplesIsTheNewUsual) {
  History history(10, 3);
  for (int i = 0; i < 10; ++i) history.Admit(1, false);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(history.usual().Median(), 1);
    history.Admit(100, true);
    if (i == 4) history.Admit(1, false);  // a few calm samples do not stop it
  }
  EXPECT_TRUE(history.ready());
  EXPECT_EQ(history.usual().size(), 10);
  EXPECT_EQ(history.usual().Median(), 100);
}

TEST(HistoryTest, ACalmForgetsFlaggedSamples) {
  History history(10, 3);
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 9; ++i) history.Admit(100, true);
    for (int i = 0; i < History::kForgetAfter; ++i) history.Admit(1, false);
    EXPECT_EQ(history.usual().Median(), 1);
  }
}

}  // namespace
}  // namespace gradwatch::core
