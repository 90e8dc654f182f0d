// Which first lines are headers, and how that is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/utf8.h"
#include "core/data/csv_table.h"
#include "tests/core/data/make_files.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::HasSubstr;

CsvTable Open(const std::string& text, v1::CsvData::Header header = v1::CsvData::HEADER_AUTO) {
  return *CsvTable::Open(std::make_unique<StringSource>(text), header);
}

int64_t CountRows(CsvTable table) {
  int64_t count = 0;
  const absl::Status status = table.ForEachRow({}, [&count](std::span<const double>) { return ++count > 0; });
  EXPECT_THAT(status, IsOk());
  return count;
}

enum Judged { kHeader, kData, kUndecided };

Judged JudgeFirstLine(const std::string& text) {
  const auto table = CsvTable::Open(std::make_unique<StringSource>(text));
  if (table.ok()) return table->has_header() ? kHeader : kData;
  EXPECT_THAT(table, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("may be a header or data: "))) << text;
  EXPECT_EQ(GetReason(table.status()), kHeaderUndecided);
  return kUndecided;
}

struct Case {
  const char* text;
  Judged expected;
  const char* why;
};

TEST(CsvHeaderTest, TheFirstLineIsJudgedByItsCells) {
  const Case cases[] = {
      {"x,y\n1,2\n", kHeader, "words"},
      {"x,y\n", kHeader, "words over nothing"},
      {"x,y\na,b\na,b\n", kHeader, "words over words"},
      {"x,,nan\n1,2,3\n", kHeader, "words and missing cells"},
      {"0x1F,0x20\n1,2\n", kHeader, "hexadecimal is no number"},
      {"1_000,-\n1,2\n", kHeader, "nor is this"},
      {"1e400,2\n3,4\n", kHeader, "nor what is beyond double"},
      {"1,2\n3,4\n", kData, "numbers"},
      {"1,2\n", kData, "numbers over nothing"},
      {"2019,2020,2021\n2022,2023,2024\n", kData, "numbers, consecutive or not"},
      {"1.5,-2e3,\"7\"\n3,4,5\n", kData, "numbers, one of them in quotes"},
      {"\xef\xbb\xbf"
       "city,2019\n1,1\n",
       kHeader, "behind a byte order mark"},
  };
  for (const Case& c : cases) {
    ASSERT_EQ(JudgeFirstLine(c.text), c.expected) << c.text << c.why;
    const int64_t rows = CountRows(Open(c.text));
    const auto lines = std::count(c.text, c.text + std::string(c.text).size(), '\n');
    EXPECT_EQ(rows, lines - (c.expected == kHeader ? 1 : 0)) << c.text;
  }
}

TEST(CsvHeaderTest, NumbersAloneAreNamesWhereQuotesSaySo) {
  const Case cases[] = {
      {"\"2019\",\"2020\"\n5,6\n", kHeader, "all are quoted, below none is"},
      {"\"9\",\"8\"\n5,\"6\"\n", kData, "one is below"},
      {"\"9\",\"8\"\n5,6\n5,\"6\"\n", kData, "one is further below"},
      {"\"9\",8\n5,6\n", kData, "not all are quoted"},
      {"\"2019\",\"2020\"\n5,\"6\"\n", kUndecided, "but they look like names"},
      {"\"2019\",\"2020\"\n", kData, "nothing is below"},
      {"\"2019\",\"2020\"\n\"2019\",\"2020\"\n", kData, "nothing else is below"},
      {"\"2019\",\"2020\"\n5,6,7\n", kData, "nothing of as many cells is below"},
      {"\"0\",\"1\",\"2\"\n5,6,7\n", kHeader, "before positions are looked at"},
      {"\"0\",\"1\",\"2\"\n\"5\",6,7\n", kUndecided, "positions"},
      {"0,1,2\n5,6,7\n", kUndecided, "positions"},
      {"0,1,2\n", kUndecided, "positions over nothing"},
      {"0,1\n5,6\n", kData, "two are too few"},
      {"1,2,3\n5,6,7\n", kData, "from 1"},
      {"0,1,2,4\n5,6,7,8\n", kData, "with a gap"},
      {"0,1,2.0\n5,6,7\n", kData, "not written so"},
  };
  for (const Case& c : cases) EXPECT_EQ(JudgeFirstLine(c.text), c.expected) << c.text << c.why;
}

