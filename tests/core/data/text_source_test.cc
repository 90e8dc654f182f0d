#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
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

class TextSourceTest : public ::testing::Test {
 protected:
  TextSourceTest() : roots_(*DataRoots::Create({dir_.path()})) {}

  absl::StatusOr<std::unique_ptr<DataSource>> Open(absl::string_view text, int sequence_length, int batch_size = 3) {
    std::filesystem::remove(dir_.File("text"));  // some file systems write a truncated file to the disk at once
    dir_.Write("text", text);
    v1::DataSpec spec;
    spec.set_batch_size(batch_size);
    spec.mutable_text()->set_path("text");
    spec.mutable_text()->set_sequence_length(sequence_length);
    return OpenData(spec, 7, roots_);
  }

  TempDir dir_;
  DataRoots roots_;
};

TEST_F(TextSourceTest, TheVocabularyIsSortedAndTargetsAreTheNextCharacters) {
  // Sorted: 'a' 0, 'b' 1, 'é' 2, '€' 3.
  auto source = *Open(
      "b\xe2\x82\xac"
      "a\xc3\xa9",
      3);
  EXPECT_EQ(source->shape().input, (Shape{.steps = 3, .features = 4}));
  EXPECT_TRUE(source->shape().tokens);
  EXPECT_TRUE(source->shape().target_per_step);
  EXPECT_EQ(source->shape().outputs, 4);
  EXPECT_EQ(source->examples(), 1);
  const Batch batch = source->Fill(0);
  ASSERT_EQ(batch.tokens.size(), 9u);
  EXPECT_TRUE(batch.features.empty());
  const int expected[] = {1, 3, 0, 2};
  for (int t = 0; t < 3; ++t) {
    for (int b = 0; b < 3; ++b) {
      EXPECT_EQ(batch.tokens[t * 3 + b], expected[t]);
      EXPECT_EQ(batch.classes[t * 3 + b], expected[t + 1]);
    }
  }
}

TEST_F(TextSourceTest, AByteOrderMarkIsNoCharacter) {
  auto source = *Open(
      "\xef\xbb\xbf"
      "abab",
      3);
  EXPECT_EQ(source->shape().outputs, 2);
  EXPECT_EQ(source->examples(), 1);
}

TEST_F(TextSourceTest, OnlyAtTheStartIsItAMark) {
  auto source = *Open(
      "\xef\xbb\xbf\xef\xbb\xbf"
      "ab",
      2);
  EXPECT_EQ(source->shape().outputs, 3) << "the second one is a character";
  EXPECT_EQ(source->examples(), 1);
}

