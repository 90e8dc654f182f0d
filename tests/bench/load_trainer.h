// Trainers of external jobs that cost little: reports that were made before, as many as they are told, sent as the
// worker sends its own, and how long each batch waits for its acknowledgement.
#ifndef GRADWATCH_TESTS_BENCH_LOAD_TRAINER_H_
#define GRADWATCH_TESTS_BENCH_LOAD_TRAINER_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "tests/support/outside.h"

namespace gradwatch::testing {

// Reports of a network of some tensors whose numbers are noise about slow changes, as training gives them; every 16th
// with histograms.
class MadeReports {
 public:
  MadeReports(int tensors, int count);
  int tensors() const { return tensors_; }
  // That of a step.
  void Fill(int64_t step, v1::StepReport* report) const;

 private:
  const int tensors_;
  std::vector<v1::StepReport> reports_;
};

// Makes an external job of which so many bytes of reports are kept, 0: all; returns the token by which its trainer
// attaches.
std::string CreateExternalJob(const Outside& outside, const std::string& job_id, int64_t max_bytes = 0);

// One stream of AttachTrainer on gRPC's threads. Thread-safe.
class LoadTrainer final : private grpc::ClientBidiReactor<v1::TrainerMessage, v1::TrainerDirective> {
 public:
  // Attaches, as the trainer of the job's first attempt; both outlive it. It begins when the server has answered.
  LoadTrainer(const Outside& outside, const std::string& job_id, const std::string& token, const MadeReports* reports);
  ~LoadTrainer() override;
  LoadTrainer(const LoadTrainer&) = delete;
  LoadTrainer& operator=(const LoadTrainer&) = delete;

  // Does `steps` more: their reports are sent as the server takes them.
  void Do(int64_t steps);
  // Waits until all steps so far are acknowledged; false: they were not in time, or the stream is over.
  bool AwaitAcknowledged(absl::Duration timeout);
  int64_t acknowledged() const;
  // Milliseconds from the sending of each batch that was acknowledged since the last call.
  std::vector<double> TakeLatencies();
  // How the stream has ended; OK while it goes on.
  grpc::Status status() const;

 private:
  struct Batch {
    int64_t last_step = 0;
    int64_t bytes = 0;
    absl::Time sent;
  };

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void SendHello(const std::string& job_id, const std::string& token);
  void OnWelcome(const v1::TrainerWelcome& welcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnAcknowledged(int64_t step) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends the next batch if there is one, and it may go.
  void SendReports() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const MadeReports* const reports_;
  grpc::ClientContext context_;
  v1::TrainerDirective directive_;  // is read into
  v1::TrainerMessage message_;      // is written from
  mutable absl::Mutex mutex_;
  int32_t attempt_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = true;  // hello at first
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;   // the tensors are told
  int64_t done_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t next_step_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t acked_step_ ABSL_GUARDED_BY(mutex_) = -1;
  std::deque<Batch> on_way_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_on_way_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<double> latencies_ ABSL_GUARDED_BY(mutex_);
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_BENCH_LOAD_TRAINER_H_
