// Texts that nobody can guess or make twice, and digests.
#ifndef GRADWATCH_SERVER_BASE_UNIQUE_TEXT_H_
#define GRADWATCH_SERVER_BASE_UNIQUE_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace gradwatch::server {

// A version 4 UUID, as 36 lower-case characters.
std::string NewUuid();
// Whether `text` has the form of a UUID.
bool IsUuid(absl::string_view text);
// 256 random bits in hexadecimal.
std::string NewSecret();
// Whether two secrets are the same; takes the same time wherever they differ.
bool SecretsEqual(absl::string_view a, absl::string_view b);
// `length` random characters of a-z and 2-7.
std::string RandomLetters(int length);
// SHA-256 in lower-case hexadecimal.
std::string Sha256Hex(absl::string_view bytes);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_UNIQUE_TEXT_H_
