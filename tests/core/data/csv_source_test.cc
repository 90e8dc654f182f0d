#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <random>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/data/csv_table.h"
#include "core/data/data_source.h"
#include "tests/core/data/make_files.h"
#include "tests/support/shared_data.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::SharedFile;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

using Table = std::vector<std::vector<double>>;

// Every block ends somewhere else in a line.
absl::StatusOr<CsvTable> OpenTable(const std::string& text) {
  return CsvTable::Open(std::make_unique<StringSource>(text, 7));
}

absl::StatusOr<Table> ReadColumns(CsvTable& table, const std::vector<int>& columns) {
  Table rows;
  const absl::Status status = table.ForEachRow(columns, [&](std::span<const double> row) {
    rows.emplace_back(row.begin(), row.end());
    return true;
  });
  if (!status.ok()) return status;
  return rows;
}

TEST(CsvTableTest, ReadsWhatSpreadsheetsWrite) {
  const struct {
    const char* text;
    std::vector<int> columns;
    Table expected;
  } cases[] = {
      {"1,2\n3,4\n", {0, 1}, {{1, 2}, {3, 4}}},
      {"1,2\n3,4", {1}, {{2}, {4}}},
      {"a,b\r\n1,2\r\n\r\n 3 , 4 \r\n", {1, 0}, {{2, 1}, {4, 3}}},
      {"\xef\xbb\xbf"
       "a\n1e-3\n-2.5E2\n+7\n",
       {0},
       {{1e-3}, {-250}, {7}}},
      {"a\n\" 1 \"\n1e-400\n.5\n5.\n", {0}, {{1}, {0}, {0.5}, {5}}},
      {"date,x\n\"2016-07-01, 00:00\",5\n", {1}, {{5}}},
      {"x, \"y\" ,\t\"z\"\n1, \"2\" , \"3\"\n", {2, 1, 0}, {{3, 2, 1}}},
      {"x,y\n\"a, \"\"b\"\"\",2\na\"b\"\"c,3\n", {1}, {{2}, {3}}},
      {"\"a \"\"b\"\"\",c\n\"1\",\"2\"\n", {0, 1}, {{1, 2}}},
      {"day,x\n2016-07-01,5\n", {1}, {{5}}},
      {"only,a header\n", {0}, {}},
  };
  for (const auto& c : cases) {
    auto table = OpenTable(c.text);
    ASSERT_THAT(table, IsOk()) << c.text;
    const auto rows = ReadColumns(*table, c.columns);
    ASSERT_THAT(rows, IsOk()) << c.text;
    EXPECT_EQ(*rows, c.expected) << c.text;
    EXPECT_EQ(*ReadColumns(*table, c.columns), c.expected) << "again";
  }
}

TEST(CsvTableTest, FindsColumns) {
  const auto table = *OpenTable("a,b,\"c \"\"d\"\"\",a\n1,2,3,4\n");
  EXPECT_EQ(*table.FindColumn("b"), 1);
  EXPECT_EQ(*table.FindColumn("c \"d\""), 2);
  EXPECT_EQ(*table.FindColumn("3"), 3);
  EXPECT_THAT(table.FindColumn("a"), StatusIs(kInvalid, HasSubstr("two columns are named \"a\"")));
  EXPECT_THAT(
      table.FindColumn("z"),
      StatusIs(kInvalid,
               "no column \"z\" among 4 columns; the first line is read as a header, since none of its cells is "
               "a number: a, b, c \"d\", a; positions are from 0 to 3"));
  EXPECT_THAT(table.FindColumn("4"), StatusIs(kInvalid, HasSubstr("no column")));
  bool listed = false;
  EXPECT_THAT(table.FindColumn("a", &listed), StatusIs(kInvalid, HasSubstr("two columns")));
  EXPECT_FALSE(listed);
  EXPECT_THAT(table.FindColumn("y", &listed), StatusIs(kInvalid, HasSubstr("among 4 columns; the first line")));
  EXPECT_TRUE(listed);
  EXPECT_THAT(table.FindColumn("z", &listed), StatusIs(kInvalid, "no column \"z\" either"));
  EXPECT_THAT(table.FindColumn("-1"), StatusIs(kInvalid, HasSubstr("no column")));
  EXPECT_THAT(OpenTable("1,2\n")->FindColumn("a"),
              StatusIs(kInvalid,
                       "no column \"a\" among 2 columns; the first line is read as data, since all its cells are "
                       "numbers (csv.header: yes makes it a header), so that columns have no names: 1, 2; positions "
                       "are from 0 to 1"));
  const auto told = *CsvTable::Open(std::make_unique<StringSource>("a\n"), v1::CsvData::HEADER_NO);
  EXPECT_THAT(told.FindColumn("a"),
              StatusIs(kInvalid,
                       "no column \"a\" among 1 column; the first line is read as data, so that columns have "
                       "no names: a; positions are from 0 to 0"));
}

TEST(CsvTableTest, QuotesAreTakenOffWhateverSpaceIsAroundThem) {
  const auto table = *OpenTable("x, \"y\" , \" z \",a\"b\"\"c, \"d\"\"e\"\n1,2,3,4,5\n");
  EXPECT_EQ(*table.FindColumn("y"), 1);
  EXPECT_EQ(*table.FindColumn(" z "), 2) << "within quotes space counts";
  EXPECT_EQ(*table.FindColumn("a\"b\"\"c"), 3) << "quotes of an unquoted cell are its own";
  EXPECT_EQ(*table.FindColumn("d\"e"), 4);
}

