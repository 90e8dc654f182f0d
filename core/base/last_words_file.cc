#include "core/base/last_words_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace gradwatch::core {
namespace {

constexpr absl::string_view kFirstLine = "gradwatch last words 1\n";
// A message is at most a batch of 3 MiB or what tells of a model's tensors; a length beyond this is none.
constexpr uint32_t kMaxMessageBytes = uint32_t{16} << 20;
constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr size_t kWordBytes = 4;

std::array<char, kWordBytes> LittleEndian(uint32_t number) {
  std::array<char, kWordBytes> bytes{};
  for (size_t i = 0; i < kWordBytes; ++i) bytes[i] = static_cast<char>(number >> (8 * i));
  return bytes;
}

uint32_t FromLittleEndian(const char* bytes) {
  uint32_t number = 0;
  for (size_t i = 0; i < kWordBytes; ++i) number |= uint32_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return number;
}

uint32_t Checksum(uint32_t start, absl::string_view bytes) {
  if (bytes.empty()) return start;  // zlib takes a null pointer for a new beginning
  return static_cast<uint32_t>(crc32_z(start, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

// Of a record with this length and message, behind one whose checksum was `before`.
uint32_t RecordChecksum(uint32_t before, absl::string_view message) {
  const auto prior = LittleEndian(before);
  const auto length = LittleEndian(static_cast<uint32_t>(message.size()));
  return Checksum(Checksum(Checksum(0, {prior.data(), prior.size()}), {length.data(), length.size()}), message);
}

absl::Status SystemError(absl::string_view path, int error) {
  const std::string text = absl::StrCat(path, ": ", std::strerror(error));
  return error == ENOSPC || error == EDQUOT ? absl::ResourceExhaustedError(text) : absl::UnavailableError(text);
}

// Whether opening will never succeed by itself: something else is there, or it is somebody else's.
bool IsLasting(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
    case ELOOP:
    case ENOTDIR:
    case EISDIR:
    case ENXIO:
    case ENAMETOOLONG:
      return true;
    default:
      return false;
  }
}

std::string PartOf(const std::string& path) { return path + ".part"; }

// False: the file system knows no such thing, or there is room enough.
bool IsFull(int file, size_t bytes) {
  return bytes > 0 && fallocate(file, 0, 0, static_cast<off_t>(bytes)) != 0 && (errno == ENOSPC || errno == EDQUOT);
}

// Makes durable which files the folder of `path` has.
bool SyncFolderOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const FileDescriptor folder(open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return false;
  // Some network file systems have no such thing; what they do instead has to be enough.
  return fsync(folder.get()) == 0 || errno == EINVAL || errno == ENOTSUP;
}

absl::Status CutOff() { return absl::DataLossError("the file is cut off"); }

// Fills `to`. DATA_LOSS: the file ends before.
absl::Status ReadAll(int file, char* to, size_t bytes) {
  while (bytes > 0) {
    const ssize_t count = read(file, to, bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::UnavailableError(std::strerror(errno));
    if (count == 0) return CutOff();
    to += count;
    bytes -= static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LastWordsWriter> LastWordsWriter::Create(std::string path, size_t bytes) {
  const std::string part = PartOf(path);
  FileDescriptor file(open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return SystemError(path, errno);
  LastWordsWriter writer(std::move(path), std::move(file));
  if (fchmod(writer.file_.get(), 0600) != 0) return writer.Error(errno);
  if (IsFull(writer.file_.get(), bytes)) return writer.Error(ENOSPC);
  writer.buffer_ = std::string(kFirstLine);
  return writer;
}

LastWordsWriter::~LastWordsWriter() {
  if (file_.get() >= 0) std::remove(PartOf(path_).c_str());
}

absl::Status LastWordsWriter::Error(int error) const { return SystemError(path_, error); }

absl::Status LastWordsWriter::Add(const v1::TrainerMessage& message) { return AddRecord(message.SerializeAsString()); }

absl::Status LastWordsWriter::AddRecord(const std::string& bytes) {
  checksum_ = RecordChecksum(checksum_, bytes);
  const auto length = LittleEndian(static_cast<uint32_t>(bytes.size()));
  const auto checksum = LittleEndian(checksum_);
  buffer_.append(length.data(), length.size()).append(checksum.data(), checksum.size()).append(bytes);
  return buffer_.size() < kBufferBytes ? absl::OkStatus() : Flush();
}

absl::Status LastWordsWriter::Flush() {
  if (!WriteAll(file_.get(), buffer_)) return Error(errno);
  written_ += static_cast<int64_t>(buffer_.size());
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status LastWordsWriter::Finish() {
  GW_RETURN_IF_ERROR(AddRecord(""));
  GW_RETURN_IF_ERROR(Flush());
  // The room that was taken may be more than was needed.
  if (ftruncate(file_.get(), written_) != 0 || fsync(file_.get()) != 0) return Error(errno);
  if (std::rename(PartOf(path_).c_str(), path_.c_str()) != 0) return Error(errno);
  file_ = FileDescriptor();
  return SyncFolderOf(path_) ? absl::OkStatus() : Error(errno);
}

absl::StatusOr<LastWordsReader> LastWordsReader::Open(const std::string& path) {
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.get() < 0) {
    const int error = errno;
    const std::string text = absl::StrCat(path, ": ", std::strerror(error));
    if (error == ENOENT) return absl::NotFoundError(text);
    return IsLasting(error) ? absl::DataLossError(text) : absl::UnavailableError(text);
  }
  struct stat info = {};
  if (fstat(file.get(), &info) != 0) return SystemError(path, errno);
  if (!S_ISREG(info.st_mode)) return absl::DataLossError("it is not a file");
  std::array<char, kFirstLine.size()> line{};
  GW_RETURN_IF_ERROR(ReadAll(file.get(), line.data(), line.size()));
  if (absl::string_view(line.data(), line.size()) != kFirstLine) {
    return absl::DataLossError("the first line is another one");
  }
  return LastWordsReader(std::move(file));
}

absl::StatusOr<std::optional<v1::TrainerMessage>> LastWordsReader::Next() {
  std::array<char, 2 * kWordBytes> head{};
  GW_RETURN_IF_ERROR(ReadAll(file_.get(), head.data(), head.size()));
  const uint32_t length = FromLittleEndian(head.data());
  if (length > kMaxMessageBytes) return absl::DataLossError("a length is damaged");
  std::string bytes(length, '\0');
  GW_RETURN_IF_ERROR(ReadAll(file_.get(), bytes.data(), bytes.size()));
  checksum_ = RecordChecksum(checksum_, bytes);
  if (checksum_ != FromLittleEndian(head.data() + kWordBytes)) return absl::DataLossError("a checksum does not hold");
  if (length == 0) return std::optional<v1::TrainerMessage>();
  v1::TrainerMessage message;
  if (!message.ParseFromString(bytes)) return absl::DataLossError("a message is none");
  return std::optional<v1::TrainerMessage>(std::move(message));
}

}  // namespace gradwatch::core
