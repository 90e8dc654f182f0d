#include "client/lib/resuming_stream.h"

#include <gmock/gmock.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "tests/support/fake_server.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::client {
namespace {

using ::gradwatch::testing::FakeServer;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Writer = grpc::ServerWriter<v1::WatchJobResponse>;

// A log of `length` events, one a message; a token is the number of the last event delivered. Each stream breaks in the
// way and after the number of events that the next entry of `breaks` says; after the last entry it goes to the end.
class ScriptedLog {
 public:
  enum class How { kUnavailable, kCancelled, kReset, kRotate, kShutdown, kEndsOk };
  struct Break {
    How how;
    int after_events;
  };

  ScriptedLog(int length, std::vector<Break> breaks) : length_(length), breaks_(std::move(breaks)) {}

  grpc::Status Serve(const v1::WatchJobRequest& request, Writer* writer) {
    const size_t stream = streams_++;
    int sent = 0;
    if (request.start_case() == v1::WatchJobRequest::kResumeToken) {
      if (!absl::SimpleAtoi(request.resume_token(), &sent)) {
        return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "token");
      }
    } else if (!request.from_beginning()) {
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "start");
    }
    v1::WatchJobResponse first;
    first.mutable_started()->set_last_event(length_);
    first.set_resume_token(absl::StrCat(sent));
    writer->Write(first);
    for (int count = 0;; ++count) {
      if (stream < breaks_.size() && count == breaks_[stream].after_events) {
        return BreakOff(breaks_[stream].how, sent, writer);
      }
      if (sent == length_) return End(v1::WatchEnded::REASON_TERMINAL, sent, writer);
      v1::WatchJobResponse response;
      response.add_events()->set_number(++sent);
      response.set_resume_token(absl::StrCat(sent));
      writer->Write(response);
    }
  }

  int streams() const { return streams_; }

 private:
  static grpc::Status End(v1::WatchEnded::Reason reason, int sent, Writer* writer) {
    v1::WatchJobResponse response;
    response.mutable_ended()->set_reason(reason);
    response.set_resume_token(absl::StrCat(sent));
    writer->Write(response);
    return grpc::Status::OK;
  }

  static grpc::Status BreakOff(How how, int sent, Writer* writer) {
    switch (how) {
      case How::kUnavailable:
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
      case How::kCancelled:
        return grpc::Status(grpc::StatusCode::CANCELLED, "stalled");
      case How::kReset:
        return grpc::Status(grpc::StatusCode::INTERNAL, "Received RST_STREAM with error code 2");
      case How::kRotate:
        return End(v1::WatchEnded::REASON_ROTATE, sent, writer);
      case How::kShutdown:
        End(v1::WatchEnded::REASON_SHUTDOWN, sent, writer);
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
      case How::kEndsOk:
        return grpc::Status::OK;
    }
    return grpc::Status::OK;
  }

  const int length_;
  const std::vector<Break> breaks_;
  std::atomic<int> streams_ = 0;
};

v1::WatchJobRequest FromBeginning() {
  v1::WatchJobRequest request;
  request.set_job_id("x");
  request.set_from_beginning(true);
  return request;
}

ResumeOptions WithoutWaiting(std::vector<absl::Duration>* waits = nullptr) {
  ResumeOptions options;
  options.wait = [waits](absl::Duration duration) {
    if (waits != nullptr) waits->push_back(duration);
    return true;
  };
  options.uniform = [] { return 0.5; };
  return options;
}

// Reads to the end and returns the numbers of the events.
absl::StatusOr<std::vector<int64_t>> ReadAll(JobStream& stream) {
  std::vector<int64_t> numbers;
  while (true) {
    absl::StatusOr<std::optional<v1::WatchJobResponse>> response = stream.Next();
    if (!response.ok()) return response.status();
    if (!response->has_value()) return numbers;
    for (const auto& event : (*response)->events()) numbers.push_back(event.number());
    if ((*response)->has_ended()) {
      EXPECT_EQ((*response)->ended().reason(), v1::WatchEnded::REASON_TERMINAL);
    }
  }
}

std::vector<int64_t> Numbers(int length) {
  std::vector<int64_t> numbers;
  for (int i = 1; i <= length; ++i) numbers.push_back(i);
  return numbers;
}

using How = ScriptedLog::How;

class BreakTest : public ::testing::TestWithParam<How> {};

TEST_P(BreakTest, NothingIsMissedOrDoubled) {
  // Breaks before the first event, between any two, at the end, several times at the same place.
  std::vector<ScriptedLog::Break> breaks = {{GetParam(), 0}, {GetParam(), 0}};
  for (int i = 0; i < 12; ++i) breaks.push_back({GetParam(), i % 3});
  ScriptedLog log(20, breaks);
  FakeServer server;
  server.watch_job = [&log](const v1::WatchJobRequest& request, grpc::ServerContext*, Writer* writer) {
    return log.Serve(request, writer);
  };
  const Connection connection(server.address(), {});
  int told = 0;
  ResumeOptions options = WithoutWaiting();
  options.on_break = [&told](const StreamBreak&) { ++told; };
  auto stream = WatchJob(connection, FromBeginning(), options);
  const auto numbers = ReadAll(*stream);
  ASSERT_THAT(numbers, IsOk());
  EXPECT_EQ(*numbers, Numbers(20));
  EXPECT_EQ(log.streams(), 15);
  EXPECT_EQ(told, 14);
  EXPECT_EQ(stream->resume_token(), "20");
}

