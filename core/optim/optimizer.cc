#include "core/optim/optimizer.h"

#include "core/optim/sgd.h"

namespace gradwatch::core {

template <typename T>
std::unique_ptr<Optimizer<T>> MakeOptimizer(const v1::OptimizerSpec& spec, const ParameterLayout* layout) {
  // The only method that ValidateOptimizer lets pass.
  return std::make_unique<Sgd<T>>(spec, layout);
}

template std::unique_ptr<Optimizer<float>> MakeOptimizer(const v1::OptimizerSpec&, const ParameterLayout*);
template std::unique_ptr<Optimizer<double>> MakeOptimizer(const v1::OptimizerSpec&, const ParameterLayout*);

}  // namespace gradwatch::core
