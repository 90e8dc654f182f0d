// Text of another origin (data files, names, peers, other programs' errors) made fit for a terminal, which would obey
// it.
#ifndef GRADWATCH_CLIENT_LIB_PRINTABLE_H_
#define GRADWATCH_CLIENT_LIB_PRINTABLE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace gradwatch::client {

// `text` on one line, with escapes for what a terminal would act on and what nobody could see: \n and \t; \x1b for
// control characters (C0, DEL, C1) and for bytes that are not UTF-8; \u202e for line separators, every space but the
// plain one, marks that turn the direction of writing, and other format characters and ignorable ones; \U000e0001 above
// U+FFFF. The twin of core::Printable, which has \x0a and \x09.
std::string Printable(absl::string_view text);

// The same for text of several lines: line ends stay.
std::string PrintableLines(absl::string_view text);

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_PRINTABLE_H_
