#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/data/data_source.h"
#include "core/data/idx_file.h"
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
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr int64_t kLimit = 1 << 20;

struct Array {
  std::vector<int64_t> dimensions;
  std::vector<float> elements;
};

absl::StatusOr<Array> Parse(const std::string& content, int64_t limit = kLimit) {
  const auto size = static_cast<int64_t>(content.size());
  GW_ASSIGN_OR_RETURN(IdxFile file, IdxFile::Open(std::make_unique<StringSource>(content), size, limit));
  Array array{.dimensions = file.header().dimensions, .elements = {}};
  GW_RETURN_IF_ERROR(file.ForEachBlock([&](int64_t first, absl::string_view elements) {
    EXPECT_EQ(first, static_cast<int64_t>(array.elements.size()));
    const size_t count = elements.size() / IdxElementBytes(file.header().type);
    array.elements.resize(first + count);
    ReadIdxElements(file.header().type, elements.data(), {array.elements.data() + first, count});
    return absl::OkStatus();
  }));
  return array;
}

TEST(IdxFileTest, ReadsEveryType) {
  const struct {
    int type;
    std::string elements;
    std::vector<float> expected;
  } cases[] = {
      {0x08, std::string("\x00\xff", 2), {0, 255}},
      {0x09, std::string("\x7f\x80", 2), {127, -128}},
      {0x0B, BigEndian(300, 2) + BigEndian(0xfffe, 2), {300, -2}},
      {0x0C, BigEndian(70'000, 4) + BigEndian(0xffffffff, 4), {70'000, -1}},
      {0x0D, BigEndian(std::bit_cast<uint32_t>(1.5f), 4) + BigEndian(std::bit_cast<uint32_t>(-2.25f), 4), {1.5, -2.25}},
      {0x0E, BigEndian(std::bit_cast<uint64_t>(1.5), 8) + BigEndian(std::bit_cast<uint64_t>(-2.25), 8), {1.5, -2.25}},
  };
  for (const auto& c : cases) {
    const std::string content = MakeIdx(c.type, {1, 2}, c.elements);
    for (const std::string& stored : {content, MakeGzip(content)}) {
      const auto array = Parse(stored);
      ASSERT_THAT(array, IsOk()) << c.type;
      EXPECT_THAT(array->dimensions, ElementsAre(1, 2));
      EXPECT_EQ(array->elements, c.expected) << c.type;
    }
  }
}

TEST(IdxFileTest, RefusesMalformedFiles) {
  const std::string good = MakeIdx(0x08, {2, 3}, "abcdef");
  const struct {
    std::string content;
    const char* message;
  } cases[] = {
      {"", "cut short: expected 4 bytes, found 0"},
      {"\x01" + good.substr(1), "not an IDX file"},
      {MakeIdx(0x0A, {2, 3}, "abcdef"), "not an IDX file"},
      {MakeIdx(0x08, {}, "a"), "rank 0"},
      {MakeIdx(0x08, {1, 1, 1, 1, 1}, "a"), "rank 5"},
      {MakeIdx(0x08, {0, 3}, ""), "dimension 0 is 0"},
      {MakeIdx(0x08, {2, 3}, "abcde"), "cut short: expected 18 bytes, found 17"},
      {MakeIdx(0x08, {2, 3}, "abcdefg"), "too long: expected 18 bytes, found 19"},
      {MakeIdx(0x08, {0xffffffff, 0xffffffff, 0xffffffff}, "a"), "more than the limit"},
      {MakeIdx(0x08, {1 << 21}, "a"), "more than the limit of 1048576 bytes"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(Parse(c.content), StatusIs(kInvalid, HasSubstr(c.message)));
  }
}

TEST(IdxFileTest, EveryTruncationIsCutShort) {
  const std::string whole = MakeIdx(0x0C, {3, 2}, std::string(24, 'x'));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(Parse(whole.substr(0, size)), StatusIs(kInvalid, HasSubstr("cut short"))) << size;
  }
}

