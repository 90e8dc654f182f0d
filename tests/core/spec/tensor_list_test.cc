#include "core/spec/tensor_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::HasSubstr;

using Tensors = google::protobuf::RepeatedPtrField<v1::TensorInfo>;

// Two tensors that are as large as they may be.
Tensors Good() {
  Tensors tensors;
  tensors.Add()->set_name(absl::StrCat(std::string(255, 'x'), "\xc3\xa9"));
  v1::TensorInfo* const second = tensors.Add();
  second->set_name("b");
  for (const int64_t size : {1, 1, 1, 1, 1, 1, 1'000'000, 1'000'000}) second->add_shape(size);
  return tensors;
}

TEST(TensorListTest, EachBadFieldIsNamed) {
  EXPECT_THAT(CheckTensorList({}), IsOk());
  EXPECT_THAT(CheckTensorList(Good()), IsOk());
  const struct {
    const char* field;
    std::function<void(Tensors&)> spoil;
  } cases[] = {
      {"tensors[0].name", [](auto& t) { t[0].clear_name(); }},
      {"tensors[0].name", [](auto& t) { t[0].set_name(std::string(257, 'x')); }},
      {"tensors[0].name", [](auto& t) { t[0].set_name("\xff"); }},
      {"tensors[1].name", [](auto& t) { t[1].set_name(t[0].name()); }},
      {"tensors[1].shape", [](auto& t) { t[1].add_shape(1); }},
      {"tensors[1].shape", [](auto& t) { t[1].set_shape(0, 0); }},
      {"tensors[1].shape", [](auto& t) { t[1].set_shape(0, -1); }},
      {"tensors[1].shape", [](auto& t) { t[1].set_shape(0, int64_t{1} << 62); }},
      {"tensors[1].shape", [](auto& t) { t[1].set_shape(0, 1'000); }},
      {"tensors[1].depth", [](auto& t) { t[1].set_depth(-1); }},
      {"tensors",
       [](auto& t) {
         for (int i = 0; i < 20'000; ++i) t.Add()->set_name(absl::StrCat("tensor", i));
       }},
      {"tensors",
       [](auto& t) {
         for (int i = 0; i < 10'000; ++i) t.Add()->set_name(absl::StrCat(std::string(220, 'x'), i));
       }},
  };
  for (const auto& [field, spoil] : cases) {
    Tensors tensors = Good();
    spoil(tensors);
    const absl::Status status = CheckTensorList(tensors);
    ASSERT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
    EXPECT_EQ(GetFieldViolations(status)[0].field, field);
  }
}

TEST(TensorListTest, ListsAreTheSameIfAllIs) {
  EXPECT_TRUE(SameTensors({}, {}));
  EXPECT_TRUE(SameTensors(Good(), Good()));
  const std::function<void(Tensors&)> changes[] = {
      [](auto& t) { t[0].set_name("c"); }, [](auto& t) { t[1].set_shape(0, 2); }, [](auto& t) { t[1].add_shape(1); },
      [](auto& t) { t[0].set_depth(1); },  [](auto& t) { t.RemoveLast(); },       [](auto& t) { t.SwapElements(0, 1); },
  };
  for (const auto& change : changes) {
    Tensors changed = Good();
    change(changed);
    EXPECT_FALSE(SameTensors(Good(), changed));
    EXPECT_FALSE(SameTensors(changed, Good()));
  }
}

}  // namespace
}  // namespace gradwatch::core
