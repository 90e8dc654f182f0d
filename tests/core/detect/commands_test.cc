// The commands that alerts advise: whose they are, and that nobody is given one that would be refused.
#include "core/detect/commands.h"

#include <gtest/gtest.h>

namespace gradwatch::core {
namespace {

v1::Alert AlertOf(const char* job) {
  v1::Alert alert;
  alert.set_job_id(job);
  return alert;
}

using Of = Change::Of;

TEST(CommandsTest, NameTheJobOfTheAlert) {
  const StepRecord record;
  const auto command = [](const Change& change, const char* job) {
    return CommandOf(change, When::kNow, AlertOf(job));
  };
  EXPECT_EQ(command(RateTimes(0.1, record), "a"), "gradwatch adjust a --lr-scale 0.1");
  EXPECT_EQ(command(RateTimes(3, record), ""), "gradwatch adjust JOB --lr-scale 3");
  EXPECT_EQ(command({Of::kGlobalNorm, 0.25}, "a"), "gradwatch clip set a --mode global_norm --max-norm 0.25");
  EXPECT_EQ(command({Of::kTensorNorm, 2, "d.weight"}, "a"),
            "gradwatch clip set a --tensors 'd.weight' --mode tensor_norm --max-norm 2");
  EXPECT_EQ(LayerStatisticsCommand(AlertOf("a")), "gradwatch adjust a --layer-statistics true");
}

TEST(CommandsTest, OfAJobThatIsToBeStartedAgainTheyAreSettingsOfItsSpec) {
  const StepRecord record;
  const auto words = [](const Cure& cure) { return InWords(cure, When::kAtNewStart, AlertOf("a")); };
  EXPECT_EQ(words({"less", RateTimes(0.1, record)}),
            "Try less: gradwatch submit SPEC --set controls.learning_rate_scale=0.1");
  EXPECT_EQ(words({"it at 2", {Of::kGlobalNorm, 2}}),
            "Try it at 2: gradwatch submit SPEC --set controls.clip.mode=global_norm --set controls.clip.threshold=2");
  EXPECT_EQ(words({"it", {Of::kTensorNorm, 2, "d.weight"}}), "Try it.");
  EXPECT_EQ(words({"residual blocks"}), "Try residual blocks.");
  const Cure inputs = {"smaller inputs", {Of::kInputScale}};
  EXPECT_EQ(InWords(inputs, When::kNow, AlertOf("a")), words(inputs)) << "no running job takes other inputs";
}

TEST(CommandsTest, ThereIsNoneThatWouldBeRefused) {
  StepRecord record;
  record.learning_rate_scale = 500;
  const auto command = [](const Change& change) { return CommandOf(change, When::kNow, AlertOf("a")); };
  EXPECT_EQ(command(RateTimes(2, record)), "gradwatch adjust a --lr-scale 1e+03");
  EXPECT_EQ(command(RateTimes(2.1, record)), "");
  EXPECT_EQ(command(RateTimes(0, record)), "");
  EXPECT_EQ(command({Of::kTensorNorm, 1, "it's"}), "");
}

}  // namespace
}  // namespace gradwatch::core
