#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <string>

#include "core/base/error.h"
#include "core/optim/optimizer.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;

v1::OptimizerSpec Parse(const std::string& text) {
  v1::OptimizerSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return spec;
}

TEST(OptimizerSpecTest, AcceptsWhatEachMethodReads) {
  const char* const specs[] = {
      "learning_rate: 1e-300",
      "learning_rate: 1 method: OPTIMIZER_METHOD_SGD momentum: 0.999 nesterov: true weight_decay: 1e-4",
      "learning_rate: 1 momentum: 0.5 dampening: 1 decoupled_decay: true",
      "learning_rate: 1 method: OPTIMIZER_METHOD_RMSPROP momentum: 0.5 beta2: 0 epsilon: 1 centered: true",
      "learning_rate: 1 method: OPTIMIZER_METHOD_ADAGRAD learning_rate_decay: 3 initial_accumulator: 0.1",
      "learning_rate: 1 method: OPTIMIZER_METHOD_ADAM beta1: 0 beta2: 0 amsgrad: true decoupled_decay: true",
      "learning_rate: 1 method: OPTIMIZER_METHOD_ADAMW decoupled_decay: true epsilon: 1e-30",
      "learning_rate: 1 schedule { method: METHOD_CONSTANT warmup_steps: 1000000000000 }",
      "learning_rate: 1 schedule { method: METHOD_STEP period: 1 gamma: 1 }",
      "learning_rate: 1 schedule { method: METHOD_COSINE final_rate: 1 horizon: 1 warmup_steps: 5 }",
      "learning_rate: 1 momentum: 0.1 schedule { method: METHOD_ONE_CYCLE cycle_momentum: true start_divisor: 1 }",
      "learning_rate: 1 schedule { method: METHOD_PLATEAU threshold: 0 cooldown: 0 average_steps: 7 period: 1 }",
  };
  for (const char* const text : specs) EXPECT_THAT(ValidateOptimizer(Parse(text)), IsOk()) << text;
}

struct BadSpec {
  const char* field;
  const char* part;     // of the description
  const char* options;  // besides a good learning rate
};

