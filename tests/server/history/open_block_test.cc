#include "server/history/open_block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Random = std::mt19937_64;
using Reports = std::map<int64_t, v1::StepReport>;

constexpr BlockId kBlock{1, 512};

v1::StepReport AnyReport(Random& random, int64_t step, int tensors = 3) {
  v1::StepReport report;
  report.set_attempt(kBlock.attempt);
  report.set_step(step);
  report.set_loss(random() % 40 == 0 ? std::numeric_limits<double>::quiet_NaN() : 1e-3 * (random() % 10'000));
  if (random() % 5 != 0) report.set_grad_norm(1e-3 * (random() % 1000));
  for (int i = 0; i < tensors; ++i) {
    v1::TensorStats* tensor = report.add_tensors();
    tensor->set_tensor(i);
    tensor->set_l2_norm(std::ldexp(static_cast<float>(random() % 1000), static_cast<int>(random() % 30) - 15));
    tensor->set_max_abs(1e-2f * static_cast<float>(random() % 100));
    if (random() % 50 == 0) tensor->set_nan_count(1);
  }
  return report;
}

// What is stored of the block, and what closing has cost.
class FakeStore {
 public:
  // Closes `block` as a store does.
  void Close(const OpenBlock& block) {
    std::vector<BatchRange> ranges;
    for (const StoredBatch& batch : batches_) ranges.push_back({batch.first_step, batch.last_step, batch.bytes.size()});
    const auto [first, end] = block.Needs(ranges);
    const std::vector<StoredBatch> needed(batches_.begin() + static_cast<ptrdiff_t>(first),
                                          batches_.begin() + static_cast<ptrdiff_t>(end));
    ClosedBlock closed = block.Close(needed, tiers_);
    batches_.erase(batches_.begin() + static_cast<ptrdiff_t>(first), batches_.begin() + static_cast<ptrdiff_t>(end));
    for (const StoredBatch& batch : closed.batches) written_ += batch.bytes.size();
    batches_.insert(batches_.end(), closed.batches.begin(), closed.batches.end());
    std::sort(batches_.begin(), batches_.end(),
              [](const StoredBatch& a, const StoredBatch& b) { return a.first_step < b.first_step; });
    tiers_ = std::move(closed.tiers);
    lost_.insert(lost_.end(), closed.lost.begin(), closed.lost.end());
  }

  Reports Read() const {
    Reports reports;
    int64_t last = -1;
    for (const StoredBatch& batch : batches_) {
      EXPECT_GT(batch.first_step, last) << "batches share steps";
      last = batch.last_step;
      std::vector<int64_t> steps;
      const auto add = [&](const v1::StepReport& report) {
        steps.push_back(report.step());
        EXPECT_TRUE(reports.emplace(report.step(), report).second);
      };
      EXPECT_THAT(DecodeReports(batch.bytes, add), IsOk());
      EXPECT_EQ(steps.front(), batch.first_step);
      EXPECT_EQ(steps.back(), batch.last_step);
    }
    return reports;
  }

  std::vector<StoredBatch>& batches() { return batches_; }
  const std::vector<Tier>& tiers() const { return tiers_; }
  const std::vector<LostSteps>& lost() const { return lost_; }
  size_t written() const { return written_; }

 private:
  std::vector<StoredBatch> batches_;
  std::vector<Tier> tiers_;
  std::vector<LostSteps> lost_;
  size_t written_ = 0;
};

void ExpectSameReports(const Reports& got, const Reports& expected) {
  EXPECT_EQ(got.size(), expected.size());
  for (const auto& [step, report] : expected) {
    const auto found = got.find(step);
    ASSERT_NE(found, got.end()) << step;
    EXPECT_EQ(found->second.SerializeAsString(), report.SerializeAsString()) << step;
  }
}

std::vector<Tier> TiersOf(const Reports& reports) {
  TierBuilder builder(kBlock.first_step);
  for (const auto& [step, report] : reports) builder.Add(report);
  return builder.Tiers();
}

std::string Text(const Bucket& bucket) {
  std::string text = std::to_string(bucket.count) + " " + std::to_string(bucket.non_finite);
  for (const double number : {bucket.min, bucket.max, bucket.sum, bucket.last}) {
    text += " " + (std::isnan(number) ? "nan" : std::to_string(std::bit_cast<uint64_t>(number)));
  }
  return text;
}

// To the last bit.
void ExpectSameTiers(const std::vector<Tier>& got, const std::vector<Tier>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].group, expected[i].group);
    ASSERT_EQ(got[i].series, expected[i].series);
    ASSERT_EQ(got[i].buckets, expected[i].buckets);
    for (size_t j = 0; j < got[i].cells.size(); ++j) {
      ASSERT_EQ(Text(got[i].cells[j]), Text(expected[i].cells[j])) << "group " << i << ", cell " << j;
    }
  }
}

