// One row for every number that theory or a paper predicts: expected, measured, bound.
#ifndef GRADWATCH_TESTS_SCIENCE_SCIENCE_TABLE_H_
#define GRADWATCH_TESTS_SCIENCE_SCIENCE_TABLE_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <string>

namespace gradwatch::science {

// Prints the row; fails the test unless |measured - expected| <= bound.
inline void ExpectNear(const std::string& experiment, const std::string& quantity, double expected, double measured,
                       double bound) {
  std::printf("%-28s %-44s expected %-12.6g measured %-12.6g bound %.3g\n", experiment.c_str(), quantity.c_str(),
              expected, measured, bound);
  EXPECT_LE(std::fabs(measured - expected), bound) << experiment << ": " << quantity;
}

// The same for a number that must lie between two bounds, both allowed.
inline void ExpectBetween(const std::string& experiment, const std::string& quantity, double low, double high,
                          double measured) {
  std::printf("%-28s %-44s expected %.5g to %-8.5g measured %-12.6g\n", experiment.c_str(), quantity.c_str(), low, high,
              measured);
  EXPECT_GE(measured, low) << experiment << ": " << quantity;
  EXPECT_LE(measured, high) << experiment << ": " << quantity;
}

}  // namespace gradwatch::science

#endif  // GRADWATCH_TESTS_SCIENCE_SCIENCE_TABLE_H_
