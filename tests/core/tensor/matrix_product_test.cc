#include "core/tensor/matrix_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/base/random.h"
#include "core/base/workers.h"
#include "core/tensor/arena.h"
#include "tests/support/allocation_count.h"

namespace gradwatch::core {
namespace {

template <typename T>
std::vector<T> Normals(int64_t count, uint64_t index) {
  Random random(1, RandomStream::kSyntheticData, index);
  std::vector<T> numbers(count);
  for (T& number : numbers) number = static_cast<T>(random.NextNormal());
  return numbers;
}

template <typename T>
std::vector<T> Transposed(int64_t rows, int64_t cols, const std::vector<T>& x) {
  std::vector<T> y(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) y[c * rows + r] = x[r * cols + c];
  }
  return y;
}

// Extents on both sides of every edge: of vectors, tiles, panels, blocks, and of what is packed.
const std::vector<ProductExtents>& Extents() {
  static const auto* const extents = new std::vector<ProductExtents>{
      {1, 1, 1},     {1, 5, 3},     {3, 4, 0},     {20, 50, 50},    {17, 1, 33},  {64, 64, 64},   {33, 70, 600},
      {1100, 9, 5},  {7, 900, 300}, {13, 33, 17},  {128, 130, 289}, {50, 6, 700}, {6, 50, 700},   {250, 300, 100},
      {1, 1, 2000},  {2100, 33, 2}, {33, 2100, 3}, {12, 32, 64},    {25, 48, 31}, {200, 16, 100}, {49, 47, 513},
      {2, 1030, 97}, {11, 31, 15},  {23, 15, 7},   {24, 17, 1025}};
  return *extents;
}

template <typename T>
class MatrixProductTest : public ::testing::Test {
 protected:
  void Prepare(const ProductExtents& extents) {
    const auto [rows, cols, depth] = extents_ = extents;
    a_ = Normals<T>(rows * depth, 0);
    b_ = Normals<T>(depth * cols, 1);
    c_ = Normals<T>(rows * cols, 2);
    bias_ = Normals<T>(cols, 3);
    a_transposed_ = Transposed(rows, depth, a_);
    b_transposed_ = Transposed(depth, cols, b_);
  }

  // All ways to compute the product, on `workers` if not null: three forms, and two kinds of packing.
  static constexpr int kWays = 5;
  std::vector<T> Compute(int way, bool add, bool bias, Workers* workers) {
    const auto [rows, cols, depth] = extents_;
    const int64_t each = ProductMemory<T>(extents_);
    Arena<T> memory(each * (workers == nullptr ? 1 : workers->threads())), packed(PackedSize<T>(depth, cols));
    const ProductContext<T> context(memory.data(), each, workers);
    std::vector<T> c = c_;
    const ProductResult<T> result{c.data(), add, bias ? bias_.data() : nullptr};
    switch (way) {
      case 0:
        Multiply(ProductForm::kPlain, extents_, a_.data(), b_.data(), result, context);
        break;
      case 1:
        Multiply(ProductForm::kTransposedRight, extents_, a_.data(), b_transposed_.data(), result, context);
        break;
      case 2:
        Multiply(ProductForm::kTransposedLeft, extents_, a_transposed_.data(), b_.data(), result, context);
        break;
      case 3:
        MultiplyPacked(rows, a_.data(), Pack(depth, cols, b_.data(), false, packed.data()), result, workers);
        break;
      default:
        MultiplyPacked(rows, a_.data(), Pack(depth, cols, b_transposed_.data(), true, packed.data()), result, workers);
    }
    return c;
  }

  double Sum(int64_t i, int64_t j, bool add, bool bias) const {
    const auto [rows, cols, depth] = extents_;
    double sum = (add ? c_[i * cols + j] : T(0)) + (bias ? bias_[j] : T(0));
    for (int64_t k = 0; k < depth; ++k) sum += static_cast<double>(a_[i * depth + k]) * b_[k * cols + j];
    return sum;
  }

