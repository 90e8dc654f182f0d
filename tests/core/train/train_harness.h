// Trains specs that are written as text, and keeps what is told about every step.
#ifndef GRADWATCH_TESTS_CORE_TRAIN_TRAIN_HARNESS_H_
#define GRADWATCH_TESTS_CORE_TRAIN_TRAIN_HARNESS_H_

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/spec/job_spec.h"
#include "core/train/trainer.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::core {

// `spec` with all defaults filled in, whose files are below `roots`; the test fails if it is not valid.
inline v1::JobSpec Resolved(const v1::JobSpec& spec, const DataRoots& roots = DataRoots()) {
  const auto job = ValidateJob(spec, roots, SpecLimits());
  EXPECT_THAT(job, testing::IsOk());
  return job.ok() ? job->spec : v1::JobSpec();
}

// The same of a text.
inline v1::JobSpec ParseSpec(const std::string& text, const DataRoots& roots = DataRoots()) {
  v1::JobSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return Resolved(spec, roots);
}

struct Training {
  TrainResult result;
  std::vector<StepRecord> steps;
};

class StepRecords final : public Observer {
 public:
  explicit StepRecords(std::vector<StepRecord>* steps) : steps_(steps) {}
  void OnStep(const StepRecord& record) override { steps_->push_back(record); }
  void OnAlert(const v1::Alert& /*alert*/) override {}
  void OnEdit(const EditOutcome& /*outcome*/) override {}
  void OnPaused(int64_t /*steps_done*/) override {}
  void OnResumed(int64_t /*steps_done*/) override {}

 private:
  std::vector<StepRecord>* const steps_;
};

inline Training Train(const v1::JobSpec& spec, LiveControls* live, const Clock& clock,
                      const DataRoots& roots = DataRoots()) {
  Training training;
  auto trainer = Trainer::Create(spec, roots, AlertIdentity(), &clock);
  EXPECT_THAT(trainer, testing::IsOk());
  StepRecords records(&training.steps);
  if (trainer.ok()) training.result = (*trainer)->Run(*live, records);
  return training;
}

inline Training Train(const v1::JobSpec& spec, const DataRoots& roots = DataRoots()) {
  LiveControls live({.controls = spec.controls()});
  return Train(spec, &live, testing::FakeClock(), roots);
}

// Trains on a table of its own: `table` is what is in the file "t.csv" of `spec`.
inline Training TrainOnTable(absl::string_view table, const std::string& spec) {
  const testing::TempDir folder;
  folder.Write("t.csv", table);
  const DataRoots roots = *DataRoots::Create({folder.path()});
  return Train(ParseSpec(spec, roots), roots);
}

}  // namespace gradwatch::core

#endif  // GRADWATCH_TESTS_CORE_TRAIN_TRAIN_HARNESS_H_
