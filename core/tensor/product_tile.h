// The innermost part of a matrix product: a small tile of the result, held in registers over all terms of its sums.
// Internal to core's sources, as vector.h is.
#ifndef GRADWATCH_CORE_TENSOR_PRODUCT_TILE_H_
#define GRADWATCH_CORE_TENSOR_PRODUCT_TILE_H_

#include <algorithm>
#include <cstdint>

#include "core/tensor/vector.h"

namespace gradwatch::core {

// A tile is two vectors wide. It is as high as registers allow, two being needed for b and one for a.
inline constexpr int kTileVectors = 2;
inline constexpr int kTileRows = kVectorRegisters == 32 ? 12 : 6;
template <typename T>
inline constexpr int kTileColumns = kTileVectors* kLanes<T>;

// The operands of a tile. Element (i, k) of a is a[i * a_row + k * a_column]; row k of b begins at b + k * b_row and
// holds the tile's columns side by side, in whole vectors.
template <typename T>
struct TileTerms {
  int64_t depth = 0;
  const T* a = nullptr;
  int64_t a_row = 0, a_column = 0;
  const T* b = nullptr;
  int64_t b_row = 0;
  // Where b, two vectors wide, is packed while it is read, row after row without gaps, so that packing costs no pass of
  // its own; null: not. With each row that of the panel to be packed next is asked for, which begins at `next`.
  T* copy = nullptr;
  const T* next = nullptr;
};

// Where the sums go. With `transposed` c is stored as its transpose: element (i, j) is at j * stride + i.
template <typename T>
struct TileResult {
  T* c = nullptr;
  int64_t stride = 0;
  bool transposed = false;
  bool add = false;         // to what c holds; else c is overwritten
  bool fetch = false;       // whether to ask for c before the sums are made, because it is in no near cache
  const T* bias = nullptr;  // a number for each column of c as the caller sees it, added to the sums; null: none
  int columns = 0;          // of the tile that belong to c
};

template <typename T, int kRows, int kVectors>
using TileSums = Vector<T>[kRows][kVectors];

template <typename T, int kRows, int kVectors, bool kCopies>
GW_INLINE void SumTile(const TileTerms<T>& terms, TileSums<T, kRows, kVectors>& sums) {
  const T* a = terms.a;
  const T* b = terms.b;
  [[maybe_unused]] T* copy = terms.copy;
  [[maybe_unused]] const T* next = terms.next;
  const int64_t a_row = terms.a_row, a_column = terms.a_column, b_row = terms.b_row;
  for (int64_t k = terms.depth; k > 0; --k, a += a_column, b += b_row) {
    Vector<T> row[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
      row[j] = LoadVector(b + j * kLanes<T>);
      if constexpr (kCopies) StoreVector(row[j], copy + j * kLanes<T>);
      // Into the second-level cache: the first one is full.
      if constexpr (kCopies) __builtin_prefetch(next + j * kLanes<T>, 0, 2);
    }
    if constexpr (kCopies) {
      copy += kVectors * kLanes<T>;
      next += b_row;
    }
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const T factor = a[i * a_row];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) sums[i][j] += factor * row[j];
    }
  }
}

template <typename T, int kRows, int kVectors>
GW_INLINE void StoreTile(TileSums<T, kRows, kVectors>& sums, const TileResult<T>& result) {
#pragma GCC unroll 2
  for (int j = 0; j < kVectors; ++j) {
    const int lanes = std::min(result.columns - j * kLanes<T>, kLanes<T>);
    const Vector<T> bias = result.bias == nullptr ? Vector<T>{} : LoadLanes(result.bias + j * kLanes<T>, lanes);
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      T* const c = result.c + i * result.stride + j * kLanes<T>;
      Vector<T> sum = sums[i][j];
      if (result.bias != nullptr) sum += bias;
      if (result.add) sum += LoadLanes(c, lanes);
      StoreLanes(sum, lanes, c);
    }
  }
}

// kCount columns of the transposed result, at most a vector of them, from as many rows of sums.
template <typename T, int kCount>
GW_INLINE void StoreColumns(Vector<T> (&square)[kLanes<T>], int columns, const TileResult<T>& result, T* c,
                            const T* bias) {
  TransposeSquare<T>(square);
  const Vector<T> added = bias == nullptr ? Vector<T>{} : LoadLanes(bias, kCount);
#pragma GCC unroll 16
  for (int j = 0; j < kLanes<T>; ++j) {
    if (j >= columns) break;
    Vector<T> sum = square[j];
    if (bias != nullptr) sum += added;
    if (result.add) sum += LoadLanes(c + j * result.stride, kCount);
    StoreLanes(sum, kCount, c + j * result.stride);
  }
}

template <typename T, int kRows, int kVectors, int kFirst = 0>
GW_INLINE void StoreTransposedTile(TileSums<T, kRows, kVectors>& sums, const TileResult<T>& result) {
  constexpr int kCount = std::min(kRows - kFirst, kLanes<T>);
#pragma GCC unroll 2
  for (int j = 0; j < kVectors; ++j) {
    Vector<T> square[kLanes<T>]{};
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) square[i] = sums[kFirst + i][j];
    StoreColumns<T, kCount>(square, result.columns - j * kLanes<T>, result,
                            result.c + j * kLanes<T> * result.stride + kFirst,
                            result.bias == nullptr ? nullptr : result.bias + kFirst);
  }
  if constexpr (kFirst + kCount < kRows) StoreTransposedTile<T, kRows, kVectors, kFirst + kCount>(sums, result);
}

// Asks for the memory of the result, so that it is there when the sums are made.
template <typename T, int kRows>
GW_INLINE void FetchResult(const TileResult<T>& result) {
  const int lines = result.transposed ? result.columns : kRows;
  for (int i = 0; i < lines; ++i) {
    const T* const line = result.c + i * result.stride;
    __builtin_prefetch(line, 1);
    __builtin_prefetch(line + (result.transposed ? kRows : result.columns) - 1, 1);
  }
}

template <typename T, int kRows, int kVectors>
__attribute__((noinline)) void MultiplyTile(const TileTerms<T>& terms, const TileResult<T>& result) {
  if (result.fetch) FetchResult<T, kRows>(result);
  TileSums<T, kRows, kVectors> sums{};
  if (kVectors == kTileVectors && terms.copy != nullptr) {
    SumTile<T, kRows, kVectors, true>(terms, sums);
  } else {
    SumTile<T, kRows, kVectors, false>(terms, sums);
  }
  if (result.transposed) {
    StoreTransposedTile<T, kRows, kVectors>(sums, result);
  } else {
    StoreTile<T, kRows, kVectors>(sums, result);
  }
}

template <typename T>
using TileFunction = void (*)(const TileTerms<T>&, const TileResult<T>&);

// The function for tiles of `rows` rows, 1 to kTileRows, and up to `columns` columns, 1 to kTileColumns.
template <typename T>
TileFunction<T> TileFor(int rows, int columns) {
  static constexpr auto kTable = []<int... kRow>(std::integer_sequence<int, kRow...>) {
    struct Table {
      TileFunction<T> functions[kTileRows][kTileVectors];
    };
    return Table{{{MultiplyTile<T, kRow + 1, 1>, MultiplyTile<T, kRow + 1, 2>}...}};
  }
  (std::make_integer_sequence<int, kTileRows>());
  return kTable.functions[rows - 1][columns > kLanes<T> ? 1 : 0];
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TENSOR_PRODUCT_TILE_H_
