// gradwatch-worker: trains one job, for a server that it attaches to or alone.
#include <malloc.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <stdlib.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include "absl/synchronization/mutex.h"
#include "client/lib/number_option.h"
#include "client/lib/printable.h"
#include "client/lib/standard_streams.h"
#include "client/worker/attached_run.h"
#include "client/worker/check.h"
#include "client/worker/exit_code.h"
#include "client/worker/local_run.h"
#include "client/worker/signal_watch.h"
#include "core/base/error.h"

namespace gradwatch::worker {
namespace {

constexpr char kTokenVariable[] = "GRADWATCH_ATTACH_TOKEN";
constexpr size_t kMaxToken = 4096;

// The secret, taken out of the environment so that nothing else gets to see it.
std::string TakeTokenFromEnvironment() {
  const char* token = getenv(kTokenVariable);
  if (token == nullptr) return "";
  std::string copy = token;
  unsetenv(kTokenVariable);
  return copy;
}

// The secret that lies in a file that is open already; it is closed. Nothing: it cannot be read.
std::optional<std::string> TakeTokenFrom(int descriptor) {
  std::string token;
  char block[kMaxToken];
  ssize_t count = 0;
  while (token.size() < kMaxToken && (count = read(descriptor, block, sizeof block - token.size())) > 0) {
    token.append(block, count);
  }
  close(descriptor);
  if (count < 0) return std::nullopt;
  return token;
}

void SetUpLog() {
  auto logger = spdlog::stderr_logger_mt("gradwatch-worker");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %L %v");
  spdlog::set_default_logger(std::move(logger));
}

ExitCode RefuseRun(const absl::Status& status) {
  const std::vector<core::FieldViolation> violations = core::GetFieldViolations(status);
  for (const core::FieldViolation& violation : violations) {
    std::fprintf(stderr, "gradwatch-worker: %s: %s\n", client::Printable(violation.field).c_str(),
                 client::Printable(violation.description).c_str());
  }
  if (violations.empty()) std::fprintf(stderr, "gradwatch-worker: %s\n", client::Printable(status.message()).c_str());
  return ExitCodeOf(status);
}

// Writes what is left of standard output; says so, and turns `code` into a failure, if it cannot.
ExitCode FlushOutput(ExitCode code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  std::perror("gradwatch-worker: standard output");
  return kFailure;
}

ExitCode RunAlone(const LocalRunOptions& options, bool as_table) {
  const sigset_t stop_signals = BlockSignals({SIGTERM, SIGINT});
  absl::StatusOr<LocalRun> run = LocalRun::Prepare(options);
  if (!run.ok()) return RefuseRun(run.status());
  if (!run->data_note().empty()) {
    std::fprintf(stderr, "gradwatch-worker: data: %s\n", client::Printable(run->data_note()).c_str());
  }
  SignalWatch watch(stop_signals, [&run] { run->Stop(); });
  const RunSummary summary = run->Run();
  std::fputs(as_table ? ToTable(summary).c_str() : (ToJson(summary) + "\n").c_str(), stdout);
  return FlushOutput(ExitCodeOf(summary.result.state));
}

ExitCode RunForServer(AttachedRunOptions options, int token_descriptor) {
  // Whoever presses Ctrl-C means the server, which outlives nobody's terminal; its jobs go on.
  std::signal(SIGINT, SIG_IGN);
  const sigset_t stop_signals = BlockSignals({SIGTERM});
  options.attach_token = TakeTokenFromEnvironment();
  if (token_descriptor >= 0) {
    std::optional<std::string> token = TakeTokenFrom(token_descriptor);
    if (!token.has_value()) return RefuseRun(absl::InvalidArgumentError("--token-fd: it cannot be read"));
    options.attach_token = *std::move(token);
  }
  return RunAttached(options, stop_signals);
}

constexpr int64_t kMaxSteps = 1'000'000'000'000;  // the most that a spec may ask for

// What the arguments say.
struct CommandLine {
  AttachedRunOptions attached;
  int token_descriptor = -1;
  LocalRunOptions local;
  std::string output = "json";
  CheckOptions check;
};

void AddAttach(CLI::App* app, CommandLine* line) {
  CLI::App* attach = app->add_subcommand("attach", "Run a job of a server; started by the server");
  attach->footer(std::string("Without --token-fd the environment variable ") + kTokenVariable +
                 " holds the secret of the attempt.");
  attach->add_option("--server", line->attached.server, "Address of the server: host:port or unix:path")->required();
  attach->add_option("--job", line->attached.job_id, "Id of the job")->required();
  client::AddWholeOption(*attach, "--attempt", line->attached.attempt, "Number of the attempt",
                         {.least = 1, .most = std::numeric_limits<int>::max(), .name = "the number of an attempt"})
      ->required();
  client::AddWholeOption(*attach, "--token-fd", line->token_descriptor,
                         "Number of an open file that holds the secret of the attempt",
                         {.least = 3, .most = 1 << 20, .name = "a whole number from 3 to 1048576"});
  client::AddWholeOption(
      *attach, "--report-bytes", line->attached.report_bytes,
      "Memory for reports that the server does not have; what is beyond the default is in no estimate",
      {.least = 1, .most = int64_t{1} << 36, .name = "a number of bytes from 1 to 2^36"})
      ->capture_default_str();
  attach->add_option("--last-words", line->attached.last_words,
                     "File to leave in what the server could not be told by the end of the run");
}

CLI::App* AddTrain(CLI::App* app, CommandLine* line) {
  const std::map<std::string, v1::StatisticsLevel> levels = {
      {"none", v1::STATISTICS_LEVEL_NONE}, {"norm", v1::STATISTICS_LEVEL_NORM}, {"full", v1::STATISTICS_LEVEL_FULL}};
  CLI::App* train = app->add_subcommand("train", "Run a job without a server");
  train->add_option("spec", line->local.spec_path, "The job: a file in YAML, JSON or textproto")->required();
  client::AddWholeOption(*train, "--steps", line->local.steps, "Number of steps, instead of the spec's",
                         {.least = 1, .most = kMaxSteps, .name = "a whole number from 1 to 10^12"});
  train->add_option("--report", line->local.report_level, "What is measured: none, norm or full; instead of the spec's")
      ->transform(CLI::CheckedTransformer(levels, CLI::ignore_case).description(""));
  train
      ->add_option("--data-root", line->local.data_roots,
                   "Folder below which data files may lie; may be repeated. Default: the spec's and the present one")
      ->allow_extra_args(false);
  train->add_option("-o,--output", line->output, "How the result is printed: json or table")
      ->capture_default_str()
      ->check(CLI::IsMember({"json", "table"}).description(""));
  return train;
}

CLI::App* AddCheck(CLI::App* app, CommandLine* line) {
  CLI::App* check = app->add_subcommand("check", "Internal: check a spec for a server, within limits");
  check->footer(
      "Reads what is asked from standard input and writes the answer to standard output, in a form of their own.");
  client::AddWholeOption(*check, "--max-bytes", line->check.max_bytes, "Memory that it may take, as address space",
                         {.least = 1, .most = int64_t{1} << 50, .name = "a number of bytes from 1 to 2^50"})
      ->capture_default_str();
  client::AddWholeOption(*check, "--max-seconds", line->check.max_seconds, "Processor time that it may take",
                         {.least = 1, .most = int64_t{1} << 30, .name = "a number of seconds from 1 to 2^30"})
      ->capture_default_str();
  return check;
}

int Main(int argc, char** argv) {
  CLI::App app("Trains one gradwatch job and reports every step.", "gradwatch-worker");
  app.set_version_flag("--version", GRADWATCH_VERSION);
  app.require_subcommand(1);
  CommandLine line;
  AddAttach(&app, &line);
  const CLI::App* const train = AddTrain(&app, &line);
  const CLI::App* const check = AddCheck(&app, &line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    const bool ok = app.exit(error, out, err) == 0;  // help and version
    std::fputs(client::PrintableLines(out.str()).c_str(), stdout);
    std::fputs(client::PrintableLines(err.str()).c_str(), stderr);
    return ok ? FlushOutput(kSuccess) : kUsage;
  }
  if (check->parsed()) return RunCheck(line.check);
  SetUpLog();
  std::signal(SIGPIPE, SIG_IGN);  // standard error may be a pipe to a server that is gone
  if (train->parsed()) {
    line.local.show_progress = isatty(STDERR_FILENO) != 0;
    return RunAlone(line.local, line.output == "table");
  }
  return RunForServer(std::move(line.attached), line.token_descriptor);
}

}  // namespace
}  // namespace gradwatch::worker

int main(int argc, char** argv) {
  // Blocks of this size and more go back to the system as soon as they are freed. glibc would raise the bound to what
  // is freed, up to 32 MiB, and keep what draws the weights or reads a file beside the network that comes after it.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  gradwatch::client::HoldClosedStandardStreams();
#ifdef NDEBUG
  // Debian's Abseil looks for deadlocks under one global lock at every Lock.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
  return gradwatch::worker::Main(argc, argv);
}
