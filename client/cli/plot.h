// Loss curves as text: several panels side by side with the same axes, so that runs can be compared by eye.
#ifndef GRADWATCH_CLIENT_CLI_PLOT_H_
#define GRADWATCH_CLIENT_CLI_PLOT_H_

#include <cstdint>
#include <string>
#include <vector>

namespace gradwatch::cli {

struct CurvePoint {
  int64_t step;
  double loss;  // NaN and infinities are marked with an x at the top
};

struct Curve {
  std::string name;
  std::vector<CurvePoint> points;      // in the order of steps; steps may be missing
  std::vector<int64_t> alert_steps;    // where alerts fired: '!' below the axis
  std::vector<int64_t> control_steps;  // where controls changed: '^' below the axis
  std::vector<CurvePoint> validation;  // losses on the validation examples, in the order of steps
};

// The point with the lowest finite loss; null if there is none.
const CurvePoint* BestPoint(const std::vector<CurvePoint>& points);

struct PlotOptions {
  int width = 100;     // columns in all; at least one panel is drawn, 24 columns wide at the least
  int height = 12;     // lines of the area of the curves
  bool plain = false;  // ASCII instead of Braille dots
};

// Lines with '\n', panels in rows as the width allows. The y axis is logarithmic if all losses are above 0 and the
// largest is more than 50 times the smallest. Below each panel: its name, the first, the last and the best loss,
// and where any curve has been validated those of its validation.
std::string PlotCurves(const std::vector<Curve>& curves, const PlotOptions& options);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_PLOT_H_