// As years are: no row may be lost or made where they are over small numbers.
TEST(CsvHeaderTest, NumbersAloneThatLookLikeNamesAreAskedAbout) {
  const Case cases[] = {
      {"2019,2020,2021\n0.09,62.5,0.5\n0.08,60,0.7\n", kUndecided, "far from all below"},
      {"2019,2020\n5,6\n", kUndecided, "two are enough"},
      {"2019,2020\n", kData, "nothing is below"},
      {"2019,2020\nnan,\n", kData, "no number is below"},
      {"2019,2020\nnan,6\n", kData, "nor below one of them"},
      {"2019,2021\n5,6\n", kData, "a gap"},
      {"2019,2020.0\n5,6\n", kData, "not written so"},
      {"2019,2020\n5,1900\n6,1700\n", kData, "the other is within reach"},
      {"2019\n5\n", kData, "one alone"},
      // Below are 0 and 10: 110 and ten more.
      {"120,121\n0,0\n10,10\n", kData, "exactly at the border"},
      {"121,122\n0,0\n10,10\n", kUndecided, "beyond it"},
      {"1,2\n131,132\n141,142\n", kUndecided, "above them"},
      {"1,2\n111,112\n121,122\n", kData, "not far enough above them"},
  };
  for (const Case& c : cases) EXPECT_EQ(JudgeFirstLine(c.text), c.expected) << c.text << c.why;
}

TEST(CsvHeaderTest, AnIndexWithoutANameIsAHeaderOrAskedAbout) {
  const Case cases[] = {
      {",2016,2017\n07-01 00,30.5,18.0\n07-01 01,31.5,17.0\n", kHeader, "years over an index of words"},
      {",2016,2017\n5,30.5,18.0\n3,31.5,17.0\n", kHeader, "of numbers"},
      {"\"\",\"2016\",\"2017\"\nx,\"30.5\",\"18\"\n", kHeader, "all in quotes"},
      {",0,1,2\n0,5,6,7\n2,8,9,4\n4,8,9,4\n", kUndecided, "every other row"},
      {",10,20,30\n7,5,6,7\n3,8,9,4\n5,8,9,4\n", kUndecided, "shuffled rows"},
      {",2016\n7,5\n", kUndecided, "one number is no row of names"},
      {",2016,2017\n", kData, "nothing is below"},
      {",2016,2017\n7,5,6\n,5,6\n", kData, "a cell of the index is missing"},
      {",2016,2017\n7,5,6\nnan,5,6\n", kData, "or is no number"},
      {",2016,\n7,5,6\n", kData, "another cell is empty"},
      {",2016,nan\n7,5,6\n", kData, "or missing"},
      {",2016,20.5\n7,5,6\n", kData, "or has a point"},
      {",2016,-2017\n7,5,6\n", kData, "or a sign"},
      {"nan,2016,2017\n7,5,6\n", kData, "the first one is missing, but not empty"},
      {"2,,0\n6,7,8\n9,1,2\n", kData, "the first one is a number"},
      {"NA,1,2\n3,4,5\n6,7,8\n", kData, "or as R writes what is missing"},
  };
  for (const Case& c : cases) EXPECT_EQ(JudgeFirstLine(c.text), c.expected) << c.text << c.why;
}

