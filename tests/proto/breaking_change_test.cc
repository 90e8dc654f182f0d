// The protobuf files must go on understanding clients that were built with the stored descriptor set.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/proto/descriptor_compare.h"

namespace gradwatch::testing {
namespace {

using google::protobuf::FileDescriptorSet;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

FileDescriptorSet ReadSet(const std::string& path) {
  FileDescriptorSet set;
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(set.ParseFromIstream(&file)) << path;
  return set;
}

constexpr char kStored[] = GRADWATCH_SOURCE_DIR "/tests/proto/stored.protoset";
constexpr char kPresent[] = GRADWATCH_BINARY_DIR "/gradwatch.protoset";

TEST(BreakingChangeTest, TheFilesKeepWhatIsStored) {
  const auto stored = ReadSet(kStored);
  ASSERT_GT(stored.file_size(), 10);
  EXPECT_THAT(FindBreakingChanges(stored, ReadSet(kPresent)), IsEmpty())
      << "to add to the stored set, run tests/proto/store-descriptors";
}

TEST(BreakingChangeTest, WhatIsServedIsStoredAndNothingElse) {
  const auto stored = ReadSet(kStored);
  const auto served = KeepServed(ReadSet(kPresent));
  EXPECT_THAT(FindBreakingChanges(served, stored), IsEmpty())
      << "served, not stored: run tests/proto/store-descriptors";
  EXPECT_THAT(FindBreakingChanges(stored, served), IsEmpty()) << "stored, not served: it may still change";
}

// What tests/proto/store-descriptors runs.
TEST(BreakingChangeTest, DISABLED_Store) {
  std::ofstream file(kStored, std::ios::binary | std::ios::trunc);
  ASSERT_TRUE(KeepServed(ReadSet(kPresent)).SerializeToOstream(&file) && file.flush());
}

TEST(KeepServedTest, LeavesOutWhatIsNotServedAndWhatOnlyThatLeadsTo) {
  FileDescriptorSet set;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(file { package: 'gradwatch.v1'
    message_type { name: 'Request' field { name: 'kind' number: 1 type_name: '.gradwatch.v1.Kind' } }
    message_type { name: 'Later' field { name: 'other' number: 1 type_name: '.gradwatch.v1.OnlyLater' } }
    message_type { name: 'OnlyLater' }
    message_type { name: 'Response'
      field { name: 'item' number: 1 type_name: '.gradwatch.v1.Outer.Item' }
      field { name: 'later' number: 2 type_name: '.gradwatch.v1.OnlyLater' } }
    message_type { name: 'Outer' nested_type { name: 'Item' }
      enum_type { name: 'Way' value { name: 'NO' number: 0 } value { name: 'LATER' number: 1 } } }
    enum_type { name: 'Kind' value { name: 'OLD' number: 0 } value { name: 'SOON' number: 1 }
                             value { name: 'NEW' number: 2 } }
    enum_type { name: 'Unused' }
    service { name: 'S'
      method { name: 'Get' input_type: '.gradwatch.v1.Request' output_type: '.gradwatch.v1.Response' }
      method { name: 'Fork' input_type: '.gradwatch.v1.Later' output_type: '.gradwatch.v1.Response' } }
    source_code_info {
      location { path: [ 6, 0, 2, 0 ] leading_comments: ' Served.' }
      location { path: [ 6, 0, 2, 1 ] leading_comments: ' Forks. Not served yet: UNIMPLEMENTED.' }
      location { path: [ 4, 3, 2, 1 ] leading_comments: ' Not served yet.' }
      location { path: [ 4, 4, 4, 0, 2, 1 ] leading_comments: ' Later. Not served yet.' }
      location { path: [ 5, 0, 2, 1 ] leading_comments: ' Soon. Not served yet.' } } })",
                                                            &set));
  const auto served = KeepServed(set).file(0);
  std::vector<std::string> names;
  for (const auto& message : served.message_type()) names.push_back(message.name());
  EXPECT_THAT(names, ElementsAre("Request", "Response", "Outer"));
  EXPECT_EQ(served.message_type(1).field_size(), 1);
  ASSERT_EQ(served.enum_type_size(), 1);
  EXPECT_EQ(served.enum_type(0).name(), "Kind");
  ASSERT_EQ(served.enum_type(0).value_size(), 2);
  EXPECT_EQ(served.enum_type(0).value(1).name(), "NEW");
  EXPECT_EQ(served.message_type(2).enum_type(0).value_size(), 1);
  ASSERT_EQ(served.service(0).method_size(), 1);
  EXPECT_EQ(served.service(0).method(0).name(), "Get");
}