TEST(IdxFileTest, LongFilesComeInBlocks) {
  const std::string elements(3 * kReadBlock + 8, '\x01');
  const std::string content = MakeIdx(0x0E, {static_cast<uint32_t>(elements.size() / 8)}, elements);
  for (const std::string& stored : {content, MakeGzip(content)}) {
    EXPECT_EQ(Parse(stored)->elements.size(), elements.size() / 8);
  }
  EXPECT_THAT(Parse(MakeGzip(content + "x")), StatusIs(kInvalid, HasSubstr("too long")));
  EXPECT_THAT(Parse(MakeGzip(content.substr(0, content.size() - 1))), StatusIs(kInvalid, HasSubstr("cut short")));
}

// The header is compared with the size of the file before memory is taken for what it tells of.
TEST(IdxFileTest, AHeaderThatPromisesMoreThanTheFileCanHoldIsRefusedAtOnce) {
  const std::string header = MakeIdx(0x08, {1 << 19}, "");
  EXPECT_THAT(IdxFile::Open(std::make_unique<StringSource>(header), static_cast<int64_t>(header.size()), kLimit),
              StatusIs(kInvalid, HasSubstr("cut short")));
  const std::string packed = MakeGzip(header);
  EXPECT_THAT(IdxFile::Open(std::make_unique<StringSource>(packed), static_cast<int64_t>(packed.size()), kLimit),
              StatusIs(kInvalid, HasSubstr("of gzip cannot hold")));
}

// Damaged files are refused or read, never a crash; sanitizers look on.
TEST(IdxFileTest, SurvivesTenThousandMutations) {
  const std::string plain = MakeIdx(0x0B, {4, 2, 3}, std::string(48, '\x07'));
  const std::string packed = MakeGzip(plain);
  std::mt19937 random(1);
  int accepted = 0;
  for (int i = 0; i < 10'000; ++i) {
    std::string content = i % 2 == 0 ? plain : packed;
    const int edits = 1 + static_cast<int>(random() % 4);
    for (int k = 0; k < edits; ++k) {
      // Half of the edits in the header.
      const size_t range = random() % 2 == 0 ? 16 : content.size();
      content[random() % std::min(range, content.size())] = static_cast<char>(random());
    }
    if (random() % 8 == 0) content.resize(random() % content.size());
    accepted += Parse(content).ok();
  }
  EXPECT_GT(accepted, 100);
}

// Ten images of 2 x 3 pixels; pixel k of image i is 10 i + k, its label i % 4.
class IdxSourceTest : public ::testing::Test {
 protected:
  IdxSourceTest() {
    for (int i = 0; i < 10; ++i) {
      for (int k = 0; k < 6; ++k) pixels_.push_back(static_cast<char>(10 * i + k));
      labels_.push_back(static_cast<char>(i % 4));
    }
    dir_.Write("images", MakeIdx(0x08, {10, 2, 3}, pixels_));
    dir_.Write("labels", MakeGzip(MakeIdx(0x08, {10}, labels_)));
    roots_ = *DataRoots::Create({dir_.path()});
    spec_.set_batch_size(4);
    spec_.mutable_idx()->set_images("images");
    spec_.mutable_idx()->set_labels("labels");
  }

  absl::StatusOr<std::unique_ptr<DataSource>> Open(uint64_t seed = 1) { return OpenData(spec_, seed, roots_); }

  TempDir dir_;
  std::string pixels_, labels_;
  DataRoots roots_;
  v1::DataSpec spec_;
};

TEST_F(IdxSourceTest, HasTheShapeOfTheImages) {
  const auto source = Open();
  ASSERT_THAT(source, IsOk());
  const DataShape& shape = (*source)->shape();
  EXPECT_EQ(shape.input, (Shape{.steps = 0, .features = 6, .channels = 1, .height = 2, .width = 3}));
  EXPECT_EQ(shape.target, DataShape::Target::kClasses);
  EXPECT_EQ(shape.outputs, 4);
  EXPECT_FALSE(shape.tokens);
  EXPECT_FALSE(shape.target_per_step);
  EXPECT_EQ((*source)->examples(), 10);
  EXPECT_EQ((*source)->bytes(), 60 + 10 * 4 + 4 * (4 * 6 + 4));
}

