// Two foreign trainers want one job, lose their streams and come back at random: there is never more than one writer,
// and the one that has lost the job can never write again.
#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "absl/synchronization/notification.h"
#include "client/lib/uuid.h"
#include "tests/faults/fault_fixture.h"

namespace gradwatch::testing {
namespace {

constexpr double kStale = -1;  // loss of reports that are sent with the epoch of another, and must not be stored

void Linger(absl::Duration duration) { absl::Notification().WaitForNotificationWithTimeout(duration); }

// One process that would train: what it knows over all its streams.
struct Life {
  double mark = 0;  // the loss of all its reports
  std::string trainer_id = client::RandomUuid();
  int32_t attempt = 0;  // 0: it was never welcome
  int64_t epoch = 0;
  int64_t sent = -1;   // the last step that it has sent
  int64_t acked = -1;  // the last one that is durable
};

// A stream of AttachTrainer. For one thread.
class TrainerStream {
 public:
  TrainerStream(const Outside& outside, const std::string& job_id, const std::string& token, Life* life)
      : context_(Outside::Context(2 * kLongWait)),
        life_(*life),
        stream_(outside.trainers->AttachTrainer(context_.get())) {
    v1::TrainerMessage message;
    v1::TrainerHello* hello = message.mutable_hello();
    hello->set_job_id(job_id);
    hello->set_attach_token(token);
    hello->set_trainer_id(life_.trainer_id);
    hello->set_attempt(life_.attempt);
    hello->set_trainer("raw");
    hello->add_tensors()->set_name("weight");
    hello->mutable_tensors(0)->add_shape(4);
    v1::TrainerDirective answer;
    if (!stream_->Write(message) || !stream_->Read(&answer)) return;
    EXPECT_TRUE(answer.has_welcome()) << answer.ShortDebugString();
    is_welcome_ = answer.has_welcome();
    Welcome(answer.welcome());
  }
  ~TrainerStream() { Cut(); }

  bool is_welcome() const { return is_welcome_; }

  // Reports of the next steps. False: the stream is broken.
  bool Report(int count) { return Send(life_.epoch, life_.mark, count); }
  // The same as if from an earlier tenure.
  bool ReportAsBefore(int count) { return Send(life_.epoch - 1, kStale, count); }
  // Waits until all that was sent is durable.
  bool AwaitAcknowledged() {
    for (v1::TrainerDirective directive; life_.acked < life_.sent;) {
      if (!stream_->Read(&directive)) return false;
      if (!directive.ack().has_step()) continue;
      EXPECT_GE(directive.ack().step(), life_.acked) << "acknowledgements never fall";
      EXPECT_LE(directive.ack().step(), life_.sent) << "it was never sent by this trainer";
      life_.acked = directive.ack().step();
    }
    return true;
  }
  // Ends the job.
  bool Succeed() {
    v1::TrainerMessage message;
    message.mutable_notices()->set_epoch(life_.epoch);
    v1::Notice* notice = message.mutable_notices()->add_notices();
    notice->set_number(notices_ + 1);
    notice->set_steps_done(life_.sent + 1);
    notice->mutable_finished()->set_state(v1::JOB_STATE_SUCCEEDED);
    if (!stream_->Write(message)) return false;
    for (v1::TrainerDirective directive; stream_->Read(&directive);) {
      if (directive.ack().notice() > notices_) return true;
    }
    return false;
  }
  // Breaks the stream, wherever it stands.
  void Cut() {
    if (stream_ == nullptr) return;
    context_->TryCancel();
    Finish();
  }
  // What ended the stream; it waits for that.
  grpc::Status Finish() {
    for (v1::TrainerDirective rest; stream_->Read(&rest);) continue;
    const grpc::Status status = stream_->Finish();
    stream_.reset();
    return status;
  }

