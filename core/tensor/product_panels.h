// A product on one thread: its blocks and panels, around the tiles. Internal to core's sources, as vector.h is.
//
// The left operand is read number by number, each going into a whole vector, so it may lie in any way; the right one is
// read in vectors. Which of a and b is which is the caller's choice (see matrix_product.cc).
#ifndef GRADWATCH_CORE_TENSOR_PRODUCT_PANELS_H_
#define GRADWATCH_CORE_TENSOR_PRODUCT_PANELS_H_

#include <algorithm>
#include <cstdint>

#include "core/tensor/arena.h"
#include "core/tensor/product_pack.h"
#include "core/tensor/product_tile.h"

namespace gradwatch::core {

// A panel of the right operand (a tile's columns, all terms of a block) stays in the first-level cache while the rows
// go by: 36 KB of float. A block of the left one stays in the second-level cache.
inline constexpr int64_t kMaxBlockDepth = 288;
inline constexpr int64_t kBlockColumns = 1024;
inline constexpr int64_t kBlockPanels = 16;  // of rows

constexpr int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Sums of `depth` terms are made in this many blocks, whose sizes differ by at most 1; at least one, though it be
// empty.
constexpr int64_t DepthBlocks(int64_t depth) { return std::max<int64_t>(1, CeilDivide(depth, kMaxBlockDepth)); }

// c [rows, columns] = left right. Element (i, k) of the left operand is left[i * left_row + k * left_column]; (k, j) of
// the right one right[k * right_row + j * right_column], where one of both is 1.
template <typename T>
struct PanelProduct {
  int64_t rows = 0, columns = 0, depth = 0;
  const T* left = nullptr;
  int64_t left_row = 0, left_column = 0;
  const T* right = nullptr;
  int64_t right_row = 0, right_column = 1;
  // If above 0 `right` comes from PackRight, of a matrix of so many columns, and this product's begin at
  // `packed_begin`.
  int64_t packed_columns = 0, packed_begin = 0;
  TileResult<T> result{};  // of the whole; `columns` is not used

  bool right_is_transposed() const { return right_column != 1; }
};

template <typename T>
int64_t PackedColumns(int64_t columns) {
  return CeilDivide(columns, kTileColumns<T>) * kTileColumns<T>;
}

// Elements that RunPanels needs for packing.
template <typename T>
int64_t PanelMemory(int64_t rows, int64_t columns, int64_t depth) {
  const int64_t block = std::min(depth, kMaxBlockDepth);
  return AlignSize(std::min(rows, kBlockPanels * kTileRows) * block) +
         PackedColumns<T>(std::min(columns, kBlockColumns)) * block;
}

// Packs terms first ... first + depth - 1 of one panel of the right operand.
template <typename T>
void PackPanel(const PanelProduct<T>& product, int64_t first, int64_t depth, int64_t column, T* packed) {
  const int count = static_cast<int>(std::min<int64_t>(kTileColumns<T>, product.columns - column));
  const T* const right = product.right + first * product.right_row + column * product.right_column;
  if (product.right_is_transposed()) {
    PackTransposed(depth, count, kTileColumns<T>, right, product.right_column, packed);
  } else {
    PackColumns(depth, count, kTileColumns<T>, right, product.right_row, packed);
  }
}

// Packs the whole right operand: block after block of terms, and in each panel after panel.
template <typename T>
void PackRight(const PanelProduct<T>& product, T* packed) {
  const int64_t blocks = DepthBlocks(product.depth);
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t first = PartBegin(product.depth, block, blocks);
    const int64_t depth = PartBegin(product.depth, block + 1, blocks) - first;
    for (int64_t column = 0; column < product.columns; column += kTileColumns<T>) {
      PackPanel(product, first, depth, column, packed);
      packed += depth * kTileColumns<T>;
    }
  }
}

// One thread's way through a product.
template <typename T>
class PanelRun {
 public:
  // `memory` has PanelMemory elements on a cache line; null, which a packed right operand allows: none is used.
  PanelRun(const PanelProduct<T>& product, T* memory)
      : product_(product),
        panels_(CeilDivide(product.rows, kTileRows)),
        packs_left_(memory != nullptr && product.columns >= kColumnsToPackLeft && product.depth >= kDepthToPackLeft),
        packs_right_(product.right_is_transposed() || product.rows >= kRowsToPackRight),
        fetches_result_(product.rows * product.columns * static_cast<int64_t>(sizeof(T)) > kNearBytes),
        left_memory_(memory),
        right_memory_(memory + AlignSize(std::min(product.rows, kBlockPanels * kTileRows) *
                                         std::min(product.depth, kMaxBlockDepth))) {}

  void Run() {
    const int64_t blocks = DepthBlocks(product_.depth);
    for (int64_t column = 0; column < product_.columns; column += kBlockColumns) {
      for (int64_t block = 0; block < blocks; ++block) {
        first_ = PartBegin(product_.depth, block, blocks);
        depth_ = PartBegin(product_.depth, block + 1, blocks) - first_;
        RunBlock(column, std::min(product_.columns, column + kBlockColumns));
      }
    }
  }

