// A foreign trainer, written from the comments of the protocol alone. Its network has one tensor, its gradient is
// always of norm 10, and a step takes a millisecond, or nothing while it is alone. It limits the global norm, or the
// tensor's by an override, and drops edits that ask for more. It judges no rules: who uses it tells alerts.
#ifndef GRADWATCH_TESTS_SUPPORT_TEST_TRAINER_H_
#define GRADWATCH_TESTS_SUPPORT_TEST_TRAINER_H_

#include <google/protobuf/util/field_mask_util.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/lib/uuid.h"
#include "core/base/glob.h"
#include "gradwatch/v1/trainer_service.grpc.pb.h"

namespace gradwatch::testing {

// One process of a job. For one thread.
class TestTrainer {
 public:
  TestTrainer(const std::shared_ptr<grpc::Channel>& channel, std::string job_id, std::string token)
      : stub_(v1::TrainerService::NewStub(channel)), job_id_(std::move(job_id)), token_(std::move(token)) {}
  ~TestTrainer() { Lose(); }
  // Opens a stream, says hello, and sends what is not acknowledged yet. The status of a stream that is refused.
  grpc::Status Attach() {
    Lose();
    context_ = std::make_unique<grpc::ClientContext>();
    stream_ = stub_->AttachTrainer(context_.get());
    v1::TrainerMessage message;
    v1::TrainerHello* const hello = message.mutable_hello();
    hello->set_job_id(job_id_);
    hello->set_attach_token(token_);
    hello->set_trainer_id(trainer_id_);
    hello->set_attempt(welcome_.attempt());
    hello->set_trainer("test trainer");
    hello->add_tensors()->set_name(kTensor);
    hello->mutable_tensors(0)->add_shape(3);
    v1::TrainerDirective answer;
    if (!stream_->Write(message) || !stream_->Read(&answer)) return Lose();
    welcome_ = answer.welcome();
    if (!begun_) controls_ = welcome_.controls();  // one that comes back knows better
    sent_notice_ = welcome_.acked_notice();
    sent_step_ = welcome_.has_acked_step() ? welcome_.acked_step() : -1;
    Forget(sent_notice_, sent_step_);
    TakeCommand(welcome_.has_command() ? welcome_.command().action() : v1::TrainerCommand::ACTION_RESUME);
    // The edits that wait may be for the first step.
    for (int64_t to_come = begun_ ? 0 : welcome_.waiting_edits(); to_come > 0;) {
      if (!stream_->Read(&answer)) return Lose();
      Take(answer);
      to_come = answer.has_edits() ? to_come - answer.edits().edits_size() : 0;
    }
    begun_ = true;
    over_ = false;
    reader_ = std::thread([this] {
      for (v1::TrainerDirective directive; stream_->Read(&directive);) {
        absl::MutexLock lock(&mutex_);
        heard_.push_back(std::move(directive));
      }
      absl::MutexLock lock(&mutex_);
      over_ = true;
    });
    Send();
    return grpc::Status::OK;
  }
  // Breaks the stream, after which it may attach again. How the stream ended.
  grpc::Status Lose() {
    if (stream_ == nullptr) return grpc::Status::OK;
    if (reader_.joinable()) {
      if (!IsOver()) context_->TryCancel();  // how the server has ended it is told else
      reader_.join();
    }
    const grpc::Status status = std::exchange(stream_, nullptr)->Finish();
    for (; !heard_.empty(); heard_.pop_front()) Take(heard_.front());  // what it heard before holds
    return status;
  }

  // Does its steps, with a stream or without, as long as `goes_on` says so of the next one. False: it was told to stop,
  // or waits in a pause without a stream.
  bool Run(const std::function<bool(int64_t step)>& goes_on) {
    for (bool heard = true; goes_on(next_step_);) {
      heard = Obey(paused_ ? kHeartbeatEvery : absl::Milliseconds(1));
      if (stopping_ || (paused_ && !heard)) return false;
      ApplyDue();
      if (v1::Notice notice; paused_ != told_paused_) {
        paused_ ? (void)notice.mutable_paused() : (void)notice.mutable_resumed();
        told_paused_ = paused_;
        Tell(std::move(notice));
      }
      if (!paused_) Step();
    }
    return true;
  }
  bool RunTo(int64_t end) {
    return Run([end](int64_t step) { return step < end; });
  }
  // Numbers a notice and sends it.
  void Tell(v1::Notice notice) {
    notice.set_number(++notice_number_);
    notice.set_steps_done(next_step_);
    notices_.push_back(std::move(notice));
    Send();
  }
  // The last words. Whether all that was told is acknowledged.
  bool Finish(v1::JobState state) {
    AwaitAcknowledged();
    v1::Notice notice;
    notice.mutable_finished()->set_state(state);
    Tell(std::move(notice));
    return AwaitAcknowledged();
  }
  bool IsOver() {
    absl::MutexLock lock(&mutex_);
    return over_;
  }
  // False: the stream is over.
  bool AwaitAcknowledged() {
    while (!(notices_.empty() && reports_.empty()) && Obey(kHeartbeatEvery)) continue;
    return notices_.empty() && reports_.empty();
  }
  // Waits for something to obey. False: the stream is over.
  bool Obey(absl::Duration timeout) {
    mutex_.Lock();
    const auto ready = [this] { return !heard_.empty() || over_; };
    const bool silent = !mutex_.AwaitWithTimeout(absl::Condition(&ready), timeout) && timeout == kHeartbeatEvery;
    const bool over = over_ && heard_.empty();
    const std::deque<v1::TrainerDirective> heard = std::exchange(heard_, {});
    mutex_.Unlock();
    for (const v1::TrainerDirective& directive : heard) Take(directive);
    v1::TrainerMessage alive;
    alive.mutable_heartbeat();
    if (silent) stream_->Write(alive);
    return !over;
  }