TEST(CsvHeaderTest, MissingCellsAreNoNames) {
  const Case cases[] = {
      {"nan,2,1\n3,4,5\n6,7,8\n", kData, "a missing number"},
      {"2,,0\n6,7,8\n9,1,2\n", kData, "an empty cell"},
      {"NA,1,2\n3,4,5\n6,7,8\n", kData, "as R writes it"},
      {"-inf,+Infinity,1\n2,3,4\n", kData, "infinite ones"},
      {"NULL,None,n/a,1\n2,3,4,5\n", kData, "as databases and Python write it"},
      {"nan,inf\n1,2\n", kData, "missing ones only"},
      {",0,1,2\n0,5,6,7\n1,8,9,4\n", kHeader, "an index from 0, as pandas writes it"},
      {"\"\",0,1\n\"1\",5,6\n\"2\",8,9\n", kHeader, "an index from 1, all in quotes"},
      {",0.25,0.5\n0,1,2\n1,3,4\n", kHeader, "whatever the numbers are"},
      {",0,1,2\n0,5,6,7\n", kUndecided, "one line counts nothing"},
      {",0,1,2\n0,5,6,7\n2,8,9,4\n", kUndecided, "a gap"},
      {",0,1,2\n2,5,6,7\n3,8,9,4\n", kUndecided, "from 2"},
      {",0,1,2\n0,5,6,7\n1,8,9,4\n1,8,9,4\n", kUndecided, "not to the end"},
      {",0.5,1.5\n0,5,6\n2,8,9\n", kData, "a gap, and with points"},
      {"nan,0,1\n0,5,6\n1,8,9\n", kData, "not empty"},
      {"5,,1\n0,5,6\n1,8,9\n", kData, "not the first"},
      {",\"2019\"\n7,5\n", kHeader, "quotes"},
      {",\"20.5\"\n7,\"5\"\n", kData, "quotes below too"},
      {",\"20.5\"\n7,\n", kData, "no number below"},
      {",20.5\n7,5\n", kData, "no quotes"},
  };
  for (const Case& c : cases) EXPECT_EQ(JudgeFirstLine(c.text), c.expected) << c.text << c.why;
}

