// The file in which a trainer leaves what it could not tell, because its server was not there or took nothing.
//
// It is a first line and then records, one a message, each of
//   length    4 bytes, of the message
//   checksum  4 bytes, CRC-32 of the checksum before it, the length and the message
//   message   a v1::TrainerMessage, as it would have been sent
// Numbers are little-endian. The first message is the trainer's hello; a record of length 0 is the end. Since checksums
// go on from each other, no record can be changed, left out or moved, and a file that was cut is known to be.
#ifndef GRADWATCH_CORE_BASE_LAST_WORDS_FILE_H_
#define GRADWATCH_CORE_BASE_LAST_WORDS_FILE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/file_descriptor.h"
#include "gradwatch/v1/trainer_service.pb.h"

namespace gradwatch::core {

// A file is never larger: who writes one leaves out reports to keep to this, the oldest ones.
inline constexpr size_t kMaxLastWordsBytes = size_t{72} << 20;
// Bytes that a message of so many takes in it.
constexpr size_t LastWordsRecordBytes(size_t message_bytes) { return message_bytes + 8; }

// Writes one, under another name until it is whole. For one thread.
class LastWordsWriter {
 public:
  // Begins PATH.part, private to its user (0600), with room for about `bytes`. Errors of this class:
  // RESOURCE_EXHAUSTED: the disk is full; UNAVAILABLE: anything else; both name the file.
  static absl::StatusOr<LastWordsWriter> Create(std::string path, size_t bytes);
  LastWordsWriter(LastWordsWriter&&) = default;
  LastWordsWriter& operator=(LastWordsWriter&&) = delete;
  // Removes what is not whole.
  ~LastWordsWriter();

  absl::Status Add(const v1::TrainerMessage& message);
  // Ends the file and gives it its name; it is then on the disk. Nothing else afterwards.
  absl::Status Finish();

 private:
  LastWordsWriter(std::string path, FileDescriptor file) : path_(std::move(path)), file_(std::move(file)) {}
  absl::Status AddRecord(const std::string& bytes);
  absl::Status Flush();
  absl::Status Error(int error) const;

  std::string path_;  // empty: moved away
  FileDescriptor file_;
  std::string buffer_;
  int64_t written_ = 0;
  uint32_t checksum_ = 0;
};

// Reads one. For one thread.
class LastWordsReader {
 public:
  // NOT_FOUND; DATA_LOSS: it does not begin as such a file, or is none that this user may read; UNAVAILABLE: it cannot
  // be read now.
  static absl::StatusOr<LastWordsReader> Open(const std::string& path);

  // The next message; nothing: that was the last. DATA_LOSS: what follows is damaged or cut off; what came before is as
  // it was written. UNAVAILABLE: it cannot be read now.
  absl::StatusOr<std::optional<v1::TrainerMessage>> Next();

 private:
  explicit LastWordsReader(FileDescriptor file) : file_(std::move(file)) {}

  FileDescriptor file_;
  uint32_t checksum_ = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_LAST_WORDS_FILE_H_
