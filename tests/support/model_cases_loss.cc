#include "tests/support/model_cases.h"
#include "tests/support/test_batch.h"

namespace gradwatch::testing {
namespace {

constexpr char kBinaryCrossEntropy[] = "loss { function: LOSS_FUNCTION_BINARY_CROSS_ENTROPY } ";
constexpr char kHuber[] = "loss { function: LOSS_FUNCTION_HUBER } ";

}  // namespace

std::vector<ModelCase> LossCases() {
  const std::string hidden = Dense(6) + Activation("TANH");
  return {{"binary_cross_entropy", hidden + Dense(1) + kBinaryCrossEntropy, ProbabilityData(0, 7, 1)},
          {"binary_cross_entropy_of_many", hidden + Dense(11) + kBinaryCrossEntropy, ProbabilityData(3, 7, 11, true)},
          {"huber", hidden + Dense(3) + kHuber, ValueData(0, 7, 3)},
          {"huber_narrow", hidden + Dense(11) + "loss { function: LOSS_FUNCTION_HUBER delta: 0.3 } ",
           ValueData(3, 7, 11, true)}};
}

}  // namespace gradwatch::testing
