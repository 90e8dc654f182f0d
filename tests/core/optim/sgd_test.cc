#include "core/optim/sgd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/base/random.h"

namespace gradwatch::core {
namespace {

v1::OptimizerSpec Spec(double momentum, bool nesterov, double weight_decay) {
  v1::OptimizerSpec spec;
  spec.set_learning_rate(0.1);
  spec.set_momentum(momentum);
  spec.set_nesterov(nesterov);
  spec.set_weight_decay(weight_decay);
  return spec;
}

// One parameter of value 1 and its optimizer.
struct OneParameter {
  explicit OneParameter(const v1::OptimizerSpec& spec) {
    layout.Add("p", {1}, 0, v1::Initializer());
    gradients.assign(layout.arena_size(), 0);
    parameters.assign(layout.arena_size(), 0);
    parameters[0] = 1;
    record.tensors.resize(1);
    optimizer = MakeOptimizer<double>(spec, &layout);
  }
  double Step(double gradient) {
    gradients[0] = gradient;
    optimizer->Step(0.1, gradients, parameters, &record);
    return parameters[0];
  }

  ParameterLayout layout;
  std::vector<double> gradients, parameters;
  StepRecord record;
  std::unique_ptr<Optimizer<double>> optimizer;
};

TEST(SgdTest, PlainStepsByHand) {
  OneParameter p(Spec(0, false, 0));
  EXPECT_DOUBLE_EQ(p.Step(2), 0.8);
  EXPECT_DOUBLE_EQ(p.Step(-1), 0.9);
  EXPECT_TRUE(p.optimizer->state().empty());
}

TEST(SgdTest, ClippingScalesTheGradientButNotTheDecay) {
  OneParameter p(Spec(0.9, false, 0.5));
  p.record.tensors[0].clip_scale = 0.25;
  EXPECT_DOUBLE_EQ(p.Step(4), 1 - 0.1 * (1 + 0.5));
  EXPECT_EQ(p.gradients[0], 4) << "the gradient itself stays";
  EXPECT_DOUBLE_EQ(p.optimizer->state()[0], 1.5) << "the buffer holds the scaled one";
}

TEST(SgdTest, HasNoSecondMoment) {
  OneParameter p(Spec(0.9, false, 0));
  EXPECT_TRUE(p.optimizer->second_moment().empty());
}

TEST(SgdTest, WeightDecayByHand) {
  OneParameter p(Spec(0, false, 0.5));
  EXPECT_DOUBLE_EQ(p.Step(2), 1 - 0.1 * 2.5);
  EXPECT_DOUBLE_EQ(p.Step(0), 0.75 - 0.1 * 0.375);
}

TEST(SgdTest, MomentumByHand) {
  OneParameter p(Spec(0.9, false, 0));
  EXPECT_DOUBLE_EQ(p.Step(1), 0.9);                 // buffer 1
  EXPECT_DOUBLE_EQ(p.Step(1), 0.9 - 0.19);          // buffer 1.9
  EXPECT_DOUBLE_EQ(p.Step(0), 0.9 - 0.19 - 0.171);  // buffer 1.71
}

TEST(SgdTest, NesterovByHand) {
  OneParameter p(Spec(0.9, true, 0));
  EXPECT_DOUBLE_EQ(p.Step(1), 1 - 0.19);          // buffer 1, step 1 + 0.9
  EXPECT_DOUBLE_EQ(p.Step(1), 1 - 0.19 - 0.271);  // buffer 1.9, step 1 + 1.71
}

TEST(SgdTest, MomentumAndDecayByHand) {
  OneParameter p(Spec(0.5, false, 0.1));
  EXPECT_DOUBLE_EQ(p.Step(1), 0.89);  // buffer 1.1
  EXPECT_DOUBLE_EQ(p.Step(1), 0.89 - 0.1 * (0.55 + 1.089));
}

TEST(SgdTest, GradientsAreLeftAsTheyAre) {
  OneParameter p(Spec(0.9, true, 0.1));
  p.Step(3);
  EXPECT_EQ(p.gradients[0], 3);
}

TEST(SgdTest, TheUpdateNormIsThatOfTheChangeAndOnlyWithLevelFull) {
  OneParameter p(Spec(0, false, 0));
  p.Step(-3);
  EXPECT_DOUBLE_EQ(p.record.tensors[0].update_norm, 0.3);
  p.record.level = v1::STATISTICS_LEVEL_NORM;
  p.record.tensors[0].update_norm = 0;
  p.Step(-3);
  EXPECT_EQ(p.record.tensors[0].update_norm, 0);
}

TEST(SgdTest, ABrokenUpdateShowsInItsNorm) {
  OneParameter p(Spec(0, false, 0));
  p.Step(std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isinf(p.record.tensors[0].update_norm));
}

TEST(SgdTest, StateWrittenBackGoesOnAsBefore) {
  OneParameter first(Spec(0.9, false, 0)), second(Spec(0.9, false, 0));
  first.Step(1);
  second.parameters = first.parameters;
  std::copy(first.optimizer->state().begin(), first.optimizer->state().end(), second.optimizer->state().begin());
  EXPECT_EQ(first.Step(-2), second.Step(-2));
}

struct Case {
  double momentum;
  bool nesterov;
  double weight_decay;
};

// The update of torch.optim.SGD written once more, one number at a time, with the first step told apart.
template <typename T>
struct ReferenceSgd {
  T Step(const Case& c, T rate, T gradient, T parameter) {
    T d = gradient;
    if (c.weight_decay != 0) d = d + static_cast<T>(c.weight_decay) * parameter;
    if (c.momentum != 0) {
      buffer = first ? d : static_cast<T>(c.momentum) * buffer + d;
      first = false;
      d = c.nesterov ? d + static_cast<T>(c.momentum) * buffer : buffer;
    }
    return parameter - rate * d;
  }
  bool first = true;
  T buffer = 0;
};

template <typename T>
class SgdAgainstReferenceTest : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(SgdAgainstReferenceTest, Scalars);

TYPED_TEST(SgdAgainstReferenceTest, AgreesOverAHundredSteps) {
  using T = TypeParam;
  for (const Case& c : {Case{0, false, 0}, Case{0.9, false, 0}, Case{0.9, true, 0.01}, Case{0, false, 0.1}}) {
    ParameterLayout layout;
    layout.Add("a", {7}, 0, v1::Initializer());
    layout.Add("b", {33, 71}, 0, v1::Initializer());
    std::vector<T> gradients(layout.arena_size()), parameters(layout.arena_size(), T(0));
    Random random(3, RandomStream::kSyntheticData, 0);
    const auto fill = [&](std::vector<T>* arena) {
      for (const ParameterSegment& segment : layout.segments()) {
        for (int64_t i = 0; i < segment.size; ++i) (*arena)[segment.offset + i] = static_cast<T>(random.NextNormal());
      }
    };
    fill(&parameters);
    std::vector<T> expected = parameters;
    std::vector<ReferenceSgd<T>> references(layout.arena_size());
    const auto optimizer = MakeOptimizer<T>(Spec(c.momentum, c.nesterov, c.weight_decay), &layout);
    StepRecord record;
    record.tensors.resize(2);
    for (int step = 0; step < 100; ++step) {
      fill(&gradients);
      const std::vector<T> before = parameters;
      optimizer->Step(0.05, gradients, parameters, &record);
      double squares = 0;
      for (size_t i = 0; i < expected.size(); ++i) {
        expected[i] = references[i].Step(c, T(0.05), gradients[i], expected[i]);
        squares += std::pow(double{parameters[i]} - before[i], 2);
        // Contraction to fused operations may differ between the two; a step adds at most some units in the last place.
        ASSERT_NEAR(parameters[i], expected[i], (step + 1) * 8 * std::numeric_limits<T>::epsilon());
      }
      const double norm = std::hypot(record.tensors[0].update_norm, record.tensors[1].update_norm);
      ASSERT_NEAR(norm, std::sqrt(squares), 1e-6 * norm);
    }
    for (int64_t i = 7; i < layout.segments()[1].offset; ++i) EXPECT_EQ(parameters[i], 0) << "padding";
  }
}

}  // namespace
}  // namespace gradwatch::core