// A stranger's file may have thousands of columns, with names of any length and content.
TEST(CsvTableTest, TheColumnsThatThereAreAreToldInShort) {
  std::string header = "first\x1b[31m," + std::string(1000, 'n') + ",\xff,,\"a,b\"";
  for (int i = 5; i < 30; ++i) absl::StrAppend(&header, ",c", i);
  const std::string message(OpenTable(header + "\n")->FindColumn("z").status().message());
  EXPECT_THAT(message, HasSubstr("first\\x1b[31m, " + std::string(24, 'n') + "..., \\xff, \"\", \"a,b\", c5"));
  EXPECT_THAT(message, HasSubstr("c19 and 10 more; positions are from 0 to 29"));
  EXPECT_EQ(message.find("c20"), std::string::npos);
}

TEST(CsvTableTest, ErrorsNameLineAndColumn) {
  const struct {
    const char* text;
    const char* message;
  } cases[] = {
      {"a,b\n1,2\n\n3,x\n", "line 4, column 2 (b): \"x\" is not a number"},
      {"1,2\n3,\n", "line 2, column 2 (position 1) is empty"},
      {"1,2\n3,\"\"\n", "line 2, column 2 (position 1) is empty"},
      {"1,2\n3,nan\n", "\"nan\" is not a finite number"},
      {"1,2\n3,-inf\n", "\"-inf\" is not a finite number"},
      {"1,2\n3,Infinity\n", "\"Infinity\" is not a finite number"},
      {"1,2\n3,1e39\n", "\"1e39\" is too large for a float"},
      {"1,2\n3,-1e400\n", "\"-1e400\" is too large for a float"},
      {"1,2\n3,0x1F\n", "\"0x1F\" is hexadecimal; numbers must be decimal"},
      {"1,2\n3,0x1p3\n", "\"0x1p3\" is hexadecimal; numbers must be decimal"},
      {"1,2\n3,1_000\n", "\"1_000\" is not a number"},
      {"1,2\n3,\"1\"\"\"\n", "is not a number"},
      {"1,2\n3\n", "line 2: 1 cells, expected 2"},
      {"1,2\n3,4,5\n", "line 2: 3 cells, expected 2"},
      {"1,2\n3,\"4\n",
       "line 2: in column 2 a quoted cell does not end on its line; line breaks within cells are not read"},
      {"1,2\n3,\"4\"5\n", "line 2: in column 2 text follows a closing quote"},
      {"a,b\n1;5,2\n", "\"1;5\" is not a number; cells seem to be separated by ';'; they must be separated by commas"},
      {"a,b\n1\t5,2\n", "cells seem to be separated by a tab; they must be separated by commas"},
      {"a,b\n1|5,2\n", "cells seem to be separated by '|'; they must be separated by commas"},
      {"a;b\n1,5;2,5\n", "line 2: 3 cells, expected 1 as in the first line; cells seem to be separated by ';'"},
      {"a,b\n1,2\n# three\n", "line 3 looks like a comment; tables must not have any"},
      {"a,b\n1,2\n % three,4\n", "line 3 looks like a comment; tables must not have any"},
      {"# of a table\na,b\n", "line 1 looks like a comment; tables must not have any"},
      {"# made, by, me\nx,y,z\n1,2,3\n",
       "line 2, column 1 (# made): \"x\" is not a number; line 1 looks like a comment; tables must not have any"},
      {"#a,b\n#1,2\n", "line 2, column 1 (#a): \"#1\" is not a number; line 1 looks like a comment"},
      {"x,y,z\n1,2,3\n#b,3,4\n", "line 3 looks like a comment; tables must not have any"},
      {"a,b\n1 5,2\n",
       "\"1 5\" is not a number; cells seem to be separated by spaces; they must be separated by commas"},
      {"1,5;2\n3,5;4\n5,5;6\n",
       "line 1, column 2 (position 1): \"5;2\" is not a number; cells seem to be separated by ';'"},
      {"a,b\n#N/A,2\n", "line 2, column 1 (a): \"#N/A\" is not a number"},
  };
  for (const auto& c : cases) {
    auto table = OpenTable(c.text);
    ASSERT_THAT(table, IsOk()) << c.text;
    EXPECT_THAT(ReadColumns(*table, {0, 1}), StatusIs(kInvalid, HasSubstr(c.message)));
  }
  EXPECT_THAT(OpenTable(""), StatusIs(kInvalid, "empty"));
  EXPECT_THAT(OpenTable("\n \r\n"), StatusIs(kInvalid, "empty"));
  EXPECT_THAT(OpenTable("\"a\n"), StatusIs(kInvalid, HasSubstr("line 1: in column 1 a quoted cell does not end")));
  EXPECT_THAT(OpenTable("#\"a\", \"b\n"), StatusIs(kInvalid, HasSubstr("line 1 looks like a comment")));
}

