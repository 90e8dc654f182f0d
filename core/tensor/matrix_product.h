// Products of row-major matrices, added to a result, with working memory that the caller owns.
//
// The block sizes depend on the extents alone, never on the machine's caches, so that sums are taken in the same order
// on every machine that runs the same engine variant.
#ifndef GRADWATCH_CORE_TENSOR_MATRIX_PRODUCT_H_
#define GRADWATCH_CORE_TENSOR_MATRIX_PRODUCT_H_

#include <cstdint>

namespace gradwatch::core {

// Extents of c += op(a) op(b): c is [rows, cols], the sums have `depth` terms. All matrices are dense and row-major.
struct ProductExtents {
  int64_t rows = 0, cols = 0, depth = 0;
};

// Elements of working memory that a product of these extents needs, in any of the forms below. It must start on a cache
// line, as an arena does; the matrices need not.
template <typename T>
int64_t ProductMemory(const ProductExtents& extents);

// c += a b with a [rows, depth] and b [depth, cols].
template <typename T>
void AddProduct(const ProductExtents& extents, const T* a, const T* b, T* c, T* memory);
// c += a b^T with a [rows, depth] and b [cols, depth].
template <typename T>
void AddProductTransposedRight(const ProductExtents& extents, const T* a, const T* b, T* c, T* memory);
// c += a^T b with a [depth, rows] and b [depth, cols].
template <typename T>
void AddProductTransposedLeft(const ProductExtents& extents, const T* a, const T* b, T* c, T* memory);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TENSOR_MATRIX_PRODUCT_H_
