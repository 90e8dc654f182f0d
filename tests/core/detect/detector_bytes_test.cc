// What is said of a detector's memory against what it takes.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/detect/detector.h"
#include "tests/support/allocation_count.h"

namespace gradwatch::core {
namespace {

std::vector<std::string> Names(int layers) {
  std::vector<std::string> names;
  for (int i = 0; i < layers; ++i) {
    names.push_back(absl::StrCat("residual", i, ".dense0.weight"));
    names.push_back(absl::StrCat("d", i, ".bias"));
  }
  return names;
}

// `count` rules of these fields, and none beside them.
v1::RuleSet Rules(const std::string& fields, int count) {
  v1::RuleSet rules;
  rules.set_preset("none");
  for (int i = 0; i < count; ++i) {
    v1::Rule& rule = *rules.add_rules();
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(fields, &rule)) << fields;
    rule.set_name(absl::StrCat("rule", i));
  }
  return ResolveRules(rules);
}

TEST(DetectorBytesTest, AreThoseThatItTakes) {
  if (!testing::CountsAllocations()) GTEST_SKIP() << "not counted under a sanitizer";
  const struct {
    std::string rules;
    int count, layers;
    int64_t least;  // by the definition: a window, sorted and by age, and its outliers, of each matching tensor
  } cases[] = {
      {"norm_spike { window: 10000 per_tensor: true }", 3, 50, 3 * 100 * int64_t{10000} * 3 * 8},
      {"norm_spike { window: 10000 per_tensor: true } tensors: '*weight'", 3, 50, 3 * 50 * int64_t{10000} * 3 * 8},
      {"norm_spike { window: 10000 }", 64, 50, 64 * int64_t{10000} * 3 * 8},
      {"loss_jump { window: 10000 }", 64, 50, 64 * int64_t{10000} * 3 * 8},
      {"norm_spike { per_tensor: true }", 64, 500, 64 * 1000 * int64_t{101} * 3 * 8},
      {"update_ratio { }", 64, 500, 64 * 1000 * 8},
      {"update_ratio { } tensors: 'd7.bias'", 64, 500, 0},
      {"non_finite { }", 64, 500, 0},
      {"non_finite { }", 1, 500, 0},
      {"norm_limit { max_norm: 1 per_tensor: true }", 64, 500, 0},
      {"norm_limit { max_norm: 1 }", 1, 1, 0},
      {"loss_divergence { }", 64, 50, 0},
      {"joint_growth { }", 64, 50, 0},
      {"overshoot { }", 64, 500, 0},
      {"update_growth { }", 64, 500, 0},
      {"drift { baseline_steps: 10000 }", 64, 50, 0},
      {"no_progress { window: 10000 }", 64, 50, 64 * int64_t{10000} * 4},
      {"series { baseline: BASELINE_MEAN window: 10000 factor: 2 }", 64, 50, 64 * int64_t{10000} * 4},
      {"clipping { window: 1000 }", 64, 50, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.rules, " x ", c.count));
    const v1::RuleSet rules = Rules(c.rules, c.count);
    std::vector<std::string> names = Names(c.layers);
    RunFacts facts;
    for (const std::string& name : names) facts.layer_names.push_back(absl::StrCat(name, " (dense)"));
    const int64_t said = DetectorBytes(rules, names);
    testing::RestartPeak();
    const int64_t before = testing::AllocatedBytes();
    const Detector detector(rules, names, {.job_id = "job", .job_uid = "uid"}, facts);
    const int64_t taken = testing::PeakAllocatedBytes() - before;
    EXPECT_GE(taken, c.least);
    EXPECT_GE(said, taken);
    // The words of alerts are counted before there are any.
    EXPECT_LE(said, taken + taken / 20 + c.count * (11 << 10) + 2 * static_cast<int64_t>(names.size()) * 64);
  }
}

}  // namespace
}  // namespace gradwatch::core
