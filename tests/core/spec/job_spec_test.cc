#include "core/spec/job_spec.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/spec/resource_limits.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::core {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

using Change = std::function<void(v1::JobSpec*)>;

// Two dense layers on spirals: 2 * 8 + 8 + 8 * 2 + 2 = 42 parameters.
v1::JobSpec Spec() {
  v1::JobSpec spec;
  spec.set_steps(100);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.mutable_data()->set_batch_size(16);
  spec.mutable_data()->mutable_spirals();
  spec.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY);
  spec.mutable_model()->add_layers()->mutable_dense()->set_units(8);
  spec.mutable_model()->add_layers()->mutable_activation()->set_function(v1::ACTIVATION_FUNCTION_TANH);
  spec.mutable_model()->add_layers()->mutable_dense()->set_units(2);
  return spec;
}

absl::StatusOr<ValidatedJob> Validate(const Change& change, const SpecLimits& limits = {}) {
  v1::JobSpec spec = Spec();
  change(&spec);
  return ValidateJob(spec, DataRoots(), limits);
}

TEST(ValidateJobTest, RefusesAClipOfNoTensor) {
  const auto clip = [](const char* tensors) {
    return [tensors](v1::JobSpec* spec) {
      v1::TensorClip* const limit = spec->mutable_controls()->mutable_clip()->add_overrides();
      limit->set_tensors(tensors);
      limit->set_mode(v1::CLIP_MODE_TENSOR_NORM);
      limit->set_threshold(1);
    };
  };
  EXPECT_THAT(Validate(clip("dense0.*")), IsOk());
  EXPECT_THAT(Validate(clip("dense1.*")), StatusIs(kInvalid, HasSubstr("controls.clip.overrides[0].tensors")));
}

TEST(ValidateJobTest, FillsInDefaultsAndCounts) {
  const auto job = ValidateJob(Spec(), DataRoots(), SpecLimits());
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(job->estimate.parameters(), 42);
  ASSERT_FALSE(job->tensors.empty());
  EXPECT_THAT(job->tensors[0].name(), HasSubstr(".weight"));
  EXPECT_EQ(job->estimate.parameter_bytes(), 4 * 16 * 2 * 4) << "parameters and gradients, four tensors in lines of 16";
  EXPECT_GE(job->estimate.activation_bytes(), 16 * (8 + 8 + 2) * 4);
  EXPECT_EQ(job->estimate.data_bytes(), 16 * (2 + 1) * 4) << "one batch";
  EXPECT_EQ(job->spec.threads(), 1);
  EXPECT_EQ(job->spec.optimizer().method(), v1::OPTIMIZER_METHOD_SGD);
  EXPECT_EQ(job->spec.controls().clip().mode(), v1::CLIP_MODE_NONE);
  EXPECT_EQ(job->spec.controls().report_every(), 1);
  EXPECT_GT(job->spec.rules().rules_size(), 0);
  EXPECT_TRUE(MessageDifferencer::Equals(job->spec.model(), Spec().model()));
  EXPECT_TRUE(MessageDifferencer::Equals(job->spec.data(), Spec().data()));
}

// The least that a job of a foreign program says.
v1::JobSpec ExternalSpec() {
  v1::JobSpec spec;
  spec.mutable_external()->set_framework("pytorch 1.13");
  return spec;
}