TEST(CsvHeaderTest, WordsAndNumbersAreWeighed) {
  const Case cases[] = {
      // A word over numbers.
      {"id,5,9\n1,2,3\n", kHeader, "a word over a number"},
      {"id,0.5,0.9\n1,2,3\n", kUndecided, "a fraction is hardly a name"},
      {"1 234,10.5,20.25\n1,2,3\n", kUndecided, "nor beside a number that cannot be read"},
      {"missing,10.5,20.25\n1,2,3\n", kData, "a missing one is no word"},
      {"<NA>,10,20\n1,2,3\n", kData, "in whatever way"},
      {"?,10,20\n1,2,3\n", kData, "in whatever way"},
      {"red,n.a.,5\nblue,0,0\nred,1,3\n", kUndecided, "a word over numbers, and one that stands again"},
      {"id,5\nnan,2\n1,2\n", kHeader, "and missing ones"},
      {"id,5\nnan,2\n,2\n", kUndecided, "missing ones only"},
      {"id,5\n1,2\nx,2\n", kUndecided, "a word among the numbers"},
      {"2019,city\n5,1\n", kHeader, "wherever it stands"},
      // Quotes.
      {"city,\"2019\"\nRome,1\n", kHeader, "a quoted number"},
      {"city,\"2019\"\nRome,1\nOslo,\"1\"\n", kUndecided, "one below is quoted too"},
      {"city,\"2019\"\nRome,x\n", kUndecided, "over no number"},
      {"\"city\",2019\nRome,1\n", kUndecided, "a quoted word says nothing"},
      // Consecutive numbers.
      {"city,2019,2020,2021\nRome,1,3,2\n", kHeader, "years"},
      {"city,2019,2020,2021\n", kUndecided, "three over nothing"},
      {"city,2019,2020\n", kUndecided, "two over nothing"},
      {"2019,city,2020\n5,Rome,5\n", kHeader, "with a word between them"},
      {"city,2019,2020\nRome,1,3\nOslo,4,5\n", kHeader, "a line below is so too, but far from them"},
      {"city,2019,2020,2021\nRome,1,2,3\nOslo,2,3,4\n", kHeader, "lines below are so too, but far from them"},
      {"city,2019,2020\nRome,1,2000\nOslo,2,3\n", kUndecided, "only one of them is far"},
      {"Rome,1,2,3\nOslo,2,3,4\nBern,3,4,5\n", kUndecided, "lines below are so too"},
      {"Rome,1,2\nOslo,2,3\n", kUndecided, "the next number of a row of them is not far"},
      {"Rome,3,4\nOslo,0.5,0.7\n", kUndecided, "two may be so by chance"},
      {"Rome,3,4,5\nOslo,0.5,0.7,0.2\n", kUndecided, "three may be so as well"},
      {"ann,1,2,3\nbob,5,3,1\ncarl,2,2,4\n", kUndecided, "a row of answers must not be lost"},
      {"city,2019,2020\nRome,1.0,2.0\n", kHeader, "those below are not written so"},
      {"city,2019,2021\nRome,1,1\n", kUndecided, "a gap"},
      {"city,2020,2019\nRome,1,1\n", kUndecided, "downwards"},
      {"city,2019\nRome,1\n", kUndecided, "one number alone"},
      {"city,-2,-1\nRome,1,1\n", kUndecided, "a sign"},
      {"city,-1,-2\nRome,1,1\n", kUndecided, "a sign, downwards"},
      {"city,+1,+2\nRome,1,1\n", kUndecided, "a sign"},
      // A point or an exponent.
      {"5.1,3.5,1.4,0.2,Iris-setosa\n4.9,3.0,1.4,0.2,Iris-virginica\n", kData, "points"},
      {"setosa,5,3e0\nvirginica,4,3\n", kData, "an exponent"},
      {"setosa,5,.5\n", kData, "over nothing"},
      // A word once more.
      {"red,5331,6442\ngreen,1703,1616\n", kUndecided, "nothing speaks"},
      {"red,5331,6442\ngreen,1703,1616\nred,1,1\n", kData, "again"},
      {"red,5331,6442\ngreen,1703,1616\n\"red\",1,1\n", kData, "again, in quotes"},
      {"red,5331,6442\ngreen,red,3\n", kUndecided, "in another column"},
      {"red,5331,6442\nRed,1,3\n", kUndecided, "in another case"},
      {",5331,x\n,4,y\n", kUndecided, "nothing stands again"},
      {"city,2019,2020\nRome,5,5\ncity,2019,2020\nOslo,7,7\n", kHeader,
       "all of it again is the header of joined files"},
      {"city,2019,2020\nRome,5,5\ncity,2020,2021\n", kUndecided, "the header of another year stands again"},
      {"red,5,6\ngreen,1,1\nred,7,9\n", kUndecided, "if by chance"},
      // A pattern.
      {"2016-07-01,2,1\n2016-07-02,4,5\n2016-07-03,7,8\n", kData, "dates"},
      {"2016-07-01,2,1\n2016-07-02,4,5\n", kUndecided, "one line says nothing"},
      {"2016-07-01,2,1\n2016-07-02,4,5\n2016-7-3,7,8\n", kUndecided, "another pattern"},
      {"2016-07-01,2,1\n2016-07-02,4,5\n,7,8\n", kUndecided, "an empty cell"},
      {"Q1a,7,5\nX2b,7,5\ny3C,7,5\n", kData, "letters are letters"},
      {"abc,7,5\ndef,7,5\nghi,7,5\n", kUndecided, "a word without a digit"},
      // Both.
      {"a,2019,2020\nb,5,5\na,7,7\n", kUndecided, "consecutive, and again"},
      {"a1,2019,2020\nb2,5,5\nc3,7,7\n", kUndecided, "consecutive, and a pattern"},
      // Lines of other lengths, and those that are none.
      {"red,5331\n5,6,7\n", kUndecided, "more cells"},
      {"red,5331\n5\n", kUndecided, "fewer cells"},
      {"red,5331\n\"5,6\n", kUndecided, "a quote that does not end"},
  };
  for (const Case& c : cases) EXPECT_EQ(JudgeFirstLine(c.text), c.expected) << c.text << c.why;
}

// The lines below are those of the first 128 KiB.
TEST(CsvHeaderTest, TheSampleHasAnEnd) {
  std::string near = "city,2019,2020\n", far = near;
  while (near.size() < 100 << 10) near += "Rome,5,5\n";
  while (far.size() < 300 << 10) far += "Rome,5,5\n";
  EXPECT_EQ(JudgeFirstLine(near + "city,5,5\n"), kUndecided);
  EXPECT_EQ(JudgeFirstLine(far + "city,5,5\n"), kHeader);
  // However long the first line is.
  std::string names, row = "0", next = "1";
  for (int i = 0; names.size() < 200 << 10; ++i) {
    names += absl::StrCat(",", i);
    row += ",0";
    next += ",5";
  }
  EXPECT_EQ(JudgeFirstLine(absl::StrCat(names, "\n", row, "\n", next, "\n")), kHeader) << "it counts the lines";
}

