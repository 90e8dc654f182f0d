// A run takes no more memory than was promised before it, and not much less.
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "client/worker/exit_code.h"
#include "tests/support/allocation_count.h"
#include "tests/support/process.h"
#include "tests/support/shipped_jobs.h"

namespace gradwatch::worker {
namespace {

class MemoryTest : public ::testing::TestWithParam<std::string> {};

TEST_P(MemoryTest, StaysWithinTheEstimate) {
  std::vector<std::string> command = {"gradwatch-worker", "train", GetParam(), "--steps", "3", "-o", "json"};
  for (const std::string& folder : testing::JobDataFolders()) command.insert(command.end(), {"--data-root", folder});
  const testing::RunResult result = testing::Run(command);
  if (result.err.find("no such file") != std::string::npos) GTEST_SKIP() << result.err;
  // Under the address sanitizer also: no leak, no invalid access. A job that explodes may have failed after three
  // steps.
  const bool has_failed = result.exit_code == kFailure && result.out.find("not learnt from") != std::string::npos;
  ASSERT_TRUE(result.exit_code == kSuccess || has_failed) << result.out << result.err;
  if (!testing::CountsAllocations()) GTEST_SKIP() << "a sanitizer has memory of its own";
  google::protobuf::Struct object;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(result.out, &object).ok()) << result.out;
  const double estimated = object.fields().at("estimated_bytes").number_value();
  const double peak = object.fields().at("peak_bytes").number_value();
  EXPECT_GT(estimated, 8 * object.fields().at("parameters").number_value()) << "parameters and gradients at least";
  EXPECT_LE(peak, estimated);
  EXPECT_LE(estimated, 1.3 * peak + (64 << 20));
}

INSTANTIATE_TEST_SUITE_P(Files, MemoryTest, ::testing::ValuesIn(testing::ShippedJobs()),
                         [](const auto& info) { return testing::ShippedJobName(info.param); });

}  // namespace
}  // namespace gradwatch::worker