TEST(ValidateJobTest, AnExternalJobHasOnlyWhatIsWatched) {
  v1::JobSpec spec = ExternalSpec();
  spec.set_display_name("Theirs");
  (*spec.mutable_labels())["team"] = "research";
  spec.mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_SPAM);
  v1::TensorClip* const limit = spec.mutable_controls()->mutable_clip()->add_overrides();
  limit->set_tensors("encoder.*");
  limit->set_mode(v1::CLIP_MODE_TENSOR_NORM);
  limit->set_threshold(1);
  for (const int64_t steps : {int64_t{0}, int64_t{1}, int64_t{1'000'000'000'000}}) {
    spec.set_steps(steps);
    const auto job = ValidateJob(spec, DataRoots(), SpecLimits());
    ASSERT_THAT(job, IsOk()) << "what cannot be known yet is no error";
    EXPECT_TRUE(job->tensors.empty());
    EXPECT_TRUE(MessageDifferencer::Equals(job->estimate, v1::ResourceEstimate()));
    EXPECT_TRUE(MessageDifferencer::Equals(job->data, v1::DataSummary()));
    EXPECT_EQ(job->spec.steps(), steps);
    EXPECT_EQ(job->spec.controls().report_every(), 1) << "defaults";
    EXPECT_GT(job->spec.rules().rules_size(), 0) << "the same";
    EXPECT_FALSE(job->spec.has_threads()) << "nothing of how it trains is made up";
    EXPECT_FALSE(job->spec.has_optimizer());
    const auto again = ValidateJob(job->spec, DataRoots(), SpecLimits());
    ASSERT_THAT(again, IsOk());
    EXPECT_TRUE(MessageDifferencer::Equals(again->spec, job->spec));
  }
}

TEST(ValidateJobTest, AnExternalJobSaysNothingOfHowItTrains) {
  constexpr char kUnset[] = "must be unset: the job is external";
  const struct {
    Change change;
    const char* field;
    const char* message;
  } cases[] = {
      {[](auto* s) { s->mutable_model(); }, "model", kUnset},
      {[](auto* s) { s->mutable_data(); }, "data", kUnset},
      {[](auto* s) { s->mutable_data()->mutable_csv()->set_path("/etc/passwd"); }, "data", kUnset},
      {[](auto* s) { s->mutable_optimizer(); }, "optimizer", kUnset},
      {[](auto* s) { s->set_seed(1); }, "seed", kUnset},
      {[](auto* s) { s->set_threads(1); }, "threads", kUnset},
      {[](auto* s) { s->set_accumulation(1); }, "accumulation", kUnset},
      {[](auto* s) { s->mutable_validation(); }, "validation", kUnset},
      {[](auto* s) { s->mutable_checkpoints(); }, "checkpoints", kUnset},
      {[](auto* s) { s->add_policies(); }, "policies", kUnset},
      {[](auto* s) { s->set_steps(-1); }, "steps", "must be from 0 to 1000000000000; got -1"},
      {[](auto* s) { s->set_steps(1'000'000'000'001); }, "steps", "got 1000000000001"},
      {[](auto* s) { s->mutable_external()->set_framework(std::string(129, 'x')); }, "external.framework", "has 129"},
      {[](auto* s) { s->mutable_external()->set_framework("\xff"); }, "external.framework", "must be UTF-8"},
      {[](auto* s) { s->set_display_name(std::string(129, 'x')); }, "display_name", "has 129"},
      {[](auto* s) { (*s->mutable_labels())[""] = "x"; }, "labels", "keys must be"},
      {[](auto* s) { s->mutable_retention()->set_max_bytes(-1); }, "retention.max_bytes", "got -1"},
      {[](auto* s) { s->mutable_controls()->set_report_every(0); }, "controls.report_every", "got 0"},
      {[](auto* s) { s->mutable_rules()->add_rules(); }, "rules.rules[0].name", "must have 1 to 63"},
  };
  for (const auto& [change, field, message] : cases) {
    v1::JobSpec spec = ExternalSpec();
    change(&spec);
    const auto job = ValidateJob(spec, DataRoots(), SpecLimits());
    EXPECT_THAT(job, StatusIs(kInvalid, AllOf(HasSubstr(field), HasSubstr(message))));
    EXPECT_EQ(GetFieldViolations(job.status())[0].field, field);
  }
}

// The server stores what comes back and the worker checks it again.
TEST(ValidateJobTest, WhatComesBackIsValidAndStaysAsItIs) {
  const auto job = Validate([](auto* spec) {
    spec->mutable_optimizer()->set_momentum(0.9);
    (*spec->mutable_labels())["team"] = "research";
    spec->set_display_name("Spirals");
  });
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(job->estimate.parameter_bytes(), 4 * 16 * 3 * 4) << "momentum too";
  const auto again = ValidateJob(job->spec, DataRoots(), SpecLimits());
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(MessageDifferencer::Equals(again->spec, job->spec));
  EXPECT_TRUE(MessageDifferencer::Equals(again->estimate, job->estimate));
}

