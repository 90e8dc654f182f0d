// Every layer and loss, alone and together, against central differences.
#include <gtest/gtest.h>

#include "tests/support/gradient_check.h"
#include "tests/support/model_cases.h"

namespace gradwatch::testing {
namespace {

class GradientTest : public ::testing::TestWithParam<ModelCase> {};

TEST_P(GradientTest, MatchesCentralDifferences) {
  CheckModelGradients(GetParam().model, GetParam().data, GetParam().seed);
}

INSTANTIATE_TEST_SUITE_P(Layers, GradientTest, ::testing::ValuesIn(AllModelCases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gradwatch::testing
