// Stored statistics are damaged while the server is away: it starts, jobs go on, and every step is told, as it was or
// as lost.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "tests/faults/fault_fixture.h"
#include "tests/faults/recording.h"

namespace gradwatch::testing {
namespace {

namespace fs = std::filesystem;

struct Damage {
  const char* name;
  void (*apply)(const fs::path& file);
};
std::ostream& operator<<(std::ostream& out, const Damage& damage) { return out << damage.name; }

// Replaces bytes from `first` to before `end` by what is certainly something else.
void Flip(const fs::path& path, std::streamoff first, std::streamoff end) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  for (std::streamoff at = first; at < end; ++at) {
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ 0xa5));
  }
}
std::streamoff Size(const fs::path& path) { return static_cast<std::streamoff>(fs::file_size(path)); }

const Damage kDamages[] = {
    {"FlippedHeader", [](const fs::path& path) { Flip(path, 0, 100); }},
    {"FlippedMiddle", [](const fs::path& path) { Flip(path, Size(path) / 2, Size(path) / 2 + 64); }},
    {"FlippedInEveryPage",
     [](const fs::path& path) {
       for (std::streamoff page = 4096; page < Size(path); page += 4096) Flip(path, page + 2048, page + 2112);
     }},
    {"FlippedRootPage", [](const fs::path& path) { Flip(path, 4096, 8192); }},
    {"Truncated", [](const fs::path& path) { fs::resize_file(path, fs::file_size(path) / 2); }},
    {"Emptied", [](const fs::path& path) { fs::resize_file(path, 0); }},
    {"Missing", [](const fs::path& path) { fs::remove(path); }},
    {"AFolder",
     [](const fs::path& path) {
       fs::remove(path);
       fs::create_directory(path);
     }},
    // Not a question of rights, which do not stop root.
    {"Unreadable",
     [](const fs::path& path) {
       fs::remove(path);
       fs::create_symlink("/nonexistent/statistics", path);
     }},
};

class SlowCorruptionTest : public FaultTest, public ::testing::WithParamInterface<Damage> {
 protected:
  // Ends the server and damages its largest file of statistics.
  void EndServerAndDamage() {
    ASSERT_EQ(server_->Terminate(), 0) << server_->Errors();
    fs::path largest;
    for (const auto& file : fs::directory_iterator(server_->data_file("history"))) {
      if (file.path().extension() != ".sst") continue;
      if (largest.empty() || file.file_size() > fs::file_size(largest)) largest = file.path();
    }
    ASSERT_FALSE(largest.empty());
    ASSERT_GT(Size(largest), 8192) << largest;
    GetParam().apply(largest);
  }

  // All that a watch from the beginning says up to a message for which `is_last` holds.
  std::vector<v1::WatchJobResponse> WatchUntil(const std::string& job_id,
                                               absl::FunctionRef<bool(const v1::WatchJobResponse&)> is_last) {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_from_beginning(true);
    std::vector<v1::WatchJobResponse> responses;
    EXPECT_TRUE(outside_->Watch(request,
                                [&](const v1::WatchJobResponse& response) {
                                  responses.push_back(response);
                                  return is_last(response);
                                }))
        << job_id << ": the watch does not end";
    return responses;
  }
  std::vector<v1::WatchJobResponse> WatchToTheEnd(const std::string& job_id) {
    return WatchUntil(job_id, [](const v1::WatchJobResponse& response) {
      return response.ended().reason() == v1::WatchEnded::REASON_TERMINAL;
    });
  }

  // What was told of a job's steps: the report as text, or "lost"; in the order in which it came.
  static std::map<int64_t, std::string> Steps(const std::vector<v1::WatchJobResponse>& responses) {
    std::map<int64_t, std::string> steps;
    const auto tell = [&steps](int64_t step, std::string what) {
      EXPECT_TRUE(steps.emplace(step, std::move(what)).second) << "step " << step << " is told twice";
    };
    for (const v1::WatchJobResponse& response : responses) {
      for (const v1::StepReport& report : response.reports()) tell(report.step(), report.SerializeAsString());
      for (const v1::StatisticsLost& lost : response.lost()) {
        for (int64_t step = lost.first_step(); step <= lost.last_step(); ++step) tell(step, "lost");
      }
    }
    return steps;
  }

