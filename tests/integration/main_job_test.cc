// The main job as three people in three terminals do it: one submits, one watches alerts, one changes the threshold.
#include <gmock/gmock.h>

#include <csignal>

#include "tests/integration/server_fixture.h"

namespace gradwatch::testing {
namespace {

using ::testing::HasSubstr;

class MainJobTest : public ServerTest {
 protected:
  void SetUp() override { StartServer(); }

  // A recurrent network whose gradients explode at once: its recurrent weights are three times too large.
  static constexpr char kExploding[] = R"(
steps: 400
seed: 1
model:
  layers:
    - rnn: {units: 48, recurrent_init: {method: orthogonal, gain: 3}}
    - dense: {units: 76}
  loss: {function: softmax_cross_entropy}
data:
  batch_size: 16
  text: {path: GPL-3, sequence_length: 40}
optimizer: {learning_rate: 1, momentum: 0.9}
)";
};

TEST_F(MainJobTest, StreamsAreOneJsonObjectALine) {
  auto alerts = Start({"alerts", "watch", "-o", "json"});
  Submit(kLongJob, "healthy");
  auto watch = Start({"watch", "healthy", "--from-beginning", "-o", "json"});
  int reports = 0, events = 0;
  double last_step = -1;
  while (reports < 20) {
    const auto line = watch->ReadLine();
    ASSERT_TRUE(line.has_value()) << watch->Errors();
    const Struct object = Json(*line);
    const std::string type = Text(object, "type");
    if (type != "report" && type != "event") continue;
    EXPECT_EQ(Text(object, "job"), "healthy");
    EXPECT_TRUE(Has(object, "attempt"));
    if (type == "event") {
      EXPECT_EQ(Number(object, "event"), ++events) << "events are numbered without a gap";
    } else {
      EXPECT_EQ(Number(object, "step"), last_step + 1) << "every step comes once";
      last_step = Number(object, "step");
      ++reports;
    }
  }
  EXPECT_GE(events, 2) << "pending, running";

  const RunResult set = Gradwatch({"clip", "set", "healthy", "--max-norm", "0.5", "-o", "json"});
  ASSERT_EQ(set.exit_code, 0) << set.err;
  const Struct change = Json(set.out);
  EXPECT_EQ(Text(change, "job"), "healthy");
  EXPECT_GT(Number(change, "effective_step"), 0);

  // The report of exactly that step is the first with the new revision.
  const double effective = Number(change, "effective_step"), revision = Number(change, "revision");
  for (double step = 0; step < effective;) {
    const auto line = watch->ReadLine();
    ASSERT_TRUE(line.has_value());
    const Struct object = Json(*line);
    if (Text(object, "type") != "report") continue;
    step = Number(object, "step");
    EXPECT_EQ(Number(object, "control_revision") == revision, step >= effective) << "at step " << step;
  }

  // Ctrl-C detaches and leaves the job alone.
  watch->Signal(SIGINT);
  while (watch->ReadLine().has_value()) continue;
  EXPECT_EQ(watch->Wait(), 130);
  EXPECT_EQ(StateOf("healthy"), "running");
  EXPECT_THAT(watch->Errors(), HasSubstr("--resume"));
  EXPECT_EQ(Gradwatch({"job", "stop", "healthy"}).exit_code, 0);
  EXPECT_EQ(Gradwatch({"job", "wait", "healthy"}).exit_code, 8);
}

TEST_F(MainJobTest, AnExplosionReachesASubscriberThatWasThereBefore) {
  auto alerts = Start({"alerts", "watch", "-o", "json"});
  Submit(kExploding, "explodes");
  const auto line = alerts->ReadUntil("firing");
  ASSERT_TRUE(line.has_value()) << alerts->Errors();
  const Struct alert = Json(*line);
  EXPECT_EQ(Text(alert, "job"), "explodes");
  EXPECT_GE(Number(alert, "step"), 0);
  EXPECT_GE(Number(alert, "event"), 1);
  EXPECT_THAT(*line, HasSubstr("rule"));
  EXPECT_THAT(*line, HasSubstr("rnn0.")) << "the tensor is named";
  EXPECT_NE(Gradwatch({"watch", "explodes", "--from-beginning", "--fail-on-alert", "warning"}).exit_code, 0);
  const RunResult list = Gradwatch({"alerts", "list", "--job", "explodes", "-o", "json"});
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_THAT(list.out, HasSubstr("explodes"));
}

TEST_F(MainJobTest, ResumingAStreamIsTheSameAsNeverHavingStopped) {
  std::string spec = kLongJob;
  spec.replace(spec.find("1000000000"), 10, "3000");
  Submit(spec, "short");
  auto first = Start({"watch", "short", "--from-beginning", "-o", "json"});
  std::string seen;
  for (int i = 0; i < 500; ++i) {
    const auto line = first->ReadLine();
    ASSERT_TRUE(line.has_value());
    seen += *line + "\n";
  }
  first->Signal(SIGINT);
  while (const auto line = first->ReadLine()) seen += *line + "\n";
  ASSERT_EQ(first->Wait(), 130);
  const std::string errors = first->Errors();
  const size_t at = errors.find("--resume ");
  ASSERT_NE(at, std::string::npos) << errors;
  const std::string token = errors.substr(at + 9, errors.find_first_of(" \n)", at + 9) - at - 9);

  const RunResult rest = Gradwatch({"watch", "short", "--resume", token, "-o", "json"});
  EXPECT_EQ(rest.exit_code, 0) << rest.err;
  const RunResult all = Gradwatch({"watch", "short", "--from-beginning", "-o", "json"});
  // Events and reports may be interleaved otherwise; each kind by itself must be the same.
  const auto only = [](const std::string& text, const std::string& type) {
    std::string lines;
    for (const auto line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      if (Text(Json(std::string(line)), "type") == type) absl::StrAppend(&lines, std::string(line), "\n");
    }
    return lines;
  };
  for (const char* type : {"report", "event"}) EXPECT_EQ(only(seen + rest.out, type), only(all.out, type)) << type;
}

}  // namespace
}  // namespace gradwatch::testing
