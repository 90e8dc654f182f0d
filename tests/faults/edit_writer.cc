#include "tests/faults/edit_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "absl/synchronization/notification.h"
#include "client/lib/uuid.h"
#include "tests/faults/fault_fixture.h"

namespace gradwatch::testing {

Writer::Writer(const Outside& outside, std::string job_id, int number, int edits, absl::Duration pause, uint64_t seed,
               MakeEdit make)
    : outside_(outside),
      job_id_(std::move(job_id)),
      number_(number),
      edits_(edits),
      pause_(pause),
      give_up_(absl::Now() + (IsLong() ? absl::Minutes(30) : 2 * kLongWait)),
      random_(seed),
      make_(std::move(make)),
      thread_([this] { Run(); }) {}

Writer::~Writer() {
  if (thread_.joinable()) thread_.join();
}

std::vector<AcknowledgedEdit> Writer::Join() {
  thread_.join();
  return std::move(acknowledged_);
}

void Writer::Run() {
  for (int index = 0; index < edits_ && Write(index); ++index) {
    const double part = static_cast<double>(random_() % 1000) / 1000;
    absl::Notification().WaitForNotificationWithTimeout(pause_ * part);
  }
  done_ = true;
}

bool Writer::Write(int index) {
  for (;;) {
    AcknowledgedEdit edit;
    edit.request = make_(number_, index, &random_);
    edit.request.set_job_id(job_id_);
    edit.request.set_request_id(client::RandomUuid());
    const grpc::Status status = AskUntilAnswered(
        outside_, [&] { return outside_.jobs->AdjustJob(Outside::Context().get(), edit.request, &edit.answer); },
        give_up_);
    if (status.error_code() == grpc::StatusCode::OUT_OF_RANGE) continue;
    if (status.error_code() == grpc::StatusCode::FAILED_PRECONDITION) return false;
    EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
    if (status.ok()) acknowledged_.push_back(std::move(edit));
    return status.ok();
  }
}

std::vector<AcknowledgedEdit> JoinAll(std::vector<std::unique_ptr<Writer>>* writers) {
  std::vector<AcknowledgedEdit> all;
  for (auto& writer : *writers) {
    for (AcknowledgedEdit& edit : writer->Join()) all.push_back(std::move(edit));
  }
  return all;
}

bool AreDone(const std::vector<std::unique_ptr<Writer>>& writers) {
  return std::all_of(writers.begin(), writers.end(), [](const auto& writer) { return writer->is_done(); });
}

void Withdrawer::Withdraw(int64_t edit) {
  v1::CancelEditRequest request;
  request.set_job_id(job_id_);
  request.set_edit(edit);
  request.set_request_id(client::RandomUuid());
  v1::CancelEditResponse response;
  const grpc::Status status = AskUntilAnswered(
      outside_, [&] { return outside_.jobs->CancelEdit(Outside::Context().get(), request, &response); },
      absl::Now() + kLongWait);
  ASSERT_TRUE(status.ok()) << edit << ": " << status.error_code() << " " << status.error_message();
  EXPECT_EQ(response.adjustment().edit(), edit);
  EXPECT_NE(response.adjustment().withdrawn_by(), "");
  withdrawn_.insert(edit);
}

}  // namespace gradwatch::testing
