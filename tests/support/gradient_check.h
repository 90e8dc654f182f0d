// Compares a network's gradients with central differences of its loss, tensor by tensor.
#ifndef GRADWATCH_TESTS_SUPPORT_GRADIENT_CHECK_H_
#define GRADWATCH_TESTS_SUPPORT_GRADIENT_CHECK_H_

#include "core/nn/network.h"
#include "tests/support/test_batch.h"

namespace gradwatch::testing {

// Of every tensor checks up to 64 random coordinates and the derivative along one random direction, which sees errors
// of scale in large tensors. Fails the test where ||a - n|| > 1e-8 (||a|| + ||n||) + 1e-10 ||G|| with a the analytic
// and n the numeric derivatives, by h = 1e-5, and G the whole gradient: a bias before batch norm has none of its own. A
// relu whose input changes its sign within h fails too: pick another seed.
void CheckGradients(core::Network<double>* network, const core::Batch& batch);

// Takes `steps` steps of plain gradient descent on one batch.
void Descend(core::Network<double>* network, const core::Batch& batch, int steps, double rate);

// Creates the network for `data` with a batch of 5, and checks its gradients at the start, with all biases moved away
// from zero, and again after 50 steps of gradient descent.
void CheckModelGradients(const std::string& model, const core::DataShape& data, uint64_t seed = 1);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_GRADIENT_CHECK_H_
