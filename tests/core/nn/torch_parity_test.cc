// The same networks in PyTorch, on pictures and on text: loss to 1e-12, gradients to 1e-10 of their global norm.
#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/nn/network.h"
#include "tests/support/shared_data.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_batch.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::ClassData;
using ::gradwatch::testing::ParseModel;
using ::gradwatch::testing::RandomBatch;
using ::gradwatch::testing::SharedFile;
using ::gradwatch::testing::TempDir;
using ::gradwatch::testing::TestBatch;
using ::gradwatch::testing::ValueData;

constexpr int kNoTorch = 77;

template <typename T>
void WriteRaw(const TempDir& folder, const std::string& name, const std::vector<T>& numbers) {
  if (numbers.empty()) return;
  folder.Write(name, absl::string_view(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(T)));
}

std::vector<double> Doubles(const std::vector<float>& floats) { return {floats.begin(), floats.end()}; }

// What tests/support/torch_oracle.py reads.
void Export(const TempDir& folder, const v1::ModelSpec& model, const DataShape& data, const TestBatch& batch,
            Network<double>* network) {
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  ASSERT_TRUE(google::protobuf::util::MessageToJsonString(model, &json, options).ok());
  std::vector<std::string> tensors;
  std::vector<double> parameters;
  for (const ParameterSegment& s : network->layout().segments()) {
    tensors.push_back(absl::StrCat(R"({"name": ")", s.name, R"(", "shape": [)", absl::StrJoin(s.shape, ", "), "]}"));
    const auto values = network->parameters().subspan(s.offset, s.size);
    parameters.insert(parameters.end(), values.begin(), values.end());
  }
  folder.Write("job.json",
               absl::StrCat(R"({"model": )", json, R"(, "tensors": [)", absl::StrJoin(tensors, ", "),
                            R"(], "data": {"steps": )", data.input.steps, R"(, "features": )", data.input.features,
                            R"(, "tokens": )", data.tokens ? "true" : "false", R"(}, "batch": )", batch.size, "}"));
  WriteRaw(folder, "parameters", parameters);
  WriteRaw(folder, "features", Doubles(batch.features));
  WriteRaw(folder, "tokens", batch.tokens);
  WriteRaw(folder, "classes", batch.classes);
  WriteRaw(folder, "values", Doubles(batch.values));
}

std::vector<double> ReadResult(const TempDir& folder) {
  std::ifstream in(folder.File("result"), std::ios::binary);
  std::vector<double> numbers;
  for (double number; in.read(reinterpret_cast<char*>(&number), sizeof(number));) numbers.push_back(number);
  return numbers;
}

double Norm(std::span<const double> numbers) {
  double sum = 0;
  for (const double n : numbers) sum += n * n;
  return std::sqrt(sum);
}

void Compare(Network<double>* network, double loss, const std::vector<double>& torch) {
  ASSERT_EQ(static_cast<int64_t>(torch.size()), 1 + network->layout().parameter_count());
  EXPECT_NEAR(loss / torch[0], 1, 1e-12);
  const double global_norm = Norm(network->gradients());
  int64_t start = 1;
  for (const ParameterSegment& s : network->layout().segments()) {
    const auto gradient = network->gradients().subspan(s.offset, s.size);
    std::vector<double> difference(gradient.begin(), gradient.end());
    for (int64_t i = 0; i < s.size; ++i) difference[i] -= torch[start + i];
    EXPECT_LE(Norm(difference), 1e-10 * global_norm) << s.name;
    EXPECT_GT(Norm(gradient), 0) << s.name;
    start += s.size;
  }
}

void ExpectParity(const std::string& text, const DataShape& data, const TestBatch& batch) {
  const v1::ModelSpec model = ParseModel(text);
  auto network = Network<double>::Create(model, data, batch.size);
  ASSERT_THAT(network, gradwatch::testing::IsOk());
  (*network)->Initialize(3);
  // Biases start at zero, where a mistake in them would not be seen.
  for (const ParameterSegment& s : (*network)->layout().segments()) {
    if (s.shape.size() > 1) continue;
    for (int64_t i = 0; i < s.size; ++i) (*network)->parameters()[s.offset + i] = 0.1 * std::sin(1.0 + i + s.offset);
  }
  const TempDir folder;
  Export(folder, model, data, batch, network->get());
  const double loss = (*network)->LossAndGradients(batch.get());
  const int status = std::system(
      absl::StrCat("/usr/bin/python3 ", GRADWATCH_SOURCE_DIR, "/tests/support/torch_oracle.py ", folder.path())
          .c_str());
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoTorch) GTEST_SKIP() << "no PyTorch (python3-torch)";
  ASSERT_EQ(status, 0);
  Compare(network->get(), loss, ReadResult(folder));
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
