#include "tests/support/test_batch.h"

#include <google/protobuf/text_format.h>

#include <cmath>
#include <cstdlib>

#include "core/base/random.h"

namespace gradwatch::testing {
namespace {

core::Random Stream(uint64_t seed, uint64_t index) {
  return core::Random(seed, core::RandomStream::kSyntheticData, index);
}

std::vector<float> Normals(core::Random random, int64_t count) {
  std::vector<float> numbers(count);
  for (float& number : numbers) number = static_cast<float>(random.NextNormal());
  return numbers;
}

std::vector<int32_t> Below(core::Random random, int64_t bound, int64_t count) {
  std::vector<int32_t> numbers(count);
  for (int32_t& number : numbers) number = static_cast<int32_t>(random.NextBelow(bound));
  return numbers;
}

}  // namespace

v1::ModelSpec ParseModel(const std::string& text) {
  v1::ModelSpec model;
  if (!google::protobuf::TextFormat::ParseFromString(text, &model)) std::abort();
  return model;
}

TestBatch RandomBatch(const core::DataShape& data, int64_t size, uint64_t seed) {
  TestBatch batch;
  batch.size = size;
  const int64_t rows = data.input.rows() * size, target_rows = (data.target_per_step ? data.input.rows() : 1) * size;
  if (data.tokens) {
    batch.tokens = Below(Stream(seed, 0), data.input.features, rows);
  } else {
    batch.features = Normals(Stream(seed, 0), rows * data.input.features);
  }
  if (data.target == core::DataShape::Target::kClasses) {
    batch.classes = Below(Stream(seed, 1), data.outputs, target_rows);
  } else {
    batch.values = Normals(Stream(seed, 1), target_rows * data.outputs);
  }
  if (data.target == core::DataShape::Target::kProbabilities) {
    for (float& value : batch.values) value = 1 / (1 + std::exp(-value));
  }
  return batch;
}

TestBatch OneHot(const TestBatch& tokens, int64_t vocabulary) {
  TestBatch batch = tokens;
  batch.features.assign(tokens.tokens.size() * vocabulary, 0);
  for (size_t r = 0; r < tokens.tokens.size(); ++r) batch.features[r * vocabulary + tokens.tokens[r]] = 1;
  batch.tokens.clear();
  return batch;
}

core::DataShape ClassData(int64_t steps, int64_t features, int64_t classes, bool target_per_step) {
  core::DataShape data;
  data.input.steps = steps;
  data.input.features = features;
  data.outputs = classes;
  data.target_per_step = target_per_step;
  return data;
}

core::DataShape TokenData(int64_t steps, int64_t vocabulary, int64_t classes, bool target_per_step) {
  core::DataShape data = ClassData(steps, vocabulary, classes, target_per_step);
  data.tokens = true;
  return data;
}

core::DataShape ValueData(int64_t steps, int64_t features, int64_t values, bool target_per_step) {
  core::DataShape data = ClassData(steps, features, values, target_per_step);
  data.target = core::DataShape::Target::kValues;
  return data;
}

core::DataShape ProbabilityData(int64_t steps, int64_t features, int64_t values, bool target_per_step) {
  core::DataShape data = ValueData(steps, features, values, target_per_step);
  data.target = core::DataShape::Target::kProbabilities;
  return data;
}

core::DataShape ImageData(int64_t channels, int64_t height, int64_t width, int64_t classes) {
  core::DataShape data = ClassData(0, channels * height * width, classes);
  data.input.channels = channels;
  data.input.height = height;
  data.input.width = width;
  return data;
}

}  // namespace gradwatch::testing
