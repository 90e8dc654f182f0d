// Which first lines are headers, and how that is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"
#include "core/data/csv_table.h"
#include "tests/core/data/make_files.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::testing::HasSubstr;

CsvTable Open(const std::string& text, v1::CsvData::Header header = v1::CsvData::HEADER_AUTO) {
  return *CsvTable::Open(std::make_unique<StringSource>(text), header);
}

TEST(CsvHeaderTest, TheFirstLineIsJudgedByItsCells) {
  const struct {
    const char* text;
    bool is_header;
    const char* why;
  } cases[] = {
      {"x,y\n1,2\n", true, "no cell is a number"},
      {"1,2\n3,4\n", false, "all cells are numbers"},
      {"1.5,-2e3,\"7\"\n3,4,5\n", false, "all cells are numbers, also in quotes"},
      {"1e400,2\n3,4\n", false, "too large is a number all the same"},
      {"nan,inf\n1,2\n", true, "these are no numbers"},
      {"nan,,x\n1,2,3\n", true, "nor is nothing"},
      {"0x1F,0x20\n1,2\n", true, "nor is what is not decimal"},
      {"city,2019,2020,2021\nRome,1,2,3\nOslo,4,5,6\n", true, "years are names"},
      {",0,1,2\n0,5,6,7\n1,8,9,10\n", true, "as pandas writes an index and positions"},
      {"2019,city\n5,Rome\n", true, "wherever they stand"},
      {"2016-07-01,5\n2016-07-02,6\n", true, "a date once is as good as a name"},
      {"setosa,5.1,3.5\nsetosa,4.9,3.0\n", false, "a number with a point"},
      {"setosa,5,-3\nvirginica,4,3\n", false, "a number with a sign"},
      {"setosa,5,+3\nvirginica,4,3\n", false, "a number with a sign"},
      {"setosa,5,3e0\nvirginica,4,3\n", false, "a number with an exponent"},
      {"setosa,5,3\nvirginica,4,3\nsetosa,1,1\n", false, "the word stands there again"},
      {"setosa,5,3\nvirginica,4,3\n\"setosa\",1,1\n", false, "also in quotes"},
      {"setosa,5,3\nvirginica,setosa,3\n", true, "it must be in the same column"},
      {",5,3\n,4,3\n", true, "an empty cell that stands there again says nothing"},
      {"a,5,3\nb,5,3\n", true, "nor does a number"},
      {"\xef\xbb\xbf"
       "city,2019\nRome,1\n",
       true, "behind a byte order mark"},
  };
  for (const auto& c : cases) {
    CsvTable table = Open(c.text);
    EXPECT_EQ(table.has_header(), c.is_header) << c.text << c.why;
    const auto rows = table.CountRows();
    ASSERT_THAT(rows, IsOk()) << c.text;
    const auto lines = std::count(c.text, c.text + std::string(c.text).size(), '\n');
    EXPECT_EQ(*rows, lines - (c.is_header ? 1 : 0)) << c.text;
  }
}

// A word that stands there again is looked for in the first 128 KiB only.
TEST(CsvHeaderTest, TheSampleHasAnEnd) {
  std::string near = "city,2019\n", far = near;
  while (near.size() < 100 << 10) near += "Rome,5\n";
  while (far.size() < 300 << 10) far += "Rome,5\n";
  EXPECT_FALSE(Open(near + "city,5\n").has_header());
  EXPECT_TRUE(Open(far + "city,5\n").has_header());
}

TEST(CsvHeaderTest, WhatIsSaidIsObeyed) {
  for (const char* text : {"x,y\n1,2\n", "1,2\n3,4\n", "city,2019\nRome,5\n"}) {
    EXPECT_TRUE(Open(text, v1::CsvData::HEADER_YES).has_header()) << text;
    EXPECT_FALSE(Open(text, v1::CsvData::HEADER_NO).has_header()) << text;
    EXPECT_EQ(Open(text, v1::CsvData::HEADER_YES).note(), "");
    EXPECT_EQ(Open(text, v1::CsvData::HEADER_NO).note(), "");
    EXPECT_EQ(Open(text, v1::CsvData::HEADER_UNSPECIFIED).note(), Open(text).note());
  }
  EXPECT_EQ(*Open("1,0\n3,4\n", v1::CsvData::HEADER_YES).FindColumn("0"), 1) << "names win over positions";
  EXPECT_EQ(*Open("1,0\n3,4\n", v1::CsvData::HEADER_NO).FindColumn("0"), 0);
  EXPECT_EQ(*Open("5,6\n3,4\n", v1::CsvData::HEADER_YES).FindColumn("0"), 0) << "where no name is";
  EXPECT_EQ(*Open("x,y\n", v1::CsvData::HEADER_YES).CountRows(), 0);
}

TEST(CsvHeaderTest, TheNoteSaysHowAndWhy) {
  const struct {
    const char* text;
    const char* note;
  } cases[] = {
      {"city,2019,2020,2021\nRome,1,2,3\n",
       "the first line is read as a header: city, 2019, 2020, 2021 (csv.header: no makes it data)"},
      {"1,2\n3,4\n",
       "the first line is read as data, since all its cells are numbers (csv.header: yes makes it a header)"},
      {"setosa,5.1\n",
       "the first line is read as data, since \"5.1\" in column 1 is written with a point, an exponent or a "
       "sign (csv.header: yes makes it a header)"},
      {"a,1\nb,2\n\na,3\n",
       "the first line is read as data, since \"a\" stands again in column 0 of line 4 "
       "(csv.header: yes makes it a header)"},
  };
  for (const auto& c : cases) EXPECT_EQ(Open(c.text).note(), c.note) << c.text;
}

// It goes into a message of the protocol and onto terminals.
TEST(CsvHeaderTest, TheNoteIsShortAndPrintable) {
  std::string header = "\x1b[31mred,\xff\xfe," + std::string(5000, 'w') + ",\xe2\x82\xac";
  for (int i = 4; i < 1000; ++i) absl::StrAppend(&header, ",c", i);
  const std::string note = Open(header + "\n").note();
  EXPECT_THAT(note, HasSubstr("\\x1b[31mred, \\xff\\xfe, " + std::string(24, 'w') + "..., \xe2\x82\xac, c4"));
  EXPECT_THAT(note, HasSubstr("c9 and 990 more"));
  EXPECT_LT(note.size(), 300u);
  EXPECT_EQ(Printable(note), note);
  EXPECT_NE(CountCodePoints(note), kInvalidUtf8);
  const std::string word = Open("\x1b[31m" + std::string(5000, 'w') + ",-1\n").note();
  EXPECT_EQ(Printable(word), word);
  const std::string again = std::string("\x1b") + std::string(5000, 'w') + ",1\n";
  EXPECT_EQ(Open(again + again).note(), Printable(Open(again + again).note()));
  EXPECT_LT(Open(again + again).note().size(), 300u);
}

}  // namespace
}  // namespace gradwatch::core
