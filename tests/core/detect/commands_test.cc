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

TEST(CommandsTest, NameTheJobOfTheAlert) {
  const StepRecord record;
  EXPECT_EQ(RateCommand(AlertOf("a"), record, 0.1), "gradwatch adjust a --lr-scale 0.1");
  EXPECT_EQ(RateCommand(AlertOf(""), record, 3), "gradwatch adjust JOB --lr-scale 3");
  EXPECT_EQ(ClipCommand(AlertOf("a"), "", 0.25), "gradwatch clip set a --mode global_norm --max-norm 0.25");
  EXPECT_EQ(ClipCommand(AlertOf("a"), "d.weight", 2),
            "gradwatch clip set a --tensors 'd.weight' --mode tensor_norm --max-norm 2");
  EXPECT_EQ(LayerStatisticsCommand(AlertOf("a")), "gradwatch adjust a --layer-statistics true");
}

TEST(CommandsTest, OfAJobThatIsToBeStartedAgainTheyAreSettingsOfItsSpec) {
  const StepRecord record;
  EXPECT_EQ(ForTheSpec("Try less: " + RateCommand(AlertOf("a"), record, 0.1)),
            "Try less: gradwatch submit SPEC --set controls.learning_rate_scale=0.1");
  EXPECT_EQ(ForTheSpec("Try it at 2: " + ClipCommand(AlertOf("a"), "", 2)),
            "Try it at 2: gradwatch submit SPEC --set controls.clip.mode=global_norm --set controls.clip.threshold=2");
  EXPECT_EQ(ForTheSpec("Try it: " + ClipCommand(AlertOf("a"), "d.weight", 2)), "Try it.");
  EXPECT_EQ(ForTheSpec("Try residual blocks."), "Try residual blocks.");
}

TEST(CommandsTest, ThereIsNoneThatWouldBeRefused) {
  StepRecord record;
  record.learning_rate_scale = 500;
  EXPECT_EQ(RateCommand(AlertOf("a"), record, 2), "gradwatch adjust a --lr-scale 1e+03");
  EXPECT_EQ(RateCommand(AlertOf("a"), record, 2.1), "");
  EXPECT_EQ(RateCommand(AlertOf("a"), record, 0), "");
  EXPECT_EQ(ClipCommand(AlertOf("a"), "it's", 1), "");
}

}  // namespace
}  // namespace gradwatch::core
