#include "core/data/csv_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/error.h"
#include "core/data/gzip.h"
#include "tests/core/data/make_files.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr int kClasses = 3;

v1::CsvData Spec() {
  v1::CsvData spec;
  spec.set_path("t.csv");
  spec.add_inputs("0");
  spec.add_targets("1");
  spec.set_header(v1::CsvData::HEADER_NO);
  return spec;
}

absl::StatusOr<CsvRows> Read(const v1::CsvData& spec, std::unique_ptr<ByteSource> file, int held_out = 0,
                             DataShape::Target targets = DataShape::Target::kValues) {
  GW_ASSIGN_OR_RETURN(CsvTable table, CsvTable::Open(std::move(file), spec.header()));
  return ReadCsvRows(spec, table, {.all = {0, 1}, .inputs = 1}, held_out, {.targets = targets});
}

absl::StatusOr<CsvRows> Check(const v1::CsvData& spec, const std::string& text,
                              DataShape::Target targets = DataShape::Target::kValues, int held_out = 0) {
  GW_ASSIGN_OR_RETURN(CsvTable table, CsvTable::Open(std::make_unique<StringSource>(text), spec.header()));
  return CheckCsvRows(spec, table, {.all = {0, 1}, .inputs = 1}, held_out, {.keep = false, .targets = targets});
}

std::unique_ptr<ByteSource> Changing(std::vector<std::string> versions) {
  return std::make_unique<ChangingSource>(std::move(versions));
}

// As floats the first three are 1, and the fourth is 2.
TEST(CsvRowsTest, OnlyAWholeNumberIsAClass) {
  v1::CsvData spec = Spec();
  spec.set_classes(kClasses);
  for (const char* const cell :
       {"0.99999999", "1.00000001", "1.0000000000000002", "1.9999999999", "-1e-300", "-1", "3", "2.5"}) {
    const std::string text = absl::StrCat("5,0\n\n\n6,2\n7,", cell, "\n");
    const auto message =
        HasSubstr(absl::StrCat("t.csv: line 5, column 2 (position 1): ", cell, " is not a class from 0 to 2"));
    EXPECT_THAT(Check(spec, text), StatusIs(kInvalid, message));
    const auto read = Read(spec, std::make_unique<StringSource>(text));
    EXPECT_THAT(read, StatusIs(kInvalid, message));
    ASSERT_EQ(GetFieldViolations(read.status()).size(), 1u);
    EXPECT_EQ(GetFieldViolations(read.status())[0].field, "targets[0]");
  }
  EXPECT_THAT(Check(spec, "1,16777217\n"),
              StatusIs(kInvalid, HasSubstr("line 1, column 2 (position 1): 16777217 is not")))
      << "not rounded";
  const auto rows = Read(spec, std::make_unique<StringSource>("5,0\n6,2.0\n7,1e0\n8,-0\n"));
  ASSERT_THAT(rows, IsOk());
  EXPECT_THAT(rows->targets, ElementsAre(0, 2, 1, 0));
}

TEST(CsvRowsTest, OnlyWhatIsFromZeroToOneIsAProbability) {
  constexpr auto kProbabilities = DataShape::Target::kProbabilities;
  v1::CsvData spec = Spec();
  for (const bool standardize : {false, true}) {
    spec.set_standardize(standardize);
    for (const char* const cell : {"6.3", "-1", "2", "1.0000000000000002", "-1e-300", "1e30"}) {
      const std::string text = absl::StrCat("5,0\n\n6,1\n7,", cell, "\n");
      const absl::Status checked = Check(spec, text, kProbabilities).status();
      const absl::Status read = Read(spec, std::make_unique<StringSource>(text), 0, kProbabilities).status();
      EXPECT_EQ(read, checked);
      ASSERT_EQ(GetFieldViolations(checked).size(), 1u) << checked;
      EXPECT_EQ(GetFieldViolations(checked)[0].field, "targets[0]");
      EXPECT_THAT(
          GetFieldViolations(checked)[0].description,
          HasSubstr(absl::StrCat("t.csv: line 4, column 2 (position 1): ", cell == std::string("1e30") ? "1e+30" : cell,
                                 " is not a probability from 0 to 1")));
      EXPECT_THAT(Check(spec, text), IsOk()) << "any number is a value";
    }
  }
}

// Two numbers, each as often as the other, are -1 and 1 once they have mean 0 and deviation 1.
TEST(CsvRowsTest, ProbabilitiesAreNeverScaledAndOtherValuesAre) {
  v1::CsvData spec = Spec();
  spec.set_standardize(true);
  const auto read = [&](DataShape::Target targets) {
    return Read(spec, std::make_unique<StringSource>("1,0\n3,0.25\n1,0.25\n3,0\n"), 0, targets);
  };
  const auto probabilities = read(DataShape::Target::kProbabilities);
  ASSERT_THAT(probabilities, IsOk());
  EXPECT_THAT(probabilities->inputs, ElementsAre(-1, 1, -1, 1));
  EXPECT_THAT(probabilities->targets, ElementsAre(0, 0.25, 0.25, 0));
  const auto values = read(DataShape::Target::kValues);
  ASSERT_THAT(values, IsOk());
  EXPECT_THAT(values->inputs, ElementsAre(-1, 1, -1, 1));
  EXPECT_THAT(values->targets, ElementsAre(-1, 1, 1, -1));
  spec.set_classes(2);  // which the loss then refuses
  EXPECT_THAT(Check(spec, "1,0\n3,0.5\n", DataShape::Target::kProbabilities),
              StatusIs(kInvalid, HasSubstr("not a class")));
}

