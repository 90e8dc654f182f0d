#include "core/nn/squared_error.h"

namespace gradwatch::core {

template <typename T>
double SquaredError<T>::Mean(int64_t rows, int64_t columns, const T* outputs, const Batch& batch, T* gradient) const {
  const int64_t size = rows * columns;
  const T scale = T(2) / static_cast<T>(size);
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    const T difference = outputs[i] - static_cast<T>(batch.values[i]);
    sum += static_cast<double>(difference) * static_cast<double>(difference);
    if (gradient != nullptr) gradient[i] = scale * difference;
  }
  return sum / static_cast<double>(size);
}

template class SquaredError<float>;
template class SquaredError<double>;

}  // namespace gradwatch::core