TEST(ValidateJobTest, EveryWrongFieldIsNamedByItsPath) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const std::string long_key(64, 'k');
  const struct {
    Change change;
    const char* field;
    const char* message;
  } cases[] = {
      {[](auto* s) { s->clear_model(); }, "model", "required"},
      {[](auto* s) { s->clear_data(); }, "data", "required"},
      {[](auto* s) { s->clear_optimizer(); }, "optimizer", "required"},
      {[](auto* s) { s->clear_steps(); }, "steps", "must be from 1 to 1000000000000; got 0"},
      {[](auto* s) { s->set_steps(-1); }, "steps", "got -1"},
      {[](auto* s) { s->set_steps(1'000'000'000'001); }, "steps", "got 1000000000001"},
      {[](auto* s) { s->set_threads(0); }, "threads", "must be from 1 to 256; got 0"},
      {[](auto* s) { s->set_threads(257); }, "threads", "got 257"},
      {[](auto* s) { s->set_display_name(std::string(129, 'x')); }, "display_name", "at most 128 characters; has 129"},
      {[](auto* s) { s->set_display_name("a\xff"); }, "display_name", "must be UTF-8"},
      {[](auto* s) { s->add_policies(); }, "policies", "not served yet"},
      {[](auto* s) { s->mutable_checkpoints(); }, "checkpoints", "not served yet"},
      {[](auto* s) { (*s->mutable_labels())[""] = "x"; }, "labels", "keys must be UTF-8 with 1 to 63 characters"},
      {[&](auto* s) { (*s->mutable_labels())[long_key] = "x"; }, "labels", "1 to 63 characters"},
      {[&](auto* s) { (*s->mutable_labels())["a"] = long_key; }, "labels.a", "at most 63 characters; has 64"},
      {[](auto* s) {
         for (int i = 0; i < 33; ++i) (*s->mutable_labels())[absl::StrCat("l", i)] = "x";
       },
       "labels", "at most 32; got 33"},
      {[](auto* s) { s->mutable_optimizer()->set_learning_rate(0); }, "optimizer.learning_rate", "0"},
      {[](auto* s) { s->mutable_optimizer()->set_beta1(0.9); }, "optimizer.beta1", "is only for ADAM, ADAMW"},
      {[](auto* s) { s->mutable_optimizer()->mutable_schedule()->set_period(5); }, "optimizer.schedule.period",
       "is only for STEP, PLATEAU"},
      {[](auto* s) { s->mutable_retention()->set_max_bytes(-1); }, "retention.max_bytes", "got -1"},
      {[](auto* s) { s->mutable_retention()->mutable_max_age()->set_seconds(-1); }, "retention.max_age.seconds",
       "got -1"},
      {[](auto* s) { s->mutable_retention()->mutable_max_age()->set_nanos(-1); }, "retention.max_age.nanos", "got -1"},
      {[](auto* s) { s->mutable_controls()->set_report_every(0); }, "controls.report_every", "got 0"},
      {[](auto* s) { s->mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_SPAM); }, "controls.clip.mode",
       "SPAM needs optimizer ADAM or ADAMW"},
      {[](auto* s) { s->mutable_controls()->mutable_clip()->mutable_spam()->set_theta(-1); },
       "controls.clip.spam.theta", "got -1"},
      {[](auto* s) { s->mutable_controls()->mutable_clip()->set_mode(v1::CLIP_MODE_VALUE); }, "controls.clip.threshold",
       "0"},
      {[](auto* s) { s->mutable_rules()->add_rules()->set_name("a b"); }, "rules.rules[0].name", "a b"},
      {[](auto* s) { s->mutable_data()->set_batch_size(0); }, "data.batch_size", "got 0"},
      {[](auto* s) { s->mutable_data()->clear_source(); }, "data.source", "required"},
      {[](auto* s) { s->mutable_data()->mutable_spirals()->set_arms(99); }, "data.spirals.arms", "got 99"},
      {[](auto* s) { s->mutable_model()->mutable_layers(0)->mutable_dense()->set_units(0); },
       "model.layers[0].dense.units", "0"},
      {[](auto* s) { s->mutable_model()->mutable_layers(2)->mutable_dense()->set_units(3); }, "model.layers[2]", "3"},
      {[](auto* s) { s->mutable_validation()->set_examples(int64_t{1} << 62); }, "validation.examples",
       "must be at most 1000000000; got 4611686018427387904"},
      {[](auto* s) { s->mutable_model()->mutable_loss()->set_delta(1); }, "model.loss.delta", "is only for HUBER"},
      {[](auto* s) { s->mutable_model()->clear_loss(); }, "model.loss.function", ""},
      {[=](auto* s) { s->mutable_optimizer()->set_learning_rate(nan); }, "optimizer.learning_rate",
       "must be finite; got nan"},
      {[=](auto* s) { s->mutable_optimizer()->set_beta1(infinity); }, "optimizer.beta1", "must be finite; got inf"},
      {[=](auto* s) { s->mutable_model()->mutable_layers(1)->mutable_activation()->set_alpha(-infinity); },
       "model.layers[1].activation.alpha", "must be finite; got -inf"},
      {[=](auto* s) { s->mutable_rules()->add_rules()->mutable_norm_limit()->set_max_norm(nan); },
       "rules.rules[0].norm_limit.max_norm", "must be finite; got nan"},
  };
  for (const auto& c : cases) {
    const absl::Status status = Validate(c.change).status();
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr(c.message))) << c.field;
    EXPECT_EQ(GetReason(status), "FIELD_VIOLATION");
    const auto violations = GetFieldViolations(status);
    EXPECT_TRUE(std::any_of(violations.begin(), violations.end(),
                            [&](const FieldViolation& v) { return absl::StartsWith(v.field, c.field); }))
        << c.field << " in " << status;
  }
}

