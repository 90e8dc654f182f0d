#include "server/job/process_spec_checker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/thread_name.h"
#include "core/data/data_source.h"
#include "core/spec/spec_check.h"
#include "server/base/shutting_down.h"
#include "server/job/child_process.h"

namespace gradwatch::server {
namespace {

constexpr int64_t kMaxAnswer = 64 << 20;
constexpr int64_t kMaxErrors = 4096;
// A process that was killed is gone at once, unless it hangs in the kernel.
constexpr absl::Duration kMaxDying = absl::Seconds(2);

absl::Duration Now() { return core::RealClock().Monotonic(); }

absl::Status TooManyWait(absl::string_view how) {
  return core::WithReason(absl::ResourceExhaustedError(absl::StrCat(how, "; try later")), "CHECKS_WAITING");
}

// The whole file, or its last `max_bytes`.
std::string ReadLast(const core::FileDescriptor& file, int64_t max_bytes) {
  struct stat info;
  if (fstat(file.get(), &info) != 0) return {};
  std::string bytes(std::min<int64_t>(info.st_size, max_bytes), '\0');
  const int64_t from = info.st_size - static_cast<int64_t>(bytes.size());
  int64_t done = 0;
  while (done < static_cast<int64_t>(bytes.size())) {
    const ssize_t count = pread(file.get(), bytes.data() + done, bytes.size() - done, from + done);
    if (count <= 0 && errno != EINTR) break;
    done += std::max<ssize_t>(count, 0);
  }
  bytes.resize(done);
  return bytes;
}

// About the files that a spec names, so that whoever wrote it knows which one it is.
absl::Status AboutFiles(const std::string& field, const std::string& files, absl::Status status) {
  if (field.empty()) return status;
  return core::WithFieldPrefix(
      field, core::WithReason(absl::Status(status.code(), absl::StrCat(files, ": ", status.message())),
                              core::GetReason(status)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessSpecChecker>> ProcessSpecChecker::Create(ProcessSpecCheckerOptions options) {
  std::error_code error;
  if (std::filesystem::is_directory(options.program, error) || access(options.program.c_str(), X_OK) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("worker ", options.program, ": no program that may be run"));
  }
  return std::unique_ptr<ProcessSpecChecker>(new ProcessSpecChecker(std::move(options)));
}

ProcessSpecChecker::ProcessSpecChecker(ProcessSpecCheckerOptions options) : options_(std::move(options)) {
  thread_ = std::thread([this] {
    core::NameThisThread("checker");
    Work();
  });
}

ProcessSpecChecker::~ProcessSpecChecker() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  thread_.join();
  std::vector<Done> unanswered;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& request : waiting_) unanswered.push_back(std::exchange(request->done, nullptr));
    for (const auto& [pid, running] : running_) {
      unanswered.push_back(std::exchange(running.request->done, nullptr));
      watcher_.Kill(pid);
    }
    const auto gone = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_.empty(); };
    mutex_.AwaitWithTimeout(absl::Condition(&gone), kMaxDying);
  }
  for (Done& done : unanswered) {
    if (done != nullptr) done(ShuttingDown());
  }
}

void ProcessSpecChecker::Check(v1::JobSpec spec, Done done) {
  const std::vector<core::NamedFile> files = core::DataFilesOf(spec.data());
  if (files.empty() && spec.ByteSizeLong() <= options_.max_in_place_bytes) {
    return done(core::ValidateJob(spec, options_.data_roots, options_.limits));
  }
  auto request = std::make_shared<Request>();
  request->bytes = core::EncodeSpecCheck(spec, options_.data_roots, options_.limits);
  if (files.size() == 1) request->field = absl::StrCat("data.", files[0].field);
  if (files.size() > 1) request->field = "data";
  request->files = absl::StrJoin(
      files, " and ", [](std::string* text, const core::NamedFile& file) { absl::StrAppend(text, file.path); });
  {
    absl::MutexLock lock(&mutex_);
    if (!closing_ && static_cast<int>(waiting_.size()) < options_.max_waiting) {
      request->done = std::move(done);
      request->asked = Now();
      waiting_.push_back(std::move(request));
      return;
    }
    if (closing_) request = nullptr;
  }
  if (request == nullptr) return done(ShuttingDown());
  done(TooManyWait(absl::StrCat(options_.max_waiting, " checks of data files wait already")));
}

bool ProcessSpecChecker::CanStart() const {
  return !waiting_.empty() && static_cast<int>(running_.size()) < options_.max_running;
}

absl::Duration ProcessSpecChecker::NextDeadline() const {
  absl::Duration next = absl::InfiniteDuration();
  for (const auto& [pid, running] : running_) next = std::min(next, running.deadline);
  return next;
}

