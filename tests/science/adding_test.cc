// The adding problem at length 50 (Le, Jaitly, Hinton 2015): a ReLU network that starts as the identity solves it, and
// sooner than a tanh network. A constant guess has an error of 1/6; solved is an error below 0.01 on sequences that it
// has not seen.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/science/job_run.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

constexpr char kExperiment[] = "adding problem, T = 50";

std::string Job(int64_t steps, const std::string& rnn, double weight_scale, double clip) {
  const std::string normal = absl::StrCat("{ method: INITIALIZER_METHOD_NORMAL scale: ", weight_scale, " }");
  return absl::StrCat("steps: ", steps, " seed: 1 model { layers { rnn { units: 100 input_init ", normal, rnn,
                      " } } layers { last_step {} } layers { dense { units: 1 weight_init ", normal,
                      " } } loss { function: LOSS_FUNCTION_SQUARED_ERROR } } "
                      "data { batch_size: 16 adding { sequence_length: 50 } } optimizer { learning_rate: 0.01 } "
                      "validation { examples: 1024 every_steps: 500 } controls { statistics: STATISTICS_LEVEL_NORM "
                      "clip { mode: CLIP_MODE_GLOBAL_NORM threshold: ",
                      clip, " } }");
}

bool Solves(const core::ValidationOutcome& outcome) { return outcome.loss < 0.01; }

TEST(ScienceAddingProblem, TheIdentityNetworkSolvesLength50SoonerThanTanh) {
  const JobRun identity = RunJob(Job(60'000,
                                     " nonlinearity: ACTIVATION_FUNCTION_RELU "
                                     "recurrent_init { method: INITIALIZER_METHOD_IDENTITY }",
                                     0.001, 10),
                                 1, Solves);
  // The first thing that is learnt is the mean.
  ExpectNear(kExperiment, "error of the first guesses", 1.0 / 6, identity.validations[0].loss, 0.03);
  ExpectBetween(kExperiment, "identity: steps until the error is < 0.01", 1000, 60'000,
                static_cast<double>(identity.solved_at));
  ExpectBetween(kExperiment, "identity: largest norm before clipping", 10, 1e30, identity.largest_norm);
  ASSERT_GT(identity.solved_at, 0);

  const JobRun tanh = RunJob(
      Job(identity.solved_at, " recurrent_init { method: INITIALIZER_METHOD_NORMAL scale: 0.1 }", 0.1, 1), 1, Solves);
  double least = 1;
  for (const core::ValidationOutcome& outcome : tanh.validations) least = std::min(least, outcome.loss);
  ExpectBetween(kExperiment, "tanh: least error by then", 0.01, 1.0 / 6 + 0.03, least);
}

}  // namespace
}  // namespace gradwatch::science
