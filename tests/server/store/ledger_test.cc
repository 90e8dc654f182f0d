#include "server/store/ledger.h"

#include <SQLiteCpp/Database.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/timestamp.h"
#include "tests/server/store/store_testing.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::FakeClock;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using StoredResponse = LedgerTransaction::StoredResponse;

class LedgerTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }

  void Reopen() {
    ledger_.reset();
    auto ledger = Ledger::Open(path_, &clock_);
    ASSERT_THAT(ledger, IsOk());
    ledger_ = *std::move(ledger);
  }

  std::vector<int64_t> Numbers(const std::string& uid) {
    auto reader = LedgerReader::Open(path_);
    EXPECT_THAT(reader, IsOk());
    std::vector<int64_t> numbers;
    const auto events = (*reader)->ReadEvents(uid, 0, 1000, SIZE_MAX);
    EXPECT_THAT(events, IsOk());
    for (const auto& stored : *events) numbers.push_back(stored.event.number());
    return numbers;
  }

  absl::StatusOr<std::optional<StoredResponse>> FindRequest(const std::string& id) {
    absl::StatusOr<std::optional<StoredResponse>> found = std::nullopt;
    const absl::Status status = CommitAndWait(*ledger_, [&](LedgerTransaction& transaction) {
      found = transaction.FindRequest(id);
      return found.status();
    });
    EXPECT_THAT(status, IsOk());
    return found;
  }

  TempDir dir_;
  FakeClock clock_;
  const std::string path_ = dir_.File("main.db");
  std::unique_ptr<Ledger> ledger_;
};

TEST_F(LedgerTest, KeepsEverythingOfAJob) {
  JobRow row = MakeJobRow("uid-1", "job-1");
  row.job.set_state(v1::JOB_STATE_RUNNING);
  row.handle = "process 4711";
  row.trainer_id = "11111111-2222-4333-8444-555555555555";
  row.acked_notice = 5;
  row.epoch = 12;
  const auto put = [&](LedgerTransaction& transaction) { return transaction.PutJob(row); };
  ASSERT_THAT(CommitAndWait(*ledger_, put), IsOk());
  Reopen();
  const auto jobs = ledger_->LoadJobs();
  ASSERT_THAT(jobs, IsOk());
  ASSERT_EQ(jobs->size(), 1u);
  EXPECT_EQ((*jobs)[0].job.SerializeAsString(), row.job.SerializeAsString());
  EXPECT_EQ((*jobs)[0].attach_token, "token of uid-1");
  EXPECT_EQ((*jobs)[0].handle, "process 4711");
  EXPECT_EQ((*jobs)[0].trainer_id, row.trainer_id);
  EXPECT_EQ((*jobs)[0].acked_notice, 5);
  EXPECT_EQ((*jobs)[0].epoch, 12);
}

TEST_F(LedgerTest, LoadsJobsOldestFirstAndReplacesByUid) {
  for (const char* name : {"b", "a", "c", "b"}) {
    JobRow row = MakeJobRow(name, absl::StrCat("job-", name));
    const auto put = [&](LedgerTransaction& transaction) { return transaction.PutJob(row); };
    ASSERT_THAT(CommitAndWait(*ledger_, put), IsOk());
  }
  const auto jobs = ledger_->LoadJobs();
  ASSERT_THAT(jobs, IsOk());
  std::vector<std::string> uids;
  for (const JobRow& row : *jobs) uids.push_back(row.job.uid());
  EXPECT_THAT(uids, ElementsAre("b", "a", "c"));
  EXPECT_EQ((*jobs)[0].handle, "");
  EXPECT_EQ((*jobs)[0].trainer_id, "");
}

TEST_F(LedgerTest, TwoJobsCannotHaveOneId) {
  const auto put = [](const std::string& uid) {
    return [uid](LedgerTransaction& transaction) { return transaction.PutJob(MakeJobRow(uid, "same")); };
  };
  ASSERT_THAT(CommitAndWait(*ledger_, put("first")), IsOk());
  EXPECT_THAT(CommitAndWait(*ledger_, put("second")), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("store")));
}

