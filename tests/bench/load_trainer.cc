#include "tests/bench/load_trainer.h"

#include <cmath>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/lib/timestamp.h"
#include "client/lib/uuid.h"
#include "tests/bench/setting.h"

namespace gradwatch::testing {
namespace {

// As the worker's outbox has them.
constexpr int64_t kBatchBytes = 16 << 10;
constexpr int64_t kMaxBytesOnWay = (64 << 10) - kBatchBytes;
constexpr int kMaxReports = 1024;
constexpr int64_t kHistogramEvery = 16;
constexpr absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

// A bell of some powers of two, whose counts change a little.
void FillHistogram(std::mt19937& random, v1::Histogram* histogram) {
  histogram->set_zero_count(0);
  histogram->set_sample_stride(16);
  histogram->set_positive_offset(-24);
  histogram->set_negative_offset(-24);
  for (int bucket = 0; bucket < 14; ++bucket) {
    const auto usual = static_cast<int64_t>(400 * std::exp(-0.08 * (bucket - 10) * (bucket - 10)));
    histogram->add_positive_counts(usual + static_cast<int64_t>(random() % 20));
    histogram->add_negative_counts(usual + static_cast<int64_t>(random() % 20));
  }
}

void FillTensor(std::mt19937& random, int tensor, v1::TensorStats* stats) {
  const auto noise = [&random] { return 1 + 1e-7f * static_cast<float>(random() >> 12); };
  const float norm = static_cast<float>(1 + tensor % 7) * noise();
  stats->set_tensor(tensor);
  stats->set_l2_norm(norm);
  stats->set_max_abs(0.3f * noise());
  stats->set_mean(1e-4f * noise());
  stats->set_mean_abs(1e-2f * noise());
  stats->set_std_dev(2e-2f * noise());
  stats->set_zero_count(0);
  stats->set_denormal_count(0);
  stats->set_weight_norm(10 + 1e-3f * noise());
  stats->set_update_norm(0.01f * norm);
}

v1::TensorInfo InfoOf(int tensor) {
  v1::TensorInfo info;
  info.set_name(absl::StrCat("layer", tensor, ".weight"));
  info.add_shape(64);
  info.add_shape(64);
  return info;
}

}  // namespace

MadeReports::MadeReports(int tensors, int count) : tensors_(tensors), reports_(static_cast<size_t>(count)) {
  std::mt19937 random(1);
  const auto noise = [&random] { return 1 + 1e-9 * static_cast<double>(random() >> 4); };
  for (int64_t i = 0; i < count; ++i) {
    v1::StepReport& report = reports_[static_cast<size_t>(i)];
    report.set_loss(std::exp(-1e-3 * static_cast<double>(i)) * noise());
    report.set_grad_norm(3 * noise());
    report.set_learning_rate(0.1);
    report.set_control_revision(1);
    report.set_step_seconds(1e-4 * noise());
    report.mutable_clip()->set_action(v1::ClipOutcome::ACTION_NOT_NEEDED);
    report.mutable_clip()->set_norm_after(report.grad_norm());
    report.mutable_clip()->set_coefficient(1);
    for (int tensor = 0; tensor < tensors; ++tensor) {
      v1::TensorStats* const stats = report.add_tensors();
      FillTensor(random, tensor, stats);
      if (i % kHistogramEvery == 0) FillHistogram(random, stats->mutable_histogram());
    }
  }
}

void MadeReports::Fill(int64_t step, v1::StepReport* report) const {
  *report = reports_[static_cast<size_t>(step) % reports_.size()];
  report->set_step(step);
  *report->mutable_time() = client::ToTimestamp(kStart + step * absl::Microseconds(100));
}

std::string CreateExternalJob(const Outside& outside, const std::string& job_id, int64_t max_bytes) {
  v1::CreateJobRequest request;
  request.set_job_id(job_id);
  request.mutable_spec()->mutable_external()->set_framework("bench");
  request.mutable_spec()->mutable_retention()->set_max_bytes(max_bytes);
  v1::Job job;
  Check(outside.jobs->CreateJob(Outside::Context().get(), request, &job), "CreateJob");
  return job.attach_token();
}

LoadTrainer::LoadTrainer(const Outside& outside, const std::string& job_id, const std::string& token,
                         const MadeReports* reports)
    : reports_(reports) {
  outside.trainers->async()->AttachTrainer(&context_, this);
  SendHello(job_id, token);
  StartRead(&directive_);
  StartCall();
}

LoadTrainer::~LoadTrainer() {
  context_.TryCancel();
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&over_));
}