  // Until an event of the log says that data is lost: it is told when it is found, which may be after the watch.
  bool AwaitDataLoss(const std::string& job_id) {
    const absl::Time deadline = absl::Now() + kLongWait;
    do {
      std::vector<v1::Event> events;
      EXPECT_TRUE(outside_->Events(job_id, &events).ok());
      CheckEvents(job_id, events, events);
      if (std::any_of(events.begin(), events.end(), [](const v1::Event& event) {
            return event.has_data_loss() && absl::StrContains(event.data_loss().description(), "statistics");
          })) {
        return true;
      }
    } while (absl::Now() < deadline);
    return false;
  }

  // What is damaged may be what nobody needs; what costs something is an event.
  void ExpectLossIsTold(const std::string& job_id, int64_t lost) {
    EXPECT_TRUE(lost == 0 || AwaitDataLoss(job_id));
  }
  // Each step is told as it was, or as lost; how many are lost.
  static int64_t CountLost(const std::map<int64_t, std::string>& before, const std::map<int64_t, std::string>& after) {
    EXPECT_EQ(after.size(), before.size()) << "steps that were told, or told as lost";
    int64_t lost = 0;
    for (const auto& [step, told] : after) {
      if (told == "lost") ++lost;
      EXPECT_TRUE(told == "lost" || told == before.at(step)) << "step " << step << " is another than it was";
    }
    return lost;
  }
};

TEST_P(SlowCorruptionTest, OfJobsThatHaveEndedIsTold) {
  constexpr int64_t kSteps = 400;
  ASSERT_NO_FATAL_FAILURE(StartServer());
  Create("damaged", Spec(kSteps));
  Create("other", Spec(kSteps));
  Create("running", Spec(kForEver, 256));
  ASSERT_TRUE(outside_->AwaitEnd("damaged"));
  ASSERT_TRUE(outside_->AwaitEnd("other"));
  const auto before = Steps(WatchToTheEnd("damaged"));
  const auto other_before = Steps(WatchToTheEnd("other"));
  ASSERT_EQ(before.size(), static_cast<size_t>(kSteps));

  ASSERT_NO_FATAL_FAILURE(EndServerAndDamage());
  ASSERT_NO_FATAL_FAILURE(RestartServer());
  ExpectLossIsTold("damaged", CountLost(before, Steps(WatchToTheEnd("damaged"))));
  ExpectLossIsTold("other", CountLost(other_before, Steps(WatchToTheEnd("other"))));
  EXPECT_EQ(Get("damaged").state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_GE(outside_->AwaitLiveStep("running"), 0);
  Create("new", Spec(10));
  EXPECT_TRUE(outside_->AwaitEnd("new"));
}

TEST_P(SlowCorruptionTest, OfAJobThatRunsDoesNotStopIt) {
  ASSERT_NO_FATAL_FAILURE(StartServerWithForgetfulTrainers());
  Create("damaged", Spec(kForEver, 128));
  const auto before = Steps(WatchUntil("damaged", [](const v1::WatchJobResponse& response) {
    return response.reports_size() > 0 && response.reports().rbegin()->step() >= 1500;
  }));

  ASSERT_NO_FATAL_FAILURE(EndServerAndDamage());
  ASSERT_NO_FATAL_FAILURE(RestartServer());
  ASSERT_GE(outside_->AwaitLiveStep("damaged"), 0);
  ASSERT_TRUE(outside_->Stop("damaged").ok());
  ASSERT_TRUE(outside_->AwaitEnd("damaged"));
  const v1::Job job = Get("damaged");
  EXPECT_EQ(job.state(), v1::JOB_STATE_STOPPED) << job.failure();
  const auto steps = Steps(WatchToTheEnd("damaged"));
  EXPECT_EQ(steps.size(), static_cast<size_t>(job.steps_done())) << "steps that were told, or told as lost";
  EXPECT_TRUE(steps.empty() || steps.rbegin()->second != "lost") << "what came later is stored";
  // What the trainer could not keep while the server was away is lost too, but it was never stored.
  int64_t lost = 0;
  for (const auto& [step, told] : before) lost += told != "lost" && steps.at(step) == "lost";
  ExpectLossIsTold("damaged", lost);
}

INSTANTIATE_TEST_SUITE_P(Ways, SlowCorruptionTest, ::testing::ValuesIn(kDamages),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace gradwatch::testing