// Every thread has its own working memory.
TEST(ValidateJobTest, CountsTheMemoryOfThreads) {
  const auto one = Validate([](auto*s) { s->set_threads(1); }), two = Validate([](auto*s) { s->set_threads(2); });
  ASSERT_THAT(two, IsOk());
  EXPECT_EQ(two->spec.threads(), 2);
  EXPECT_GT(two->estimate.activation_bytes(), one->estimate.activation_bytes());
}

TEST(ValidateJobTest, TellsEverythingAtOnce) {
  const absl::Status status = Validate([](auto* s) {
                                s->set_steps(0);
                                s->set_threads(-2);
                                s->mutable_optimizer()->set_learning_rate(-1);
                                s->mutable_controls()->set_learning_rate_scale(0);
                                s->mutable_data()->mutable_spirals()->set_noise(-1);
                              }).status();
  EXPECT_EQ(GetFieldViolations(status).size(), 5u) << status;
  const absl::Status empty = ValidateJob(v1::JobSpec(), DataRoots(), SpecLimits()).status();
  EXPECT_EQ(GetFieldViolations(empty).size(), 4u) << empty;
}

TEST(ValidateJobTest, NamesCountCharactersNotBytes) {
  std::string name;
  for (int i = 0; i < 128; ++i) name += "\xc3\xa9";
  EXPECT_THAT(Validate([&](auto* s) { s->set_display_name(name); }), IsOk());
}