TEST_F(LedgerTest, GivesEventsPositionAndTime) {
  std::vector<int64_t> positions;
  const auto append = [&](LedgerTransaction& transaction) -> absl::Status {
    for (const char* uid : {"u", "v", "u"}) {
      v1::Event event = MakeEvent("job", positions.size() == 2 ? 2 : 1);
      GW_ASSIGN_OR_RETURN(positions.emplace_back(), transaction.AppendEvent(uid, &event));
      EXPECT_EQ(event.time().seconds(), absl::ToUnixSeconds(clock_.Now()));
    }
    return absl::OkStatus();
  };
  ASSERT_THAT(CommitAndWait(*ledger_, append), IsOk());
  EXPECT_THAT(positions, ElementsAre(1, 2, 3));
}

TEST_F(LedgerTest, RefusesNumbersThatAreNotNext) {
  EXPECT_THAT(AppendEvent(*ledger_, "u", MakeEvent("j", 2)), StatusIs(absl::StatusCode::kInternal, HasSubstr("next")));
  ASSERT_THAT(AppendEvent(*ledger_, "u", MakeEvent("j", 1)), IsOk());
  EXPECT_THAT(AppendEvent(*ledger_, "u", MakeEvent("j", 1)), StatusIs(absl::StatusCode::kInternal, HasSubstr("next")));
  EXPECT_THAT(AppendEvent(*ledger_, "u", MakeEvent("j", 3)), StatusIs(absl::StatusCode::kInternal, HasSubstr("next")));
  EXPECT_THAT(AppendEvent(*ledger_, "u", MakeEvent("j", 2)), IsOk());
  EXPECT_THAT(Numbers("u"), ElementsAre(1, 2));
}

TEST_F(LedgerTest, KeepsAllEventsOverManyReopens) {
  std::mt19937 random(1);
  std::vector<int64_t> expected;
  for (int life = 0; life < 5; ++life) {
    for (int i = std::uniform_int_distribution(1, 40)(random); i > 0; --i) {
      expected.push_back(expected.size() + 1);
      v1::Event event = MakeEvent("j", expected.back());
      ledger_->Submit(
          [event](LedgerTransaction& transaction) mutable { return transaction.AppendEvent("u", &event).status(); });
    }
    Reopen();  // runs what was submitted
  }
  EXPECT_EQ(Numbers("u"), expected);
}

