#include "core/data/data_root.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "core/data/open_beneath.h"
#include "tests/core/data/make_files.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::HasSubstr;
using std::chrono_literals::operator""h;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kNotFound = absl::StatusCode::kNotFound;

absl::StatusOr<std::string> Read(const DataRoots& roots, absl::string_view path, int64_t max_bytes) {
  GW_ASSIGN_OR_RETURN(const auto file, roots.Open(path, max_bytes));
  return ReadToEnd(*file);
}

// A root with a file, a folder, and links of every kind; a secret outside.
class DataRootTest : public ::testing::Test {
 protected:
  DataRootTest() {
    namespace fs = std::filesystem;
    fs::create_directories(dir_.File("root/sub"));
    fs::create_directories(dir_.File("second"));
    dir_.Write("root/a.txt", "hello");
    dir_.Write("root/sub/b.txt", "below");
    dir_.Write("second/only.txt", "second");
    dir_.Write("second/a.txt", "hidden by the first root");
    dir_.Write("secret.txt", "secret");
    fs::create_symlink("sub/b.txt", dir_.File("root/inner_link"));
    fs::create_symlink("../secret.txt", dir_.File("root/outer_link"));
    fs::create_symlink(dir_.File("secret.txt"), dir_.File("root/absolute_link"));
    fs::create_symlink("..", dir_.File("root/sub/up"));
    fs::create_symlink("loop", dir_.File("root/loop"));
    mkfifo(dir_.File("root/pipe").c_str(), 0600);
    roots_ = *DataRoots::Create({dir_.File("root"), dir_.File("second")});
  }

  TempDir dir_;
  DataRoots roots_;
};

TEST_F(DataRootTest, ReadsBelowTheRoots) {
  EXPECT_EQ(*Read(roots_, "a.txt", 100), "hello");
  EXPECT_EQ(*Read(roots_, "./sub/../a.txt", 100), "hello");
  EXPECT_EQ(*Read(roots_, "inner_link", 100), "below");
  EXPECT_EQ(*Read(roots_, "sub/up/a.txt", 100), "hello");
  EXPECT_EQ(*Read(roots_, "only.txt", 100), "second");
  EXPECT_EQ(*Read(roots_, dir_.File("root/sub/b.txt"), 100), "below");
  EXPECT_EQ(*Read(roots_, dir_.File("second/a.txt"), 100), "hidden by the first root");
}

TEST_F(DataRootTest, RefusesWhatLeadsOut) {
  for (const char* const path : {"../secret.txt", "sub/../../secret.txt", "outer_link", "absolute_link",
                                 "sub/up/../secret.txt", "../root/a.txt"}) {
    EXPECT_THAT(Read(roots_, path, 100), StatusIs(kInvalid, HasSubstr(path))) << path;
  }
  EXPECT_THAT(Read(roots_, "/etc/passwd", 100), StatusIs(kInvalid, HasSubstr("/etc/passwd: not below a data root")));
  EXPECT_THAT(Read(roots_, dir_.File("root/../secret.txt"), 100), StatusIs(kInvalid, HasSubstr("leads out")));
  // A folder whose name only begins like a root's.
  std::filesystem::create_directories(dir_.File("rootless"));
  dir_.Write("rootless/a.txt", "no");
  EXPECT_THAT(Read(roots_, dir_.File("rootless/a.txt"), 100), StatusIs(kInvalid, HasSubstr("not below a data root")));
}

