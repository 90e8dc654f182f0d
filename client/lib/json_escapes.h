// Makes JSON's escapes readable by a YAML parser.
#ifndef GRADWATCH_CLIENT_LIB_JSON_ESCAPES_H_
#define GRADWATCH_CLIENT_LIB_JSON_ESCAPES_H_

#include <string>

#include "absl/strings/string_view.h"

namespace gradwatch::client {

// Writes pairs of escaped surrogates ("\ud83d\ude00"), which YAML does not know, as one escape ("\U0001f600"). The rest
// of JSON is YAML.
std::string JoinSurrogateEscapes(absl::string_view json);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_JSON_ESCAPES_H_
