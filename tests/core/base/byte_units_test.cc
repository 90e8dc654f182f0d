#include "core/base/byte_units.h"

#include <gtest/gtest.h>

#include <limits>

namespace gradwatch::core {
namespace {

TEST(ByteUnitsTest, AreTheLargestOfWhichThereIsOne) {
  const struct {
    int64_t bytes;
    const char* expected;
  } cases[] = {
      {-1, ""},
      {0, ""},
      {1'048'575, ""},
      {1'048'576, " (1.0 MiB)"},
      {1'572'864, " (1.5 MiB)"},
      {1'073'741'823, " (1024.0 MiB)"},
      {1'073'741'824, " (1.0 GiB)"},
      {8'589'934'592, " (8.0 GiB)"},
      {33'351'594'286, " (31.1 GiB)"},
      {1'099'511'627'776, " (1.0 TiB)"},
      {std::numeric_limits<int64_t>::max(), " (8388608.0 TiB)"},
  };
  for (const auto& c : cases) EXPECT_EQ(InUnits(c.bytes), c.expected) << c.bytes;
}

}  // namespace
}  // namespace gradwatch::core
