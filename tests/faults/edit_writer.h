// People who edit the controls of a job, or withdraw edits, over a server that is killed meanwhile.
#ifndef GRADWATCH_TESTS_FAULTS_EDIT_WRITER_H_
#define GRADWATCH_TESTS_FAULTS_EDIT_WRITER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/faults/edit_history.h"
#include "tests/support/outside.h"

namespace gradwatch::testing {

// Makes an edit; `index` counts those of a writer. Every writer calls it on its own thread.
using MakeEdit = std::function<v1::AdjustJobRequest(int writer, int index, std::mt19937_64* random)>;

// Writes edits of a job on a thread of its own, one after the other, each until it is answered, to the end of the job
// at most. One that is OUT_OF_RANGE is made anew: its step has passed meanwhile.
class Writer {
 public:
  // `outside` must outlive it. Between two edits it waits for up to `pause`.
  Writer(const Outside& outside, std::string job_id, int number, int edits, absl::Duration pause, uint64_t seed,
         MakeEdit make);
  ~Writer();

  bool is_done() const { return done_; }
  // Waits until all are written; call once.
  std::vector<AcknowledgedEdit> Join();

 private:
  void Run();
  // False: it was refused, which fails the test unless the job has ended.
  bool Write(int index);

  const Outside& outside_;
  const std::string job_id_;
  const int number_;
  const int edits_;
  const absl::Duration pause_;
  const absl::Time give_up_;
  std::mt19937_64 random_;
  const MakeEdit make_;
  std::atomic<bool> done_{false};
  std::vector<AcknowledgedEdit> acknowledged_;  // of the thread, until it is joined
  std::thread thread_;
};

std::vector<AcknowledgedEdit> JoinAll(std::vector<std::unique_ptr<Writer>>* writers);
bool AreDone(const std::vector<std::unique_ptr<Writer>>& writers);

// Withdraws edits, each until it is answered. For one thread.
class Withdrawer {
 public:
  // `outside` must outlive it.
  Withdrawer(const Outside& outside, std::string job_id) : outside_(outside), job_id_(std::move(job_id)) {}

  // Withdraws an edit that waits: nothing but yes is right.
  void Withdraw(int64_t edit);
  const std::set<int64_t>& withdrawn() const { return withdrawn_; }

 private:
  const Outside& outside_;
  const std::string job_id_;
  std::set<int64_t> withdrawn_;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_FAULTS_EDIT_WRITER_H_
