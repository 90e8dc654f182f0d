// What the rule about values that are not finite says where it looks at some tensors only.
#include "core/detect/non_finite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"

namespace gradwatch::core {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::vector<std::string> kNames = {"rnn0.weight_ih", "rnn0.weight_hh", "dense1.weight", "dense1.bias"};

v1::Alert Judge(const std::string& glob, const StepRecord& record, RunSignals* signals) {
  v1::Rule rule;
  rule.set_tensors(glob);
  NonFinite condition(rule, kNames);
  signals->BeginStep(record);
  const Verdict verdict = condition.Judge(record, *signals);
  EXPECT_EQ(verdict.kind, Verdict::Kind::kHolds);
  v1::Alert alert;
  condition.Describe(record, verdict, *signals, &alert);
  return alert;
}

// Two NaN in a tensor of the glob "dense*" and five in one outside of it.
StepRecord Broken() {
  StepRecord record;
  record.loss = 1;
  record.grad_norm = 1;
  record.tensors.resize(kNames.size());
  record.tensors[1].nan_count = 5;
  record.tensors[2].nan_count = 2;
  record.nan_count = 7;
  return record;
}

std::string Lines(const v1::Alert& alert) { return absl::StrJoin(alert.diagnosis(), "\n"); }

TEST(NonFiniteGlobTest, TellsOfItsOwnTensorsOnly) {
  RunSignals signals(kNames);
  StepRecord record = Broken();
  const v1::Alert counted = Judge("dense*", record, &signals);
  EXPECT_EQ(counted.summary(), "gradients of this rule's tensors hold 2 NaN; look at dense1.weight");
  EXPECT_EQ(Judge("", record, &signals).summary(), "the gradients hold 7 NaN; look at dense1.weight");

  record.tensors[0].weight_norm = NAN;
  const v1::Alert broken = Judge("dense*", record, &signals);
  EXPECT_EQ(broken.tensor(), "dense1.weight");
  EXPECT_THAT(Lines(broken), Not(HasSubstr("rnn0")));
  EXPECT_EQ(Judge("", record, &signals).tensor(), "rnn0.weight_ih");
}

TEST(NonFiniteGlobTest, ABrokenLossIsNotItsMatter) {
  RunSignals signals(kNames);
  StepRecord healthy;
  healthy.loss = 1;
  healthy.tensors.resize(kNames.size());
  healthy.tensors[1].l2_norm = healthy.grad_norm = 3;  // the largest is outside of the glob
  signals.BeginStep(healthy);
  signals.EndGradients(healthy);
  StepRecord record = Broken();
  record.step = 1;
  record.loss = INFINITY;
  const v1::Alert alert = Judge("dense*", record, &signals);
  EXPECT_EQ(alert.summary(), "gradients of this rule's tensors hold 2 NaN; look at dense1.weight");
  EXPECT_THAT(Lines(alert), HasSubstr("The forward pass broke"));
  EXPECT_THAT(Lines(alert), Not(HasSubstr("rnn0")));
  const v1::Alert all = Judge("", record, &signals);
  EXPECT_EQ(all.summary(), "the loss is +Inf and the gradients hold 7 NaN; look at rnn0.weight_hh");
}

}  // namespace
}  // namespace gradwatch::core
