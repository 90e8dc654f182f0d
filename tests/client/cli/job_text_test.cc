#include "client/cli/job_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/controls_text.h"

namespace gradwatch::cli {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(EstimateTextTest, TellsTheSumAndEveryPartThatThereIs) {
  v1::ResourceEstimate estimate;
  estimate.set_parameters(1234);
  estimate.set_parameter_bytes(10 << 10);
  estimate.set_activation_bytes(3 << 10);
  estimate.set_data_bytes(1 << 20);
  estimate.set_watch_bytes(2 << 20);
  estimate.set_report_bytes(64 << 20);
  estimate.set_process_bytes(64 << 20);
  EXPECT_EQ(EstimateText(estimate),
            "1234 parameters; memory: 131 MiB in all: 10 KiB parameters and optimizer, 3 KiB activations, 1 MiB data, "
            "2 MiB statistics and rules, 64 MiB reports, 64 MiB program");
  EXPECT_THAT(EstimateText(estimate), Not(HasSubstr("start")));
  estimate.set_start_bytes(5 << 20);
  EXPECT_THAT(EstimateText(estimate), HasSubstr("136 MiB in all: "));
  EXPECT_THAT(EstimateText(estimate), HasSubstr(", 5 MiB start, "));
}

TEST(EstimateTextTest, NoPartIsLeftOut) {
  const google::protobuf::Descriptor& fields = *v1::ResourceEstimate::descriptor();
  for (int i = 0; i < fields.field_count(); ++i) {
    if (fields.field(i)->name() == "parameters") continue;
    v1::ResourceEstimate estimate;
    estimate.GetReflection()->SetInt64(&estimate, fields.field(i), 3 << 10);
    EXPECT_THAT(EstimateText(estimate), ContainsRegex("memory: 3 KiB in all: 3 KiB [a-z ]+$"))
        << fields.field(i)->name();
  }
}

TEST(JobTextTest, WhatWasAdjustedIsShown) {
  v1::Job job;
  job.mutable_controls()->set_learning_rate_scale(1);
  job.mutable_controls()->set_statistics(v1::STATISTICS_LEVEL_FULL);
  EXPECT_THAT(JobText(job, absl::UnixEpoch()), Not(HasSubstr("adjusted")));
  job.mutable_controls()->set_learning_rate_scale(0.5);
  job.mutable_controls()->set_report_every(10);
  job.mutable_controls()->set_layer_statistics(true);
  EXPECT_THAT(JobText(job, absl::UnixEpoch()),
              ContainsRegex("adjusted +learning_rate_scale 0.5, report_every 10, layer_statistics on\n"));
}

TEST(JobTextTest, WhatTheSpecItselfSetWasNotAdjusted) {
  v1::Job job;
  v1::Controls& at_start = *job.mutable_spec()->mutable_controls();
  at_start.set_learning_rate_scale(0.5);
  at_start.set_report_every(10);
  at_start.set_gradient_cosine(true);
  *job.mutable_controls() = at_start;
  EXPECT_THAT(JobText(job, absl::UnixEpoch()), Not(HasSubstr("adjusted")));
  job.mutable_controls()->set_learning_rate_scale(1);
  job.mutable_controls()->set_gradient_cosine(false);
  EXPECT_THAT(JobText(job, absl::UnixEpoch()), ContainsRegex("adjusted +learning_rate_scale 1, gradient_cosine off\n"))
      << "also back to the defaults";
}

TEST(JobTextTest, WhatWasAdjustedALittleIsShown) {
  v1::Job job;
  job.mutable_controls()->set_learning_rate_scale(1.00001);
  EXPECT_THAT(JobText(job, absl::UnixEpoch()), ContainsRegex("adjusted +learning_rate_scale 1.00001\n"));
  v1::Controls before, after;
  before.mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
  before.mutable_clip()->set_threshold(12345);
  after = before;
  after.mutable_clip()->set_threshold(12345.5);
  EXPECT_EQ(ChangeText(before, after), "clip: global_norm 12345 -> global_norm 12345.5");
}

TEST(JobTextTest, AJobOfAForeignProgramSaysSoAndNothingOfAModel) {
  v1::Job job;
  job.set_job_id("theirs");
  job.set_state(v1::JOB_STATE_PENDING);
  job.mutable_spec()->mutable_external()->set_framework("pytorch 1.13");
  EXPECT_THAT(JobText(job, absl::UnixEpoch()),
              ContainsRegex("trainer +external, pytorch 1.13; it has not attached yet"));
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_steps_done(5);
  job.mutable_spec()->mutable_external()->clear_framework();
  const std::string text = JobText(job, absl::UnixEpoch());
  EXPECT_THAT(text, ContainsRegex("trainer +external\n"));
  EXPECT_THAT(text, ContainsRegex("steps +5\n")) << "nobody knows of how many";
  EXPECT_THAT(text, Not(HasSubstr("needs")));
  EXPECT_THAT(JobListText({job}, absl::UnixEpoch()), ContainsRegex("theirs +running +5 "));
}

}  // namespace
}  // namespace gradwatch::cli
