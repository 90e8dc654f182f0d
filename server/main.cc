// gradwatchd: puts the parts of the server together, runs until it is told to stop, and takes them apart again.
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/base/clock.h"
#include "core/base/status_macros.h"
#include "server/base/data_folder.h"
#include "server/base/executor.h"
#include "server/job/job_manager.h"
#include "server/job/local_launcher.h"
#include "server/rpc/grpc_server.h"

namespace gradwatch::server {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr absl::Duration kTickEvery = absl::Seconds(1);
constexpr absl::Duration kShutdownGrace = absl::Seconds(5);

struct Options {
  std::string data_dir;
  std::string listen = "127.0.0.1:7700";
  std::string port_file;
  std::vector<std::string> data_roots;
  std::string worker;
  int max_running_jobs = 16;
};

// The worker lies beside this program.
std::string DefaultWorker() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path() / "gradwatch-worker").string();
}

// Where a process of this machine reaches a server that listens on `address`.
std::string DialAddress(const std::string& address) {
  const std::string port = address.substr(address.rfind(':'));
  if (absl::StartsWith(address, "0.0.0.0:")) return absl::StrCat("127.0.0.1", port);
  if (absl::StartsWith(address, "[::]:")) return absl::StrCat("[::1]", port);
  return address;
}

// Signals come only to Wait, so that no handler runs between two instructions of ours.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

v1::ServerInfo MakeInfo(const JobManagerOptions& options, const std::string& log_epoch) {
  v1::ServerInfo info;
  info.set_version(GRADWATCH_VERSION);
  info.set_max_running_jobs(options.max_running_jobs);
  info.set_max_parameters(options.limits.max_parameters);
  info.set_max_job_bytes(options.limits.max_bytes);
  for (const std::string& folder : options.data_roots.folders()) info.add_data_roots(folder);
  info.set_log_epoch(log_epoch);
  return info;
}

// All parts, in the order in which they need each other; they go in the opposite order.
class Daemon {
 public:
  explicit Daemon(Options options) : options_(std::move(options)) {}

  absl::Status Start() {
    GW_RETURN_IF_ERROR(OpenStores());
    GW_ASSIGN_OR_RETURN(const JobManagerOptions job_options, MakeJobOptions());
    GW_ASSIGN_OR_RETURN(launcher_,
                        LocalLauncher::Create({.program = options_.worker, .log_folder = folder_->File("logs")}));
    GW_ASSIGN_OR_RETURN(jobs_, JobManager::Create({.ledger = ledger_.get(),
                                                   .reader = reader_.get(),
                                                   .statistics = statistics_.get(),
                                                   .hub = &hub_,
                                                   .launcher = launcher_.get(),
                                                   .executor = &executor_,
                                                   .clock = &core::RealClock()},
                                                  job_options));
    GW_ASSIGN_OR_RETURN(grpc_,
                        GrpcServer::Start(options_.listen, {.jobs = jobs_.get(),
                                                            .reader = reader_.get(),
                                                            .statistics = statistics_.get(),
                                                            .hub = &hub_,
                                                            .executor = &executor_,
                                                            .clock = &core::RealClock(),
                                                            .streams = nullptr,
                                                            .info = MakeInfo(job_options, ledger_->log_epoch())}));
    launcher_->SetServerAddress(DialAddress(grpc_->address()));
    jobs_->Start();
    spdlog::info("gradwatchd {} listens on {}", GRADWATCH_VERSION, grpc_->address());
    if (options_.port_file.empty()) return absl::OkStatus();
    return ReplaceFile(options_.port_file, absl::StrCat("grpc ", grpc_->address(), "\n"), 0644);
  }

  // Until a signal comes.
  void Run(const sigset_t& signals) {
    const timespec tick = absl::ToTimespec(kTickEvery);
    for (;;) {
      const int signal = sigtimedwait(&signals, nullptr, &tick);
      if (signal > 0) return spdlog::info("signal {}: shutting down; trainers go on", signal);
      jobs_->Tick();
      grpc_->Tick();
    }
  }

  void Stop() {
    jobs_->Drain();
    grpc_->ShutDown(kShutdownGrace);
    spdlog::info("shut down");
  }

 private:
  absl::Status OpenStores() {
    GW_ASSIGN_OR_RETURN(folder_, DataFolder::Lock(options_.data_dir));
    const std::string main = folder_->File("main.sqlite");
    GW_ASSIGN_OR_RETURN(ledger_, Ledger::Open(main, &core::RealClock()));
    GW_ASSIGN_OR_RETURN(reader_, LedgerReader::Open(main));
    GW_ASSIGN_OR_RETURN(statistics_, StatisticsStore::Open(folder_->File("statistics")));
    return absl::OkStatus();
  }

  absl::StatusOr<JobManagerOptions> MakeJobOptions() {
    std::vector<std::string> roots = options_.data_roots;
    if (roots.empty()) {
      roots.push_back(folder_->File("data"));
      GW_RETURN_IF_ERROR(MakeFolder(roots[0]));
    }
    JobManagerOptions options;
    GW_ASSIGN_OR_RETURN(options.data_roots, core::DataRoots::Create(roots));
    options.max_running_jobs = options_.max_running_jobs;
    return options;
  }

  const Options options_;
  ThreadPool executor_{"executor", 4};
  std::unique_ptr<DataFolder> folder_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<LedgerReader> reader_;
  std::unique_ptr<StatisticsStore> statistics_;
  Hub hub_{std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / 4)};
  std::unique_ptr<LocalLauncher> launcher_;
  std::unique_ptr<JobManager> jobs_;
  std::unique_ptr<GrpcServer> grpc_;
};

void SetUpLog() {
  auto logger = std::make_shared<spdlog::logger>("gradwatchd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
}

int RunDaemon(Options options) {
  const sigset_t signals = BlockSignals();
  SetUpLog();
  Daemon daemon(std::move(options));
  if (const absl::Status status = daemon.Start(); !status.ok()) {
    fprintf(stderr, "gradwatchd: %s\n", std::string(status.message()).c_str());
    return absl::IsInvalidArgument(status) ? kExitUsage : kExitFailure;
  }
  daemon.Run(signals);
  daemon.Stop();
  return 0;
}

int Main(int argc, char** argv) {
  Options options;
  options.worker = DefaultWorker();
  CLI::App app("gradwatchd: runs training jobs and watches every gradient of every step");
  app.set_version_flag("--version", absl::StrCat("gradwatchd ", GRADWATCH_VERSION));
  app.add_option("--data-dir", options.data_dir, "Folder of all that the server keeps; made if absent")->required();
  app.add_option("--listen", options.listen, "Address and port; port 0: a free one")->capture_default_str();
  app.add_option("--port-file", options.port_file, "File to write the bound address to");
  app.add_option("--data-root", options.data_roots,
                 "Folder below which data files of jobs may lie; may be given several times (default: DATA-DIR/data)");
  app.add_option("--max-running-jobs", options.max_running_jobs, "Jobs that run at once; more wait")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  app.add_option("--worker", options.worker, "Program that runs a job")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  return RunDaemon(std::move(options));
}

}  // namespace
}  // namespace gradwatch::server

int main(int argc, char** argv) {
#ifdef NDEBUG
  // Debian builds Abseil with its detector of lock cycles on, which takes one lock for all at every lock.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
  return gradwatch::server::Main(argc, argv);
}