// Also where no wanted cell of it is wrong.
TEST(CsvTableTest, CommentsAreRefusedWhereverTheyStand) {
  const struct {
    const char* text;
    bool is_fine;
  } cases[] = {
      {"n,x,y\nb,3,4\n#b,3,4\n", false},    {"n,x,y\nb,3,4\n%b,3,4\n", false}, {"n,x,y\nb,3,4\n  # b,3,4\n", false},
      {"n,x,y\nb,3,4\n\"#b\",3,4\n", true}, {"n,x,y\nb,3,4\nb#,3,4\n", true},  {"n,x,y\nb,3,4\n#N/A,3,4\n", true},
      {"#n,x,y\nb,3,4\n#b,3,4\n", true},    {"#a,3,4.5\n#b,3,4\n", true},      {"a,3,4.5\n#b,3,4\n", false},
  };
  for (const auto& c : cases) {
    auto table = OpenTable(c.text);
    ASSERT_THAT(table, IsOk()) << c.text;
    const auto rows = ReadColumns(*table, {1, 2});
    if (c.is_fine) {
      EXPECT_THAT(rows, IsOk()) << c.text;
    } else {
      EXPECT_THAT(rows, StatusIs(kInvalid, HasSubstr("looks like a comment"))) << c.text;
    }
  }
}

