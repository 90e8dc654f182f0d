// Small passes over the rows of row-major matrices. Written as plain loops that compilers turn into vector code.
#ifndef GRADWATCH_CORE_NN_ROWS_H_
#define GRADWATCH_CORE_NN_ROWS_H_

#include <algorithm>
#include <cstdint>

namespace gradwatch::core {

// Every row of y [rows, columns] becomes `row`.
template <typename T>
void RepeatRow(int64_t rows, int64_t columns, const T* row, T* y) {
  for (int64_t r = 0; r < rows; ++r) std::copy_n(row, columns, y + r * columns);
}

// y += x.
template <typename T>
void AddTo(int64_t size, const T* __restrict x, T* __restrict y) {
  for (int64_t i = 0; i < size; ++i) y[i] += x[i];
}

// z = x + y; z may be x or y.
template <typename T>
void Add(int64_t size, const T* x, const T* y, T* z) {
  for (int64_t i = 0; i < size; ++i) z[i] = x[i] + y[i];
}

// sum [columns] = the sum of the rows of x [rows, columns].
template <typename T>
void SumRows(int64_t rows, int64_t columns, const T* x, T* sum) {
  std::fill_n(sum, columns, T(0));
  for (int64_t r = 0; r < rows; ++r) AddTo(columns, x + r * columns, sum);
}

// y [columns, rows] = x [rows, columns] transposed.
template <typename T>
void Transpose(int64_t rows, int64_t columns, const T* __restrict x, T* __restrict y) {
  constexpr int64_t kTile = 16;  // both tiles stay in the first-level cache
  for (int64_t r0 = 0; r0 < rows; r0 += kTile) {
    for (int64_t c0 = 0; c0 < columns; c0 += kTile) {
      const int64_t r1 = std::min(r0 + kTile, rows), c1 = std::min(c0 + kTile, columns);
      for (int64_t r = r0; r < r1; ++r) {
        for (int64_t c = c0; c < c1; ++c) y[c * rows + r] = x[r * columns + c];
      }
    }
  }
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_ROWS_H_
