// Runs the command line in the test's process, against a server with written answers, with streams to look into.
#ifndef GRADWATCH_TESTS_CLIENT_CLI_CLI_FIXTURE_H_
#define GRADWATCH_TESTS_CLIENT_CLI_CLI_FIXTURE_H_

#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <CLI/App.hpp>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/cli/app.h"
#include "client/lib/cancellation.h"
#include "tests/support/fake_server.h"

namespace gradwatch::testing {

struct CliResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

// Presses Ctrl-C when the text is written.
class CancelAfter : public std::stringbuf {
 public:
  CancelAfter(std::string text, client::Cancellation* cancellation)
      : text_(std::move(text)), cancellation_(cancellation) {}

 protected:
  int sync() override {
    if (str().find(text_) != std::string::npos) cancellation_->Cancel();
    return 0;
  }

 private:
  const std::string text_;
  client::Cancellation* const cancellation_;
};

class CliTest : public ::testing::Test {
 protected:
  void TearDown() override { server_.Stop(); }  // before the members of the test, which scripts use, are gone

  // Runs "gradwatch ARGUMENTS", words separated by blanks, with GRADWATCH_SERVER set to the fake server.
  CliResult Cli(const std::string& arguments) { return CliWords(absl::StrSplit(arguments, ' ', absl::SkipEmpty())); }

  CliResult CliWords(const std::vector<std::string>& words) {
    std::stringbuf out;
    return RunInto(words, &out, &cancellation_);
  }

  // The same with Ctrl-C as soon as standard output holds `text`, however long that takes.
  CliResult CliUntil(const std::string& text, const std::string& arguments) {
    client::Cancellation cancellation;
    CancelAfter out(text, &cancellation);
    return RunInto(absl::StrSplit(arguments, ' ', absl::SkipEmpty()), &out, &cancellation);
  }

  // The same with a standard output that cannot be written.
  CliResult CliIntoNothing(const std::string& arguments) {
    class Full : public std::stringbuf {
      int_type overflow(int_type) override { return traits_type::eof(); }
      std::streamsize xsputn(const char*, std::streamsize) override { return 0; }
    } full;
    return RunInto(absl::StrSplit(arguments, ' ', absl::SkipEmpty()), &full, &cancellation_);
  }

  // With standard output into `buffer`.
  CliResult RunInto(const std::vector<std::string>& words, std::stringbuf* buffer, client::Cancellation* cancellation) {
    std::ostream out(buffer);
    std::ostringstream err;
    cli::Io io = io_;
    io.out = &out;
    io.err = &err;
    CliResult result;
    result.exit_code = static_cast<int>(cli::RunApp(
        words,
        [this](const std::string& name) {
          const auto found = environment_.find(name);
          return found == environment_.end() ? "" : found->second;
        },
        io, cancellation));
    result.out = buffer->str();
    result.err = err.str();
    return result;
  }

  FakeServer server_;
  std::map<std::string, std::string> environment_ = {{"GRADWATCH_SERVER", server_.address()}};
  cli::Io io_;
  client::Cancellation cancellation_;
};

// The command's options as parsed from words separated by blanks. Throws CLI::ParseError.
template <typename Options>
Options ParseOptions(CLI::App* (*add)(CLI::App&, Options*), const std::string& arguments) {
  CLI::App app;
  Options options;
  CLI::App* command = add(app, &options);
  std::vector<std::string> words = absl::StrSplit(arguments, ' ', absl::SkipEmpty());
  command->parse(std::vector<std::string>(words.rbegin(), words.rend()));
  return options;
}

// The JSON objects of the lines of `text`; fails the test where a line is none.
inline std::vector<google::protobuf::Struct> JsonLines(const std::string& text) {
  std::vector<google::protobuf::Struct> objects;
  for (const auto line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const auto status = google::protobuf::util::JsonStringToMessage(std::string(line), &objects.emplace_back());
    EXPECT_TRUE(status.ok()) << status.ToString() << ": " << line;
  }
  return objects;
}

inline grpc::Status NotFound(const std::string& message) { return grpc::Status(grpc::StatusCode::NOT_FOUND, message); }

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_CLIENT_CLI_CLI_FIXTURE_H_