TEST(CsvTableTest, AMissingColumnSaysWhatTheFirstLineSeemsToBe) {
  const struct {
    const char* text;
    const char* message;
  } cases[] = {
      {"x;y\n1;2\n", "; cells seem to be separated by ';'; they must be separated by commas"},
      {"x\ty\n1\t2\n", "; cells seem to be separated by a tab; they must be separated by commas"},
      {"x|y\n1|2\n", "; cells seem to be separated by '|'; they must be separated by commas"},
      {"x y\n1 2\n", "; cells seem to be separated by spaces; they must be separated by commas"},
      {"x;z\n1,5;2\n3,5;4\n", "; cells seem to be separated by ';'; they must be separated by commas"},
      {"x,5;z\n1,5;2\n3,5;4\n", "; cells seem to be separated by ';'; they must be separated by commas"},
      {"# made by hand\nx,y\n1,2\n", "; line 1 looks like a comment; tables must not have any"},
      {"sep=,\nx,y\n1,2\n", "; line 1 is not part of the table (sep=,)"},
      {"SEP=;\nx;y\n1;2\n", "; line 1 is not part of the table (SEP=;); cells seem to be separated by ';'"},
      {"\nsep=\t\nx\ty\n1\t2\n", "; line 2 is not part of the table (sep=); cells seem to be separated by a tab"},
      {"Sales of 2019\n\nx,y\n1,2\n", "; line 1 is not part of the table; perhaps it is a title"},
      {"Sales; all of them\nx,y\n1,2\n", "; line 1 is not part of the table; perhaps it is a title"},
      {"'x','z'\n1,2\n", "; cells are quoted with '; use \" or none"},
      {"x,gr\xf6\xdf"
       "e\n1,2\n",
       "; the table is not UTF-8, perhaps Latin-1 or Windows-1252"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(OpenTable(c.text)->FindColumn("y"), StatusIs(kInvalid, HasSubstr(c.message))) << c.text;
  }
}

TEST(CsvTableTest, ATableThatOnlyLooksOddGetsNoHint) {
  for (const char* text : {"sep=,x\n1,2\n", "sep\n1\n", "x\n1\n2,3\n4\n", "'x',z\n1,2\n", "x's,'z\n1,2\n",
                           "x,gr\xc3\xb6\xc3\x9f"
                           "e\n1,2\n",
                           "x,z\n1,\xff\n"}) {
    const std::string message(OpenTable(text)->FindColumn("y").status().message());
    EXPECT_TRUE(absl::EndsWith(message, "; positions are from 0 to 1") ||
                absl::EndsWith(message, "; positions are from 0 to 0"))
        << message;
  }
}

// By positions, what is not part of the table is met as a row.
TEST(CsvTableTest, AnErrorOfARowSaysWhatTheFirstLineSeemsToBe) {
  const struct {
    const char* text;
    const char* message;
  } cases[] = {
      {"sep=,\nx,y\n1,2\n", "line 2, column 1 (sep=): \"x\" is not a number; line 1 is not part of the table (sep=,)"},
      {"sep=,\nx,y,z\n1,2,3\n",
       "line 2: 3 cells, expected 2 as in the first line; line 1 is not part of the table (sep=,)"},
      {"Sales\nx,y\n1,2\n",
       "line 2: 2 cells, expected 1 as in the first line; line 1 is not part of the table; perhaps it is a title"},
      {"x\n'1'\n", "line 2, column 1 (x): \"'1'\" is not a number; cells are quoted with '; use \" or none"},
      {",5.5\n1,2\n",
       "line 1, column 1 (position 0) is empty; line 1 is read as data (csv.header: yes makes it a header)"},
      {"\nnan,5.5\n1,2\n",
       "line 2, column 1 (position 0): \"nan\" is not a finite number; line 2 is read as data (csv.header: yes makes "
       "it a "
       "header)"},
      {"5.5,1\n,2\n", "line 2, column 1 (position 0) is empty"},
      {"x,y\n,2\n", "line 2, column 1 (x) is empty"},
  };
  for (const auto& c : cases) {
    auto table = *OpenTable(c.text);
    EXPECT_THAT(ReadColumns(table, {0}), StatusIs(kInvalid, c.message)) << c.text;
  }
  auto told = *CsvTable::Open(std::make_unique<StringSource>(",5.5\n1,2\n"), v1::CsvData::HEADER_NO);
  EXPECT_THAT(ReadColumns(told, {0}), StatusIs(kInvalid, "line 1, column 1 (position 0) is empty")) << "it was said";
}

// Programs of DOS end a file so.
TEST(CsvTableTest, CtrlZAloneInTheLastLineIsTheEnd) {
  for (const char* text : {"x,y\n1,2\n\x1a", "x,y\r\n1,2\r\n\x1a\r\n", "x,y\n1,2\n\n\x1a \n"}) {
    auto table = *OpenTable(text);
    EXPECT_EQ(*ReadColumns(table, {0, 1}), (Table{{1, 2}})) << text;
    EXPECT_EQ(ReadColumns(table, {})->size(), 1u) << text;
  }
  EXPECT_THAT(OpenTable("\x1a"), StatusIs(kInvalid, "empty"));
  for (const char* text : {"x\n1\n\x1a\n2\n", "x\n1\n\x1a\n\n", "x\n1\x1a", "x\n1\n \x1a\n", "x\n\x1a\x1a"}) {
    auto table = *OpenTable(text);
    EXPECT_THAT(ReadColumns(table, {0}), StatusIs(kInvalid, HasSubstr("\\x1a\" is not a number"))) << text;
  }
  for (size_t digits = kReadBlock - 6; digits < kReadBlock; ++digits) {  // across the end of the block that is read
    auto table = *OpenTable("0." + std::string(digits, '1') + "\n\x1a\n");
    EXPECT_EQ(ReadColumns(table, {})->size(), 1u) << digits;
  }
}

TEST(CsvTableTest, OtherSeparatorsInAFewLinesOrInWordsAreNone) {
  for (const char* text :
       {"first name,x\nRome 1,2\n", "a;b,x\n1,2\n3,4\n", "n,x\na;b,2\nc,2\nd,2\n", "n,x\n\"a;b\",2\n"}) {
    const std::string message(OpenTable(text)->FindColumn("y").status().message());
    EXPECT_EQ(message.find("separated"), std::string::npos) << message;
  }
}

TEST(CsvTableTest, LineEndsThatItDoesNotReadAreNamed) {
  EXPECT_THAT(OpenTable("x,y\r1,2\r2,4\r"),
              StatusIs(kInvalid, HasSubstr("line 1: holds a carriage return (CR) alone")));
  EXPECT_THAT(OpenTable("\xff\xfex,y\n"), StatusIs(kInvalid, HasSubstr("UTF-16")));
  const auto nul = HasSubstr("line 1: holds NUL bytes, so this is not UTF-8 text; perhaps it is UTF-16");
  EXPECT_THAT(OpenTable(std::string("x\0,\0y\0\r\0\n\0", 10)), StatusIs(kInvalid, nul)) << "little-endian";
  EXPECT_THAT(OpenTable(std::string("\0x\0,\0y\0\r\0\n", 10)), StatusIs(kInvalid, nul)) << "big-endian";
  auto mixed = *OpenTable("x,y\n1,2\r\n2,4\n\r\n3,6");
  EXPECT_EQ(ReadColumns(mixed, {0, 1})->size(), 3u);
}

TEST(CsvTableTest, WhatCouldSteerATerminalIsEscaped) {
  auto table = *OpenTable("x,y\n1,\x1b[31mred\n");
  EXPECT_THAT(ReadColumns(table, {1}), StatusIs(kInvalid, HasSubstr("\"\\x1b[31mred\" is not a number")));
}

TEST(CsvTableTest, LinesHaveALimit) {
  EXPECT_THAT(OpenTable(std::string(65'536, ',')), StatusIs(kInvalid, "line 1: more than 65536 cells"));
  EXPECT_THAT(CsvTable::Open(std::make_unique<StringSource>(std::string(33 << 20, 'x'))),
              StatusIs(kInvalid, HasSubstr("line 1: longer than 4194304 bytes")));
}

TEST(CsvTableTest, EstimatesItsRowsFromTheFirst) {
  EXPECT_EQ(OpenTable("a,b\n11,22\n33,44\n")->EstimateRows(6000), 1000);
  EXPECT_EQ(OpenTable("11,22\n33,44\n")->EstimateRows(6000), 1000);
  EXPECT_EQ(OpenTable("a,b\n")->EstimateRows(6000), 0);
}

TEST(CsvTableTest, SurvivesTenThousandMutations) {
  const std::string text = "a,\"b\",c\n1,2,3\n4.5,\"6\",-7e1\n";
  std::mt19937 random(2);
  int accepted = 0;
  for (int i = 0; i < 10'000; ++i) {
    std::string content = text;
    const int edits = 1 + static_cast<int>(random() % 4);
    constexpr char kCharacters[] = "\",\n\r019.e-na \xff";
    for (int k = 0; k < edits; ++k) content[random() % content.size()] = kCharacters[random() % sizeof(kCharacters)];
    if (random() % 8 == 0) content.resize(random() % content.size());
    auto table = OpenTable(content);
    if (!table.ok() || !table->FindColumn("2").ok()) continue;
    accepted += ReadColumns(*table, {0, 2}).ok();
  }
  EXPECT_GT(accepted, 100);
}

class CsvSourceTest : public ::testing::Test {
 protected:
  CsvSourceTest() {
    std::string text = "x,y,class\n";
    for (int i = 0; i < 10; ++i) absl::StrAppend(&text, i, ",", 100 + 2 * i, ",", i % 3, "\n");
    dir_.Write("table.csv", text);
    roots_ = *DataRoots::Create({dir_.path()});
    spec_.set_batch_size(5);
    spec_.mutable_csv()->set_path("table.csv");
    spec_.mutable_csv()->add_inputs("x");
    spec_.mutable_csv()->add_targets("y");
  }

  TempDir dir_;
  DataRoots roots_;
  v1::DataSpec spec_;
};

// Just above a power of two, where a vector that grew would have room for as many rows again.
TEST_F(CsvSourceTest, HoldsNoMoreMemoryThanItSays) {
  std::string text = "x,y\n";
  for (int i = 0; i < (1 << 17) + 1; ++i) absl::StrAppend(&text, i % 10, ",", i % 7, "\n");
  dir_.Write("table.csv", text);
  const auto in_use = [] {
    const struct mallinfo2 heap = mallinfo2();  // zeros under a sanitizer
    return static_cast<int64_t>(heap.uordblks + heap.hblkhd);
  };
  const int64_t before = in_use();
  const auto source = *OpenData(spec_, 1, roots_);
  EXPECT_LE(in_use() - before, source->bytes() + (64 << 10));
}

// What is described is what is read, and checked as well.
TEST_F(CsvSourceTest, IsDescribedWithoutBeingKept) {
  spec_.mutable_csv()->set_window(3);
  const auto source = *OpenData(spec_, 1, roots_, 2);
  const auto description = *DescribeData(spec_, 1, roots_, 2, int64_t{1} << 40);
  EXPECT_EQ(description.shape.input, source->shape().input);
  EXPECT_EQ(description.shape.outputs, source->shape().outputs);
  EXPECT_EQ(description.bytes, source->bytes());
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 7, int64_t{1} << 40),
              StatusIs(absl::StatusCode::kOutOfRange, "must be below the number of examples, 7; got 7"));
}

TEST_F(CsvSourceTest, BeyondTheLimitOfMemoryItIsRefusedBeforeItIsRead) {
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 0, 10 * 8 + 5 * 8), IsOk());
  const absl::Status status = DescribeData(spec_, 1, roots_, 0, 10 * 8 - 1).status();
  EXPECT_THAT(status,
              StatusIs(kInvalid, HasSubstr("csv.path: table.csv: takes at least 80 bytes of memory; the limit is 79")));
  EXPECT_EQ(GetReason(status), "QUOTA_MEMORY");
  // A bad last line shows that it was not read to its end.
  std::string text = "x,y\n";
  for (int i = 0; i < 100'000; ++i) absl::StrAppend(&text, i % 10, ",", i % 7, "\n");
  dir_.Write("table.csv", text + "oops\n");
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 0, 100'000),
              StatusIs(kInvalid, HasSubstr("about 100002 rows by its size")));
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 0, 500'000), StatusIs(kInvalid, HasSubstr("takes at least 500008 bytes")));
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 0, 800'000), StatusIs(kInvalid, HasSubstr("line 100002: 1 cells")));
}

