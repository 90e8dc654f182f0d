// The estimate of a job against what the trainer takes that a server has started for it, reports on their way included.
#include <gtest/gtest.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/spec/resource_limits.h"
#include "tests/support/allocation_count.h"
#include "tests/support/outside.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::testing {
namespace {

struct MemoryCase {
  const char* name;
  int64_t steps;
  int layers;
  int batch_size;
  int64_t until_step;  // when the memory is looked at; the job runs still
};

void PrintTo(const MemoryCase& c, std::ostream* out) { *out << c.name; }

// Layers of three units, two tensors each.
v1::JobSpec Spec(const MemoryCase& c) {
  v1::JobSpec spec;
  spec.set_steps(c.steps);
  spec.mutable_data()->set_batch_size(c.batch_size);
  spec.mutable_data()->mutable_spirals()->set_arms(3);
  spec.mutable_optimizer()->set_learning_rate(0.001);
  spec.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY);
  for (int i = 0; i < c.layers; ++i) spec.mutable_model()->add_layers()->mutable_dense()->set_units(3);
  return spec;
}

class SlowAttachedMemoryTest : public ::testing::TestWithParam<MemoryCase> {
 protected:
  // Until the job has just reported such a step; what lies behind is not waited for.
  static bool AwaitStepLive(const Outside& outside, int64_t step) {
    v1::WatchJobRequest request;
    request.set_job_id("job");
    return outside.Watch(request, [step](const v1::WatchJobResponse& response) {
      return response.reports_size() > 0 && response.reports(response.reports_size() - 1).step() >= step;
    });
  }

  TempDir dir_;
};

TEST_P(SlowAttachedMemoryTest, IsNeverAboveTheEstimateAndNotFarBelow) {
  if (!CountsAllocations()) GTEST_SKIP() << "a sanitizer has memory of its own";
  ServerProcess server(dir_.path());
  ASSERT_TRUE(server.Start()) << server.Errors();
  const Outside outside(server.address());
  const grpc::Status created = outside.Create("job", Spec(GetParam()));
  ASSERT_TRUE(created.ok()) << created.error_message();
  ASSERT_TRUE(AwaitStepLive(outside, GetParam().until_step));
  const std::vector<pid_t> workers = server.Workers("job");
  ASSERT_EQ(workers.size(), 1u) << "the job has ended too early";
  const auto peak = static_cast<double>(PeakResidentBytes(workers[0]));
  v1::Job job;
  ASSERT_TRUE(outside.Get("job", &job).ok());
  const auto estimated = static_cast<double>(core::EstimatedBytes(job.estimate()));
  RecordProperty("peak_bytes", std::to_string(peak));
  EXPECT_GT(peak, 0);
  EXPECT_GE(estimated, peak) << job.estimate().ShortDebugString();
  EXPECT_LE(estimated, 1.3 * peak + (64 << 20)) << job.estimate().ShortDebugString();
}

constexpr int64_t kForEver = 1'000'000'000;

// A packed record has 120 bytes a tensor at least, so that 64 MiB are full after 40,000 steps of 16 tensors, and after
// 500 of 1,200. The steps of the short job take some milliseconds each: it is looked at long before its end.
INSTANTIATE_TEST_SUITE_P(
    Jobs, SlowAttachedMemoryTest,
    ::testing::Values(
        MemoryCase{.name = "short", .steps = 1000, .layers = 1, .batch_size = 20'000, .until_step = 250},
        MemoryCase{.name = "full_ring", .steps = kForEver, .layers = 8, .batch_size = 4, .until_step = 40'000},
        MemoryCase{.name = "many_tensors", .steps = kForEver, .layers = 600, .batch_size = 4, .until_step = 600}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace gradwatch::testing
