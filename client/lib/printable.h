// Text of another origin (data files, names, peers, other programs' errors) made fit for a terminal, which would obey
// it.
#ifndef GRADWATCH_CLIENT_LIB_PRINTABLE_H_
#define GRADWATCH_CLIENT_LIB_PRINTABLE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace gradwatch::client {

// `text` on one line, with escapes for what a terminal would act on: \n and \t; \x1b for control characters (C0, DEL,
// C1) and for bytes that are not UTF-8; \u202e for line separators and for marks that turn the direction of writing.
std::string Printable(absl::string_view text);

// The same for text of several lines: line ends stay.
std::string PrintableLines(absl::string_view text);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_PRINTABLE_H_
