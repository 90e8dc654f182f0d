// Rules of a running job, changed from a terminal: what a new one says comes from exactly the step from which it holds.
#include <gmock/gmock.h>

#include "tests/integration/server_fixture.h"

namespace gradwatch::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RulesOfARunningJobTest : public ServerTest {
 protected:
  void SetUp() override { StartServer(); }

  // A rule that every step of a job breaks, and one that none does.
  static constexpr char kTight[] = R"(
preset: none
rules:
  - name: tight
    severity: critical
    norm_limit: {max_norm: 1.0e-12}
  - name: loose
    norm_limit: {max_norm: 1.0e+12}
)";
};

TEST_F(RulesOfARunningJobTest, ARuleFiresOnTheFirstStepOnWhichItHolds) {
  Submit(kLongJob, "job");
  auto alerts = Start({"alerts", "watch", "--job", "job", "-o", "json"});
  const std::string file = dir_.Write("tight.yaml", kTight);

  const RunResult checked = Gradwatch({"rules", "apply", "job", "-f", file, "--dry-run", "-o", "json"});
  ASSERT_EQ(checked.exit_code, 0) << checked.err;
  EXPECT_THAT(checked.err, HasSubstr("nothing was changed"));
  EXPECT_EQ(Number(GetJob("job"), "control_revision"), 1);

  const RunResult applied = Gradwatch({"rules", "apply", "job", "-f", file, "-o", "json"});
  ASSERT_EQ(applied.exit_code, 0) << applied.err;
  const double effective = Number(Json(applied.out), "effective_step");
  const auto line = alerts->ReadUntil("firing");
  ASSERT_TRUE(line.has_value()) << alerts->Errors();
  const RunResult list = Gradwatch({"alerts", "list", "--job", "job", "-o", "json"});
  ASSERT_EQ(list.exit_code, 0) << list.err;
  const Struct listed = Json(list.out);
  const auto& found = listed.fields().at("alerts").list_value();
  ASSERT_EQ(found.values_size(), 1) << list.out;
  const Struct alert = found.values(0).struct_value();
  EXPECT_EQ(Text(alert, "rule"), "tight");
  EXPECT_EQ(Number(alert, "first_step"), effective);
  EXPECT_EQ(Number(alert, "step"), effective);

  const RunResult table = Gradwatch({"rules", "get", "job"});
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("norm above 1e-12"));
  EXPECT_THAT(table.out, HasSubstr(absl::StrCat("from step ", static_cast<int64_t>(effective))));
}

TEST_F(RulesOfARunningJobTest, WhatIsReadCanBeAppliedAndAnEpisodeGoesOn) {
  Submit(kLongJob, "job");
  ASSERT_EQ(Gradwatch({"rules", "apply", "job", "-f", dir_.Write("tight.yaml", kTight)}).exit_code, 0);
  const RunResult got = Gradwatch({"rules", "get", "job", "-o", "json"});
  ASSERT_EQ(got.exit_code, 0) << got.err;
  const RunResult again = Gradwatch({"rules", "apply", "job", "-f", dir_.Write("got.json", got.out)});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("unchanged: that holds already (revision "));
  const RunResult none = Gradwatch({"rules", "apply", "job", "--preset", "none"});
  ASSERT_EQ(none.exit_code, 0) << none.err;
  EXPECT_THAT(none.out, HasSubstr("rules: removed loose, tight\nholds from step "));
  ASSERT_EQ(Gradwatch({"job", "stop", "job"}).exit_code, 0);
  ASSERT_EQ(Gradwatch({"job", "wait", "job"}).exit_code, 8);
  std::vector<std::string> states;
  for (const Struct& event : Events("job")) {
    if (Text(event, "kind") != "alert_changed") continue;
    const Struct& alert = event.fields().at("alert").struct_value();
    states.push_back(absl::StrCat(Text(alert, "rule"), " ", Text(alert, "state"), " ", Number(alert, "episode")));
  }
  EXPECT_THAT(states, ElementsAre("tight firing 1", "tight resolved 1")) << "not anew by the rules that it was read as";
}

}  // namespace
}  // namespace gradwatch::testing
