// What the tests of the streams share.
#ifndef GRADWATCH_TESTS_SERVER_STREAM_STREAM_TESTING_H_
#define GRADWATCH_TESTS_SERVER_STREAM_STREAM_TESTING_H_

#include <grpcpp/support/byte_buffer.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gradwatch/v1/watch_service.pb.h"
#include "server/stream/slices.h"

namespace gradwatch::server {

inline v1::WatchJobResponse ParseResponse(const std::string& bytes) {
  v1::WatchJobResponse response;
  EXPECT_TRUE(response.ParseFromString(bytes));
  return response;
}

inline v1::WatchJobResponse ParseResponse(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(message.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes += std::string(ViewOf(slice));
  return ParseResponse(bytes);
}

}  // namespace gradwatch::server

#endif  // GRADWATCH_TESTS_SERVER_STREAM_STREAM_TESTING_H_
