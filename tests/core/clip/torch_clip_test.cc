// Clipping against PyTorch's own, in double.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/core/clip/clip_harness.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::core {
namespace {

constexpr int kNoTorch = 77;

// What PyTorch makes of the numbers by norm, then by value; empty without PyTorch.
std::vector<double> ByTorch(std::vector<double> numbers, double limit) {
  const gradwatch::testing::TempDir folder;
  const std::string path = absl::StrCat(folder.path(), "/numbers");
  const auto bytes = static_cast<std::streamsize>(numbers.size() * sizeof(double));
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(numbers.data()), bytes);
  const int status = std::system(
      absl::StrCat("/usr/bin/python3 ", GRADWATCH_SOURCE_DIR, "/tests/support/torch_clip_oracle.py ", path, " ", limit)
          .c_str());
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoTorch) return {};
  EXPECT_EQ(status, 0);
  numbers.resize(2 * numbers.size());
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(numbers.data()), 2 * bytes);
  return numbers;
}

TEST(TorchClipTest, NormAndValueAreThoseOfPytorch) {
  constexpr double kLimit = 0.7;
  for (const double scale : {1.0, 0.0069}) {  // far above the limit; so little below that only the 1e-6 is seen
    ClipHarness<double> harness(std::vector<std::vector<int64_t>>{{3'000}, {6'000}});
    harness.Randomize(scale, 11);
    if (scale < 1) {
      const double factor = (kLimit - 2e-7) / harness.SeenNorm();
      for (const size_t i : {0, 1}) {
        for (double& value : harness.gradient(i)) value *= factor;
      }
    }
    std::vector<double> numbers;
    for (const size_t i : {0, 1}) numbers.insert(numbers.end(), harness.gradient(i).begin(), harness.gradient(i).end());
    const std::vector<double> want = ByTorch(numbers, kLimit);
    if (want.empty()) GTEST_SKIP() << "no PyTorch (python3-torch)";

    std::vector<double> got;
    for (const auto mode : {v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_VALUE}) {
      v1::ClipSettings settings = Settings(mode, kLimit);
      settings.set_pytorch_compatible(true);
      EXPECT_EQ(harness.Clip(settings).action, mode == v1::CLIP_MODE_VALUE && scale < 1
                                                   ? v1::ClipOutcome::ACTION_NOT_NEEDED
                                                   : v1::ClipOutcome::ACTION_CLIPPED);
      for (const size_t i : {0, 1}) {
        const std::vector<double> seen = harness.Seen(i);
        got.insert(got.end(), seen.begin(), seen.end());
      }
    }
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-14 * std::fabs(want[i])) << i;
  }
}

}  // namespace
}  // namespace gradwatch::core
