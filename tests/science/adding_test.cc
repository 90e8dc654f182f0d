// The adding problem at length 50 (Le, Jaitly, Hinton 2015): a ReLU network that starts as the identity solves it. A
// constant guess has an error of 1/6; solved is an error below 0.01 on sequences that it has not seen.
#include <gtest/gtest.h>

#include "tests/science/job_run.h"
#include "tests/science/science_table.h"

namespace gradwatch::science {
namespace {

TEST(ScienceAddingProblem, TheIdentityNetworkSolvesLength50) {
  const JobRun run = RunJob(R"(
    steps: 60000 seed: 1
    model {
      layers { rnn { units: 100 nonlinearity: ACTIVATION_FUNCTION_RELU
                     input_init { method: INITIALIZER_METHOD_NORMAL scale: 0.001 }
                     recurrent_init { method: INITIALIZER_METHOD_IDENTITY } } }
      layers { last_step {} }
      layers { dense { units: 1 weight_init { method: INITIALIZER_METHOD_NORMAL scale: 0.001 } } }
      loss { function: LOSS_FUNCTION_SQUARED_ERROR }
    }
    data { batch_size: 16 adding { sequence_length: 50 } }
    optimizer { learning_rate: 0.01 }
    validation { examples: 1024 every_steps: 1000 }
    controls { statistics: STATISTICS_LEVEL_NORM clip { mode: CLIP_MODE_GLOBAL_NORM threshold: 10 } })");
  int solved_at = 0;
  for (size_t i = 0; i < run.validations.size() && solved_at == 0; ++i) {
    if (run.validations[i].loss < 0.01) solved_at = 1000 * static_cast<int>(i + 1);
  }
  ExpectNear("adding problem, T = 50", "error of the first guesses", 1.0 / 6, run.validations.front().loss, 0.03);
  ExpectBetween("adding problem, T = 50", "steps until the error is below 0.01", 1000, 60000, solved_at);
  ExpectBetween("adding problem, T = 50", "largest norm before clipping", 10, 1e30, run.largest_norm);
}

}  // namespace
}  // namespace gradwatch::science
