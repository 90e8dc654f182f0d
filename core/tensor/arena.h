// A block of numbers that starts on a cache line and is zero at first; taken once and never grown.
#ifndef GRADWATCH_CORE_TENSOR_ARENA_H_
#define GRADWATCH_CORE_TENSOR_ARENA_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

namespace gradwatch::core {

// Elements that fill one cache line of float; pieces of an arena start at multiples of it.
inline constexpr int64_t kArenaAlignment = 16;

// Sizes above this are "too large to exist"; sums and products of sizes stop here instead of overflowing.
inline constexpr int64_t kMaxElements = int64_t{1} << 56;

// a + b and a * b of sizes (not negative), at most kMaxElements.
inline int64_t AddSizes(int64_t a, int64_t b) { return std::min(kMaxElements, a + b); }
inline int64_t MultiplySizes(int64_t a, int64_t b) { return b != 0 && a > kMaxElements / b ? kMaxElements : a * b; }
// The next multiple of kArenaAlignment.
inline int64_t AlignSize(int64_t size) { return (size + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

template <typename T>
class Arena {
 public:
  static constexpr std::align_val_t kBytes{64};

  Arena() = default;
  explicit Arena(int64_t size)
      : data_(static_cast<T*>(::operator new(static_cast<size_t>(size) * sizeof(T), kBytes))), size_(size) {
    std::fill_n(data_.get(), size, T(0));
  }

  T* data() { return data_.get(); }
  std::span<T> span() { return {data_.get(), static_cast<size_t>(size_)}; }
  int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(T* data) const { ::operator delete(data, kBytes); }
  };
  std::unique_ptr<T, Free> data_;
  int64_t size_ = 0;
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_TENSOR_ARENA_H_
