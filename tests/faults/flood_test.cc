// A rule that flaps on every other step of a job at full speed: what is told of it is bounded, what was not told is
// counted and told, and the job has succeeded as soon as its last step was reported.
#include <algorithm>
#include <optional>
#include <regex>
#include <set>
#include <vector>

#include "absl/strings/str_replace.h"
#include "tests/faults/alert_history.h"
#include "tests/faults/fault_fixture.h"
#include "tests/faults/recording.h"

namespace gradwatch::testing {
namespace {

// All whole numbers in a text, also those with commas in them.
std::set<int64_t> NumbersIn(const std::string& text) {
  static const std::regex number(R"(\d{1,3}(,\d{3})+|\d+)");
  std::set<int64_t> numbers;
  for (std::sregex_iterator found(text.begin(), text.end(), number); found != std::sregex_iterator(); ++found) {
    int64_t value = 0;
    if (absl::SimpleAtoi(absl::StrReplaceAll(found->str(), {{",", ""}}), &value)) numbers.insert(value);
  }
  return numbers;
}

// When the log says that the job has succeeded, by the server's clock.
std::optional<absl::Time> TimeOfSuccess(const std::vector<v1::Event>& events) {
  for (const v1::Event& event : events) {
    if (event.state_changed().to() == v1::JOB_STATE_SUCCEEDED) return ToTime(event.time());
  }
  return std::nullopt;
}

class SlowFloodTest : public FaultTest {
 protected:
  // Four examples a step and so small a rate that norms stay what they are: a limit in their middle is passed and left
  // again on every fourth step, for ever.
  static v1::JobSpec FlatSpec(int64_t steps, absl::string_view more = "") {
    v1::JobSpec spec = Spec(steps, 16, more);
    spec.mutable_data()->set_batch_size(4);
    spec.mutable_optimizer()->set_learning_rate(1e-7);
    return spec;
  }

  double MedianNorm() {
    Create("probe", FlatSpec(2000));
    v1::WatchJobRequest request;
    request.set_job_id("probe");
    request.set_from_beginning(true);
    std::vector<double> norms;
    EXPECT_TRUE(outside_->Watch(request, [&norms](const v1::WatchJobResponse& response) {
      for (const v1::StepReport& report : response.reports()) norms.push_back(report.grad_norm());
      return response.has_ended();
    }));
    std::sort(norms.begin(), norms.end());
    return norms.empty() ? 1 : norms[norms.size() / 2];
  }
};

TEST_F(SlowFloodTest, OfAlertsIsBoundedAndToldAndTheJobHasSucceeded) {
  ASSERT_NO_FATAL_FAILURE(StartServer());
  const int64_t steps = 120'000;
  const v1::JobSpec spec = FlatSpec(
      steps, absl::StrCat("controls: {report_every: 100}\nrules:\n  preset: none\n  rules:\n",
                          "    - {name: flap, norm_limit: {max_norm: ", MedianNorm(), "}, resolve_after_steps: 1}\n",
                          "    - {name: always, norm_limit: {max_norm: 1e-20}, severity: critical}\n"));
  Create("flood", spec);
  std::optional<v1::StepReport> first, last;
  v1::WatchJobRequest request;
  request.set_job_id("flood");
  request.set_from_beginning(true);
  int64_t reports = 0, lost = 0;
  ASSERT_TRUE(outside_->Watch(
      request,
      [&](const v1::WatchJobResponse& response) {
        for (const v1::StatisticsLost& range : response.lost()) lost += range.last_step() - range.first_step() + 1;
        reports += response.reports_size();
        if (response.reports_size() == 0) return response.has_ended();
        if (!first.has_value()) first = response.reports(0);
        last = response.reports(response.reports_size() - 1);
        return response.has_ended();
      },
      2 * kLongWait));
  const v1::Job job = Get("flood");
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.failure();
  EXPECT_EQ(job.steps_done(), steps);
  EXPECT_EQ(job.firing_alerts(), 0);
  EXPECT_EQ(reports + lost, steps);
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->step(), steps - 1);
  std::vector<v1::Event> events;
  ASSERT_TRUE(outside_->Events("flood", &events).ok());
  CheckEvents("the log", events, events);
  // The worker says when it ended, the server when it has heard so: behind all notices. One second is promised; the
  // rest is for a slow disk, since this test runs alone.
  const std::optional<absl::Time> success = TimeOfSuccess(events);
  ASSERT_TRUE(success.has_value());
  const absl::Duration outlived = *success - ToTime(job.end_time());
  EXPECT_LT(outlived, absl::Seconds(1) + absl::Seconds(4)) << "its notices outlive it";
  std::map<std::string, Episodes> told = ReadAlerts(events);
  LocalRun alone(dir_.path(), spec);
  std::map<std::string, int64_t> all = alone.AwaitAlerts(2 * kLongWait);
  ASSERT_GT(all["flap"], steps / 20) << "it was to flap";

  // What is told: a hundred episodes at once and then ten a second.
  const Episodes& flap = told["flap"];
  const double seconds = absl::ToDoubleSeconds(ToTime(last->time()) - ToTime(first->time()));
  EXPECT_GE(flap.fired, 100);
  EXPECT_LE(static_cast<double>(flap.fired), 100 + 10 * (seconds + 2));
  EXPECT_LE(flap.changes.rbegin()->first, all["flap"]);
  for (int32_t episode = 1; episode <= 50; ++episode) {
    EXPECT_EQ(flap.changes.count(episode), 1u) << "the first ones are told: " << episode;
  }
  EXPECT_EQ(told["always"].fired, 1) << "another rule is none the worse for it";

  // What is not told is counted, by one alert.
  const Episodes& truncated = told["alerts_truncated"];
  ASSERT_EQ(truncated.fired, 1);
  const v1::Alert& firing = truncated.changes.at(1).front();
  const v1::Alert& resolved = truncated.changes.at(1).back();
  EXPECT_EQ(firing.severity(), v1::SEVERITY_WARNING);
  EXPECT_NE(firing.summary().find("flap"), std::string::npos) << firing.summary();
  EXPECT_NE(resolved.summary().find("flap"), std::string::npos) << resolved.summary();
  EXPECT_EQ(NumbersIn(resolved.summary()).count(all["flap"] - flap.fired), 1u)
      << resolved.summary() << ": of " << all["flap"] << " episodes " << flap.fired << " were told";
  EXPECT_EQ(told.size(), 3u);
  std::cout << all["flap"] << " episodes in " << seconds << " s, " << flap.fired << " told, " << events.size()
            << " events, " << lost << " steps lost; succeeded " << outlived << " after its end\n"
            << resolved.summary() << std::endl;
}

}  // namespace
}  // namespace gradwatch::testing
