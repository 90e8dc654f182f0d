#include "server/job/last_words.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/last_words_file.h"
#include "core/base/status_macros.h"
#include "server/base/unique_text.h"
#include "server/job/notices.h"
#include "server/job/recovery.h"
#include "server/job/supervisor.h"
#include "server/job/trainer_checks.h"

namespace gradwatch::server {
namespace {

constexpr absl::Duration kFirstPause = absl::Seconds(1);
constexpr absl::Duration kLongestPause = absl::Seconds(30);
// How often the job's lease hears that they go on.
constexpr absl::Duration kSayEvery = absl::Seconds(1);

// Stands for a trainer that is gone: its reports come by this link, and nobody is told anything.
class LinkToNobody final : public TrainerLink {
 public:
  void Send(v1::TrainerDirective) override {}
  void Close(const absl::Status&) override {}
  Heard TakeHeard() override { return Heard::kNothing; }
};

absl::Status AnotherHolds() { return absl::AbortedError("a trainer has attached meanwhile"); }

// Whether nothing will make the rest of the words better.
bool IsDamage(const absl::Status& status) {
  return absl::IsDataLoss(status) || absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status);
}

void RemoveFile(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
}

}  // namespace

// One file, from its first to its last message: whose it is, what the server knows already, then a message after the
// other. Each step leads to the next; the methods stand in that order.
class LastWords::Hearing final : public std::enable_shared_from_this<Hearing> {
 public:
  Hearing(LastWords* owner, Later words) : owner_(owner), words_(std::move(words)) {}

  void Begin() {
    OnExecutor([](Hearing& self) { self.Open(); });
  }

 private:
  using Step = void (*)(Hearing&);
  void OnExecutor(Step step) {
    context().RunOnExecutor([self = shared_from_this(), step] { step(*self); });
  }

  void Open() {
    if (const auto record = entry().published(); record == nullptr || record->ended()) {
      ended_ = true;
      return End(absl::OkStatus());
    }
    auto reader = core::LastWordsReader::Open(owner_->FileOf(entry().uid, words_.attempt));
    if (!reader.ok()) return End(reader.status());
    reader_.emplace(*std::move(reader));
    const auto first = reader_->Next();
    if (!first.ok()) return End(first.status());
    if (!first->has_value() || !(*first)->has_hello()) return End(absl::DataLossError("nobody says whose they are"));
    context().Submit<bool>(
        [self = shared_from_this(), hello = (*first)->hello()](LedgerTransaction&) { return self->Admit(hello); },
        [self = shared_from_this()](absl::StatusOr<bool> admitted) {
          if (!admitted.ok()) return self->End(admitted.status());
          self->WaitForReports();
        });
  }

  // The ledger's thread: whether they are of the trainer that holds the job. Nobody else may report from here on.
  absl::StatusOr<bool> Admit(const v1::TrainerHello& hello) {
    GW_RETURN_IF_ERROR(CheckCurrent());
    const JobRow& row = entry().working->row;
    const bool fits = hello.job_id() == entry().job_id && hello.attempt() == words_.attempt &&
                      SecretsEqual(hello.attach_token(), row.attach_token) &&
                      (row.trainer_id.empty() || hello.trainer_id() == row.trainer_id);
    if (!fits) return absl::DataLossError("they are of another trainer");
    if (entry().intake.closed_until() > owner_->Now()) return absl::UnavailableError("statistics could not be stored");
    epoch_ = row.epoch;
    entry().intake.Close();
    return true;
  }

  // The ledger's thread. ABORTED: these words do not count any more; UNAVAILABLE: that is not durable yet.
  absl::Status CheckCurrent() {
    const auto& record = entry().working;
    const bool ended = record == nullptr || record->ended();
    if (ended && record != entry().published()) return absl::UnavailableError("the job is about to end");
    ended_ = ended;
    if (ended_) return absl::AbortedError("the job has ended");
    const bool current = entry().working->row.job.attempt() == words_.attempt && entry().trainer.link == nullptr;
    return current ? absl::OkStatus() : AnotherHolds();
  }

