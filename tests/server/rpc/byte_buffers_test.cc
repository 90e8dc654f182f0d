#include "server/rpc/byte_buffers.h"

#include <gmock/gmock.h>
#include <grpcpp/support/slice.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "gradwatch/v1/job_service.pb.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::_;

SharedBytes Bytes(size_t size, char letter) { return std::make_shared<const std::string>(size, letter); }

std::vector<grpc::Slice> SlicesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  return slices;
}

TEST(ByteBuffersTest, LargePartsAreSharedAndSmallOnesCopiedTogether) {
  const SharedBytes large = Bytes(100'000, 'l');
  EncodedMessage message{{Bytes(10, 'a'), Bytes(20, 'b'), large, Bytes(30, 'c')}};
  {
    const grpc::ByteBuffer buffer = ToBuffer(message);
    const auto slices = SlicesOf(buffer);
    ASSERT_EQ(slices.size(), 3u);
    EXPECT_EQ(slices[0].size(), 30u);
    EXPECT_EQ(slices[1].begin(), reinterpret_cast<const uint8_t*>(large->data())) << "no copy";
    std::string all;
    for (const auto& slice : slices) all.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    EXPECT_EQ(all, message.Flatten());
    message.parts.clear();
    EXPECT_GT(large.use_count(), 1) << "held by the buffer";
  }
  EXPECT_EQ(large.use_count(), 1);
}

TEST(ByteBuffersTest, AnEmptyMessageIsAMessage) {
  const grpc::ByteBuffer buffer = ToBuffer({});
  EXPECT_TRUE(buffer.Valid());
  EXPECT_EQ(buffer.Length(), 0u);
  v1::GetJobRequest request;
  EXPECT_THAT(Parse(buffer, &request), IsOk());
}

TEST(ByteBuffersTest, MessagesAreReadAndJunkIsRefused) {
  v1::GetJobRequest request, read;
  request.set_job_id("job");
  ASSERT_THAT(Parse(ToBuffer(EncodeMessage(request)), &read), IsOk());
  EXPECT_EQ(read.job_id(), "job");
  EXPECT_THAT(Parse(ToBuffer({{Bytes(3, '\xff')}}), &read), StatusIs(absl::StatusCode::kInvalidArgument, _));
}

}  // namespace
}  // namespace gradwatch::server