TEST(ValidateJobTest, AMissingFileIsNotFoundUnlessMoreIsWrong) {
  const TempDir dir;
  const DataRoots roots = *DataRoots::Create({dir.path()});
  v1::JobSpec spec = Spec();
  spec.mutable_data()->mutable_text()->set_path("absent.txt");
  spec.mutable_data()->mutable_text()->set_sequence_length(4);
  const absl::Status missing = ValidateJob(spec, roots, SpecLimits()).status();
  EXPECT_THAT(missing, StatusIs(absl::StatusCode::kNotFound, HasSubstr("data.text.path: absent.txt: no such file")));
  EXPECT_EQ(GetFieldViolations(missing)[0].field, "data.text.path");
  spec.set_steps(0);
  const absl::Status both = ValidateJob(spec, roots, SpecLimits()).status();
  EXPECT_THAT(both, StatusIs(kInvalid, AllOf(HasSubstr("steps"), HasSubstr("data.text.path: absent.txt"))));
  EXPECT_EQ(GetFieldViolations(both).size(), 2u);
}

// It may be the data that was read otherwise than it was meant.
TEST(ValidateJobTest, AModelThatDoesNotFitIsToldWithWhatWasFoundInTheData) {
  const TempDir dir;
  const DataRoots roots = *DataRoots::Create({dir.path()});
  dir.Write("table.csv", "5.5,1\n6.5,0\n");
  dir.Write("text", "ab\r\ncd\r\n");
  v1::JobSpec table = Spec(), text = Spec();
  table.mutable_data()->set_batch_size(1);
  table.mutable_data()->mutable_csv()->set_path("table.csv");
  table.mutable_data()->mutable_csv()->add_inputs("0");
  table.mutable_data()->mutable_csv()->add_targets("1");
  text.mutable_data()->mutable_text()->set_path("text");
  text.mutable_data()->mutable_text()->set_sequence_length(3);
  const absl::Status loss = ValidateJob(table, roots, SpecLimits()).status();
  EXPECT_THAT(loss, StatusIs(kInvalid, AllOf(HasSubstr("model.loss.function: softmax_cross_entropy needs classes"),
                                             HasSubstr("; data: the first line is read as data, since all its"))));
  EXPECT_EQ(GetReason(loss), "FIELD_VIOLATION");
  EXPECT_THAT(ValidateJob(text, roots, SpecLimits()),
              StatusIs(kInvalid, AllOf(HasSubstr("model.layers[2]: gives 2 numbers per row"),
                                       HasSubstr("; data: lines end with CR LF; CR is one of its 6 characters"))));
  const auto violations = [&roots](const v1::JobSpec& spec) {
    return GetFieldViolations(ValidateJob(spec, roots, SpecLimits()).status()).size();
  };
  EXPECT_EQ(violations(table), 2u);
  table.mutable_data()->mutable_csv()->set_header(v1::CsvData::HEADER_NO);
  EXPECT_EQ(violations(table), 1u) << "nothing was taken for granted";
  text.mutable_model()->mutable_layers(0)->mutable_dense()->set_units(0);
  EXPECT_EQ(violations(text), 1u) << "whatever the data";
}

TEST(ValidateJobTest, CharactersTrainARecurrentNetwork) {
  const TempDir dir;
  dir.Write("text", "hello world, hello all");
  v1::JobSpec spec = Spec();
  spec.mutable_data()->mutable_text()->set_path("text");
  spec.mutable_data()->mutable_text()->set_sequence_length(4);
  spec.mutable_model()->clear_layers();
  spec.mutable_model()->add_layers()->mutable_rnn()->set_units(5);
  spec.mutable_model()->add_layers()->mutable_dense()->set_units(10);  // " ,adehlorw"
  EXPECT_THAT(ValidateJob(spec, *DataRoots::Create({dir.path()}), SpecLimits()), IsOk());
}

