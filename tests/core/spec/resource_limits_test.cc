#include "core/spec/resource_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/base/error.h"
#include "core/detect/detector.h"
#include "core/optim/optimizer.h"
#include "core/spec/controls.h"
#include "core/stats/gradient_cosine.h"
#include "core/stats/step_record.h"
#include "tests/support/allocation_count.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Change = std::function<void(v1::JobSpec*)>;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr int64_t kMebibyte = 1 << 20;

// Layers of three units, two tensors each.
v1::JobSpec Spec(int layers = 1) {
  v1::JobSpec spec;
  spec.set_steps(100);
  spec.mutable_data()->set_batch_size(4);
  spec.mutable_data()->mutable_spirals()->set_arms(3);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY);
  for (int i = 0; i < layers; ++i) spec.mutable_model()->add_layers()->mutable_dense()->set_units(3);
  return spec;
}

v1::ResourceEstimate Estimate(const v1::JobSpec& spec) {
  const auto job = ValidateJob(spec, DataRoots(), SpecLimits());
  EXPECT_THAT(job, IsOk());
  return job.ok() ? job->estimate : v1::ResourceEstimate();
}

v1::ResourceEstimate Estimate(v1::JobSpec spec, const Change& change) {
  change(&spec);
  return Estimate(spec);
}

void AddSpikeRules(int count, int window, v1::JobSpec* spec) {
  for (int i = 0; i < count; ++i) {
    v1::Rule& rule = *spec->mutable_rules()->add_rules();
    rule.set_name(absl::StrCat("rule", i));
    rule.mutable_norm_spike()->set_window(window);
    rule.mutable_norm_spike()->set_per_tensor(true);
  }
}

// Weight [3, 2] and bias [3] have a cache line each, of 16 floats: 128 bytes an arena.
TEST(ResourceEstimateTest, CountsArenasWithTheirGaps) {
  const v1::JobSpec spec = Spec();
  EXPECT_EQ(Estimate(spec).parameters(), 9);
  EXPECT_EQ(Estimate(spec).parameter_bytes(), 2 * 128);
  const struct {
    Change change;
    int64_t arenas;
  } cases[] = {
      {[](auto* s) { s->set_accumulation(2); }, 4},  // the sum is of doubles
      {[](auto* s) { s->set_accumulation(1); }, 2},
      {[](auto* s) { s->mutable_controls()->set_gradient_cosine(true); }, 3},
      {[](auto* s) { s->mutable_optimizer()->set_momentum(0.9); }, 3},
      {[](auto* s) { s->mutable_optimizer()->set_method(v1::OPTIMIZER_METHOD_ADAM); }, 4},
      {[](auto* s) {
         s->set_accumulation(9);
         s->mutable_controls()->set_gradient_cosine(true);
         s->mutable_optimizer()->set_method(v1::OPTIMIZER_METHOD_ADAMW);
         s->mutable_optimizer()->set_amsgrad(true);
       },
       8},
  };
  for (const auto& c : cases) EXPECT_EQ(Estimate(spec, c.change).parameter_bytes(), c.arenas * 128);
}

TEST(ResourceEstimateTest, TheSumIsOfAllPartsAndNeverWraps) {
  v1::ResourceEstimate estimate;
  int64_t expected = 0, power = 1;
  const google::protobuf::Descriptor& fields = *v1::ResourceEstimate::descriptor();
  for (int i = 0; i < fields.field_count(); ++i, power *= 2) {
    if (fields.field(i)->name() == "parameters") continue;
    estimate.GetReflection()->SetInt64(&estimate, fields.field(i), power);
    expected += power;
  }
  EXPECT_EQ(EstimatedBytes(estimate), expected);
  estimate.set_data_bytes(std::numeric_limits<int64_t>::max());
  EXPECT_EQ(EstimatedBytes(estimate), std::numeric_limits<int64_t>::max());
}

