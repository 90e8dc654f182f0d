#include "core/nn/causal_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/nn/internal/block.h"
#include "core/tensor/matrix_product.h"

namespace gradwatch::core {
namespace {

constexpr int64_t kTileSteps = 64;

// Queries [begin, end) with keys [0, end); their probabilities, [end - begin, end], lie at `offset`.
struct Tile {
  int64_t begin, end, offset;
  int64_t rows() const { return end - begin; }
  int64_t next_offset() const { return AddSizes(offset, MultiplySizes(rows(), end)); }
};

Tile TileAt(int64_t begin, int64_t offset, int64_t steps) {
  return {begin, std::min(begin + kTileSteps, steps), offset};
}

template <typename F>
void ForEachTile(int64_t steps, F f) {
  for (Tile tile = TileAt(0, 0, steps); tile.begin < steps; tile = TileAt(tile.end, tile.next_offset(), steps)) f(tile);
}

// Any number near the largest keeps the exponentials in range; a NaN that it drops comes back in the sum.
template <typename T>
T Largest(int64_t size, const T* x) {
  const Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>> row(x, size);
  if constexpr (kIsComplex<T>) {
    return row.real().maxCoeff();
  } else {
    return row.maxCoeff();
  }
}

template <typename T>
void Softmax(int64_t size, T* x) {
  const T largest = Largest(size, x);
  Block<T> sums = Block<T>::Zero();
  ForEachBlock<T>(size, [&](int64_t j, auto length) {
    Block<T> e = (Load<T>(x + j, length) - largest).exp();
    e.tail(kBlockSize<T> - length).setZero();
    Store<T>(e, x + j, length);
    sums += e;
  });
  const T scale = T(1) / sums.sum();
  for (int64_t j = 0; j < size; ++j) x[j] *= scale;
}

template <typename T>
void RaiseToLargest(int64_t size, const T* x, T* largest) {
  if constexpr (!kIsComplex<T>) {
    const Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>> row(x, size);
    const T here = row.template maxCoeff<Eigen::PropagateNaN>();
    if (std::isnan(here) || here > *largest) *largest = here;  // false if the largest so far is NaN
  }
}

// In nats, summed in double; 0 ln 0 is 0.
template <typename T>
double Entropy(int64_t size, const T* p) {
  Block<double> sums = Block<double>::Zero();
  ForEachBlock<double>(size, [&](int64_t j, auto length) {
    Block<double> part = Block<double>::Zero();
    for (int64_t i = 0; i < length; ++i) part[i] = p[j + i];
    sums += part * part.max(std::numeric_limits<double>::min()).log();
  });
  return -sums.sum();
}

// Of one row of the probabilities p: from their gradient dp that of the scores, written over it.
template <typename T>
void SoftmaxBackward(int64_t size, const T* p, T* dp) {
  Block<T> sums = Block<T>::Zero();
  ForEachBlock<T>(size, [&](int64_t j, auto length) { sums += Load<T>(p + j, length) * Load<T>(dp + j, length); });
  const T sum = sums.sum();
  for (int64_t j = 0; j < size; ++j) dp[j] = p[j] * (dp[j] - sum);
}

}  // namespace

template <typename T>
CausalAttention<T>::CausalAttention(int64_t steps, int64_t width, MemoryPlan* plan) : steps_(steps), width_(width) {
  probabilities_ = 0;
  // Every step has a row of at most `steps` probabilities, so that a plan of absurd size need not be tiled.
  if (steps >= kMaxElements / std::max<int64_t>(steps, 1)) {
    probabilities_ = kMaxElements;
    return;
  }
  ForEachTile(steps, [this](const Tile& tile) { probabilities_ = tile.next_offset(); });
  const int64_t rows = std::min(kTileSteps, steps);
  plan->NeedProduct<T>({rows, steps, width});
  plan->NeedProduct<T>({rows, width, steps});
  plan->NeedProduct<T>({steps, width, rows});
}

template <typename T>
int64_t CausalAttention<T>::scratch_size() const {
  return AlignSize(MultiplySizes(std::min(kTileSteps, steps_), steps_));
}

template <typename T>
typename CausalAttention<T>::Kept CausalAttention<T>::Split(T* kept) const {
  Scratch<T> parts(kept);
  return {parts.Take(size()), parts.Take(size()), parts.Take(size()), parts.Take(probabilities_)};
}

template <typename T>
void CausalAttention<T>::Forward(const Kept& kept, T* out, const ProductContext<T>& product, T* largest_logit) const {
  std::fill_n(kept.probabilities, probabilities_, T(0));
  std::fill_n(out, size(), T(0));
  ForEachTile(steps_, [&](const Tile& tile) {
    T* const p = kept.probabilities + tile.offset;
    AddProductTransposedRight({tile.rows(), tile.end, width_}, kept.q + tile.begin * width_, kept.k, p, product);
    for (int64_t r = 0; r < tile.rows(); ++r) {
      const int64_t past = tile.begin + r + 1;
      if (largest_logit != nullptr) RaiseToLargest(past, p + r * tile.end, largest_logit);
      Softmax(past, p + r * tile.end);
      std::fill(p + r * tile.end + past, p + (r + 1) * tile.end, T(0));
    }
    AddProduct({tile.rows(), width_, tile.end}, p, kept.v, out + tile.begin * width_, product);
  });
}

template <typename T>
double CausalAttention<T>::SumOfEntropies(const Kept& kept) const {
  double sum = 0;
  if constexpr (!kIsComplex<T>) {
    ForEachTile(steps_, [&](const Tile& tile) {
      for (int64_t r = tile.begin == 0 ? 1 : 0; r < tile.rows(); ++r) {
        const int64_t keys = tile.begin + r + 1;
        sum += Entropy(keys, kept.probabilities + tile.offset + r * tile.end) / std::log(static_cast<double>(keys));
      }
    });
  }
  return sum;
}

template <typename T>
void CausalAttention<T>::Backward(const Kept& kept, const T* dout, T* dq, T* dk, T* dv, Scratch<T> scratch,
                                  const ProductContext<T>& product) const {
  T* const ds = scratch.Take(scratch_size());
  for (T* const gradient : {dq, dk, dv}) std::fill_n(gradient, size(), T(0));
  ForEachTile(steps_, [&](const Tile& tile) {
    const T* const p = kept.probabilities + tile.offset;
    const T* const dout_tile = dout + tile.begin * width_;
    std::fill_n(ds, tile.rows() * tile.end, T(0));
    AddProductTransposedRight({tile.rows(), tile.end, width_}, dout_tile, kept.v, ds, product);
    AddProductTransposedLeft({tile.end, width_, tile.rows()}, p, dout_tile, dv, product);
    for (int64_t r = 0; r < tile.rows(); ++r) {
      const int64_t past = tile.begin + r + 1;
      SoftmaxBackward(past, p + r * tile.end, ds + r * tile.end);
      std::fill(ds + r * tile.end + past, ds + (r + 1) * tile.end, T(0));
    }
    AddProduct({tile.rows(), width_, tile.end}, ds, kept.k, dq + tile.begin * width_, product);
    AddProductTransposedLeft({tile.end, width_, tile.rows()}, ds, kept.q + tile.begin * width_, dk, product);
  });
}

GW_INSTANTIATE_TEMPLATE(CausalAttention);

}  // namespace gradwatch::core
