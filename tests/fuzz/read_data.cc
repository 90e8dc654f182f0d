// Reads data as jobs do and prints all of it, for readers.py to compare with what it read itself.
//
//   read_data FOLDER < SPECS
//
// Every line of standard input is a number and a DataSpec of IDX, a table or a text as a text proto, with a batch size
// of 1 and paths below FOLDER. The number is how many examples are to be held out; -1: all but the first. Standard
// output gets a line of JSON for each, in order:
//
//   {"error": MESSAGE, "code": CODE}             the message as hexadecimal bytes, since nothing is known of it
//   {"disagreement": WHAT}                       in hexadecimal too: what a check says is not what reading says
//   {"shape": [...], "training": [HEX, HEX], "held_out": [HEX, HEX]}
//
// `shape` is that of DataShape, field by field. Examples are their inputs and their targets, 8 hexadecimal digits a
// number: the bits of a float, or a token or class. Those that are held out are in the order of the file. Those of
// training are an epoch, in the order of that; of a text, whose windows are drawn at random, a few draws.
#include <google/protobuf/text_format.h>

#include <algorithm>
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
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/data/data_root.h"
#include "core/data/data_source.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {
namespace {

constexpr uint64_t kSeed = 1;
constexpr int64_t kDraws = 8;  // of windows of a text

template <typename Number>
void AppendHex(std::span<const Number> numbers, std::string* out) {
  for (const Number number : numbers) absl::StrAppend(out, absl::Hex(std::bit_cast<uint32_t>(number), absl::kZeroPad8));
}

struct Examples {
  std::string inputs{}, targets{};

  void Append(const Batch& batch) {
    AppendHex(batch.features, &inputs);
    AppendHex(batch.tokens, &inputs);
    AppendHex(batch.classes, &targets);
    AppendHex(batch.values, &targets);
  }
};

struct AllData {
  int64_t held_out_count = 0;
  DataDescription description;  // as DescribeData should give it
  Examples training{}, held_out{};
};

// How many to hold out, so that all but the first are: training draws examples in an order of its own. (Held-out
// windows of one character start one character after the only one that is left to train on.)
absl::StatusOr<int64_t> AllButOne(const v1::DataSpec& spec, const DataRoots& roots) {
  GW_ASSIGN_OR_RETURN(const std::unique_ptr<DataSource> source, OpenData(spec, kSeed, roots));
  return source->examples() - 1;
}

absl::StatusOr<AllData> ReadAll(const v1::DataSpec& spec, int64_t held_out, const DataRoots& roots) {
  if (held_out < 0) {
    GW_ASSIGN_OR_RETURN(held_out, AllButOne(spec, roots));
  }
  GW_ASSIGN_OR_RETURN(const std::unique_ptr<DataSource> source, OpenData(spec, kSeed, roots, held_out));
  AllData data{.held_out_count = held_out, .description = {source->shape(), source->bytes(), source->Summary()}};
  const int64_t draws = spec.has_text() ? kDraws : source->examples();
  for (int64_t i = 0; i < draws; ++i) data.training.Append(source->Fill(i));
  for (int64_t i = 0; i < held_out; ++i) data.held_out.Append(source->FillHeldOut(i));
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

std::string DescriptionText(const DataDescription& description) {
  return absl::StrCat(ShapeText(description.shape), " of ", description.bytes, " bytes, ",
                      description.summary.ShortDebugString());
}

// What a check says, or what reading did: all that can be compared.
std::string Verdict(const absl::Status& status, const DataDescription* description) {
  if (status.ok()) return DescriptionText(*description);
  return absl::StrCat(absl::StatusCodeToString(status.code()), " ", GetReason(status), ": ", status.message());
}

// What differs between reading data and checking it; empty if nothing.
std::string Disagreement(const v1::DataSpec& spec, const absl::StatusOr<AllData>& data, int64_t held_out,
                         const DataRoots& roots) {
  if (data.ok()) held_out = data->held_out_count;
  const absl::StatusOr<DataDescription> described =
      DescribeData(spec, kSeed, roots, std::max<int64_t>(held_out, 0), /*max_bytes=*/kMaxDataFileBytes);
  const std::string read = Verdict(data.status(), data.ok() ? &data->description : nullptr);
  const std::string checked = Verdict(described.status(), described.ok() ? &*described : nullptr);
  return read == checked ? "" : absl::StrCat("read: ", read, ", checked: ", checked);
}

std::string DisagreementLine(absl::string_view what) {
  return absl::StrCat(R"({"disagreement": ")", absl::BytesToHexString(what), R"("})");
}

std::string ExamplesText(const Examples& examples) {
  return absl::StrCat("[\"", examples.inputs, "\", \"", examples.targets, "\"]");
}

std::string Answer(const std::string& line, const DataRoots& roots) {
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
  v1::DataSpec spec;
  int64_t held_out = 0;
  if (!absl::SimpleAtoi(parts.first, &held_out) ||
      !google::protobuf::TextFormat::ParseFromString(std::string(parts.second), &spec)) {
    return DisagreementLine("not a number and a DataSpec");
  }
  const absl::StatusOr<AllData> data = ReadAll(spec, held_out, roots);
  const std::string difference = Disagreement(spec, data, held_out, roots);
  if (!difference.empty()) return DisagreementLine(difference);
  if (!data.ok()) {
    return absl::StrCat(R"({"error": ")", absl::BytesToHexString(data.status().message()), R"(", "code": ")",
                        absl::StatusCodeToString(data.status().code()), R"("})");
  }
  return absl::StrCat(R"({"shape": )", ShapeText(data->description.shape), R"(, "training": )",
                      ExamplesText(data->training), R"(, "held_out": )", ExamplesText(data->held_out), "}");
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
