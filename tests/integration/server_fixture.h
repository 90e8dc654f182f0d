// A gradwatchd of this build on a free port with a data folder of its own, and the CLI pointed at it.
#ifndef GRADWATCH_TESTS_INTEGRATION_SERVER_FIXTURE_H_
#define GRADWATCH_TESTS_INTEGRATION_SERVER_FIXTURE_H_

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::testing {

using google::protobuf::Struct;

// One line of a JSON stream; fails the test if it is not one JSON object.
inline Struct Json(const std::string& line) {
  Struct object;
  const auto status = google::protobuf::util::JsonStringToMessage(line, &object);
  EXPECT_TRUE(status.ok()) << status.ToString() << " in: " << line;
  return object;
}
inline bool Has(const Struct& object, const std::string& name) { return object.fields().count(name) > 0; }
inline std::string Text(const Struct& object, const std::string& name) {
  return Has(object, name) ? object.fields().at(name).string_value() : std::string();
}
inline double Number(const Struct& object, const std::string& name) {
  EXPECT_TRUE(Has(object, name)) << name << " in " << object.ShortDebugString();
  return Has(object, name) ? object.fields().at(name).number_value() : -1;
}

class ServerTest : public ::testing::Test {
 protected:
  // Starts the server on a free port, or starts it again on the same data and port.
  void StartServer() {
    std::filesystem::remove(dir_.File("port"));
    server_ = std::make_unique<Process>(std::vector<std::string>{
        "gradwatchd", "--data-dir", dir_.File("data"), "--data-root", "/usr/share/common-licenses", "--data-root",
        dir_.path(), "--listen", address_.empty() ? "127.0.0.1:0" : address_, "--port-file", dir_.File("port")});
    ASSERT_TRUE(WaitForFile(dir_.File("port"))) << server_->Errors();
    std::ifstream file(dir_.File("port"));
    std::string protocol;
    file >> protocol >> address_;
    ASSERT_EQ(protocol, "grpc");
  }

  std::vector<std::string> Command(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"gradwatch", "--server", address_});
    return arguments;
  }
  RunResult Gradwatch(std::vector<std::string> arguments) const {
    return gradwatch::testing::Run(Command(std::move(arguments)));
  }
  std::unique_ptr<Process> Start(std::vector<std::string> arguments) const {
    return std::make_unique<Process>(Command(std::move(arguments)));
  }

  // Writes a spec and submits it under an id; the test fails if it is refused.
  void Submit(const std::string& spec, const std::string& job) {
    const RunResult result = Gradwatch({"submit", dir_.Write("job.yaml", spec), "--job-id", job, "-o", "json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  Struct GetJob(const std::string& job) const { return Json(Gradwatch({"job", "get", job, "-o", "json"}).out); }
  std::string StateOf(const std::string& job) const { return Text(GetJob(job), "state"); }

  // The events of a job that has ended, one JSON object each.
  std::vector<Struct> Events(const std::string& job) const {
    std::vector<Struct> events;
    const RunResult result = Gradwatch({"watch", job, "--from-beginning", "--events-only", "-o", "json"});
    for (const auto line : absl::StrSplit(result.out, '\n', absl::SkipEmpty())) {
      Struct event = Json(std::string(line));
      if (Text(event, "type") == "event") events.push_back(std::move(event));
    }
    return events;
  }

  // Workers outlive their server: end those of this one.
  void TearDown() override {
    if (address_.empty()) return;
    for (pid_t worker = WorkerOf(""); worker > 0; worker = WorkerOf("")) kill(worker, SIGKILL);
  }

  // The process id of a worker of this server whose command line holds `text`, its job's id; -1: there is none.
  pid_t WorkerOf(const std::string& text) const {
    std::error_code gone;  // processes may end while they are looked at
    for (const auto& entry : std::filesystem::directory_iterator("/proc", gone)) {
      std::ostringstream command;
      command << std::ifstream(entry.path() / "cmdline").rdbuf();  // throws nothing when a process goes meanwhile
      if (absl::StrContains(command.str(), "gradwatch-worker") && absl::StrContains(command.str(), address_) &&
          absl::StrContains(command.str(), text)) {
        return static_cast<pid_t>(std::stol(entry.path().filename().string()));
      }
    }
    return -1;
  }

  // A job that is healthy and goes on until it is stopped.
  static constexpr char kLongJob[] = R"(
steps: 1000000000
model:
  layers:
    - dense: {units: 64}
    - activation: {function: tanh}
    - dense: {units: 4}
  loss: {function: softmax_cross_entropy}
data:
  batch_size: 64
  gaussian_clusters: {classes: 4, features: 32}
optimizer: {learning_rate: 0.01}
controls: {report_every: 10}
)";

  TempDir dir_;
  std::unique_ptr<Process> server_;
  std::string address_;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_INTEGRATION_SERVER_FIXTURE_H_
