// The comments of the protobuf files are the contract: everything has one, and names follow the house rules.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gradwatch::testing {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::SourceLocation;

class CommentsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    google::protobuf::FileDescriptorSet set;
    std::ifstream file(GRADWATCH_BINARY_DIR "/gradwatch.protoset", std::ios::binary);
    ASSERT_TRUE(set.ParseFromIstream(&file));
    for (const auto& proto : set.file()) {
      ASSERT_NE(pool_.BuildFile(proto), nullptr) << proto.name();
      if (absl::StartsWith(proto.name(), "gradwatch/")) files_.push_back(pool_.FindFileByName(proto.name()));
    }
    ASSERT_GE(files_.size(), 10u);
  }

  template <typename Thing>
  void ExpectComment(const Thing& thing) {
    SourceLocation location;
    ASSERT_TRUE(thing.GetSourceLocation(&location)) << thing.full_name();
    EXPECT_FALSE(absl::StripAsciiWhitespace(location.leading_comments).empty())
        << thing.full_name() << " has no comment";
    ++checked_;
  }

  void CheckEnum(const EnumDescriptor& type) {
    ExpectComment(type);
    for (int i = 0; i < type.value_count(); ++i) ExpectComment(*type.value(i));
    EXPECT_EQ(type.value(0)->number(), 0) << type.full_name();
    EXPECT_TRUE(absl::EndsWith(type.value(0)->name(), "_UNSPECIFIED")) << type.full_name();
  }

  void CheckMessage(const Descriptor& message) {
    ExpectComment(message);
    for (int i = 0; i < message.field_count(); ++i) ExpectComment(*message.field(i));
    for (int i = 0; i < message.enum_type_count(); ++i) CheckEnum(*message.enum_type(i));
    for (int i = 0; i < message.nested_type_count(); ++i) {
      if (!message.nested_type(i)->options().map_entry()) CheckMessage(*message.nested_type(i));
    }
  }

  google::protobuf::DescriptorPool pool_;
  std::vector<const google::protobuf::FileDescriptor*> files_;
  int checked_ = 0;
};

TEST_F(CommentsTest, EverythingHasAComment) {
  for (const auto* file : files_) {
    EXPECT_EQ(file->package(), "gradwatch.v1") << file->name();
    for (int i = 0; i < file->message_type_count(); ++i) CheckMessage(*file->message_type(i));
    for (int i = 0; i < file->enum_type_count(); ++i) CheckEnum(*file->enum_type(i));
    for (int i = 0; i < file->service_count(); ++i) {
      ExpectComment(*file->service(i));
      for (int m = 0; m < file->service(i)->method_count(); ++m) ExpectComment(*file->service(i)->method(m));
    }
  }
  EXPECT_GT(checked_, 400);
}

}  // namespace
}  // namespace gradwatch::testing
