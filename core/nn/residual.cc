#include "core/nn/residual.h"

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/nn/rows.h"
#include "core/nn/shape_text.h"

namespace gradwatch::core {

template <typename T>
void Residual<T>::Configure(const v1::Layer& spec, const FieldScope& scope) {
  if (scope.nesting == kMaxNesting) {
    scope.errors->Add(scope.path, absl::StrCat("residual blocks may nest up to ", kMaxNesting, " deep"));
    return;
  }
  inner_.Configure(spec.residual().layers(), {scope.path + ".layers", scope.nesting + 1, scope.errors});
}

template <typename T>
absl::StatusOr<LayerPlan> Residual<T>::Plan(const LayerPlace& place, MemoryPlan* plan) {
  StackPlace inside = place;
  inside.path += ".layers";
  GW_ASSIGN_OR_RETURN(const LayerPlan inner, inner_.Plan(inside, plan));
  if (!(inner.output == place.input)) {
    return InvalidField(place.path, absl::StrCat("the inner layers must give back the shape that they get, ",
                                                 ShapeText(place.input), "; they give ", ShapeText(inner.output)));
  }
  size_ = plan->Size(place.input);
  LayerPlan result;
  result.output = place.input;
  result.in_place_backward = true;
  // The sum goes where the inner output is, unless that is needed on the way back.
  if (!inner.reads_output) result.output_offset = inner.output_offset;
  return result;
}

template <typename T>
void Residual<T>::Forward(const Pass<T>& pass, const LayerInput<T>& x, T* y) {
  Add(size_, x.values, inner_.Forward(pass, x), y);
}

template <typename T>
void Residual<T>::Backward(const Pass<T>& pass, const LayerInput<T>& x, const T* /*y*/, const T* dy, T* dx) {
  const T* const inner = inner_.Backward(pass, x, dy);
  if (dx != nullptr) Add(size_, dy, inner, dx);
}

GW_INSTANTIATE_TEMPLATE(Residual);

}  // namespace gradwatch::core
