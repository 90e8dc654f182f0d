#include "core/nn/activation_function.h"

#include <Eigen/Core>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/tensor/scalar.h"

namespace gradwatch::core {
namespace {

template <typename T>
using ArrayMap = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;
template <typename T>
using ConstArrayMap = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>;

// A comparison instead of a maximum, which would drop NaN.
template <typename T>
void Relu(int64_t size, const T* x, T* y) {
  for (int64_t i = 0; i < size; ++i) y[i] = RealPart(x[i]) <= 0 ? T(0) : x[i];
}

template <typename T>
void ReluBackward(int64_t size, const T* y, const T* dy, T* dx) {
  for (int64_t i = 0; i < size; ++i) dx[i] = RealPart(y[i]) <= 0 ? T(0) : dy[i];
}

template <typename T>
void SigmoidBackward(int64_t size, const T* y, const T* dy, T* dx) {
  for (int64_t i = 0; i < size; ++i) dx[i] = dy[i] * (y[i] * (T(1) - y[i]));
}

template <typename T>
void TanhBackward(int64_t size, const T* y, const T* dy, T* dx) {
  for (int64_t i = 0; i < size; ++i) dx[i] = dy[i] * (T(1) - y[i] * y[i]);
}

}  // namespace

void CheckActivationFunction(absl::string_view path, v1::ActivationFunction function, FieldErrors* errors) {
  switch (function) {
    case v1::ACTIVATION_FUNCTION_SIGMOID:
    case v1::ACTIVATION_FUNCTION_TANH:
    case v1::ACTIVATION_FUNCTION_RELU:
      return;
    case v1::ACTIVATION_FUNCTION_UNSPECIFIED:
      errors->Add(path, "is required");
      return;
    default:
      if (v1::ActivationFunction_IsValid(function)) {
        errors->Add(path, absl::StrCat("not served yet: ", v1::ActivationFunction_Name(function)));
      } else {
        errors->Add(path, absl::StrCat("is not a function; got ", static_cast<int>(function)));
      }
  }
}

template <typename T>
void ApplyActivation(v1::ActivationFunction function, int64_t size, const T* x, T* y) {
  switch (function) {
    case v1::ACTIVATION_FUNCTION_SIGMOID:
      // Not Eigen's logistic(), which for float is good to 1e-4 only where the result is small.
      ArrayMap<T>(y, size) = (T(1) + (-ConstArrayMap<T>(x, size)).exp()).inverse();
      return;
    case v1::ACTIVATION_FUNCTION_TANH:
      ArrayMap<T>(y, size) = ConstArrayMap<T>(x, size).tanh();
      return;
    default:
      return Relu(size, x, y);
  }
}

template <typename T>
void ActivationBackward(v1::ActivationFunction function, int64_t size, const T* y, const T* dy, T* dx) {
  switch (function) {
    case v1::ACTIVATION_FUNCTION_SIGMOID:
      return SigmoidBackward(size, y, dy, dx);
    case v1::ACTIVATION_FUNCTION_TANH:
      return TanhBackward(size, y, dy, dx);
    default:
      return ReluBackward(size, y, dy, dx);
  }
}

#define GW_INSTANTIATE(T)                                                       \
  template void ApplyActivation(v1::ActivationFunction, int64_t, const T*, T*); \
  template void ActivationBackward(v1::ActivationFunction, int64_t, const T*, const T*, T*);
GW_FOR_EACH_SCALAR(GW_INSTANTIATE)
#undef GW_INSTANTIATE

}  // namespace gradwatch::core
