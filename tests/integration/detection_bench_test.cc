// The program behind bench/detection on a few recorded runs: that it works, not how good the alerts are.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/detect/presets.h"
#include "tests/support/process.h"
#include "tests/support/recorded_run.h"
#include "tests/support/shared_data.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

// Three that break and two that do not.
constexpr const char* kRuns[] = {"00000", "00001", "00002", "00003", "00007"};

// A folder with a few runs of ../shared/traces.
class DetectionBenchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    shared_ = SharedFile("traces");
    if (shared_.empty()) GTEST_SKIP() << "no ../shared/traces";
    fs::create_directory(traces());
    for (const std::string run : kRuns) {
      fs::create_symlink(absl::StrCat(shared_, "/", run, ".jsonl.gz"), absl::StrCat(traces(), "/", run, ".jsonl.gz"));
    }
    std::ifstream all(shared_ + "/labels.jsonl");
    std::ofstream few(traces() + "/labels.jsonl");
    for (std::string line; std::getline(all, line);) {
      const auto is_its = [&](const std::string& run) {
        return absl::StrContains(line, absl::StrCat("\"seed\": ", std::stoi(run), ","));
      };
      if (std::ranges::any_of(kRuns, is_its)) few << line << "\n";
    }
  }

  std::string traces() const { return folder_.File("traces"); }
  RunResult Measure(std::vector<std::string> options) const {
    options.insert(options.begin(), {"measure_detection", traces()});
    return ::gradwatch::testing::Run(std::move(options));
  }
  // Of the critical alerts that were written; -1: there is none.
  int64_t FirstCritical(const std::string& run) const {
    std::ifstream file(absl::StrCat(folder_.path(), "/alerts/0/0/", run, ".json"));
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    google::protobuf::ListValue alerts;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(text, &alerts).ok()) << run << ": " << text;
    for (const auto& alert : alerts.values()) {
      const auto& fields = alert.struct_value().fields();
      if (fields.at("severity").string_value() != "critical") continue;
      return static_cast<int64_t>(fields.at("step").number_value());
    }
    return -1;
  }

  TempDir folder_;
  std::string shared_;
};

// The first step whose loss or gradient is not finite; -1: there is none.
int64_t FirstBroken(const RecordedRun& run) {
  for (const RecordedStep& step : run.steps) {
    if (!std::isfinite(step.loss) || !std::isfinite(step.grad_norm)) return step.step;
  }
  return -1;
}

TEST_F(DetectionBenchTest, WhatIsNotFiniteIsToldAtOnceAtTheLatest) {
  const RunResult result = Measure({"--alerts", folder_.File("alerts")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("default rules"));
  int broken = 0;
  for (const std::string run : kRuns) {
    const auto recorded = ReadRun(traces(), run);
    ASSERT_THAT(recorded, IsOk());
    const int64_t step = FirstBroken(*recorded), told = FirstCritical(run);
    if (step < 0) continue;
    ++broken;
    EXPECT_TRUE(0 <= told && told <= step) << run << " breaks at " << step << " and is told at " << told;
  }
  EXPECT_EQ(broken, 3);
}

TEST_F(DetectionBenchTest, SaysWhatItIsAskedFor) {
  const std::string rules = folder_.Write(
      "quiet.yaml", "preset: none\nrules: [{name: huge, severity: critical, norm_limit: {max_norm: 1e300}}]\n");
  EXPECT_THAT(Measure({"--rules", rules, "--list", "missed"}).out,
              HasSubstr("00002 diverged at 145 (not finite), lr_bump at 144; alerts: none"));
  EXPECT_THAT(Measure({"--by", "label"}).out, HasSubstr("label healthy"));
  EXPECT_THAT(Measure({"--run", "00002"}).out, HasSubstr("145  critical non_finite: the gradients hold"));
  EXPECT_THAT(Measure({"--run", "4"}).err, HasSubstr("no such run"));
  EXPECT_THAT(Measure({"--preset", "gradwatch", "--run", "00002"}).out, HasSubstr("145  critical non_finite"));
  const std::string bad = folder_.Write("bad.yaml", "rules: [{name: a, norm_limit: {max_norm: -1}}]\n");
  EXPECT_THAT(Measure({"--rules", bad}).err, HasSubstr("rules[0].norm_limit.max_norm"));
}

TEST_F(DetectionBenchTest, TakesARuleOut) {
  const RunResult result = Measure({"--without", "non_finite", "--run", "00002"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const size_t without = result.out.find("default rules without non_finite: ");
  ASSERT_NE(without, std::string::npos) << result.out;
  EXPECT_THAT(result.out.substr(0, without), HasSubstr("critical non_finite: "));
  EXPECT_THAT(result.out.substr(without), Not(HasSubstr("critical non_finite: ")));
  EXPECT_THAT(Measure({"--without", "each", "--list", "missed"}).out, HasSubstr("without non_finite, missed:"));
  EXPECT_THAT(Measure({"--without", "nobody"}).err,
              HasSubstr("--without nobody: there is no such rule in default rules"));
  EXPECT_EQ(Measure({"--preset", "nobody"}).exit_code, 1);
}

TEST_F(DetectionBenchTest, HasTheRulesOfOtherToolsBesideItsOwn) {
  const RunResult result = Measure({"--rivals"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const std::string& preset : core::PresetNames()) {
    if (preset == core::kDefaultPreset || preset == "none") continue;
    EXPECT_THAT(result.out, HasSubstr(absl::StrCat("preset ", preset))) << preset;
  }
}

}  // namespace
}  // namespace gradwatch::testing