TEST_F(LedgerTest, RunsCallbacksInTheOrderOfCallsOverAGroup) {
  absl::Notification hold, all_done;
  std::vector<int> order;
  ledger_->Submit([&](LedgerTransaction&) {
    hold.WaitForNotification();
    return absl::OkStatus();
  });
  for (int i = 0; i < 600; ++i) {  // three groups, of which the last is not full
    ledger_->Submit([&, i](LedgerTransaction& transaction) {
      transaction.OnCommit([&, i](const absl::Status&) { order.push_back(2 * i); });
      transaction.OnCommit([&, i](const absl::Status&) {
        order.push_back(2 * i + 1);
        if (i == 599) all_done.Notify();
      });
      return absl::OkStatus();
    });
  }
  hold.Notify();
  all_done.WaitForNotification();
  ASSERT_EQ(order.size(), 1200u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(LedgerTest, AFailedOperationLeavesItsGroupAlone) {
  absl::Notification hold, done;
  ledger_->Submit([&](LedgerTransaction&) {
    hold.WaitForNotification();
    return absl::OkStatus();
  });
  std::vector<absl::StatusCode> codes(4);
  for (int i = 0; i < 4; ++i) {
    ledger_->Submit([&, i](LedgerTransaction& transaction) -> absl::Status {
      transaction.OnCommit([&, i](const absl::Status& status) {
        codes[i] = status.code();
        if (i == 3) done.Notify();
      });
      v1::Event event = MakeEvent("j", 1);
      GW_RETURN_IF_ERROR(transaction.AppendEvent(absl::StrCat("u", i), &event).status());
      return i == 1 ? absl::AbortedError("changed my mind") : absl::OkStatus();
    });
  }
  hold.Notify();
  done.WaitForNotification();
  EXPECT_THAT(codes, ElementsAre(absl::StatusCode::kOk, absl::StatusCode::kAborted, absl::StatusCode::kOk,
                                 absl::StatusCode::kOk));
  EXPECT_THAT(Numbers("u0"), ElementsAre(1));
  EXPECT_THAT(Numbers("u1"), IsEmpty());
  EXPECT_THAT(Numbers("u2"), ElementsAre(1));
}

TEST_F(LedgerTest, CallbacksMaySubmitMore) {
  absl::Notification done;
  std::function<void(int)> chain = [&](int left) {
    if (left == 0) return done.Notify();
    ledger_->Submit([&, left](LedgerTransaction& transaction) {
      transaction.OnCommit([&, left](const absl::Status&) { chain(left - 1); });
      return absl::OkStatus();
    });
  };
  chain(50);
  done.WaitForNotification();
}

TEST_F(LedgerTest, NothingIsVisibleBeforeTheCommit) {
  absl::Notification appended, go_on;
  std::vector<int64_t> before;
  ledger_->Submit([&](LedgerTransaction& transaction) {
    v1::Event event = MakeEvent("j", 1);
    const auto position = transaction.AppendEvent("u", &event);
    appended.Notify();
    go_on.WaitForNotification();
    return position.status();
  });
  appended.WaitForNotification();
  EXPECT_THAT(Numbers("u"), IsEmpty());
  go_on.Notify();
  ASSERT_THAT(CommitAndWait(*ledger_, [](LedgerTransaction&) { return absl::OkStatus(); }), IsOk());
  EXPECT_THAT(Numbers("u"), ElementsAre(1));
}

TEST_F(LedgerTest, ForgetsRequestsAfterADay) {
  const auto put = [](const std::string& id) {
    return [id](LedgerTransaction& transaction) { return transaction.PutRequest(id, {"digest", "response"}); };
  };
  ASSERT_THAT(CommitAndWait(*ledger_, put("r")), IsOk());
  EXPECT_THAT(CommitAndWait(*ledger_, put("r")), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("request")));
  clock_.Advance(absl::Hours(24) - absl::Milliseconds(1));
  auto found = FindRequest("r");
  ASSERT_TRUE(found.ok() && found->has_value());
  EXPECT_EQ((*found)->request_digest, "digest");
  EXPECT_EQ((*found)->response, "response");
  clock_.Advance(absl::Milliseconds(1));
  found = FindRequest("r");
  EXPECT_TRUE(found.ok() && !found->has_value());
  EXPECT_THAT(CommitAndWait(*ledger_, put("r")), IsOk());
}

TEST_F(LedgerTest, DeletesAllOfAJobAndNeverReusesPositions) {
  const auto fill = [](const std::string& uid) {
    return [uid](LedgerTransaction& transaction) -> absl::Status {
      GW_RETURN_IF_ERROR(transaction.PutJob(MakeJobRow(uid, absl::StrCat("job-", uid))));
      v1::Event event = MakeAlertEvent("job", 1, absl::StrCat(uid, "/1/rule/1"), v1::ALERT_STATE_FIRING);
      GW_RETURN_IF_ERROR(transaction.AppendEvent(uid, &event).status());
      return transaction.PutRequest(absl::StrCat("request-", uid), {"d", "r"});
    };
  };
  ASSERT_THAT(CommitAndWait(*ledger_, fill("keep")), IsOk());
  ASSERT_THAT(CommitAndWait(*ledger_, fill("drop")), IsOk());
  const auto drop = [](LedgerTransaction& transaction) { return transaction.DeleteJob("drop", 1); };
  ASSERT_THAT(CommitAndWait(*ledger_, drop), IsOk());
  Reopen();
  auto reader = LedgerReader::Open(path_);
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ(ledger_->LoadJobs()->size(), 1u);
  EXPECT_THAT(Numbers("drop"), IsEmpty());
  EXPECT_THAT(Numbers("keep"), ElementsAre(1));
  EXPECT_THAT((*reader)->GetAlert("drop/1/rule/1"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("drop/1")));
  EXPECT_THAT((*reader)->GetAlert("keep/1/rule/1"), IsOk());
  EXPECT_TRUE(FindRequest("request-drop")->has_value()) << "answers outlive their job: the request may come again";
  ASSERT_THAT(AppendEvent(*ledger_, "keep", MakeEvent("job", 2)), IsOk());
  EXPECT_EQ(*(*reader)->LastPosition(), 3);
}

TEST_F(LedgerTest, TheLastPositionOutlivesItsJob) {
  ASSERT_THAT(AppendEvent(*ledger_, "keep", MakeEvent("keep", 1)), IsOk());
  ASSERT_THAT(AppendEvent(*ledger_, "drop", MakeAlertEvent("drop", 1, "a", v1::ALERT_STATE_FIRING)), IsOk());
  const auto drop = [](LedgerTransaction& transaction) { return transaction.DeleteJob("drop", 1); };
  ASSERT_THAT(CommitAndWait(*ledger_, drop), IsOk());
  for (int life = 0; life < 2; ++life) {
    auto reader = LedgerReader::Open(path_);
    ASSERT_THAT(reader, IsOk());
    EXPECT_EQ(*(*reader)->LastPosition(), 2) << "a token from before the deletion is ahead of nothing";
    Reopen();
  }
  ASSERT_THAT(AppendEvent(*ledger_, "keep", MakeEvent("keep", 2)), IsOk());
  auto reader = LedgerReader::Open(path_);
  EXPECT_EQ((*reader)->ReadAllEvents(2, 10, SIZE_MAX)->at(0).position, 3);
}

TEST_F(LedgerTest, FindsTheStateOfAnAlertWithItsJob) {
  ASSERT_THAT(AppendEvent(*ledger_, "u", MakeAlertEvent("j", 1, "u/1/rule/1", v1::ALERT_STATE_FIRING)), IsOk());
  ASSERT_THAT(AppendEvent(*ledger_, "u", MakeAlertEvent("j", 2, "u/1/rule/1", v1::ALERT_STATE_RESOLVED)), IsOk());
  const auto find = [](LedgerTransaction& transaction) -> absl::Status {
    const auto found = transaction.FindAlert("u/1/rule/1");
    EXPECT_THAT(found, IsOk());
    EXPECT_TRUE(found->has_value());
    EXPECT_EQ((*found)->first, "u");
    EXPECT_EQ((*found)->second.state(), v1::ALERT_STATE_RESOLVED);
    EXPECT_FALSE(transaction.FindAlert("none")->has_value());
    return absl::OkStatus();
  };
  EXPECT_THAT(CommitAndWait(*ledger_, find), IsOk());
}

TEST_F(LedgerTest, KeepsSilencesUntilTheyEnd) {
  const auto put = [this](const std::string& id, absl::Duration length) {
    v1::Silence silence;
    silence.set_silence_id(id);
    silence.set_comment(absl::StrCat("for ", absl::FormatDuration(length)));
    *silence.mutable_end_time() = core::ToTimestamp(clock_.Now() + length);
    return CommitAndWait(*ledger_, [&](LedgerTransaction& transaction) { return transaction.PutSilence(silence); });
  };
  const auto load = [this] {
    std::vector<std::string> all;
    const auto silences = ledger_->LoadSilences();
    EXPECT_THAT(silences, IsOk());
    for (const v1::Silence& silence : *silences) {
      all.push_back(absl::StrCat(silence.silence_id(), " ", silence.comment()));
    }
    return all;
  };
  for (const char* id : {"b", "a", "c"}) ASSERT_THAT(put(id, absl::Hours(1)), IsOk());
  ASSERT_THAT(put("a", absl::Hours(2)), IsOk());
  Reopen();
  EXPECT_THAT(load(), ElementsAre("b for 1h", "a for 2h", "c for 1h"));
  const auto drop = [](LedgerTransaction& transaction) { return transaction.DeleteSilence("c"); };
  ASSERT_THAT(CommitAndWait(*ledger_, drop), IsOk());
  EXPECT_THAT(load(), ElementsAre("b for 1h", "a for 2h"));
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(load(), ElementsAre("a for 2h"));
  ASSERT_THAT(put("d", absl::Hours(1)), IsOk());
  EXPECT_EQ(SQLite::Database(path_).execAndGet("SELECT count(*) FROM silences").getInt(), 2) << "what ended is gone";
}

TEST_F(LedgerTest, FilesAreForTheirUserOnly) {
  const mode_t umask_before = umask(0);
  auto other = Ledger::Open(dir_.File("other.db"), &clock_);
  umask(umask_before);
  ASSERT_THAT(other, IsOk());
  ASSERT_THAT(AppendEvent(**other, "u", MakeEvent("j", 1)), IsOk());
  const auto mode = [this](const std::string& name) {
    return std::filesystem::status(dir_.File(name)).permissions() & std::filesystem::perms::mask;
  };
  const auto user_only = std::filesystem::perms::owner_read | std::filesystem::perms::owner_write;
  for (const char* name : {"other.db", "other.db-wal", "other.db-shm"}) EXPECT_EQ(mode(name), user_only) << name;
  other->reset();
  std::filesystem::permissions(dir_.File("other.db"), std::filesystem::perms::all);
  ASSERT_THAT(Ledger::Open(dir_.File("other.db"), &clock_), IsOk());
  EXPECT_EQ(mode("other.db"), user_only);
}

TEST_F(LedgerTest, TheLogEpochStaysWithTheDatabase) {
  const std::string epoch = ledger_->log_epoch();
  EXPECT_EQ(epoch.size(), 32u);
  Reopen();
  EXPECT_EQ(ledger_->log_epoch(), epoch);
  auto other = Ledger::Open(dir_.File("other.db"), &clock_);
  ASSERT_THAT(other, IsOk());
  EXPECT_NE((*other)->log_epoch(), epoch);
}

TEST_F(LedgerTest, UsesTheSafeSettings) {
  SQLite::Database database(path_);
  EXPECT_EQ(database.execAndGet("PRAGMA journal_mode").getString(), "wal");
  EXPECT_EQ(database.execAndGet("PRAGMA user_version").getInt(), 3);
  EXPECT_EQ(database
                .execAndGet("SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND strict = 0 "
                            "AND name NOT LIKE 'sqlite_%'")
                .getInt(),
            0);
}

// The query plans that keep reads short; a scan would show as SCAN.
TEST_F(LedgerTest, FindsRowsByIndex) {
  SQLite::Database database(path_);
  for (const char* query : {
           "SELECT max(number) FROM events WHERE uid = ?1",
           "SELECT event FROM events WHERE uid = ?1 AND number > ?2 ORDER BY number",
           "SELECT event FROM events WHERE kind = 9 AND position > ?1 AND job_id = ?3 ORDER BY position",
           "SELECT alert FROM alerts WHERE position < ?1 AND job_id = ?2 ORDER BY position DESC",
           "DELETE FROM alerts WHERE uid = ?1",
           "DELETE FROM requests WHERE create_millis <= ?1",
           "SELECT event FROM events WHERE position > ?1 ORDER BY position",
       }) {
    SQLite::Statement plan(database, absl::StrCat("EXPLAIN QUERY PLAN ", query));
    while (plan.executeStep()) EXPECT_THAT(plan.getColumn(3).getString(), HasSubstr("SEARCH")) << query;
  }
}

TEST(LedgerOpenTest, RefusesWhatItMustNotTouch) {
  const TempDir dir;
  const FakeClock clock;
  const std::string path = dir.File("main.db");
  ASSERT_THAT(Ledger::Open(path, &clock), IsOk());
  SQLite::Database(path, SQLite::OPEN_READWRITE).exec("PRAGMA user_version = 99");
  EXPECT_THAT(Ledger::Open(path, &clock), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("newer")));
  EXPECT_THAT(LedgerReader::Open(path), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("newer")));

  SQLite::Database(path, SQLite::OPEN_READWRITE).exec("PRAGMA user_version = 1");
  EXPECT_THAT(Ledger::Open(path, &clock),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 1, made by a gradwatch before")));
  EXPECT_THAT(LedgerReader::Open(path), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 1")));

  const std::string foreign = dir.File("foreign.db");
  SQLite::Database(foreign, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec("CREATE TABLE t (x)");
  EXPECT_THAT(Ledger::Open(foreign, &clock), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another")));

  EXPECT_THAT(Ledger::Open(dir.File("no/folder/main.db"), &clock),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("")));
  EXPECT_THAT(LedgerReader::Open(dir.File("none.db")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("")));
  const std::string text = dir.Write("text.db", std::string(5000, 'x'));
  EXPECT_THAT(Ledger::Open(text, &clock), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("")));
}

// What version 2 made, as it was; with two jobs, of which the first has a trainer and a change that waits.
constexpr char kVersion2[] = R"sql(
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO meta VALUES ('log_epoch', '0123456789abcdef0123456789abcdef');
CREATE TABLE jobs (
  sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
  uid          TEXT NOT NULL UNIQUE,
  job_id       TEXT NOT NULL UNIQUE,
  attach_token TEXT NOT NULL,
  trainer_pid  INTEGER NOT NULL,
  acked_notice INTEGER NOT NULL,
  at_step      INTEGER,
  pending      BLOB NOT NULL,
  epoch        INTEGER NOT NULL,
  job          BLOB NOT NULL
) STRICT;
CREATE TABLE events (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  uid      TEXT NOT NULL,
  number   INTEGER NOT NULL,
  job_id   TEXT NOT NULL,
  kind     INTEGER NOT NULL,
  event    BLOB NOT NULL,
  UNIQUE (uid, number)
) STRICT;
CREATE INDEX alert_events ON events (position) WHERE kind = 9;
CREATE INDEX alert_events_of_job ON events (job_id, position) WHERE kind = 9;
CREATE TABLE alerts (
  position INTEGER PRIMARY KEY,
  alert_id TEXT NOT NULL UNIQUE,
  uid      TEXT NOT NULL,
  job_id   TEXT NOT NULL,
  state    INTEGER NOT NULL,
  severity INTEGER NOT NULL,
  alert    BLOB NOT NULL
) STRICT;
CREATE INDEX alerts_of_job ON alerts (job_id, position);
CREATE INDEX alerts_of_uid ON alerts (uid);
CREATE TABLE silences (silence_id TEXT PRIMARY KEY, end_millis INTEGER NOT NULL, silence BLOB NOT NULL) STRICT;
CREATE TABLE removals (uid TEXT PRIMARY KEY, attempts INTEGER NOT NULL) STRICT;
CREATE TABLE requests (
  request_id    TEXT PRIMARY KEY,
  digest        BLOB NOT NULL,
  response      BLOB NOT NULL,
  create_millis INTEGER NOT NULL
) STRICT;
CREATE INDEX requests_by_age ON requests (create_millis);
-- Field 1 of a job is its id, field 2 its uid.
INSERT INTO jobs (uid, job_id, attach_token, trainer_pid, acked_notice, at_step, pending, epoch, job) VALUES
  ('u1', 'j1', 'secret', 4711, 5, 70, x'0803', 12, x'0a026a3112027531'),
  ('u2', 'j2', '', 0, 0, NULL, x'', 0, x'0a026a3212027532');
-- What was asked for is in the log: an AdjustRequested whose adjustment has the revision 3.
INSERT INTO events (uid, number, job_id, kind, event) VALUES ('u1', 1, 'j1', 6, x'0a026a31100132040a020803');
PRAGMA application_id = 0x67774d31;
PRAGMA user_version = 2;
)sql";