TEST_F(DataRootTest, TellsWhatIsWrongWithAFile) {
  EXPECT_THAT(Read(roots_, "absent", 100), StatusIs(kNotFound, HasSubstr("absent: no such file")));
  EXPECT_THAT(Read(roots_, "a.txt/below", 100), StatusIs(kNotFound, HasSubstr("no such file")));
  EXPECT_THAT(Read(roots_, "sub", 100), StatusIs(kInvalid, HasSubstr("sub: not a regular file")));
  EXPECT_THAT(Read(roots_, "pipe", 100), StatusIs(kInvalid, HasSubstr("not a regular file")));
  EXPECT_THAT(Read(roots_, "loop", 100), StatusIs(kInvalid, HasSubstr("loop")));
  EXPECT_THAT(Read(roots_, "a.txt", 4), StatusIs(kInvalid, HasSubstr("5 bytes, more than the limit of 4")));
  EXPECT_THAT(Read(roots_, "a.txt", 5), IsOk());
  EXPECT_THAT(Read(roots_, "", 100), StatusIs(kInvalid, HasSubstr("not a path")));
  EXPECT_THAT(Read(roots_, absl::string_view("a.txt\0b", 7), 100), StatusIs(kInvalid, HasSubstr("not a path")));
  EXPECT_THAT(Read(roots_, std::string(5000, 'x'), 100), StatusIs(kInvalid, HasSubstr("xxx")));
}

// Files of /proc say that they are empty and then give bytes.
TEST_F(DataRootTest, AFileThatIsLongerThanItSaysIsNotReadOn) {
  const auto proc = DataRoots::Create({"/proc"});
  ASSERT_THAT(proc, IsOk());
  EXPECT_THAT(Read(*proc, "version", 1 << 20), StatusIs(kInvalid, HasSubstr("longer than the 0 bytes")));
}

TEST_F(DataRootTest, AFileThatChangesWhileItIsReadIsRefused) {
  const auto grown = *roots_.Open("a.txt", 100);
  dir_.Write("root/a.txt", "hello hello");
  EXPECT_THAT(ReadToEnd(*grown), StatusIs(kInvalid, HasSubstr("longer than the 5 bytes")));
  const auto cut = *roots_.Open("a.txt", 100);
  dir_.Write("root/a.txt", "he");
  EXPECT_THAT(ReadToEnd(*cut), StatusIs(kInvalid, HasSubstr("shorter than the 11 bytes")));
  const auto rewritten = *roots_.Open("a.txt", 100);
  dir_.Write("root/a.txt", "ha");
  std::filesystem::last_write_time(dir_.File("root/a.txt"), std::filesystem::file_time_type::clock::now() - 1h);
  EXPECT_THAT(ReadToEnd(*rewritten), StatusIs(kInvalid, HasSubstr("was written to while it was read")));
}

TEST_F(DataRootTest, DevicesAreNoFiles) {
  EXPECT_THAT(Read(*DataRoots::Create({"/dev"}), "zero", 100), StatusIs(kInvalid, HasSubstr("not a regular file")));
}

TEST_F(DataRootTest, CanBeReadAgain) {
  const auto file = *roots_.Open("a.txt", 100);
  EXPECT_EQ(file->size(), 5);
  EXPECT_EQ(*ReadToEnd(*file), "hello");
  ASSERT_THAT(file->Rewind(), IsOk());
  EXPECT_EQ(*ReadToEnd(*file), "hello");
}

TEST_F(DataRootTest, NoRootsReadNothing) {
  EXPECT_THAT(Read(DataRoots(), "a.txt", 100), StatusIs(kInvalid, HasSubstr("not below a data root")));
}

TEST_F(DataRootTest, RootsMustBeFolders) {
  EXPECT_THAT(DataRoots::Create({dir_.File("absent")}), StatusIs(kNotFound, HasSubstr("absent")));
  EXPECT_THAT(DataRoots::Create({dir_.File("root/a.txt")}), StatusIs(kNotFound, HasSubstr("a.txt")));
  EXPECT_EQ(DataRoots::Create({dir_.File("root/sub/../")})->folders()[0], dir_.File("root"));
}

// The way of kernels without openat2 gives the same answers.
TEST_F(DataRootTest, CanonicalPathsGiveTheSameAnswers) {
  const std::string root = dir_.File("root");
  for (const char* const path : {"a.txt", "sub/b.txt", "inner_link", "sub/up/a.txt", "../secret.txt", "outer_link",
                                 "sub/../../secret.txt", "absent", "a.txt/below", "loop"}) {
    EXPECT_EQ(OpenBeneath(root, path).status().code(), OpenBeneathByCanonicalPath(root, path).status().code()) << path;
  }
}

}  // namespace
}  // namespace gradwatch::core
