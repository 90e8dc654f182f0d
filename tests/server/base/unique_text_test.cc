#include "server/base/unique_text.h"

#include <gmock/gmock.h>

#include <set>

namespace gradwatch::server {
namespace {

using ::testing::MatchesRegex;

TEST(UniqueText, UuidsAreUuidsOfVersion4) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string uuid = NewUuid();
    EXPECT_THAT(uuid, MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
    EXPECT_TRUE(IsUuid(uuid));
    EXPECT_TRUE(seen.insert(uuid).second);
  }
}

TEST(UniqueText, WhatIsNoUuid) {
  for (const char* text : {"", "x", "11111111-2222-4333-8444-55555555555", "11111111-2222-4333-8444-5555555555555",
                           "111111111222-4333-8444-555555555555", "g1111111-2222-4333-8444-555555555555"}) {
    EXPECT_FALSE(IsUuid(text)) << text;
  }
  EXPECT_TRUE(IsUuid("ABCDEFab-2222-4333-8444-555555555555"));
}

TEST(UniqueText, Secrets) {
  EXPECT_THAT(NewSecret(), MatchesRegex("[0-9a-f]{64}"));
  EXPECT_NE(NewSecret(), NewSecret());
  EXPECT_TRUE(SecretsEqual("abc", "abc"));
  EXPECT_FALSE(SecretsEqual("abc", "abd"));
  EXPECT_FALSE(SecretsEqual("abc", "ab"));
  EXPECT_THAT(RandomLetters(12), MatchesRegex("[a-z2-7]{12}"));
}

TEST(UniqueText, Sha256) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace gradwatch::server
