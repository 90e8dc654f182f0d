// Reads data as jobs do and prints all of it, for readers.py to compare with what it read itself.
//
//   read_data FOLDER < SPECS
//
// Standard input holds a DataSpec of IDX, a table or a text as a text proto in every line, with a batch size of 1 and
// paths below FOLDER; tables with a window of 1, texts with a sequence length of 1. Standard output gets a line of JSON
// for each, in order:
//
//   {"error": MESSAGE, "code": CODE}             the message as hexadecimal bytes, since nothing is known of it
//   {"disagreement": WHAT}                       what a check of the data says is not what reading it says
//   {"shape": [...], "inputs": HEX, "targets": HEX}
//
// `shape` is that of DataShape, field by field. Inputs and targets are all examples in the order of the file, 8
// hexadecimal digits a number: the bits of a float, or a token or class. Of a text, these are all characters but the
// last, and all but the first.
#include <google/protobuf/text_format.h>

#include <bit>
#include <cstdint>
#include <iostream>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/data/data_root.h"
#include "core/data/data_source.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {
namespace {

constexpr uint64_t kSeed = 1;

template <typename Number>
void AppendHex(std::span<const Number> numbers, std::string* out) {
  for (const Number number : numbers) absl::StrAppend(out, absl::Hex(std::bit_cast<uint32_t>(number), absl::kZeroPad8));
}

struct AllData {
  DataShape shape;
  int64_t bytes = 0;
  std::string inputs{}, targets{};

  void Append(const Batch& batch) {
    AppendHex(batch.features, &inputs);
    AppendHex(batch.tokens, &inputs);
    AppendHex(batch.classes, &targets);
    AppendHex(batch.values, &targets);
  }
};

// Training draws examples in an order of its own; those that are held out come in the order of the file. So all but the
// first are held out here. (Held-out windows of a text start one character after the only one that is left to train
// on.)
absl::StatusOr<AllData> ReadAll(const v1::DataSpec& spec, const DataRoots& roots) {
  GW_ASSIGN_OR_RETURN(const std::unique_ptr<DataSource> counted, OpenData(spec, kSeed, roots));
  const int64_t held_out = counted->examples() - 1;
  GW_ASSIGN_OR_RETURN(const std::unique_ptr<DataSource> source, OpenData(spec, kSeed, roots, held_out));
  if (source->examples() != 1) return absl::InternalError(absl::StrCat(source->examples(), " examples left of 1"));
  AllData data{.shape = source->shape(), .bytes = counted->bytes()};
  data.Append(source->Fill(0));
  for (int64_t i = 0; i < held_out; ++i) data.Append(source->FillHeldOut(i));
  return data;
}

std::string ShapeText(const DataShape& shape) {
  const Shape& input = shape.input;
  const int64_t fields[] = {
      input.steps,          input.features, input.channels, input.height,
      input.width,          shape.tokens,   shape.outputs,  shape.target == DataShape::Target::kClasses,
      shape.target_per_step};
  return absl::StrCat("[", absl::StrJoin(fields, ", "), "]");
}

// What differs between reading data and checking it; empty if nothing.
std::string Disagreement(const absl::StatusOr<AllData>& data, const absl::StatusOr<DataDescription>& described) {
  if (data.ok() != described.ok()) {
    return absl::StrCat("read: ", data.ok() ? "fine" : "refused", ", checked: ", described.ok() ? "fine" : "refused");
  }
  if (!data.ok()) return "";
  const std::string read = absl::StrCat(ShapeText(data->shape), " of ", data->bytes, " bytes");
  const std::string checked = absl::StrCat(ShapeText(described->shape), " of ", described->bytes, " bytes");
  return read == checked ? "" : absl::StrCat("read: ", read, ", checked: ", checked);
}

std::string Answer(const std::string& line, const DataRoots& roots) {
  v1::DataSpec spec;
  if (!google::protobuf::TextFormat::ParseFromString(line, &spec)) return R"({"disagreement": "not a DataSpec"})";
  const absl::StatusOr<AllData> data = ReadAll(spec, roots);
  const std::string difference =
      Disagreement(data, DescribeData(spec, kSeed, roots, /*held_out=*/0, /*max_bytes=*/kMaxDataFileBytes));
  if (!difference.empty()) return absl::StrCat(R"({"disagreement": ")", difference, R"("})");
  if (!data.ok()) {
    return absl::StrCat(R"({"error": ")", absl::BytesToHexString(data.status().message()), R"(", "code": ")",
                        absl::StatusCodeToString(data.status().code()), R"("})");
  }
  return absl::StrCat(R"({"shape": )", ShapeText(data->shape), R"(, "inputs": ")", data->inputs, R"(", "targets": ")",
                      data->targets, R"("})");
}

}  // namespace
}  // namespace gradwatch::core

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: read_data FOLDER < SPECS\n";
    return 2;
  }
  const auto roots = gradwatch::core::DataRoots::Create({argv[1]});
  if (!roots.ok()) {
    std::cerr << roots.status() << "\n";
    return 2;
  }
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << gradwatch::core::Answer(line, *roots) << std::endl;  // whole lines, also if the next file is its end
  }
}
