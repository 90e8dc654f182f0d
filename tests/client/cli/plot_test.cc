#include "client/cli/plot.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_split.h"
#include "client/cli/dot_canvas.h"
#include "client/cli/text.h"

namespace gradwatch::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(DotCanvasTest, EightDotsAreACharacter) {
  DotCanvas canvas(2, 1, /*plain=*/false);
  EXPECT_EQ(canvas.width(), 4);
  EXPECT_EQ(canvas.height(), 4);
  canvas.Line(0, 0, 3, 3);
  EXPECT_THAT(canvas.Lines(), ElementsAre("⠑⢄"));
  canvas.Mark(3, 0, 'x');
  EXPECT_THAT(canvas.Lines(), ElementsAre("⠑x"));
}

TEST(DotCanvasTest, PlainAndOutside) {
  DotCanvas canvas(3, 2, /*plain=*/true);
  canvas.Line(-5, 1, 10, 1);
  canvas.Mark(99, 0, 'x');
  EXPECT_THAT(canvas.Lines(), ElementsAre("   ", "***"));
}

Curve Falling() {
  Curve curve;
  curve.name = "falling";
  for (int step = 0; step < 20; ++step) curve.points.push_back({step, 10.0 - 0.5 * step});
  return curve;
}

Curve Exploding() {
  Curve curve;
  curve.name = "exploding";
  for (int step = 0; step < 10; ++step) curve.points.push_back({step, 4});
  for (int step = 10; step < 20; ++step) curve.points.push_back({step, kNaN});
  curve.alert_steps = {10};
  curve.control_steps = {5};
  return curve;
}

TEST(PlotTest, DrawsPanelsSideBySideWithTheSameAxes) {
  EXPECT_EQ(PlotCurves({Falling(), Exploding()}, {.width = 78, .height = 6, .plain = true}),
            R"(loss by step   x loss not finite   ! alert fired   ^ controls changed
      10 |**                                  10 |              xxxxxxxxxxxxxx
         |  ******                               |
         |        ******                         |
     4.3 |              *****                4.3 |**************
         |                   ******              |
     0.5 |                         ***       0.5 |
         +----------------------------           +----------------------------
                                                         ^      !
          0                         19            0                         19
          falling                                 exploding
          first 10  last 0.5  best 0.5            first 4  last NaN  best 4
)");
}

TEST(PlotTest, DrawsInBraille) {
  EXPECT_EQ(PlotCurves({Falling()}, {.width = 40, .height = 4}), R"(loss by step
      10 │⠉⠒⠢⠤⠤⢄⣀
         │       ⠉⠉⠒⠢⠤⠤⢄⣀
   3.667 │               ⠉⠑⠒⠒⠢⠤⣀⡀
     0.5 │                      ⠈⠉⠑⠒⠒⠢⠤⣀
         └──────────────────────────────

          0                           19
          falling
          first 10  last 0.5  best 0.5
)");
}

TEST(PlotTest, IsLogarithmicWhenTheRangeIsLarge) {
  Curve curve;
  curve.name = "x";
  for (int step = 0; step <= 4; ++step) curve.points.push_back({step, std::pow(10, step - 2)});
  const std::string text = PlotCurves({curve}, {.width = 40, .height = 5, .plain = true});
  EXPECT_THAT(text, HasSubstr("logarithmic"));
  EXPECT_THAT(text, HasSubstr("   100 |"));
  EXPECT_THAT(text, HasSubstr("     1 |"));
  EXPECT_THAT(text, HasSubstr("  0.01 |"));
  curve.points.push_back({5, 0});
  EXPECT_THAT(PlotCurves({curve}, {}), Not(HasSubstr("logarithmic"))) << "zero has no logarithm";
}

TEST(PlotTest, AxesStandBelowEachOtherWhateverTheNumbers) {
  for (const double largest : {12.0, 5.32e9, 3.5018e10, 1.1814e33, 2.3456e300}) {
    Curve curve = Falling();
    curve.points[3].loss = largest;
    const std::vector<std::string> lines =
        absl::StrSplit(PlotCurves({curve}, {.width = 60, .height = 9, .plain = true}), '\n', absl::SkipEmpty());
    for (size_t i = 1; i <= 9; ++i) EXPECT_EQ(lines[i].find('|'), lines[1].find('|')) << lines[i];
  }
}

TEST(PlotTest, PutsPanelsBelowEachOtherWhereTheyDoNotFit) {
  const std::string text = PlotCurves({Falling(), Exploding(), Falling()}, {.width = 80, .height = 3});
  int names = 0;
  for (const auto line : absl::StrSplit(text, '\n')) {
    EXPECT_LE(CharacterCount(std::string(line)), 80);
    names += std::string(line).find("falling") != std::string::npos;
  }
  EXPECT_EQ(names, 2) << "the third is on a line of its own";
}

TEST(PlotTest, StandsCurvesWithoutPointsOrFiniteLosses) {
  Curve nothing;
  nothing.name = "nothing";
  EXPECT_THAT(PlotCurves({nothing}, {}), HasSubstr("no steps yet"));
  Curve bad;
  bad.name = "bad";
  bad.points = {{3, kNaN}};
  EXPECT_THAT(PlotCurves({bad}, {}), HasSubstr("first NaN  last NaN  best none"));
  Curve one;
  one.points = {{0, 2.5}};
  EXPECT_THAT(PlotCurves({one}, {.width = 1}), HasSubstr("first 2.5"));
}

}  // namespace
}  // namespace gradwatch::cli
