// Rows in pieces of one cache line that stay in vector registers, so that a pass with many steps (gates, softmax) reads
// and writes each number once. The rest of a row is padded with zeros: what an element becomes does not depend on where
// it stands.
//
// Of core's own sources only: Eigen's types differ between the builds of the engine.
#ifndef GRADWATCH_CORE_NN_INTERNAL_BLOCK_H_
#define GRADWATCH_CORE_NN_INTERNAL_BLOCK_H_

#include <Eigen/Core>
#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace gradwatch::core {

template <typename T>
inline constexpr int kBlockSize = 64 / sizeof(T);
template <typename T>
using Block = Eigen::Array<T, kBlockSize<T>, 1>;

// The length of a block: a constant if it is whole.
template <typename T>
using WholeBlock = std::integral_constant<int64_t, kBlockSize<T>>;

// Calls f(first, length) for all pieces of a row; `length` is a WholeBlock<T>, at the end perhaps a smaller int64_t.
template <typename T, typename F>
inline void ForEachBlock(int64_t size, F f) {
  int64_t first = 0;
  for (; first + kBlockSize<T> <= size; first += kBlockSize<T>) f(first, WholeBlock<T>());
  if (first < size) f(first, size - first);
}

template <typename T>
inline Block<T> Load(const T* x, WholeBlock<T> /*length*/) {
  return Eigen::Map<const Block<T>>(x);
}
template <typename T>
inline Block<T> Load(const T* x, int64_t length) {
  Block<T> block = Block<T>::Zero();
  std::copy_n(x, length, block.data());
  return block;
}

template <typename T>
inline void Store(const Block<T>& block, T* x, WholeBlock<T> /*length*/) {
  Eigen::Map<Block<T>> target(x);
  target = block;
}
template <typename T>
inline void Store(const Block<T>& block, T* x, int64_t length) {
  std::copy_n(block.data(), length, x);
}

// 1 / (1 + exp(-x)), with a small relative error on both sides.
template <typename T>
inline Block<T> Sigmoid(const Block<T>& x) {
  return (T(1) + (-x).exp()).inverse();
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_INTERNAL_BLOCK_H_
