// Every job in deploy/jobs and every workload of tests/bench is valid; those that need data are skipped where it is
// absent.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "client/lib/spec_reader.h"
#include "core/spec/job_spec.h"
#include "tests/support/shared_data.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::worker {
namespace {

std::vector<std::string> SpecFiles() {
  std::vector<std::string> files;
  for (const char* folder : {"/deploy/jobs", "/tests/bench/workloads"}) {
    for (const auto& entry : std::filesystem::directory_iterator(std::string(GRADWATCH_SOURCE_DIR) + folder)) {
      files.push_back(entry.path().string());
    }
  }
  std::ranges::sort(files);
  return files;
}

core::DataRoots Roots() {
  std::vector<std::string> folders;
  for (const std::string& folder :
       {std::string("/usr/share/common-licenses"), gradwatch::testing::SharedFile("data")}) {
    if (!folder.empty() && std::filesystem::is_directory(folder)) folders.push_back(folder);
  }
  return *core::DataRoots::Create(folders);
}

class ShippedJobsTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ShippedJobsTest, IsValid) {
  const absl::StatusOr<v1::JobSpec> spec = client::ReadJobSpec(GetParam());
  ASSERT_THAT(spec, gradwatch::testing::IsOk());
  const auto job = core::ValidateJob(*spec, Roots(), core::SpecLimits());
  if (absl::IsNotFound(job.status())) GTEST_SKIP() << job.status().message();
  EXPECT_THAT(job, gradwatch::testing::IsOk());
}

INSTANTIATE_TEST_SUITE_P(Files, ShippedJobsTest, ::testing::ValuesIn(SpecFiles()), [](const auto& info) {
  std::string name = std::filesystem::path(info.param).stem().string();
  const bool is_workload = info.param.find("workloads") != std::string::npos;
  return (is_workload ? "workload_" : "job_") + name;
});

}  // namespace
}  // namespace gradwatch::worker
