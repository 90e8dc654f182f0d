// The rules of the house that neither compiler nor linker can check, as searches through the source.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace gradwatch::testing {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = GRADWATCH_SOURCE_DIR;

bool IsCode(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".h" || extension == ".cc" || extension == ".py";
}

// Lines of code files below `folder` that match `pattern`, as "path:line: text", but for files that match `except`.
std::vector<std::string> Find(const std::string& folder, const std::string& pattern, const std::string& except = "") {
  const std::regex regex(pattern, std::regex::optimize);
  std::vector<std::string> found;
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
    const std::string path = fs::relative(entry.path(), kRoot).string();
    if (!entry.is_regular_file() || !IsCode(entry.path()) || path == "tests/rules/source_rules_test.cc") continue;
    if (!except.empty() && std::regex_search(path, std::regex(except))) continue;
    ++files;
    std::ifstream file(entry.path());
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
      if (std::regex_search(line, regex)) found.push_back(absl::StrCat(path, ":", number, ": ", line));
    }
  }
  EXPECT_GT(files, 0) << "nothing searched in " << folder;
  return found;
}

std::string Join(const std::vector<std::string>& lines) {
  std::ostringstream text;
  for (const auto& line : lines) text << "  " << line << "\n";
  return text.str();
}

TEST(SourceRulesTest, FoldersIncludeOnlyWhatTheyMay) {
  const struct {
    const char* folder;
    const char* forbidden;
    const char* why;
  } cases[] = {
      {"core", R"(#include ["<](server/|client/|tests/|grpc|sqlite|SQLiteCpp|spdlog|boost/|CLI/|yaml-cpp))",
       "core knows no gRPC, SQLite, HTTP, logger"},
      {"server", R"(#include ["<](client/|tests/|Eigen|yaml-cpp))", "the server knows no client and no engine inside"},
      {"server", R"(#include "core/(nn|tensor|optim|train|clip|stats)/)", "the server never trains"},
      {"server/api", R"(#include ["<]grpc|\.grpc\.pb\.h|#include "server/rpc/)", "operations know no transport"},
      {"server/stream", R"(#include ["<]grpc|\.grpc\.pb\.h|#include "server/(rpc|api)/)", "streams know no transport"},
      {"client/lib", R"(#include ["<](server/|core/|tests/|Eigen|SQLiteCpp|sqlite))",
       "clients speak only the protocol"},
      {"client/cli", R"(#include ["<](server/|core/|tests/|Eigen|SQLiteCpp|sqlite))",
       "clients speak only the protocol"},
      {"client/worker", R"(#include ["<](server/|tests/|SQLiteCpp|sqlite))", "a worker knows no server"},
  };
  for (const auto& c : cases) {
    const auto found = Find(c.folder, c.forbidden);
    EXPECT_TRUE(found.empty()) << c.why << ":\n" << Join(found);
  }
}

TEST(SourceRulesTest, NoEigenTypeCrossesCoresHeaders) {
  // Their alignment differs between the builds of the engine. Headers under */internal/ are core's own.
  const auto found = Find("core", "Eigen", R"(\.cc$|/internal/)");
  EXPECT_TRUE(found.empty()) << Join(found);
}

TEST(SourceRulesTest, ThreadsAreJoined) {
  for (const char* folder : {"core", "server", "client"}) {
    const auto found = Find(folder, R"(\.detach\(\))");
    EXPECT_TRUE(found.empty()) << Join(found);
  }
}

TEST(SourceRulesTest, TestsDoNotSleep) {
  const auto found = Find("tests", R"(sleep_for|sleep_until|SleepFor|\busleep\(|\bsleep\(|time\.sleep)");
  EXPECT_TRUE(found.empty()) << Join(found);
}

TEST(SourceRulesTest, AbseilsStringViewIsUsedThroughout) {
  for (const char* folder : {"core", "server", "client"}) {
    const auto found = Find(folder, "std::string_view");
    EXPECT_TRUE(found.empty()) << "Debian's Abseil has a type of its own:\n" << Join(found);
  }
}

TEST(SourceRulesTest, GrpcStatusIsMadeInOnePlace) {
  const auto found = Find("server", R"(\bgrpc::Status\()", R"(server/base/grpc_status\.cc)");
  EXPECT_TRUE(found.empty()) << Join(found);
}

TEST(SourceRulesTest, NothingIsLeftForLater) {
  for (const char* folder : {"core", "server", "client", "tests"}) {
    const auto found = Find(folder, R"(\b(TODO|FIXME|XXX)\b)");
    EXPECT_TRUE(found.empty()) << Join(found);
  }
}

TEST(SourceRulesTest, EveryFolderSaysWhatIsInIt) {
  for (const char* top : {"proto", "server", "client", "core", "deploy", "tests"}) {
    EXPECT_TRUE(fs::exists(kRoot / top / "README.md")) << top;
  }
  for (const char* top : {"server", "client", "core"}) {
    for (const auto& entry : fs::directory_iterator(kRoot / top)) {
      if (!entry.is_directory()) continue;
      EXPECT_TRUE(fs::exists(entry.path() / "README.md")) << entry.path();
    }
  }
}