void LoadTrainer::SendHello(const std::string& job_id, const std::string& token) {
  v1::TrainerHello* const hello = message_.mutable_hello();
  hello->set_job_id(job_id);
  hello->set_attach_token(token);
  hello->set_trainer_id(client::RandomUuid());
  hello->set_trainer("bench");
  StartWrite(&message_);
}

void LoadTrainer::Do(int64_t steps) {
  absl::MutexLock lock(&mutex_);
  done_ += steps;
  SendReports();
}

bool LoadTrainer::AwaitAcknowledged(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto all = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return acked_step_ == done_ - 1 || over_; };
  mutex_.AwaitWithTimeout(absl::Condition(&all), timeout);
  return acked_step_ == done_ - 1;
}

int64_t LoadTrainer::acknowledged() const {
  absl::MutexLock lock(&mutex_);
  return acked_step_ + 1;
}

std::vector<double> LoadTrainer::TakeLatencies() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(latencies_, {});
}

grpc::Status LoadTrainer::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

void LoadTrainer::OnReadDone(bool ok) {
  if (!ok) return;
  {
    absl::MutexLock lock(&mutex_);
    if (directive_.has_welcome()) OnWelcome(directive_.welcome());
    if (directive_.ack().has_step()) OnAcknowledged(directive_.ack().step());
    SendReports();
  }
  StartRead(&directive_);
}

void LoadTrainer::OnWelcome(const v1::TrainerWelcome& welcome) {
  attempt_ = welcome.attempt();
  epoch_ = welcome.epoch();
}

void LoadTrainer::OnAcknowledged(int64_t step) {
  const absl::Time now = absl::Now();
  acked_step_ = step;
  for (; !on_way_.empty() && on_way_.front().last_step <= step; on_way_.pop_front()) {
    latencies_.push_back(absl::ToDoubleMilliseconds(now - on_way_.front().sent));
    bytes_on_way_ -= on_way_.front().bytes;
  }
}

void LoadTrainer::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  if (ok) SendReports();
}

void LoadTrainer::OnDone(const grpc::Status& status) {
  absl::MutexLock lock(&mutex_);
  status_ = status;
  over_ = true;
}

void LoadTrainer::SendReports() {
  if (writing_ || epoch_ == 0 || over_) return;
  message_.Clear();
  if (!std::exchange(ready_, true)) {
    message_.mutable_notices()->set_epoch(epoch_);
    v1::Notice* const notice = message_.mutable_notices()->add_notices();
    notice->set_number(1);
    for (int i = 0; i < reports_->tensors(); ++i) *notice->mutable_model_ready()->add_tensors() = InfoOf(i);
  } else {
    if (next_step_ == done_ || bytes_on_way_ >= kMaxBytesOnWay) return;
    v1::ReportBatch* const batch = message_.mutable_reports();
    batch->set_epoch(epoch_);
    Batch sent = {.sent = absl::Now()};
    while (next_step_ < done_ && sent.bytes < kBatchBytes && batch->reports_size() < kMaxReports) {
      v1::StepReport* const report = batch->add_reports();
      reports_->Fill(next_step_, report);
      report->set_attempt(attempt_);
      sent.bytes += static_cast<int64_t>(report->ByteSizeLong());
      sent.last_step = next_step_++;
    }
    bytes_on_way_ += sent.bytes;
    on_way_.push_back(sent);
  }
  writing_ = true;
  StartWrite(&message_);
}

}  // namespace gradwatch::testing