TEST(ResourceEstimateTest, CountsHistoriesOfRulesByWhatTheyMatch) {
  const v1::JobSpec spec = Spec(10);  // 20 tensors, 10 of them weights
  const int64_t none = Estimate(spec).watch_bytes();
  const int64_t all = Estimate(spec, [](auto* s) { AddSpikeRules(5, 10'000, s); }).watch_bytes();
  const int64_t weights = Estimate(spec, [](auto* s) {
                            AddSpikeRules(5, 10'000, s);
                            for (auto& rule : *s->mutable_rules()->mutable_rules()) rule.set_tensors("*.weight");
                          }).watch_bytes();
  // Two windows of doubles, each sorted and by age.
  EXPECT_NEAR(all - none, 5 * 20 * 10'000 * 25, 100'000);
  EXPECT_NEAR(weights - none, 5 * 10 * 10'000 * 25, 100'000);
}

TEST(ResourceEstimateTest, CountsStatisticsAndHistoriesOfClipping) {
  const v1::JobSpec few = Spec(2), many = Spec(202);
  EXPECT_GE(Estimate(many).watch_bytes() - Estimate(few).watch_bytes(),
            400 * static_cast<int64_t>(sizeof(TensorStatistics)));
  const int64_t none = Estimate(few).watch_bytes();
  const int64_t autoclip = Estimate(few, [](auto* s) {
                             v1::ClipSettings& clip = *s->mutable_controls()->mutable_clip();
                             clip.set_mode(v1::CLIP_MODE_AUTOCLIP);
                             clip.mutable_autoclip()->set_history(50'000);
                           }).watch_bytes();
  EXPECT_EQ(autoclip - none, 50'000 * 16);
}

// Beyond 64 MiB only where four records take more; 4.6 kB a layer here.
TEST(ResourceEstimateTest, CountsTheRingOfReports) {
  for (const int64_t steps : {int64_t{50'000}, int64_t{1'000'000'000'000}}) {
    const auto set_steps = [steps](auto* s) { s->set_steps(steps); };
    EXPECT_NEAR(Estimate(Spec(), set_steps).report_bytes(), 64 * kMebibyte, 3 * kMebibyte) << steps;
    EXPECT_GE(Estimate(Spec(9000), set_steps).report_bytes(), int64_t{5} * 9000 * 2 * 2100) << steps;
  }
}

TEST(ResourceEstimateTest, CountsNoMoreReportsThanTheJobHasSteps) {
  const int64_t record = 2 * static_cast<int64_t>(sizeof(TensorStatistics));
  for (const int64_t steps : {4, 64, 100, 6400}) {
    const int64_t bytes = Estimate(Spec(), [steps](auto* s) { s->set_steps(steps); }).report_bytes();
    EXPECT_GE(bytes, steps * record) << steps;
    // Up to 63 more, the record that is read, and what belongs to no tensor.
    EXPECT_LE(bytes, (steps + 64) * (record + record / 4) + 16'000) << steps;
  }
  EXPECT_LT(EstimatedBytes(Estimate(Spec())), 66 * kMebibyte) << "a short small job";
  EXPECT_GE(Estimate(Spec(9000), [](auto* s) { s->set_steps(1); }).report_bytes(), int64_t{5} * 9000 * 2 * 2100);
}

// Drawn as doubles, beside the parameters alone: the rest comes later.
TEST(ResourceEstimateTest, CountsTheStartBeyondWhatComesLater) {
  v1::JobSpec spec = Spec();
  v1::Dense& dense = *spec.mutable_model()->mutable_layers(0)->mutable_dense();
  dense.set_units(2000);
  spec.mutable_data()->mutable_gaussian_clusters()->set_classes(3);
  spec.mutable_data()->mutable_gaussian_clusters()->set_features(2000);
  spec.mutable_model()->add_layers()->mutable_dense()->set_units(3);
  EXPECT_EQ(Estimate(spec).start_bytes(), 0);
  dense.mutable_weight_init()->set_method(v1::INITIALIZER_METHOD_ORTHOGONAL);
  const int64_t tensor = 2000 * 2000 * 4;
  EXPECT_GE(Estimate(spec).start_bytes(), tensor * 9 / 10) << "two, of which the gradients are one";
  EXPECT_LE(Estimate(spec).start_bytes(), tensor * 2);
  spec.mutable_optimizer()->set_method(v1::OPTIMIZER_METHOD_ADAM);
  EXPECT_EQ(Estimate(spec).start_bytes(), 0);
}

TEST(ResourceLimitsTest, RulesThatTakeGigabytesAreRefusedBeforeAnythingIsTaken) {
  v1::JobSpec spec = Spec(500);
  spec.mutable_rules()->set_preset("none");
  AddSpikeRules(64, 10'000, &spec);
  testing::RestartPeak();
  const int64_t before = testing::AllocatedBytes();
  const absl::Status status = ValidateJob(spec, DataRoots(), SpecLimits()).status();
  EXPECT_LT(testing::PeakAllocatedBytes() - before, 50 * kMebibyte);
  EXPECT_THAT(
      status,
      StatusIs(kInvalid, AllOf(HasSubstr("rules: "), HasSubstr(" GiB) exceed the limit of 8589934592 (8.0 GiB): "),
                               HasSubstr("for statistics and the histories of rules"), Not(HasSubstr("activations")))));
  EXPECT_EQ(GetReason(status), "QUOTA_MEMORY");
  ASSERT_EQ(GetFieldViolations(status).size(), 1u);
  EXPECT_EQ(GetFieldViolations(status)[0].field, "rules");
}

TEST(ResourceLimitsTest, TellsThePartsThatMatterTheLargestFirst) {
  v1::ResourceEstimate estimate;
  estimate.set_activation_bytes(700);
  estimate.set_data_bytes(280);
  estimate.set_process_bytes(15);
  const absl::Status status = CheckLimits(estimate, ParameterLayout(), /*batch_size=*/2, {.max_bytes = 994});
  EXPECT_THAT(status,
              StatusIs(kInvalid, HasSubstr("data.batch_size: 995 bytes exceed the limit of 994: 700 for activations, "
                                           "280 for data")));
  EXPECT_THAT(status.message(), Not(HasSubstr("program")));
  EXPECT_THAT(CheckLimits(estimate, ParameterLayout(), /*batch_size=*/2, {.max_bytes = 995}), IsOk());
}

// For people, beside the exact number.
TEST(ResourceLimitsTest, TellsMemoryInUnits) {
  v1::ResourceEstimate estimate;
  estimate.set_activation_bytes(33'351'594'286);
  const auto refusal = [&](int64_t batch_size) {
    return std::string(CheckLimits(estimate, ParameterLayout(), batch_size, {.max_bytes = 8'589'934'592}).message());
  };
  constexpr char kNumbers[] =
      "33351594286 bytes (31.1 GiB) exceed the limit of 8589934592 (8.0 GiB): 33351594286 (31.1 GiB) for activations";
  EXPECT_EQ(refusal(4096), absl::StrCat("data.batch_size: ", kNumbers));
  EXPECT_EQ(refusal(1), absl::StrCat("model: ", kNumbers)) << "no batch is smaller";
}

TEST(ResourceLimitsTest, EveryPartIsTold) {
  const google::protobuf::Descriptor& fields = *v1::ResourceEstimate::descriptor();
  for (int i = 0; i < fields.field_count(); ++i) {
    if (fields.field(i)->name() == "parameters") continue;
    v1::ResourceEstimate estimate;
    estimate.GetReflection()->SetInt64(&estimate, fields.field(i), 1000);
    const absl::Status status = CheckLimits(estimate, ParameterLayout(), /*batch_size=*/2, {.max_bytes = 999});
    EXPECT_THAT(status, StatusIs(kInvalid, ::testing::ContainsRegex(": 1000 for [a-z]|takes 1000")))
        << fields.field(i)->name();
    EXPECT_EQ(GetReason(status), "QUOTA_MEMORY");
  }
}

// Of the reports the steps, as far as they are what makes them many; of the program nothing but its share of the model.
TEST(ResourceLimitsTest, NamesWhatCanBeChanged) {
  const auto refused_field = [](const v1::JobSpec& spec, int64_t missing) {
    const int64_t limit = EstimatedBytes(Estimate(spec)) - missing;
    const absl::Status status = ValidateJob(spec, DataRoots(), {.max_bytes = limit}).status();
    EXPECT_EQ(GetReason(status), "QUOTA_MEMORY") << status;
    const auto violations = GetFieldViolations(status);
    return violations.size() == 1 ? violations[0].field : "none";
  };
  v1::JobSpec spec = Spec();
  spec.set_steps(1'000'000);
  EXPECT_EQ(refused_field(spec, 60 * kMebibyte), "steps");
  EXPECT_EQ(refused_field(Spec(9000), 60 * kMebibyte), "model");
  spec.set_steps(1);
  spec.mutable_data()->set_batch_size(100'000);
  EXPECT_EQ(refused_field(spec, 1), "data.batch_size") << "activations, though the program takes more";
  AddSpikeRules(40, 10'000, &spec);
  EXPECT_EQ(refused_field(spec, 1), "rules") << "though the program takes more";
}

TEST(ResourceLimitsTest, ALimitThatIsTooSmallForAnyJobIsSaidToBeOne) {
  const absl::Status status = ValidateJob(Spec(), DataRoots(), {.max_bytes = 50 * kMebibyte}).status();
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("the limit of 52428800 bytes (50.0 MiB) is too small for any job: "
                                                   "the program takes 67108864 (64.0 MiB)")));
  EXPECT_EQ(GetReason(status), "QUOTA_MEMORY");
  EXPECT_TRUE(GetFieldViolations(status).empty());
}

// A job whose estimate leaves `spare` bytes of the limit.
class ControlsMemoryTest : public ::testing::Test {
 protected:
  ControlsMemoryTest() {
    const auto validated = ValidateJob(Spec(), DataRoots(), SpecLimits());
    EXPECT_THAT(validated, IsOk());
    *job_.mutable_spec() = validated->spec;
    *job_.mutable_estimate() = validated->estimate;
    *job_.mutable_controls() = validated->spec.controls();
  }
  absl::Status Check(const v1::Controls& changed, int64_t spare) {
    return CheckControlsMemory(job_, changed, {.max_bytes = EstimatedBytes(job_.estimate()) + spare});
  }
  v1::Controls WithAutoClip(int history) const {
    v1::Controls controls = job_.controls();
    controls.mutable_clip()->set_mode(v1::CLIP_MODE_AUTOCLIP);
    controls.mutable_clip()->mutable_autoclip()->set_history(history);
    return controls;
  }

  v1::Job job_;
};

TEST_F(ControlsMemoryTest, CountsTheCopyOfTheGradients) {
  v1::Controls changed = job_.controls();
  changed.set_gradient_cosine(true);
  EXPECT_THAT(Check(changed, 128), IsOk());
  const absl::Status status = Check(changed, 127);
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("gradient_cosine: the copy of the gradients takes 128 bytes")));
  EXPECT_EQ(GetReason(status), "QUOTA_MEMORY");
}

TEST_F(ControlsMemoryTest, CountsTheHistoryOfAMode) {
  EXPECT_THAT(Check(WithAutoClip(1000), 16'000), IsOk());
  const absl::Status status = Check(WithAutoClip(1000), 15'999);
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("clip: the history of the norms takes 16000 bytes")));
  EXPECT_EQ(GetReason(status), "QUOTA_MEMORY");
}

TEST_F(ControlsMemoryTest, WhileAHistoryChangesItsLengthTheOldOneIsThereToo) {
  *job_.mutable_controls() = WithAutoClip(1000);
  EXPECT_THAT(Check(WithAutoClip(500), 24'000), IsOk());
  EXPECT_THAT(Check(WithAutoClip(500), 23'999), StatusIs(kInvalid, HasSubstr("clip: ")));
  EXPECT_THAT(Check(WithAutoClip(1000), 0), IsOk()) << "nothing changes";
}

// A jump of the loss keeps its window: of each loss a double at least.
TEST_F(ControlsMemoryTest, CountsTheHistoriesOfRulesBesideThoseThatGo) {
  const auto with_window = [this](int window) {
    v1::Controls controls = job_.controls();
    controls.mutable_rules()->set_preset("none");
    v1::Rule* const rule = controls.mutable_rules()->add_rules();
    rule->set_name("jump");
    rule->mutable_loss_jump()->set_window(window);
    return ResolveControls(controls);
  };
  EXPECT_THAT(Check(with_window(10'000), 1 << 20), IsOk());
  const absl::Status status = Check(with_window(10'000), 10'000);
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("rules: what the rules keep takes ")));
  EXPECT_EQ(GetReason(status), "QUOTA_MEMORY");
  ASSERT_EQ(GetFieldViolations(status).size(), 1u);
  EXPECT_EQ(GetFieldViolations(status)[0].field, "rules");
  *job_.mutable_controls() = with_window(10'000);
  EXPECT_THAT(Check(job_.controls(), 0), IsOk()) << "nothing changes";
}

// Rules match their globs with the names of all tensors, and edits are checked one after the other.
TEST_F(ControlsMemoryTest, RulesAreNotCountedForAnEditOfSomethingElse) {
  std::vector<std::string> names;
  for (int i = 0; i < 20'000; ++i) {
    names.push_back(absl::StrCat("model.layers.", i, ".attention.weight"));
    job_.add_tensors()->set_name(names.back());
  }
  v1::RuleSet* const rules = job_.mutable_controls()->mutable_rules();
  rules->set_preset("none");
  for (int i = 0; i < 64; ++i) {
    v1::Rule* const rule = rules->add_rules();
    rule->set_name(absl::StrCat("r", i));
    rule->set_tensors("*a*e*t*w*x");
    rule->mutable_norm_spike()->set_per_tensor(true);
  }
  *job_.mutable_controls() = ResolveControls(job_.controls());
  v1::Controls changed = job_.controls();
  changed.set_learning_rate_scale(0.5);
  const auto best_of_three = [](const auto& work) {
    absl::Duration best = absl::InfiniteDuration();
    for (int i = 0; i < 3; ++i) {
      const absl::Time start = absl::Now();
      work();
      best = std::min(best, absl::Now() - start);
    }
    return best;
  };
  const absl::Duration counted = best_of_three([&] { DetectorBytes(changed.rules(), names); });
  const absl::Duration checked = best_of_three([&] { EXPECT_THAT(Check(changed, 0), IsOk()); });
  EXPECT_LT(checked, counted / 5);
}

// The sum has what rules that were changed before take, also where an edit is about something else.
TEST_F(ControlsMemoryTest, RulesThatStayCountWithWhatIsAdded) {
  v1::RuleSet* const rules = job_.mutable_controls()->mutable_rules();
  *rules = job_.spec().rules();
  v1::Rule* const rule = rules->add_rules();
  rule->set_name("jump");
  rule->mutable_loss_jump()->set_window(10'000);
  *job_.mutable_controls() = ResolveControls(job_.controls());
  v1::Controls changed = job_.controls();
  changed.set_gradient_cosine(true);
  EXPECT_THAT(Check(changed, 1 << 20), IsOk());
  EXPECT_THAT(Check(changed, 10'000), StatusIs(kInvalid, HasSubstr("gradient_cosine: ")));
}

TEST_F(ControlsMemoryTest, WhatGivesMemoryBackIsNeverRefused) {
  *job_.mutable_controls() = WithAutoClip(1000);
  v1::Controls changed = job_.controls();
  changed.mutable_clip()->set_mode(v1::CLIP_MODE_NONE);
  changed.set_learning_rate_scale(0.5);
  EXPECT_THAT(Check(changed, -1'000'000), IsOk());
}

// Both changes together: none is judged by itself.
TEST_F(ControlsMemoryTest, WhatRunsAlreadyIsCountedWithAChange) {
  job_.mutable_controls()->set_gradient_cosine(true);
  EXPECT_THAT(Check(WithAutoClip(1000), 16'000 + 128), IsOk());
  EXPECT_THAT(Check(WithAutoClip(1000), 16'000 + 127), StatusIs(kInvalid, HasSubstr("clip: ")));
}

TEST_F(ControlsMemoryTest, TwoThatGrowAreToldApart) {
  v1::Controls changed = WithAutoClip(1000);
  changed.set_gradient_cosine(true);
  EXPECT_THAT(Check(changed, 16'000 + 128), IsOk());
  EXPECT_THAT(Check(changed, 16'000 + 127),
              StatusIs(kInvalid, HasSubstr("clip: the copy of the gradients takes 128 bytes, the history of the norms "
                                           "takes 16000 bytes; the job would need ")));
  // One that shrinks is not told.
  *job_.mutable_controls() = WithAutoClip(1000);
  v1::Controls other = job_.controls();
  other.mutable_clip()->set_mode(v1::CLIP_MODE_NONE);
  other.set_gradient_cosine(true);
  job_.mutable_controls()->mutable_clip()->mutable_autoclip()->set_history(4);
  EXPECT_THAT(Check(other, 127),
              StatusIs(kInvalid, AllOf(HasSubstr("gradient_cosine: the copy of the gradients takes 128 bytes; "),
                                       Not(HasSubstr("history")))));
}

// What is counted by itself, against what is taken.
TEST(PartBytesTest, AreThoseThatAreTaken) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "not counted under a sanitizer";
  ParameterLayout layout;
  for (const int64_t size : {1, 16'384, 16'385, 5'000'000}) layout.Add("t", {size}, 0, v1::Initializer());
  const auto taken_by = [](const std::function<void()>& take) {
    testing::RestartPeak();
    const int64_t before = testing::AllocatedBytes();
    take();
    return testing::PeakAllocatedBytes() - before;
  };
  v1::OptimizerSpec sgd;
  sgd.set_method(v1::OPTIMIZER_METHOD_SGD);
  sgd.set_learning_rate(1);
  const v1::OptimizerSpec resolved = ResolveOptimizer(sgd);  // makes protobuf build its descriptors, once
  std::unique_ptr<Optimizer<float>> optimizer;
  const int64_t ranges = taken_by([&] { optimizer = MakeOptimizer<float>(resolved, &layout); });
  EXPECT_NEAR(Optimizer<float>::RangeBytes(layout), ranges, 4096) << "310 ranges";
  EXPECT_GE(ranges, 310 * 40);

  GradientCosine<float> cosine(&layout);
  const int64_t copy = taken_by([&] { cosine.Switch(true); });
  EXPECT_NEAR(GradientCosine<float>::CopyBytes(layout.arena_size()) + GradientCosine<float>::NormBytes(4), copy, 4096);

  StepRecord record;
  const int64_t measured = taken_by([&] {
    record.tensors.resize(1000);
    record.clip_in_force.tensors.resize(1000);
    record.layers.resize(300);
  });
  EXPECT_NEAR(StepRecordBytes(1000, 300), measured, 4096);
}

}  // namespace
}  // namespace gradwatch::core
