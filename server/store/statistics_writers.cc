#include "server/store/statistics_writers.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "server/base/data_folder.h"

namespace gradwatch::server {
namespace {

constexpr absl::Duration kCloseAfter = absl::Seconds(30);
constexpr absl::Duration kFailureHolds = absl::Seconds(1);
// What the loss of power may cost: only a checkpoint syncs.
constexpr absl::Duration kCheckpointEvery = absl::Seconds(1);
// Pages in a write-ahead log from which on it is moved into the file at once; 16 MiB.
constexpr int kCheckpointPages = 4000;

constexpr char kDamaged[] = ".damaged";  // what was set aside
constexpr char kGone[] = ".gone";        // what is about to be removed

void RemoveFile(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);  // a folder too, if somebody put one there
  if (error) spdlog::error("cannot remove {}: {}", path, error.message());
}

void RenameFile(const std::string& from, const std::string& to) {
  RemoveFile(to);
  std::error_code error;
  if (!std::filesystem::exists(std::filesystem::symlink_status(from, error))) return;
  std::filesystem::rename(from, to, error);
  if (error) spdlog::error("cannot rename {} to {}: {}", from, to, error.message());
}

}  // namespace

absl::StatusOr<std::string> StatisticsPath(absl::string_view folder, absl::string_view uid) {
  const bool valid = !uid.empty() && uid.size() <= 128 && std::all_of(uid.begin(), uid.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
  });
  if (!valid) return absl::InvalidArgumentError(absl::StrCat("\"", absl::CHexEscape(uid), "\" is no uid of a job"));
  return absl::StrCat(folder, "/", uid, ".db");
}

StatisticsWriters::~StatisticsWriters() {
  for (Open& open : open_) CheckpointIfWritten(open);
}

absl::Status StatisticsWriters::Write(absl::string_view uid,
                                      const std::vector<const std::vector<EncodedReport>*>& reports) {
  ForgetOldFailures();
  const auto failure = failures_.find(uid);
  if (failure != failures_.end()) return failure->second.status;
  absl::Status status = TryWrite(uid, reports);
  if (!status.ok()) failures_[std::string(uid)] = {status, clock_->Monotonic() + kFailureHolds};
  return status;
}

absl::Status StatisticsWriters::TryWrite(absl::string_view uid,
                                         const std::vector<const std::vector<EncodedReport>*>& reports) {
  GW_ASSIGN_OR_RETURN(Open* const open, OpenWriter(uid));
  if (!open->written) open->due = clock_->Monotonic() + kCheckpointEvery;
  open->written = true;
  absl::Status status = open->writer->Write(reports);
  // The next write opens the file anew, which may be what helps.
  if (!status.ok()) open_.pop_front();
  return status;
}

absl::StatusOr<StatisticsWriters::Open*> StatisticsWriters::OpenWriter(absl::string_view uid) {
  auto found = std::find_if(open_.begin(), open_.end(), [uid](const Open& open) { return open.uid == uid; });
  if (found == open_.end()) {
    GW_ASSIGN_OR_RETURN(const std::string path, StatisticsPath(folder_, uid));
    GW_ASSIGN_OR_RETURN(auto writer, StatisticsWriter::Open(path));
    if (open_.size() >= max_open_) {
      CheckpointIfWritten(open_.back());
      open_.pop_back();
    }
    open_.push_back({.uid = std::string(uid), .writer = std::move(writer), .used = {}, .due = {}});
    found = std::prev(open_.end());
  }
  open_.splice(open_.begin(), open_, found);
  found->used = clock_->Monotonic();
  return &*found;
}

void StatisticsWriters::Remove(absl::string_view uid, absl::AnyInvocable<void()> done) {
  const absl::StatusOr<std::string> path = StatisticsPath(folder_, uid);
  if (!path.ok()) return done();
  Forget(uid);
  std::vector<std::string> gone;
  for (const char* kind : {"", kDamaged}) {
    for (const char* suffix : kFileSuffixes) {
      const std::string file = absl::StrCat(*path, kind, suffix);
      gone.push_back(absl::StrCat(file, kGone));
      RenameFile(file, gone.back());
    }
  }
  executor_->Run([gone = std::move(gone), done = std::move(done)]() mutable {
    for (const std::string& file : gone) RemoveFile(file);
    done();
  });
}

void StatisticsWriters::Sweep(absl::string_view uid) {
  const absl::StatusOr<std::string> path = StatisticsPath(folder_, uid);
  std::error_code ignored;
  if (!path.ok() || std::filesystem::exists(std::filesystem::symlink_status(*path, ignored))) return;
  for (const char* suffix : {"-wal", "-shm"}) RemoveFile(absl::StrCat(*path, suffix));
}

void StatisticsWriters::SetAside(absl::string_view uid) {
  const absl::StatusOr<std::string> path = StatisticsPath(folder_, uid);
  if (!path.ok()) return;
  Forget(uid);
  for (const char* suffix : kFileSuffixes) {
    RenameFile(absl::StrCat(*path, suffix), absl::StrCat(*path, kDamaged, suffix));
  }
  const absl::Status status = SyncFolder(folder_);
  if (!status.ok()) spdlog::error("{}", status.ToString());
}

void StatisticsWriters::CheckpointIfWritten(Open& open) {
  if (!open.written) return;
  const absl::StatusOr<bool> complete = open.writer->connection().Checkpoint();
  if (!complete.ok()) spdlog::error("statistics of job {}: {}", open.uid, complete.status().ToString());
  open.written = !complete.value_or(false);
  open.due = clock_->Monotonic() + kCheckpointEvery;
}

void StatisticsWriters::Forget(absl::string_view uid) {
  open_.remove_if([uid](const Open& open) { return open.uid == uid; });
  failures_.erase(std::string(uid));
}

void StatisticsWriters::ForgetOldFailures() {
  if (failures_.empty()) return;
  const absl::Duration now = clock_->Monotonic();
  for (auto it = failures_.begin(); it != failures_.end();) {
    it = it->second.until <= now ? failures_.erase(it) : std::next(it);
  }
}

absl::Duration StatisticsWriters::UntilMaintenance() const {
  absl::Duration next = absl::InfiniteDuration();
  for (const Open& open : open_) next = std::min(next, open.written ? open.due : open.used + kCloseAfter);
  return next - clock_->Monotonic();
}

void StatisticsWriters::Maintain() {
  const absl::Duration now = clock_->Monotonic();
  Open* next = nullptr;
  for (Open& open : open_) {
    if (!open.written) continue;
    if (open.writer->connection().wal_pages() >= kCheckpointPages) open.due = now;
    if (open.due <= now && (next == nullptr || open.due < next->due)) next = &open;
  }
  if (next != nullptr) CheckpointIfWritten(*next);
  open_.remove_if([now](const Open& open) { return !open.written && now - open.used >= kCloseAfter; });
}

}  // namespace gradwatch::server