TEST_F(CsvSourceTest, AGzippedTableIsReadAsThePlainOne) {
  spec_.mutable_csv()->set_standardize(true);
  spec_.set_batch_size(10);
  const auto plain = *OpenData(spec_, 1, roots_, 0);
  std::string text = "x,y,class\r\n";
  for (int i = 0; i < 10; ++i) absl::StrAppend(&text, i, ",", 100 + 2 * i, ",", i % 3, "\n");
  dir_.Write("table.csv", MakeGzip("\xef\xbb\xbf" + text));
  const auto packed = *OpenData(spec_, 1, roots_, 0);
  EXPECT_EQ(packed->examples(), 10);
  EXPECT_EQ(packed->bytes(), plain->bytes());
  const Batch expected = plain->Fill(0), found = packed->Fill(0);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(found.features[i], expected.features[i]);
    EXPECT_EQ(found.values[i], expected.values[i]);
  }
}

// Whatever its size on the disk, the rows of a gzipped table count against the limit, and are not read far beyond it.
TEST_F(CsvSourceTest, TheLimitOfMemoryHoldsForGzippedTables) {
  std::string text = "x,y\n";
  for (int i = 0; i < 100'000; ++i) absl::StrAppend(&text, "1,2\n");
  dir_.Write("table.csv", MakeGzip(text + "oops\n"));
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 0, 100'000), StatusIs(kInvalid, HasSubstr("takes at least 100008 bytes")));
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 0, 900'000), StatusIs(kInvalid, HasSubstr("line 100002: 1 cells")));
  dir_.Write("table.csv", MakeGzip(text));
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 0, 900'000), IsOk());
  dir_.Write("table.csv", MakeGzip(text).substr(0, 200));
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 0, 900'000), StatusIs(kInvalid, HasSubstr("gzip data is cut short")));
}

TEST_F(CsvSourceTest, TheFirstLineIsToldAndObeyed) {
  dir_.Write("table.csv", "x,7\n1,2\n3,4\n");
  spec_.mutable_csv()->set_targets(0, "7");
  spec_.set_batch_size(1);
  v1::DataSummary found = DescribeData(spec_, 1, roots_, 1, 1 << 20)->summary;
  EXPECT_EQ(found.examples(), 1) << "those held out are not walked through";
  EXPECT_TRUE(found.header());
  EXPECT_EQ(found.note(),
            "the first line is read as a header, since \"x\" in column 1 stands over numbers: x, 7 (csv.header: no "
            "makes it data)");
  spec_.mutable_bad_batch()->set_scale(2);
  EXPECT_EQ(DescribeData(spec_, 1, roots_, 1, 1 << 20)->summary.note(), found.note()) << "behind a bad batch too";
  spec_.mutable_csv()->set_header(v1::CsvData::HEADER_YES);
  found = DescribeData(spec_, 1, roots_, 0, 1 << 20)->summary;
  EXPECT_TRUE(found.header());
  EXPECT_EQ(found.note(), "");
  spec_.mutable_csv()->set_header(v1::CsvData::HEADER_NO);
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 0, 1 << 20), StatusIs(kInvalid, HasSubstr("no column \"x\"")));
  spec_.mutable_csv()->set_inputs(0, "0");
  spec_.mutable_csv()->set_targets(0, "1");
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 0, 1 << 20),
              StatusIs(kInvalid, HasSubstr("line 1, column 1 (position 0): \"x\" is not a number")));
  v1::DataSpec endless;
  endless.set_batch_size(1);
  endless.mutable_adding()->set_sequence_length(4);
  found = DescribeData(endless, 1, roots_, 0, 1 << 20)->summary;
  EXPECT_FALSE(found.has_examples());
  EXPECT_FALSE(found.has_header());
}

