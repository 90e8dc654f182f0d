// A convolutional network on real digits: it learns, and not only by heart.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>

#include "core/data/data_source.h"
#include "core/nn/network.h"
#include "core/optim/optimizer.h"
#include "tests/support/shared_data.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::SharedFile;

// As in deploy/jobs/mnist_conv.yaml.
constexpr char kModel[] = R"(
  layers { conv2d { channels: 8 kernel: 5 } }
  layers { activation { function: ACTIVATION_FUNCTION_RELU } }
  layers { pool2d { mode: MODE_MAX kernel: 2 } }
  layers { conv2d { channels: 16 kernel: 5 } }
  layers { activation { function: ACTIVATION_FUNCTION_RELU } }
  layers { pool2d { mode: MODE_MAX kernel: 2 } }
  layers { flatten {} }
  layers { dense { units: 10 } }
  loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY })";
constexpr int64_t kSteps = 1000, kBatch = 64, kTrained = 8000, kJudged = 2000;
constexpr uint64_t kSeed = 1;

// Examples [first, first + count) of MNIST's test set; null where it is absent.
std::unique_ptr<DataSource> Digits(int64_t first, int64_t count, int64_t batch) {
  const std::string images = SharedFile("data/t10k-images-idx3-ubyte.gz");
  if (images.empty()) return nullptr;
  v1::DataSpec spec;
  spec.set_batch_size(static_cast<int32_t>(batch));
  spec.mutable_idx()->set_images(images);
  spec.mutable_idx()->set_labels("t10k-labels-idx1-ubyte.gz");
  spec.mutable_idx()->set_first(first);
  spec.mutable_idx()->set_count(count);
  auto source = OpenData(spec, kSeed, *DataRoots::Create({std::filesystem::path(images).parent_path().string()}));
  EXPECT_THAT(source, IsOk());
  return source.ok() ? *std::move(source) : nullptr;
}

std::unique_ptr<Network<float>> Make(const DataSource& data, int64_t batch) {
  auto network = Network<float>::Create(ParseModel(kModel), data.shape(), batch);
  if (!network.ok()) std::abort();
  (*network)->Initialize(kSeed);
  return *std::move(network);
}

void Train(DataSource& data, Network<float>& network) {
  v1::OptimizerSpec spec;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString("learning_rate: 0.03 momentum: 0.9", &spec));
  const auto optimizer = MakeOptimizer<float>(ResolveOptimizer(spec), &network.layout());
  StepRecord record;
  record.level = v1::STATISTICS_LEVEL_NONE;
  record.tensors.resize(network.layout().segments().size());
  for (int64_t step = 0; step < kSteps; ++step) {
    network.LossAndGradients(data.Fill(step), step);
    optimizer->Step(spec.learning_rate(), network.gradients(), network.parameters(), &record);
  }
}

// Of the last 2,000 images a network is right about at least 97 of 100 after it has learnt from the first 8,000.
TEST(SlowMnistTest, AConvolutionalNetworkReads97Of100UnseenDigits) {
  const auto seen = Digits(0, kTrained, kBatch), unseen = Digits(kTrained, kJudged, kJudged);
  if (seen == nullptr || unseen == nullptr) GTEST_SKIP() << "no ../shared/data/t10k-images-idx3-ubyte.gz";
  const auto network = Make(*seen, kBatch), judged = Make(*unseen, kJudged);
  Train(*seen, *network);
  std::ranges::copy(network->parameters(), judged->parameters().begin());
  const Evaluation evaluation = judged->Evaluate(unseen->Fill(0));
  ASSERT_EQ(evaluation.targets, kJudged);
  ASSERT_TRUE(evaluation.correct.has_value());
  RecordProperty("correct", static_cast<int>(*evaluation.correct));
  EXPECT_GE(*evaluation.correct, kJudged * 97 / 100);
  EXPECT_LT(evaluation.loss, 0.12);
}

}  // namespace
}  // namespace gradwatch::core
