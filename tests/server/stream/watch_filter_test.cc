#include "server/stream/watch_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/history/encoded_report.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

SharedBytes MakeBytes(int tensors) {
  v1::StepReport report;
  report.set_attempt(1);
  report.set_step(5);
  report.set_loss(2);
  for (int i = 0; i < tensors; ++i) {
    report.add_tensors()->set_tensor(i);
    report.mutable_tensors(i)->set_l2_norm(10 + i);
  }
  return EncodeReport(report).bytes;
}

std::vector<int> KeptTensors(const WatchFilter& filter, const std::vector<std::string>& names) {
  ReportFilter reports(filter);
  reports.SetTensorNames(names);
  const SharedBytes bytes = MakeBytes(4);
  const auto changed = reports.WithoutUnwanted(*bytes);
  EXPECT_THAT(changed, IsOk());
  const auto report = DecodeReport(*changed == nullptr ? *bytes : **changed);
  EXPECT_THAT(report, IsOk());
  EXPECT_EQ(report->loss(), 2);
  std::vector<int> tensors;
  for (const auto& stats : report->tensors()) {
    EXPECT_EQ(stats.l2_norm(), 10 + stats.tensor());
    tensors.push_back(stats.tensor());
  }
  return tensors;
}

TEST(WatchFilterTest, KeepsTensorsByName) {
  const std::vector<std::string> names = {"dense0.weight", "dense0.bias", "dense1.weight", "dense1.bias"};
  const auto kept = [&names](std::vector<std::string> globs) {
    return KeptTensors({.events_only = false, .every_steps = 1, .tensors = std::move(globs)}, names);
  };
  EXPECT_THAT(kept({}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(kept({"*"}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(kept({"*.bias"}), ElementsAre(1, 3));
  EXPECT_THAT(kept({"dense0.*", "dense1.weight"}), ElementsAre(0, 1, 2));
  EXPECT_THAT(kept({"conv*"}), IsEmpty());
}

TEST(WatchFilterTest, WithoutNamesNoTensorMatches) {
  const WatchFilter filter{.events_only = false, .every_steps = 1, .tensors = {"*"}};
  EXPECT_THAT(KeptTensors(filter, {}), IsEmpty());
  EXPECT_THAT(KeptTensors(filter, {"only one"}), ElementsAre(0));
  ReportFilter reports(filter);
  EXPECT_TRUE(reports.WantsTensorNames());
  reports.SetTensorNames({"name"});
  EXPECT_FALSE(reports.WantsTensorNames());
  EXPECT_FALSE(ReportFilter(WatchFilter()).WantsTensorNames());
}

TEST(WatchFilterTest, AReportThatKeepsAllIsNotCopied) {
  ReportFilter reports({.events_only = false, .every_steps = 1, .tensors = {"*"}});
  reports.SetTensorNames({"a", "b"});
  const auto changed = reports.WithoutUnwanted(*MakeBytes(2));
  ASSERT_THAT(changed, IsOk());
  EXPECT_EQ(*changed, nullptr);
}

TEST(WatchFilterTest, RefusesDamagedReports) {
  ReportFilter reports({.events_only = false, .every_steps = 1, .tensors = {"*"}});
  EXPECT_THAT(reports.WithoutUnwanted("no report"), StatusIs(absl::StatusCode::kDataLoss, _));
  const SharedBytes whole = MakeBytes(3);
  for (size_t size = 0; size < whole->size(); ++size) {
    EXPECT_THAT(reports.WithoutUnwanted(whole->substr(0, size)), StatusIs(absl::StatusCode::kDataLoss, _)) << size;
  }
}

// What is passed on is what would be written without the others, to the last byte.
TEST(WatchFilterTest, KeepsAllElseAsItIs) {
  v1::StepReport report;
  report.set_attempt(1);
  report.set_step(5);
  report.mutable_clip()->set_threshold(3);
  for (int i = 0; i < 3; ++i) report.add_tensors()->set_tensor(i);
  report.mutable_tensors(1)->mutable_histogram()->add_positive_counts(7);
  report.add_layers()->set_name("relu0");
  report.mutable_validation()->set_loss(2);
  ReportFilter reports({.events_only = false, .every_steps = 1, .tensors = {"b"}});
  reports.SetTensorNames({"a", "b", "c"});
  const auto changed = reports.WithoutUnwanted(*EncodeReport(report).bytes);
  ASSERT_THAT(changed, IsOk());
  report.mutable_tensors()->DeleteSubrange(2, 1);
  report.mutable_tensors()->DeleteSubrange(0, 1);
  ASSERT_NE(*changed, nullptr);
  EXPECT_EQ(**changed, *EncodeReport(report).bytes);
}

TEST(WatchFilterTest, KeepsStepsThatAreMultiples) {
  for (const int64_t every : {0, 1}) {
    EXPECT_TRUE(ReportFilter({.events_only = false, .every_steps = every, .tensors = {}}).WantsStep(7));
  }
  const ReportFilter tenth({.events_only = false, .every_steps = 10, .tensors = {}});
  EXPECT_TRUE(tenth.WantsStep(0) && tenth.WantsStep(20));
  EXPECT_FALSE(tenth.WantsStep(1) || tenth.WantsStep(19));
}

TEST(WatchFilterTest, TheHashTellsFiltersApart) {
  const WatchFilter filters[] = {
      {},
      {.events_only = true, .every_steps = 1, .tensors = {}},
      {.events_only = false, .every_steps = 2, .tensors = {}},
      {.events_only = false, .every_steps = 1, .tensors = {"a"}},
      {.events_only = false, .every_steps = 1, .tensors = {"a", "b"}},
      {.events_only = false, .every_steps = 1, .tensors = {"a,1:b"}},
  };
  for (const WatchFilter& left : filters) {
    for (const WatchFilter& right : filters) EXPECT_EQ(left.Hash() == right.Hash(), &left == &right);
  }
  const WatchFilter same[] = {{.events_only = false, .every_steps = 0, .tensors = {"b", "a"}},
                              {.events_only = false, .every_steps = 1, .tensors = {"a", "b"}}};
  EXPECT_EQ(same[0].Hash(), same[1].Hash());
  EXPECT_EQ(WatchFilter().Hash(), 0x4e1fe9181d105378u);  // tokens outlive the program that made them
}

}  // namespace
}  // namespace gradwatch::server