// Tables that lost their first row, or gave other columns than were asked for, and nothing told it.
TEST_F(CsvSourceTest, NoFirstRowIsLostAndNoColumnSwapped) {
  const struct {
    const char* text;
    const char* input;
    const char* target;
    std::set<std::pair<float, float>> rows;
    const char* error;  // in place of rows
  } cases[] = {
      {"2016-07-01,2,1\n2016-07-02,4,5\n2016-07-03,7,8\n", "1", "2", {{2, 1}, {4, 5}, {7, 8}}, ""},
      {"nan,2,1\n3,4,5\n6,7,8\n",
       "0",
       "1",
       {},
       "csv.path: table.csv: line 1, column 1 (position 0): \"nan\" is not a finite number"},
      {"2,,0\n6,7,8\n9,1,2\n", "0", "2", {{2, 0}, {6, 8}, {9, 2}}, ""},
      {"NA,1,2\n3,4,5\n6,7,8\n", "1", "2", {{1, 2}, {4, 5}, {7, 8}}, ""},
      {",0,1,2\n0,5,6,7\n1,8,9,4\n", "0", "2", {{5, 7}, {8, 4}}, ""},
      {",0,1,2\n0,5,6,7\n1,8,9,4\n",
       "0",
       "3",
       {},
       "csv.targets[0]: no column \"3\" among 4 columns; the first line is "
       "read as a header, since its first cell is empty and the column below counts the lines: \"\", 0, 1, 2;"},
      {",0.25,0.5\n0,5,6\n1,8,9\n", "0.25", "0.5", {{5, 6}, {8, 9}}, ""},
      {"city,2019,2020\nRome,5,7\ncity,2019,2020\nOslo,8,3\n",
       "2019",
       "2020",
       {},
       "csv.path: table.csv: line 3 is the header once more; tables have one"},
      {"red,5331,6442\ngreen,1703,1616\n",
       "1",
       "2",
       {},
       "csv.header: table.csv: line 1 may be a header or data: red, 5331, 6442; say yes or no"},
      {"x,y\n1,2\n", "0", " 01 ", {}, "csv.targets[0]: no column \" 01 \""},
  };
  for (const auto& c : cases) {
    dir_.Write("table.csv", c.text);
    spec_.mutable_csv()->set_inputs(0, c.input);
    spec_.mutable_csv()->set_targets(0, c.target);
    spec_.set_batch_size(std::max(static_cast<int>(c.rows.size()), 1));
    const auto source = OpenData(spec_, 1, roots_);
    if (*c.error != '\0') {
      EXPECT_THAT(source, StatusIs(kInvalid, HasSubstr(c.error))) << c.text;
      EXPECT_EQ(DescribeData(spec_, 1, roots_, 0, 1 << 20).status(), source.status());
      continue;
    }
    ASSERT_THAT(source, IsOk()) << c.text;
    ASSERT_EQ((*source)->examples(), static_cast<int64_t>(c.rows.size())) << c.text;
    const Batch batch = (*source)->Fill(0);
    std::set<std::pair<float, float>> rows;
    for (size_t i = 0; i < c.rows.size(); ++i) rows.emplace(batch.features[i], batch.values[i]);
    EXPECT_EQ(rows, c.rows) << c.text;
  }
}

