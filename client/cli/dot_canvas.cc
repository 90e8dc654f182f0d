#include "client/cli/dot_canvas.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace gradwatch::cli {
namespace {

// Bits of the dots of a Braille pattern by row and column (Unicode 15, block U+2800).
constexpr unsigned char kBits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};

// U+2800 + bits in UTF-8.
std::string Braille(unsigned char bits) {
  return {'\xe2', static_cast<char>(0xa0 | (bits >> 6)), static_cast<char>(0x80 | (bits & 0x3f))};
}

}  // namespace

DotCanvas::DotCanvas(int columns, int rows, bool plain)
    : columns_(columns), rows_(rows), plain_(plain), dots_(columns * rows, 0), marks_(columns * rows, 0) {}

void DotCanvas::Set(int x, int y) {
  if (x < 0 || y < 0 || x >= width() || y >= height()) return;
  const int cell = plain_ ? y * columns_ + x : (y / 4) * columns_ + x / 2;
  dots_[cell] |= plain_ ? 1 : kBits[y % 4][x % 2];
}

void DotCanvas::Line(int x0, int y0, int x1, int y1) {
  const int steps = std::max({std::abs(x1 - x0), std::abs(y1 - y0), 1});
  const double dx = static_cast<double>(x1 - x0) / steps, dy = static_cast<double>(y1 - y0) / steps;
  for (int i = 0; i <= steps; ++i)
    Set(x0 + static_cast<int>(std::lround(dx * i)), y0 + static_cast<int>(std::lround(dy * i)));
}

void DotCanvas::Mark(int x, int y, char mark) {
  if (x < 0 || y < 0 || x >= width() || y >= height()) return;
  marks_[plain_ ? y * columns_ + x : (y / 4) * columns_ + x / 2] = mark;
}

std::vector<std::string> DotCanvas::Lines() const {
  std::vector<std::string> lines(rows_);
  for (int cell = 0; cell < columns_ * rows_; ++cell) {
    std::string& line = lines[cell / columns_];
    if (marks_[cell] != 0) {
      line += marks_[cell];
    } else if (dots_[cell] == 0) {
      line += ' ';
    } else {
      line += plain_ ? "*" : Braille(dots_[cell]);
    }
  }
  return lines;
}

}  // namespace gradwatch::cli
