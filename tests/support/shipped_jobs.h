// The job specs that the repository ships: deploy/jobs and the workloads of tests/bench.
#ifndef GRADWATCH_TESTS_SUPPORT_SHIPPED_JOBS_H_
#define GRADWATCH_TESTS_SUPPORT_SHIPPED_JOBS_H_

#include <string>
#include <vector>

namespace gradwatch::testing {

// Their paths, sorted.
std::vector<std::string> ShippedJobs();

// "job_mnist_conv", "workload_mlp_small".
std::string ShippedJobName(const std::string& path);

// The folders, of those that are here, in which their data lie.
std::vector<std::string> JobDataFolders();

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_SHIPPED_JOBS_H_
