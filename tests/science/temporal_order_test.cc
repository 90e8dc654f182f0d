// Temporal order at length 50 (Pascanu, Mikolov, Bengio 2013, section 4.1.1; inputs and initialisation as in the
// authors' program): plain descent fails, clipping helps, clipping with the regulariser against vanishing gradients
// solves it.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/science/job_run.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

constexpr int kSeeds = 5;

// "Smart tanh": a sparse recurrent matrix of spectral radius 0.95.
std::string Job(int seed, bool clip, double penalty) {
  return absl::StrCat(
      "steps: 20000 seed: ", seed,
      " model { layers { rnn { units: 50 input_init { method: INITIALIZER_METHOD_NORMAL scale: 0.01 } "
      "recurrent_init { method: INITIALIZER_METHOD_SPARSE nonzeros: 15 spectral_radius: 0.95 } vanishing_penalty: ",
      penalty,
      " } } layers { last_step {} } layers { dense { units: 4 weight_init { method: INITIALIZER_METHOD_NORMAL "
      "scale: 0.01 } } } loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY } } "
      "data { batch_size: 20 temporal_order { sequence_length: 50 } } optimizer { learning_rate: 0.01 } "
      "validation { examples: 2000 every_steps: 500 } controls { statistics: STATISTICS_LEVEL_NORM ",
      clip ? "clip { mode: CLIP_MODE_GLOBAL_NORM threshold: 1 } " : "", "}");
}

// Solved: at some time under 1 % of 2,000 new sequences are wrong.
bool IsSolved(const JobRun& run) {
  return std::ranges::any_of(run.validations, [](const core::ValidationOutcome& outcome) {
    return static_cast<double>(outcome.correct) > 0.99 * static_cast<double>(outcome.targets);
  });
}

int Solved(bool clip, double penalty) {
  int solved = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) solved += IsSolved(RunJob(Job(seed, clip, penalty))) ? 1 : 0;
  return solved;
}

TEST(ScienceTemporalOrder, ClippingHelpsAndTheRegulariserSolves) {
  const int plain = Solved(false, 0), clipped = Solved(true, 0), regularised = Solved(true, 4);
  const std::string experiment = "Pascanu et al. 2013, T = 50";
  ExpectBetween(experiment, "solved by SGD, of 5", 0, 1, plain);
  ExpectBetween(experiment, "solved by SGD-C, of 5", 2, 5, clipped);
  ExpectBetween(experiment, "solved by SGD-CR, of 5", 4, 5, regularised);
  EXPECT_LE(plain, clipped);
  EXPECT_LE(clipped, regularised);
}

}  // namespace
}  // namespace gradwatch::science
