#include "core/tensor/matrix_product.h"

#include <algorithm>
#include <type_traits>

#include "core/tensor/arena.h"
#include "core/tensor/product_panels.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {
namespace {

// Terms that are worth a thread, some 15 us of one: what another core wrote last has to come over.
constexpr int64_t kTermsOfPart = 1 << 20;

template <typename T>
PanelProduct<T> InOrder(ProductForm form, const ProductExtents& extents, const T* a, const T* b,
                        const ProductResult<T>& result) {
  PanelProduct<T> product{.rows = extents.rows, .columns = extents.cols, .depth = extents.depth, .left = a, .right = b};
  const bool left = form == ProductForm::kTransposedLeft, right = form == ProductForm::kTransposedRight;
  product.left_row = left ? 1 : extents.depth;
  product.left_column = left ? extents.rows : 1;
  product.right_row = right ? 1 : extents.cols;
  product.right_column = right ? extents.depth : 1;
  product.result = {.c = result.c, .stride = extents.cols, .add = result.add, .bias = result.bias};
  return product;
}

// The same product with the operands' parts exchanged: c^T = b^T a^T, stored transposed.
template <typename T>
PanelProduct<T> Exchanged(const PanelProduct<T>& product) {
  PanelProduct<T> exchanged = product;
  std::swap(exchanged.rows, exchanged.columns);
  exchanged.left = product.right;
  exchanged.left_row = product.right_column;
  exchanged.left_column = product.right_row;
  exchanged.right = product.left;
  exchanged.right_row = product.left_column;
  exchanged.right_column = product.left_row;
  exchanged.result.transposed = true;
  return exchanged;
}

// What a product costs, in cycles of a processor that does two vectors of terms in one: the terms, packing the right
// operand, and storing. The factors are measured.
template <typename T>
double Cost(const PanelProduct<T>& product) {
  const double rows = static_cast<double>(product.rows), columns = static_cast<double>(product.columns);
  const double depth = static_cast<double>(product.depth);
  const double vectors = static_cast<double>(CeilDivide(product.columns, kLanes<T>));
  const double packing = product.right_is_transposed() ? 0.6 * depth * columns : 0;
  const double storing = static_cast<double>(DepthBlocks(product.depth)) *
                         (product.result.transposed ? 0.5 * rows * columns : 1.5 * rows * vectors);
  return 0.5 * rows * vectors * depth + packing + storing;
}

// The part of a product that has only some of its rows, or of its columns.
template <typename T>
PanelProduct<T> RowsOf(const PanelProduct<T>& product, int64_t begin, int64_t end) {
  PanelProduct<T> part = product;
  part.rows = end - begin;
  part.left += begin * product.left_row;
  part.result.c += begin * (product.result.transposed ? 1 : product.result.stride);
  if (product.result.transposed && product.result.bias != nullptr) part.result.bias += begin;
  return part;
}

template <typename T>
PanelProduct<T> ColumnsOf(const PanelProduct<T>& product, int64_t begin, int64_t end) {
  PanelProduct<T> part = product;
  part.columns = end - begin;
  if (product.packed_columns > 0) {
    part.packed_begin += begin;
  } else {
    part.right += begin * product.right_column;
  }
  part.result.c += begin * (product.result.transposed ? product.result.stride : 1);
  if (!product.result.transposed && product.result.bias != nullptr) part.result.bias += begin;
  return part;
}

template <typename T>
int Parts(const PanelProduct<T>& product, Workers* workers) {
  if (workers == nullptr || workers->threads() == 1) return 1;
  const int64_t terms = MultiplySizes(MultiplySizes(product.rows, product.columns), product.depth);
  return static_cast<int>(std::clamp<int64_t>(terms / kTermsOfPart, 1, workers->threads()));
}

template <typename T>
void Run(const PanelProduct<T>& product, const ProductContext<T>& context) {
  const int parts = Parts(product, context.workers);
  const bool by_rows = product.rows >= product.columns;
  RunParts(context.workers, parts, [&](int part) {
    const int64_t unit = by_rows ? 1 : kTileColumns<T>;
    const int64_t size = by_rows ? product.rows : product.columns, units = CeilDivide(size, unit);
    const int64_t begin = PartBegin(units, part, parts) * unit;
    const int64_t end = std::min(size, PartBegin(units, part + 1, parts) * unit);
    if (begin == end) return;
    const PanelProduct<T> own = by_rows ? RowsOf(product, begin, end) : ColumnsOf(product, begin, end);
    PanelRun<T>(own, context.memory + part * context.memory_size).Run();
  });
}

// For complex numbers, which vectors do not hold.
template <typename T>
void RunPlainly(const PanelProduct<T>& product) {
  for (int64_t i = 0; i < product.rows; ++i) {
    for (int64_t j = 0; j < product.columns; ++j) {
      T sum = product.result.bias == nullptr ? T(0) : product.result.bias[j];
      for (int64_t k = 0; k < product.depth; ++k) {
        sum += product.left[i * product.left_row + k * product.left_column] *
               product.right[k * product.right_row + j * product.right_column];
      }
      T& c = product.result.c[i * product.result.stride + j];
      c = product.result.add ? c + sum : sum;
    }
  }
}

template <typename T>
inline constexpr bool kHasVectors = std::is_floating_point_v<T>;

}  // namespace

