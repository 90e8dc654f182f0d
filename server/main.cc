// gradwatchd: puts the parts of the server together, runs until it is told to stop, and takes them apart again.
#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/base/clock.h"
#include "core/base/decimal.h"
#include "core/base/status_macros.h"
#include "core/base/utf8.h"
#include "server/api/api.h"
#include "server/base/data_folder.h"
#include "server/base/executor.h"
#include "server/base/process_limits.h"
#include "server/history/legacy_statistics.h"
#include "server/history/statistics_store.h"
#include "server/job/job_manager.h"
#include "server/job/local_launcher.h"
#include "server/job/process_spec_checker.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/listener.h"
#include "server/stream/event_channel.h"
#include "server/stream/ring_budget.h"

namespace gradwatch::server {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr absl::Duration kTickEvery = absl::Seconds(1);
// With the stores to be closed after it, two seconds in all.
constexpr absl::Duration kShutdownGrace = absl::Milliseconds(1500);
constexpr int kRequestThreads = 4;
constexpr int kSlowThreads = 2;
constexpr int kQuestionThreads = 2;
constexpr int kCatchUpThreads = 2;
// What is kept in memory of logs, for those who follow them: of all jobs together, and of one log.
constexpr size_t kRingBytes = size_t{256} << 20;
constexpr size_t kRingBytesOfOne = size_t{8} << 20;
constexpr size_t kEventRingBytes = size_t{8} << 20;

struct Options {
  std::string data_dir;
  std::string listen = "127.0.0.1:7700";
  bool insecure = false;
  std::string port_file;
  std::vector<std::string> data_roots;
  std::string worker;
  int max_running_jobs = 16;
  double lost_after = absl::ToDoubleSeconds(LeaseTimes().lost_after);
  double lost_after_external = absl::ToDoubleSeconds(LeaseTimes().lost_after_external);
  int64_t statistics_mib = 4096;
  int64_t job_statistics_mib = 1024;
  double statistics_days = 0;
};

// The worker lies beside this program.
std::string DefaultWorker() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path() / "gradwatch-worker").string();
}

// Signals come only to Run, so that no handler runs between two instructions of ours. One that comes during the
// shutdown changes nothing: it takes two seconds, and what is acknowledged would survive kill -9 too.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

// Whether one has come that Run has not taken yet.
bool IsSignalled() {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1 ||
         sigismember(&pending, SIGHUP) == 1;
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

// What the allocator keeps of requests and checks that are over.
void GiveMemoryBack() {
  constexpr size_t kMuch = size_t{64} << 20;
  if (mallinfo2().fordblks > kMuch) malloc_trim(0);
}

int LiveThreads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / 4); }

// All parts, in the order in which they need each other; they go in the opposite order.
class Daemon {
 public:
  explicit Daemon(Options options) : options_(std::move(options)) {}

  absl::Status Start() {
    const int64_t descriptors = RaiseDescriptorLimit();
    // First, so that a bad address changes nothing; who connects waits until the jobs are known.
    GW_ASSIGN_OR_RETURN(auto listener, Listener::Open(options_.listen, options_.insecure));
    GW_RETURN_IF_ERROR(OpenStores());
    GW_ASSIGN_OR_RETURN(const JobManagerOptions job_options, MakeJobOptions(MaxRunningJobs(descriptors)));
    GW_RETURN_IF_ERROR(MakeJobs(job_options, listener->dial_address()));
    api_ = std::make_unique<Api>(ApiDependencies{.jobs = jobs_.get(),
                                                 .reader = reader_.get(),
                                                 .statistics = statistics_.get(),
                                                 .hub = &hub_,
                                                 .events = events_.get(),
                                                 .requests = &requests_,
                                                 .questions = &questions_,
                                                 .clock = clock_,
                                                 .info = MakeInfo(job_options, ledger_->log_epoch())});
    const RpcContext context = {.api = api_.get(), .jobs = jobs_.get(), .clock = clock_, .streams = nullptr};
    GW_ASSIGN_OR_RETURN(grpc_, GrpcServer::Start(std::move(listener), context, MaxConnections(descriptors)));
    jobs_->Start();
    return TellAddress(grpc_->listener());
  }