  // As for a trainer that attaches: the step from which on reports are new is exact.
  void WaitForReports() {
    context().AfterReports(words_.entry, [self = shared_from_this()] {
      self->OnExecutor([](Hearing& hearing) { hearing.ReadLastStep(); });
    });
  }

  void ReadLastStep() {
    auto last_step = context().deps.statistics->LastStep(entry().uid, words_.attempt);
    if (last_step.ok()) last_step = recovery().CatchUp(entry(), words_.attempt, *last_step);
    Receive(last_step.ok() ? last_step : Away(last_step.status()));
  }

  void Receive(absl::StatusOr<int64_t> last_step) {
    context().Submit<bool>(
        [self = shared_from_this(), last_step](LedgerTransaction&) -> absl::StatusOr<bool> {
          GW_RETURN_IF_ERROR(self->CheckCurrent());
          ReportIntake& intake = self->entry().intake;
          if (!last_step.ok()) {
            intake.StoreFailed(self->owner_->Now());
            return Away(last_step.status());
          }
          intake.Open(&self->link_, self->epoch_, self->words_.attempt, *last_step, self->owner_->Now(),
                      /*came_back=*/true);
          return true;
        },
        [self = shared_from_this()](absl::StatusOr<bool> opened) {
          if (!opened.ok()) return self->End(opened.status());
          self->OnExecutor([](Hearing& hearing) { hearing.Next(); });
        });
  }

  void Next() {
    auto message = reader_->Next();
    if (!message.ok()) return End(message.status());
    if (!message->has_value()) return End(absl::OkStatus());
    ++messages_;
    DiscardUnknownFields(&**message);
    const v1::TrainerMessage& said = **message;
    const int64_t epoch = said.has_reports() ? said.reports().epoch() : said.notices().epoch();
    if (!said.has_reports() && !said.has_notices()) return End(absl::DataLossError("a message says nothing"));
    if (epoch != epoch_) return End(absl::DataLossError("a message is of another tenure"));
    if (said.has_notices()) return Record((*message)->notices());
    bool is_known = false;
    const absl::Status status = entry().intake.Accept(&link_, std::move(*(*message)->mutable_reports()),
                                                      LimitsOf(entry().published().get()), [&](AcceptedBatch batch) {
                                                        is_known = batch.entries.empty();
                                                        if (!is_known) Store(std::move(batch));
                                                      });
    if (absl::IsAborted(status)) return FindOutWhy();
    if (!status.ok()) return End(status);
    if (is_known) OnExecutor([](Hearing& self) { self.Next(); });
  }

  // Reports are refused: somebody else has opened or closed the intake.
  void FindOutWhy() {
    context().Submit<bool>(
        [self = shared_from_this()](LedgerTransaction&) -> absl::StatusOr<bool> {
          GW_RETURN_IF_ERROR(self->CheckCurrent());
          return absl::UnavailableError("reports are refused for now");
        },
        [self = shared_from_this()](const absl::StatusOr<bool>& current) { self->End(current.status()); });
  }

  // Under the intake's lock: only queues.
  void Store(AcceptedBatch batch) {
    auto stored = [self = shared_from_this(), gone = batch.some_are_gone, figures = std::move(batch.figures)](
                      const absl::Status& status, std::vector<EncodedReport> reports) {
      const absl::Duration now = self->owner_->Now();
      if (!status.ok()) {
        self->entry().intake.StoreFailed(now);
        return self->End(Away(status));
      }
      self->entry().intake.Stored(figures, now);
      self->GoOn();
      if (gone) self->recovery().TellLost(self->entry().uid, reports.front());
      self->entry().channel->AppendReports(reports);
      self->context().deps.hub->Notify(self->entry().uid);
      self->OnExecutor([](Hearing& hearing) { hearing.Next(); });
    };
    context().AppendReports(words_.entry, std::move(batch.entries), std::move(stored));
  }

