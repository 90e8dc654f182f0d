// The same networks in PyTorch, in double: loss to 1e-12, gradients to 1e-10 of their global norm.
#ifndef GRADWATCH_TESTS_SUPPORT_TORCH_PARITY_H_
#define GRADWATCH_TESTS_SUPPORT_TORCH_PARITY_H_

#include <memory>
#include <string>
#include <vector>

#include "core/nn/network.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_batch.h"

namespace gradwatch::testing {

// Collects networks, so that Python and PyTorch are started only once.
class TorchParity {
 public:
  // `model` is a ModelSpec as text. Parameters that start at 0 or 1, where a mistake in them would not be seen, are
  // moved away from there.
  void Add(const std::string& name, const std::string& model, const core::DataShape& data, const TestBatch& batch);
  // Fails the test where PyTorch (tests/support/torch_oracle.py) disagrees. False: there is no PyTorch.
  bool Check();

 private:
  struct Entry {
    std::string name;
    std::unique_ptr<core::Network<double>> network;
    double loss = 0;
  };

  TempDir folder_;
  std::vector<Entry> entries_;
};

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_TORCH_PARITY_H_
