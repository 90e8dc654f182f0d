#include "tests/support/torch_parity.h"

#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::testing {
namespace {

constexpr int kNoTorch = 77;
constexpr uint64_t kSeed = 3;

template <typename T>
void WriteRaw(const TempDir& folder, const std::string& name, const std::vector<T>& numbers) {
  if (numbers.empty()) return;
  folder.Write(name, absl::string_view(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(T)));
}

std::vector<double> Doubles(const std::vector<float>& floats) { return {floats.begin(), floats.end()}; }

std::string ModelJson(const v1::ModelSpec& model) {
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  EXPECT_TRUE(google::protobuf::util::MessageToJsonString(model, &json, options).ok());
  return json;
}

std::string DataJson(const core::DataShape& data) {
  const core::Shape& input = data.input;
  return absl::StrCat(R"({"steps": )", input.steps, R"(, "features": )", input.features, R"(, "image": [)",
                      input.is_image() ? absl::StrCat(input.channels, ", ", input.height, ", ", input.width) : "",
                      R"(], "tokens": )", data.tokens ? "true" : "false", "}");
}

// What the oracle reads, below `prefix`.
void Export(const TempDir& folder, const std::string& prefix, const v1::ModelSpec& model, const core::DataShape& data,
            const TestBatch& batch, core::Network<double>& network) {
  std::vector<std::string> tensors;
  std::vector<double> parameters;
  for (const core::ParameterSegment& s : network.layout().segments()) {
    tensors.push_back(absl::StrCat(R"({"name": ")", s.name, R"(", "shape": [)", absl::StrJoin(s.shape, ", "), "]}"));
    const auto values = network.parameters().subspan(s.offset, s.size);
    parameters.insert(parameters.end(), values.begin(), values.end());
  }
  folder.Write(prefix + "job.json", absl::StrCat(R"({"model": )", ModelJson(model), R"(, "tensors": [)",
                                                 absl::StrJoin(tensors, ", "), R"(], "data": )", DataJson(data),
                                                 R"(, "batch": )", batch.size, R"(, "seed": )", kSeed, "}"));
  WriteRaw(folder, prefix + "parameters", parameters);
  WriteRaw(folder, prefix + "features", Doubles(batch.features));
  WriteRaw(folder, prefix + "tokens", batch.tokens);
  WriteRaw(folder, prefix + "classes", batch.classes);
  WriteRaw(folder, prefix + "values", Doubles(batch.values));
}

std::vector<double> ReadDoubles(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<double> numbers;
  for (double number; in.read(reinterpret_cast<char*>(&number), sizeof(number));) numbers.push_back(number);
  return numbers;
}

double Norm(std::span<const double> numbers) {
  double sum = 0;
  for (const double n : numbers) sum += n * n;
  return std::sqrt(sum);
}

void MoveAwayFromConstants(core::Network<double>& network) {
  for (const core::ParameterSegment& s : network.layout().segments()) {
    for (int64_t i = s.offset; i < s.offset + s.size; ++i) {
      double& parameter = network.parameters()[i];
      if (parameter == 0 || parameter == 1) parameter += 0.1 * std::sin(1.0 + i);
    }
  }
}

void Compare(core::Network<double>& network, double loss, const std::vector<double>& torch) {
  ASSERT_EQ(static_cast<int64_t>(torch.size()), 1 + network.layout().parameter_count());
  EXPECT_NEAR(loss / torch[0], 1, 1e-12);
  const double global_norm = Norm(network.gradients());
  int64_t start = 1;
  for (const core::ParameterSegment& s : network.layout().segments()) {
    const auto gradient = network.gradients().subspan(s.offset, s.size);
    std::vector<double> difference(gradient.begin(), gradient.end());
    for (int64_t i = 0; i < s.size; ++i) difference[i] -= torch[start + i];
    EXPECT_LE(Norm(difference), 1e-10 * global_norm) << s.name;
    start += s.size;
  }
}

}  // namespace

void TorchParity::Add(const std::string& name, const std::string& model, const core::DataShape& data,
                      const TestBatch& batch) {
  SCOPED_TRACE(name);
  const v1::ModelSpec spec = ParseModel(model);
  auto network = core::Network<double>::Create(spec, data, batch.size);
  ASSERT_THAT(network, IsOk());
  (*network)->Initialize(kSeed);
  MoveAwayFromConstants(**network);
  std::filesystem::create_directory(folder_.File(name));
  Export(folder_, name + "/", spec, data, batch, **network);
  const double loss = (*network)->LossAndGradients(batch.get());
  EXPECT_GT(Norm((*network)->gradients()), 0);
  entries_.push_back({name, *std::move(network), loss});
}

bool TorchParity::Check() {
  std::string command = absl::StrCat("/usr/bin/python3 ", GRADWATCH_SOURCE_DIR, "/tests/support/torch_oracle.py");
  for (const Entry& entry : entries_) absl::StrAppend(&command, " ", folder_.File(entry.name));
  const int status = std::system(command.c_str());
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoTorch) return false;
  EXPECT_EQ(status, 0);
  for (const Entry& entry : entries_) {
    SCOPED_TRACE(entry.name);
    Compare(*entry.network, entry.loss, ReadDoubles(folder_.File(entry.name + "/result")));
  }
  return true;
}

}  // namespace gradwatch::testing
