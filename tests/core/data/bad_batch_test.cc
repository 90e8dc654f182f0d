#include "core/data/bad_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/support/allocation_count.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::AllocationCount;
using ::gradwatch::testing::CountsAllocations;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::HasSubstr;

v1::DataSpec Spirals() {
  v1::DataSpec spec;
  spec.set_batch_size(3);
  spec.mutable_spirals();
  return spec;
}

std::vector<float> Features(DataSource& source, int64_t step) {
  const Batch batch = source.Fill(step);
  return {batch.features.begin(), batch.features.end()};
}

TEST(BadBatchTest, OnlyItsInputsAreMultiplied) {
  v1::DataSpec spec = Spirals();
  auto good = *OpenData(spec, 1, DataRoots());
  spec.mutable_bad_batch()->set_batch(5);
  spec.mutable_bad_batch()->set_scale(-1000);
  auto bad = *OpenData(spec, 1, DataRoots());
  for (const int64_t step : {4, 5, 6}) {
    const std::vector<float> expected = Features(*good, step), got = Features(*bad, step);
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(got[i], step == 5 ? -1000 * expected[i] : expected[i]);
  }
  EXPECT_EQ(bad->FillHeldOut(5).features[0], good->FillHeldOut(5).features[0]);
}

TEST(BadBatchTest, TakesItsMemoryWithTheFirstBatchAndCountsIt) {
  v1::DataSpec spec = Spirals();
  const auto good = *OpenData(spec, 1, DataRoots());
  spec.mutable_bad_batch()->set_batch(5);
  spec.mutable_bad_batch()->set_scale(2);
  const auto bad = *OpenData(spec, 1, DataRoots());
  EXPECT_EQ(bad->bytes(), good->bytes() + 3 * 2 * static_cast<int64_t>(sizeof(float)));
  bad->Fill(0);
  const int64_t before = AllocationCount();
  bad->Fill(5);
  if (CountsAllocations()) {
    EXPECT_EQ(AllocationCount(), before);
  }
}

TEST(BadBatchTest, RefusesWhatCannotBe) {
  v1::DataSpec spec = Spirals();
  spec.mutable_bad_batch()->set_batch(-1);
  EXPECT_THAT(OpenData(spec, 1, DataRoots()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bad_batch.batch")));

  const TempDir dir;
  dir.Write("text", "abcabcabc");
  spec.mutable_text()->set_path("text");
  spec.mutable_text()->set_sequence_length(2);
  spec.mutable_bad_batch()->set_batch(1);
  EXPECT_THAT(OpenData(spec, 1, *DataRoots::Create({dir.path()})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cannot multiply characters")));
}

}  // namespace
}  // namespace gradwatch::core