  ProductExtents extents_;
  std::vector<T> a_, b_, c_, bias_, a_transposed_, b_transposed_;
};

using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(MatrixProductTest, Types);

TYPED_TEST(MatrixProductTest, MatchesSumsWrittenOut) {
  for (const ProductExtents& extents : Extents()) {
    SCOPED_TRACE(::testing::Message() << extents.rows << " x " << extents.cols << " x " << extents.depth);
    this->Prepare(extents);
    const double tolerance =
        30 * std::numeric_limits<TypeParam>::epsilon() * std::sqrt(static_cast<double>(extents.depth) + 1);
    for (const auto& [add, bias] : {std::pair{false, false}, {false, true}, {true, false}, {true, true}}) {
      const auto c = this->Compute(0, add, bias, nullptr);
      for (int64_t i = 0; i < extents.rows; ++i) {
        for (int64_t j = 0; j < extents.cols; ++j) {
          ASSERT_NEAR(c[i * extents.cols + j], this->Sum(i, j, add, bias), tolerance) << i << " " << j;
        }
      }
    }
  }
}

// Neither how operands lie nor who computes changes a bit.
TYPED_TEST(MatrixProductTest, EveryWayGivesTheSameBits) {
  Workers two(2), three(3);
  for (const ProductExtents& extents : Extents()) {
    SCOPED_TRACE(::testing::Message() << extents.rows << " x " << extents.cols << " x " << extents.depth);
    this->Prepare(extents);
    for (const auto& [add, bias] : {std::pair{false, false}, {true, true}}) {
      const auto expected = this->Compute(0, add, bias, nullptr);
      for (int way = 0; way < this->kWays; ++way) {
        for (Workers* const workers : {static_cast<Workers*>(nullptr), &two, &three}) {
          const auto c = this->Compute(way, add, bias, workers);
          ASSERT_EQ(std::memcmp(c.data(), expected.data(), c.size() * sizeof(TypeParam)), 0)
              << "way " << way << ", threads " << (workers == nullptr ? 1 : workers->threads());
        }
      }
    }
  }
}

// Also for products that are large enough to be shared by threads.
TYPED_TEST(MatrixProductTest, ALargeProductHasTheSameBitsOnAnyNumberOfThreads) {
  Workers two(2), five(5);
  for (const ProductExtents& extents : {ProductExtents{130, 1040, 70}, {1040, 130, 300}, {64, 512, 128}}) {
    this->Prepare(extents);
    for (int way = 0; way < this->kWays; ++way) {
      const auto expected = this->Compute(way, false, true, nullptr);
      EXPECT_EQ(this->Compute(way, false, true, &two), expected) << way;
      EXPECT_EQ(this->Compute(way, false, true, &five), expected) << way;
    }
  }
}

// A row of a, or a column of b, that holds a number which is not finite spoils its own row or column of c only, though
// sums are made in vectors whose unused lanes hold rubbish.
TYPED_TEST(MatrixProductTest, NonFiniteNumbersReachTheirRowsAndColumnsOnly) {
  for (const TypeParam bad :
       {std::numeric_limits<TypeParam>::quiet_NaN(), std::numeric_limits<TypeParam>::infinity()}) {
    for (const ProductExtents& extents : {ProductExtents{5, 7, 3}, {20, 50, 50}, {130, 70, 300}}) {
      this->Prepare(extents);
      const auto [rows, cols, depth] = extents;
      const int64_t row = rows / 2, column = cols - 1;
      this->a_[row * depth + depth / 2] = this->a_transposed_[depth / 2 * rows + row] = bad;
      this->b_[column] = this->b_transposed_[column * depth] = bad;
      for (int way = 0; way < this->kWays; ++way) {
        const auto c = this->Compute(way, false, true, nullptr);
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < cols; ++j) {
            ASSERT_EQ(std::isfinite(c[i * cols + j]), i != row && j != column) << way << ": " << i << " " << j;
          }
        }
      }
    }
  }
}

// c is overwritten, even if it held NaN.
TYPED_TEST(MatrixProductTest, OverwritesWhateverTheResultHeld) {
  this->Prepare({20, 33, 600});
  std::fill(this->c_.begin(), this->c_.end(), std::numeric_limits<TypeParam>::quiet_NaN());
  for (int way = 0; way < this->kWays; ++way) {
    for (const TypeParam c : this->Compute(way, false, false, nullptr)) ASSERT_TRUE(std::isfinite(c)) << way;
  }
}

TYPED_TEST(MatrixProductTest, AllocatesNothing) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "this build does not count allocations";
  const ProductExtents extents{64, 700, 300};
  this->Prepare(extents);
  Workers workers(2);
  Arena<TypeParam> memory(2 * ProductMemory<TypeParam>(extents));
  const int64_t before = testing::AllocationCount();
  for (const ProductForm form : {ProductForm::kPlain, ProductForm::kTransposedRight, ProductForm::kTransposedLeft}) {
    Multiply(form, extents, this->a_.data(), this->b_.data(), {this->c_.data()},
             ProductContext<TypeParam>(memory.data(), memory.size() / 2, &workers));
  }
  EXPECT_EQ(testing::AllocationCount(), before);
}

}  // namespace
}  // namespace gradwatch::core
