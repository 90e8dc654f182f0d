#include "core/data/data_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/byte_units.h"

namespace gradwatch::core {
namespace {

absl::Status ReadError(int error) {
  return absl::InvalidArgumentError(absl::StrCat("reading it failed: ", std::generic_category().message(error)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataFile>> DataFile::Create(FileDescriptor descriptor, int64_t max_bytes) {
  struct stat info;
  if (fstat(descriptor.get(), &info) != 0) return ReadError(errno);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError("not a regular file");
  if (info.st_size > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(info.st_size, " bytes", InUnits(info.st_size),
                                                   ", more than the limit of ", max_bytes, InUnits(max_bytes)));
  }
  return std::unique_ptr<DataFile>(new DataFile(std::move(descriptor), info.st_size, info.st_mtim));
}

absl::StatusOr<int64_t> DataFile::Read(char* out, int64_t size) {
  ssize_t count = 0;
  do {
    count = read(descriptor_.get(), out, size);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return ReadError(errno);
  position_ += count;
  if (count == 0 || position_ > size_) GW_RETURN_IF_ERROR(CheckEnd());
  return count;
}

absl::Status DataFile::Rewind() {
  if (lseek(descriptor_.get(), 0, SEEK_SET) != 0) return ReadError(errno);
  position_ = 0;
  return absl::OkStatus();
}

absl::Status DataFile::CheckEnd() const {
  if (position_ != size_) {
    return absl::InvalidArgumentError(absl::StrCat(position_ > size_ ? "longer" : "shorter", " than the ", size_,
                                                   " bytes that it had when it was opened"));
  }
  struct stat info;
  if (fstat(descriptor_.get(), &info) != 0) return ReadError(errno);
  const bool same = info.st_mtim.tv_sec == modified_.tv_sec && info.st_mtim.tv_nsec == modified_.tv_nsec;
  return same ? absl::OkStatus() : absl::InvalidArgumentError("was written to while it was read");
}

}  // namespace gradwatch::core