TEST_F(IdxSourceTest, EveryExampleComesOncePerEpochWithItsLabel) {
  auto source = *Open();
  std::map<int, int> count;
  for (int step = 0; step < 5; ++step) {  // 20 examples: two epochs; the third batch lies in both
    const Batch batch = source->Fill(step);
    ASSERT_EQ(batch.size, 4);
    ASSERT_EQ(batch.features.size(), 24u);
    EXPECT_TRUE(batch.tokens.empty());
    EXPECT_TRUE(batch.values.empty());
    for (int b = 0; b < 4; ++b) {
      const int image = static_cast<int>(batch.features[b * 6] * 255 / 10 + 0.01f);
      for (int k = 0; k < 6; ++k) EXPECT_EQ(batch.features[b * 6 + k], static_cast<float>(10 * image + k) / 255.0f);
      EXPECT_EQ(batch.classes[b], image % 4);
      ++count[image];
    }
  }
  EXPECT_EQ(count.size(), 10u);
  for (const auto& [image, times] : count) EXPECT_EQ(times, 2) << image;
}

TEST_F(IdxSourceTest, IsDescribedWithoutBeingKept) {
  spec_.mutable_idx()->set_first(3);
  spec_.mutable_idx()->set_count(5);
  const auto description = *DescribeData(spec_, 1, roots_, 1, int64_t{1} << 40);
  const auto source = *Open();
  EXPECT_EQ(description.shape.input, source->shape().input);
  EXPECT_EQ(description.shape.outputs, source->shape().outputs);
  EXPECT_EQ(description.bytes, source->bytes());
  EXPECT_THAT(DescribeData(spec_, 1, roots_, 1, 49), StatusIs(kInvalid, HasSubstr("images: takes at least 50 bytes")));
}

// A megabyte that inflates to a gigabyte costs no gigabyte, nor the time for it.
TEST_F(IdxSourceTest, ABombIsRefusedByItsHeader) {
  const std::string bomb = MakeGzip(MakeIdx(0x08, {10, 2, 3}, std::string(20 << 20, '\0')));
  dir_.Write("images", bomb);
  EXPECT_THAT(Open(), StatusIs(kInvalid, HasSubstr("images: too long: expected 76 bytes, found more")));
}

TEST_F(IdxSourceTest, RangesAndClassesAreKept) {
  spec_.mutable_idx()->set_first(3);
  spec_.mutable_idx()->set_count(2);
  spec_.mutable_idx()->set_classes(7);
  spec_.set_batch_size(2);
  auto source = *Open();
  EXPECT_EQ(source->examples(), 2);
  EXPECT_EQ(source->shape().outputs, 7);
  const Batch batch = source->Fill(0);
  EXPECT_EQ(std::set<int>(batch.classes.begin(), batch.classes.end()), (std::set<int>{0, 3}));
  EXPECT_EQ(batch.features[0] + batch.features[6], static_cast<float>(30 + 40) / 255);
}

// One wrong label makes classes of its own.
TEST_F(IdxSourceTest, SaysHowTheClassesWereCounted) {
  labels_[5] = 77;
  dir_.Write("labels", MakeIdx(0x08, {10}, labels_));
  auto found = DescribeData(spec_, 1, roots_, 0, 1 << 20)->summary;
  EXPECT_EQ(found.note(),
            "classes are one more than the largest label, 77 (example 5); idx.classes says how many there are");
  EXPECT_EQ(found.examples(), 10);
  EXPECT_EQ((*Open())->Summary().note(), found.note());
  spec_.mutable_idx()->set_classes(100);
  EXPECT_EQ((*Open())->Summary().note(), "") << "it was said";
  spec_.mutable_idx()->clear_classes();
  dir_.Write("labels", MakeIdx(0x08, {10}, std::string("\1\3\3\0\0\0\0\0\0\0", 10)));
  EXPECT_THAT((*Open())->Summary().note(), HasSubstr("the largest label, 3 (example 1)")) << "the first of them";
  dir_.Write("labels", MakeIdx(0x08, {10}, std::string(10, '\0')));
  EXPECT_THAT((*Open())->Summary().note(),
              HasSubstr("the fewest that there may be, 2, for the largest label, 0 (example 0)"));
}

TEST_F(IdxSourceTest, AcceptsVectorsAndChannels) {
  dir_.Write("images", MakeIdx(0x08, {10, 6}, pixels_));
  EXPECT_EQ((*Open())->shape().input, (Shape{.features = 6}));
  dir_.Write("images", MakeIdx(0x08, {10, 3, 1, 2}, pixels_));
  EXPECT_EQ((*Open())->shape().input, (Shape{.features = 6, .channels = 3, .height = 1, .width = 2}));
}

