#include "client/worker/check.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/error.h"
#include "core/base/file_descriptor.h"
#include "core/detect/presets.h"
#include "core/spec/spec_check.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::worker {
namespace {

constexpr int kNice = 19;                  // as threads that train: the last level
constexpr size_t kMaxQuestion = 16 << 20;  // four times what a call to the server may carry
constexpr rlim_t kMaxAnswer = 64 << 20;

void Limit(int resource, rlim_t value) {
  const rlimit limit = {value, value};
  setrlimit(resource, &limit);  // lowering one's own limits cannot fail
}

void SetLimits(const CheckOptions& options) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setpriority(PRIO_PROCESS, 0, kNice);
  Limit(RLIMIT_CORE, 0);
  Limit(RLIMIT_FSIZE, kMaxAnswer);
  // Also if whoever started it ended before it said that it wants to end then.
  Limit(RLIMIT_CPU, static_cast<rlim_t>(options.max_seconds));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which reserve terabytes of addresses
  Limit(RLIMIT_AS, static_cast<rlim_t>(options.max_bytes));
#endif
}

absl::StatusOr<std::string> ReadQuestion() {
  std::string question;
  for (char block[64 << 10];;) {
    const ssize_t count = read(STDIN_FILENO, block, sizeof block);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, "standard input");
    if (count == 0) return question;
    question.append(block, count);
    if (question.size() > kMaxQuestion) return absl::InvalidArgumentError("the spec is too large to be checked");
  }
}

absl::StatusOr<std::string> Answer() {
  absl::StatusOr<std::string> question = ReadQuestion();
  if (!question.ok()) return question;
  return core::AnswerSpecCheck(*question);
}

}  // namespace

ExitCode RunCheck(const CheckOptions& options) {
  // Before memory is limited: what protobuf makes when it first describes messages does not survive to be refused any.
  v1::JobSpec::descriptor();
  core::PresetRules(core::kDefaultPreset);
  SetLimits(options);
  absl::StatusOr<std::string> answer = core::OrOutOfMemory("to check the spec", Answer);
  if (!answer.ok()) answer = core::EncodeSpecCheckAnswer(answer.status());
  if (core::WriteAll(STDOUT_FILENO, *answer)) return kSuccess;
  std::perror("gradwatch-worker: standard output");
  return kFailure;
}

}  // namespace gradwatch::worker
