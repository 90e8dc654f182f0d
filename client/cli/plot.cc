#include "client/cli/plot.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/dot_canvas.h"
#include "client/cli/text.h"

namespace gradwatch::cli {
namespace {

constexpr int kMargin = 10;    // columns for the labels of the y axis, the axis included
constexpr int kMinPanel = 36;  // columns of a panel before the next is put below
constexpr int kGap = 2;
constexpr double kLogRatio = 50;

// The axes that all panels share.
struct Axes {
  int64_t first_step = 0, last_step = 1;
  double low = 0, high = 1;  // in the scale of the axis
  bool logarithmic = false;

  double Scale(double loss) const { return logarithmic ? std::log10(loss) : loss; }
  double Unscale(double value) const { return logarithmic ? std::pow(10, value) : value; }
  int X(int64_t step, int width) const {
    return static_cast<int>(
        std::lround(static_cast<double>(step - first_step) / (last_step - first_step) * (width - 1)));
  }
  int Y(double loss, int height) const {
    return static_cast<int>(std::lround((high - Scale(loss)) / (high - low) * (height - 1)));
  }
};

Axes ChooseAxes(const std::vector<Curve>& curves) {
  Axes axes;
  bool any_point = false, any_finite = false;
  double low = 0, high = 0;
  for (const Curve& curve : curves) {
    for (const CurvePoint& point : curve.points) {
      axes.first_step = any_point ? std::min(axes.first_step, point.step) : point.step;
      axes.last_step = any_point ? std::max(axes.last_step, point.step) : point.step;
      any_point = true;
      if (!std::isfinite(point.loss)) continue;
      low = any_finite ? std::min(low, point.loss) : point.loss;
      high = any_finite ? std::max(high, point.loss) : point.loss;
      any_finite = true;
    }
  }
  if (axes.last_step == axes.first_step) ++axes.last_step;
  axes.logarithmic = low > 0 && high > kLogRatio * low;
  axes.low = axes.Scale(low);
  axes.high = axes.Scale(high);
  if (!any_finite || axes.high == axes.low) axes.high = axes.low + 1;
  return axes;
}

// Marks the steps without a finite loss, and what lies between two of them in a row.
void MarkNonFinite(const Curve& curve, const Axes& axes, DotCanvas* canvas) {
  int from = -1;
  for (const CurvePoint& point : curve.points) {
    const int x = axes.X(point.step, canvas->width());
    const bool finite = std::isfinite(point.loss);
    for (int mark = from < 0 ? x : from; !finite && mark <= x; ++mark) canvas->Mark(mark, 0, 'x');
    from = finite ? -1 : x;
  }
}

void DrawCurve(const Curve& curve, const Axes& axes, DotCanvas* canvas) {
  const CurvePoint* before = nullptr;
  for (const CurvePoint& point : curve.points) {
    if (std::isfinite(point.loss)) {
      const CurvePoint& from = before == nullptr ? point : *before;
      canvas->Line(axes.X(from.step, canvas->width()), axes.Y(from.loss, canvas->height()),
                   axes.X(point.step, canvas->width()), axes.Y(point.loss, canvas->height()));
      before = &point;
    } else {
      before = nullptr;
    }
  }
  MarkNonFinite(curve, axes, canvas);
}

std::string MarksLine(const Curve& curve, const Axes& axes, int columns) {
  std::string line(columns, ' ');
  const auto mark = [&](const std::vector<int64_t>& steps, char sign) {
    for (const int64_t step : steps) {
      if (step >= axes.first_step && step <= axes.last_step) line[axes.X(step, columns)] = sign;
    }
  };
  mark(curve.control_steps, '^');
  mark(curve.alert_steps, '!');  // more important, so on top
  return line;
}

std::string SummaryLine(const std::vector<CurvePoint>& points) {
  const CurvePoint* const best = BestPoint(points);
  return absl::StrCat("first ", NumberText(points.front().loss), "  last ", NumberText(points.back().loss), "  best ",
                      best == nullptr ? "none" : NumberText(best->loss));
}

// Cuts to `width` characters or fills up with blanks.
std::string Fit(std::string text, int width) {
  if (CharacterCount(text) > width) {
    size_t end = 0;
    for (int left = width; end < text.size(); ++end) {
      if ((text[end] & 0xc0) != 0x80 && left-- == 0) break;
    }
    text.resize(end);
  }
  return text + std::string(width - CharacterCount(text), ' ');
}

std::string YLabel(const Axes& axes, int row, int height) {
  double value = axes.low;
  if (row == 0) value = axes.high;
  if (row == height / 2) value = axes.high + (axes.low - axes.high) * row / (height - 1);
  const bool labelled = row == 0 || row == height / 2 || row == height - 1;
  std::string label = labelled ? NumberText(axes.Unscale(value)) : "";
  if (label.size() > 8) label = absl::StrFormat("%.2g", axes.Unscale(value));
  return absl::StrFormat("%8s ", label);
}

std::vector<std::string> Panel(const Curve& curve, const Axes& axes, int width, bool with_validation,
                               const PlotOptions& options) {
  const int columns = width - kMargin;
  DotCanvas canvas(columns, options.height, options.plain);
  DrawCurve(curve, axes, &canvas);
  const std::string bar = options.plain ? "|" : "│", corner = options.plain ? "+" : "└";
  std::vector<std::string> lines;
  const std::vector<std::string> area = canvas.Lines();
  for (int row = 0; row < options.height; ++row) {
    lines.push_back(absl::StrCat(YLabel(axes, row, options.height), bar, area[row]));
  }
  std::string axis;
  for (int i = 0; i < columns; ++i) axis += options.plain ? "-" : "─";
  const std::string margin(kMargin, ' ');
  lines.push_back(absl::StrCat(std::string(kMargin - 1, ' '), corner, axis));
  lines.push_back(margin + MarksLine(curve, axes, columns));
  const std::string last = absl::StrCat(axes.last_step);
  lines.push_back(margin + Fit(absl::StrCat(axes.first_step), columns - static_cast<int>(last.size())) + last);
  lines.push_back(margin + curve.name);
  lines.push_back(margin + (curve.points.empty() ? "no steps yet" : SummaryLine(curve.points)));
  if (with_validation) {
    lines.push_back(margin + (curve.validation.empty() ? "no validation"
                                                       : absl::StrCat("validation ", SummaryLine(curve.validation))));
  }
  for (std::string& line : lines) line = Fit(std::move(line), width);
  return lines;
}

std::string Legend(const std::vector<Curve>& curves, const Axes& axes) {
  bool non_finite = false, alerts = false, controls = false;
  for (const Curve& curve : curves) {
    for (const CurvePoint& point : curve.points) non_finite = non_finite || !std::isfinite(point.loss);
    alerts = alerts || !curve.alert_steps.empty();
    controls = controls || !curve.control_steps.empty();
  }
  std::string legend = axes.logarithmic ? "loss by step, logarithmic" : "loss by step";
  if (non_finite) legend += "   x loss not finite";
  if (alerts) legend += "   ! alert fired";
  if (controls) legend += "   ^ controls changed";
  return legend + "\n";
}

}  // namespace

const CurvePoint* BestPoint(const std::vector<CurvePoint>& points) {
  const CurvePoint* best = nullptr;
  for (const CurvePoint& point : points) {
    if (std::isfinite(point.loss) && (best == nullptr || point.loss < best->loss)) best = &point;
  }
  return best;
}

std::string PlotCurves(const std::vector<Curve>& curves, const PlotOptions& options) {
  const Axes axes = ChooseAxes(curves);
  const int count = std::max<int>(1, curves.size());
  const int across = std::clamp((options.width + kGap) / (kMinPanel + kGap), 1, count);
  const int width = std::max(24, (options.width - (across - 1) * kGap) / across);
  const bool with_validation =
      std::any_of(curves.begin(), curves.end(), [](const Curve& curve) { return !curve.validation.empty(); });
  std::string text = Legend(curves, axes);
  for (size_t first = 0; first < curves.size(); first += across) {
    const size_t end = std::min(curves.size(), first + across);
    std::vector<std::string> lines;
    for (size_t i = first; i < end; ++i) {
      const std::vector<std::string> panel = Panel(curves[i], axes, width, with_validation, options);
      lines.resize(panel.size());
      for (size_t row = 0; row < panel.size(); ++row) {
        absl::StrAppend(&lines[row], i == first ? "" : std::string(kGap, ' '), panel[row]);
      }
    }
    for (const std::string& line : lines) {
      absl::StrAppend(&text, std::string(absl::StripTrailingAsciiWhitespace(line)), "\n");
    }
  }
  return text;
}

}  // namespace gradwatch::cli
