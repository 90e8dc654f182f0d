#include "core/tensor/matrix_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/base/random.h"
#include "core/tensor/arena.h"

namespace gradwatch::core {
namespace {

template <typename T>
using Vector = std::vector<T>;

template <typename T>
Vector<T> Normals(int64_t count, uint64_t index) {
  Random random(1, RandomStream::kSyntheticData, index);
  Vector<T> numbers(count);
  for (T& number : numbers) number = static_cast<T>(random.NextNormal());
  return numbers;
}

template <typename T>
Vector<T> Transposed(int64_t rows, int64_t cols, const Vector<T>& x) {
  Vector<T> y(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) y[c * rows + r] = x[r * cols + c];
  }
  return y;
}

template <typename T>
class MatrixProductTest : public ::testing::Test {
 protected:
  // All three forms against sums written out, added to a result that is not zero.
  void Check(const ProductExtents& extents) {
    const auto [rows, cols, depth] = extents;
    const Vector<T> a = Normals<T>(rows * depth, 0), b = Normals<T>(depth * cols, 1), c = Normals<T>(rows * cols, 2);
    Arena<T> memory(ProductMemory<T>(extents));
    Vector<T> plain = c, right = c, left = c;
    AddProduct(extents, a.data(), b.data(), plain.data(), memory.data());
    AddProductTransposedRight(extents, a.data(), Transposed(depth, cols, b).data(), right.data(), memory.data());
    AddProductTransposedLeft(extents, Transposed(rows, depth, a).data(), b.data(), left.data(), memory.data());
    const double tolerance = 30 * std::numeric_limits<T>::epsilon() * std::sqrt(static_cast<double>(depth) + 1);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        double sum = c[i * cols + j];
        for (int64_t k = 0; k < depth; ++k) sum += static_cast<double>(a[i * depth + k]) * b[k * cols + j];
        ASSERT_NEAR(plain[i * cols + j], sum, tolerance) << i << " " << j;
        ASSERT_NEAR(right[i * cols + j], sum, tolerance) << i << " " << j;
        ASSERT_NEAR(left[i * cols + j], sum, tolerance) << i << " " << j;
      }
    }
  }
};

using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(MatrixProductTest, Types);

TYPED_TEST(MatrixProductTest, MatchesSumsWrittenOut) {
  for (const ProductExtents& extents : std::vector<ProductExtents>{{1, 1, 1},
                                                                   {1, 5, 3},
                                                                   {20, 50, 50},
                                                                   {17, 1, 33},
                                                                   {64, 64, 64},
                                                                   {33, 70, 600},
                                                                   {1100, 9, 5},
                                                                   {7, 900, 300},
                                                                   {3, 4, 0}}) {
    SCOPED_TRACE(::testing::Message() << extents.rows << " x " << extents.cols << " x " << extents.depth);
    this->Check(extents);
  }
}

TYPED_TEST(MatrixProductTest, NanReachesItsRowOnly) {
  Vector<TypeParam> a(4, 1), b(4, 1), c(4, 0);
  a[0] = NAN;
  Arena<TypeParam> memory(ProductMemory<TypeParam>({2, 2, 2}));
  AddProduct({2, 2, 2}, a.data(), b.data(), c.data(), memory.data());
  EXPECT_TRUE(std::isnan(c[0]) && std::isnan(c[1]));
  EXPECT_EQ(c[2], 2);
  EXPECT_EQ(c[3], 2);
}

}  // namespace
}  // namespace gradwatch::core