  void Record(v1::NoticeBatch batch) {
    context().Submit<bool>([self = shared_from_this(), batch = std::move(batch)](
                               LedgerTransaction& transaction) { return self->Apply(batch, transaction); },
                           [self = shared_from_this()](absl::StatusOr<bool> ended) {
                             if (!ended.ok()) return self->End(ended.status());
                             self->ended_ = *ended;
                             if (std::exchange(self->took_in_, false)) self->GoOn();
                             self->OnExecutor([](Hearing& hearing) { hearing.Next(); });
                           });
  }

  // Some were taken in: there is time for the next ones.
  void GoOn() {
    if (owner_->Now() - went_on_ < kSayEvery) return;
    went_on_ = owner_->Now();
    context().SubmitQuietly("last words", [self = shared_from_this()](LedgerTransaction&) {
      self->supervisor().Advance(self->words_.entry, LeaseInput::kWordsGoOn);
      return absl::OkStatus();
    });
  }

  // The ledger's thread: makes notices events. Whether the job has ended by them.
  absl::StatusOr<bool> Apply(const v1::NoticeBatch& batch, LedgerTransaction& transaction) {
    GW_RETURN_IF_ERROR(CheckCurrent());
    JobEdit edit(owner_->context_, words_.entry, &transaction);
    GW_ASSIGN_OR_RETURN(const bool some_are_new, ApplyNotices(batch, edit));
    took_in_ = some_are_new;
    if (!some_are_new) return false;
    if (edit.record().ended()) {
      GW_RETURN_IF_ERROR(supervisor().Conclude(edit));
      return true;
    }
    GW_RETURN_IF_ERROR(edit.Write());
    edit.Publish();
    return false;
  }

  // Nothing more is heard, and why: OK: that was all; NOT_FOUND: there is nothing; ABORTED: it does not count any more.
  void End(const absl::Status& why) {
    context().Submit<bool>(
        [self = shared_from_this(), why](LedgerTransaction&) -> absl::StatusOr<bool> {
          self->Judge(why);
          return true;
        },
        // Nothing was written: an error is about others of the commit, unless the server goes down.
        [self = shared_from_this(), why](const absl::StatusOr<bool>&) {
          std::exchange(self->is_undecided_, false) ? self->End(why) : self->Leave(why);
        });
  }

  // The ledger's thread: what will be told of the rest if the job ends now.
  void Judge(const absl::Status& why) {
    const auto& record = entry().working;
    const bool has_ended = record == nullptr || record->ended();
    is_undecided_ = has_ended && record != entry().published();  // and may be undone
    if (has_ended || record->row.job.attempt() != words_.attempt) return;
    std::string& unheard = entry().trainer.unheard_words;
    if (why.ok() || absl::IsNotFound(why) || entry().trainer.link != nullptr) {
      unheard.clear();
    } else if (IsDamage(why)) {
      unheard = Damage(why);
    } else {
      unheard = absl::StrCat("they could not be taken in before the job ended: ", why.message());
    }
  }
  std::string Damage(const absl::Status& why) const {
    return absl::StrCat("behind message ", messages_, ": ", why.message());
  }

  void Leave(const absl::Status& why) {
    if (ended_) {
      // Behind the end, which they told themselves.
      if (IsDamage(why)) recovery().TellDataLoss(entry().uid, LossOf(words_.attempt, Damage(why)));
      owner_->Remove(entry().uid, words_.attempt);
      return words_.done(true);
    }
    GiveBack();
    const bool over = why.ok() || IsDamage(why) || absl::IsNotFound(why) || absl::IsAborted(why);
    if (over) return words_.done(false);
    spdlog::error("job {}: its last words cannot be taken in now: {}", entry().job_id, why.ToString());
    owner_->Postpone(std::move(words_));
  }

  // Nobody reports any more, unless a trainer has attached meanwhile.
  void GiveBack() {
    context().SubmitQuietly("last words", [self = shared_from_this(), entry = words_.entry](LedgerTransaction&) {
      if (entry->intake.CheckHolds(&self->link_, self->epoch_).ok()) entry->intake.Close();
      return absl::OkStatus();
    });
  }

