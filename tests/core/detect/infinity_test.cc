// Infinity exceeds every limit: a rule of one's own that stands alone is not silent on the step that is worst of all,
// and what is not finite is in nobody's history.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/core/detect/detector_harness.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::DetectorHarness;
using ::gradwatch::testing::OneRule;
using ::testing::IsEmpty;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A rule that stands alone, and what makes its series large or infinite.
struct LoneRule {
  std::string name;
  v1::RuleSet rules;
  std::function<void(double, DetectorHarness*)> make;
};

void MakeNorm(double norm, DetectorHarness* harness) {
  if (std::isfinite(norm)) return harness->SetNorm(norm);
  // As it is measured: the norm is that of the finite elements.
  ++harness->tensor(1).pos_inf_count;
  ++harness->record().pos_inf_count;
}

std::vector<LoneRule> LoneRules() {
  v1::RuleSet limit = OneRule(), tensor_limit = OneRule(), spike = OneRule(), tensor_spike = OneRule(),
              jump = OneRule(), ratio = OneRule();
  limit.mutable_rules(0)->mutable_norm_limit()->set_max_norm(1e6);
  tensor_limit.mutable_rules(0)->mutable_norm_limit()->set_max_norm(1e6);
  tensor_limit.mutable_rules(0)->mutable_norm_limit()->set_per_tensor(true);
  spike.mutable_rules(0)->mutable_norm_spike();
  tensor_spike.mutable_rules(0)->mutable_norm_spike()->set_per_tensor(true);
  jump.mutable_rules(0)->mutable_loss_jump();
  ratio.mutable_rules(0)->mutable_update_ratio();
  const auto loss = [](double value, DetectorHarness* harness) { harness->record().loss = value; };
  const auto update = [](double value, DetectorHarness* harness) { harness->tensor(1).update_norm = value; };
  return {{"norm_limit", limit, MakeNorm}, {"norm_limit per tensor", tensor_limit, MakeNorm},
          {"norm_spike", spike, MakeNorm}, {"norm_spike per tensor", tensor_spike, MakeNorm},
          {"loss_jump", jump, loss},       {"update_ratio", ratio, update}};
}

TEST(InfinityTest, IsAboveTheLimitOfEveryLoneRuleAsAnyLargeNumberIs) {
  for (const LoneRule& rule : LoneRules()) {
    for (const double value : {1e15, 1e300, kInfinity}) {
      DetectorHarness harness(rule.rules);
      EXPECT_THAT(harness.HealthySteps(150), IsEmpty());
      rule.make(value, &harness);
      const std::vector<v1::Alert> alerts = harness.Step();
      ASSERT_EQ(alerts.size(), 1u) << rule.name << ", " << value;
      EXPECT_EQ(alerts[0].state(), v1::ALERT_STATE_FIRING);
      // Of a tensor only its share of a norm that all have in equal parts.
      EXPECT_GE(alerts[0].value(), value / 1001) << rule.name;
      EXPECT_EQ(std::isinf(alerts[0].value()), std::isinf(value)) << rule.name;
    }
  }
}

// A batch that is scaled by 1e39, more than a float holds: the loss is infinite, of the gradient one element is too and
// one is a NaN, and the update, if there is one, is broken. By 1e15 all is finite and large.
void ScaleBatch(double scale, DetectorHarness* harness) {
  if (scale < 1e38) {
    harness->record().loss = scale;
    harness->SetNorm(scale);
    return harness->SetUpdateRatio(scale);
  }
  harness->record().loss = kInfinity;
  harness->BreakTensor(0);
  MakeNorm(kInfinity, harness);
  for (const int tensor : {0, 1}) harness->tensor(tensor).update_norm = NAN;
}

TEST(InfinityTest, ABatchThatIsScaledByAnyFactorIsToldByEveryLoneRule) {
  for (const LoneRule& rule : LoneRules()) {
    for (const double scale : {1e15, 1e39}) {
      DetectorHarness harness(rule.rules);
      harness.HealthySteps(40);
      ScaleBatch(scale, &harness);
      EXPECT_EQ(harness.Step().size(), 1u) << rule.name << ", " << scale;
    }
  }
}

// Of a loss that is NaN nobody knows whether it has jumped: that is non_finite's business.
TEST(InfinityTest, NaNIsWorseThanAnyUpdate) {
  for (const LoneRule& rule : LoneRules()) {
    if (rule.name != "update_ratio") continue;
    DetectorHarness harness(rule.rules);
    harness.HealthySteps(40);
    rule.make(NAN, &harness);
    EXPECT_EQ(harness.Step().size(), 1u) << rule.name;
  }
}

TEST(InfinityTest, IsInNoHistory) {
  for (const LoneRule& rule : LoneRules()) {
    SCOPED_TRACE(rule.name);
    DetectorHarness harness(rule.rules);
    harness.HealthySteps(150);
    // Longer than any window.
    int transitions = 0;
    for (int i = 0; i < 250; ++i) {
      rule.make(kInfinity, &harness);
      for (const v1::Alert& alert : harness.Step()) {
        EXPECT_EQ(alert.state(), v1::ALERT_STATE_FIRING) << alert.summary();
        EXPECT_EQ(alert.episode(), 1);
        ++transitions;
      }
    }
    EXPECT_GE(transitions, 1);
    const std::vector<v1::Alert> after = harness.HealthySteps(20);
    ASSERT_EQ(after.size(), 1u);
    EXPECT_EQ(after[0].state(), v1::ALERT_STATE_RESOLVED);
    rule.make(rule.name.starts_with("norm_limit") ? 1e8 : 50, &harness);
    EXPECT_EQ(harness.Step().size(), 1u) << "what was usual is usual still";
  }
}

// With a norm that is not finite by itself, as a record without tensors may hold it.
TEST(InfinityTest, AnInfiniteNormWithoutCountsIsInfiniteToo) {
  for (const LoneRule& rule : LoneRules()) {
    if (rule.name != "norm_limit" && rule.name != "norm_spike") continue;
    DetectorHarness harness(rule.rules);
    harness.HealthySteps(40);
    harness.record().grad_norm = kInfinity;
    EXPECT_EQ(harness.Step().size(), 1u) << rule.name;
  }
}

}  // namespace
}  // namespace gradwatch::core
