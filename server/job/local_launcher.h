// Runs trainers as processes of this machine, each in a process group of its own, so that they outlive the server.
#ifndef GRADWATCH_SERVER_JOB_LOCAL_LAUNCHER_H_
#define GRADWATCH_SERVER_JOB_LOCAL_LAUNCHER_H_

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/job/launcher.h"
#include "server/job/process_watcher.h"

namespace gradwatch::server {

struct LocalLauncherOptions {
  std::string program;                // path of gradwatch-worker
  std::vector<std::string> prefix{};  // arguments before those of Launch; for tests
  std::string log_folder;             // standard error goes to <log_folder>/<uid>-<attempt>.log; made if absent
  // Last words go to LastWordsFile of this folder, made if absent. Empty: trainers have no such file.
  std::string words_folder = {};
};

// Thread-safe. The worker is started as
//   PROGRAM attach --server ADDRESS --job ID --attempt N --token-fd 3 --last-words FILE
// with the token in a pipe at descriptor 3 (others of this user could read it in the environment), nothing else to
// read, no core file, and no other descriptor of the server's. It runs at a lower priority than the server (10 more
// nice), which has to answer while trainers take every core. Logs have mode 0600 in a folder of mode 0700. The handle
// of a worker is "process 1234", by its process id.
class LocalLauncher final : public Launcher {
 public:
  static absl::StatusOr<std::unique_ptr<LocalLauncher>> Create(LocalLauncherOptions options);

  // Where workers reach the server, for example "127.0.0.1:7700". Before the first Launch.
  void SetServerAddress(std::string address) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<std::string> Launch(const LaunchRequest& request,
                                     absl::AnyInvocable<void(const ProcessEnd&)> ended) override;
  // A process counts as the job's if its command line names the job; another one may have got the number.
  void Adopt(const std::string& handle, const LaunchRequest& request,
             absl::AnyInvocable<void(const ProcessEnd&)> ended) override;
  void Kill(const std::string& handle) override;
  void RemoveOutput(const std::string& uid, int32_t attempts) override;

 private:
  explicit LocalLauncher(LocalLauncherOptions options) : options_(std::move(options)) {}
  std::string server_address() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::string LogFile(const std::string& uid, int32_t attempt) const;
  absl::StatusOr<int32_t> Spawn(const LaunchRequest& request) const;
  // `ended` with the last output filled in.
  absl::AnyInvocable<void(const ProcessEnd&)> WithOutput(const LaunchRequest& request,
                                                         absl::AnyInvocable<void(const ProcessEnd&)> ended) const;

  const LocalLauncherOptions options_;
  mutable absl::Mutex mutex_;
  std::string server_address_ ABSL_GUARDED_BY(mutex_);
  ProcessWatcher watcher_{"reaper"};
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_LOCAL_LAUNCHER_H_
