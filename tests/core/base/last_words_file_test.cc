#include "core/base/last_words_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace gradwatch::core {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::gradwatch::testing::TempDir;
using ::testing::_;
using ::testing::AnyOf;
using ::testing::HasSubstr;

v1::TrainerMessage Hello() {
  v1::TrainerMessage message;
  message.mutable_hello()->set_job_id("job");
  message.mutable_hello()->set_attempt(2);
  return message;
}

v1::TrainerMessage Reports(int64_t first, int64_t last) {
  v1::TrainerMessage message;
  message.mutable_reports()->set_epoch(3);
  for (int64_t step = first; step <= last; ++step) {
    v1::StepReport* report = message.mutable_reports()->add_reports();
    report->set_step(step);
    report->set_loss(0.5);
  }
  return message;
}

v1::TrainerMessage Finished() {
  v1::TrainerMessage message;
  v1::Notice* notice = message.mutable_notices()->add_notices();
  notice->set_number(7);
  notice->mutable_finished()->set_state(v1::JOB_STATE_SUCCEEDED);
  return message;
}

std::vector<v1::TrainerMessage> Few() { return {Hello(), Reports(0, 2), Finished()}; }

class LastWordsFileTest : public ::testing::Test {
 protected:
  absl::Status Write(const std::vector<v1::TrainerMessage>& messages, size_t room = 0) const {
    absl::StatusOr<LastWordsWriter> writer = LastWordsWriter::Create(path_, room);
    if (!writer.ok()) return writer.status();
    for (const v1::TrainerMessage& message : messages) {
      if (absl::Status status = writer->Add(message); !status.ok()) return status;
    }
    return writer->Finish();
  }
  // What can be read, and how reading ended.
  struct Content {
    std::vector<std::string> messages;
    absl::Status end;
  };
  Content Read() const {
    absl::StatusOr<LastWordsReader> reader = LastWordsReader::Open(path_);
    if (!reader.ok()) return {{}, reader.status()};
    Content content;
    while (true) {
      const auto message = reader->Next();
      if (!message.ok()) return {std::move(content.messages), message.status()};
      if (!message->has_value()) return content;
      content.messages.push_back((*message)->SerializeAsString());
    }
  }
  std::string Bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(file)), {});
  }
  void Put(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }

  const TempDir dir_;
  const std::string path_ = dir_.File("uid-2.words");
};

TEST_F(LastWordsFileTest, IsReadAsItWasWritten) {
  std::vector<v1::TrainerMessage> messages = Few();
  for (int i = 0; i < 50; ++i) messages.push_back(Reports(1000 * i, 1000 * i + 999));  // more than one block
  ASSERT_THAT(Write(messages), IsOk());
  const Content content = Read();
  EXPECT_THAT(content.end, IsOk());
  ASSERT_EQ(content.messages.size(), messages.size());
  for (size_t i = 0; i < messages.size(); ++i) EXPECT_EQ(content.messages[i], messages[i].SerializeAsString());
}

TEST_F(LastWordsFileTest, IsForItsUserOnlyAndNoLargerThanItsContent) {
  ASSERT_THAT(Write(Few()), IsOk());
  const size_t size = Bytes().size();
  ASSERT_THAT(Write(Few(), /*room=*/size_t{1} << 20), IsOk());
  EXPECT_EQ(Bytes().size(), size) << "room that was not needed is given back";
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(LastWordsFileTest, HasItsNameOnlyWhenItIsWhole) {
  {
    absl::StatusOr<LastWordsWriter> writer = LastWordsWriter::Create(path_, 0);
    ASSERT_THAT(writer, IsOk());
    ASSERT_THAT(writer->Add(Hello()), IsOk());
    EXPECT_FALSE(std::filesystem::exists(path_));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir_.path())) << "what is not whole is removed";
}

TEST_F(LastWordsFileTest, TakesThePlaceOfAnEarlierOne) {
  Put("something else");
  ASSERT_THAT(Write(Few()), IsOk());
  EXPECT_EQ(Read().messages.size(), 3u);
}

