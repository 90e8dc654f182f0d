#include "server/base/process_limits.h"

#include <sys/resource.h>

#include <algorithm>

namespace gradwatch::server {
namespace {

constexpr int64_t kReserve = 128;
constexpr int64_t kMostConnections = 16'384;
constexpr int64_t kDescriptorsOfAJob = 6;

}  // namespace

int64_t RaiseDescriptorLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const rlim_t soft = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = soft;
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, INT32_MAX));
}

int MaxConnections(int64_t limit) {
  const int64_t most = std::max(limit - std::max(limit / 5, kReserve), limit / 2);
  return static_cast<int>(std::min(most, kMostConnections));
}

int MaxRunningJobs(int64_t limit) {
  return static_cast<int>(std::clamp<int64_t>(limit / 2 / kDescriptorsOfAJob, 1, INT32_MAX));
}

}  // namespace gradwatch::server
