// The descriptors of alert.proto with its comments, which generated code does not have. Made by the build.
#ifndef GRADWATCH_CLIENT_CLI_ALERT_DESCRIPTORS_H_
#define GRADWATCH_CLIENT_CLI_ALERT_DESCRIPTORS_H_

#include <cstddef>

namespace gradwatch::cli {

// A google.protobuf.FileDescriptorSet, files after those that they import.
extern const unsigned char kAlertDescriptors[];
extern const size_t kAlertDescriptorsSize;

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_ALERT_DESCRIPTORS_H_
