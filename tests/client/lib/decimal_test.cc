#include "client/lib/decimal.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "tests/support/decimal_cases.h"

namespace gradwatch::client {
namespace {

TEST(ClientDecimalTest, NothingButDecimalNumbersIsOne) {
  for (const testing::DecimalCase& c : testing::DecimalCases()) EXPECT_EQ(ParseDecimal(c.text), c.number) << c.text;
}

TEST(ClientDecimalTest, WholeNumbersAreExact) {
  const struct {
    const char* text;
    std::optional<int64_t> number;
  } cases[] = {
      {"9223372036854775807", 9'223'372'036'854'775'807},
      {"9223372036854775808", std::nullopt},
      {"-9223372036854775808", std::numeric_limits<int64_t>::min()},
      {"010", 10},
      {"+5", 5},
      {"1e6", 1'000'000},
      {"5.0", 5},
      {"5.5", std::nullopt},
      {"1e300", std::nullopt},
      {"1e400", std::nullopt},
      {"0x10", std::nullopt},
      {"nan", std::nullopt},
      {" 5", std::nullopt},
      {"", std::nullopt},
  };
  for (const auto& c : cases) EXPECT_EQ(ParseWhole<int64_t>(c.text), c.number) << c.text;
  EXPECT_EQ(ParseWhole<uint64_t>("18446744073709551615"), 18'446'744'073'709'551'615u);
  EXPECT_EQ(ParseWhole<uint64_t>("-1"), std::nullopt);
  EXPECT_EQ(ParseWhole<int32_t>("3e9"), std::nullopt);
}

}  // namespace
}  // namespace gradwatch::client