 private:
  void Welcome(const v1::TrainerWelcome& welcome) {
    if (!is_welcome_) return;
    EXPECT_TRUE(life_.attempt == 0 || life_.attempt == welcome.attempt()) << "who comes back, comes to its attempt";
    EXPECT_TRUE(life_.epoch == 0 || life_.epoch == welcome.epoch()) << "and to its tenure";
    EXPECT_GT(welcome.epoch(), 0);
    EXPECT_GT(welcome.attempt(), 0);
    life_.attempt = welcome.attempt();
    life_.epoch = welcome.epoch();
    notices_ = welcome.acked_notice();
    const int64_t arrived = welcome.has_acked_step() ? welcome.acked_step() : -1;
    EXPECT_GE(arrived, life_.acked) << "what was acknowledged has arrived";
    EXPECT_LE(arrived, life_.sent) << "it was never sent by this trainer";
    life_.sent = arrived;
  }
  bool Send(int64_t epoch, double loss, int count) {
    v1::TrainerMessage message;
    v1::ReportBatch* batch = message.mutable_reports();
    batch->set_epoch(epoch);
    for (int i = 1; i <= count; ++i) {
      v1::StepReport* report = batch->add_reports();
      report->set_attempt(life_.attempt);
      report->set_step(life_.sent + i);
      report->set_loss(loss);
      report->set_grad_norm(1);
      report->set_learning_rate(0.1);
      report->set_control_revision(1);
      report->add_tensors()->set_l2_norm(1);
    }
    if (loss != kStale) life_.sent += count;
    return stream_->Write(message);
  }

  const std::unique_ptr<grpc::ClientContext> context_;
  Life& life_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::TrainerMessage, v1::TrainerDirective>> stream_;
  bool is_welcome_ = false;
  int64_t notices_ = 0;  // that are durable
};

class TwoTrainersTest : public FaultTest {
 protected:
  // A job that waits for a trainer from outside.
  void CreateExternal(const std::string& job_id) {
    v1::CreateJobRequest request;
    request.set_job_id(job_id);
    request.mutable_spec()->mutable_external()->set_framework("raw");
    v1::Job job;
    const grpc::Status status = outside_->jobs->CreateJob(Outside::Context().get(), request, &job);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_NE(job.attach_token(), "");
    token_ = job.attach_token();
  }

  // Steps of each attempt are those of one trainer, each once and from the first on.
  struct Stored {
    double mark = 0;
    int64_t steps = 0;
  };
  std::map<int32_t, Stored> ReadStored(const std::string& job_id) {
    std::map<int32_t, Stored> attempts;
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_from_beginning(true);
    EXPECT_TRUE(outside_->Watch(request, [&](const v1::WatchJobResponse& response) {
      EXPECT_EQ(response.lost_size(), 0);
      for (const v1::StepReport& report : response.reports()) {
        Stored& stored = attempts[report.attempt()];
        if (stored.steps == 0) stored.mark = report.loss();
        EXPECT_EQ(report.step(), stored.steps++) << "attempt " << report.attempt();
        EXPECT_EQ(report.loss(), stored.mark) << "attempt " << report.attempt() << ", step " << report.step();
      }
      return response.has_ended();
    }));
    return attempts;
  }
  // What every trainer was told is durable is there, under its attempt, and nobody else's.
  void CheckLives(const std::vector<Life>& lives, const std::map<int32_t, Stored>& attempts) {
    std::map<int32_t, const Life*> by_attempt;
    std::map<int64_t, int32_t> by_epoch;
    for (const Life& life : lives) {
      if (life.attempt == 0) continue;
      EXPECT_TRUE(by_attempt.emplace(life.attempt, &life).second) << "two trainers of attempt " << life.attempt;
      EXPECT_TRUE(by_epoch.emplace(life.epoch, life.attempt).second) << "two trainers of tenure " << life.epoch;
      const auto found = attempts.find(life.attempt);
      const int64_t steps = found == attempts.end() ? 0 : found->second.steps;
      EXPECT_GE(steps, life.acked + 1) << "attempt " << life.attempt;
    }
    for (const auto& [attempt, stored] : attempts) {
      ASSERT_EQ(by_attempt.count(attempt), 1u) << "nobody was welcome to attempt " << attempt;
      EXPECT_EQ(stored.mark, by_attempt[attempt]->mark) << "attempt " << attempt;
      EXPECT_NE(stored.mark, kStale);
    }
    int32_t last = 0;
    for (const auto& [epoch, attempt] : by_epoch) {
      EXPECT_GT(attempt, last) << "attempts rise with the tenures";
      last = attempt;
    }
  }

