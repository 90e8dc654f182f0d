#include "core/nn/squared_error.h"

namespace gradwatch::core {

template <typename T>
Sum<T> SquaredError<T>::Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch, T* gradient) const {
  const int64_t size = rows * columns;
  const T scale = T(2) / static_cast<T>(size);
  Sum<T> sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    const T difference = outputs[i] - static_cast<T>(batch.values[i]);
    sum += static_cast<Sum<T>>(difference) * static_cast<Sum<T>>(difference);
    if (gradient != nullptr) gradient[i] = scale * difference;
  }
  return sum / static_cast<double>(size);
}

GW_INSTANTIATE_TEMPLATE(SquaredError);

}  // namespace gradwatch::core
