// Temporal order at length 50 (Pascanu, Mikolov, Bengio 2013, section 4.1.1; inputs, initialisation "smart tanh" and
// clipping as in the authors' program, but that a recurrent layer has two biases here): plain descent fails, clipping
// helps, clipping with the regulariser against vanishing gradients solves it. The authors stop after 5 million updates,
// this after 50,000.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/science/job_run.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

constexpr char kExperiment[] = "Pascanu et al. 2013, T = 50";
// So many that shares of solved runs, which are about a half with clipping, are known to a tenth. The seeds were fixed
// before they were tried, and none is left out.
constexpr int kFirstSeed = 101, kSeeds = 30;

// The recurrent matrix is sparse, of spectral radius 0.95.
std::string Job(int seed, bool clip, double penalty) {
  return absl::StrCat(
      "steps: 50000 seed: ", seed,
      " model { layers { rnn { units: 50 input_init { method: INITIALIZER_METHOD_NORMAL scale: 0.01 } "
      "recurrent_init { method: INITIALIZER_METHOD_SPARSE nonzeros: 15 spectral_radius: 0.95 } vanishing_penalty: ",
      penalty,
      " } } layers { last_step {} } layers { dense { units: 4 weight_init { method: INITIALIZER_METHOD_NORMAL "
      "scale: 0.01 } } } loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY } } "
      "data { batch_size: 20 temporal_order { sequence_length: 50 } } optimizer { learning_rate: 0.01 } "
      "validation { examples: 2000 every_steps: 100 } controls { statistics: STATISTICS_LEVEL_NORM ",
      clip ? "clip { mode: CLIP_MODE_GLOBAL_NORM threshold: 1 } " : "", "}");
}

// Under 1 % of 2,000 new sequences are wrong.
bool Solves(const core::ValidationOutcome& outcome) {
  return static_cast<double>(outcome.correct) > 0.99 * static_cast<double>(outcome.targets);
}

int Solved(bool clip, double penalty) {
  int solved = 0;
  for (int seed = kFirstSeed; seed < kFirstSeed + kSeeds; ++seed) {
    const JobRun run = RunJob(Job(seed, clip, penalty), 1, Solves);
    solved += run.solved_at > 0 ? 1 : 0;
    std::printf("  seed %d: %s\n", seed, run.solved_at > 0 ? absl::StrCat(run.solved_at).c_str() : "not solved");
  }
  return solved;
}

TEST(ScienceTemporalOrder, PlainDescentFails) {
  ExpectBetween(kExperiment, "solved by SGD, of 30", 0, 6, Solved(false, 0));
}

TEST(ScienceTemporalOrder, ClippingHelps) {
  ExpectBetween(kExperiment, "solved by SGD-C, of 30", 12, 30, Solved(true, 0));
}

TEST(ScienceTemporalOrder, TheRegulariserSolves) {
  ExpectBetween(kExperiment, "solved by SGD-CR, of 30", 24, 30, Solved(true, 4));
}

}  // namespace
}  // namespace gradwatch::science
