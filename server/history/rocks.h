// RocksDB as the history uses it: how it is opened, what its errors mean, the checksum of a row, and where damage ends.
#ifndef GRADWATCH_SERVER_HISTORY_ROCKS_H_
#define GRADWATCH_SERVER_HISTORY_ROCKS_H_

#include <rocksdb/db.h>
#include <rocksdb/listener.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gradwatch::server {

inline absl::string_view ViewOf(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }
inline rocksdb::Slice SliceOf(absl::string_view view) { return {view.data(), view.size()}; }

// Stored behind the value of a row; of its key and its value.
using RowChecksum = std::array<char, 4>;
RowChecksum ChecksumOf(absl::string_view key, absl::string_view value);
// Takes the checksum off the end of a stored value. False: it is not that of the row.
bool TakeChecksum(absl::string_view key, absl::string_view* value);

// Whether a read, or an opening, has failed by what the files hold: a part of the disk that cannot be read is as bad as
// other bytes there. Too many open files, or no memory, say nothing about them.
bool IsDamage(const rocksdb::Status& status);
// Whether the disk could not read (EIO), which may pass: it is damage if a second try fails, too.
bool IsReadError(const rocksdb::Status& status);
// Whether the disk is full.
bool IsFull(const rocksdb::Status& status);
// NOT_FOUND, or the errors of HistoryDatabase.
absl::Status ToStatus(const rocksdb::Status& status);
// UNAVAILABLE, reason BACKEND_DOWN.
absl::Status HistoryIsDown(absl::string_view why);
// DATA_LOSS, reason DB_CORRUPT.
absl::Status RowIsDamaged();

// A listener that keeps a damaged block, which tidying up comes across, from ending all writing, and tells of it.
// `is_damaged` outlives it.
std::shared_ptr<rocksdb::EventListener> MakeDamageListener(std::atomic<bool>* is_damaged);

// `env`: null: RocksDB's own.
rocksdb::Options MakeOptions(rocksdb::Env* env, std::shared_ptr<rocksdb::EventListener> listener);

// Where rows from `key` on cannot be read: an iterator on the first that can be, or behind the end; with an error where
// it has met another one, or nothing can be read. No key is longer than `longest`.
std::unique_ptr<rocksdb::Iterator> SeekPastDamage(rocksdb::DB* db, const rocksdb::ReadOptions& options,
                                                  absl::string_view key, size_t longest);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_HISTORY_ROCKS_H_
