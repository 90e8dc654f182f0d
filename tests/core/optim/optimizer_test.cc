// What holds for every optimizer.
#include "core/optim/optimizer.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "core/base/random.h"
#include "tests/support/allocation_count.h"

namespace gradwatch::core {
namespace {

v1::OptimizerSpec Parse(const std::string& text) {
  v1::OptimizerSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString("learning_rate: 0.01 " + text, &spec));
  return spec;
}

struct Method {
  const char* spec;
  int states;
};

// Every rule of every method.
const Method kMethods[] = {
    {"weight_decay: 0.1", 0},
    {"weight_decay: 0.1 decoupled_decay: true", 0},
    {"momentum: 0.9 weight_decay: 0.1", 1},
    {"momentum: 0.9 nesterov: true decoupled_decay: true weight_decay: 0.1", 1},
    {"momentum: 0.9 dampening: 0.3", 1},
    {"method: OPTIMIZER_METHOD_RMSPROP weight_decay: 0.1", 1},
    {"method: OPTIMIZER_METHOD_RMSPROP momentum: 0.5", 2},
    {"method: OPTIMIZER_METHOD_RMSPROP centered: true", 2},
    {"method: OPTIMIZER_METHOD_RMSPROP centered: true momentum: 0.5", 3},
    {"method: OPTIMIZER_METHOD_ADAGRAD learning_rate_decay: 0.1 initial_accumulator: 0.1", 1},
    {"method: OPTIMIZER_METHOD_ADAM weight_decay: 0.1", 2},
    {"method: OPTIMIZER_METHOD_ADAM amsgrad: true", 3},
    {"method: OPTIMIZER_METHOD_ADAMW", 2},
    {"method: OPTIMIZER_METHOD_ADAMW amsgrad: true", 3},
};

// Tensors that end within a vector, a block and a range.
ParameterLayout Layout() {
  ParameterLayout layout;
  layout.Add("a", {7}, 0, v1::Initializer());
  layout.Add("b", {33, 71}, 0, v1::Initializer());
  layout.Add("c", {40'009}, 0, v1::Initializer());
  return layout;
}

// One optimizer with its arenas.
template <typename T>
struct Training {
  Training(const char* spec, const ParameterLayout* layout)
      : layout(layout),
        gradients(layout->arena_size()),
        parameters(layout->arena_size()),
        optimizer(MakeOptimizer<T>(Parse(spec), layout)) {
    record.tensors.resize(layout->segments().size());
    Fill(100, &parameters);
  }
  // Normal numbers, different for each `round`.
  void Fill(int round, std::vector<T>* arena) const {
    for (const ParameterSegment& segment : layout->segments()) {
      Random random(3, RandomStream::kSyntheticData, round * 1000 + segment.offset);
      for (int64_t i = 0; i < segment.size; ++i) (*arena)[segment.offset + i] = static_cast<T>(random.NextNormal());
    }
  }
  void Step(int round) {
    Fill(round, &gradients);
    optimizer->Step(0.01, gradients, parameters, &record);
  }

  const ParameterLayout* layout;
  std::vector<T> gradients, parameters;
  StepRecord record;
  std::unique_ptr<Optimizer<T>> optimizer;
};

template <typename T>
class OptimizerTest : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(OptimizerTest, Scalars);

TYPED_TEST(OptimizerTest, TheUpdateNormIsThatOfTheChangeOfEachTensor) {
  const ParameterLayout layout = Layout();
  for (const Method& method : kMethods) {
    SCOPED_TRACE(method.spec);
    Training<TypeParam> run(method.spec, &layout);
    run.record.tensors[1].clip_scale = 0.5;
    for (int step = 0; step < 3; ++step) {
      const std::vector<TypeParam> before = run.parameters;
      run.Step(step);
      for (size_t k = 0; k < layout.segments().size(); ++k) {
        const ParameterSegment& segment = layout.segments()[k];
        double squares = 0;
        for (int64_t i = segment.offset; i < segment.offset + segment.size; ++i) {
          squares += std::pow(double{run.parameters[i]} - before[i], 2);
        }
        EXPECT_NEAR(run.record.tensors[k].update_norm / std::sqrt(squares), 1, 1e-6);
      }
    }
  }
}

TYPED_TEST(OptimizerTest, MeasuringChangesNoBitAndUnmeasuredNormsAreLeftAlone) {
  const ParameterLayout layout = Layout();
  for (const Method& method : kMethods) {
    SCOPED_TRACE(method.spec);
    Training<TypeParam> full(method.spec, &layout), none(method.spec, &layout);
    none.record.level = v1::STATISTICS_LEVEL_NONE;
    none.record.tensors[0].update_norm = 17;
    for (int step = 0; step < 3; ++step) {
      full.Step(step);
      none.Step(step);
    }
    EXPECT_EQ(full.parameters, none.parameters);
    EXPECT_EQ(none.record.tensors[0].update_norm, 17);
  }
}

// Which elements are updated together must not matter.
TYPED_TEST(OptimizerTest, EqualElementsStayEqualWhereverTheyLie) {
  const ParameterLayout layout = Layout();
  for (const Method& method : kMethods) {
    SCOPED_TRACE(method.spec);
    Training<TypeParam> run(method.spec, &layout);
    const auto spread = [&](std::vector<TypeParam>* arena) {
      for (const ParameterSegment& s : layout.segments()) {
        for (int64_t i = 0; i < s.size; ++i) (*arena)[s.offset + i] = (*arena)[i % 7];
      }
    };
    spread(&run.parameters);
    for (int step = 0; step < 5; ++step) {
      run.Fill(step, &run.gradients);
      spread(&run.gradients);
      for (TensorStatistics& tensor : run.record.tensors) tensor.clip_scale = step == 2 ? 0.3 : 1;
      run.optimizer->Step(0.01, run.gradients, run.parameters, &run.record);
    }
    std::vector<TypeParam> expected = run.parameters;
    spread(&expected);
    EXPECT_EQ(run.parameters, expected);
  }
}

TYPED_TEST(OptimizerTest, TheClipScaleCountsBeforeEverythingElse) {
  const ParameterLayout layout = Layout();
  for (const Method& method : kMethods) {
    SCOPED_TRACE(method.spec);
    Training<TypeParam> scaled(method.spec, &layout), expected(method.spec, &layout);
    for (int step = 0; step < 4; ++step) {
      // A power of two: exact.
      for (TensorStatistics& tensor : scaled.record.tensors) tensor.clip_scale = step == 1 ? 0.125 : 1;
      scaled.Step(step);
      expected.Fill(step, &expected.gradients);
      if (step == 1) {
        for (TypeParam& g : expected.gradients) g *= TypeParam{0.125};
      }
      expected.optimizer->Step(0.01, expected.gradients, expected.parameters, &expected.record);
    }
    // Products may be contracted with the sums that follow, so the last bits may differ.
    for (size_t i = 0; i < scaled.parameters.size(); ++i) {
      ASSERT_NEAR(scaled.parameters[i], expected.parameters[i], 64 * std::numeric_limits<TypeParam>::epsilon());
    }
  }
}

TYPED_TEST(OptimizerTest, GradientsAndPaddingAreLeftAsTheyAre) {
  const ParameterLayout layout = Layout();
  for (const Method& method : kMethods) {
    Training<TypeParam> run(method.spec, &layout);
    run.Step(0);
    std::vector<TypeParam> gradients(layout.arena_size());
    run.Fill(0, &gradients);
    EXPECT_EQ(run.gradients, gradients) << method.spec;
    for (int64_t i = 7; i < layout.segments()[1].offset; ++i) EXPECT_EQ(run.parameters[i], 0) << method.spec;
  }
}

TYPED_TEST(OptimizerTest, StateAndUpdatesWrittenBackGoOnBitByBit) {
  const ParameterLayout layout = Layout();
  for (const Method& method : kMethods) {
    SCOPED_TRACE(method.spec);
    EXPECT_EQ(OptimizerStatePerParameter(Parse(method.spec)), method.states);
    Training<TypeParam> first(method.spec, &layout), second(method.spec, &layout);
    EXPECT_EQ(static_cast<int64_t>(first.optimizer->state().size()), method.states * layout.arena_size());
    for (int step = 0; step < 3; ++step) first.Step(step);
    EXPECT_EQ(first.optimizer->updates(), 3);
    second.parameters = first.parameters;
    std::copy(first.optimizer->state().begin(), first.optimizer->state().end(), second.optimizer->state().begin());
    second.optimizer->set_updates(3);
    for (int step = 3; step < 6; ++step) {
      first.Step(step);
      second.Step(step);
    }
    EXPECT_EQ(first.parameters, second.parameters);
  }
}

TYPED_TEST(OptimizerTest, ABrokenUpdateShowsInItsNorm) {
  const ParameterLayout layout = Layout();
  for (const Method& method : kMethods) {
    Training<TypeParam> run(method.spec, &layout);
    run.Fill(0, &run.gradients);
    run.gradients[layout.segments()[1].offset + 5] = std::numeric_limits<TypeParam>::quiet_NaN();
    run.optimizer->Step(0.01, run.gradients, run.parameters, &run.record);
    EXPECT_TRUE(std::isnan(run.record.tensors[1].update_norm)) << method.spec;
    EXPECT_TRUE(std::isfinite(run.record.tensors[2].update_norm)) << method.spec;
  }
}

TEST(OptimizerFloatTest, FollowsTheDoubleOneAndAllocatesNothing) {
  const ParameterLayout layout = Layout();
  for (const Method& method : kMethods) {
    SCOPED_TRACE(method.spec);
    Training<float> floats(method.spec, &layout);
    Training<double> doubles(method.spec, &layout);
    for (int step = 0; step < 20; ++step) {
      floats.Step(step);
      doubles.Step(step);
    }
    double squares = 0, differences = 0;
    for (size_t i = 0; i < doubles.parameters.size(); ++i) {
      squares += doubles.parameters[i] * doubles.parameters[i];
      differences += std::pow(floats.parameters[i] - doubles.parameters[i], 2);
    }
    EXPECT_LE(std::sqrt(differences / squares), 1e-5);
    floats.Fill(0, &floats.gradients);
    const int64_t before = testing::AllocationCount();
    floats.optimizer->Step(0.01, floats.gradients, floats.parameters, &floats.record);
    EXPECT_EQ(testing::AllocationCount(), before);
  }
}

// Squares of floats leave their range long before floats do; blocks before and behind may be within it.
TEST(OptimizerFloatTest, NormsAreRightWhereSquaresAreOutOfRange) {
  ParameterLayout layout;
  layout.Add("a", {5'000}, 0, v1::Initializer());
  Training<float> run("", &layout);
  const std::vector<float> normal = run.parameters;
  const float sizes[] = {0, 1e-36f, 1e-25f, 1e-18f, 1, 1e18f, 1e25f, 1e35f};
  for (const float weight : sizes) {
    for (const float gradient : sizes) {
      double weights = 0, changes = 0;
      for (int64_t i = 0; i < 5'000; ++i) {
        const bool in_range = i / 1'000 % 2 == 1;
        run.parameters[i] = normal[i] * (in_range ? 1 : weight);
        run.gradients[i] = normal[4'999 - i] * (in_range ? 1 : gradient);
      }
      const std::vector<float> before = run.parameters;
      run.optimizer->Step(0.01, run.gradients, run.parameters, &run.record);
      for (int64_t i = 0; i < 5'000; ++i) {
        weights += std::pow(double{before[i]}, 2);
        changes += std::pow(double{run.parameters[i]} - before[i], 2);
      }
      SCOPED_TRACE(::testing::Message() << weight << " " << gradient);
      EXPECT_NEAR(run.record.tensors[0].weight_norm / std::sqrt(weights), 1, 4e-7);
      EXPECT_NEAR(run.record.tensors[0].update_norm / std::sqrt(changes), 1, 4e-7);
    }
  }
}

// Whoever updates which range, the bits are the same.
TEST(OptimizerTest, WorkersChangeNothing) {
  ParameterLayout layout;
  layout.Add("a", {300'001}, 0, v1::Initializer());
  layout.Add("b", {7}, 0, v1::Initializer());
  layout.Add("c", {100'000}, 0, v1::Initializer());
  Workers workers(3);
  for (const Method& method : kMethods) {
    SCOPED_TRACE(method.spec);
    Training<float> alone(method.spec, &layout), shared(method.spec, &layout);
    for (int step = 0; step < 2; ++step) {
      alone.Step(step);
      shared.Fill(step, &shared.gradients);
      shared.optimizer->Step(0.01, shared.gradients, shared.parameters, &shared.record, &workers);
    }
    EXPECT_EQ(shared.parameters, alone.parameters);
    for (size_t i = 0; i < layout.segments().size(); ++i) {
      EXPECT_EQ(shared.record.tensors[i].update_norm, alone.record.tensors[i].update_norm);
      EXPECT_EQ(shared.record.tensors[i].weight_norm, alone.record.tensors[i].weight_norm);
    }
  }
}

// Methods that divide by the root of squares.
const char* const kDividing[] = {
    "method: OPTIMIZER_METHOD_ADAM",
    "method: OPTIMIZER_METHOD_ADAM amsgrad: true",
    "method: OPTIMIZER_METHOD_ADAMW weight_decay: 0",
    "method: OPTIMIZER_METHOD_ADAMW amsgrad: true weight_decay: 0",
    "method: OPTIMIZER_METHOD_RMSPROP",
    "method: OPTIMIZER_METHOD_RMSPROP centered: true",
    "method: OPTIMIZER_METHOD_RMSPROP momentum: 0.5",
    "method: OPTIMIZER_METHOD_RMSPROP centered: true momentum: 0.5",
    "method: OPTIMIZER_METHOD_ADAGRAD",
};

// The same steps in float and in double, where squares of floats are never denormal; parameters start at zero. Tells
// the largest difference in the end, relative to the norm of the double ones.
class TinyGradientsTest : public ::testing::Test {
 protected:
  static constexpr int64_t kSize = 137;
  TinyGradientsTest() { layout_.Add("a", {kSize}, 0, v1::Initializer()); }

  // On every `period`-th step the gradients have magnitudes from 0.3 to 1 times `size`, else they are zero.
  double Difference(const std::string& spec, double size, int steps, int period) const {
    Training<float> floats(spec.c_str(), &layout_);
    Training<double> doubles(spec.c_str(), &layout_);
    floats.parameters.assign(floats.parameters.size(), 0);
    doubles.parameters.assign(doubles.parameters.size(), 0);
    Random random(8, RandomStream::kSyntheticData, 0);
    for (int step = 0; step < steps; ++step) {
      for (int64_t i = 0; i < kSize; ++i) {
        const double magnitude = size * (0.3 + 0.7 * random.NextUniform());
        // More often up than down.
        floats.gradients[i] = static_cast<float>(random.NextUniform() < 0.3 ? -magnitude : magnitude);
        if (step % period != 0) floats.gradients[i] = 0;
        doubles.gradients[i] = floats.gradients[i];
      }
      floats.optimizer->Step(0.01, floats.gradients, floats.parameters, &floats.record);
      doubles.optimizer->Step(0.01, doubles.gradients, doubles.parameters, &doubles.record);
    }
    double differences = 0, squares = 0;
    for (int64_t i = 0; i < kSize; ++i) {
      differences += std::pow(floats.parameters[i] - doubles.parameters[i], 2);
      squares += std::pow(doubles.parameters[i], 2);
    }
    EXPECT_GT(squares, 0);
    return std::sqrt(differences / squares);
  }

  ParameterLayout layout_;
};

// On both sides of the epsilon from which on denormal squares are flushed, some 1e-10.
TEST_F(TinyGradientsTest, FloatFollowsDoubleAtEveryEpsilon) {
  for (const char* const method : kDividing) {
    for (const char* const epsilon : {"1e-30", "1e-22", "1e-19", "1e-15", "1e-12", "3e-11", "1e-10", "3e-10", "1e-8"}) {
      for (const double size : {1e-20, 1e-19, 1e-18, 1e-16}) {
        const std::string spec = std::string(method) + " epsilon: " + epsilon;
        // Denormal squares are multiples of 1.4e-45: those of 1e-20 times 0.001 have two digits.
        const double limit = std::strtod(epsilon, nullptr) > 1e-13 ? 1e-5 : size < 5e-20 ? 0.1 : 0.01;
        EXPECT_LT(Difference(spec, size, 250, 1), limit) << spec << ", gradients of " << size;
      }
    }
  }
}

// As rows of an embedding have them: the squares must outlive the mean, and both what comes in between.
TEST_F(TinyGradientsTest, SquaresOutliveLongPauses) {
  for (const char* const method : kDividing) {
    const std::string spec = std::string(method) + " beta2: 0.999 epsilon: 1e-30";
    if (spec.find("ADAGRAD") != std::string::npos) continue;  // has no beta2
    EXPECT_LT(Difference(spec, 4e-19, 3'000, 500), 0.02) << spec;
  }
}

// A few gradients, zeros until the square is stuck (and Adam's mean has died), and one gradient whose own square is 0:
// it must be divided by the root of what is stuck. The limits are what a method can do at most where a gradient comes
// alone: (1 - beta1) / sqrt(1 - beta2) of the rate, and less where the last one is smaller than those before.
TEST_F(TinyGradientsTest, AGradientAfterAPauseIsNotDividedByEpsilonAlone) {
  struct Case {
    const char* spec;
    float first;
    int pause;
    float last;
    double at_least, at_most;  // size of the last update, in rates
  };
  const Case cases[] = {
      {"method: OPTIMIZER_METHOD_RMSPROP beta2: 0.99", 2e-21f, 2, 1e-22f, 0.48, 0.53},
      {"method: OPTIMIZER_METHOD_RMSPROP beta2: 0.99 momentum: 0.5", 2e-21f, 100, 1e-22f, 0.48, 0.53},
      {"method: OPTIMIZER_METHOD_RMSPROP beta2: 0.99 centered: true", 2e-21f, 600, 1e-22f, 0.48, 0.53},
      {"method: OPTIMIZER_METHOD_ADAM beta2: 0.999", 3e-20f, 3'000, 2e-22f, 0.01, 0.1},
      {"method: OPTIMIZER_METHOD_ADAM beta2: 0.999 amsgrad: true", 1e-20f, 1'000, 2e-22f, 0.02, 0.1},
      {"method: OPTIMIZER_METHOD_ADAMW beta2: 0.999 weight_decay: 0", 3e-20f, 3'000, 2e-22f, 0.01, 0.1},
      {"method: OPTIMIZER_METHOD_ADAMW beta2: 0.999 weight_decay: 0 amsgrad: true", 1e-20f, 1'000, 2e-22f, 0.02, 0.1},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.spec);
    Training<float> training((std::string(c.spec) + " epsilon: 1e-30").c_str(), &layout_);
    const auto step = [&](float gradient) {
      std::fill_n(training.gradients.begin(), kSize, gradient);
      training.parameters.assign(training.parameters.size(), 0);
      training.optimizer->Step(1, training.gradients, training.parameters, &training.record);
    };
    step(c.first);
    for (int i = 0; i < c.pause; ++i) step(0);
    step(c.last);
    for (int64_t i = 0; i < kSize; ++i) {
      ASSERT_LE(std::abs(training.parameters[i]), c.at_most) << i;
      ASSERT_GE(std::abs(training.parameters[i]), c.at_least) << i;
    }
  }
}

// Two epsilons that are the same float, on both sides of the one from which on denormal moments are flushed: the
// parameters are the same bit by bit, though the moments are not.
TEST(OptimizerTest, FlushingDoesNotShowBesideAnEpsilonThatHidesIt) {
  ParameterLayout layout;
  layout.Add("a", {1'000}, 0, v1::Initializer());
  const double bound = std::ldexp(std::sqrt(std::numeric_limits<float>::min() / (1 - 0.999)), 25);
  const std::string below = absl::StrFormat(" beta2: 0.999 epsilon: %.17g", bound * (1 - 1e-12));
  const std::string above = absl::StrFormat(" beta2: 0.999 epsilon: %.17g", bound * (1 + 1e-12));
  ASSERT_EQ(static_cast<float>(bound * (1 - 1e-12)), static_cast<float>(bound * (1 + 1e-12)));
  for (const char* const method : kDividing) {
    const std::string spec = method;
    if (spec.find("ADAGRAD") != std::string::npos) continue;  // flushes nothing
    SCOPED_TRACE(spec);
    Training<float> kept((spec + below).c_str(), &layout), flushed((spec + above).c_str(), &layout);
    bool differ = false;
    for (int step = 0; step < 400; ++step) {
      kept.Fill(step, &kept.gradients);
      // Of usual size, small, with denormal squares, and zeros: in turns by blocks of steps, shifted by the element.
      for (size_t i = 0; i < kept.gradients.size(); ++i) {
        const float sizes[] = {1, 1e-12f, 1e-19f, 1e-21f, 0};
        kept.gradients[i] *= sizes[(static_cast<size_t>(step) / 40 + i) % 5];
      }
      flushed.gradients = kept.gradients;
      kept.optimizer->Step(0.01, kept.gradients, kept.parameters, &kept.record);
      flushed.optimizer->Step(0.01, flushed.gradients, flushed.parameters, &flushed.record);
      ASSERT_EQ(flushed.parameters, kept.parameters) << step;
      differ |= !std::ranges::equal(flushed.optimizer->state(), kept.optimizer->state());
    }
    EXPECT_TRUE(differ) << "the two have the same rule";
  }
}

// So that they do not cost a hundred times as much for ever: beside an epsilon of usual size.
TEST(OptimizerTest, StateOfWhatHasDiedBecomesZero) {
  ParameterLayout layout;
  layout.Add("a", {45}, 0, v1::Initializer());
  for (const char* const method : kDividing) {
    if (absl::StrContains(method, "ADAGRAD")) continue;  // keeps its sums
    SCOPED_TRACE(method);
    Training<float> training(method, &layout);
    training.Step(0);
    for (float& gradient : training.gradients) gradient *= 1e-19f;
    training.optimizer->ResetMoments();
    for (int step = 0; step < 30'000; ++step) {
      training.optimizer->Step(0.01, training.gradients, training.parameters, &training.record);
      if (step == 20) training.gradients.assign(training.gradients.size(), 0);
    }
    for (const float number : training.optimizer->state()) ASSERT_EQ(number, 0);
  }
}

// State that only decays, because the gradients have become zero, ends at zero and not among the denormal numbers.
TEST(OptimizerTest, StateNeverBecomesDenormal) {
  ParameterLayout layout;
  layout.Add("a", {100}, 0, v1::Initializer());
  for (const Method& method : kMethods) {
    SCOPED_TRACE(method.spec);
    Training<float> training(method.spec, &layout);
    training.Step(0);
    for (float& gradient : training.gradients) gradient *= 1e-19f;
    for (int step = 0; step < 1500; ++step) {
      training.optimizer->Step(0.01, training.gradients, training.parameters, &training.record);
      for (const float number : training.optimizer->state()) ASSERT_NE(std::fpclassify(number), FP_SUBNORMAL) << step;
      if (step == 0) training.gradients.assign(training.gradients.size(), 0);
    }
  }
}

}  // namespace
}  // namespace gradwatch::core
