// What protobuf files promise to clients that exist, and what would break them.
#ifndef GRADWATCH_TESTS_PROTO_DESCRIPTOR_COMPARE_H_
#define GRADWATCH_TESTS_PROTO_DESCRIPTOR_COMPARE_H_

#include <google/protobuf/descriptor.pb.h>

#include <string>
#include <vector>

namespace gradwatch::testing {

// One line for every message, field, enum value or method of `old_set` that `new_set` has lost or changed. A field or
// enum value may go if its number and its name are reserved. Adding is always allowed.
std::vector<std::string> FindBreakingChanges(const google::protobuf::FileDescriptorSet& old_set,
                                             const google::protobuf::FileDescriptorSet& new_set);

// The part of `set`, which has source information, that clients can use: methods, and what their requests and responses
// hold. Methods, fields and enum values whose comment says "Not served yet" are left out, and so is what only they lead
// to; without source information.
google::protobuf::FileDescriptorSet KeepServed(google::protobuf::FileDescriptorSet set);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_PROTO_DESCRIPTOR_COMPARE_H_
