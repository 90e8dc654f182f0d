// A measurement that has sections, one of which is named on its command line.
#ifndef GRADWATCH_TESTS_BENCH_SECTIONS_H_
#define GRADWATCH_TESTS_BENCH_SECTIONS_H_

#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/types/span.h"
#include "tests/bench/setting.h"
#include "tests/support/server_process.h"

namespace gradwatch::testing {

constexpr int kTrainerProcessor = 0, kServerProcessor = 1;

struct Section {
  const char* name;
  const char* what;  // its size is
  int default_size;
  void (*run)(int size);
  // What is measured must not share the trainer's processor: this program runs on the server's, and what is started
  // from here inherits that.
  bool on_server_processor = false;
};

// Runs the section that the arguments name; the exit code.
inline int RunSection(const std::string& program, absl::Span<const Section> sections,
                      const std::vector<std::string>& arguments) {
  int size = 0;
  for (const Section& section : sections) {
    if (arguments.empty() || arguments[0] != section.name || arguments.size() > 2) continue;
    if (arguments.size() == 2 && (!absl::SimpleAtoi(arguments[1], &size) || size < 1)) break;
    if (section.on_server_processor) PinToProcessor(getpid(), kServerProcessor);
    try {
      section.run(size > 0 ? size : section.default_size);
      return 0;
    } catch (const Failed& failed) {
      std::cerr << program << ": " << failed.what << std::endl;
      return 1;
    }
  }
  std::cerr << "usage: " << program << " SECTION [SIZE], where SECTION is one of\n";
  for (const Section& section : sections) {
    std::cerr << "  " << section.name << " [" << section.what << ", default " << section.default_size << "]\n";
  }
  return 2;
}

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_BENCH_SECTIONS_H_