  // Until a signal comes.
  void Run(const sigset_t& signals) {
    const timespec tick = absl::ToTimespec(kTickEvery);
    for (;;) {
      const int signal = sigtimedwait(&signals, nullptr, &tick);
      if (signal > 0) return spdlog::info("signal {}: shutting down; trainers go on", signal);
      jobs_->Tick();
      rings_.Tick(clock_->Monotonic());
      api_->Tick();
      grpc_->Tick();
      GiveMemoryBack();
    }
  }

  void Stop() {
    jobs_->Drain();
    grpc_->ShutDown(kShutdownGrace);
    grpc_.reset();
    api_.reset();
    spdlog::info("shut down");
  }

 private:
  absl::Status TellAddress(const Listener& listener) const {
    spdlog::info("gradwatchd {} listens on {}", GRADWATCH_VERSION, listener.address());
    if (!listener.is_local()) {
      spdlog::warn("other machines can reach it: nothing is encrypted, and nobody is asked who they are");
    }
    if (options_.port_file.empty()) return absl::OkStatus();
    return ReplaceFile(options_.port_file, absl::StrCat("grpc ", listener.address(), "\n"), 0644);
  }

  absl::Status OpenStores() {
    GW_ASSIGN_OR_RETURN(folder_, DataFolder::Lock(options_.data_dir));
    const std::string main = folder_->File("main.sqlite");
    GW_ASSIGN_OR_RETURN(ledger_, Ledger::Open(main, &core::RealClock()));
    GW_ASSIGN_OR_RETURN(reader_, LedgerReader::Open(main));
    GW_ASSIGN_OR_RETURN(const int64_t last_position, reader_->LastPosition());
    events_ = std::make_unique<EventChannel>(last_position, kEventRingBytes);
    StoreOptions store;
    store.knows_budgets = false;  // the jobs do, which are recovered later
    store.clock = clock_;
    store.max_bytes = options_.statistics_mib << 20;
    store.job_budget.max_bytes = options_.job_statistics_mib << 20;
    store.job_budget.max_age = absl::Hours(24 * options_.statistics_days);
    GW_ASSIGN_OR_RETURN(statistics_, StatisticsStore::Open(folder_->File("history"), std::move(store)));
    // Those of an older version; before the port opens, since trainers go on where their statistics end. What cannot be
    // moved now, as on a full disk, is moved by the next start, and so is what is left when the server is told to end.
    const absl::Status moved = MoveLegacyStatistics(folder_->File("statistics"), statistics_.get(), IsSignalled);
    if (!moved.ok()) spdlog::error("statistics of an older version stay where they are: {}", moved.ToString());
    return absl::OkStatus();
  }

  absl::Status MakeJobs(const JobManagerOptions& options, const std::string& dial_address) {
    GW_ASSIGN_OR_RETURN(launcher_, LocalLauncher::Create({.program = options_.worker,
                                                          .log_folder = folder_->File("logs"),
                                                          .words_folder = options.words_folder}));
    launcher_->SetServerAddress(dial_address);
    GW_ASSIGN_OR_RETURN(checker_,
                        ProcessSpecChecker::Create(
                            {.program = options_.worker, .data_roots = options.data_roots, .limits = options.limits}));
    GW_ASSIGN_OR_RETURN(jobs_, JobManager::Create({.ledger = ledger_.get(),
                                                   .reader = reader_.get(),
                                                   .statistics = statistics_.get(),
                                                   .hub = &hub_,
                                                   .events = events_.get(),
                                                   .rings = &rings_,
                                                   .launcher = launcher_.get(),
                                                   .executor = &slow_,
                                                   .checker = checker_.get(),
                                                   .clock = clock_},
                                                  options));
    return absl::OkStatus();
  }

