#include "core/train/run_facts.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace gradwatch::core {
namespace {

v1::JobSpec WithLoss(v1::LossFunction function) {
  v1::JobSpec spec;
  spec.mutable_model()->mutable_loss()->set_function(function);
  return spec;
}

TEST(RunFactsTest, GuessingAmongClassesCostsTheirLogarithm) {
  DataShape data;
  data.outputs = 10;
  const RunFacts facts = FactsOf(WithLoss(v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY), data, Batch(), {});
  EXPECT_NEAR(facts.guessing_loss, 2.302585, 1e-6);
}

TEST(RunFactsTest, OfASquaredErrorItIsTheVarianceOfTheTargetsWhereTheSpecSaysThat) {
  DataShape data;
  data.outputs = 1;
  v1::JobSpec spec = WithLoss(v1::LOSS_FUNCTION_SQUARED_ERROR);
  EXPECT_TRUE(std::isnan(FactsOf(spec, data, Batch(), {}).guessing_loss));
  spec.mutable_data()->mutable_csv()->set_standardize(true);
  EXPECT_EQ(FactsOf(spec, data, Batch(), {}).guessing_loss, 1);
  spec.mutable_data()->mutable_csv()->set_standardize(false);
  EXPECT_TRUE(std::isnan(FactsOf(spec, data, Batch(), {}).guessing_loss));
  // Sums of two numbers between 0 and 1 on a fine grid, by counting.
  double sum = 0, squares = 0;
  constexpr int kGrid = 400;
  for (int i = 0; i < kGrid * kGrid; ++i) {
    const double target = ((i % kGrid) + 0.5 + (i / kGrid) + 0.5) / kGrid;
    sum += target;
    squares += target * target;
  }
  const double mean = sum / (kGrid * kGrid);
  spec.mutable_data()->mutable_adding()->set_sequence_length(10);
  EXPECT_NEAR(FactsOf(spec, data, Batch(), {}).guessing_loss, squares / (kGrid * kGrid) - mean * mean, 1e-4);
}

Batch WithTargets(std::span<const float> values) {
  Batch batch;
  batch.values = values;
  return batch;
}

// One output spread by 3 around 50, one constant.
TEST(RunFactsTest, ElseItIsTheVarianceOverTheFirstBatchIfThatIsLargeEnough) {
  DataShape data;
  data.outputs = 2;
  const std::vector<float> targets = {47, 5, 53, 5, 47, 5, 53, 5, 47, 5, 53, 5, 47, 5, 53, 5};
  const v1::JobSpec spec = WithLoss(v1::LOSS_FUNCTION_SQUARED_ERROR);
  const RunFacts facts = FactsOf(spec, data, WithTargets(targets), {});
  EXPECT_NEAR(facts.rough_guessing_loss, 4.5, 1e-9);
  EXPECT_TRUE(std::isnan(facts.guessing_loss)) << "of one batch it is no knowledge";
  EXPECT_TRUE(std::isnan(FactsOf(spec, data, WithTargets(std::span(targets).first(14)), {}).rough_guessing_loss));
}

TEST(RunFactsTest, TargetsThatDoNotVaryHaveNoLossOfGuessingAndLargeOnesHaveTheirs) {
  DataShape data;
  data.outputs = 1;
  const v1::JobSpec spec = WithLoss(v1::LOSS_FUNCTION_SQUARED_ERROR);
  for (const auto& [count, value] : {std::pair(10, 1.0f), {50, 0.3f}, {100, 1.0f}, {33, 1e9f}}) {
    const std::vector<float> same(count, value);
    EXPECT_TRUE(std::isnan(FactsOf(spec, data, WithTargets(same), {}).rough_guessing_loss)) << count << " " << value;
  }
  std::vector<float> stamps;  // whose floats lie 128 apart
  for (int i = 0; i < 20; ++i) stamps.push_back(1.7e9f + (i % 2 == 0 ? 51'200.0f : -51'200.0f));
  EXPECT_NEAR(FactsOf(spec, data, WithTargets(stamps), {}).rough_guessing_loss, 51'200.0 * 51'200.0, 1e4);
}

TEST(RunFactsTest, AnInputBehindWhichALayerNormalisesIsNotJudged) {
  DataShape data;
  data.input.features = 1;
  const std::vector<float> features = {1000};
  Batch batch;
  batch.features = features;
  const auto is_judged = [&](const std::string& layers) {
    v1::JobSpec spec;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(layers, spec.mutable_model()));
    return !std::isnan(FactsOf(spec, data, batch, {}).input_scale);
  };
  EXPECT_FALSE(is_judged("layers { rms_norm {} }"));
  EXPECT_FALSE(is_judged("layers { flatten {} } layers { dropout {} } layers { layer_norm {} }"));
  EXPECT_FALSE(is_judged("layers { dense {} } layers { batch_norm {} }"));
  EXPECT_TRUE(is_judged("layers { dense {} } layers { activation {} } layers { batch_norm {} }"));
  EXPECT_TRUE(is_judged("layers { dense {} } layers { dense {} } layers { batch_norm {} }"));
  EXPECT_TRUE(is_judged("layers { residual { layers { batch_norm {} } } }"));
}

