// What the tests of the streams share.
#ifndef GRADWATCH_TESTS_SERVER_STREAM_STREAM_TESTING_H_
#define GRADWATCH_TESTS_SERVER_STREAM_STREAM_TESTING_H_

#include <gtest/gtest.h>

#include <string>

#include "gradwatch/v1/watch_service.pb.h"
#include "server/base/encoding.h"

namespace gradwatch::server {

inline v1::WatchJobResponse ParseResponse(const std::string& bytes) {
  v1::WatchJobResponse response;
  EXPECT_TRUE(response.ParseFromString(bytes));
  return response;
}

inline v1::WatchJobResponse ParseResponse(const EncodedMessage& message) { return ParseResponse(message.Flatten()); }

}  // namespace gradwatch::server

#endif  // GRADWATCH_TESTS_SERVER_STREAM_STREAM_TESTING_H_
