// Products of row-major matrices, with working memory that the caller owns, shared by a team of threads if there is
// one.
//
// Every element of a result is the sum of its terms in their order, in blocks whose size depends on `depth` alone: each
// block is summed by itself, the first one gets the bias, and the blocks are added up from the first to the last. So
// the bits depend neither on the machine, nor on the number of threads, nor on the other extents, nor on how the
// operands lie; only on whether the engine's variant fuses a multiplication with its addition.
#ifndef GRADWATCH_CORE_TENSOR_MATRIX_PRODUCT_H_
#define GRADWATCH_CORE_TENSOR_MATRIX_PRODUCT_H_

#include <cstdint>
#include <type_traits>

#include "core/base/workers.h"

namespace gradwatch::core {

// Extents of a product op(a) op(b) = c: c is [rows, cols], the sums have `depth` terms. All matrices are dense.
struct ProductExtents {
  int64_t rows = 0, cols = 0, depth = 0;
};

// How the operands lie.
enum class ProductForm {
  kPlain,            // a [rows, depth] and b [depth, cols]
  kTransposedRight,  // a [rows, depth] and b [cols, depth]
  kTransposedLeft,   // a [depth, rows] and b [depth, cols]
};

// Where a product works.
template <typename T>
struct ProductContext {
  ProductContext() = default;
  // One thread's memory, ProductMemory() elements on a cache line, as in an arena.
  ProductContext(T* one_threads_memory) : memory(one_threads_memory) {}  // NOLINT: for callers without threads
  // The memory of thread t is at t * memory_size.
  ProductContext(T* memory, int64_t memory_size, Workers* workers)
      : memory(memory), memory_size(memory_size), workers(workers) {}

  T* memory = nullptr;
  int64_t memory_size = 0;
  Workers* workers = nullptr;
};

// What is done with the sums.
template <typename T>
struct ProductResult {
  T* c = nullptr;           // [rows, cols]
  bool add = false;         // c += a b; else c = a b, whatever it held
  const T* bias = nullptr;  // [cols], added to every row; null: none
};

// A matrix b in the order in which products read it: packed once, it is used by many products.
template <typename T>
struct PackedMatrix {
  int64_t depth = 0, cols = 0;
  const T* data = nullptr;
};

// Elements of working memory that each thread needs for a product of these extents, in any form.
template <typename T>
int64_t ProductMemory(const ProductExtents& extents);

// result = a b, in the given form.
template <typename T>
void Multiply(ProductForm form, const ProductExtents& extents, const T* a, const T* b, const ProductResult<T>& result,
              const ProductContext<T>& context);

// Elements of a packed matrix [depth, cols].
template <typename T>
int64_t PackedSize(int64_t depth, int64_t cols);
// Packs b [depth, cols], or with `transposed` [cols, depth], into `packed`, which starts on a cache line.
template <typename T>
PackedMatrix<T> Pack(int64_t depth, int64_t cols, const T* b, bool transposed, T* packed);
// result = a b with a [rows, depth] and the packed b; needs no memory.
template <typename T>
void MultiplyPacked(int64_t rows, const T* a, const PackedMatrix<T>& b, const ProductResult<T>& result,
                    Workers* workers);

// c += a b with a [rows, depth] and b [depth, cols].
template <typename T>
void AddProduct(const ProductExtents& extents, const T* a, const T* b, T* c,
                const std::type_identity_t<ProductContext<T>>& context) {
  Multiply(ProductForm::kPlain, extents, a, b, {c, true}, context);
}
// c += a b^T with a [rows, depth] and b [cols, depth].
template <typename T>
void AddProductTransposedRight(const ProductExtents& extents, const T* a, const T* b, T* c,
                               const std::type_identity_t<ProductContext<T>>& context) {
  Multiply(ProductForm::kTransposedRight, extents, a, b, {c, true}, context);
}
// c += a^T b with a [depth, rows] and b [depth, cols].
template <typename T>
void AddProductTransposedLeft(const ProductExtents& extents, const T* a, const T* b, T* c,
                              const std::type_identity_t<ProductContext<T>>& context) {
  Multiply(ProductForm::kTransposedLeft, extents, a, b, {c, true}, context);
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TENSOR_MATRIX_PRODUCT_H_
