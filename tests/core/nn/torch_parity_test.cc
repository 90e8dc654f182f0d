// Every layer and loss against PyTorch, and larger networks on pictures and on text.
#include "tests/support/torch_parity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/model_cases.h"
#include "tests/support/shared_data.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::AllModelCases;
using ::gradwatch::testing::ClassData;
using ::gradwatch::testing::ModelCase;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::SharedFile;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::TorchParity;
using ::gradwatch::testing::ValueData;

// One network by itself.
void ExpectParity(const std::string& model, const DataShape& data, const TestBatch& batch) {
  TorchParity parity;
  parity.Add("network", model, data, batch);
  if (!parity.Check()) GTEST_SKIP() << "no PyTorch (python3-torch)";
}

TEST(TorchParityTest, EveryLayerAndLoss) {
  TorchParity parity;
  for (const ModelCase& c : AllModelCases()) parity.Add(c.name, c.model, c.data, RandomBatch(c.data, 5, c.seed));
  if (!parity.Check()) GTEST_SKIP() << "no PyTorch (python3-torch)";
}

// The first `count` pictures of MNIST's test set, from 0 to 1, with made-up classes.
TestBatch Pictures(const std::string& path, int64_t count) {
  TestBatch batch = RandomBatch(ClassData(0, 784, 10), count, 1);
  FILE* const pipe = popen(absl::StrCat("gzip -dc ", path).c_str(), "r");
  std::vector<unsigned char> bytes(16 + count * 784);
  EXPECT_EQ(std::fread(bytes.data(), 1, bytes.size(), pipe), bytes.size());
  pclose(pipe);
  for (size_t i = 0; i < batch.features.size(); ++i) batch.features[i] = bytes[16 + i] / 255.0f;
  return batch;
}

TEST(TorchParityTest, PicturesThroughDenseActivationsAndResidualBlocks) {
  const std::string path = SharedFile("data/t10k-images-idx3-ubyte.gz");
  if (path.empty()) GTEST_SKIP() << "no ../shared/data/t10k-images-idx3-ubyte.gz";
  ExpectParity(R"(
    layers { name: 'in' dense { units: 96 } }
    layers { activation { function: ACTIVATION_FUNCTION_TANH } }
    layers { dense { units: 64 bias: false weight_init { method: INITIALIZER_METHOD_HE } } }
    layers { activation { function: ACTIVATION_FUNCTION_RELU } }
    layers { residual {
      layers { dense { units: 40 } }
      layers { activation { function: ACTIVATION_FUNCTION_RELU } }
      layers { residual { layers { dense { units: 40 } } layers { activation { function: ACTIVATION_FUNCTION_TANH } } } }
      layers { dense { units: 64 } } } }
    layers { dense { units: 32 } }
    layers { activation { function: ACTIVATION_FUNCTION_SIGMOID } }
    layers { dense { units: 10 } }
    loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY })",
               ClassData(0, 784, 10), Pictures(path, 64));
}

TEST(TorchParityTest, PicturesReadRowByRow) {
  const std::string path = SharedFile("data/t10k-images-idx3-ubyte.gz");
  if (path.empty()) GTEST_SKIP() << "no ../shared/data/t10k-images-idx3-ubyte.gz";
  const TestBatch pictures = Pictures(path, 16);
  TestBatch rows = pictures;  // step t is row t of the picture
  for (int64_t b = 0; b < 16; ++b) {
    for (int64_t t = 0; t < 28; ++t) {
      std::copy_n(pictures.features.begin() + b * 784 + t * 28, 28, rows.features.begin() + (t * 16 + b) * 28);
    }
  }
  ExpectParity(R"(
    layers { rnn { units: 40 nonlinearity: ACTIVATION_FUNCTION_RELU } }
    layers { residual { layers { rnn { units: 40 } } } }
    layers { last_step {} }
    layers { dense { units: 10 } }
    loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY })",
               ClassData(28, 28, 10), rows);
}

TEST(TorchParityTest, ValuesFromAFlattenedSequence) {
  const DataShape data = ValueData(6, 5, 3);
  ExpectParity(R"(
    layers { dense { units: 8 } }
    layers { activation { function: ACTIVATION_FUNCTION_TANH } }
    layers { flatten {} }
    layers { dense { units: 3 } }
    loss { function: LOSS_FUNCTION_SQUARED_ERROR })",
               data, RandomBatch(data, 9, 1));
}

// Characters as tokens; the target of each step is the character after it.
TEST(TorchParityTest, TextThroughRecurrentLayers) {
  const std::string path = SharedFile("data/tinyshakespeare.txt");
  if (path.empty()) GTEST_SKIP() << "no ../shared/data/tinyshakespeare.txt";
  constexpr int64_t kSteps = 48, kBatch = 8;
  std::ifstream in(path, std::ios::binary);
  std::string text(20'000, ' ');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  const std::set<char> alphabet(text.begin(), text.end());
  std::array<int32_t, 256> code = {};
  int32_t next = 0;
  for (const char c : alphabet) code[static_cast<unsigned char>(c)] = next++;

  DataShape data = ClassData(kSteps, next, next, true);
  data.tokens = true;
  TestBatch batch{.size = kBatch};
  for (int64_t t = 0; t < kSteps; ++t) {
    for (int64_t b = 0; b < kBatch; ++b) {
      batch.tokens.push_back(code[static_cast<unsigned char>(text[b * 1000 + t])]);
      batch.classes.push_back(code[static_cast<unsigned char>(text[b * 1000 + t + 1])]);
    }
  }
  ExpectParity(absl::StrCat("layers { rnn { units: 64 } } layers { rnn { units: 48 } } layers { dense { units: ", next,
                            " } } loss { function: LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY }"),
               data, batch);
}

}  // namespace
}  // namespace gradwatch::core
