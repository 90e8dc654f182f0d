// Damaged data files, read by the product and by an independent reader: see README.md.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/process.h"

namespace gradwatch::testing {
namespace {

constexpr char kPython[] = "/usr/bin/python3";
constexpr char kReadData[] = GRADWATCH_BINARY_DIR "/bin/read_data";

std::string Environment(const char* name, const std::string& otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

RunResult RunReaders(std::vector<std::string> options) {
  std::vector<std::string> arguments = {kPython, "-B", absl::StrCat(GRADWATCH_SOURCE_DIR, "/tests/fuzz/readers.py")};
  arguments.insert(arguments.end(), options.begin(), options.end());
  return Run(arguments);
}

class ReaderFuzzTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kPython)) GTEST_SKIP() << "no " << kPython;
  }
  static void Check(const std::string& reader) {
    const std::string files = Environment("GRADWATCH_LONG", "") == "1" ? "10000" : "500";
    const RunResult result = RunReaders(
        {"--read_data", kReadData, "--reader", reader, "--files", files, "--seed", Environment("GRADWATCH_SEED", "1")});
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    std::cout << result.out;
  }
};

TEST_F(ReaderFuzzTest, TablesAreReadAsAnIndependentReaderReadsThemOrRefused) { Check("csv"); }

TEST_F(ReaderFuzzTest, TextsAreReadAsAnIndependentReaderReadsThemOrRefused) { Check("text"); }

TEST_F(ReaderFuzzTest, IdxFilesAreReadAsAnIndependentReaderReadsThemOrRefused) { Check("idx"); }

TEST_F(ReaderFuzzTest, GzippedFilesAreReadAsAnIndependentReaderReadsThemOrRefused) { Check("gzip"); }

// With one bit of what is expected turned over.
TEST_F(ReaderFuzzTest, OneWrongBitIsFound) {
  for (const char* reader : {"csv", "text", "idx", "gzip"}) {
    const RunResult result =
        RunReaders({"--read_data", kReadData, "--reader", reader, "--files", "60", "--damage_reference"});
    EXPECT_EQ(result.exit_code, 1) << result.out << result.err;
    EXPECT_NE(result.out.find("NOT OK: read wrongly"), std::string::npos) << result.out;
  }
}

TEST_F(ReaderFuzzTest, AProgramThatEndsEarlyIsFound) {
  const RunResult result = RunReaders({"--read_data", "/bin/false", "--reader", "text", "--files", "5"});
  EXPECT_EQ(result.exit_code, 1) << result.out << result.err;
  EXPECT_NE(result.out.find("NOT OK: crash: 5"), std::string::npos) << result.out;
}

}  // namespace
}  // namespace gradwatch::testing