// Longer than a block, and walked twice.
TEST_F(TextSourceTest, AGzippedTextIsReadAsThePlainOne) {
  std::string text = "\xef\xbb\xbf";
  for (int i = 0; i < 100'000; ++i) text.push_back(static_cast<char>('a' + i * i % 7));
  const auto plain = *Open(text, 5);
  const auto packed = *Open(MakeGzip(text), 5);
  EXPECT_EQ(packed->examples(), 100'000 - 5);
  EXPECT_EQ(packed->shape().outputs, plain->shape().outputs);
  EXPECT_EQ(packed->bytes(), plain->bytes());
  const Batch expected = plain->Fill(3), found = packed->Fill(3);
  EXPECT_EQ(std::vector<int>(found.tokens.begin(), found.tokens.end()),
            std::vector<int>(expected.tokens.begin(), expected.tokens.end()));
  EXPECT_THAT(Open(MakeGzip(text).substr(0, 100), 5),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gzip data is cut short")));
}

// A few thousand bytes on the disk are two million in memory. A bad last character shows that it was not read to its
// end.
TEST_F(TextSourceTest, TheLimitOfMemoryHoldsForGzippedTexts) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  std::string text;
  while (static_cast<int64_t>(text.size()) < 4 * kReadBlock) text += "ab";
  const auto size = static_cast<int64_t>(text.size());
  v1::DataSpec spec;
  spec.set_batch_size(3);
  spec.mutable_text()->set_path("text");
  spec.mutable_text()->set_sequence_length(3);
  EXPECT_THAT(Open(MakeGzip(text + "\xff"), 3), StatusIs(invalid, HasSubstr(absl::StrCat("not UTF-8 at byte ", size))));
  EXPECT_THAT(
      DescribeData(spec, 7, roots_, 0, kReadBlock),
      StatusIs(invalid, ::testing::ContainsRegex("takes at least [0-9]+ bytes of memory.*; the limit is 262144")));
  EXPECT_THAT(DescribeData(spec, 7, roots_, 0, 2 * size), StatusIs(invalid, HasSubstr("not UTF-8")));
  ASSERT_THAT(Open(MakeGzip(text), 3), IsOk());
  EXPECT_THAT(DescribeData(spec, 7, roots_, 0, 2 * size - 1),
              StatusIs(invalid, HasSubstr(absl::StrCat("takes at least ", 2 * size, " bytes"))));
  EXPECT_THAT(DescribeData(spec, 7, roots_, 0, 2 * size), IsOk());
}

// They are windows that overlap, drawn without end, and nobody walks through them.
TEST_F(TextSourceTest, NoNumberOfExamplesIsTold) {
  ASSERT_EQ((*Open("abcdabcdab", 3))->examples(), 7);
  v1::DataSpec spec;
  spec.set_batch_size(3);
  spec.mutable_text()->set_path("text");
  spec.mutable_text()->set_sequence_length(3);
  EXPECT_FALSE(DescribeData(spec, 7, roots_, 0, 1 << 20)->summary.has_examples());
}

TEST_F(TextSourceTest, ACarriageReturnIsSaidToBeACharacter) {
  const std::pair<const char*, const char*> cases[] = {
      {"ab\r\ncd\r\n", "lines end with CR LF; CR is one of its 6 characters"},
      {"ab\r\ncd", "lines end with CR LF; CR is one of its 6 characters"},
      {"a\r\nb\r\nc\n", "most lines end with CR LF; CR is one of its 5 characters"},
      {"ab\r\ncd\n", ""},
      {"ab\ncd\n", ""},
      {"ab\rcd\n\r", ""},
      {"abcdab", ""},
  };
  for (const auto& [text, note] : cases) {
    EXPECT_EQ((*Open(text, 3))->Summary().note(), note) << text;
  }
}

// Read as characters these would be half NULs.
TEST_F(TextSourceTest, Utf16IsNamed) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(Open(std::string("\xff\xfe"
                               "a\0b\0a\0b\0",
                               10),
                   2),
              StatusIs(invalid, HasSubstr("is UTF-16; must be UTF-8")));
  EXPECT_THAT(Open(std::string("\xfe\xff"
                               "\0a\0b\0a\0b",
                               10),
                   2),
              StatusIs(invalid, HasSubstr("is UTF-16; must be UTF-8")));
  EXPECT_THAT(Open(std::string("\xff\xfe\0\0a\0\0\0b\0\0\0", 12), 2),
              StatusIs(invalid, HasSubstr("is UTF-32; must be UTF-8")));
  EXPECT_THAT(Open(std::string("\0\0\xfe\xff\0\0\0a\0\0\0b", 12), 2),
              StatusIs(invalid, HasSubstr("is UTF-32; must be UTF-8")));
  EXPECT_THAT(Open(std::string("a\0b\0a\0b\0", 8), 2),
              StatusIs(invalid, HasSubstr("byte 1 is NUL, so this is not UTF-8 text; perhaps it is UTF-16")));
}

// Characters of every length lie across the ends of the blocks that are read.
TEST_F(TextSourceTest, LongTextsAreReadInBlocks) {
  for (const absl::string_view character : {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"}) {
    std::string text = "a";
    while (static_cast<int64_t>(text.size()) < 2 * kReadBlock + 2) text.append(character.data(), character.size());
    const auto length = static_cast<int64_t>(1 + (text.size() - 1) / character.size());
    auto source = *Open(text, 2);
    EXPECT_EQ(source->examples(), length - 2);
    EXPECT_EQ(source->shape().outputs, 2);
    EXPECT_EQ(Open(text.substr(0, text.size() - 1), 2).ok(), character.size() == 1);
  }
}

TEST_F(TextSourceTest, IsDescribedWithoutBeingKept) {
  const auto source = *Open("abcdabcdab", 3);
  v1::DataSpec spec;
  spec.set_batch_size(3);
  spec.mutable_text()->set_path("text");
  spec.mutable_text()->set_sequence_length(3);
  const auto description = *DescribeData(spec, 7, roots_, 1, int64_t{1} << 40);
  EXPECT_EQ(description.shape.outputs, 4);
  EXPECT_EQ(description.bytes, source->bytes());
  EXPECT_THAT(DescribeData(spec, 7, roots_, 1, 19),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("text.path: text: takes at least 20 bytes")));
}

TEST_F(TextSourceTest, EveryWindowComes) {
  auto source = *Open("abcdefgh", 5, 64);
  EXPECT_EQ(source->examples(), 3);
  const Batch batch = source->Fill(0);
  std::set<int> starts(batch.tokens.begin(), batch.tokens.begin() + 64);
  EXPECT_EQ(starts, (std::set<int>{0, 1, 2}));
}

// Windows are drawn, so a batch with as many of them as there are is not the whole set.
TEST_F(TextSourceTest, EveryBatchIsDrawnAnewWhateverItsSize) {
  auto source = *Open("abcdefgh", 5, 3);
  ASSERT_EQ(source->examples(), 3);
  std::set<std::vector<int>> batches;
  for (int step = 0; step < 20; ++step) {
    const Batch batch = source->Fill(step);
    batches.emplace(batch.tokens.begin(), batch.tokens.begin() + 3);
  }
  EXPECT_GT(batches.size(), 5u);
}

TEST_F(TextSourceTest, RefusesWhatCannotBeTrainedOn) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const absl::Status not_utf8 = Open(
                                    "abc\xff"
                                    "def",
                                    2)
                                    .status();
  EXPECT_THAT(not_utf8, StatusIs(invalid, HasSubstr("text.path: text: not UTF-8 at byte 3")));
  EXPECT_EQ(GetFieldViolations(not_utf8)[0].field, "text.path");
  EXPECT_THAT(Open("abc", 3),
              StatusIs(invalid, HasSubstr("text.sequence_length: must be below the length of the text, 3 "
                                          "characters; got 3")));
  EXPECT_THAT(Open("abcd", 3), IsOk());
  EXPECT_THAT(Open("", 3), StatusIs(invalid, HasSubstr("0 different characters")));
  EXPECT_THAT(Open("aaaaaaa", 3), StatusIs(invalid, HasSubstr("1 different characters")));
  EXPECT_THAT(Open("abcd", 0), StatusIs(invalid, HasSubstr("must be from 1 to 65536; got 0")));
  EXPECT_THAT(Open("abcd", 65'537), StatusIs(invalid, HasSubstr("got 65537")));
}

TEST_F(TextSourceTest, SurvivesTenThousandMutations) {
  std::mt19937 random(3);
  int accepted = 0;
  for (int i = 0; i < 10'000; ++i) {
    std::string text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 some text";  // every length
    const int edits = static_cast<int>(random() % 3);
    for (int k = 0; k < edits; ++k) text[random() % text.size()] = static_cast<char>(random());
    text.resize(random() % text.size());
    auto source = Open(text, 4);
    if (!source.ok()) continue;
    ++accepted;
    (*source)->Fill(0);
  }
  EXPECT_GT(accepted, 100);
}

TEST(TextSourceShakespeareTest, ReadsTheRealFile) {
  const std::string path = SharedFile("data/tinyshakespeare.txt");
  if (path.empty()) GTEST_SKIP() << "no ../shared/data/tinyshakespeare.txt";
  v1::DataSpec spec;
  spec.set_batch_size(16);
  spec.mutable_text()->set_path(path);
  spec.mutable_text()->set_sequence_length(64);
  auto source = OpenData(spec, 1, *DataRoots::Create({std::filesystem::path(path).parent_path().string()}));
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ((*source)->shape().outputs, 65);
  EXPECT_EQ((*source)->examples(), 1'115'394 - 64);
}

}  // namespace
}  // namespace gradwatch::core