// The first in the order of the file, though rows are counted, and columns measured, before classes are looked at.
TEST(CsvRowsTest, ReadingTellsTheFaultThatACheckTells) {
  v1::CsvData spec = Spec();
  spec.set_standardize(true);
  spec.set_classes(kClasses);
  for (const absl::string_view text : {absl::string_view("1,2\n,1\n3,\0\n", 11), absl::string_view("1,7\n,1\n"),
                                       absl::string_view("1,0\nx,1\n2,7\n")}) {
    const absl::Status checked = Check(spec, std::string(text)).status();
    EXPECT_THAT(checked, StatusIs(kInvalid, HasSubstr("line")));
    EXPECT_EQ(Read(spec, std::make_unique<StringSource>(std::string(text))).status(), checked);
  }
}

// Their squares are not numbers that a double can tell from 0, and what is held out may be beyond all of them.
TEST(CsvRowsTest, TinyColumnsAreScaledAndNothingBecomesInfinite) {
  v1::CsvData spec = Spec();
  spec.set_standardize(true);
  const auto rows = Read(spec, std::make_unique<StringSource>("1e-200,1\n2e-200,2\n3e-200,3\n"));
  ASSERT_THAT(rows, IsOk());
  const float root = std::sqrt(1.5f);  // of three equally spaced numbers
  EXPECT_THAT(rows->inputs, ElementsAre(FloatNear(-root, 1e-6f), FloatNear(0, 1e-6f), FloatNear(root, 1e-6f)));
  const char* const tiny = "1e-40,1\n2e-40,2\n1e30,3\n";
  const auto beyond = Read(spec, std::make_unique<StringSource>(tiny), /*held_out=*/1);
  EXPECT_THAT(
      beyond,
      StatusIs(kInvalid, HasSubstr("t.csv: line 3, column 1 (position 0): 1e+30 is too large for a float once it is "
                                   "standardized")));
  EXPECT_EQ(Check(spec, tiny, DataShape::Target::kValues, /*held_out=*/1).status(), beyond.status());
}

// What is read to be kept comes after what was looked at and counted.
TEST(CsvRowsTest, ATableThatChangesBetweenTwoReadingsIsRefused) {
  const std::string first = "11,22\n33,44\n";
  const std::string more = "1,2\n3,4\n5,6\n";  // of the same size
  ASSERT_EQ(first.size(), more.size());
  for (const auto& changed : {more, std::string("11,22\n"), first + "5,6\n", std::string()}) {
    EXPECT_THAT(Read(Spec(), Changing({first, first, changed})),
                StatusIs(kInvalid, "path: t.csv: changed while it was read"))
        << changed;
  }
  v1::CsvData scaled = Spec();
  scaled.set_standardize(true);
  EXPECT_THAT(Read(scaled, Changing({first, first, first, more})), StatusIs(kInvalid, HasSubstr("changed while")));
  const auto rows = Read(Spec(), Changing({first}));
  ASSERT_THAT(rows, IsOk());
  EXPECT_THAT(rows->inputs, ElementsAre(11, 33));
}

// The end is where a file tells that it was written to, and gzip its checksum.
TEST(CsvRowsTest, EveryReadingGoesToTheEnd) {
  v1::CsvData spec = Spec();
  spec.set_standardize(true);
  std::string text;
  for (int i = 0; i < 100'000; ++i) absl::StrAppend(&text, i % 10, ",", i % 7, "\n");  // more than a block
  auto file = std::make_unique<ChangingSource>(std::vector<std::string>{text});
  const ChangingSource& seen = *file;
  CsvTable table = *CsvTable::Open(std::move(file), spec.header());
  ASSERT_THAT(ReadCsvRows(spec, table, {.all = {0, 1}, .inputs = 1}, 99'000, DataReading()), IsOk());
  EXPECT_THAT(seen.ends(), IsSupersetOf({1, 2, 3})) << "counted, measured without those held out, kept";
}

TEST(CsvRowsTest, AChecksumThatIsWrongWhenTheRowsAreKeptIsTold) {
  const std::string whole = MakeGzip("11,22\n33,44\n");
  std::string damaged = whole;
  damaged[damaged.size() - 6] ^= 1;
  EXPECT_THAT(Read(Spec(), MakeGunzip(Changing({whole, whole, damaged}), 1 << 20)),
              StatusIs(kInvalid, HasSubstr("gzip data is damaged")));
}

}  // namespace
}  // namespace gradwatch::core
