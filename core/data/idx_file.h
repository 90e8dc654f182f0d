// The IDX format of the MNIST files: a typed array of any rank, big-endian, plain or gzipped.
#ifndef GRADWATCH_CORE_DATA_IDX_FILE_H_
#define GRADWATCH_CORE_DATA_IDX_FILE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/data/byte_source.h"

namespace gradwatch::core {

// The values are the format's own.
enum class IdxType : uint8_t {
  kUnsignedByte = 0x08,
  kSignedByte = 0x09,
  kShort = 0x0B,
  kInt = 0x0C,
  kFloat = 0x0D,
  kDouble = 0x0E,
};

// Bytes of an element; 0: not a type of the format.
int64_t IdxElementBytes(IdxType type);

// Converts as many elements as `out` has places.
void ReadIdxElements(IdxType type, const char* bytes, std::span<float> out);

// The element at `bytes` of a type of whole numbers; 0 of the others.
int64_t ReadIdxInteger(IdxType type, const char* bytes);

// Whether elements that are float or double were written little-endian: at least eight of them are not 0, each of those
// has a magnitude from 1e-6 to 1e6 with its bytes reversed, and more than half of them none from 1e-12 to 1e12 as they
// stand. Honest numbers that large or small, reversed, are scattered over the whole range. False of other types.
bool LooksLittleEndian(IdxType type, absl::string_view elements);

// What the first bytes of a file say: two zero bytes, type, rank, one 32-bit size a dimension.
struct IdxHeader {
  IdxType type = IdxType::kUnsignedByte;
  std::vector<int64_t> dimensions;  // outermost first; the first is the number of examples; all at least 1
  int64_t example_size = 0;         // elements of one example

  int64_t examples() const { return dimensions[0]; }
  int64_t example_bytes() const { return example_size * IdxElementBytes(type); }
};

// A file of which the header was read and compared with the size of the file, before anything else is read or any
// memory is taken. Thread-compatible.
class IdxFile {
 public:
  // `bytes`: the size of `file`, compressed or not. INVALID_ARGUMENT: not IDX, rank not 1 to 4, no examples, a size
  // that is not the header's (cut short or too long), or more than `max_bytes` when decompressed.
  static absl::StatusOr<IdxFile> Open(std::unique_ptr<ByteSource> file, int64_t bytes, int64_t max_bytes);

  const IdxHeader& header() const { return header_; }

  // Reads all elements, once: blocks of whole elements in order, with the number of their first. Stops if `visit`
  // fails. INVALID_ARGUMENT: the file does not hold what its header says.
  absl::Status ForEachBlock(absl::FunctionRef<absl::Status(int64_t first, absl::string_view elements)> visit);

 private:
  IdxFile(std::unique_ptr<ByteSource> file, IdxHeader header) : file_(std::move(file)), header_(std::move(header)) {}

  std::unique_ptr<ByteSource> file_;
  IdxHeader header_;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_IDX_FILE_H_