INSTANTIATE_TEST_SUITE_P(All, BreakTest,
                         ::testing::Values(How::kUnavailable, How::kCancelled, How::kReset, How::kRotate,
                                           How::kShutdown, How::kEndsOk));

TEST(ResumingStreamTest, ComesBackToARestartedServer) {
  ScriptedLog log(6, {{How::kUnavailable, 3}});
  FakeServer server;
  server.watch_job = [&log](const v1::WatchJobRequest& request, grpc::ServerContext*, Writer* writer) {
    return log.Serve(request, writer);
  };
  const Connection connection(server.address(), {});
  // Real waits: the channel needs its own time to connect again.
  ResumeOptions options;
  options.initial_backoff = absl::Milliseconds(20);
  options.max_backoff = absl::Milliseconds(100);
  int breaks = 0;
  std::vector<std::string> causes;
  options.on_break = [&](const StreamBreak& broken) {
    causes.push_back(std::string(broken.cause.message()));
    if (++breaks == 1) server.Stop();
    if (breaks == 3) server.Restart();
  };
  auto stream = WatchJob(connection, FromBeginning(), options);
  const auto numbers = ReadAll(*stream);
  ASSERT_THAT(numbers, IsOk());
  EXPECT_EQ(*numbers, Numbers(6));
  ASSERT_GE(causes.size(), 3u);
  EXPECT_EQ(causes[0], "gone");
  EXPECT_THAT(causes[1], HasSubstr("no server at "));
}

// However long it was going to wait.
TEST(ResumingStreamTest, ComesBackAsSoonAsTheServerIsThere) {
  ScriptedLog log(6, {{How::kUnavailable, 3}});
  FakeServer server;
  server.watch_job = [&log](const v1::WatchJobRequest& request, grpc::ServerContext*, Writer* writer) {
    return log.Serve(request, writer);
  };
  const Connection connection(server.address(), {});
  ResumeOptions options;
  options.initial_backoff = options.max_backoff = absl::Hours(1);
  options.patience = absl::Hours(10);
  int breaks = 0;
  options.uniform = [&breaks] { return breaks == 0 ? 0.0 : 1.0; };  // at first at once
  options.on_break = [&](const StreamBreak&) { ++breaks == 1 ? server.Stop() : server.Restart(); };
  auto stream = WatchJob(connection, FromBeginning(), options);
  const auto numbers = ReadAll(*stream);
  ASSERT_THAT(numbers, IsOk());
  EXPECT_EQ(*numbers, Numbers(6));
  EXPECT_EQ(breaks, 2);
}

TEST(ResumingStreamTest, BacksOffWithDoublingBoundsAndStartsAgainAfterAMessage) {
  // Streams 2 to 4 break before their first message.
  std::atomic<int> streams = 0;
  FakeServer server;
  server.watch_job = [&streams](const v1::WatchJobRequest&, grpc::ServerContext*, Writer* writer) {
    const int stream = ++streams;
    v1::WatchJobResponse response;
    response.set_resume_token("t");
    if (stream == 6) response.mutable_ended()->set_reason(v1::WatchEnded::REASON_TERMINAL);
    if (stream == 1 || stream >= 5) writer->Write(response);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
  };
  const Connection connection(server.address(), {});
  std::vector<absl::Duration> waits;
  auto stream = WatchJob(connection, FromBeginning(), WithoutWaiting(&waits));
  ASSERT_THAT(ReadAll(*stream), IsOk());
  EXPECT_THAT(waits, ElementsAre(absl::Milliseconds(100), absl::Milliseconds(200), absl::Milliseconds(400),
                                 absl::Milliseconds(800), absl::Milliseconds(100)));
}

TEST(ResumingStreamTest, GivesUpWhenTheServerStaysAway) {
  std::atomic<int> streams = 0;
  FakeServer server;
  server.watch_job = [&streams](const v1::WatchJobRequest&, grpc::ServerContext*, Writer* writer) {
    if (++streams == 1) writer->Write(v1::WatchJobResponse());
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
  };
  const Connection connection(server.address(), {});
  std::vector<absl::Duration> waits;
  ResumeOptions options = WithoutWaiting(&waits);
  options.patience = absl::Milliseconds(300);
  auto stream = WatchJob(connection, FromBeginning(), options);
  EXPECT_THAT(ReadAll(*stream), StatusIs(absl::StatusCode::kUnavailable, "gone"));
  EXPECT_THAT(waits, ElementsAre(absl::Milliseconds(100), absl::Milliseconds(200)));
  const auto after = stream->Next();  // after the error: the end
  ASSERT_THAT(after, IsOk());
  EXPECT_FALSE(after->has_value());
}

