// A trainer that does what a test wants: the server starts a script in its place, which leaves the attach token and
// waits.
#ifndef GRADWATCH_TESTS_SUPPORT_FAKE_TRAINER_H_
#define GRADWATCH_TESTS_SUPPORT_FAKE_TRAINER_H_

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "client/lib/uuid.h"
#include "tests/support/long_wait.h"
#include "tests/support/outside.h"
#include "tests/support/process.h"

namespace gradwatch::testing {

// Writes the script, for --worker, into `folder` and returns its path. Jobs whose ids begin with "fake" get the script,
// others the worker of this build. It may be given the token in its environment or over an inherited descriptor.
inline std::string WriteFakeWorker(const std::string& folder) {
  const std::string path = folder + "/gradwatch-worker-or-fake";
  std::ofstream(path) << "#!/usr/bin/env bash\n"
                         "arguments=(\"$@\") token=${GRADWATCH_ATTACH_TOKEN:-} descriptor= job=\n"
                         "while (($#)); do\n"
                         "  case $1 in --job) job=$2 ;; --token-fd) descriptor=$2 ;; esac\n"
                         "  shift\n"
                         "done\n"
                         "[[ ${arguments[0]} == attach && $job == fake* ]] || exec '" GRADWATCH_BINARY_DIR
                         "/bin/gradwatch-worker' \"${arguments[@]}\"\n"
                         "[[ -z $descriptor ]] || IFS= read -r token <&\"$descriptor\"\n"
                         "printf '%s\\n' \"$token\" > '"
                      << folder << "/'\"$job.part\"\nmv '" << folder << "/'\"$job.part\" '" << folder
                      << "/'\"$job.token\"\n"
                         "mkfifo '"
                      << folder << "/'\"$job.end\"\nread -r code < '" << folder << "/'\"$job.end\"\nexit \"$code\"\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

// One stream of AttachTrainer. Reads what comes on a thread of its own; the rest is for one thread.
class FakeTrainer {
 public:
  // Waits for the token of the job's first attempt, attaches, and says that the model is ready. `outside` must outlive
  // it.
  FakeTrainer(const Outside& outside, const std::string& folder, const std::string& job_id) : job_id_(job_id) {
    if (!WaitForFile(folder + "/" + job_id + ".token")) return;
    std::string token;
    std::ifstream(folder + "/" + job_id + ".token") >> token;
    stream_ = outside.trainers->AttachTrainer(&context_);
    v1::TrainerMessage message;
    v1::TrainerHello* hello = message.mutable_hello();
    hello->set_job_id(job_id);
    hello->set_attach_token(token);
    hello->set_trainer_id(client::RandomUuid());
    hello->set_attempt(1);
    hello->set_trainer("fake");
    v1::TrainerDirective answer;
    if (!stream_->Write(message) || !stream_->Read(&answer) || !answer.has_welcome()) return;
    welcome_ = answer.welcome();
    reader_ = std::thread([this] { Listen(); });
    v1::Notice ready;
    ready.mutable_model_ready()->add_tensors()->set_name("dense0.weight");
    attached_ = Notify(std::move(ready));
  }
  ~FakeTrainer() {
    context_.TryCancel();
    if (reader_.joinable()) reader_.join();
    if (stream_ != nullptr) stream_->Finish();
  }
  FakeTrainer(const FakeTrainer&) = delete;
  FakeTrainer& operator=(const FakeTrainer&) = delete;

  bool attached() const { return attached_; }

  // Numbers a notice and sends it. False: the stream is broken.
  bool Notify(v1::Notice notice) {
    v1::TrainerMessage message;
    message.mutable_notices()->set_epoch(welcome_.epoch());
    notice.set_number(++notices_);
    *message.mutable_notices()->add_notices() = std::move(notice);
    return stream_->Write(message);
  }
  // A firing alert, the `episode`th, from 1; the one before it is over then.
  bool Alert(int32_t episode) {
    if (episode > 1 && !Alert(episode - 1, v1::ALERT_STATE_RESOLVED)) return false;
    return Alert(episode, v1::ALERT_STATE_FIRING);
  }
  bool Alert(int32_t episode, v1::AlertState state) {
    v1::Notice notice;
    notice.set_steps_done(episode + 1);
    v1::Alert* alert = notice.mutable_alert();
    alert->set_alert_id(absl::StrCat(welcome_.job_uid(), "/1/rule/", episode));
    alert->set_job_id(job_id_);
    alert->set_attempt(1);
    alert->set_rule("rule");
    alert->set_severity(v1::SEVERITY_WARNING);
    alert->set_state(state);
    alert->set_episode(episode);
    alert->set_step(episode);
    alert->set_first_step(episode);
    alert->set_summary("it happened");
    return Notify(std::move(notice));
  }
  // Sends the reports of the next `count` steps, at most 1,024.
  bool Report(int count) {
    v1::TrainerMessage message;
    v1::ReportBatch* batch = message.mutable_reports();
    batch->set_epoch(welcome_.epoch());
    for (int i = 0; i < count; ++i) {
      v1::StepReport* report = batch->add_reports();
      report->set_step(step_++);
      report->set_loss(1);
      report->set_grad_norm(1);
      report->set_control_revision(1);
      report->add_tensors()->set_l2_norm(1);
    }
    return stream_->Write(message);
  }
  // Waits until all reports so far are durable.
  bool AwaitAcknowledged(absl::Duration timeout = kLongWait) {
    absl::MutexLock lock(&mutex_);
    const auto all = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return acked_step_ == step_ - 1 || over_; };
    mutex_.AwaitWithTimeout(absl::Condition(&all), timeout);
    return acked_step_ == step_ - 1;
  }

 private:
  void Listen() {
    for (v1::TrainerDirective directive; stream_->Read(&directive);) {
      absl::MutexLock lock(&mutex_);
      if (directive.ack().has_step()) acked_step_ = directive.ack().step();
    }
    absl::MutexLock lock(&mutex_);
    over_ = true;
  }

  const std::string job_id_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::TrainerMessage, v1::TrainerDirective>> stream_;
  v1::TrainerWelcome welcome_;
  bool attached_ = false;
  int64_t notices_ = 0;
  int64_t step_ = 0;
  absl::Mutex mutex_;
  int64_t acked_step_ ABSL_GUARDED_BY(mutex_) = -1;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread reader_;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_FAKE_TRAINER_H_
