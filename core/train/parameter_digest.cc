#include "core/train/parameter_digest.h"

#include <openssl/evp.h>

#include <bit>
#include <memory>

#include "absl/strings/escaping.h"

namespace gradwatch::core {

static_assert(std::endian::native == std::endian::little);

std::string ParameterDigest(const ParameterLayout& layout, std::span<const float> parameters) {
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  for (const ParameterSegment& segment : layout.segments()) {
    const auto bytes = std::as_bytes(parameters.subspan(segment.offset, segment.size));
    EVP_DigestUpdate(context.get(), bytes.data(), bytes.size());
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context.get(), digest, &size);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), size));
}

}  // namespace gradwatch::core
