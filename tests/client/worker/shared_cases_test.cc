// Small inputs that were once read wrongly, run as their users run them. They lie beside the project, with the right
// answers in ../shared/cases/README.md, and are skipped where that folder is absent.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/data/data_source.h"
#include "tests/support/process.h"
#include "tests/support/shared_data.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::worker {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::RunResult;
using ::gradwatch::testing::SharedFile;
using ::testing::HasSubstr;
using ::testing::Not;

RunResult Train(const std::string& folder, const std::string& spec) {
  return testing::Run(
      {"gradwatch-worker", "train", absl::StrCat(folder, "/", spec), "--data-root", folder, "-o", "json"});
}

double FirstLoss(const RunResult& result) {
  google::protobuf::Struct object;
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(result.out, &object).ok()) << result.out;
  return object.fields().at("first_loss").number_value();
}

class ByteOrderMarkCaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (folder_.empty()) GTEST_SKIP() << "no ../shared/cases/c02_bom";
  }
  const std::string folder_ = SharedFile("cases/c02_bom");
};

TEST_F(ByteOrderMarkCaseTest, IsNoCharacterOfAText) {
  const double loss = FirstLoss(Train(folder_, "bom.yaml"));
  EXPECT_NEAR(loss, std::log(2), 1e-6) << "two characters, equally likely";
  EXPECT_EQ(loss, FirstLoss(Train(folder_, "plain.yaml")));
}

// Weights are zero, so the loss is the mean square of the targets 2 and 4.
TEST_F(ByteOrderMarkCaseTest, IsNoPartOfTheFirstNameOfATable) {
  EXPECT_EQ(FirstLoss(Train(folder_, "csv.yaml")), 10);
  EXPECT_EQ(FirstLoss(Train(folder_, "csv_quoted.yaml")), 10);
}

TEST_F(ByteOrderMarkCaseTest, OfUtf16IsNamed) {
  const RunResult result = Train(folder_, "utf16.yaml");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("data.csv.path: utf16.csv: is UTF-16; must be UTF-8\n"));
}

class CarriageReturnCaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (folder_.empty()) GTEST_SKIP() << "no ../shared/cases/c03_cr_only";
  }
  const std::string folder_ = SharedFile("cases/c03_cr_only");
};

TEST_F(CarriageReturnCaseTest, AloneItIsNamed) {
  for (const char* name : {"head", "nohead"}) {
    const RunResult result = Train(folder_, absl::StrCat(name, ".yaml"));
    EXPECT_EQ(result.exit_code, 2) << name;
    EXPECT_THAT(result.err, HasSubstr(absl::StrCat("data.csv.path: ", name,
                                                   ".csv: line 1: holds a carriage return (CR) alone; lines must end "
                                                   "with LF or CR LF\n")));
  }
}

// The targets are 2, 4 and 6.
TEST_F(CarriageReturnCaseTest, BeforeALineFeedItIsTheSameLineEnd) {
  EXPECT_NEAR(FirstLoss(Train(folder_, "mixed.yaml")), 56.0 / 3, 1e-5);
}

TEST_F(CarriageReturnCaseTest, NothingRawReachesTheTerminal) {
  const RunResult result = Train(folder_, "esc.yaml");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("esc.csv: line 2, column 1 (y): \"\\x1b[31mred\" is not a number\n"));
  EXPECT_THAT(result.err + result.out, Not(HasSubstr("\x1b")));
}

// Four lines of 9, 9, 9 and 10 characters, of which 13 are different.
TEST_F(CarriageReturnCaseTest, InATextItIsACharacter) {
  v1::DataSpec spec;
  spec.set_batch_size(2);
  spec.mutable_text()->set_path("text_cr.txt");
  spec.mutable_text()->set_sequence_length(4);
  const auto roots = *core::DataRoots::Create({folder_});
  const auto data = core::DescribeData(spec, 1, roots, 0, int64_t{1} << 30);
  ASSERT_THAT(data, IsOk());
  EXPECT_EQ(data->summary.examples(), 37 - 4);
  EXPECT_EQ(data->shape.outputs, 13);
}

}  // namespace
}  // namespace gradwatch::worker
