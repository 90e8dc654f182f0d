#include "core/nn/layer_factory.h"

#include "core/nn/activation.h"
#include "core/nn/batch_norm.h"
#include "core/nn/conv2d.h"
#include "core/nn/dense.h"
#include "core/nn/dropout.h"
#include "core/nn/embedding.h"
#include "core/nn/flatten.h"
#include "core/nn/gru.h"
#include "core/nn/last_step.h"
#include "core/nn/lstm.h"
#include "core/nn/pool2d.h"
#include "core/nn/residual.h"
#include "core/nn/rnn.h"
#include "core/nn/row_norm.h"
#include "core/nn/scale.h"
#include "core/nn/self_attention.h"

namespace gradwatch::core {

template <typename T>
std::unique_ptr<Layer<T>> MakeLayer(v1::Layer::KindCase kind) {
  switch (kind) {
    case v1::Layer::kDense:
      return std::make_unique<Dense<T>>();
    case v1::Layer::kActivation:
      return std::make_unique<Activation<T>>();
    case v1::Layer::kResidual:
      return std::make_unique<Residual<T>>();
    case v1::Layer::kRnn:
      return std::make_unique<Rnn<T>>();
    case v1::Layer::kLstm:
      return std::make_unique<Lstm<T>>();
    case v1::Layer::kGru:
      return std::make_unique<Gru<T>>();
    case v1::Layer::kEmbedding:
      return std::make_unique<Embedding<T>>();
    case v1::Layer::kSelfAttention:
      return std::make_unique<SelfAttention<T>>();
    case v1::Layer::kLastStep:
      return std::make_unique<LastStep<T>>();
    case v1::Layer::kFlatten:
      return std::make_unique<Flatten<T>>();
    case v1::Layer::kConv2D:
      return std::make_unique<Conv2d<T>>();
    case v1::Layer::kPool2D:
      return std::make_unique<Pool2d<T>>();
    case v1::Layer::kLayerNorm:
    case v1::Layer::kRmsNorm:
      return std::make_unique<RowNorm<T>>();
    case v1::Layer::kBatchNorm:
      return std::make_unique<BatchNorm<T>>();
    case v1::Layer::kDropout:
      return std::make_unique<Dropout<T>>();
    case v1::Layer::kScale:
      return std::make_unique<Scale<T>>();
    default:
      return nullptr;
  }
}

#define GW_INSTANTIATE(T) template std::unique_ptr<Layer<T>> MakeLayer(v1::Layer::KindCase);
GW_FOR_EACH_SCALAR(GW_INSTANTIATE)
#undef GW_INSTANTIATE

}  // namespace gradwatch::core
