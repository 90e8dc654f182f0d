#include "core/tensor/matrix_product.h"

#include <Eigen/Core>
#include <algorithm>

#include "core/tensor/arena.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {
namespace {

// Eigen computes a row-major result as its column-major transpose, so its "rows" are our columns.
struct Blocks {
  Eigen::Index rows, cols, depth;
};

// A block of the left side stays in the second-level cache, a sliver of the right side in the first.
template <typename T>
Blocks ChooseBlocks(const ProductExtents& extents) {
  constexpr Eigen::Index kDepth = 1024 / sizeof(T);  // 256 floats, 128 doubles
  constexpr Eigen::Index kRows = 384, kCols = 1024;
  return {std::min(kRows, extents.cols), std::min(kCols, extents.rows), std::min(kDepth, extents.depth)};
}

template <typename T>
class Blocking final : public Eigen::internal::level3_blocking<T, T> {
 public:
  Blocking(const Blocks& blocks, T* memory) {
    this->m_mc = blocks.rows;
    this->m_nc = blocks.cols;
    this->m_kc = blocks.depth;
    this->m_blockA = memory;
    this->m_blockB = memory + AlignSize(blocks.rows * blocks.depth);
  }
};

template <typename T, int LeftOrder, int RightOrder>
void Run(const ProductExtents& extents, const T* a, int64_t a_stride, const T* b, int64_t b_stride, T* c, T* memory) {
  if (extents.rows == 0 || extents.cols == 0 || extents.depth == 0) return;
  Blocking<T> blocking(ChooseBlocks<T>(extents), memory);
  Eigen::internal::general_matrix_matrix_product<Eigen::Index, T, LeftOrder, false, T, RightOrder, false,
                                                 Eigen::RowMajor, 1>::run(extents.rows, extents.cols, extents.depth, a,
                                                                          a_stride, b, b_stride, c, 1, extents.cols,
                                                                          T(1), blocking, nullptr);
}

}  // namespace

template <typename T>
int64_t ProductMemory(const ProductExtents& extents) {
  const Blocks blocks = ChooseBlocks<T>(extents);
  return AlignSize(blocks.rows * blocks.depth) + AlignSize(blocks.cols * blocks.depth);
}

template <typename T>
void AddProduct(const ProductExtents& extents, const T* a, const T* b, T* c, T* memory) {
  Run<T, Eigen::RowMajor, Eigen::RowMajor>(extents, a, extents.depth, b, extents.cols, c, memory);
}

template <typename T>
void AddProductTransposedRight(const ProductExtents& extents, const T* a, const T* b, T* c, T* memory) {
  Run<T, Eigen::RowMajor, Eigen::ColMajor>(extents, a, extents.depth, b, extents.depth, c, memory);
}

template <typename T>
void AddProductTransposedLeft(const ProductExtents& extents, const T* a, const T* b, T* c, T* memory) {
  Run<T, Eigen::ColMajor, Eigen::RowMajor>(extents, a, extents.rows, b, extents.cols, c, memory);
}

#define GW_INSTANTIATE(T)                                                                     \
  template int64_t ProductMemory<T>(const ProductExtents&);                                   \
  template void AddProduct(const ProductExtents&, const T*, const T*, T*, T*);                \
  template void AddProductTransposedRight(const ProductExtents&, const T*, const T*, T*, T*); \
  template void AddProductTransposedLeft(const ProductExtents&, const T*, const T*, T*, T*);
GW_FOR_EACH_SCALAR(GW_INSTANTIATE)
#undef GW_INSTANTIATE

}  // namespace gradwatch::core
