#include "core/base/decimal.h"

#include <gtest/gtest.h>

#include "tests/support/decimal_cases.h"

namespace gradwatch::core {
namespace {

TEST(DecimalTest, NothingButDecimalNumbersIsOne) {
  for (const testing::DecimalCase& c : testing::DecimalCases()) EXPECT_EQ(ParseDecimal(c.text), c.number) << c.text;
}

TEST(DecimalTest, WhatIsNoDecimalNumberHasAName) {
  for (const char* text : {"0x1F", "-0X1p3", "+0x.8p1"}) EXPECT_TRUE(IsHexadecimal(text)) << text;
  for (const char* text : {"0x", "10", "x10", "0xg", ""}) EXPECT_FALSE(IsHexadecimal(text)) << text;
  for (const char* text : {"nan", "-NaN", "inf", "+Infinity"}) EXPECT_TRUE(IsNonFiniteWord(text)) << text;
  for (const char* text : {"nano", "1", "information", ""}) EXPECT_FALSE(IsNonFiniteWord(text)) << text;
}

}  // namespace
}  // namespace gradwatch::core