Reports ReadOpen(const OpenBlock& block, int64_t after) {
  Reports reports;
  int64_t last = after;
  block.ForEachAfter(after, [&](const v1::StepReport& report) {
    EXPECT_GT(report.step(), last);
    last = report.step();
    reports.emplace(last, report);
    return true;
  });
  return reports;
}

TEST(OpenBlockTest, AWholeBlockIsOneBatch) {
  Random random(1);
  OpenBlock block(kBlock);
  Reports reports;
  for (int64_t step = 512; step < 768; ++step) {
    EXPECT_FALSE(block.is_whole());
    reports[step] = AnyReport(random, step);
    block.Add(reports[step]);
  }
  EXPECT_TRUE(block.is_whole());
  EXPECT_GT(block.memory_bytes(), 256u * 100);
  FakeStore store;
  store.Close(block);
  EXPECT_THAT(store.batches(), SizeIs(1));
  ExpectSameReports(store.Read(), reports);
  ExpectSameTiers(store.tiers(), TiersOf(reports));
  ExpectSameTiers(block.Tiers(), TiersOf(reports));
  ExpectSameReports(ReadOpen(block, -1), reports);  // still there, until it is committed
}

// Its ranges are as many after one report as after all.
TEST(OpenBlockTest, ItsMemoryIsThatOfItsRangesToo) {
  constexpr size_t kTensors = 300;
  v1::StepReport report;
  for (size_t i = 0; i < kTensors; ++i) {
    report.add_tensors()->set_tensor(static_cast<int32_t>(i));
    report.mutable_tensors(static_cast<int>(i))->set_l2_norm(1);
  }
  OpenBlock block({1, 0});
  block.Add(report);
  EXPECT_GE(block.memory_bytes(), kTensors * kTierFactor * sizeof(Bucket));
}

// Steps are left out, sent again, and blocks closed, at random: what is stored is what was sent last, and its tiers are
// those of it.
TEST(OpenBlockTest, HoweverOftenItIsClosedWhatIsStoredIsWhatCame) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const int tensors = static_cast<int>(random() % 4);
    const uint64_t close_one_in = 1 + random() % 100, skip_one_in = 2 + random() % 50,
                   again_one_in = 5 + random() % 200;
    FakeStore store;
    Reports reports;
    auto block = std::make_unique<OpenBlock>(kBlock);
    const auto add = [&](int64_t step) {
      reports[step] = AnyReport(random, step, tensors);
      block->Add(reports[step]);
    };
    for (int64_t step = 512; step < 768; ++step) {
      if (random() % skip_one_in != 0) add(step);
      if (random() % again_one_in == 0) {
        for (int64_t back = step - static_cast<int64_t>(random() % 40); back <= step; ++back) {
          if (back >= 512) add(back);
        }
      }
      if (random() % close_one_in != 0) continue;
      store.Close(*block);
      block = std::make_unique<OpenBlock>(kBlock);
    }
    store.Close(*block);
    ExpectSameReports(store.Read(), reports);
    ExpectSameTiers(store.tiers(), TiersOf(reports));
    EXPECT_THAT(store.lost(), IsEmpty());
  }
}

TEST(OpenBlockTest, ABlockThatIsClosedAtEachStepIsWrittenFewTimes) {
  Random random(1);
  FakeStore store;
  for (int64_t step = 512; step < 768; ++step) {
    OpenBlock block(kBlock);
    block.Add(AnyReport(random, step));
    store.Close(block);
  }
  size_t bytes = 0;
  for (const StoredBatch& batch : store.batches()) bytes += batch.bytes.size();
  EXPECT_LE(store.batches().size(), 9u);
  EXPECT_LT(store.written(), bytes * 24);  // half of 256 times otherwise
}

TEST(OpenBlockTest, ABlockOfManyTensorsIsSeveralBatchesOfWholeBuckets) {
  Random random(1);
  for (const int tensors : {300, 5000}) {
    OpenBlock block(kBlock);
    const int64_t steps = tensors == 300 ? 256 : 40;
    Reports reports;
    for (int64_t step = 512; step < 512 + steps; ++step) {
      reports[step] = AnyReport(random, step, tensors);
      block.Add(reports[step]);
    }
    FakeStore store;
    store.Close(block);
    ASSERT_THAT(store.batches(), SizeIs(tensors == 300 ? 2 : 3));
    for (const StoredBatch& batch : store.batches()) {
      EXPECT_EQ(batch.first_step % kTierFactor, 0);
      const auto rows = static_cast<size_t>(batch.last_step - batch.first_step + 1) * static_cast<size_t>(tensors);
      EXPECT_LE(rows, std::max<size_t>(kBatchRows, static_cast<size_t>(kTierFactor) * static_cast<size_t>(tensors)));
    }
    ExpectSameReports(store.Read(), reports);
  }
}

