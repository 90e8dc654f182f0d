// What the tests of the streams share.
#ifndef GRADWATCH_TESTS_SERVER_STREAM_STREAM_TESTING_H_
#define GRADWATCH_TESTS_SERVER_STREAM_STREAM_TESTING_H_

#include <gtest/gtest.h>

#include "absl/strings/string_view.h"
#include "gradwatch/v1/watch_service.pb.h"
#include "server/base/encoding.h"

namespace gradwatch::server {

inline v1::WatchJobResponse ParseResponse(absl::string_view bytes) {
  v1::WatchJobResponse response;
  EXPECT_TRUE(response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  return response;
}

inline v1::WatchJobResponse ParseResponse(const EncodedMessage& message) { return ParseResponse(message.Flatten()); }

}  // namespace gradwatch::server

#endif  // GRADWATCH_TESTS_SERVER_STREAM_STREAM_TESTING_H_