// Columns are counted from 1, as lines, and named as the spec names them: where they have no names, by positions from
// 0.
TEST_F(CsvSourceTest, AllErrorsNameAColumnAlike) {
  const struct {
    std::string text, inputs;
    const char* error;
  } cases[] = {
      {"1,2\n3,4\n", "0", "csv.inputs[1]: column 1 (position 0) is named twice"},
      {"1,2\n3,4\n", "1", "csv.targets[0]: column 2 (position 1) is an input too"},
      {"1,2\n3,x\n", "", "csv.path: table.csv: line 2, column 2 (position 1): \"x\" is not a number"},
      {"1,2\n3,7\n", "", "csv.targets[0]: table.csv: line 2, column 2 (position 1): 7 is not a class"},
      {"a,b\n1,2\n3,7\n", "", "csv.targets[0]: table.csv: line 3, column 2 (b): 7 is not a class"},
  };
  for (const auto& c : cases) {
    dir_.Write("table.csv", c.text);
    v1::DataSpec spec = spec_;
    v1::CsvData& csv = *spec.mutable_csv();
    csv.set_classes(3);
    csv.clear_inputs();
    csv.clear_targets();
    csv.add_inputs("0");
    csv.add_targets("1");
    if (!c.inputs.empty()) csv.add_inputs(c.inputs);
    EXPECT_THAT(OpenData(spec, 1, roots_), StatusIs(kInvalid, HasSubstr(c.error))) << c.text;
  }
}

TEST_F(CsvSourceTest, TheColumnsThatThereAreAreListedOnce) {
  spec_.mutable_csv()->add_inputs("q");
  spec_.mutable_csv()->add_inputs("r");
  spec_.mutable_csv()->add_targets("s");
  const auto violations = GetFieldViolations(OpenData(spec_, 1, roots_).status());
  ASSERT_EQ(violations.size(), 3u);
  EXPECT_EQ(violations[0].field, "csv.inputs[1]");
  EXPECT_THAT(violations[0].description, HasSubstr("no column \"q\" among 3 columns; the first line is read as a "
                                                   "header, since none of its cells is a number: x, y, class; "
                                                   "positions are from 0 to 2"));
  EXPECT_EQ(violations[1].description, "no column \"r\" either");
  EXPECT_EQ(violations[2].field, "csv.targets[1]");
  EXPECT_EQ(violations[2].description, "no column \"s\" either");
}

TEST_F(CsvSourceTest, PairsInputsAndTargetsOfARow) {
  auto source = *OpenData(spec_, 1, roots_);
  EXPECT_EQ(source->shape().input, (Shape{.features = 1}));
  EXPECT_EQ(source->shape().target, DataShape::Target::kValues);
  EXPECT_EQ(source->shape().outputs, 1);
  EXPECT_EQ(source->examples(), 10);
  std::set<float> seen;
  for (int step = 0; step < 2; ++step) {
    const Batch batch = source->Fill(step);
    for (int b = 0; b < 5; ++b) {
      EXPECT_EQ(batch.values[b], 100 + 2 * batch.features[b]);
      seen.insert(batch.features[b]);
    }
  }
  EXPECT_EQ(seen.size(), 10u);
}

TEST_F(CsvSourceTest, WindowsAreSequencesOfConsecutiveRows) {
  spec_.mutable_csv()->add_inputs("1");
  spec_.mutable_csv()->set_window(3);
  spec_.set_batch_size(7);
  auto source = *OpenData(spec_, 1, roots_);
  EXPECT_EQ(source->shape().input, (Shape{.steps = 3, .features = 2}));
  EXPECT_EQ(source->examples(), 7);
  const Batch batch = source->Fill(0);
  std::set<float> starts;
  for (int b = 0; b < 7; ++b) {
    const float start = batch.features[b * 2];
    starts.insert(start);
    for (int t = 0; t < 3; ++t) {
      EXPECT_EQ(batch.features[(t * 7 + b) * 2], start + static_cast<float>(t)) << "time-major";
      EXPECT_EQ(batch.features[(t * 7 + b) * 2 + 1], 100 + 2 * (start + static_cast<float>(t)));
    }
    EXPECT_EQ(batch.values[b], 100 + 2 * (start + 3)) << "the row after the window";
  }
  EXPECT_EQ(starts, (std::set<float>{0, 1, 2, 3, 4, 5, 6}));
}

TEST_F(CsvSourceTest, StandardizesColumnsButNotClasses) {
  auto* csv = spec_.mutable_csv();
  csv->clear_targets();
  csv->add_targets("class");
  csv->add_inputs("y");
  csv->set_classes(3);
  csv->set_standardize(true);
  spec_.set_batch_size(10);
  auto source = *OpenData(spec_, 1, roots_);
  EXPECT_EQ(source->shape().target, DataShape::Target::kClasses);
  EXPECT_EQ(source->shape().outputs, 3);
  const Batch batch = source->Fill(0);
  for (int column = 0; column < 2; ++column) {
    double sum = 0, squares = 0;
    for (int b = 0; b < 10; ++b) {
      const double value = batch.features[b * 2 + column];
      sum += value;
      squares += value * value;
    }
    EXPECT_NEAR(sum / 10, 0, 1e-6);
    EXPECT_NEAR(squares / 10, 1, 1e-6);
  }
  for (int b = 0; b < 10; ++b) {
    const int row = static_cast<int>(std::lround(batch.features[b * 2] * std::sqrt(8.25) + 4.5));
    EXPECT_EQ(batch.classes[b], row % 3);
  }
}