TEST(OptimizerSpecTest, NamesTheFieldAndTheValue) {
  const BadSpec cases[] = {
      {"momentum", "must be at least 0 and below 1; got 1", "momentum: 1"},
      {"momentum", "got -0.1", "momentum: -0.1"},
      {"momentum", "got nan", "momentum: nan"},
      {"momentum", "is only for SGD, RMSPROP", "method: OPTIMIZER_METHOD_ADAM momentum: 0.9"},
      {"nesterov", "needs a momentum", "nesterov: true"},
      {"nesterov", "is only for SGD", "method: OPTIMIZER_METHOD_RMSPROP nesterov: false"},
      {"dampening", "must be at least 0 and at most 1; got 2", "momentum: 0.5 dampening: 2"},
      {"dampening", "needs a momentum", "dampening: 0.5"},
      {"dampening", "must be 0 with nesterov; got 0.5", "momentum: 0.5 nesterov: true dampening: 0.5"},
      {"weight_decay", "must be at least 0; got -1", "weight_decay: -1"},
      {"weight_decay", "got inf", "weight_decay: inf"},
      {"decoupled_decay", "always true with ADAMW", "method: OPTIMIZER_METHOD_ADAMW decoupled_decay: false"},
      {"beta1", "is only for ADAM, ADAMW", "beta1: 0.9"},
      {"beta1", "got 1", "method: OPTIMIZER_METHOD_ADAM beta1: 1"},
      {"beta2", "is only for RMSPROP, ADAM, ADAMW", "method: OPTIMIZER_METHOD_ADAGRAD beta2: 0.9"},
      {"beta2", "got -1", "method: OPTIMIZER_METHOD_RMSPROP beta2: -1"},
      {"epsilon", "must be at least 1e-30; got 0", "method: OPTIMIZER_METHOD_ADAM epsilon: 0"},
      {"epsilon", "is only for RMSPROP, ADAGRAD, ADAM, ADAMW", "epsilon: 1e-8"},
      {"centered", "is only for RMSPROP", "centered: true"},
      {"amsgrad", "is only for ADAM, ADAMW", "amsgrad: true"},
      {"learning_rate_decay", "is only for ADAGRAD", "learning_rate_decay: 0"},
      {"learning_rate_decay", "got -1", "method: OPTIMIZER_METHOD_ADAGRAD learning_rate_decay: -1"},
      {"initial_accumulator", "got -1", "method: OPTIMIZER_METHOD_ADAGRAD initial_accumulator: -1"},
      {"method", "is not a method; got 42", "method: 42"},
      {"schedule.method", "is not a method; got 42", "schedule { method: 42 }"},
      {"schedule.warmup_steps", "at least 0 and at most 1e+12; got -5", "schedule { warmup_steps: -5 }"},
      {"schedule.warmup_steps", "is only for CONSTANT, STEP", "schedule { method: METHOD_ONE_CYCLE warmup_steps: 5 }"},
      {"schedule.period", "is required by STEP", "schedule { method: METHOD_STEP }"},
      {"schedule.period", "is only for STEP, PLATEAU", "schedule { period: 5 }"},
      {"schedule.period", "got 0", "schedule { method: METHOD_STEP period: 0 }"},
      {"schedule.gamma", "is required by EXPONENTIAL", "schedule { method: METHOD_EXPONENTIAL }"},
      {"schedule.gamma", "above 0 and at most 1; got 0", "schedule { method: METHOD_EXPONENTIAL gamma: 0 }"},
      {"schedule.gamma", "got 1.5", "schedule { method: METHOD_PLATEAU gamma: 1.5 }"},
      {"schedule.final_rate", "is only for COSINE, PLATEAU", "schedule { final_rate: 0 }"},
      {"schedule.final_rate", "at most the learning rate 0.1; got 0.2",
       "schedule { method: METHOD_COSINE final_rate: 0.2 }"},
      {"schedule.horizon", "got 0", "schedule { method: METHOD_COSINE horizon: 0 }"},
      {"schedule.rise_fraction", "got 1.5", "schedule { method: METHOD_ONE_CYCLE rise_fraction: 1.5 }"},
      {"schedule.start_divisor", "at least 1; got 0.5", "schedule { method: METHOD_ONE_CYCLE start_divisor: 0.5 }"},
      {"schedule.end_divisor", "got inf", "schedule { method: METHOD_ONE_CYCLE end_divisor: inf }"},
      {"schedule.cycle_momentum", "needs an optimizer with a momentum",
       "schedule { method: METHOD_ONE_CYCLE cycle_momentum: true }"},
      {"schedule.min_momentum", "must be at most max_momentum 0.95; got 0.99",
       "schedule { method: METHOD_ONE_CYCLE min_momentum: 0.99 }"},
      {"schedule.max_momentum", "above 0 and below 1; got 1", "schedule { method: METHOD_ONE_CYCLE max_momentum: 1 }"},
      {"schedule.threshold", "got 1", "schedule { method: METHOD_PLATEAU threshold: 1 }"},
      {"schedule.cooldown", "got -1", "schedule { method: METHOD_PLATEAU cooldown: -1 }"},
      {"schedule.average_steps", "got 0", "schedule { method: METHOD_PLATEAU average_steps: 0 }"},
  };
  for (const BadSpec& bad : cases) {
    const auto violations =
        GetFieldViolations(ValidateOptimizer(Parse(std::string("learning_rate: 0.1 ") + bad.options)));
    ASSERT_EQ(violations.size(), 1u) << bad.options;
    EXPECT_EQ(violations[0].field, bad.field) << bad.options;
    EXPECT_THAT(violations[0].description, ::testing::HasSubstr(bad.part)) << bad.options;
  }
  for (const char* const rate : {"0", "-1", "nan", "inf"}) {
    const auto violations = GetFieldViolations(ValidateOptimizer(Parse(std::string("learning_rate: ") + rate)));
    ASSERT_EQ(violations.size(), 1u) << rate;
    EXPECT_EQ(violations[0].field, "learning_rate");
    EXPECT_THAT(violations[0].description, ::testing::HasSubstr(std::string("got ") + rate));
  }
}