TEST(SourceRulesTest, TheTopLevelHoldsTheSixFolders) {
  for (const auto& entry : fs::directory_iterator(kRoot)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory() || absl::StartsWith(name, ".") || name == "build") continue;
    EXPECT_TRUE(name == "proto" || name == "server" || name == "client" || name == "core" || name == "deploy" ||
                name == "tests")
        << name;
  }
}

std::string Read(const fs::path& path) {
  std::ifstream file(path);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

// "Suite" and "Suite.Test" of every test that there is.
std::set<std::string> TestNames() {
  static const std::regex test(R"(\b(?:TYPED_)?TEST(_F|_P)?\(\s*(\w+),\s*(\w+)\))");
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / "tests")) {
    if (!absl::EndsWith(entry.path().filename().string(), "_test.cc")) continue;
    const std::string text = Read(entry.path());
    for (std::sregex_iterator found(text.begin(), text.end(), test); found != std::sregex_iterator(); ++found) {
      names.insert((*found)[2]);
      names.insert(absl::StrCat((*found)[2].str(), ".", (*found)[3].str()));
    }
  }
  return names;
}

TEST(SourceRulesTest, EveryMendedBugHasItsTestsAndOneRow) {
  static const std::regex name(R"(`([A-Z]\w*(\.\w+)?)`)");
  const std::set<std::string> tests = TestNames();
  std::set<std::string> bugs;
  const std::vector<std::string> lines = absl::StrSplit(Read(kRoot / "tests/regression/README.md"), '\n');
  for (const std::string& line : lines) {
    if (!absl::StartsWith(line, "| ") || absl::StartsWith(line, "| what was seen |")) continue;
    const std::vector<std::string> cells = absl::StrSplit(line, " | ");
    ASSERT_EQ(cells.size(), 3u) << line;
    EXPECT_TRUE(bugs.insert(cells[0]).second) << "twice: " << line;
    int named = 0;
    for (std::sregex_iterator found(cells[2].begin(), cells[2].end(), name); found != std::sregex_iterator(); ++found) {
      EXPECT_EQ(tests.count((*found)[1]), 1u) << (*found)[1] << " is no test: " << line;
      ++named;
    }
    EXPECT_GT(named, 0) << line;
  }
  EXPECT_GT(bugs.size(), 100u);
}

using Names = std::set<std::string>;

// Adds what a file declares at the level of a namespace, as "namespace::name". An unnamed namespace is a file's own.
void CollectNames(const fs::path& path, Names* types, Names* functions) {
  static const std::regex opened(R"(^namespace ?([\w:]*) \{)"), closed(R"(^\}  // namespace)");
  static const std::regex type(R"(^(?:class|struct|enum|enum class) (\w+)|^using (\w+) =)");
  static const std::regex function(R"(^(?!return |\s)[\w:<>,&*\[\] ]*[\w>&*] [&*]?(\w+)\()");
  std::vector<std::string> scopes;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(Read(path), '\n'))) {
    std::smatch found;
    const std::string scope = absl::StrCat(absl::StrJoin(scopes, "::"), "::");
    if (std::regex_search(line, found, opened)) {
      scopes.push_back(found[1].length() > 0 ? found[1].str() : path.string());
    } else if (std::regex_search(line, closed)) {
      scopes.pop_back();
    } else if (std::regex_search(line, found, type)) {
      types->insert(absl::StrCat(scope, found[1].str(), found[2].str()));
    } else if (std::regex_search(line, found, function)) {
      functions->insert(absl::StrCat(scope, found[1].str()));
    }
  }
}

TEST(SourceRulesTest, NoFunctionHasTheNameOfAType) {
  Names types, functions;
  for (const char* folder : {"core", "server", "client"}) {
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".h" || extension == ".cc") CollectNames(entry.path(), &types, &functions);
    }
  }
  EXPECT_GT(types.size(), 300u);
  EXPECT_GT(functions.size(), 600u);
  for (const std::string& name : types) EXPECT_EQ(functions.count(name), 0u) << name;
}

TEST(SourceRulesTest, EveryTestFileIsInATestProgram) {
  // Folders of tests are listed in tests/CMakeLists.txt; one that is forgotten there would never run.
  std::ifstream file(kRoot / "tests/CMakeLists.txt");
  std::ostringstream list;
  list << file.rdbuf();
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / "tests")) {
    if (!absl::EndsWith(entry.path().filename().string(), "_test.cc")) continue;
    const std::string folder = entry.path().parent_path().filename().string();
    EXPECT_TRUE(absl::StrContains(list.str(), folder)) << entry.path();
  }
}

}  // namespace
}  // namespace gradwatch::testing