TEST_F(LastWordsFileTest, ErrorsNameTheFile) {
  std::filesystem::create_directory(path_ + ".part");  // cannot be opened to write
  EXPECT_THAT(Write(Few()), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("uid-2.words")));
  EXPECT_THAT(Read().end, StatusIs(absl::StatusCode::kNotFound, HasSubstr("uid-2.words")));
}

TEST_F(LastWordsFileTest, WhatIsNoFileIsNotWaitedFor) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(Read().end, StatusIs(absl::StatusCode::kDataLoss, _));
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);
  EXPECT_THAT(Read().end, StatusIs(absl::StatusCode::kDataLoss, _));
  std::filesystem::remove(path_);
  std::filesystem::create_symlink("elsewhere", path_);
  EXPECT_THAT(Read().end, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("uid-2.words")));
  Put("a file");  // follows the link
  EXPECT_THAT(LastWordsReader::Open(dir_.File("elsewhere/uid-2.words")).status(),
              StatusIs(absl::StatusCode::kDataLoss, _))
      << "the folder is a file";
  EXPECT_THAT(LastWordsReader::Open(dir_.File(std::string(300, 'x'))).status(),
              StatusIs(absl::StatusCode::kDataLoss, _));
}

// What can be read of a damaged file is a beginning of what was written, and the damage is told.
TEST_F(LastWordsFileTest, EveryByteThatIsFlippedIsNoticedAndNothingWrongIsRead) {
  ASSERT_THAT(Write(Few()), IsOk());
  const std::string good = Bytes();
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int bit : {0, 3, 7}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      Put(bad);
      const Content content = Read();
      ASSERT_THAT(content.end, StatusIs(absl::StatusCode::kDataLoss, _)) << "byte " << i << ", bit " << bit;
      ASSERT_LE(content.messages.size(), 3u);
      for (size_t m = 0; m < content.messages.size(); ++m) {
        ASSERT_EQ(content.messages[m], Few()[m].SerializeAsString()) << "byte " << i << ", bit " << bit;
      }
    }
  }
}

TEST_F(LastWordsFileTest, EveryCutIsNoticed) {
  ASSERT_THAT(Write(Few()), IsOk());
  const std::string good = Bytes();
  for (size_t size = 0; size < good.size(); ++size) {
    Put(good.substr(0, size));
    const Content content = Read();
    ASSERT_THAT(content.end, StatusIs(absl::StatusCode::kDataLoss, AnyOf(HasSubstr("cut off"), HasSubstr("line"))))
        << size << " bytes";
    for (size_t m = 0; m < content.messages.size(); ++m) {
      ASSERT_EQ(content.messages[m], Few()[m].SerializeAsString()) << size << " bytes";
    }
  }
}

TEST_F(LastWordsFileTest, ARecordThatWasTakenOutOrMovedIsNoticed) {
  const v1::TrainerMessage message = Reports(0, 0);
  ASSERT_THAT(Write({Hello(), message, message, Finished()}), IsOk());
  const std::string good = Bytes();
  const size_t line = good.find('\n') + 1;
  const size_t hello = LastWordsRecordBytes(Hello().ByteSizeLong());
  const size_t record = LastWordsRecordBytes(message.ByteSizeLong());
  Put(good.substr(0, line + hello) + good.substr(line + hello + record));
  EXPECT_EQ(Read().messages.size(), 1u);
  EXPECT_THAT(Read().end, StatusIs(absl::StatusCode::kDataLoss, _));
  const std::string first = good.substr(line + hello, record);
  const std::string second = good.substr(line + hello + record, record);
  Put(good.substr(0, line + hello) + second + first + good.substr(line + hello + 2 * record));
  EXPECT_THAT(Read().end, StatusIs(absl::StatusCode::kDataLoss, _));
}

TEST_F(LastWordsFileTest, LengthsThatNoMessageHasTakeNoMemory) {
  ASSERT_THAT(Write(Few()), IsOk());
  std::string bad = Bytes();
  const size_t line = bad.find('\n') + 1;
  bad.replace(line, 4, "\xff\xff\xff\xff");
  Put(bad);
  EXPECT_THAT(Read().end, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("length")));
}

}  // namespace
}  // namespace gradwatch::core