TEST_F(IdxSourceTest, EveryErrorNamesFieldFileAndValue) {
  struct Case {
    std::function<void(v1::IdxData*)> change;
    const char* field;
    const char* message;
  };
  dir_.Write("short", MakeIdx(0x08, {10, 2, 3}, pixels_).substr(0, 70));
  dir_.Write("nine", MakeIdx(0x08, {9}, labels_.substr(1)));
  dir_.Write("float_labels", MakeIdx(0x0D, {1}, std::string(4, '\0')));
  dir_.Write("negative", MakeIdx(0x09, {10}, std::string(10, '\xff')));
  dir_.Write("large", MakeIdx(0x0C, {10}, std::string(36, '\0') + BigEndian(16'777'217, 4)));
  dir_.Write("lowest", MakeIdx(0x0C, {10}, BigEndian(0x80000000, 4) + std::string(36, '\0')));
  dir_.Write("short_negative", MakeIdx(0x0B, {10}, BigEndian(0xfffe, 2) + std::string(18, '\0')));
  dir_.Write("packed_twice", MakeGzip(MakeGzip(MakeIdx(0x08, {10, 2, 3}, pixels_))));
  dir_.Write("nan", MakeIdx(0x0D, {10, 1}, std::string(36, '\0') + BigEndian(0x7fc00000, 4)));
  const std::vector<Case> cases = {
      {[](auto* idx) { idx->clear_images(); }, "idx.images", "required"},
      {[](auto* idx) { idx->clear_labels(); }, "idx.labels", "required"},
      {[](auto* idx) { idx->set_images("short"); }, "idx.images", "short: cut short: expected 76 bytes, found 70"},
      {[](auto* idx) { idx->set_images("../images"); }, "idx.images", "../images: leads out of the data roots"},
      {[](auto* idx) { idx->set_labels("nine"); }, "idx.labels", "9 labels for 10 examples"},
      {[](auto* idx) { idx->set_labels("float_labels"); }, "idx.labels", "one integer an example"},
      {[](auto* idx) { idx->set_labels("images"); }, "idx.labels", "one integer an example"},
      {[](auto* idx) { idx->set_labels("negative"); }, "idx.labels", "label -1 of example 0 is not in 0 to 65535"},
      {[](auto* idx) { idx->set_labels("large"); }, "idx.labels", "label 16777217 of example 9 is not"},
      {[](auto* idx) { idx->set_labels("lowest"); }, "idx.labels", "label -2147483648 of example 0 is not"},
      {[](auto* idx) { idx->set_labels("short_negative"); }, "idx.labels", "label -2 of example 0 is not"},
      {[](auto* idx) { idx->set_images("packed_twice"); }, "idx.images", "packed_twice: is gzipped twice"},
      {[](auto* idx) { idx->set_classes(3); }, "idx.labels", "label 3 of example 3 is not in 0 to 2"},
      {[](auto* idx) { idx->set_classes(1); }, "idx.classes", "got 1"},
      {[](auto* idx) { idx->set_images("nan"); }, "idx.images", "nan: element 0 of example 9 is not a finite float"},
      {[](auto* idx) { idx->set_first(-1); }, "idx.first", "got -1"},
      {[](auto* idx) { idx->set_first(10); }, "idx.first", "must be below the number of examples, 10; got 10"},
      {[](auto* idx) { idx->set_count(0); }, "idx.count", "got 0"},
      {[](auto* idx) { idx->set_first(9), idx->set_count(2); }, "idx.count", "must be at most 1"},
  };
  for (const Case& c : cases) {
    v1::DataSpec spec = spec_;
    c.change(spec.mutable_idx());
    const absl::Status status = OpenData(spec, 1, roots_).status();
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr(c.message)));
    ASSERT_EQ(GetFieldViolations(status).size(), 1u) << c.message;
    EXPECT_EQ(GetFieldViolations(status)[0].field, c.field);
  }
}

template <typename Value, typename Bits>
std::string Elements(const std::vector<double>& values, bool little_endian) {
  std::string elements;
  for (const double value : values) {
    std::string bytes = BigEndian(std::bit_cast<Bits>(static_cast<Value>(value)), sizeof(Bits));
    if (little_endian) std::reverse(bytes.begin(), bytes.end());
    elements += bytes;
  }
  return elements;
}

