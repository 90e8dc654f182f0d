#include "server/store/reader_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;

// Counts those that are there.
struct CountedReader {
  CountedReader() { ++count; }
  ~CountedReader() { --count; }
  static inline int count = 0;
};

absl::StatusOr<std::unique_ptr<CountedReader>> Open() { return std::make_unique<CountedReader>(); }
absl::Status Nothing(CountedReader&) { return absl::OkStatus(); }

TEST(ReaderPoolTest, KeepsTheReadersUsedLast) {
  ReaderPool<CountedReader> pool(2);
  for (const char* key : {"a", "b", "a", "c"}) EXPECT_THAT(pool.Use(key, Open, Nothing), IsOk());
  EXPECT_EQ(CountedReader::count, 2);
  const auto refuse = []() -> absl::StatusOr<std::unique_ptr<CountedReader>> { return absl::UnavailableError("no"); };
  EXPECT_THAT(pool.Use("a", refuse, Nothing), IsOk());
  EXPECT_THAT(pool.Use("c", refuse, Nothing), IsOk());
  EXPECT_THAT(pool.Use("b", refuse, Nothing), StatusIs(absl::StatusCode::kUnavailable, _));
}

TEST(ReaderPoolTest, DoesNotKeepAReaderThatFailed) {
  ReaderPool<CountedReader> pool(2);
  const auto fail = [](CountedReader&) { return absl::DataLossError("damaged"); };
  EXPECT_THAT(pool.Use("a", Open, fail), StatusIs(absl::StatusCode::kDataLoss, _));
  EXPECT_EQ(CountedReader::count, 0);
}

TEST(ReaderPoolTest, DropsTheReadersOfOneKeyAlsoWhileTheyAreInUse) {
  ReaderPool<CountedReader> pool(8);
  EXPECT_THAT(pool.Use("a", Open, Nothing), IsOk());
  EXPECT_THAT(pool.Use("b", Open, Nothing), IsOk());
  const auto drop_while_reading_both = [&pool](CountedReader&) {
    return pool.Use("b", Open, [&pool](CountedReader&) {
      pool.Drop("a");
      return absl::OkStatus();
    });
  };
  EXPECT_THAT(pool.Use("a", Open, drop_while_reading_both), IsOk());
  EXPECT_EQ(CountedReader::count, 1) << "that of b is kept";
  pool.Drop("b");
  EXPECT_EQ(CountedReader::count, 0);
}

}  // namespace
}  // namespace gradwatch::server
