#include "server/api/operations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gradwatch/v1/alert_service.pb.h"
#include "gradwatch/v1/job_service.pb.h"
#include "gradwatch/v1/trainer_service.pb.h"
#include "gradwatch/v1/watch_service.pb.h"

namespace gradwatch::server {
namespace {

std::vector<const google::protobuf::MethodDescriptor*> AllMethods() {
  std::vector<const google::protobuf::MethodDescriptor*> methods;
  for (const auto* file : {v1::CreateJobRequest::descriptor()->file(), v1::WatchJobRequest::descriptor()->file(),
                           v1::ListAlertsRequest::descriptor()->file(), v1::TrainerMessage::descriptor()->file()}) {
    EXPECT_EQ(file->service_count(), 1);
    for (int i = 0; i < file->service(0)->method_count(); ++i) methods.push_back(file->service(0)->method(i));
  }
  return methods;
}

TEST(OperationsTest, EveryMethodOfEveryServiceHasARow) {
  std::set<std::string> rows, methods;
  for (const OperationRow& row : AllOperations()) rows.insert(absl::StrCat(row.service, ".", row.method));
  for (const auto* method : AllMethods()) methods.insert(method->full_name());
  EXPECT_EQ(rows, methods);
  EXPECT_EQ(rows.size(), AllOperations().size());
}

TEST(OperationsTest, RowsAreInTheOrderOfTheirNamesAndOfTheRightKind) {
  for (int i = 0; i < kOperations; ++i) EXPECT_EQ(static_cast<int>(AllOperations()[i].operation), i);
  EXPECT_STREQ(RowOf(Operation::kGetAlert).method, "GetAlert");
  for (const auto* method : AllMethods()) {
    for (const OperationRow& row : AllOperations()) {
      if (method->name() != row.method) continue;
      EXPECT_EQ(method->server_streaming() && !method->client_streaming(), row.kind == OperationKind::kWatch);
      EXPECT_EQ(method->client_streaming(), row.kind == OperationKind::kTrainer);
    }
  }
}

}  // namespace
}  // namespace gradwatch::server
