// The estimate of a job against what the process that runs it takes: never below it, and not far above.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/spec/job_spec.h"
#include "tests/support/allocation_count.h"
#include "tests/support/process.h"
#include "tests/support/random_spec.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::worker {
namespace {

using ::testing::SizeIs;

// Of what the specs were made.
struct Kinds {
  std::set<int> layers, optimizers, clip_modes, conditions, sources;

  void AddLayers(const google::protobuf::RepeatedPtrField<v1::Layer>& some) {
    for (const v1::Layer& layer : some) {
      layers.insert(layer.kind_case());
      if (layer.has_residual()) AddLayers(layer.residual().layers());
    }
  }
  void Add(const v1::JobSpec& spec) {
    AddLayers(spec.model().layers());
    optimizers.insert(spec.optimizer().method());
    clip_modes.insert(spec.controls().clip().mode());
    for (const v1::Rule& rule : spec.rules().rules()) conditions.insert(rule.condition_case());
    sources.insert(spec.data().source_case());
  }
};

struct Memory {
  double estimated = 0, peak = 0;
  bool has_alerts = false;
};

// Runs the spec in a process of its own, for so many steps.
Memory Measure(const v1::JobSpec& spec, int steps, const testing::TempDir& dir) {
  std::string text;
  EXPECT_TRUE(google::protobuf::TextFormat::PrintToString(spec, &text));
  const std::string path = dir.Write("job.textproto", text);
  const testing::RunResult result =
      testing::Run({"gradwatch-worker", "train", path, "--steps", absl::StrCat(steps), "-o", "json"});
  google::protobuf::Struct object;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(result.out, &object).ok()) << result.out << result.err;
  const auto number = [&](const char* name) {
    const auto field = object.fields().find(name);
    return field == object.fields().end() ? 0 : field->second.number_value();
  };
  const auto alerts = object.fields().find("alerts");
  return {.estimated = number("estimated_bytes"),
          .peak = number("peak_bytes"),
          .has_alerts = alerts != object.fields().end() && alerts->second.struct_value().fields_size() > 0};
}

// A job that takes nothing to speak of.
v1::JobSpec SmallestSpec() {
  v1::JobSpec spec;
  spec.set_steps(1);
  spec.mutable_data()->set_batch_size(1);
  spec.mutable_data()->mutable_spirals();
  spec.mutable_model()->add_layers()->mutable_dense()->set_units(2);
  spec.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  return spec;
}

TEST(SlowEstimateTest, IsNeverBelowTheUseAndNotFarAbove) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "a sanitizer has memory of its own";
  constexpr int kRuns = 70, kMaxDraws = 400;
  const testing::TempDir dir;
  const core::DataRoots roots = *core::DataRoots::Create({dir.path()});
  testing::RandomSpecs specs(/*seed=*/20261130, dir.path());
  const Memory smallest = Measure(SmallestSpec(), 1, dir);
  ASSERT_GT(smallest.peak, 0);
  Kinds kinds;
  int runs = 0, with_alerts = 0;
  double largest = 0;
  for (int draw = 0; draw < kMaxDraws && runs < kRuns; ++draw) {
    const v1::JobSpec spec = specs.Draw();
    const auto job =
        core::ValidateJob(spec, roots, core::SpecLimits{.max_parameters = 20'000'000, .max_bytes = int64_t{700} << 20});
    if (!job.ok()) continue;
    SCOPED_TRACE(spec.ShortDebugString());
    const Memory memory = Measure(spec, 2 + runs % 4, dir);
    EXPECT_GE(memory.estimated, memory.peak);
    EXPECT_LE(memory.estimated, 1.3 * memory.peak + (64 << 20));
    // What is set aside for the program does not hide what else is not counted.
    EXPECT_GE(memory.estimated - smallest.estimated, memory.peak - smallest.peak - (3 << 20));
    kinds.Add(job->spec);
    largest = std::max(largest, memory.peak);
    with_alerts += memory.has_alerts ? 1 : 0;
    ++runs;
  }
  EXPECT_EQ(runs, kRuns);
  EXPECT_GT(with_alerts, 0);
  EXPECT_LT(with_alerts, kRuns);
  EXPECT_GT(largest, 180 << 20) << "large ones are among them";
  EXPECT_THAT(kinds.layers, SizeIs(v1::Layer::descriptor()->oneof_decl(0)->field_count()));
  EXPECT_THAT(kinds.optimizers, SizeIs(v1::OptimizerMethod_MAX));
  EXPECT_THAT(kinds.clip_modes, SizeIs(v1::ClipMode_MAX));
  EXPECT_THAT(kinds.conditions, SizeIs(v1::Rule::descriptor()->oneof_decl(0)->field_count() - 1)) << "all but stall";
  EXPECT_THAT(kinds.sources, SizeIs(v1::DataSpec::descriptor()->oneof_decl(0)->field_count()));
}

}  // namespace
}  // namespace gradwatch::worker
