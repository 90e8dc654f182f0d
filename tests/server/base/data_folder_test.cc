#include "server/base/data_folder.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::HasSubstr;

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

TEST(DataFolder, FilesAreReplacedAsAWhole) {
  const TempDir dir;
  ASSERT_THAT(ReplaceFile(dir.File("port"), "one\n"), IsOk());
  ASSERT_THAT(ReplaceFile(dir.File("port"), "two\n"), IsOk());
  EXPECT_EQ(Read(dir.File("port")), "two\n");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1) << "nothing is left over";
  EXPECT_THAT(ReplaceFile(dir.File("no/port"), ""), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no/port")));
}

}  // namespace
}  // namespace gradwatch::server