TEST(RunFactsTest, ALongNameIsCut) {
  DataShape data;
  data.input.features = 1;
  const std::vector<float> features = {1000};
  Batch batch;
  batch.features = features;
  v1::JobSpec spec;
  spec.mutable_data()->mutable_csv()->add_inputs(std::string(5000, 'x'));
  EXPECT_EQ(FactsOf(spec, data, batch, {}).largest_input, absl::StrCat(std::string(60, 'x'), "..."));
}

TEST(RunFactsTest, TheLargestInputIsToldByTheNameOfItsColumn) {
  DataShape data;
  data.input.features = 3;
  const std::vector<float> features = {1, 30'000, 2, 3, -40'000, 4};
  Batch batch;
  batch.features = features;
  v1::JobSpec spec;
  EXPECT_EQ(FactsOf(spec, data, batch, {}).largest_input, "1");
  for (const char* const name : {"age", "income", "height"}) spec.mutable_data()->mutable_csv()->add_inputs(name);
  const RunFacts facts = FactsOf(spec, data, batch, {});
  EXPECT_NEAR(facts.input_scale, std::sqrt((9e8 + 16e8) / 2), 1e-6);
  EXPECT_EQ(facts.largest_input, "income");
  EXPECT_TRUE(std::isnan(FactsOf(spec, data, Batch(), {}).input_scale)) << "tokens";
  spec.mutable_model()->add_layers()->mutable_batch_norm();
  EXPECT_TRUE(std::isnan(FactsOf(spec, data, batch, {}).input_scale));
}

TEST(RunFactsTest, OtherLossesHaveNone) {
  DataShape data;
  data.outputs = 4;
  for (const auto function : {v1::LOSS_FUNCTION_HUBER, v1::LOSS_FUNCTION_BINARY_CROSS_ENTROPY}) {
    v1::JobSpec spec = WithLoss(function);
    spec.mutable_data()->mutable_csv()->set_standardize(true);
    EXPECT_TRUE(std::isnan(FactsOf(spec, data, Batch(), {}).guessing_loss));
  }
}

TEST(RunFactsTest, LayersAreCalledByTheirNamesAndKinds) {
  const LayerInfo layers[] = {{"dense0", "dense"}, {"residual1.dense0", "dense"}, {"encoder", "lstm"}};
  EXPECT_THAT(FactsOf(v1::JobSpec(), DataShape(), Batch(), layers).layer_names,
              ::testing::ElementsAre("dense0", "residual1.dense0", "encoder (lstm)"));
}

}  // namespace
}  // namespace gradwatch::core