TEST(OpenBlockTest, ADamagedBatchIsToldAndTheRestKept) {
  Random random(1);
  FakeStore store;
  Reports reports;
  OpenBlock first(kBlock), second(kBlock);
  for (int64_t step = 512; step < 562; ++step) {
    reports[step] = AnyReport(random, step);
    first.Add(reports[step]);
  }
  store.Close(first);
  const std::vector<Tier> tiers = store.tiers();
  ASSERT_THAT(store.batches(), SizeIs(2));  // the last bucket apart
  store.batches()[1].bytes[7] ^= 1;
  for (int64_t step = 560; step < 561; ++step) {
    reports[step] = AnyReport(random, step);
    second.Add(reports[step]);
  }
  store.Close(second);
  ASSERT_THAT(store.lost(), SizeIs(1));
  EXPECT_EQ(store.lost()[0].steps, (StepRange{560, 561}));
  EXPECT_THAT(store.lost()[0].reason, HasSubstr("damaged"));
  reports.erase(561);
  ExpectSameReports(store.Read(), reports);
  for (size_t i = 0; i < tiers.size(); ++i) {
    EXPECT_EQ(Text(store.tiers()[i].At(0, 2)), Text(tiers[i].At(0, 2)));
  }
  const Bucket& loss = store.tiers()[0].At(static_cast<size_t>(JobSeries::kLoss), 3);
  EXPECT_EQ(loss.count + loss.non_finite, 3) << "it still tells of 561; what came again counts twice";
}

// Retention drops batches, not tiers.
TEST(OpenBlockTest, ABucketTellsOfReportsThatAreGone) {
  for (const int64_t last : {540, 767}) {
    SCOPED_TRACE(last);
    Random random(1);
    const auto report = [&](int64_t step) {
      v1::StepReport made = AnyReport(random, step);
      made.set_loss(step == 530 ? 1e9 : 1);
      return made;
    };
    FakeStore store;
    OpenBlock first(kBlock), second(kBlock);
    for (int64_t step = 512; step < 532; ++step) first.Add(report(step));
    store.Close(first);
    store.batches().clear();
    for (int64_t step = 532; step <= last; ++step) second.Add(report(step));
    store.Close(second);
    EXPECT_THAT(store.Read(), SizeIs(static_cast<size_t>(last - 531)));
    const auto loss = [&](size_t bucket) { return store.tiers()[0].At(static_cast<size_t>(JobSeries::kLoss), bucket); };
    EXPECT_EQ(loss(0).count, 16);
    EXPECT_EQ(loss(1).count, std::min<int64_t>(last, 543) - 527);
    EXPECT_EQ(loss(1).max, 1e9);
    EXPECT_EQ(loss(1).last, 1);
    EXPECT_EQ(loss(2).count, last == 767 ? 16 : 0);
  }
}

TEST(OpenBlockTest, LostRangesAloneLeaveTheRestAsItIs) {
  Random random(1);
  FakeStore store;
  OpenBlock reports(kBlock), lost(kBlock);
  reports.Add(AnyReport(random, 600));
  store.Close(reports);
  const std::vector<Tier> tiers = store.tiers();
  lost.AddLost({{601, 5000}, "away"});
  lost.AddLost({{5001, 5001}, "away again"});
  store.Close(lost);
  EXPECT_THAT(store.lost(), ElementsAre(LostSteps{{601, 5000}, "away"}, LostSteps{{5001, 5001}, "away again"}));
  EXPECT_THAT(store.batches(), SizeIs(1));
  ExpectSameTiers(store.tiers(), tiers);
}

TEST(OpenBlockTest, IsReadInTheOrderOfStepsFromAnywhere) {
  Random random(1);
  OpenBlock block(kBlock);
  Reports reports;
  for (const int64_t step : {520, 521, 530, 525, 521, 540, 512, 539}) {
    reports[step] = AnyReport(random, step);
    block.Add(reports[step]);
  }
  for (const int64_t after : {-1, 511, 512, 521, 524, 525, 530, 538, 539, 540, 700}) {
    ExpectSameReports(ReadOpen(block, after), Reports(reports.upper_bound(after), reports.end()));
  }
  int seen = 0;
  block.ForEachAfter(520, [&](const v1::StepReport&) { return ++seen < 3; });
  EXPECT_EQ(seen, 3);
}

}  // namespace
}  // namespace gradwatch::server