TEST(LedgerOpenTest, TakesOverWhatAnOlderVersionMade) {
  const TempDir dir;
  const FakeClock clock;
  const std::string path = dir.File("main.db");
  SQLite::Database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec(kVersion2);
  for (int life = 0; life < 2; ++life) {
    auto ledger = Ledger::Open(path, &clock);
    ASSERT_THAT(ledger, IsOk());
    EXPECT_EQ((*ledger)->log_epoch(), "0123456789abcdef0123456789abcdef");
    const auto jobs = (*ledger)->LoadJobs();
    ASSERT_THAT(jobs, IsOk());
    ASSERT_EQ(jobs->size(), 2u);
    const JobRow& first = (*jobs)[0];
    EXPECT_EQ(first.job.job_id(), "j1");
    EXPECT_EQ(first.job.uid(), "u1");
    EXPECT_EQ(first.attach_token, "secret");
    EXPECT_EQ(first.handle, "process 4711");
    EXPECT_EQ(first.trainer_id, "");
    EXPECT_EQ(first.acked_notice, 5);
    EXPECT_EQ(first.epoch, 12);
    EXPECT_EQ((*jobs)[1].handle, "") << "it had no process";
    const auto put = [&](LedgerTransaction& transaction) { return transaction.PutJob(first); };
    EXPECT_THAT(CommitAndWait(**ledger, put), IsOk());
    auto reader = LedgerReader::Open(path);
    ASSERT_THAT(reader, IsOk());
    const auto events = (*reader)->ReadEvents("u1", 0, 10, SIZE_MAX);
    ASSERT_THAT(events, IsOk());
    ASSERT_EQ(events->size(), 1u);
    EXPECT_EQ((*events)[0].event.adjust_requested().adjustment().revision(), 3);
  }
}