  // Whatever is wrong with the statistics says nothing about the words.
  static absl::Status Away(const absl::Status& status) {
    return absl::UnavailableError(absl::StrCat("the job's statistics: ", status.message()));
  }

  JobEntry& entry() const { return *words_.entry; }
  JobContext& context() const { return *owner_->context_; }
  Supervisor& supervisor() const { return *owner_->supervisor_; }
  Recovery& recovery() const { return *owner_->recovery_; }

  LastWords* const owner_;
  Later words_;
  LinkToNobody link_;
  std::optional<core::LastWordsReader> reader_;
  int64_t epoch_ = 0;
  int64_t messages_ = 0;                                // behind the hello
  bool ended_ = false;                                  // the job has ended, or is gone
  bool took_in_ = false;                                // notices of the message that is recorded
  bool is_undecided_ = false;                           // whether the job has ended is not durable yet
  absl::Duration went_on_ = -absl::InfiniteDuration();  // when the lease was last told that they go on
};

std::string LastWords::LossOf(int32_t attempt, absl::string_view what) {
  return absl::StrCat("last words: attempt ", attempt, ", ", what);
}

void LastWords::Hear(const std::shared_ptr<JobEntry>& entry, int32_t attempt, Done done) {
  if (context_->options.words_folder.empty()) return done(false);
  entry->trainer.unheard_words = "there was no time to hear them, if there are any";
  Later words;
  words.entry = entry;
  words.attempt = attempt;
  words.done = std::move(done);
  Begin(std::move(words));
}

void LastWords::Begin(Later words) { std::make_shared<Hearing>(this, std::move(words))->Begin(); }

void LastWords::Postpone(Later words) {
  words.not_before = Now() + std::min(kFirstPause * (1 << std::min(words.failures, 10)), kLongestPause);
  ++words.failures;
  absl::MutexLock lock(&mutex_);
  later_.push_back(std::move(words));
}

void LastWords::Tick() {
  std::vector<Later> due;
  {
    absl::MutexLock lock(&mutex_);
    const auto is_early = [now = Now()](const Later& words) { return words.not_before > now; };
    const auto first = std::stable_partition(later_.begin(), later_.end(), is_early);
    due.assign(std::make_move_iterator(first), std::make_move_iterator(later_.end()));
    later_.erase(first, later_.end());
  }
  for (Later& words : due) Begin(std::move(words));
}

std::string LastWords::FileOf(absl::string_view uid, int32_t attempt) const {
  return LastWordsFile(context_->options.words_folder, uid, attempt);
}

void LastWords::Remove(const std::string& uid, int32_t attempts) {
  if (context_->options.words_folder.empty()) return;
  context_->RunOnExecutor([this, uid, attempts] {
    for (int32_t attempt = 1; attempt <= attempts; ++attempt) {
      const std::string file = FileOf(uid, attempt);
      for (const std::string& path : {file, file + ".part"}) RemoveFile(path);
    }
  });
}

void LastWords::RemoveOld() {
  if (context_->options.words_folder.empty()) return;
  std::error_code error;
  for (std::filesystem::directory_iterator file(context_->options.words_folder, error), end; !error && file != end;
       file.increment(error)) {
    const std::string name = file->path().filename().string();
    const absl::string_view stem = absl::StripSuffix(absl::StripSuffix(name, ".part"), ".words");
    const size_t dash = stem.rfind('-');
    int32_t attempt = 0;
    if (dash == absl::string_view::npos || !absl::SimpleAtoi(stem.substr(dash + 1), &attempt)) continue;
    const auto entry = context_->table.FindUid(stem.substr(0, dash));
    const auto record = entry == nullptr ? nullptr : entry->published();
    if (record == nullptr || (!record->ended() && record->row.job.attempt() <= attempt)) continue;
    RemoveFile(file->path().string());
  }
}

}  // namespace gradwatch::server