  absl::StatusOr<JobManagerOptions> MakeJobOptions(int max_running_jobs) {
    std::vector<std::string> roots = options_.data_roots;
    if (roots.empty()) {
      roots.push_back(folder_->File("data"));
      GW_RETURN_IF_ERROR(MakeFolder(roots[0]));
    }
    JobManagerOptions options;
    options.words_folder = folder_->File("words");
    GW_ASSIGN_OR_RETURN(options.data_roots, core::DataRoots::Create(roots));
    options.lease.lost_after = absl::Seconds(options_.lost_after);
    options.lease.lost_after_external = absl::Seconds(options_.lost_after_external);
    options.max_running_jobs = std::min(options_.max_running_jobs, max_running_jobs);
    if (options.max_running_jobs < options_.max_running_jobs) {
      spdlog::warn("at most {} jobs run at once: the limit of open files (ulimit -Hn) is not enough for {}",
                   options.max_running_jobs, options_.max_running_jobs);
    }
    return options;
  }

  const Options options_;
  const core::Clock* const clock_ = &core::RealClock();
  ThreadPool requests_{"requests", kRequestThreads};  // quick calls; nothing here waits for a file of a user's
  ThreadPool slow_{"slow", kSlowThreads};
  ThreadPool questions_{"questions", kQuestionThreads};  // about statistics: they read much
  std::unique_ptr<DataFolder> folder_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<LedgerReader> reader_;
  std::unique_ptr<StatisticsStore> statistics_;
  RingBudget rings_{kRingBytes, kRingBytesOfOne};
  std::unique_ptr<EventChannel> events_;
  Hub hub_{LiveThreads(), kCatchUpThreads};
  std::unique_ptr<LocalLauncher> launcher_;
  std::unique_ptr<JobManager> jobs_;
  // Goes before the manager, which waits for answers: it gives them all. Nobody asks it any more then.
  std::unique_ptr<ProcessSpecChecker> checker_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<GrpcServer> grpc_;
};