 private:
  // From here on copying pays, because what is copied is read often enough. Measured.
  static constexpr int64_t kRowsToPackRight = 80;
  static constexpr int64_t kColumnsToPackLeft = 256;
  static constexpr int64_t kDepthToPackLeft = 96;
  static constexpr int64_t kNearBytes = 512 << 10;  // of a result that stays in the second-level cache

  int64_t PanelBegin(int64_t panel) const { return PartBegin(product_.rows, panel, panels_); }

  void RunBlock(int64_t begin, int64_t end) {
    for (int64_t panel = 0; panel < panels_; panel += kBlockPanels) {
      const int64_t last = std::min(panels_, panel + kBlockPanels);
      if (packs_left_) PackLeft(panel, last);
      for (int64_t column = begin; column < end; column += kTileColumns<T>) {
        TileTerms<T> terms = RightTerms(begin, column, panel == 0);
        terms.next = NextPanel(begin, end, column);
        for (int64_t p = panel; p < last; ++p) {
          RunTile(panel, p, column, &terms);
          if (terms.copy == nullptr) continue;
          terms.b = terms.copy;
          terms.b_row = kTileColumns<T>;
          terms.copy = nullptr;
        }
      }
    }
  }

  // The panel that is packed after the one at `column`; if there is none, some place in the operand.
  const T* NextPanel(int64_t begin, int64_t end, int64_t column) const {
    const T* const right = product_.right + first_ * product_.right_row;
    if (column + kTileColumns<T> < end) return right + column + kTileColumns<T>;
    return first_ + depth_ < product_.depth ? right + depth_ * product_.right_row + begin : right;
  }

  const T* Left(int64_t panel) const {
    return product_.left + PanelBegin(panel) * product_.left_row + first_ * product_.left_column;
  }

  void PackLeft(int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int rows = static_cast<int>(PanelBegin(panel + 1) - PanelBegin(panel));
      T* const packed = left_memory_ + (PanelBegin(panel) - PanelBegin(begin)) * depth_;
      if (product_.left_row == 1) {
        PackColumns(depth_, rows, rows, Left(panel), product_.left_column, packed);
      } else {
        PackTransposed(depth_, rows, rows, Left(panel), product_.left_row, packed);
      }
    }
  }

  // The terms of a tile at `column`, without the left operand. Packs them if that has to be done and `is_first`.
  TileTerms<T> RightTerms(int64_t begin, int64_t column, bool is_first) {
    TileTerms<T> terms{.depth = depth_, .b_row = kTileColumns<T>};
    if (product_.packed_columns > 0) {
      terms.b = product_.right + first_ * PackedColumns<T>(product_.packed_columns) +
                (product_.packed_begin + column) * depth_;
      return terms;
    }
    const int64_t count = product_.columns - column;
    const bool whole_vectors = count >= kTileColumns<T> || count == kLanes<T>;
    if (!packs_right_ && whole_vectors) {
      terms.b = product_.right + first_ * product_.right_row + column;
      terms.b_row = product_.right_row;
      return terms;
    }
    T* const packed = right_memory_ + (packs_right_ ? (column - begin) * depth_ : 0);
    if (is_first && packs_right_ && !product_.right_is_transposed() && count >= kTileColumns<T>) {
      terms.b = product_.right + first_ * product_.right_row + column;
      terms.b_row = product_.right_row;
      terms.copy = packed;
      return terms;
    }
    if (is_first || !packs_right_) PackPanel(product_, first_, depth_, column, packed);
    terms.b = packed;
    return terms;
  }

  void RunTile(int64_t first_panel, int64_t panel, int64_t column, TileTerms<T>* terms) {
    const int64_t row = PanelBegin(panel);
    const int rows = static_cast<int>(PanelBegin(panel + 1) - row);
    if (packs_left_) {
      terms->a = left_memory_ + (row - PanelBegin(first_panel)) * depth_;
      terms->a_row = 1;
      terms->a_column = rows;
    } else {
      terms->a = Left(panel);
      terms->a_row = product_.left_row;
      terms->a_column = product_.left_column;
    }
    TileResult<T> result = product_.result;
    result.columns = static_cast<int>(std::min<int64_t>(kTileColumns<T>, product_.columns - column));
    result.c += result.transposed ? column * result.stride + row : row * result.stride + column;
    if (first_ > 0) {
      result.add = true;
      result.bias = nullptr;
    } else if (result.bias != nullptr) {
      result.bias += result.transposed ? row : column;
    }
    result.fetch = fetches_result_ && result.add;
    TileFor<T>(rows, result.columns)(*terms, result);
  }

  const PanelProduct<T>& product_;
  const int64_t panels_;  // of rows
  const bool packs_left_, packs_right_, fetches_result_;
  T* const left_memory_;
  T* const right_memory_;
  int64_t first_ = 0, depth_ = 0;  // the present block of terms
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TENSOR_PRODUCT_PANELS_H_
