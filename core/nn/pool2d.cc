#include "core/nn/pool2d.h"

#include <algorithm>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/nn/field_checks.h"
#include "core/tensor/arena.h"

namespace gradwatch::core {
namespace {

// The functions below take one row of windows, `step` pixels apart; x and dx begin at the first window's first pixel.

// Pixels from the first of a window to another, whose place is counted row by row.
int64_t PixelOffset(const ImageWindow& window, int64_t place) {
  return place / window.kernel * window.width + place % window.kernel;
}

template <typename Step, typename T>
void Maximum(const ImageWindow& window, Step step, const T* __restrict x, T* __restrict y, T* __restrict chosen) {
  for (int64_t p = 0; p < window.columns; ++p) y[p] = x[p * step];
  std::fill_n(chosen, window.columns, T(0));
  for (int64_t place = 1; place < window.kernel * window.kernel; ++place) {
    const T* const pixels = x + PixelOffset(window, place);
    const T number = static_cast<T>(place);
    for (int64_t p = 0; p < window.columns; ++p) {
      const T value = pixels[p * step];
      // A later NaN takes the place of an earlier one, as in PyTorch.
      const bool larger = RealPart(value) > RealPart(y[p]) || RealPart(value) != RealPart(value);
      y[p] = larger ? value : y[p];
      chosen[p] = larger ? number : chosen[p];
    }
  }
}

template <typename Step, typename T>
void MaximumBackward(const ImageWindow& window, Step step, const T* __restrict chosen, const T* __restrict dy,
                     T* __restrict dx) {
  for (int64_t place = 0; place < window.kernel * window.kernel; ++place) {
    T* const pixels = dx + PixelOffset(window, place);
    const T number = static_cast<T>(place);
    for (int64_t p = 0; p < window.columns; ++p) pixels[p * step] += chosen[p] == number ? dy[p] : T(0);
  }
}

template <typename Step, typename T>
void Mean(const ImageWindow& window, Step step, const T* __restrict x, T* __restrict y) {
  std::fill_n(y, window.columns, T(0));
  const int64_t area = window.kernel * window.kernel;
  for (int64_t place = 0; place < area; ++place) {
    const T* const pixels = x + PixelOffset(window, place);
    for (int64_t p = 0; p < window.columns; ++p) y[p] += pixels[p * step];
  }
  for (int64_t p = 0; p < window.columns; ++p) y[p] /= static_cast<T>(area);
}

template <typename Step, typename T>
void MeanBackward(const ImageWindow& window, Step step, const T* __restrict dy, T* __restrict dx) {
  const int64_t area = window.kernel * window.kernel;
  for (int64_t place = 0; place < area; ++place) {
    T* const pixels = dx + PixelOffset(window, place);
    for (int64_t p = 0; p < window.columns; ++p) pixels[p * step] += dy[p] / static_cast<T>(area);
  }
}

// Calls visit(step, first pixel of the first window, number of its output) for each row of windows. The step is the
// stride, for the common ones as a type: the compiler makes vector code of the loops only if it knows it.
template <typename Visit>
void ForEachRow(const ImageWindow& window, int64_t planes, const Visit& visit) {
  const auto walk = [&](auto step) {
    for (int64_t plane = 0; plane < planes; ++plane) {
      for (int64_t row = 0; row < window.rows; ++row) {
        visit(step, plane * window.pixels() + row * window.stride * window.width,
              plane * window.positions() + row * window.columns);
      }
    }
  };
  if (window.stride == 1) return walk(std::integral_constant<int64_t, 1>());
  if (window.stride == 2) return walk(std::integral_constant<int64_t, 2>());
  walk(window.stride);
}

bool CheckMode(const std::string& path, v1::Pool2d::Mode mode, FieldErrors* errors) {
  if (mode == v1::Pool2d::MODE_UNSPECIFIED) {
    errors->Add(path, "is required");
  } else if (mode != v1::Pool2d::MODE_MAX && mode != v1::Pool2d::MODE_AVERAGE) {
    errors->Add(path, absl::StrCat("is not a mode; got ", static_cast<int>(mode)));
  }
  return mode == v1::Pool2d::MODE_MAX;
}

}  // namespace

template <typename T>
void Pool2d<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  const v1::Pool2d& pool = spec.pool2d();
  max_ = CheckMode(scope.path + ".mode", pool.mode(), scope.errors);
  CheckRange(scope.path + ".kernel", pool.kernel(), 1, kMaxKernel, scope.errors);
  window_.kernel = pool.kernel();
  window_.stride = pool.has_stride() ? pool.stride() : pool.kernel();
  if (pool.has_stride()) CheckRange(scope.path + ".stride", pool.stride(), 1, kMaxStride, scope.errors);
}

template <typename T>
absl::StatusOr<LayerPlan> Pool2d<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  GW_ASSIGN_OR_RETURN(window_, PlaceWindow(place.path, window_, place.input));
  planes_ = MultiplySizes(plan->Rows(place.input), window_.channels);
  LayerPlan result;
  result.output = WindowOutput(window_, place.input, window_.channels);
  if (max_) chosen_ = plan->Keep(plan->Size(result.output));
  return result;
}

template <typename T>
void Pool2d<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  T* const chosen = pass.kept + chosen_;
  ForEachRow(window_, planes_, [&](auto step, int64_t pixel, int64_t output) {
    if (max_) {
      Maximum(window_, step, x.values + pixel, y + output, chosen + output);
    } else {
      Mean(window_, step, x.values + pixel, y + output);
    }
  });
}

template <typename T>
void Pool2d<T>::Backward(const Pass<T>& pass, const LayerInput<T>& /*x*/, const T* /*y*/, const T* dy, T* dx) {
  if (dx == nullptr) return;
  std::fill_n(dx, planes_ * window_.pixels(), T(0));
  const T* const chosen = pass.kept + chosen_;
  ForEachRow(window_, planes_, [&](auto step, int64_t pixel, int64_t output) {
    if (max_) {
      MaximumBackward(window_, step, chosen + output, dy + output, dx + pixel);
    } else {
      MeanBackward(window_, step, dy + output, dx + pixel);
    }
  });
}

GW_INSTANTIATE_TEMPLATE(Pool2d);

}  // namespace gradwatch::core