  std::string token_;
};

// What both contenders know together.
struct Contest {
  std::string job_id;
  std::string token;
  int64_t rounds = 0;                   // takeovers after which the job is to end
  std::atomic<int64_t> takeovers{-1};   // so far; the first tenure is none
  std::atomic<int64_t> welcomes{0};     // streams
  std::atomic<int64_t> fenced{0};       // lives that ended because the other took over
  std::atomic<int64_t> turned_away{0};  // knocks
  std::atomic<int64_t> stale{0};        // streams that ended because of an old epoch
  std::atomic<int> marks{0};
  std::atomic<bool> over{false};
};

// One of two who want the job: process after process, since one that was fenced must not come back.
class Contender {
 public:
  Contender(const Outside& outside, Contest* contest, uint64_t seed)
      : outside_(outside), contest_(*contest), random_(seed), thread_([this] { Run(); }) {}
  ~Contender() {
    if (thread_.joinable()) thread_.join();
  }
  std::vector<Life> Join() {
    thread_.join();
    return std::move(lives_);
  }

 private:
  void Run() {
    const absl::Time deadline = absl::Now() + (IsLong() ? absl::Hours(1) : 2 * kLongWait);
    Begin();
    while (!contest_.over && !::testing::Test::HasFailure()) {
      if (absl::Now() > deadline) {
        ADD_FAILURE() << "after " << contest_.takeovers << " takeovers and " << contest_.welcomes << " welcomes";
        return;
      }
      RunStream();
    }
  }
  // A new process.
  void Begin() {
    lives_.emplace_back();
    lives_.back().mark = 2 + contest_.marks++;
  }

  void RunStream() {
    const bool is_new = lives_.back().attempt == 0;
    TrainerStream stream(outside_, contest_.job_id, contest_.token, &lives_.back());
    if (!stream.is_welcome()) return Judge(stream.Finish());
    const int64_t mine = ++contest_.welcomes;
    if (is_new) ++contest_.takeovers;
    const bool is_last = contest_.takeovers >= contest_.rounds;
    for (int batches = static_cast<int>(random_() % 4); batches >= 0; --batches) {
      if (!stream.Report(1 + static_cast<int>(random_() % 40))) return Judge(stream.Finish());
      const bool is_cut = !is_last && random_() % 4 == 0;
      if (is_cut) break;
      if (!stream.AwaitAcknowledged()) return Judge(stream.Finish());
    }
    if (is_last) {
      if (!stream.AwaitAcknowledged() || !stream.Succeed()) return Judge(stream.Finish());
      contest_.over = true;
      return;
    }
    const bool is_due = contest_.stale == 0 || random_() % 12 == 0;
    if (lives_.back().epoch > 1 && is_due) return SpeakAsBefore(stream);
    stream.Cut();
    // Often it is back before anybody notices; else it leaves the job to the other.
    if (random_() % 2 == 0) return Linger(absl::Milliseconds(random_() % 20));
    for (const absl::Time until = absl::Now() + absl::Seconds(4);
         contest_.welcomes == mine && !contest_.over && absl::Now() < until;) {
      Linger(absl::Milliseconds(10));
    }
  }
  // As a trainer would that does not know that its tenure is over.
  void SpeakAsBefore(TrainerStream& stream) {
    stream.ReportAsBefore(3);
    const grpc::Status status = stream.Finish();
    if (status.error_code() == grpc::StatusCode::ABORTED) {
      ++contest_.stale;
    } else {
      Judge(status);
    }
  }

  void Judge(const grpc::Status& status) {
    switch (status.error_code()) {
      case grpc::StatusCode::ABORTED:
        ++contest_.fenced;
        return Begin();
      case grpc::StatusCode::FAILED_PRECONDITION:
        contest_.over = true;  // the job has ended
        return;
      case grpc::StatusCode::UNAVAILABLE:
      case grpc::StatusCode::CANCELLED:
      case grpc::StatusCode::UNKNOWN:
      case grpc::StatusCode::INTERNAL:
        ++contest_.turned_away;
        return Linger(absl::Milliseconds(5 + random_() % 20));
      default:
        ADD_FAILURE() << status.error_code() << " " << status.error_message();
    }
  }