FileDescriptorSet ParseSet(const std::string& text) {
  FileDescriptorSet set;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString("file { package: 'p' " + text + "}", &set));
  return set;
}

constexpr char kOld[] = R"(
  message_type { name: 'M'
    field { name: 'a' number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
    field { name: 'b' number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }
  enum_type { name: 'E' value { name: 'X' number: 0 } value { name: 'Y' number: 1 } }
  service { name: 'S' method { name: 'Get' input_type: '.p.M' output_type: '.p.M' } })";

TEST(FindBreakingChangesTest, NothingChanged) {
  EXPECT_THAT(FindBreakingChanges(ParseSet(kOld), ParseSet(kOld)), IsEmpty());
}

TEST(FindBreakingChangesTest, AddingBreaksNothing) {
  FileDescriptorSet added = ParseSet(kOld);
  added.mutable_file(0)->mutable_message_type(0)->add_field()->set_number(3);
  added.mutable_file(0)->add_message_type()->set_name("N");
  added.mutable_file(0)->mutable_enum_type(0)->add_value()->set_number(2);
  EXPECT_THAT(FindBreakingChanges(ParseSet(kOld), added), IsEmpty());
}

TEST(FindBreakingChangesTest, TellsEveryKindOfBreak) {
  const struct {
    const char* what;
    void (*change)(google::protobuf::FileDescriptorProto*);
    const char* expected;
  } cases[] = {
      {"lost message", [](auto* f) { f->clear_message_type(); }, "message p.M is gone"},
      {"lost field", [](auto* f) { f->mutable_message_type(0)->mutable_field()->RemoveLast(); },
       "field p.M.b = 2 is gone and not reserved"},
      {"renamed field", [](auto* f) { f->mutable_message_type(0)->mutable_field(0)->set_name("c"); },
       "field p.M.a = 1 has changed"},
      {"other type",
       [](auto* f) {
         f->mutable_message_type(0)->mutable_field(0)->set_type(google::protobuf::FieldDescriptorProto::TYPE_INT64);
       },
       "field p.M.a = 1 has changed"},
      {"became repeated",
       [](auto* f) {
         f->mutable_message_type(0)->mutable_field(0)->set_label(
             google::protobuf::FieldDescriptorProto::LABEL_REPEATED);
       },
       "field p.M.a = 1 has changed"},
      {"lost enum", [](auto* f) { f->clear_enum_type(); }, "enum p.E is gone"},
      {"lost value", [](auto* f) { f->mutable_enum_type(0)->mutable_value()->RemoveLast(); },
       "value p.E.Y = 1 is gone and not reserved"},
      {"renamed value", [](auto* f) { f->mutable_enum_type(0)->mutable_value(1)->set_name("Z"); },
       "value p.E.Y = 1 is now Z"},
      {"lost method", [](auto* f) { f->mutable_service(0)->clear_method(); }, "method p.S.Get is gone"},
      {"became a stream", [](auto* f) { f->mutable_service(0)->mutable_method(0)->set_server_streaming(true); },
       "method p.S.Get has changed"},
  };
  for (const auto& c : cases) {
    FileDescriptorSet changed = ParseSet(kOld);
    c.change(changed.mutable_file(0));
    EXPECT_THAT(FindBreakingChanges(ParseSet(kOld), changed), ElementsAre(c.expected)) << c.what;
  }
}

TEST(FindBreakingChangesTest, AReservedFieldMayGo) {
  FileDescriptorSet changed = ParseSet(kOld);
  auto* message = changed.mutable_file(0)->mutable_message_type(0);
  message->mutable_field()->RemoveLast();
  auto* range = message->add_reserved_range();
  range->set_start(2);
  range->set_end(3);
  EXPECT_THAT(FindBreakingChanges(ParseSet(kOld), changed), ElementsAre("field p.M.b = 2 is gone and not reserved"));
  message->add_reserved_name("b");
  EXPECT_THAT(FindBreakingChanges(ParseSet(kOld), changed), IsEmpty());
}

}  // namespace
}  // namespace gradwatch::testing