void ProcessSpecChecker::Work() {
  for (;;) {
    std::shared_ptr<Request> next;
    {
      absl::MutexLock lock(&mutex_);
      const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || CanStart(); };
      mutex_.AwaitWithTimeout(absl::Condition(&has_work), NextDeadline() - Now());
      if (closing_) return;
      if (CanStart()) {
        next = std::move(waiting_.front());
        waiting_.pop_front();
      }
    }
    if (next != nullptr && Now() - next->asked > options_.max_wait) {
      next->done(TooManyWait("it has waited too long behind other checks of data files"));
    } else if (next != nullptr) {
      Start(std::move(next));
    }
    EndOverdue();
  }
}

void ProcessSpecChecker::Start(std::shared_ptr<Request> request) {
  auto output = std::make_unique<Output>();
  const absl::StatusOr<int32_t> pid = Spawn(*request, output.get());
  if (!pid.ok()) {
    return request->done(
        absl::Status(pid.status().code(), absl::StrCat("the check could not be started: ", pid.status().message())));
  }
  request->bytes.clear();
  {
    absl::MutexLock lock(&mutex_);
    running_[*pid] = {.request = std::move(request), .deadline = Now() + options_.max_time};
  }
  watcher_.WatchChild(
      *pid, [this, pid = *pid, output = std::move(output)](const ProcessEnd& end) { OnEnded(pid, *output, end); });
}

absl::StatusOr<int32_t> ProcessSpecChecker::Spawn(const Request& request, Output* output) const {
  GW_ASSIGN_OR_RETURN(const core::FileDescriptor question, MemoryForChild("spec check"));
  GW_ASSIGN_OR_RETURN(output->answer, MemoryForChild("spec check answer"));
  GW_ASSIGN_OR_RETURN(output->errors, MemoryForChild("spec check errors"));
  if (!core::WriteAll(question.get(), request.bytes) || lseek(question.get(), 0, SEEK_SET) != 0) {
    return absl::ResourceExhaustedError("no memory for what is asked");
  }
  ChildProcess check = {.program = options_.program,
                        .arguments = options_.prefix,
                        .descriptors = {&question, &output->answer, &output->errors}};
  const int64_t seconds = std::max<int64_t>(absl::ToInt64Seconds(options_.max_work), 1);
  check.arguments.insert(check.arguments.end(), {"check", "--max-bytes", absl::StrCat(options_.max_bytes),
                                                 "--max-seconds", absl::StrCat(seconds)});
  return StartChild(check);
}

void ProcessSpecChecker::EndOverdue() {
  std::vector<std::pair<std::shared_ptr<Request>, Done>> overdue;
  {
    absl::MutexLock lock(&mutex_);
    for (auto& [pid, running] : running_) {
      if (running.deadline > Now()) continue;
      running.deadline = absl::InfiniteDuration();
      watcher_.Kill(pid);
      overdue.emplace_back(running.request, std::exchange(running.request->done, nullptr));
    }
  }
  for (auto& [request, done] : overdue) done(TookTooLong(*request, absl::FormatDuration(options_.max_time)));
}

void ProcessSpecChecker::OnEnded(int32_t pid, const Output& output, ProcessEnd end) {
  std::shared_ptr<Request> request;
  Done done;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = running_.find(pid);
    request = std::move(found->second.request);
    done = std::exchange(request->done, nullptr);
    running_.erase(found);
  }
  if (done != nullptr) done(ReadAnswer(*request, output, std::move(end)));
}

absl::StatusOr<core::ValidatedJob> ProcessSpecChecker::ReadAnswer(const Request& request, const Output& output,
                                                                  ProcessEnd end) const {
  if (end.signal == SIGXCPU) {
    return TookTooLong(request, absl::StrCat(absl::FormatDuration(options_.max_work), " of processor time"));
  }
  if (end.signal == 0 && end.exit_code == 0) {
    absl::StatusOr<core::ValidatedJob> answer = core::DecodeSpecCheckAnswer(ReadLast(output.answer, kMaxAnswer));
    const bool names_no_file =
        core::GetReason(answer.status()) == "OUT_OF_MEMORY" && core::GetFieldViolations(answer.status()).empty();
    if (names_no_file) return AboutFiles(request.field, request.files, answer.status());
    if (!absl::IsDataLoss(answer.status())) return answer;
  }
  end.last_output = ReadLast(output.errors, kMaxErrors);
  return AboutFiles(
      request.field, request.files,
      core::WithReason(absl::UnknownError(absl::StrCat("the check gave no answer: ", end.ToString())), "CHECK_FAILED"));
}

absl::Status ProcessSpecChecker::TookTooLong(const Request& request, const std::string& limit) {
  return AboutFiles(request.field, request.files,
                    core::WithReason(absl::ResourceExhaustedError(absl::StrCat("checking it took more than ", limit)),
                                     "CHECK_LIMIT"));
}

}  // namespace gradwatch::server
