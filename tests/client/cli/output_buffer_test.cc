#include "client/cli/output_buffer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <ostream>
#include <string>
#include <thread>

namespace gradwatch::cli {
namespace {

class OutputBufferTest : public ::testing::Test {
 protected:
  OutputBufferTest() { EXPECT_EQ(pipe2(pipe_, O_CLOEXEC), 0); }
  ~OutputBufferTest() override {
    close(pipe_[0]);
    if (pipe_[1] >= 0) close(pipe_[1]);
  }
  int unread() const {
    int bytes = 0;
    ioctl(pipe_[0], FIONREAD, &bytes);
    return bytes;
  }
  // Everything that was written, read to the end.
  std::string ReadAll() {
    close(pipe_[1]);
    pipe_[1] = -1;
    std::string all;
    char chunk[1000];
    for (ssize_t got; (got = read(pipe_[0], chunk, sizeof chunk)) > 0;) all.append(chunk, got);
    return all;
  }

  int pipe_[2];
  client::Cancellation cancellation_;
};

// More than any pipe holds unless it is told to.
const std::string kMuch(1 << 20, 'x');

TEST_F(OutputBufferTest, WritesEverythingInOrderHoweverSlowTheReader) {
  std::string written;
  std::thread writer([&] {
    OutputBuffer buffer(pipe_[1], &cancellation_);
    std::ostream out(&buffer);
    for (int i = 0; i < 20000; ++i) {
      written += "line " + std::to_string(i) + "\n";
      out << "line " << i << '\n';
      if (i % 100 == 0) out << std::flush;
    }
    out << std::flush;
    EXPECT_TRUE(out.good());
    close(pipe_[1]);
  });
  std::string all;
  char chunk[777];
  for (ssize_t got; (got = read(pipe_[0], chunk, sizeof chunk)) > 0;) all.append(chunk, got);
  writer.join();
  pipe_[1] = -1;
  EXPECT_EQ(all, written);
}

TEST_F(OutputBufferTest, ACancellationEndsTheWaitForAReaderThatHasStopped) {
  OutputBuffer buffer(pipe_[1], &cancellation_, absl::ZeroDuration());
  std::ostream out(&buffer);
  std::thread user([this] {
    int capacity = fcntl(pipe_[1], F_GETPIPE_SZ);
    while (unread() < capacity) std::this_thread::yield();
    cancellation_.Cancel();
  });
  out << kMuch << std::flush;
  user.join();
  EXPECT_FALSE(out.good());
  out.clear();
  out << "more" << std::flush;
  EXPECT_FALSE(out.good()) << "and it is not waited for again";
}

TEST_F(OutputBufferTest, AReaderThatGoesOnGetsTheLastWords) {
  cancellation_.Cancel();
  OutputBuffer buffer(pipe_[1], &cancellation_, absl::Minutes(1));
  std::ostream out(&buffer);
  std::string all;
  std::thread reader([&] {
    int capacity = fcntl(pipe_[1], F_GETPIPE_SZ);
    while (unread() < capacity) std::this_thread::yield();
    char chunk[4096];
    while (all.size() < kMuch.size() + 3) all.append(chunk, read(pipe_[0], chunk, sizeof chunk));
  });
  out << kMuch << "end" << std::flush;
  reader.join();
  EXPECT_TRUE(out.good());
  EXPECT_EQ(all, kMuch + "end");
}

TEST_F(OutputBufferTest, WhatIsNotFlushedIsWrittenInTheEnd) {
  {
    OutputBuffer buffer(pipe_[1], &cancellation_);
    std::ostream(&buffer) << "last words";
  }
  EXPECT_EQ(ReadAll(), "last words");
}

TEST(OutputBufferFailureTest, AFullDiskMakesTheStreamBad) {
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(full, 0);
  const client::Cancellation cancellation;
  OutputBuffer buffer(full, &cancellation);
  std::ostream out(&buffer);
  out << "something" << std::flush;
  EXPECT_FALSE(out.good());
  close(full);
}

}  // namespace
}  // namespace gradwatch::cli
