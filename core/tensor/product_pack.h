// Copies operands of a matrix product into the order in which its tiles read them, so that every read is from the next
// cache line. Internal to core's sources, as vector.h is.
#ifndef GRADWATCH_CORE_TENSOR_PRODUCT_PACK_H_
#define GRADWATCH_CORE_TENSOR_PRODUCT_PACK_H_

#include <algorithm>
#include <cstdint>

#include "core/tensor/vector.h"

namespace gradwatch::core {

// packed [depth, width] from `count` <= width columns of x, whose rows are `stride` apart and whose columns lie side by
// side; the columns that x does not have become zero.
template <typename T>
void PackColumns(int64_t depth, int count, int width, const T* x, int64_t stride, T* packed) {
  for (int64_t k = 0; k < depth; ++k, x += stride, packed += width) {
    for (int j = 0; j < width; j += kLanes<T>) {
      const int lanes = std::clamp(count - j, 0, kLanes<T>);
      StoreLanes(LoadLanes(x + j, lanes), std::min(width - j, kLanes<T>), packed + j);
    }
  }
}

// Transposes a square: packed[k * width + j] from x[j * stride + k], for `terms` k and `count` j, where neither is
// above kLanes. Of each row `lanes` numbers are written, zero from `count` on.
template <typename T>
void PackSquare(int terms, int count, const T* x, int64_t stride, int lanes, int64_t width, T* packed) {
  Vector<T> square[kLanes<T>]{};
#pragma GCC unroll 16
  for (int j = 0; j < kLanes<T>; ++j) {
    if (j < count) square[j] = LoadLanes(x + j * stride, terms);
  }
  TransposeSquare<T>(square);
#pragma GCC unroll 16
  for (int k = 0; k < kLanes<T>; ++k) {
    if (k < terms) StoreLanes(square[k], lanes, packed + k * width);
  }
}

// As PackColumns, but each column of x lies along its own row: element (k, j) is x[j * stride + k].
template <typename T>
void PackTransposed(int64_t depth, int count, int width, const T* x, int64_t stride, T* packed) {
  for (int j = 0; j < width; j += kLanes<T>) {
    const int columns = std::clamp(count - j, 0, kLanes<T>), lanes = std::min(width - j, kLanes<T>);
    for (int64_t k = 0; k < depth; k += kLanes<T>) {
      const int terms = static_cast<int>(std::min<int64_t>(depth - k, kLanes<T>));
      PackSquare(terms, columns, x + j * stride + k, stride, lanes, width, packed + k * width + j);
    }
  }
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TENSOR_PRODUCT_PACK_H_
