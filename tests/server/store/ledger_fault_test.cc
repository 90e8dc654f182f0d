#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "server/store/ledger.h"
#include "server/store/sqlite.h"
#include "tests/server/store/faulty_vfs.h"
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
using ::testing::Each;
using ::testing::HasSubstr;

class LedgerFaultTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto ledger = Ledger::Open(path_, &clock_);
    ASSERT_THAT(ledger, IsOk());
    ledger_ = *std::move(ledger);
  }

  const TempDir dir_;
  const FakeClock clock_{};
  const std::string path_ = dir_.File("main.db");
  FaultyVfs vfs_;
  std::unique_ptr<Ledger> ledger_;
};

TEST_F(LedgerFaultTest, AFullDiskFailsTheWholeGroupAndIsGotOver) {
  ASSERT_THAT(AppendEvent(*ledger_, "u", MakeEvent("j", 1)), IsOk());
  FaultyVfs::full = true;
  absl::Notification hold, done;
  ledger_->Submit([&](LedgerTransaction&) {
    hold.WaitForNotification();
    return absl::OkStatus();
  });
  std::vector<absl::Status> results;
  for (int i = 0; i < 3; ++i) {
    ledger_->Submit([&, i](LedgerTransaction& transaction) {
      transaction.OnCommit([&, i](const absl::Status& status) {
        results.push_back(status);
        if (i == 2) done.Notify();
      });
      v1::Event event = MakeEvent("j", 2 + i);
      return transaction.AppendEvent("u", &event).status();
    });
  }
  hold.Notify();
  done.WaitForNotification();
  ASSERT_EQ(results.size(), 3u);
  for (const absl::Status& status : results) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("the server's disk is full")));
    EXPECT_EQ(core::GetReason(status), "STORAGE_FULL");
  }
  FaultyVfs::full = false;
  EXPECT_THAT(AppendEvent(*ledger_, "u", MakeEvent("j", 2)), IsOk());
}

// A transaction that outgrows SQLite's cache meets the fault in the middle of an operation, where SQLite may end the
// transaction by itself.
TEST_F(LedgerFaultTest, AFaultInTheMiddleOfAnOperationFailsTheGroup) {
  for (std::atomic<bool>* fault : {&FaultyVfs::full, &FaultyVfs::unwritable}) {
    absl::Notification hold, done;
    ledger_->Submit([&](LedgerTransaction&) {
      hold.WaitForNotification();
      return absl::OkStatus();
    });
    std::vector<absl::StatusCode> codes;
    for (const char* uid : {"small", "large", "last"}) {
      ledger_->Submit([&, uid = std::string(uid)](LedgerTransaction& transaction) {
        transaction.OnCommit([&, uid](const absl::Status& status) {
          codes.push_back(status.code());
          if (uid == "last") done.Notify();
        });
        *fault = uid != "small";
        v1::Event event = MakeEvent("j", 1);
        if (uid == "large") event.mutable_state_changed()->set_reason(std::string(16 << 20, 'x'));
        return transaction.AppendEvent(uid, &event).status();
      });
    }
    hold.Notify();
    done.WaitForNotification();
    EXPECT_THAT(
        codes, Each(fault == &FaultyVfs::full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnavailable));
    *fault = false;
  }
  for (const char* uid : {"small", "large", "last"}) {
    EXPECT_THAT(AppendEvent(*ledger_, uid, MakeEvent("j", 1)), IsOk());
  }
}

TEST_F(LedgerFaultTest, AFailedWriteIsUnavailable) {
  FaultyVfs::unwritable = true;
  const absl::Status status = AppendEvent(*ledger_, "u", MakeEvent("j", 1));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("disk I/O error")));
  EXPECT_EQ(core::GetReason(status), "BACKEND_DOWN");
  FaultyVfs::unwritable = false;
  EXPECT_THAT(AppendEvent(*ledger_, "u", MakeEvent("j", 1)), IsOk());
}

TEST_F(LedgerFaultTest, AnOperationOfAGroupThatCannotBeginIsAnswered) {
  FaultyVfs::unlockable = true;
  EXPECT_THAT(AppendEvent(*ledger_, "u", MakeEvent("j", 1)),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("begin")));
  EXPECT_THAT(CommitAndWait(*ledger_, [](LedgerTransaction&) { return absl::OkStatus(); }),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("begin")));
  FaultyVfs::unlockable = false;
  EXPECT_THAT(AppendEvent(*ledger_, "u", MakeEvent("j", 1)), IsOk());
}

TEST(LedgerSyncDeathTest, AFailedSyncEndsTheProcess) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        const TempDir dir;
        const FakeClock clock;
        FaultyVfs vfs;
        auto ledger = Ledger::Open(dir.File("main.db"), &clock);
        FaultyVfs::unsyncable = true;
        AppendEvent(**ledger, "u", MakeEvent("j", 1)).IgnoreError();
      },
      ::testing::ExitedWithCode(kExitSyncFailed), "");
}

}  // namespace
}  // namespace gradwatch::server
