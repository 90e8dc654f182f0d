#include "tests/support/large_table.h"

#include <fstream>

#include "absl/strings/str_cat.h"

namespace gradwatch::testing {
namespace {

constexpr int kColumns = 8;

}  // namespace

void WriteTable(const std::string& path, int64_t bytes) {
  std::string header, block;
  for (int column = 0; column < kColumns; ++column) absl::StrAppend(&header, column > 0 ? "," : "", "c", column);
  for (int row = 0; row < 20'000; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      absl::StrAppend(&block, column > 0 ? "," : "", (row * 7 + column * 13) % 97, ".", 1000 + row % 9000);
    }
    block += '\n';
  }
  std::ofstream file(path, std::ios::binary);
  file << header << '\n';
  for (int64_t written = 0; written < bytes; written += static_cast<int64_t>(block.size())) file << block;
}

v1::JobSpec TableJob(const std::string& file) {
  v1::JobSpec spec;
  spec.set_steps(10);
  spec.mutable_model()->add_layers()->mutable_dense()->set_units(1);
  spec.mutable_model()->mutable_loss()->set_function(v1::LOSS_FUNCTION_SQUARED_ERROR);
  spec.mutable_data()->set_batch_size(16);
  v1::CsvData& csv = *spec.mutable_data()->mutable_csv();
  csv.set_path(file);
  for (int column = 0; column + 1 < kColumns; ++column) csv.add_inputs(absl::StrCat("c", column));
  csv.add_targets(absl::StrCat("c", kColumns - 1));
  spec.mutable_optimizer()->set_learning_rate(0.01);
  return spec;
}

}  // namespace gradwatch::testing
