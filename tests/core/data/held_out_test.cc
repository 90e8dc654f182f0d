// Examples that are held out for validation: never trained on, always the same, counted exactly.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/data/data_source.h"
#include "tests/core/data/make_files.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kBatch = 2;

class HeldOutTest : public ::testing::Test {
 protected:
  HeldOutTest() : roots_(*DataRoots::Create({dir_.path()})) { spec_.set_batch_size(kBatch); }

  // Ten rows: x = row, y = 100 + row.
  void UseTable(int window) {
    std::string text = "x,y\n";
    for (int row = 0; row < 10; ++row) absl::StrAppend(&text, row, ",", 100 + row, "\n");
    dir_.Write("table.csv", text);
    spec_.mutable_csv()->set_path("table.csv");
    spec_.mutable_csv()->add_inputs("x");
    spec_.mutable_csv()->add_targets("y");
    spec_.mutable_csv()->set_window(window);
  }

  absl::StatusOr<std::unique_ptr<DataSource>> Open(int64_t held_out) { return OpenData(spec_, 3, roots_, held_out); }

  TempDir dir_;
  DataRoots roots_;
  v1::DataSpec spec_;
};

std::vector<float> Values(const Batch& batch) { return {batch.values.begin(), batch.values.end()}; }

TEST_F(HeldOutTest, TheLastRowsOfATableAreNeverTrainedOn) {
  UseTable(1);
  auto source = *Open(4);
  EXPECT_EQ(source->examples(), 6);
  std::set<float> trained;
  for (int step = 0; step < 30; ++step) {
    for (const float value : Values(source->Fill(step))) trained.insert(value);
  }
  EXPECT_THAT(trained, ElementsAre(100, 101, 102, 103, 104, 105));
  EXPECT_THAT(Values(source->FillHeldOut(0)), ElementsAre(106, 107));
  EXPECT_THAT(Values(source->FillHeldOut(1)), ElementsAre(108, 109));
}

TEST_F(HeldOutTest, WindowsOfATableThatPredictTheLastRowsAreNeverTrainedOn) {
  UseTable(3);
  auto source = *Open(2);
  EXPECT_EQ(source->examples(), 5) << "ten rows are seven windows with a row after";
  std::set<float> trained;
  for (int step = 0; step < 30; ++step) {
    for (const float value : Values(source->Fill(step))) trained.insert(value);
  }
  EXPECT_THAT(trained, ElementsAre(103, 104, 105, 106, 107));
  const Batch batch = source->FillHeldOut(0);
  EXPECT_THAT(Values(batch), ElementsAre(108, 109));
  EXPECT_THAT(batch.features, ElementsAre(5, 6, 6, 7, 7, 8)) << "time-major";
}

TEST_F(HeldOutTest, ColumnsAreScaledByWhatIsTrainedOn) {
  UseTable(1);
  spec_.mutable_csv()->set_standardize(true);
  auto source = *Open(8);  // rows 0 and 1 remain: mean 100.5, deviation 0.5
  EXPECT_THAT(Values(source->FillHeldOut(0)), ElementsAre(3, 5));
}

TEST_F(HeldOutTest, CharactersAtTheEndOfATextAreNeverPredictedInTraining) {
  dir_.Write("text", "abcdefghijklm");
  spec_.mutable_text()->set_path("text");
  spec_.mutable_text()->set_sequence_length(3);
  auto source = *Open(2);
  EXPECT_EQ(source->shape().outputs, 13) << "the vocabulary is that of the whole text";
  std::set<int32_t> predicted;
  for (int step = 0; step < 60; ++step) {
    const Batch batch = source->Fill(step);
    predicted.insert(batch.classes.begin(), batch.classes.end());
  }
  EXPECT_THAT(predicted, ElementsAre(1, 2, 3, 4, 5, 6));
  const Batch batch = source->FillHeldOut(0);
  EXPECT_THAT(batch.classes, ElementsAre(7, 10, 8, 11, 9, 12)) << "two sequences of three, time-major";
}

TEST_F(HeldOutTest, TheLastImagesAreHeldOut) {
  const std::string numbers = {0, 1, 2, 3, 4, 5, 6, 7};
  dir_.Write("images", MakeIdx(0x08, {8, 1}, numbers));
  dir_.Write("labels", MakeIdx(0x08, {8}, numbers));
  spec_.mutable_idx()->set_images("images");
  spec_.mutable_idx()->set_labels("labels");
  auto source = *Open(2);
  std::set<int32_t> trained;
  for (int step = 0; step < 20; ++step) {
    const Batch batch = source->Fill(step);
    trained.insert(batch.classes.begin(), batch.classes.end());
  }
  EXPECT_THAT(trained, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(source->FillHeldOut(0).classes, ElementsAre(6, 7));
}

TEST_F(HeldOutTest, AnEndlessTaskHoldsOutWhatNoStepDraws) {
  spec_.mutable_adding()->set_sequence_length(4);
  auto source = *Open(100);
  const std::vector<float> held_out = Values(source->FillHeldOut(0));
  for (int step = 0; step < 50; ++step) EXPECT_NE(Values(source->Fill(step)), held_out);
  EXPECT_EQ(Values(source->FillHeldOut(0)), held_out);
  EXPECT_NE(Values(source->FillHeldOut(1)), held_out);
}

TEST_F(HeldOutTest, SomethingMustBeLeftToTrainOn) {
  UseTable(1);
  EXPECT_THAT(Open(10), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("below the number of examples, 10; got 10")));
}

}  // namespace
}  // namespace gradwatch::core
