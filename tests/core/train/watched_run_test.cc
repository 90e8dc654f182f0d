// That benches see what the trainer sees: rules beside a run say of it what the same rules in the trainer say.
#include "tests/support/watched_run.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::testing {
namespace {

using ::testing::Gt;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Optional;

v1::JobSpec Spec(const std::string& more) {
  const std::string text = absl::StrCat(
      "steps: 120 seed: 3 model { "
      "layers { dense { units: 32 weight_init { method: INITIALIZER_METHOD_HE } } } "
      "layers { activation { function: ACTIVATION_FUNCTION_RELU } } layers { dense { units: 4 } } "
      "loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY } } "
      "data { batch_size: 32 gaussian_clusters { classes: 4 features: 8 spread: 0.5 } ",
      more);
  v1::JobSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return spec;
}

std::vector<std::string> Words(const std::vector<v1::Alert>& transitions) {
  std::vector<std::string> words;
  for (const v1::Alert& alert : transitions) {
    words.push_back(absl::StrCat(alert.step(), " ", alert.rule(), " ", v1::AlertState_Name(alert.state()), " ",
                                 alert.value(), " ", alert.tensor()));
  }
  return words;
}

// What is resolved only because the run has ended is left out of the trainer's.
std::vector<v1::Alert> WithoutTheEnd(std::vector<v1::Alert> transitions, size_t size) {
  EXPECT_GE(transitions.size(), size);
  for (size_t i = size; i < transitions.size(); ++i) {
    EXPECT_EQ(transitions[i].state(), v1::ALERT_STATE_RESOLVED);
  }
  transitions.resize(size);
  return transitions;
}

struct Way {
  const char* name;
  const char* rest;  // of the spec, from its data on
};

class WatchedRunTest : public ::testing::TestWithParam<Way> {};

TEST_P(WatchedRunTest, RulesBesideARunSayWhatThoseInTheTrainerSay) {
  WatchOptions options;
  options.beside.resize(2);
  options.beside[1].set_preset("none");
  v1::Rule& limit = *options.beside[1].add_rules();
  limit.set_name("limit");
  limit.mutable_norm_limit()->set_max_norm(1e-6);
  const auto run = WatchRun(Spec(GetParam().rest), core::DataRoots(), options);
  ASSERT_THAT(run, IsOk());
  ASSERT_THAT(run->alerts, Not(IsEmpty()));
  ASSERT_EQ(run->beside.size(), 2u);
  EXPECT_EQ(Words(run->beside[0]), Words(WithoutTheEnd(run->alerts, run->beside[0].size())));
  EXPECT_EQ(FirstTold(run->beside[1], v1::SEVERITY_WARNING)->rule, "limit");
  EXPECT_EQ(FirstTold(run->beside[1], v1::SEVERITY_CRITICAL), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(
    Ways, WatchedRunTest,
    ::testing::Values(Way{"BadBatch", "bad_batch { batch: 60 scale: 1e6 } } optimizer { learning_rate: 0.1 }"},
                      Way{"Broken", "bad_batch { batch: 60 scale: 1e38 } } optimizer { learning_rate: 0.1 }"},
                      Way{"Clipped",
                          "bad_batch { batch: 60 scale: 1e6 } } optimizer { learning_rate: 0.1 } "
                          "controls { clip { mode: CLIP_MODE_GLOBAL_NORM threshold: 1 } }"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(WatchedRateTest, IsScaledFromTheStepThatIsAskedFor) {
  WatchOptions calm, raised;
  raised.rate_scale = [](int64_t step) { return step < 50 ? 1.0 : 1000.0; };
  const v1::JobSpec spec = Spec("} optimizer { learning_rate: 0.1 }");
  const auto before = WatchRun(spec, core::DataRoots(), calm), after = WatchRun(spec, core::DataRoots(), raised);
  ASSERT_THAT(before, IsOk());
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(before->marks.passed(), std::nullopt);
  EXPECT_THAT(after->marks.passed(), Optional(Gt(49)));
  EXPECT_EQ(before->firing_critical, 0);
}

TEST(WatchedStopTest, ARunThatIsBrokenEndsWhenItIsAskedTo) {
  WatchOptions options;
  options.stop_after_non_finite = 5;
  const auto run = WatchRun(Spec("bad_batch { batch: 60 scale: 1e38 } } optimizer { learning_rate: 0.1 }"),
                            core::DataRoots(), options);
  ASSERT_THAT(run, IsOk());
  ASSERT_THAT(run->marks.non_finite(), Optional(60));
  EXPECT_EQ(run->result.steps_done, 66);
}

}  // namespace
}  // namespace gradwatch::testing
