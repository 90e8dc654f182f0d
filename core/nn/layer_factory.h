// The kinds of layer that there are.
#ifndef GRADWATCH_CORE_NN_LAYER_FACTORY_H_
#define GRADWATCH_CORE_NN_LAYER_FACTORY_H_

#include <memory>

#include "core/nn/layer.h"

namespace gradwatch::core {

// A new layer of this kind, not yet configured; null if the kind is not served yet.
template <typename T>
std::unique_ptr<Layer<T>> MakeLayer(v1::Layer::KindCase kind);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_LAYER_FACTORY_H_