// The adding task has targets up to 2, of which the loss would have no least value.
TEST(ValidateJobTest, BinaryCrossEntropyIsOfProbabilities) {
  const TempDir dir;
  dir.Write("good.csv", "x,y\n1,0\n2,0.5\n3,1\n");
  dir.Write("bad.csv", "x,y\n1,0\n2,0.5\n3,6.3\n");
  const DataRoots roots = *DataRoots::Create({dir.path()});
  v1::JobSpec spec = Spec();
  spec.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_BINARY_CROSS_ENTROPY);
  spec.mutable_model()->clear_layers();
  spec.mutable_model()->add_layers()->mutable_dense()->set_units(1);
  const auto violation = [&] {
    const auto violations = GetFieldViolations(ValidateJob(spec, roots, SpecLimits()).status());
    return violations.size() == 1 ? absl::StrCat(violations[0].field, ": ", violations[0].description) : "none";
  };
  v1::CsvData& csv = *spec.mutable_data()->mutable_csv();
  csv.add_inputs("x");
  csv.add_targets("y");
  for (const bool standardize : {false, true}) {
    csv.set_standardize(standardize);
    csv.set_path("good.csv");
    EXPECT_THAT(ValidateJob(spec, roots, SpecLimits()), IsOk());
    csv.set_path("bad.csv");
    EXPECT_THAT(violation(), HasSubstr("data.csv.targets[0]: bad.csv: line 4, column 2 (y): 6.3 is not a probability"));
  }
  spec.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_HUBER);
  EXPECT_THAT(ValidateJob(spec, roots, SpecLimits()), IsOk()) << "which takes any value";
  spec.mutable_data()->mutable_adding()->set_sequence_length(4);
  spec.mutable_model()->mutable_layers(0)->mutable_rnn()->set_units(1);
  spec.mutable_model()->add_layers()->mutable_last_step();
  EXPECT_THAT(ValidateJob(spec, roots, SpecLimits()), IsOk());
  spec.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_BINARY_CROSS_ENTROPY);
  EXPECT_THAT(violation(), HasSubstr("model.loss.function: binary_cross_entropy needs probabilities (values "
                                     "from 0 to 1) as targets, but the data gives values"));
}

TEST(ValidateJobTest, ModelsBeyondTheLimitAreRefusedBeforeMemoryIsTaken) {
  const absl::Status small = Validate([](auto*) {}, {.max_parameters = 41}).status();
  EXPECT_THAT(small, StatusIs(absl::StatusCode::kInvalidArgument,
                              HasSubstr("model: 42 parameters exceed the limit of 41; the largest tensor is "
                                        "dense0.weight with 16")));
  EXPECT_EQ(GetReason(small), "QUOTA_PARAMS");
  EXPECT_EQ(GetFieldViolations(small)[0].field, "model");
  EXPECT_THAT(Validate([](auto*) {}, {.max_parameters = 42}), IsOk());
  // Terabytes, if they were taken.
  const Change huge = [](auto* s) {
    s->mutable_model()->clear_layers();
    for (const int units : {1'048'576, 1'048'576, 2})
      s->mutable_model()->add_layers()->mutable_dense()->set_units(units);
  };
  EXPECT_THAT(Validate(huge), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1099517919234 parameters")));
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(
      Validate(huge, {.max_parameters = kAny}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(" TiB) exceed the limit of 8589934592 (8.0 GiB): ")));
  EXPECT_THAT(Validate(huge, {.max_parameters = kAny, .max_bytes = kAny}), IsOk()) << "only counted";
}

TEST(ValidateJobTest, MemoryIsLimitedAsAWhole) {
  const auto job = Validate([](auto*) {});
  const int64_t bytes = EstimatedBytes(job->estimate);
  EXPECT_THAT(Validate([](auto*) {}, {.max_bytes = bytes}), IsOk());
  const absl::Status status = Validate([](auto*) {}, {.max_bytes = bytes - 1}).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(absl::StrCat(bytes, " bytes (")),
                                                                         HasSubstr(" MiB) exceed the limit of "))));
  EXPECT_EQ(GetReason(status), "QUOTA_MEMORY");
  // A batch that would not fit.
  const absl::Status batch = Validate([](auto* s) {
                               s->mutable_data()->set_batch_size(1'048'576);
                               s->mutable_data()->mutable_gaussian_clusters()->set_classes(2);
                               s->mutable_data()->mutable_gaussian_clusters()->set_features(65'536);
                             }).status();
  EXPECT_EQ(GetReason(batch), "QUOTA_MEMORY") << batch;
  EXPECT_EQ(GetFieldViolations(batch)[0].field, "data");
}

}  // namespace
}  // namespace gradwatch::core