template <typename T>
int64_t ProductMemory(const ProductExtents& extents) {
  if constexpr (kHasVectors<T>) {
    const auto [rows, cols, depth] = extents;
    return AlignSize(std::max(PanelMemory<T>(rows, cols, depth), PanelMemory<T>(cols, rows, depth)));
  } else {
    return 0;
  }
}

template <typename T>
void Multiply(ProductForm form, const ProductExtents& extents, const T* a, const T* b, const ProductResult<T>& result,
              const ProductContext<T>& context) {
  if (extents.rows == 0 || extents.cols == 0) return;
  const PanelProduct<T> product = InOrder(form, extents, a, b, result);
  if constexpr (kHasVectors<T>) {
    const PanelProduct<T> exchanged = Exchanged(product);
    Run(Cost(exchanged) < Cost(product) ? exchanged : product, context);
  } else {
    RunPlainly(product);
  }
}

template <typename T>
int64_t PackedSize(int64_t depth, int64_t cols) {
  if constexpr (kHasVectors<T>) return MultiplySizes(depth, PackedColumns<T>(cols));
  return MultiplySizes(depth, cols);
}

template <typename T>
PackedMatrix<T> Pack(int64_t depth, int64_t cols, const T* b, bool transposed, T* packed) {
  const ProductForm form = transposed ? ProductForm::kTransposedRight : ProductForm::kPlain;
  const PanelProduct<T> product = InOrder<T>(form, {0, cols, depth}, nullptr, b, {});
  if constexpr (kHasVectors<T>) {
    PackRight(product, packed);
  } else {
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t j = 0; j < cols; ++j) packed[k * cols + j] = b[k * product.right_row + j * product.right_column];
    }
  }
  return {depth, cols, packed};
}

template <typename T>
void MultiplyPacked(int64_t rows, const T* a, const PackedMatrix<T>& b, const ProductResult<T>& result,
                    Workers* workers) {
  if (rows == 0 || b.cols == 0) return;
  PanelProduct<T> product = InOrder(ProductForm::kPlain, {rows, b.cols, b.depth}, a, b.data, result);
  if constexpr (kHasVectors<T>) {
    product.packed_columns = b.cols;
    Run<T>(product, {nullptr, 0, workers});
  } else {
    RunPlainly(product);
  }
}

#define GW_INSTANTIATE(T)                                                                                 \
  template int64_t ProductMemory<T>(const ProductExtents&);                                               \
  template void Multiply(ProductForm, const ProductExtents&, const T*, const T*, const ProductResult<T>&, \
                         const ProductContext<T>&);                                                       \
  template int64_t PackedSize<T>(int64_t, int64_t);                                                       \
  template PackedMatrix<T> Pack(int64_t, int64_t, const T*, bool, T*);                                    \
  template void MultiplyPacked(int64_t, const T*, const PackedMatrix<T>&, const ProductResult<T>&, Workers*);
GW_FOR_EACH_SCALAR(GW_INSTANTIATE)
#undef GW_INSTANTIATE

}  // namespace gradwatch::core