void SetUpLog() {
  auto logger = std::make_shared<spdlog::logger>("gradwatchd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
}

// gRPC and Protobuf quote what peers have sent, which may be anything.
void SetUpLogOfLibraries() {
  gpr_set_log_function([](gpr_log_func_args* said) {
    if (said->severity == GPR_LOG_SEVERITY_ERROR) spdlog::warn("gRPC: {}", core::Printable(said->message));
  });
  google::protobuf::SetLogHandler([](google::protobuf::LogLevel, const char*, int, const std::string& said) {
    spdlog::warn("Protobuf: {}", core::Printable(said));
  });
}

// What nobody catches ends the process, mostly memory that could not be had; the log says what it was.
[[noreturn]] void Die() {
  try {
    if (const auto exception = std::current_exception()) std::rethrow_exception(exception);
    fputs("gradwatchd: std::terminate\n", stderr);
  } catch (const std::exception& exception) {
    fprintf(stderr, "gradwatchd: ends by an exception: %s\n", exception.what());
  } catch (...) {
    fputs("gradwatchd: ends by an exception of no known kind\n", stderr);
  }
  std::abort();
}

int RunDaemon(Options options) {
  const sigset_t signals = BlockSignals();
  std::set_terminate(Die);
  SetUpLog();
  SetUpLogOfLibraries();
  Daemon daemon(std::move(options));
  if (const absl::Status status = daemon.Start(); !status.ok()) {
    fprintf(stderr, "gradwatchd: %s\n", std::string(status.message()).c_str());
    return absl::IsInvalidArgument(status) ? kExitUsage : kExitFailure;
  }
  daemon.Run(signals);
  daemon.Stop();
  return 0;
}

// Decimal, also as "1e3"; written anew, since CLI11 would read "010" as 8, "0x10" as 16.
std::string ReadRunningJobs(std::string& text) {
  constexpr int kMost = 10'000;
  const std::optional<double> value = core::ParseDecimal(text);
  if (!value.has_value()) return absl::StrCat("\"", core::Printable(text), "\" is not a decimal number");
  if (!(*value >= 1 && *value <= kMost) || *value != std::floor(*value)) {
    return absl::StrCat("\"", core::Printable(text), "\" is not a whole number from 1 to ", kMost);
  }
  text = absl::StrCat(static_cast<int>(*value));
  return "";
}

// Decimal MiB, also as "1e3"; 0: any number.
std::string ReadMebibytes(std::string& text) {
  constexpr double kMost = 1'000'000'000;
  const std::optional<double> value = core::ParseDecimal(text);
  if (!value.has_value()) return absl::StrCat("\"", core::Printable(text), "\" is not a decimal number");
  if (!(*value >= 0 && *value <= kMost) || *value != std::floor(*value)) {
    return absl::StrCat("\"", core::Printable(text), "\" is not a whole number from 0 to ",
                        static_cast<int64_t>(kMost));
  }
  text = absl::StrCat(static_cast<int64_t>(*value));
  return "";
}

// Decimal days; 0: any age.
std::string ReadDays(std::string& text) {
  constexpr double kMost = 36'500;
  const std::optional<double> value = core::ParseDecimal(text);
  if (!value.has_value()) return absl::StrCat("\"", core::Printable(text), "\" is not a decimal number");
  if (!(*value >= 0 && *value <= kMost)) {
    return absl::StrCat("\"", core::Printable(text), "\" is not a number from 0 to ", static_cast<int64_t>(kMost));
  }
  return "";
}

// Decimal seconds, from 1 to 30 days.
std::string ReadSeconds(std::string& text) {
  constexpr double kMost = 2'592'000;
  const std::optional<double> value = core::ParseDecimal(text);
  if (!value.has_value()) return absl::StrCat("\"", core::Printable(text), "\" is not a decimal number");
  if (!(*value >= 1 && *value <= kMost)) {
    return absl::StrCat("\"", core::Printable(text), "\" is not a number from 1 to ", static_cast<int64_t>(kMost));
  }
  return "";
}

int Main(int argc, char** argv) {
  Options options;
  options.worker = DefaultWorker();
  CLI::App app("gradwatchd: runs training jobs and watches every gradient of every step");
  app.set_version_flag("--version", absl::StrCat("gradwatchd ", GRADWATCH_VERSION));
  app.add_option("--data-dir", options.data_dir, "Folder of all that the server keeps; made if absent")->required();
  app.add_option("--listen", options.listen,
                 "ADDRESS:PORT (port 0: a free one), or unix:PATH for a socket file that its user alone may use")
      ->capture_default_str();
  app.add_flag("--insecure", options.insecure,
               "Let --listen name an address that other machines can reach, though nothing is encrypted and whoever "
               "reaches the server may do everything");
  app.add_option("--port-file", options.port_file,
                 "File to write \"grpc ADDRESS\" to, with the port that was bound, when the server listens");
  app.add_option("--data-root", options.data_roots,
                 "Folder below which data files of jobs may lie; may be given several times (default: DATA-DIR/data)");
  app.add_option("--max-running-jobs", options.max_running_jobs, "Jobs that run at once; more wait")
      ->transform(CLI::Validator(ReadRunningJobs, ""))
      ->capture_default_str();
  app.add_option(
         "--lost-after", options.lost_after,
         "Seconds for which a job waits for its worker to come, or to be heard again; then the worker is killed "
         "and the job has failed")
      ->check(CLI::Validator(ReadSeconds, ""))
      ->capture_default_str();
  app.add_option("--lost-after-external", options.lost_after_external,
                 "The same of jobs whose trainers attach by themselves; nothing is killed")
      ->check(CLI::Validator(ReadSeconds, ""))
      ->capture_default_str();
  app.add_option(
         "--statistics-budget", options.statistics_mib,
         "MiB of reports that are kept of all jobs together; the oldest go first, those around alerts last, and "
         "a quarter of it more is for ranges of 16 steps (0: any number)")
      ->transform(CLI::Validator(ReadMebibytes, ""))
      ->capture_default_str();
  app.add_option("--job-statistics-budget", options.job_statistics_mib,
                 "The same of one job, unless its spec says how much (0: any number)")
      ->transform(CLI::Validator(ReadMebibytes, ""))
      ->capture_default_str();
  app.add_option("--statistics-max-age", options.statistics_days,
                 "Days for which reports are kept, unless a job's spec says how long (0: any time)")
      ->check(CLI::Validator(ReadDays, ""))
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
