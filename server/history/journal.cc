#include "server/history/journal.h"

#include <zstd.h>

#include <limits>
#include <memory>
#include <utility>

#include "core/base/status_macros.h"
#include "server/history/column_codec.h"

namespace gradwatch::server {
namespace {

constexpr char kVersion = 1;
constexpr int kLevel = 1;  // it does not stay

std::string ToBytes(absl::Span<const JournalPart> parts) {
  std::string bytes;
  size_t size = 0;
  for (const JournalPart& part : parts) size += part.uid.size() + part.entries.size() + 16;
  bytes.reserve(size);
  for (const JournalPart& part : parts) {
    AppendVarint(part.uid.size(), &bytes);
    bytes += part.uid;
    AppendVarint(static_cast<uint32_t>(part.attempt), &bytes);
    AppendVarint(part.entries.size(), &bytes);
    bytes += part.entries;
  }
  return bytes;
}

bool TakeText(absl::string_view* bytes, std::string* text) {
  uint64_t size = 0;
  if (!TakeVarint(bytes, &size) || size > bytes->size()) return false;
  *text = std::string(bytes->substr(0, size));
  bytes->remove_prefix(size);
  return true;
}

bool TakePart(absl::string_view* bytes, JournalPart* part) {
  uint64_t attempt = 0;
  if (!TakeText(bytes, &part->uid) || !TakeVarint(bytes, &attempt)) return false;
  if (attempt > std::numeric_limits<uint32_t>::max()) return false;
  part->attempt = static_cast<int32_t>(static_cast<uint32_t>(attempt));
  return TakeText(bytes, &part->entries);
}

// The checksum of a frame is that of its content.
absl::StatusOr<std::string> Decompress(absl::string_view frame) {
  const uint64_t size = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR || size > kMaxJournalBytes) {
    return BatchIsDamaged();
  }
  std::string bytes(size, '\0');
  if (ZSTD_decompress(bytes.data(), bytes.size(), frame.data(), frame.size()) != bytes.size()) return BatchIsDamaged();
  return bytes;
}

}  // namespace

std::string EncodeJournal(absl::Span<const JournalPart> parts) {
  // One context a thread: making one takes longer than a small record.
  thread_local const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kLevel);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  const std::string bytes = ToBytes(parts);
  std::string record(1 + ZSTD_compressBound(bytes.size()), kVersion);
  record.resize(1 + ZSTD_compress2(context.get(), record.data() + 1, record.size() - 1, bytes.data(), bytes.size()));
  return record;
}

absl::StatusOr<std::vector<JournalPart>> DecodeJournal(absl::string_view record) {
  if (record.empty() || record[0] != kVersion) return BatchIsDamaged();
  GW_ASSIGN_OR_RETURN(const std::string content, Decompress(record.substr(1)));
  std::vector<JournalPart> parts;
  for (absl::string_view bytes = content; !bytes.empty();) {
    if (!TakePart(&bytes, &parts.emplace_back())) return BatchIsDamaged();
  }
  return parts;
}

}  // namespace gradwatch::server