  const Outside& outside_;
  Contest& contest_;
  std::mt19937_64 random_;
  std::vector<Life> lives_;  // of the thread, until it is joined
  std::thread thread_;
};

class SlowTwoTrainersTest : public TwoTrainersTest {};

TEST_F(SlowTwoTrainersTest, AreNeverTwoWriters) {
  std::mt19937_64 random(TestSeed());
  ASSERT_NO_FATAL_FAILURE(StartServer());
  ASSERT_NO_FATAL_FAILURE(CreateExternal("wanted"));
  Contest contest;
  contest.job_id = "wanted";
  contest.token = token_;
  contest.rounds = IsLong() ? 1000 : 40;
  Outside one(server_->address()), other(server_->address());
  Contender first(one, &contest, random()), second(other, &contest, random());
  // The tenure outlives the server, too.
  for (const double part : {0.4, 0.7}) {
    while (static_cast<double>(contest.takeovers) < part * static_cast<double>(contest.rounds) && !contest.over &&
           !HasFailure()) {
      Linger(absl::Milliseconds(20));
    }
    server_->Kill();
    ASSERT_NO_FATAL_FAILURE(RestartServer());
  }
  std::vector<Life> lives = first.Join();
  for (Life& life : second.Join()) lives.push_back(std::move(life));
  ASSERT_TRUE(outside_->AwaitEnd("wanted"));
  const v1::Job job = Get("wanted");
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.failure();
  const std::map<int32_t, Stored> attempts = ReadStored("wanted");
  CheckLives(lives, attempts);
  EXPECT_EQ(job.steps_done(), attempts.empty() ? 0 : attempts.rbegin()->second.steps);
  EXPECT_GE(contest.takeovers, contest.rounds);
  EXPECT_GE(contest.fenced, contest.rounds / 2) << "those who lost it were to come back and hear it";
  EXPECT_GT(contest.stale, 0) << "nobody ever spoke as of an old tenure";
  EXPECT_GT(contest.turned_away, 0);
  std::cout << contest.takeovers << " takeovers, " << contest.welcomes << " welcomes, " << contest.turned_away
            << " knocks in vain, " << contest.fenced << " times the other had taken over, " << contest.stale
            << " times spoken as of an old tenure, " << attempts.size() << " attempts with reports" << std::endl;
}

// One that is silent loses the job to who asks for it, with its stream still open.
TEST_F(SlowTwoTrainersTest, TheSilentOneIsFencedWithItsStreamOpen) {
  ASSERT_NO_FATAL_FAILURE(StartServer());
  ASSERT_NO_FATAL_FAILURE(CreateExternal("wanted"));
  std::vector<Life> lives(2);
  lives[0].mark = 2;
  lives[1].mark = 3;
  Outside one(server_->address()), other(server_->address());
  TrainerStream silent(one, "wanted", token_, &lives[0]);
  ASSERT_TRUE(silent.is_welcome());
  ASSERT_TRUE(silent.Report(10) && silent.AwaitAcknowledged());

  std::unique_ptr<TrainerStream> heir;
  int knocks = 0;
  for (const absl::Time deadline = absl::Now() + kLongWait; absl::Now() < deadline; ++knocks) {
    heir = std::make_unique<TrainerStream>(other, "wanted", token_, &lives[1]);
    if (heir->is_welcome()) break;
    EXPECT_EQ(heir->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
    Linger(absl::Milliseconds(200));
  }
  ASSERT_TRUE(heir->is_welcome());
  EXPECT_GT(knocks, 0) << "it was not silent yet";
  EXPECT_GT(lives[1].epoch, lives[0].epoch);
  EXPECT_GT(lives[1].attempt, lives[0].attempt);
  ASSERT_TRUE(heir->Report(5) && heir->AwaitAcknowledged());

  silent.Report(7);  // it speaks again, too late
  EXPECT_EQ(silent.Finish().error_code(), grpc::StatusCode::UNAVAILABLE) << "the heir's knock has closed it";
  TrainerStream again(one, "wanted", token_, &lives[0]);
  EXPECT_FALSE(again.is_welcome());
  EXPECT_EQ(again.Finish().error_code(), grpc::StatusCode::ABORTED);
  ASSERT_TRUE(heir->Report(5) && heir->AwaitAcknowledged() && heir->Succeed());
  ASSERT_TRUE(outside_->AwaitEnd("wanted"));
  EXPECT_EQ(Get("wanted").state(), v1::JOB_STATE_SUCCEEDED);
  const std::map<int32_t, Stored> attempts = ReadStored("wanted");
  CheckLives(lives, attempts);
  ASSERT_EQ(attempts.size(), 2u);
  EXPECT_EQ(attempts.begin()->second.steps, 10);
  EXPECT_EQ(attempts.rbegin()->second.steps, 10);
}

}  // namespace
}  // namespace gradwatch::testing