TEST(ResumingStreamTest, TellsAServerThatWasNeverThereAtOnce) {
  std::string address;
  {
    FakeServer server;
    address = server.address();
  }
  const Connection connection(address, {});
  std::vector<absl::Duration> waits;
  auto stream = WatchJob(connection, FromBeginning(), WithoutWaiting(&waits));
  EXPECT_THAT(ReadAll(*stream), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("connection refused")));
  EXPECT_THAT(waits, ElementsAre());
}

TEST(ResumingStreamTest, ErrorsOfTheRequestAreNotRepeated) {
  std::atomic<int> streams = 0;
  FakeServer server;
  server.watch_job = [&streams](const v1::WatchJobRequest&, grpc::ServerContext*, Writer*) {
    ++streams;
    return grpc::Status(grpc::StatusCode::OUT_OF_RANGE, "history was dropped");
  };
  const Connection connection(server.address(), {});
  auto stream = WatchJob(connection, FromBeginning(), WithoutWaiting());
  EXPECT_THAT(ReadAll(*stream), StatusIs(absl::StatusCode::kOutOfRange, "history was dropped"));
  EXPECT_EQ(streams, 1);
}

// Writes one message and holds the stream open until the client is gone.
grpc::Status Hold(grpc::ServerContext* context, Writer* writer) {
  v1::WatchJobResponse response;
  response.set_resume_token("t");
  writer->Write(response);
  while (!context->IsCancelled()) std::this_thread::yield();
  return grpc::Status::OK;
}

TEST(ResumingStreamTest, EndsWhenCancelledFromAnotherThread) {
  FakeServer server;
  server.watch_job = [](const v1::WatchJobRequest&, grpc::ServerContext* context, Writer* writer) {
    return Hold(context, writer);
  };
  Cancellation cancellation;
  const Connection connection(server.address(), {.cancellation = &cancellation});
  auto stream = WatchJob(connection, FromBeginning(), {});
  ASSERT_THAT(stream->Next(), IsOk());
  std::thread canceller([&] { cancellation.Cancel(); });
  EXPECT_THAT(stream->Next(), StatusIs(absl::StatusCode::kCancelled, "interrupted"));
  canceller.join();
  EXPECT_EQ(stream->resume_token(), "t");
}

TEST(ResumingStreamTest, EndsWithItsDeadline) {
  FakeServer server;
  server.watch_job = [](const v1::WatchJobRequest&, grpc::ServerContext* context, Writer* writer) {
    return Hold(context, writer);
  };
  const Connection connection(server.address(), {});
  ResumeOptions options;
  options.deadline = absl::Now() + absl::Milliseconds(50);
  auto stream = WatchJob(connection, FromBeginning(), options);
  EXPECT_THAT(ReadAll(*stream), StatusIs(absl::StatusCode::kDeadlineExceeded, _));
}

TEST(ResumingStreamTest, MayBeDroppedInTheMiddle) {
  FakeServer server;
  server.watch_job = [](const v1::WatchJobRequest&, grpc::ServerContext* context, Writer* writer) {
    return Hold(context, writer);
  };
  const Connection connection(server.address(), {});
  auto stream = WatchJob(connection, FromBeginning(), {});
  ASSERT_THAT(stream->Next(), IsOk());
  stream.reset();
}

TEST(ResumingStreamTest, MayBeDroppedWithUnreadMessagesOfACallThatHasEnded) {
  ScriptedLog log(5, {});
  FakeServer server;
  server.watch_job = [&log](const v1::WatchJobRequest& request, grpc::ServerContext*, Writer* writer) {
    return log.Serve(request, writer);
  };
  const Connection connection(server.address(), {});
  for (int i = 0; i < 50; ++i) {
    auto stream = WatchJob(connection, FromBeginning(), {});
    ASSERT_THAT(stream->Next(), IsOk());
  }
}

TEST(ResumingStreamTest, AlertsComeBackAfterAShutdown) {
  std::atomic<int> streams = 0;
  FakeServer server;
  server.watch_alerts = [&streams](const v1::WatchAlertsRequest& request, grpc::ServerContext*,
                                   grpc::ServerWriter<v1::WatchAlertsResponse>* writer) {
    v1::WatchAlertsResponse response;
    if (++streams == 1) {
      response.add_events()->set_number(1);
      response.set_resume_token("1");
      response.set_shutting_down(true);
      writer->Write(response);
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
    }
    EXPECT_EQ(request.resume_token(), "1");
    response.add_events()->set_number(2);
    response.set_resume_token("2");
    writer->Write(response);
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "enough");
  };
  const Connection connection(server.address(), {});
  auto stream = WatchAlerts(connection, v1::WatchAlertsRequest(), WithoutWaiting());
  for (int number = 1; number <= 2; ++number) {
    const auto response = stream->Next();
    ASSERT_THAT(response, IsOk());
    EXPECT_EQ((*response)->events(0).number(), number);
    EXPECT_FALSE((*response)->shutting_down());
  }
  EXPECT_THAT(stream->Next(), StatusIs(absl::StatusCode::kPermissionDenied, "enough"));
}

}  // namespace
}  // namespace gradwatch::client
