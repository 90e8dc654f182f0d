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
    EXPECT_EQ(history.usual().Median(), 1);
    history.Admit(100 + i, true);
    if (i == 3) history.Admit(1, false);  // a calm sample does not stop it
  }
  EXPECT_TRUE(history.ready());
  ASSERT_EQ(history.usual().size(), 6);
  EXPECT_EQ(history.usual().Median(), 102.5);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(history.usual().ByAge(i), 100 + i);
  // They are no outliers any more: another change takes as long.
  for (int i = 0; i < 5; ++i) history.Admit(1000, true);
  EXPECT_EQ(history.usual().Median(), 102.5);
}

// However often they come, and for how long.
TEST(HistoryTest, PeriodicOutliersNeverBecomeTheUsual) {
  for (const int period : {2, 3, 10}) {
    History history(30, 20);
    for (int i = 0; i < 30; ++i) history.Admit(1, false);
    for (int i = 0; i < 100'000; ++i) {
      const bool bad = i % period == 0;
      history.Admit(bad ? 50 : 1, bad);
      ASSERT_EQ(history.usual().Quantile(1), 1) << "one in " << period << ", sample " << i;
    }
  }
}

TEST(HistoryTest, DeviationIsThatOfTheUsualWithinBounds) {
  History history(5, 3);
  for (const double sample : {0.0, 0.1, -0.1, 0.2, -0.2}) history.Admit(sample, false);
  history.Admit(1e6, true);  // no sample
  EXPECT_NEAR(history.Deviation(0.01), 0.14826, 1e-12);
  EXPECT_EQ(history.Deviation(0.5), 0.5);
  for (const double sample : {0, 10, -10, 20, -20}) history.Admit(sample, false);
  EXPECT_EQ(history.Deviation(0.5), History::kLargestDeviation);
  EXPECT_EQ(history.Deviation(2), 2);
}

TEST(HistoryTest, ForgetsAllWhenCleared) {
  History history(10, 3);
  for (int i = 0; i < 10; ++i) history.Admit(1, i % 2 == 0);
  history.Clear();
  EXPECT_EQ(history.usual().size(), 0);
  EXPECT_FALSE(history.ready());
  for (int i = 0; i < 5; ++i) history.Admit(100, true);  // those from before do not count
  EXPECT_EQ(history.usual().size(), 0);
}

}  // namespace
}  // namespace gradwatch::core
