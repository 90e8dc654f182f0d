// A random batch that owns what core::Batch only borrows, and models as text.
#ifndef GRADWATCH_TESTS_SUPPORT_TEST_BATCH_H_
#define GRADWATCH_TESTS_SUPPORT_TEST_BATCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/data/batch.h"
#include "gradwatch/v1/model.pb.h"

namespace gradwatch::testing {

// The message of a text proto; the process dies if it does not parse.
v1::ModelSpec ParseModel(const std::string& text);

struct TestBatch {
  int64_t size = 0;
  std::vector<float> features = {};
  std::vector<int32_t> tokens = {}, classes = {};
  std::vector<float> values = {};

  core::Batch get() const { return {size, features, tokens, classes, values}; }
};

// Standard normal features and values, uniform tokens and classes, probabilities of normal logits; a pure function of
// the seed.
TestBatch RandomBatch(const core::DataShape& data, int64_t size, uint64_t seed);

// The batch with its tokens written out as one-hot rows.
TestBatch OneHot(const TestBatch& tokens, int64_t vocabulary);

// Sequences of tokens, with classes as targets.
core::DataShape TokenData(int64_t steps, int64_t vocabulary, int64_t classes, bool target_per_step);
// Shapes for tests: rows of `features` numbers, or `steps` of them (0: no time axis), with classes as targets.
core::DataShape ClassData(int64_t steps, int64_t features, int64_t classes, bool target_per_step = false);
// The same with values as targets.
core::DataShape ValueData(int64_t steps, int64_t features, int64_t values, bool target_per_step = false);

// The same with probabilities.
core::DataShape ProbabilityData(int64_t steps, int64_t features, int64_t values, bool target_per_step = false);

// Images, with classes as targets.
core::DataShape ImageData(int64_t channels, int64_t height, int64_t width, int64_t classes);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_TEST_BATCH_H_