// Sixty elements of each kind, as images of ten examples.
std::vector<std::pair<const char*, std::vector<double>>> NumbersOfAllSizes() {
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  std::vector<std::pair<const char*, std::vector<double>>> all = {
      {"ordinary", {}}, {"sparse", {}}, {"whole", {}}, {"huge", {}}, {"tiny", {}}, {"powers", {}}, {"scattered", {}}};
  for (int i = 0; i < 60; ++i) {
    const double number = normal(random);
    const double numbers[] = {number,         i % 5 == 0 ? i + 1.0 : 0, static_cast<double>(i),       number * 1e30,
                              number * 1e-30, std::ldexp(1, 60 + i),    number * std::pow(10, i - 30)};
    for (size_t kind = 0; kind < all.size(); ++kind) all[kind].second.push_back(numbers[kind]);
  }
  return all;
}

TEST_F(IdxSourceTest, NumbersInTheWrongByteOrderAreNamed) {
  const auto write = [&](int type, const std::string& elements, bool packed) {
    const std::string file = MakeIdx(type, {10, 6}, elements);
    dir_.Write("images", packed ? MakeGzip(file) : file);
  };
  for (const auto& [kind, values] : NumbersOfAllSizes()) {
    SCOPED_TRACE(kind);
    for (const bool is_double : {false, true}) {
      const auto elements = [&, &values = values](bool little_endian) {
        return is_double ? Elements<double, uint64_t>(values, little_endian)
                         : Elements<float, uint32_t>(values, little_endian);
      };
      const int type = is_double ? 0x0E : 0x0D;
      write(type, elements(/*little_endian=*/false), is_double);
      EXPECT_THAT(Open(), IsOk()) << "honest numbers of any size";
      if (kind != std::string("ordinary") && kind != std::string("sparse") && kind != std::string("whole")) continue;
      write(type, elements(/*little_endian=*/true), is_double);
      const absl::Status status = Open().status();
      EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("idx.images: images: looks like little-endian numbers; IDX is "
                                                       "big-endian")));
      EXPECT_EQ(DescribeData(spec_, 1, roots_, 0, 1 << 20).status(), status);
    }
  }
  // Too few to tell, and types without an order of that kind.
  const std::string seven = std::string(53 * 4, '\0') + Elements<float, uint32_t>(std::vector<double>(7, 1), true);
  write(0x0D, seven, false);
  EXPECT_THAT(Open(), IsOk());
  write(0x0C, Elements<float, uint32_t>(std::vector<double>(60, 1), true), false);
  EXPECT_THAT(Open(), IsOk());
}

TEST_F(IdxSourceTest, AMissingFileIsNotFoundAndNamesItsField) {
  spec_.mutable_idx()->set_images("absent");
  const absl::Status status = Open().status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound, HasSubstr("idx.images: absent: no such file")));
  EXPECT_EQ(GetFieldViolations(status)[0].field, "idx.images");
}

TEST(IdxSourceMnistTest, ReadsTheRealFiles) {
  const std::string images = SharedFile("data/t10k-images-idx3-ubyte.gz");
  if (images.empty()) GTEST_SKIP() << "no ../shared/data/t10k-images-idx3-ubyte.gz";
  const auto roots = *DataRoots::Create({std::filesystem::path(images).parent_path().string()});
  v1::DataSpec spec;
  spec.set_batch_size(64);
  spec.mutable_idx()->set_images(images);
  spec.mutable_idx()->set_labels("t10k-labels-idx1-ubyte.gz");
  spec.mutable_idx()->set_count(8000);
  auto source = OpenData(spec, 1, roots);
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ((*source)->examples(), 8000);
  EXPECT_EQ((*source)->shape().outputs, 10);
  EXPECT_EQ((*source)->shape().input.features, 784);
  const Batch batch = (*source)->Fill(0);
  EXPECT_EQ(*std::max_element(batch.features.begin(), batch.features.end()), 1.0f);
  EXPECT_EQ(*std::min_element(batch.features.begin(), batch.features.end()), 0.0f);
}

}  // namespace
}  // namespace gradwatch::core
