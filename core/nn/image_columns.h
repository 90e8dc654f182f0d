// The patches that a window sees as columns of a matrix ("im2col"), and back: a convolution is then a matrix product.
//
// A batch is walked through in blocks of the window's rows, counted on through all images: row r is row r % window.rows
// of image r / window.rows. A block's matrix has a row for each number of a patch, in the order [channel, y, x], and a
// column for each position of the window in the block.
#ifndef GRADWATCH_CORE_NN_IMAGE_COLUMNS_H_
#define GRADWATCH_CORE_NN_IMAGE_COLUMNS_H_

#include <algorithm>
#include <cstdint>

#include "core/nn/image_window.h"

namespace gradwatch::core {

// `count` rows of the window from `first`.
struct RowBlock {
  int64_t first = 0, count = 0;
};

// columns [channels * kernel^2, count * window.columns] = the patches of the block; `images` is the whole batch.
template <typename T>
void GatherColumns(const ImageWindow& window, const RowBlock& block, const T* images, T* columns);

// The transpose: adds every number to the pixel that it would have been gathered from.
template <typename T>
void AddColumns(const ImageWindow& window, const RowBlock& block, const T* columns, T* images);

// The part of a block that lies in one image: rows `row` to `row + count` of `image`, from column `offset` of the
// block's matrix.
struct BlockPiece {
  int64_t image = 0, row = 0, count = 0, offset = 0;
};

// Calls visit(piece) for every piece of the block, in order.
template <typename Visit>
void ForEachPiece(const ImageWindow& window, const RowBlock& block, const Visit& visit) {
  for (int64_t done = 0; done < block.count;) {
    const int64_t row = (block.first + done) % window.rows;
    const int64_t count = std::min(window.rows - row, block.count - done);
    visit(BlockPiece{(block.first + done) / window.rows, row, count, done * window.columns});
    done += count;
  }
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_IMAGE_COLUMNS_H_