  const v1::TrainerWelcome& welcome() const { return welcome_; }
  const v1::RevisedControls& controls() const { return controls_; }

 private:
  static constexpr absl::Duration kHeartbeatEvery = absl::Seconds(5);
  static constexpr char kTensor[] = "linear.weight";

  void Take(const v1::TrainerDirective& directive) {
    if (directive.has_ack()) {
      Forget(directive.ack().notice(), directive.ack().has_step() ? directive.ack().step() : -1);
    }
    if (directive.has_command()) TakeCommand(directive.command().action());
    for (const v1::ControlEdit& edit : directive.edits().edits()) {
      if (known_edits_.insert(edit.edit()).second) edits_.push_back(edit);
    }
    for (const int64_t edit : directive.edits().withdrawn()) {
      const size_t waiting = edits_.size();
      std::erase_if(edits_, [edit](const v1::ControlEdit& other) { return other.edit() == edit; });
      if (known_edits_.insert(edit).second || edits_.size() < waiting) Drop(edit, "");
    }
  }
  void TakeCommand(v1::TrainerCommand::Action action) {
    if (action == v1::TrainerCommand::ACTION_STOP) stopping_ = true;
    if (action == v1::TrainerCommand::ACTION_PAUSE) paused_ = true;
    if (action == v1::TrainerCommand::ACTION_RESUME) paused_ = false;
  }
  void Forget(int64_t notice, int64_t step) {
    while (!notices_.empty() && notices_.front().number() <= notice) notices_.pop_front();
    while (!reports_.empty() && reports_.front().step() <= step) reports_.pop_front();
  }
  // Applies the edits that are due for the next step, in their order.
  void ApplyDue() {
    const auto place = [this](const v1::ControlEdit& edit) {
      return std::make_pair(edit.has_at_step() ? edit.at_step() : next_step_, edit.edit());
    };
    std::sort(edits_.begin(), edits_.end(), [&](const auto& a, const auto& b) { return place(a) < place(b); });
    for (; !edits_.empty() && place(edits_.front()).first <= next_step_; edits_.erase(edits_.begin())) {
      Apply(edits_.front());
    }
  }
  void Apply(const v1::ControlEdit& edit) {
    using google::protobuf::util::FieldMaskUtil;
    v1::Controls changed = controls_.controls();
    for (const std::string& path : edit.paths()) {
      absl::string_view glob = path;
      if (absl::ConsumePrefix(&glob, "clip.overrides.`") && absl::ConsumeSuffix(&glob, "`")) {
        SetOverride(glob, edit.values().clip(), changed.mutable_clip()->mutable_overrides());
        continue;
      }
      if (!FieldMaskUtil::IsValidPath<v1::Controls>(path)) return Drop(edit.edit(), "this trainer knows no " + path);
      google::protobuf::FieldMask mask;
      mask.add_paths(path);
      FieldMaskUtil::MergeOptions replace;
      replace.set_replace_message_fields(true);
      replace.set_replace_repeated_fields(true);
      FieldMaskUtil::MergeMessageTo(edit.values(), mask, replace, &changed);
    }
    if (const std::string mode = UnknownMode(changed.clip()); !mode.empty()) {
      return Drop(edit.edit(), "this trainer does no clip mode " + mode);
    }
    *controls_.mutable_controls() = std::move(changed);
    controls_.set_revision(controls_.revision() + 1);
    v1::Notice notice;
    notice.mutable_controls_applied()->set_edit(edit.edit());
    notice.mutable_controls_applied()->set_revision(controls_.revision());
    notice.mutable_controls_applied()->set_effective_step(next_step_);
    Tell(std::move(notice));
  }
  // A mode of these settings that this trainer does not do; empty: there is none.
  static std::string UnknownMode(const v1::ClipSettings& clip) {
    const bool is_known = clip.mode() <= v1::CLIP_MODE_NONE || clip.mode() == v1::CLIP_MODE_GLOBAL_NORM;
    if (!is_known) return v1::ClipMode_Name(clip.mode());
    for (const v1::TensorClip& limit : clip.overrides()) {
      if (limit.mode() != v1::CLIP_MODE_NONE && limit.mode() != v1::CLIP_MODE_TENSOR_NORM) {
        return v1::ClipMode_Name(limit.mode());
      }
    }
    return "";
  }
  // Puts the override that `values` has for exactly this glob before all others, or takes the one that there is away.
  static void SetOverride(absl::string_view glob, const v1::ClipSettings& values,
                          google::protobuf::RepeatedPtrField<v1::TensorClip>* overrides) {
    const auto is_its = [glob](const v1::TensorClip& limit) { return limit.tensors() == glob; };
    const auto wanted = std::find_if(values.overrides().begin(), values.overrides().end(), is_its);
    const auto present = std::find_if(overrides->begin(), overrides->end(), is_its);
    if (present != overrides->end()) overrides->erase(present);
    if (wanted == values.overrides().end()) return;
    *overrides->Add() = *wanted;
    std::rotate(overrides->begin(), overrides->end() - 1, overrides->end());
  }
  void Drop(int64_t edit, const std::string& reason) {
    v1::Notice notice;
    notice.mutable_edit_dropped()->set_edit(edit);
    notice.mutable_edit_dropped()->set_reason(reason);
    Tell(std::move(notice));
  }
  // The limit of its own that the tensor has, the first that matches; null: none.
  const v1::TensorClip* OwnLimit() const {
    for (const v1::TensorClip& limit : controls_.controls().clip().overrides()) {
      if (core::GlobMatches(limit.tensors(), kTensor)) return &limit;
    }
    return nullptr;
  }
  void Step() {
    constexpr double kNorm = 10;
    const v1::ClipSettings& clip = controls_.controls().clip();
    const v1::TensorClip* const own = OwnLimit();  // what has one is left out of the global norm
    const bool is_limited =
        own != nullptr ? own->mode() == v1::CLIP_MODE_TENSOR_NORM : clip.mode() == v1::CLIP_MODE_GLOBAL_NORM;
    const double limit = !is_limited ? kNorm : own != nullptr ? own->threshold() : clip.threshold();
    const bool clips = limit < kNorm;
    v1::StepReport report;
    report.set_step(next_step_++);
    report.set_loss(1);
    report.set_grad_norm(kNorm);
    report.set_learning_rate(0.1 * controls_.controls().learning_rate_scale());
    report.set_control_revision(controls_.revision());
    report.mutable_clip()->set_action(clips ? v1::ClipOutcome::ACTION_CLIPPED : v1::ClipOutcome::ACTION_NOT_NEEDED);
    report.mutable_clip()->set_norm_after(clips ? limit : kNorm);
    report.mutable_clip()->set_coefficient(clips && own == nullptr ? limit / kNorm : 1);
    report.mutable_clip()->set_tensors_clipped(clips ? 1 : 0);
    if (clip.mode() == v1::CLIP_MODE_GLOBAL_NORM) report.mutable_clip()->set_threshold(clip.threshold());
    report.add_tensors()->set_l2_norm(kNorm);
    reports_.push_back(std::move(report));
    Send();
  }
  // Sends what was not sent on this stream yet: all notices, then all reports, then the end. What a broken stream does
  // not take is sent again on the next.
  void Send() {
    for (v1::TrainerMessage message; stream_ != nullptr; message.Clear()) {
      const bool all_told = reports_.empty() || reports_.back().step() <= sent_step_;
      for (const v1::Notice& notice : notices_) {
        if (notice.number() <= sent_notice_ || (notice.has_finished() && !all_told)) continue;
        if (message.notices().notices_size() == 256) break;
        *message.mutable_notices()->add_notices() = notice;
        sent_notice_ = notice.number();
      }
      for (const v1::StepReport& report : reports_) {
        if (message.has_notices() || message.reports().reports_size() == 1024) break;
        if (report.step() <= sent_step_) continue;
        *message.mutable_reports()->add_reports() = report;
        sent_step_ = report.step();
      }
      if (message.has_notices()) message.mutable_notices()->set_epoch(welcome_.epoch());
      if (message.has_reports()) message.mutable_reports()->set_epoch(welcome_.epoch());
      if (message.what_case() == v1::TrainerMessage::WHAT_NOT_SET) return;
      stream_->Write(message);
    }
  }

  const std::unique_ptr<v1::TrainerService::Stub> stub_;
  const std::string job_id_, token_, trainer_id_ = client::RandomUuid();
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::TrainerMessage, v1::TrainerDirective>> stream_;
  std::thread reader_;
  absl::Mutex mutex_;
  std::deque<v1::TrainerDirective> heard_;
  bool over_ = true, begun_ = false;
  v1::TrainerWelcome welcome_;
  v1::RevisedControls controls_;  // in force
  int64_t next_step_ = 0, notice_number_ = 0, sent_notice_ = 0, sent_step_ = -1;
  std::vector<v1::ControlEdit> edits_;  // that wait
  std::set<int64_t> known_edits_;
  std::deque<v1::Notice> notices_;  // not acknowledged, as the reports
  std::deque<v1::StepReport> reports_;
  bool paused_ = false, told_paused_ = false, stopping_ = false;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_TEST_TRAINER_H_