// Flips bytes all over the file: the ledger opens only if nothing that matters was hit, and never crashes.
TEST(LedgerOpenTest, FindsDamagedFiles) {
  const TempDir dir;
  const FakeClock clock;
  const std::string path = dir.File("main.db");
  {
    auto ledger = Ledger::Open(path, &clock);
    ASSERT_THAT(ledger, IsOk());
    for (int i = 1; i <= 200; ++i) {
      v1::Event event = MakeEvent("j", i);
      (*ledger)->Submit(
          [event](LedgerTransaction& transaction) mutable { return transaction.AppendEvent("u", &event).status(); });
    }
  }
  std::ifstream file(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(file)), {});
  int refused = 0;
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    std::string bad = good;
    // The start of a page is its header.
    const size_t page = std::uniform_int_distribution<size_t>(0, good.size() / 4096 - 1)(random);
    for (int k = 0; k < 8; ++k) bad[page * 4096 + (page == 0 ? 100 : 0) + k] ^= static_cast<char>(1 + random() % 255);
    const std::string copy = dir.Write("copy.db", bad);
    const auto ledger = Ledger::Open(copy, &clock);
    if (ledger.ok()) continue;
    ++refused;
    EXPECT_THAT(ledger, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("")));
    EXPECT_EQ(core::GetReason(ledger.status()), "DB_CORRUPT");
  }
  EXPECT_EQ(refused, 200);
}

}  // namespace
}  // namespace gradwatch::server
