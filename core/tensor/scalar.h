// The kinds of numbers that a network can be made of: float trains, double and complex numbers check.
//
// Complex numbers exist for complex-step derivatives, f'(x) = Im f(x + ih) / h without any subtraction: an engine with
// them is built for the tests only (GRADWATCH_COMPLEX_SCALARS). Code for all scalars must therefore be holomorphic:
// compare real parts, transpose without conjugating, square instead of taking magnitudes.
#ifndef GRADWATCH_CORE_TENSOR_SCALAR_H_
#define GRADWATCH_CORE_TENSOR_SCALAR_H_

#include <complex>

namespace gradwatch::core {

// What sums over many numbers are made in.
template <typename T>
struct SumOf {
  using Type = double;
};
template <typename R>
struct SumOf<std::complex<R>> {
  using Type = std::complex<R>;
};
template <typename T>
using Sum = typename SumOf<T>::Type;

template <typename T>
inline constexpr bool kIsComplex = false;
template <typename R>
inline constexpr bool kIsComplex<std::complex<R>> = true;

// What decides a comparison.
inline float RealPart(float x) { return x; }
inline double RealPart(double x) { return x; }
inline double RealPart(const std::complex<double>& x) { return x.real(); }

}  // namespace gradwatch::core

// X(T) for every scalar of this build.
#ifdef GRADWATCH_COMPLEX_SCALARS
#define GW_FOR_EACH_SCALAR(X) X(float) X(double) X(std::complex<double>)
#else
#define GW_FOR_EACH_SCALAR(X) X(float) X(double)
#endif

// For the class template of a layer: once in its header, once at the end of its source.
#ifdef GRADWATCH_COMPLEX_SCALARS
#define GW_EXTERN_TEMPLATE(Name)      \
  extern template class Name<float>;  \
  extern template class Name<double>; \
  extern template class Name<std::complex<double>>
#define GW_INSTANTIATE_TEMPLATE(Name) \
  template class Name<float>;         \
  template class Name<double>;        \
  template class Name<std::complex<double>>
#else
#define GW_EXTERN_TEMPLATE(Name)     \
  extern template class Name<float>; \
  extern template class Name<double>
#define GW_INSTANTIATE_TEMPLATE(Name) \
  template class Name<float>;         \
  template class Name<double>
#endif

#endif  // GRADWATCH_CORE_TENSOR_SCALAR_H_
