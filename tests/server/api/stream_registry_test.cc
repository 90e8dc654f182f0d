#include "server/api/stream_registry.h"

#include <gtest/gtest.h>

#include <memory>

namespace gradwatch::server {
namespace {

// Leaves the registry when it is told to end, or only when it is abandoned.
class TestStream final : public ManagedStream, public std::enable_shared_from_this<TestStream> {
 public:
  TestStream(StreamRegistry* registry, bool reads) : registry_(registry), reads_(reads) {}
  void Tick(absl::Duration now) override { ticked_ = now; }
  void BeginShutdown() override {
    ++told_;
    if (reads_) registry_->Remove(shared_from_this());
  }
  void Abandon() override {
    ++abandoned_;
    registry_->Remove(shared_from_this());
  }
  int told() const { return told_; }
  int abandoned() const { return abandoned_; }
  absl::Duration ticked() const { return ticked_; }

 private:
  StreamRegistry* const registry_;
  const bool reads_;
  int told_ = 0;
  int abandoned_ = 0;
  absl::Duration ticked_ = absl::ZeroDuration();
};

TEST(StreamRegistryTest, WhoDoesNotEndIsAbandoned) {
  StreamRegistry registry;
  auto reads = std::make_shared<TestStream>(&registry, true);
  auto stopped = std::make_shared<TestStream>(&registry, false);
  registry.Add(reads);
  registry.Add(stopped);
  registry.Tick(absl::Seconds(7));
  EXPECT_EQ(stopped->ticked(), absl::Seconds(7));
  registry.ShutDown(absl::Milliseconds(1));
  EXPECT_EQ(reads->told(), 1);
  EXPECT_EQ(reads->abandoned(), 0);
  EXPECT_EQ(stopped->told(), 1);
  EXPECT_EQ(stopped->abandoned(), 1);
  EXPECT_EQ(registry.size(), 0u);
}

TEST(StreamRegistryTest, WhoComesDuringAShutdownIsTold) {
  StreamRegistry registry;
  registry.ShutDown(absl::ZeroDuration());
  auto late = std::make_shared<TestStream>(&registry, true);
  registry.Add(late);
  EXPECT_EQ(late->told(), 1);
  EXPECT_EQ(registry.size(), 0u);
}

}  // namespace
}  // namespace gradwatch::server
