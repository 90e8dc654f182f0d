// A canvas of dots that becomes text: eight Braille dots a character, or one '*'.
#ifndef GRADWATCH_CLIENT_CLI_DOT_CANVAS_H_
#define GRADWATCH_CLIENT_CLI_DOT_CANVAS_H_

#include <string>
#include <vector>

namespace gradwatch::cli {

class DotCanvas {
 public:
  // Size in characters.
  DotCanvas(int columns, int rows, bool plain);

  // Size in dots.
  int width() const { return columns_ * (plain_ ? 1 : 2); }
  int height() const { return rows_ * (plain_ ? 1 : 4); }

  // Sets the dots of a line; (0, 0) is at the top left. Dots outside are left out.
  void Line(int x0, int y0, int x1, int y1);
  // Puts an ASCII character over the dots of the character in which the dot lies.
  void Mark(int x, int y, char mark);

  // The lines from the top, all of the same width.
  std::vector<std::string> Lines() const;

 private:
  void Set(int x, int y);

  const int columns_;
  const int rows_;
  const bool plain_;
  std::vector<unsigned char> dots_;  // a bit a dot, as in Unicode's Braille patterns
  std::vector<char> marks_;          // 0: none
};

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_DOT_CANVAS_H_
