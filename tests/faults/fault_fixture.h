// A gradwatchd with real workers in a folder of its own, jobs for it, and what all tests of faults ask of a history.
#ifndef GRADWATCH_TESTS_FAULTS_FAULT_FIXTURE_H_
#define GRADWATCH_TESTS_FAULTS_FAULT_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/lib/spec_reader.h"
#include "tests/support/long_form.h"
#include "tests/support/outside.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::testing {

// The seed of what is random in a test: GRADWATCH_SEED, else a new one. It is printed, so that it can be given again.
inline uint64_t TestSeed() {
  const char* value = std::getenv("GRADWATCH_SEED");
  uint64_t seed = 0;
  if (value == nullptr || !absl::SimpleAtoi(value, &seed)) seed = std::random_device()();
  std::cout << "GRADWATCH_SEED=" << seed << std::endl;
  return seed;
}

class FaultTest : public ::testing::Test {
 protected:
  void StartServer(ServerProcess::Options options = {}) {
    server_ = std::make_unique<ServerProcess>(dir_.path(), std::move(options));
    ASSERT_TRUE(server_->Start()) << server_->Errors();
    outside_ = std::make_unique<Outside>(server_->address());
  }
  // Its trainers keep some hundred reports, not tens of megabytes of them: what is older they cannot send again.
  void StartServerWithForgetfulTrainers() {
    dir_.Write(
        "worker",
        "#!/bin/sh\nif [ \"$1\" = attach ]; then set -- \"$@\" --report-bytes 100000; fi\nexec '" GRADWATCH_BINARY_DIR
        "/bin/gradwatch-worker' \"$@\"\n");
    std::filesystem::permissions(dir_.File("worker"), std::filesystem::perms::owner_all);
    ServerProcess::Options options;
    options.arguments = {"--worker", dir_.File("worker")};
    StartServer(std::move(options));
  }
  // Starts the server that was killed or ended, and waits until it answers.
  void RestartServer() {
    ASSERT_TRUE(server_->Start()) << server_->Errors();
    ASSERT_TRUE(outside_->AwaitAnswer());
  }

  // A small network on clusters of points. `size`: units and examples in a batch; a step takes some 0.1 ms at 16, 5 ms
  // at 512.
  static v1::JobSpec Spec(int64_t steps, int size = 16, absl::string_view more = "") {
    const auto spec =
        client::ParseJobSpec(absl::StrCat("steps: ", steps, "\nmodel:\n  layers:\n    - dense: {units: ", size,
                                          "}\n    - activation: {function: relu}\n    - dense: {units: 4}\n"
                                          "  loss: {function: softmax_cross_entropy}\ndata:\n  batch_size: ",
                                          size, "\n  gaussian_clusters: {classes: 4, features: ", size,
                                          "}\noptimizer: {learning_rate: 0.001}\n", more),
                             client::SpecSyntax::kYaml, "spec");
    EXPECT_TRUE(spec.ok()) << spec.status();
    return spec.value_or(v1::JobSpec());
  }
  static constexpr int64_t kForEver = 1'000'000'000;

  void Create(const std::string& job_id, const v1::JobSpec& spec) {
    const grpc::Status status = outside_->Create(job_id, spec);
    ASSERT_TRUE(status.ok()) << job_id << ": " << status.error_message();
  }
  v1::Job Get(const std::string& job_id) const {
    v1::Job job;
    const grpc::Status status = outside_->Get(job_id, &job);
    EXPECT_TRUE(status.ok()) << job_id << ": " << status.error_message();
    return job;
  }

  TempDir dir_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<Outside> outside_;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_FAULTS_FAULT_FIXTURE_H_
