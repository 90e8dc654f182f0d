// What a trainer may tell: a good one of each kind, and each with one thing wrong.
#include "server/job/trainer_checks.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<std::string> FieldsOf(const absl::Status& status) {
  std::vector<std::string> fields;
  for (const core::FieldViolation& violation : core::GetFieldViolations(status)) fields.push_back(violation.field);
  return fields;
}

std::string Long(size_t characters) { return std::string(characters, 'x'); }

// A job of 100 steps and two tensors in its second attempt.
JobRecord Record() {
  JobRecord record;
  v1::Job& job = record.row.job;
  job.set_job_id("job");
  job.set_uid("uid");
  job.set_attempt(2);
  job.mutable_spec()->set_steps(100);
  job.add_tensors()->set_name("dense0.weight");
  job.add_tensors()->set_name("dense0.bias");
  return record;
}

v1::Alert FiringAlert(const std::string& rule = "norm-spike", int32_t episode = 1) {
  v1::Alert alert;
  alert.set_alert_id(absl::StrCat("uid/2/", rule, "/", episode));
  alert.set_job_id("job");
  alert.set_attempt(2);
  alert.set_rule(rule);
  alert.set_severity(v1::SEVERITY_CRITICAL);
  alert.set_state(v1::ALERT_STATE_FIRING);
  alert.set_episode(episode);
  alert.set_tensor("dense0.bias");
  alert.set_first_step(98);
  alert.set_step(99);
  alert.set_value(kNan);
  alert.set_limit(kInfinity);
  alert.set_summary(Long(1024));
  for (int line = 0; line < 32; ++line) alert.add_diagnosis(Long(1024));
  alert.mutable_time()->set_seconds(1'700'000'000);
  return alert;
}

// The record after the alert was told, as its event is folded into it.
void Tell(const v1::Alert& alert, JobRecord* record) {
  v1::Event event;
  *event.mutable_alert_changed()->mutable_alert() = alert;
  FoldEvent(event, record);
}

TEST(CheckAlertTest, LittleIsRequired) {
  EXPECT_THAT(CheckAlert(FiringAlert(), Record()), IsOk());
  v1::Alert alert = FiringAlert();
  alert.clear_job_id();
  alert.clear_attempt();
  alert.clear_severity();
  alert.clear_tensor();
  alert.clear_time();
  alert.clear_summary();
  EXPECT_THAT(CheckAlert(alert, Record()), IsOk());
}

TEST(CheckAlertTest, EachBadFieldIsNamed) {
  const struct {
    const char* field;
    std::function<void(v1::Alert&)> spoil;
  } cases[] = {
      {"alert_id", [](auto& a) { a.clear_alert_id(); }},
      {"alert_id", [](auto& a) { a.set_alert_id("other/2/norm-spike/1"); }},
      {"alert_id", [](auto& a) { a.set_alert_id("uid/1/norm-spike/1"); }},
      {"alert_id", [](auto& a) { a.set_alert_id("uid/2/loss-jump/1"); }},
      {"alert_id", [](auto& a) { a.set_alert_id("uid/2/norm-spike/01"); }},
      {"alert_id", [](auto& a) { a.set_alert_id("uid/2/norm-spike/1/"); }},
      {"alert_id", [](auto& a) { a.set_alert_id(Long(1 << 20)); }},
      {"alert_id", [](auto& a) { a.set_episode(2); }},
      {"episode", [](auto& a) { a.set_episode(0); }},
      {"episode", [](auto& a) { a.set_episode(-1); }},
      {"rule", [](auto& a) { a.clear_rule(); }},
      {"rule", [](auto& a) { a.set_rule(Long(64)); }},
      {"rule", [](auto& a) { a.set_rule("a/b"); }},
      {"rule", [](auto& a) { a.set_rule("a b"); }},
      {"rule", [](auto& a) { a.set_rule("\xc3\xa9"); }},
      {"rule", [](auto& a) { a = FiringAlert("stall"); }},
      {"job_id", [](auto& a) { a.set_job_id("other"); }},
      {"attempt", [](auto& a) { a.set_attempt(1); }},
      {"severity", [](auto& a) { a.set_severity(static_cast<v1::Severity>(4)); }},
      {"severity", [](auto& a) { a.set_severity(static_cast<v1::Severity>(-1)); }},
      {"state", [](auto& a) { a.clear_state(); }},
      {"state", [](auto& a) { a.set_state(static_cast<v1::AlertState>(4)); }},
      {"state", [](auto& a) { a.set_state(v1::ALERT_STATE_RESOLVED); }},
      {"tensor", [](auto& a) { a.set_tensor("dense1.weight"); }},
      {"first_step", [](auto& a) { a.set_first_step(-1); }},
      {"first_step", [](auto& a) { a.set_first_step(100); }},
      {"step", [](auto& a) { a.set_step(100); }},
      {"step", [](auto& a) { a.set_step(std::numeric_limits<int64_t>::max()); }},
      {"summary", [](auto& a) { a.set_summary(Long(1025)); }},
      {"summary", [](auto& a) { a.set_summary("\xff"); }},
      {"diagnosis", [](auto& a) { a.add_diagnosis("one more"); }},
      {"diagnosis", [](auto& a) { a.set_diagnosis(3, Long(1025)); }},
      {"diagnosis", [](auto& a) { a.set_diagnosis(3, "\xff"); }},
      {"time", [](auto& a) { a.mutable_time()->set_nanos(1'000'000'000); }},
      {"time", [](auto& a) { a.mutable_time()->set_nanos(-1); }},
      {"time", [](auto& a) { a.mutable_time()->set_seconds(std::numeric_limits<int64_t>::max()); }},
  };
  for (const auto& [field, spoil] : cases) {
    v1::Alert alert = FiringAlert();
    spoil(alert);
    const absl::Status status = CheckAlert(alert, Record());
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr(field)));
    EXPECT_THAT(FieldsOf(status), ElementsAre(absl::StrCat("notice.alert.", field))) << alert.ShortDebugString();
  }
}

TEST(CheckAlertTest, TheServersOwnRuleIsItsOwnWhateverTheJobCallsIt) {
  JobRecord record = Record();
  EXPECT_THAT(CheckAlert(FiringAlert("hangs"), record), IsOk());
  v1::Rule* const rule = record.row.job.mutable_spec()->mutable_rules()->add_rules();
  rule->set_name("hangs");
  rule->mutable_stall();
  for (const char* name : {"hangs", "stall"}) {
    EXPECT_THAT(FieldsOf(CheckAlert(FiringAlert(name), record)), ElementsAre("notice.alert.rule")) << name;
  }
}

TEST(CheckAlertTest, ANumberOfStepsThatNobodyKnowsIsBoundedAllTheSame) {
  JobRecord record = Record();
  record.row.job.mutable_spec()->clear_steps();
  v1::Alert alert = FiringAlert();
  alert.set_step(999'999'999'999);
  EXPECT_THAT(CheckAlert(alert, record), IsOk());
  alert.set_step(1'000'000'000'000);
  EXPECT_THAT(CheckAlert(alert, record), StatusIs(kInvalid, HasSubstr("step")));
}

// Rows: what is known of an episode. Columns: what is told of it.
TEST(CheckAlertTest, StatesFollowEachOther) {
  constexpr v1::AlertState kStates[] = {v1::ALERT_STATE_PENDING, v1::ALERT_STATE_FIRING, v1::ALERT_STATE_RESOLVED};
  const struct {
    std::vector<v1::AlertState> told;
    bool may[3];  // pending, firing, resolved
  } cases[] = {
      {{}, {true, true, false}},
      {{v1::ALERT_STATE_PENDING}, {false, true, true}},
      {{v1::ALERT_STATE_FIRING}, {false, false, true}},
      {{v1::ALERT_STATE_PENDING, v1::ALERT_STATE_FIRING}, {false, false, true}},
      {{v1::ALERT_STATE_PENDING, v1::ALERT_STATE_RESOLVED}, {false, false, false}},
      {{v1::ALERT_STATE_FIRING, v1::ALERT_STATE_RESOLVED}, {false, false, false}},
  };
  for (const auto& [told, may] : cases) {
    JobRecord record = Record();
    v1::Alert alert = FiringAlert();
    for (const v1::AlertState state : told) {
      alert.set_state(state);
      ASSERT_THAT(CheckAlert(alert, record), IsOk());
      Tell(alert, &record);
    }
    for (int i = 0; i < 3; ++i) {
      alert.set_state(kStates[i]);
      EXPECT_EQ(CheckAlert(alert, record).ok(), may[i]) << told.size() << " told, then " << alert.state();
    }
  }
}

TEST(CheckAlertTest, EpisodesOfARuleRiseWithinAnAttempt) {
  JobRecord record = Record();
  for (const int32_t episode : {1, 2, 7}) {  // what a budget left out was not told
    v1::Alert alert = FiringAlert("norm-spike", episode);
    ASSERT_THAT(CheckAlert(alert, record), IsOk());
    Tell(alert, &record);
    alert.set_state(v1::ALERT_STATE_RESOLVED);
    Tell(alert, &record);
  }
  EXPECT_THAT(CheckAlert(FiringAlert("norm-spike", 6), record), StatusIs(kInvalid, HasSubstr("6 of rule norm-spike")));
  EXPECT_THAT(CheckAlert(FiringAlert("loss-jump", 1), record), IsOk()) << "another rule counts by itself";
  record.row.job.set_attempt(3);
  v1::Alert next = FiringAlert();
  next.set_attempt(3);
  next.set_alert_id("uid/3/norm-spike/1");
  EXPECT_THAT(CheckAlert(next, record), IsOk()) << "another attempt too";
}

TEST(CheckAlertTest, AJobHasABoundedNumberOfOpenAlertsAndRules) {
  JobRecord record = Record();
  for (int i = 1; i <= kMaxOpenAlerts; ++i) {
    v1::Alert alert = FiringAlert("norm-spike", i);
    alert.clear_diagnosis();
    ASSERT_THAT(CheckAlert(alert, record), IsOk());
    Tell(alert, &record);
  }
  EXPECT_THAT(CheckAlert(FiringAlert("norm-spike", 1001), record), StatusIs(kInvalid, HasSubstr("1000 alerts")));
  v1::Alert over = FiringAlert("norm-spike", 500);
  over.set_state(v1::ALERT_STATE_RESOLVED);
  ASSERT_THAT(CheckAlert(over, record), IsOk());
  Tell(over, &record);
  EXPECT_THAT(CheckAlert(FiringAlert("norm-spike", 1001), record), IsOk());
  for (int i = 1; i < 1000; ++i) record.episodes[absl::StrCat("rule", i)] = 1;
  EXPECT_THAT(CheckAlert(FiringAlert("one-more"), record), StatusIs(kInvalid, HasSubstr("rules")));
}

TEST(CheckHelloTest, EachBadFieldIsNamed) {
  v1::TrainerHello good;
  good.set_job_id("job");
  good.set_attach_token("secret");
  good.set_trainer_id("11111111-2222-4333-8444-555555555555");
  good.set_trainer(absl::StrCat(Long(127), "\xc3\xa9"));
  good.set_host(Long(253));
  good.set_engine_variant(Long(64));
  good.add_tensors()->set_name("weight");
  EXPECT_THAT(CheckHello(good), IsOk());
  const struct {
    const char* field;
    std::function<void(v1::TrainerHello&)> spoil;
  } cases[] = {
      {"hello.job_id", [](auto& h) { h.clear_job_id(); }},
      {"hello.trainer_id", [](auto& h) { h.clear_trainer_id(); }},
      {"hello.trainer_id", [](auto& h) { h.set_trainer_id("me"); }},
      {"hello.attempt", [](auto& h) { h.set_attempt(-1); }},
      {"hello.pid", [](auto& h) { h.set_pid(-1); }},
      {"hello.trainer", [](auto& h) { h.set_trainer(Long(129)); }},
      {"hello.trainer", [](auto& h) { h.set_trainer("\xff"); }},
      {"hello.host", [](auto& h) { h.set_host(Long(254)); }},
      {"hello.engine_variant", [](auto& h) { h.set_engine_variant(Long(65)); }},
      {"hello.tensors[1].name", [](auto& h) { h.add_tensors()->set_name("weight"); }},
  };
  for (const auto& [field, spoil] : cases) {
    v1::TrainerHello hello = good;
    spoil(hello);
    const absl::Status status = CheckHello(hello);
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr(field)));
    EXPECT_THAT(FieldsOf(status), ElementsAre(field));
  }
}

TEST(CheckToldTensorsTest, TheyDoNotChangeWithinAnAttempt) {
  v1::Job job = Record().row.job;
  v1::Job other;
  other.add_tensors()->set_name("conv");
  EXPECT_THAT(CheckToldTensors("hello", other.tensors(), job), IsOk()) << "the job has those of its spec, or none";
  job.set_tensors_attempt(1);
  EXPECT_THAT(CheckToldTensors("hello", other.tensors(), job), IsOk()) << "those were told in an earlier attempt";
  job.set_tensors_attempt(2);
  EXPECT_THAT(CheckToldTensors("hello", job.tensors(), job), IsOk());
  const absl::Status status = CheckToldTensors("notice.model_ready", other.tensors(), job);
  EXPECT_THAT(FieldsOf(status), ElementsAre("notice.model_ready.tensors"));
  v1::Job reshaped = job;
  reshaped.mutable_tensors(1)->add_shape(3);
  EXPECT_THAT(CheckToldTensors("hello", reshaped.tensors(), job), StatusIs(kInvalid, HasSubstr("must not change")));
}

TEST(CheckFinishedTest, EachBadFieldIsNamed) {
  v1::TrainerFinished good;
  good.set_state(v1::JOB_STATE_SUCCEEDED);
  good.set_parameters_sha256(std::string(64, 'a'));
  EXPECT_THAT(CheckFinished(good), IsOk());
  good.clear_parameters_sha256();
  EXPECT_THAT(CheckFinished(good), IsOk());
  const struct {
    const char* field;
    std::function<void(v1::TrainerFinished&)> spoil;
  } cases[] = {
      {"state", [](auto& f) { f.clear_state(); }},
      {"state", [](auto& f) { f.set_state(v1::JOB_STATE_PAUSED); }},
      {"state", [](auto& f) { f.set_state(static_cast<v1::JobState>(77)); }},
      {"failure", [](auto& f) { f.set_failure("\xff"); }},
      {"parameters_sha256", [](auto& f) { f.set_parameters_sha256(std::string(63, 'a')); }},
      {"parameters_sha256", [](auto& f) { f.set_parameters_sha256(std::string(65, 'a')); }},
      {"parameters_sha256", [](auto& f) { f.set_parameters_sha256(std::string(64, 'A')); }},
      {"parameters_sha256", [](auto& f) { f.set_parameters_sha256(std::string(64, 'g')); }},
  };
  for (const auto& [field, spoil] : cases) {
    v1::TrainerFinished finished = good;
    spoil(finished);
    EXPECT_THAT(FieldsOf(CheckFinished(finished)), ElementsAre(absl::StrCat("notice.finished.", field)));
  }
}

v1::StepReport Report() {
  v1::StepReport report;
  report.set_step(3);
  report.set_loss(kNan);
  report.set_grad_norm(kInfinity);
  report.set_learning_rate(0.1);
  report.set_nan_count(4);
  report.set_step_seconds(0.01);
  report.set_cosine_with_last(-1);
  report.mutable_time()->set_seconds(1'700'000'000);
  report.mutable_clip()->set_action(v1::ClipOutcome::ACTION_CLIPPED);
  report.mutable_clip()->set_coefficient(1);
  for (int i = 0; i < 2; ++i) {
    v1::TensorStats* stats = report.add_tensors();
    stats->set_tensor(i);
    stats->set_l2_norm(static_cast<float>(kNan));
    stats->set_mean(-1);
    stats->set_clip_scale(0.5);
    stats->mutable_histogram()->set_positive_offset(-3);
    stats->mutable_histogram()->add_positive_counts(7);
    stats->mutable_histogram()->set_sample_stride(8);
  }
  v1::LayerStats* layer = report.add_layers();
  layer->set_name("dense0");
  layer->set_kind("dense");
  layer->set_saturated(1);
  layer->set_largest_logit(kNan);
  layer->set_attention_entropy(0);
  report.mutable_validation()->set_loss(kNan);
  report.mutable_validation()->set_accuracy(0);
  return report;
}

// Puts a field that nobody knows into a message and into all that it may hold, each of which is made.
void FillWithUnknown(google::protobuf::Message* message) {
  message->GetReflection()->MutableUnknownFields(message)->AddLengthDelimited(1000, "unknown");
  const google::protobuf::Descriptor* const type = message->GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* const field = type->field(i);
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
    if (field->real_containing_oneof() != nullptr) continue;
    FillWithUnknown(field->is_repeated() ? message->GetReflection()->AddMessage(message, field)
                                         : message->GetReflection()->MutableMessage(message, field));
  }
}

TEST(DiscardUnknownFieldsTest, NothingIsLeftOfThemAtAnyDepth) {
  v1::TrainerMessage reports, notices;
  FillWithUnknown(reports.mutable_reports()->add_reports());
  FillWithUnknown(notices.mutable_notices()->add_notices()->mutable_alert());
  FillWithUnknown(notices.mutable_notices()->add_notices()->mutable_model_ready());
  for (v1::TrainerMessage* message : {&reports, &notices}) {
    ASSERT_THAT(message->SerializeAsString(), HasSubstr("unknown"));
    v1::TrainerMessage known = *message;
    known.DiscardUnknownFields();
    DiscardUnknownFields(message);
    EXPECT_EQ(message->SerializeAsString(), known.SerializeAsString());
  }
}

TEST(CheckReportTest, NonFiniteNumbersAreToldAsTheyAre) {
  EXPECT_THAT(CheckReport(Report(), 2), IsOk());
  EXPECT_THAT(CheckReport(v1::StepReport(), 2), IsOk()) << "little is required";
}

TEST(CheckReportTest, EachBadFieldIsNamed) {
  const struct {
    const char* field;
    std::function<void(v1::StepReport&)> spoil;
  } cases[] = {
      {"control_revision", [](auto& r) { r.set_control_revision(-1); }},
      {"nan_count", [](auto& r) { r.set_nan_count(-1); }},
      {"nan_count", [](auto& r) { r.set_pos_inf_count(-1); }},
      {"nan_count", [](auto& r) { r.set_neg_inf_count(std::numeric_limits<int64_t>::max()); }},
      {"grad_norm", [](auto& r) { r.set_grad_norm(-1); }},
      {"learning_rate", [](auto& r) { r.set_learning_rate(-0.1); }},
      {"learning_rate", [](auto& r) { r.set_learning_rate(kNan); }},
      {"step_seconds", [](auto& r) { r.set_step_seconds(-1); }},
      {"step_seconds", [](auto& r) { r.set_step_seconds(kNan); }},
      {"step_seconds", [](auto& r) { r.set_step_seconds(kInfinity); }},
      {"cosine_with_last", [](auto& r) { r.set_cosine_with_last(1.5); }},
      {"cosine_with_last", [](auto& r) { r.set_cosine_with_last(kNan); }},
      {"time", [](auto& r) { r.mutable_time()->set_nanos(-1); }},
      {"clip.action", [](auto& r) { r.mutable_clip()->set_action(static_cast<v1::ClipOutcome::Action>(9)); }},
      {"clip.coefficient", [](auto& r) { r.mutable_clip()->set_coefficient(1.5); }},
      {"clip.coefficient", [](auto& r) { r.mutable_clip()->set_coefficient(kNan); }},
      {"clip", [](auto& r) { r.mutable_clip()->set_norm_after(-1); }},
      {"clip", [](auto& r) { r.mutable_clip()->set_tensors_clipped(-1); }},
      {"tensors", [](auto& r) { r.mutable_tensors()->RemoveLast(); }},
      {"tensors", [](auto& r) { r.add_tensors()->set_tensor(2); }},
      {"tensors.tensor", [](auto& r) { r.mutable_tensors(1)->set_tensor(0); }},
      {"tensors.tensor", [](auto& r) { r.mutable_tensors(1)->set_tensor(-1); }},
      {"tensors", [](auto& r) { r.mutable_tensors(1)->set_nan_count(-1); }},
      {"tensors", [](auto& r) { r.mutable_tensors(1)->set_l2_norm(-1); }},
      {"tensors", [](auto& r) { r.mutable_tensors(1)->set_cosine_with_last(2); }},
      {"tensors", [](auto& r) { r.mutable_tensors(1)->set_clip_scale(2); }},
      {"tensors", [](auto& r) { r.mutable_tensors(1)->mutable_histogram()->set_sample_stride(3); }},
      {"tensors", [](auto& r) { r.mutable_tensors(1)->mutable_histogram()->set_sample_stride(0); }},
      {"tensors", [](auto& r) { r.mutable_tensors(1)->mutable_histogram()->set_zero_count(-1); }},
      {"tensors", [](auto& r) { r.mutable_tensors(1)->mutable_histogram()->set_positive_offset(5000); }},
      {"tensors", [](auto& r) { r.mutable_tensors(1)->mutable_histogram()->set_positive_counts(0, -1); }},
      {"tensors",
       [](auto& r) {
         for (int i = 0; i < 3000; ++i) r.mutable_tensors(1)->mutable_histogram()->add_negative_counts(1);
       }},
      {"layers.name", [](auto& r) { r.mutable_layers(0)->clear_name(); }},
      {"layers.name", [](auto& r) { r.mutable_layers(0)->set_name(Long(257)); }},
      {"layers.kind", [](auto& r) { r.mutable_layers(0)->set_kind(Long(65)); }},
      {"layers", [](auto& r) { r.mutable_layers(0)->set_saturated(1.5); }},
      {"layers", [](auto& r) { r.mutable_layers(0)->set_dead(-0.5); }},
      {"layers", [](auto& r) { r.mutable_layers(0)->set_attention_entropy(1.5); }},
      {"layers", [](auto& r) { r.mutable_layers(0)->set_attention_entropy(kNan); }},
      {"layers", [](auto& r) { r.mutable_layers(0)->set_output_variance(-1); }},
      {"layers", [](auto& r) { r.mutable_layers(0)->set_output_non_finite(-1); }},
      {"layers",
       [](auto& r) {
         for (int i = 0; i < 20'000; ++i) r.add_layers()->set_name("layer");
       }},
      {"validation", [](auto& r) { r.mutable_validation()->set_accuracy(1.5); }},
      {"validation", [](auto& r) { r.mutable_validation()->set_targets(-1); }},
      {"validation", [](auto& r) { r.mutable_validation()->set_perplexity(-1); }},
  };
  for (const auto& [field, spoil] : cases) {
    v1::StepReport report = Report();
    spoil(report);
    const absl::Status status = CheckReport(report, 2);
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr(field)));
    EXPECT_THAT(FieldsOf(status), ElementsAre(absl::StrCat("reports.reports.", field)));
  }
}

}  // namespace
}  // namespace gradwatch::server
