#include "server/base/data_folder.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace {

// The folders and files that were synced since Synced was last called; see fsync below.
std::vector<std::string>* const synced_paths = new std::vector<std::string>();

std::vector<std::string> Synced() { return std::exchange(*synced_paths, {}); }

}  // namespace

// In place of the C library's, for this program.
extern "C" int fsync(int file) {
  std::error_code ignored;
  synced_paths->push_back(std::filesystem::read_symlink(absl::StrCat("/proc/self/fd/", file), ignored).string());
  return static_cast<int>(syscall(SYS_fsync, file));
}

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::StartsWith;

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

TEST(DataFolder, OneAtATime) {
  const TempDir dir;
  const std::string path = dir.File("a/b");
  auto first = DataFolder::Lock(path);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ((*first)->File("x"), path + "/x");
  EXPECT_THAT(DataFolder::Lock(path), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(path)));
  first->reset();
  EXPECT_THAT(DataFolder::Lock(path), IsOk());
}

TEST(DataFolder, APlaceWhereNoFolderCanBeIsNamed) {
  const TempDir dir;
  dir.Write("file", "");
  EXPECT_THAT(DataFolder::Lock(dir.File("file/data")),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("file/data")));
}

mode_t ModeOf(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

// Whatever the umask: of nothing, and of what would keep even the user out.
TEST(DataFolder, IsForItsUserOnly) {
  for (const mode_t mask : {0u, 0277u}) {
    const TempDir dir;
    const mode_t before = umask(mask);
    const auto folder = DataFolder::Lock(dir.File("a/b"));
    const absl::Status logs = MakeFolder(dir.File("a/b/logs/deep/"));
    const absl::Status secret = ReplaceFile(dir.File("a/b/secret"), "s", kPrivateFile);
    const absl::Status port = ReplaceFile(dir.File("a/b/port"), "p", 0644);
    umask(before);
    ASSERT_THAT(folder, IsOk());
    ASSERT_THAT(logs, IsOk());
    ASSERT_THAT(secret, IsOk());
    ASSERT_THAT(port, IsOk());
    for (const char* path : {"a", "a/b", "a/b/logs", "a/b/logs/deep"}) EXPECT_EQ(ModeOf(dir.File(path)), 0700u) << path;
    EXPECT_EQ(ModeOf(dir.File("a/b/lock")), 0600u);
    EXPECT_EQ(ModeOf(dir.File("a/b/secret")), 0600u);
    EXPECT_EQ(ModeOf(dir.File("a/b/port")), 0644u);
  }
}

TEST(DataFolder, IsMadePrivateIfItIsOurs) {
  const TempDir dir;
  for (const char* name : {"empty", "ours", "foreign", "shared"}) std::filesystem::create_directory(dir.File(name));
  dir.Write("ours/lock", "");
  dir.Write("ours/main.sqlite", "");
  dir.Write("foreign/picture.png", "");
  for (const char* name : {"empty", "ours", "foreign"}) chmod(dir.File(name).c_str(), 0755);
  chmod(dir.File("shared").c_str(), 01777);
  for (const char* name : {"empty", "ours", "foreign", "shared"}) {
    EXPECT_THAT(DataFolder::Lock(dir.File(name)), IsOk());
    EXPECT_EQ(ModeOf(dir.File(absl::StrCat(name, "/lock"))), 0600u);
  }
  EXPECT_EQ(ModeOf(dir.File("empty")), 0700u);
  EXPECT_EQ(ModeOf(dir.File("ours")), 0700u);
  EXPECT_EQ(ModeOf(dir.File("foreign")), 0755u);
  EXPECT_EQ(ModeOf(dir.File("shared")), 01777u);
  chmod(dir.File("ours").c_str(), 0755);
  EXPECT_THAT(MakeFolder(dir.File("ours")), IsOk());
  EXPECT_EQ(ModeOf(dir.File("ours")), 0700u);
}

TEST(DataFolder, IsMadeDurableWithTheFoldersAboveIt) {
  const TempDir dir;
  Synced();
  ASSERT_THAT(MakeFolder(dir.File("a/b/")), IsOk());
  EXPECT_THAT(Synced(), IsSupersetOf({dir.path(), dir.File("a"), dir.File("a/b")}));
  ASSERT_THAT(MakeFolder(dir.File("a/b")), IsOk());
  EXPECT_THAT(Synced(), IsEmpty());
  ASSERT_THAT(ReplaceFile(dir.File("a/file"), "x", 0644), IsOk());
  EXPECT_THAT(Synced(), ElementsAre(StartsWith(dir.File("a/file")), dir.File("a")));
}

TEST(DataFolder, FilesAreReplacedAsAWhole) {
  const TempDir dir;
  ASSERT_THAT(ReplaceFile(dir.File("port"), "one\n", 0644), IsOk());
  ASSERT_THAT(ReplaceFile(dir.File("port"), "two\n", 0644), IsOk());
  EXPECT_EQ(Read(dir.File("port")), "two\n");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1) << "nothing is left over";
  EXPECT_THAT(ReplaceFile(dir.File("no/port"), "", 0644),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no/port")));
}

}  // namespace
}  // namespace gradwatch::server
