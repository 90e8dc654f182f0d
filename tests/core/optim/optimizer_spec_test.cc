#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/optim/optimizer.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;

v1::OptimizerSpec Valid() {
  v1::OptimizerSpec spec;
  spec.set_learning_rate(0.1);
  return spec;
}

TEST(OptimizerSpecTest, AcceptsWhatIsServed) {
  EXPECT_THAT(ValidateOptimizer(Valid()), IsOk());
  v1::OptimizerSpec spec = Valid();
  spec.set_method(v1::OPTIMIZER_METHOD_SGD);
  spec.set_momentum(0.999);
  spec.set_nesterov(true);
  spec.set_weight_decay(1e-4);
  spec.mutable_schedule()->set_method(v1::ScheduleSpec::METHOD_CONSTANT);
  spec.mutable_schedule()->set_warmup_steps(0);
  EXPECT_THAT(ValidateOptimizer(spec), IsOk());
  EXPECT_EQ(OptimizerStatePerParameter(spec), 1);
  EXPECT_EQ(OptimizerStatePerParameter(Valid()), 0);
}

struct BadSpec {
  std::string field;
  std::string part;  // of the description
  std::function<void(v1::OptimizerSpec*)> spoil;
};

TEST(OptimizerSpecTest, NamesTheFieldAndTheValue) {
  const std::vector<BadSpec> cases = {
      {"learning_rate", "is 0", [](auto* s) { s->clear_learning_rate(); }},
      {"learning_rate", "is -1", [](auto* s) { s->set_learning_rate(-1); }},
      {"learning_rate", "nan", [](auto* s) { s->set_learning_rate(NAN); }},
      {"learning_rate", "inf", [](auto* s) { s->set_learning_rate(INFINITY); }},
      {"momentum", "is 1", [](auto* s) { s->set_momentum(1); }},
      {"momentum", "is -0.1", [](auto* s) { s->set_momentum(-0.1); }},
      {"momentum", "nan", [](auto* s) { s->set_momentum(NAN); }},
      {"nesterov", "needs a momentum", [](auto* s) { s->set_nesterov(true); }},
      {"weight_decay", "is -1", [](auto* s) { s->set_weight_decay(-1); }},
      {"weight_decay", "inf", [](auto* s) { s->set_weight_decay(INFINITY); }},
      {"beta1", "nan", [](auto* s) { s->set_beta1(NAN); }},
      {"epsilon", "inf", [](auto* s) { s->set_epsilon(INFINITY); }},
      {"method", "OPTIMIZER_METHOD_ADAM is not served yet", [](auto* s) { s->set_method(v1::OPTIMIZER_METHOD_ADAM); }},
      {"method", "42", [](auto* s) { s->set_method(static_cast<v1::OptimizerMethod>(42)); }},
      {"schedule.method", "METHOD_COSINE is not served yet",
       [](auto* s) { s->mutable_schedule()->set_method(v1::ScheduleSpec::METHOD_COSINE); }},
      {"schedule.warmup_steps", "not served yet, is 5", [](auto* s) { s->mutable_schedule()->set_warmup_steps(5); }},
  };
  for (const BadSpec& bad : cases) {
    v1::OptimizerSpec spec = Valid();
    bad.spoil(&spec);
    const auto violations = GetFieldViolations(ValidateOptimizer(spec));
    ASSERT_EQ(violations.size(), 1u) << bad.field << " " << bad.part;
    EXPECT_EQ(violations[0].field, bad.field);
    EXPECT_THAT(violations[0].description, ::testing::HasSubstr(bad.part));
  }
}

TEST(OptimizerSpecTest, ResolvesDefaultsAndKeepsTheRest) {
  const v1::OptimizerSpec defaults = ResolveOptimizer(Valid());
  EXPECT_EQ(defaults.method(), v1::OPTIMIZER_METHOD_SGD);
  EXPECT_TRUE(defaults.has_momentum() && defaults.momentum() == 0);
  EXPECT_TRUE(defaults.has_nesterov() && !defaults.nesterov());
  EXPECT_TRUE(defaults.has_weight_decay() && defaults.weight_decay() == 0);
  EXPECT_EQ(defaults.schedule().method(), v1::ScheduleSpec::METHOD_CONSTANT);
  EXPECT_EQ(defaults.learning_rate(), 0.1);
  EXPECT_EQ(ResolveOptimizer(defaults).SerializeAsString(), defaults.SerializeAsString());

  v1::OptimizerSpec given = Valid();
  given.set_momentum(0.9);
  given.set_weight_decay(0.01);
  EXPECT_EQ(ResolveOptimizer(given).momentum(), 0.9);
  EXPECT_EQ(ResolveOptimizer(given).weight_decay(), 0.01);
}

}  // namespace
}  // namespace gradwatch::core
