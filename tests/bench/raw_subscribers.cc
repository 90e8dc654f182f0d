#include "tests/bench/raw_subscribers.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <sys/resource.h>
#include <unistd.h>

#include <utility>

#include "gradwatch/v1/watch_service.pb.h"

namespace gradwatch::testing {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr int kStreamsPerConnection = 50;

grpc::ByteBuffer Encode(const google::protobuf::Message& message) {
  const std::string bytes = message.SerializeAsString();
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // else the windows of who does not read grow to megabytes
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// The varint fields `a` and `b` of the message that fills `input` up to its limit; 0 where one is not there. Stops at
// the first field that is none of the first three.
std::pair<int64_t, int64_t> ReadTwo(CodedInputStream* input, int a, int b) {
  std::pair<int64_t, int64_t> values(0, 0);
  while (input->BytesUntilLimit() > 0) {
    const uint32_t tag = input->ReadTag();
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    uint64_t value = 0;
    if (field > 3 || WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_VARINT ||
        !input->ReadVarint64(&value)) {
      break;
    }
    if (field == a) values.first = static_cast<int64_t>(value);
    if (field == b) values.second = static_cast<int64_t>(value);
  }
  return values;
}

}  // namespace

// One subscriber: its stream, or the latest one if the server has cut those before.
struct RawSubscribers::Stream {
  enum class Stage { kStarting, kWriting, kFirst, kOpen, kReading, kFinishing, kOver };
  Stage stage = Stage::kStarting;
  grpc::GenericStub* stub = nullptr;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call;
  grpc::ByteBuffer message;
  grpc::Status status;
  std::string resume_token;  // of the last message
  int64_t next_step = 0;
  bool done = false;
};

RawSubscribers::RawSubscribers(const std::string& address, const std::string& job_id, int count, int64_t until_step)
    : job_id_(job_id), until_step_(until_step) {
  for (int i = 0; i < count; ++i) {
    if (i % kStreamsPerConnection == 0) stubs_.push_back(std::make_unique<grpc::GenericStub>(MakeChannel(address)));
    streams_.push_back(std::make_unique<Stream>());
    streams_.back()->stub = stubs_.back().get();
    Open(streams_.back().get());
  }
  thread_ = std::thread([this] { Run(); });
}

RawSubscribers::~RawSubscribers() {
  Release();
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    for (const auto& stream : streams_) stream->context->TryCancel();
  }
  AwaitDone(absl::InfiniteDuration());
  queue_.Shutdown();
  thread_.join();
}

void RawSubscribers::Run() {
  // Elsewhere they would not take the processor that the server and whoever is measured share here.
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 10);
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
    absl::MutexLock lock(&mutex_);
    OnEvent(static_cast<Stream*>(tag), ok);
  }
}

void RawSubscribers::Open(Stream* stream) {
  v1::WatchJobRequest request;
  request.set_job_id(job_id_);
  if (stream->resume_token.empty()) {
    request.set_from_beginning(true);
  } else {
    request.set_resume_token(stream->resume_token);
  }
  stream->stage = Stream::Stage::kStarting;
  stream->message = Encode(request);
  stream->context = std::make_unique<grpc::ClientContext>();
  stream->call = stream->stub->PrepareCall(stream->context.get(), "/gradwatch.v1.WatchService/WatchJob", &queue_);
  stream->call->StartCall(stream);
}

void RawSubscribers::OnFinished(Stream* stream) {
  // What a server does to who takes nothing for long.
  if (!stream->done && !closing_ && stream->status.error_code() == grpc::StatusCode::CANCELLED) {
    ++totals_.resumed;
    Open(stream);
    return;
  }
  stream->stage = Stream::Stage::kOver;
  ++ended_;
  if (stream->done) return;
  if (totals_.failed++ == 0) totals_.first_error = stream->status.error_message();
}