TEST(CsvHeaderTest, AnUndecidedLineIsAskedAbout) {
  const struct {
    std::string text;
    const char* message;
  } cases[] = {
      {"red,5331,6442\ngreen,1703,1616\n", "line 1 may be a header or data: red, 5331, 6442; say yes or no"},
      {"\n\n0,1,2\n", "line 3 may be a header or data: 0, 1, 2; say yes or no"},
      {"a\x1b[31m,1\n", "line 1 may be a header or data: a\\x1b[31m, 1; say yes or no"},
      {"a,1,2,4,5,6,7,8,9,10,11,12\n",
       "line 1 may be a header or data: a, 1, 2, 4, 5, 6, 7, 8, 9, 10 and 2 more; say yes or no"},
      {std::string(100, 'a') + ",1\n", "line 1 may be a header or data: aaaaaaaaaaaaaaaaaaaaaaaa..., 1; say yes or no"},
      {"1,5;2\n3,5;\n",
       "line 1 may be a header or data: 1, 5;2; say yes or no; cells seem to be separated by ';'; they must be "
       "separated by commas"},
      {"# made,5\nx,y\n",
       "line 1 may be a header or data: # made, 5; say yes or no; line 1 looks like a comment; tables must not have "
       "any"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(CsvTable::Open(std::make_unique<StringSource>(c.text)),
                StatusIs(absl::StatusCode::kInvalidArgument, c.message));
  }
}

TEST(CsvHeaderTest, WhatIsSaidIsObeyed) {
  for (const char* text : {"x,y\n1,2\n", "1,2\n3,4\n", "city,2019\nRome,5\n", "0,1,2\n"}) {
    EXPECT_TRUE(Open(text, v1::CsvData::HEADER_YES).has_header()) << text;
    EXPECT_FALSE(Open(text, v1::CsvData::HEADER_NO).has_header()) << text;
    EXPECT_EQ(Open(text, v1::CsvData::HEADER_YES).note(), "");
    EXPECT_EQ(Open(text, v1::CsvData::HEADER_NO).note(), "");
  }
  EXPECT_EQ(Open("x,y\n", v1::CsvData::HEADER_UNSPECIFIED).note(), Open("x,y\n").note());
  EXPECT_EQ(*Open("1,0\n3,4\n", v1::CsvData::HEADER_YES).FindColumn("0"), 1) << "names win over positions";
  EXPECT_EQ(*Open("1,0\n3,4\n", v1::CsvData::HEADER_NO).FindColumn("0"), 0);
  EXPECT_EQ(*Open("x,5.0\n3,4\n", v1::CsvData::HEADER_YES).FindColumn("0"), 0) << "where no name is";
  EXPECT_EQ(CountRows(Open("x,y\n", v1::CsvData::HEADER_YES)), 0);
}

TEST(CsvHeaderTest, TheNoteSaysHowAndWhy) {
  const struct {
    const char* text;
    const char* how;  // " (csv.header: ..." follows
  } cases[] = {
      {"x,y\n1,2\n", "a header, since none of its cells is a number: x, y"},
      {"\"5\",\"6\"\n1,2\n", "a header, since all its cells are quoted and no number below is: 5, 6"},
      {",0,1\n0,5,6\n1,7,8\n",
       "a header, since its first cell is empty and the column below counts the lines: \"\", 0, 1"},
      {"city,2019\n1,2\n", "a header, since \"city\" in column 1 stands over numbers: city, 2019"},
      {"city,\"2019\"\nRome,2\n",
       "a header, since \"2019\" in column 2 is quoted and no number below it is: city, 2019"},
      {"city,2019,2020\nRome,2,2\n",
       "a header, since each of its numbers is one more than the one before and far from all below it: city, 2019, "
       "2020"},
      {",2019,2020\nRome,2,2\n",
       "a header, since each of its numbers is one more than the one before and far from all below it: \"\", 2019, "
       "2020"},
      {"1,2\n3,4\n", "data, since all its cells are numbers"},
      {"nan,2\n3,4\n", "data, since its cells are numbers or missing ones"},
      {"setosa,5.1\n", "data, since \"5.1\" in column 2 has a point or an exponent"},
      {"a,1\nb,2\n\na,3\n", "data, since \"a\" in column 1 stands again in line 4"},
      {"d-1,1\nd-2,2\nd-3,3\n", "data, since \"d-1\" in column 1 is written as all the cells below it"},
  };
  for (const auto& c : cases) {
    const CsvTable table = Open(c.text);
    EXPECT_EQ(table.note(), absl::StrCat("the first line is read as ", c.how,
                                         table.has_header() ? " (csv.header: no makes it data)"
                                                            : " (csv.header: yes makes it a header)"));
  }
}

TEST(CsvHeaderTest, PositionsAreDigitsWhereNoNameIs) {
  const CsvTable names = Open("x,y,z\n1,2,3\n"), none = Open("1,2,3\n");
  for (const CsvTable* table : {&names, &none}) {
    EXPECT_EQ(*table->FindColumn("2"), 2);
    EXPECT_EQ(*table->FindColumn("02"), 2);
    for (const char* name : {"3", "+1", "-1", " 1", "1 ", " 02 ", "1.0", "", "99999999999999999999"}) {
      EXPECT_THAT(table->FindColumn(name), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no column")))
          << name;
    }
  }
  const CsvTable index = Open(",0,1,2\n0,5,6,7\n1,8,9,4\n");
  EXPECT_EQ(*index.FindColumn("2"), 3) << "a name";
  EXPECT_THAT(index.FindColumn("3"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "no column \"3\" among 4 columns; the first line is read as a header, since its first "
                       "cell is empty and the column below counts the lines: \"\", 0, 1, 2; columns are "
                       "named by numbers here, so they cannot be given by position"));
}

TEST(CsvHeaderTest, AHeaderOnceMoreIsAnError) {
  const struct {
    const char* text;
    const char* message;  // empty: fine
  } cases[] = {
      {"city,2019,2020\nRome,5,5\ncity,2019,2020\nOslo,7,7\n", "line 3 is the header once more; tables have one"},
      {"city,x,y\nRome,5,5\n\n city , x,y\r\n", "line 4 is the header once more; tables have one"},
      {"\"5\",\"6\",\"7\"\n\"5\",\"6\",\"7\"\n1,2,3\n", "line 2 is the header once more; tables have one"},
      {"\"5\",\"6\",\"7\"\n5,6,7\n1,2,3\n", ""},
      {"\"city\",2019,2020\nRome,5,5\nCITY,2019,2020\n", "line 3 is the header once more; tables have one"},
      {"city,\"2019\",\"2020\"\nRome,5,5\nCity,2020,2021\n", "line 3 is the header once more; tables have one"},
      {"5,6,7\n5,6,7\n", ""},
      {"a,6,7.5\na,6,7.5\n", ""},
  };
  for (const auto& c : cases) {
    CsvTable table = Open(c.text, absl::StartsWith(c.text, "a,") ? v1::CsvData::HEADER_NO : v1::CsvData::HEADER_AUTO);
    const absl::Status status = table.ForEachRow(std::vector<int>{1, 2}, [](std::span<const double>) { return true; });
    if (*c.message == '\0') {
      EXPECT_THAT(status, IsOk()) << c.text;
    } else {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, c.message)) << c.text;
    }
  }
}

// It goes into a message of the protocol and onto terminals.
TEST(CsvHeaderTest, TheNoteIsShortAndPrintable) {
  std::string header = "\x1b[31mred,\xff\xfe," + std::string(5000, 'w') + ",\xe2\x82\xac";
  for (int i = 4; i < 1000; ++i) absl::StrAppend(&header, ",c", i);
  const std::string note = Open(header + "\n").note();
  EXPECT_THAT(note, HasSubstr("\\x1b[31mred, \\xff\\xfe, " + std::string(24, 'w') + "..., \xe2\x82\xac, c4"));
  EXPECT_THAT(note, HasSubstr("c9 and 990 more"));
  EXPECT_LT(note.size(), 350u);
  EXPECT_EQ(Printable(note), note);
  EXPECT_NE(CountCodePoints(note), kInvalidUtf8);
  const std::string again = std::string("\x1b[31m") + std::string(5000, 'w');
  const std::string word = Open(again + ",1\n" + again + ",2\n").note();
  EXPECT_THAT(word, HasSubstr("stands again in line 2"));
  EXPECT_EQ(Printable(word), word);
  EXPECT_LT(word.size(), 300u);
}

}  // namespace
}  // namespace gradwatch::core