// What is written out here is what PyTorch does without options.
TEST(OptimizerSpecTest, ResolvesDefaultsAndKeepsTheRest) {
  const struct {
    const char* given;
    const char* resolved;
  } cases[] = {
      {"learning_rate: 0.1",
       "method: OPTIMIZER_METHOD_SGD learning_rate: 0.1 momentum: 0 dampening: 0 nesterov: false weight_decay: 0 "
       "decoupled_decay: false schedule { method: METHOD_CONSTANT warmup_steps: 0 }"},
      {"learning_rate: 0.1 momentum: 0.9 weight_decay: 0.01 schedule { method: METHOD_ONE_CYCLE }",
       "method: OPTIMIZER_METHOD_SGD learning_rate: 0.1 momentum: 0.9 dampening: 0 nesterov: false weight_decay: 0.01 "
       "decoupled_decay: false schedule { method: METHOD_ONE_CYCLE rise_fraction: 0.3 start_divisor: 25 "
       "end_divisor: 1e4 cycle_momentum: true min_momentum: 0.85 max_momentum: 0.95 }"},
      {"method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.1 schedule { method: METHOD_STEP period: 3 }",
       "method: OPTIMIZER_METHOD_RMSPROP learning_rate: 0.1 momentum: 0 weight_decay: 0 beta2: 0.99 epsilon: 1e-8 "
       "centered: false decoupled_decay: false schedule { method: METHOD_STEP warmup_steps: 0 period: 3 gamma: 0.1 }"},
      {"method: OPTIMIZER_METHOD_ADAGRAD learning_rate: 0.1 schedule { method: METHOD_PLATEAU }",
       "method: OPTIMIZER_METHOD_ADAGRAD learning_rate: 0.1 weight_decay: 0 epsilon: 1e-10 learning_rate_decay: 0 "
       "initial_accumulator: 0 decoupled_decay: false schedule { method: METHOD_PLATEAU warmup_steps: 0 period: 10 "
       "gamma: 0.1 final_rate: 0 threshold: 1e-4 cooldown: 0 average_steps: 1 }"},
      {"method: OPTIMIZER_METHOD_ADAM learning_rate: 0.1 schedule { method: METHOD_COSINE }",
       "method: OPTIMIZER_METHOD_ADAM learning_rate: 0.1 weight_decay: 0 beta1: 0.9 beta2: 0.999 epsilon: 1e-8 "
       "amsgrad: false decoupled_decay: false schedule { method: METHOD_COSINE warmup_steps: 0 final_rate: 0 }"},
      {"method: OPTIMIZER_METHOD_ADAMW learning_rate: 0.1",
       "method: OPTIMIZER_METHOD_ADAMW learning_rate: 0.1 weight_decay: 0.01 beta1: 0.9 beta2: 0.999 epsilon: 1e-8 "
       "amsgrad: false decoupled_decay: true schedule { method: METHOD_CONSTANT warmup_steps: 0 }"},
  };
  for (const auto& c : cases) {
    const v1::OptimizerSpec resolved = ResolveOptimizer(Parse(c.given));
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(resolved, Parse(c.resolved)))
        << resolved.ShortDebugString();
    // The server stores what is resolved and the worker checks and resolves it again.
    EXPECT_THAT(ValidateOptimizer(resolved), IsOk()) << c.given;
    EXPECT_EQ(ResolveOptimizer(resolved).SerializeAsString(), resolved.SerializeAsString());
  }
}

}  // namespace
}  // namespace gradwatch::core