void RawSubscribers::OnEvent(Stream* stream, bool ok) {
  using Stage = Stream::Stage;
  if (stream->stage == Stage::kFinishing) {
    OnFinished(stream);
    return;
  }
  const bool last = ok && (stream->stage == Stage::kFirst || stream->stage == Stage::kReading) && Count(stream);
  if (last) {
    stream->done = true;
    ++totals_.done;
    stream->context->TryCancel();
  }
  if (!ok || last) {
    stream->stage = Stage::kFinishing;
    stream->call->Finish(&stream->status, stream);
    return;
  }
  switch (stream->stage) {
    case Stage::kStarting:
      stream->stage = Stage::kWriting;
      stream->call->WriteLast(stream->message, grpc::WriteOptions(), stream);
      return;
    case Stage::kWriting:
      stream->stage = Stage::kFirst;  // the first message is read, to know that the stream is there
      stream->call->Read(&stream->message, stream);
      return;
    case Stage::kFirst:
      ++open_;
      stream->stage = released_ ? Stage::kReading : Stage::kOpen;
      if (released_) stream->call->Read(&stream->message, stream);
      return;
    default:
      stream->call->Read(&stream->message, stream);
  }
}

bool RawSubscribers::Count(Stream* stream) {
  totals_.bytes += static_cast<int64_t>(stream->message.Length());
  grpc::ProtoBufferReader bytes(&stream->message);
  CodedInputStream input(&bytes);
  while (const uint32_t tag = input.ReadTag()) {
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      WireFormatLite::SkipField(&input, tag);
      continue;
    }
    uint32_t length = 0;
    input.ReadVarint32(&length);
    if (field == v1::WatchJobResponse::kResumeTokenFieldNumber) {
      input.ReadString(&stream->resume_token, static_cast<int>(length));
      continue;
    }
    const auto limit = input.PushLimit(static_cast<int>(length));
    if (field == v1::WatchJobResponse::kReportsFieldNumber) {
      const int64_t step =
          ReadTwo(&input, v1::StepReport::kAttemptFieldNumber, v1::StepReport::kStepFieldNumber).second;
      CountSteps(stream, step, step, /*lost=*/false);
    } else if (field == v1::WatchJobResponse::kLostFieldNumber) {
      const auto [first, last] =
          ReadTwo(&input, v1::StatisticsLost::kFirstStepFieldNumber, v1::StatisticsLost::kLastStepFieldNumber);
      CountSteps(stream, first, last, /*lost=*/true);
    }
    input.Skip(input.BytesUntilLimit());
    input.PopLimit(limit);
  }
  return stream->next_step > until_step_;
}

void RawSubscribers::CountSteps(Stream* stream, int64_t first, int64_t last, bool lost) {
  if (first != stream->next_step) totals_.missing += std::abs(first - stream->next_step);
  if (lost) {
    totals_.lost += last - first + 1;
  } else {
    ++totals_.reports;
  }
  stream->next_step = last + 1;
}

bool RawSubscribers::AwaitOpen(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto all = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return open_ + ended_ >= static_cast<int>(streams_.size());
  };
  return mutex_.AwaitWithTimeout(absl::Condition(&all), timeout) && ended_ == 0;
}

void RawSubscribers::Release() {
  absl::MutexLock lock(&mutex_);
  if (released_) return;
  released_ = true;
  for (const auto& stream : streams_) {
    if (stream->stage != Stream::Stage::kOpen) continue;
    stream->stage = Stream::Stage::kReading;
    stream->call->Read(&stream->message, stream.get());
  }
}

bool RawSubscribers::AwaitDone(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto all = [this]()
                       ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ended_ == static_cast<int>(streams_.size()); };
  return mutex_.AwaitWithTimeout(absl::Condition(&all), timeout);
}

RawSubscribers::Totals RawSubscribers::totals() const {
  absl::MutexLock lock(&mutex_);
  return totals_;
}

}  // namespace gradwatch::testing