TEST_F(CsvSourceTest, SaysThatItsTargetsAreProbabilitiesWhereTheyMustBe) {
  constexpr auto kProbabilities = DataShape::Target::kProbabilities;
  dir_.Write("table.csv", "x,p,q\n1,0,1\n2,0.5,1\n3,1,7\n");
  auto* csv = spec_.mutable_csv();
  csv->set_targets(0, "p");
  csv->set_standardize(true);
  spec_.set_batch_size(3);
  const auto source = *OpenData(spec_, 1, roots_, 0, kProbabilities);
  EXPECT_EQ(source->shape().target, kProbabilities);
  EXPECT_EQ(DescribeData(spec_, 1, roots_, 0, 1 << 20, kProbabilities)->shape.target, kProbabilities);
  const Batch batch = source->Fill(0);
  EXPECT_EQ(std::multiset<float>(batch.values.begin(), batch.values.end()), (std::multiset<float>{0, 0.5, 1}));
  csv->add_targets("q");
  const absl::Status checked = DescribeData(spec_, 1, roots_, 0, 1 << 20, kProbabilities).status();
  EXPECT_THAT(checked, StatusIs(kInvalid, HasSubstr("line 4, column 3 (q): 7 is not a probability from 0 to 1")));
  EXPECT_EQ(GetFieldViolations(checked)[0].field, "csv.targets[1]");
  EXPECT_EQ(OpenData(spec_, 1, roots_, 0, kProbabilities).status(), checked);
  EXPECT_EQ((*OpenData(spec_, 1, roots_))->shape().target, DataShape::Target::kValues);
}

TEST_F(CsvSourceTest, AConstantColumnIsOnlyShifted) {
  dir_.Write("table.csv", "x,y\n7,1\n7,2\n");
  spec_.mutable_csv()->set_standardize(true);
  spec_.set_batch_size(2);
  auto source = *OpenData(spec_, 1, roots_);
  const Batch batch = source->Fill(0);
  EXPECT_EQ(batch.features[0], 0);
  EXPECT_EQ(batch.features[1], 0);
}

TEST_F(CsvSourceTest, EveryErrorNamesItsField) {
  struct Case {
    std::function<void(v1::CsvData*)> change;
    const char* field;
    const char* message;
  };
  dir_.Write("bad.csv", "x,y\n1,2\n3,oops\n");
  dir_.Write("empty.csv", "");
  dir_.Write("header.csv", "x,y\n");
  const std::vector<Case> cases = {
      {[](auto* csv) { csv->clear_path(); }, "csv.path", "required"},
      {[](auto* csv) { csv->clear_inputs(); }, "csv.inputs", "required"},
      {[](auto* csv) { csv->clear_targets(); }, "csv.targets", "required"},
      {[](auto* csv) { csv->add_inputs("z"); }, "csv.inputs[1]", "no column \"z\""},
      {[](auto* csv) { csv->add_inputs("0"); }, "csv.inputs[1]", "column 1 (x) is named twice"},
      {[](auto* csv) { csv->add_targets("x"); }, "csv.targets[1]", "column 1 (x) is an input too"},
      {[](auto* csv) { csv->set_window(0); }, "csv.window", "got 0"},
      {[](auto* csv) { csv->set_window(10); }, "csv.window", "10 data rows; needed are at least 11"},
      {[](auto* csv) { csv->set_classes(1); }, "csv.classes", "got 1"},
      {[](auto* csv) { csv->set_classes(3); }, "csv.targets[0]", "line 2, column 2 (y): 100 is not a class"},
      {[](auto* csv) { csv->set_classes(3), csv->add_targets("class"); }, "csv.targets", "one column"},
      {[](auto* csv) { csv->set_path("bad.csv"); }, "csv.path", "bad.csv: line 3, column 2 (y): \"oops\""},
      {[](auto* csv) { csv->set_path("empty.csv"); }, "csv.path", "empty.csv: empty"},
      {[](auto* csv) { csv->set_path("header.csv"); }, "csv.path",
       "0 data rows; needed are at least 1 besides the first line, which is read as a header"},
      {[](auto* csv) { csv->set_header(static_cast<v1::CsvData::Header>(7)); }, "csv.header", "no value 7"},
  };
  for (const Case& c : cases) {
    v1::DataSpec spec = spec_;
    c.change(spec.mutable_csv());
    const absl::Status status = OpenData(spec, 1, roots_).status();
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr(c.message)));
    ASSERT_EQ(GetFieldViolations(status).size(), 1u) << status;
    EXPECT_EQ(GetFieldViolations(status)[0].field, c.field);
  }
}

TEST(CsvSourceEttTest, ReadsTheRealFile) {
  const std::string path = SharedFile("data/ETTh1.csv");
  if (path.empty()) GTEST_SKIP() << "no ../shared/data/ETTh1.csv";
  v1::DataSpec spec;
  spec.set_batch_size(32);
  spec.mutable_csv()->set_path(path);
  for (const char* const name : {"HUFL", "HULL", "OT"}) spec.mutable_csv()->add_inputs(name);
  spec.mutable_csv()->add_targets("OT");
  spec.mutable_csv()->set_window(24);
  spec.mutable_csv()->set_standardize(true);
  auto source = OpenData(spec, 1, *DataRoots::Create({std::filesystem::path(path).parent_path().string()}));
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ((*source)->examples(), 17'420 - 24);
  EXPECT_EQ((*source)->Fill(0).features.size(), 24u * 32 * 3);
}

}  // namespace
}  // namespace gradwatch::core
