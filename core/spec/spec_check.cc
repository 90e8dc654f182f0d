#include "core/spec/spec_check.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>

#include <utility>

#include "absl/strings/cord.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "google/rpc/error.pb.h"
#include "gradwatch/v1/job_service.pb.h"

namespace gradwatch::core {
namespace {

using ::google::protobuf::Message;
using ::google::protobuf::io::ArrayInputStream;
using ::google::protobuf::io::StringOutputStream;
using ::google::protobuf::util::ParseDelimitedFromZeroCopyStream;
using ::google::protobuf::util::SerializeDelimitedToZeroCopyStream;

// Two messages, each with its length before it.
std::string WritePair(const Message& first, const Message& second) {
  std::string bytes;
  StringOutputStream stream(&bytes);
  SerializeDelimitedToZeroCopyStream(first, &stream);
  SerializeDelimitedToZeroCopyStream(second, &stream);
  return bytes;
}

bool ReadPair(absl::string_view bytes, Message* first, Message* second) {
  ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  return ParseDelimitedFromZeroCopyStream(first, &stream, nullptr) &&
         ParseDelimitedFromZeroCopyStream(second, &stream, nullptr);
}

google::rpc::Status ToMessage(const absl::Status& status) {
  google::rpc::Status message;
  message.set_code(static_cast<int>(status.code()));
  message.set_message(std::string(status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    google::protobuf::Any* const detail = message.add_details();
    detail->set_type_url(std::string(url));
    detail->set_value(std::string(payload));
  });
  return message;
}

absl::Status ToStatus(const google::rpc::Status& message) {
  absl::Status status(static_cast<absl::StatusCode>(message.code()), message.message());
  for (const auto& detail : message.details()) status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  return status;
}

absl::StatusOr<ValidatedJob> Check(absl::string_view request) {
  v1::ServerInfo server;
  v1::JobSpec spec;
  if (!ReadPair(request, &server, &spec)) return absl::InvalidArgumentError("what was asked cannot be read");
  GW_ASSIGN_OR_RETURN(const DataRoots roots,
                      DataRoots::Create({server.data_roots().begin(), server.data_roots().end()}));
  return ValidateJob(spec, roots, {.max_parameters = server.max_parameters(), .max_bytes = server.max_job_bytes()});
}

}  // namespace

std::string EncodeSpecCheck(const v1::JobSpec& spec, const DataRoots& roots, const SpecLimits& limits) {
  v1::ServerInfo server;
  server.set_max_parameters(limits.max_parameters);
  server.set_max_job_bytes(limits.max_bytes);
  for (const std::string& folder : roots.folders()) server.add_data_roots(folder);
  return WritePair(server, spec);
}

std::string AnswerSpecCheck(absl::string_view request) {
  return EncodeSpecCheckAnswer(OrOutOfMemory("to check the job", [&] { return Check(request); }));
}

std::string EncodeSpecCheckAnswer(const absl::StatusOr<ValidatedJob>& answer) {
  v1::Job job;
  if (answer.ok()) {
    *job.mutable_spec() = answer->spec;
    *job.mutable_estimate() = answer->estimate;
    *job.mutable_data() = answer->data;
    job.mutable_tensors()->Assign(answer->tensors.begin(), answer->tensors.end());
  }
  return WritePair(ToMessage(answer.status()), job);
}

absl::StatusOr<ValidatedJob> DecodeSpecCheckAnswer(absl::string_view answer) {
  google::rpc::Status status;
  v1::Job job;
  if (!ReadPair(answer, &status, &job)) return absl::DataLossError("the answer cannot be read");
  GW_RETURN_IF_ERROR(ToStatus(status));
  ValidatedJob validated;
  validated.spec = std::move(*job.mutable_spec());
  validated.estimate = std::move(*job.mutable_estimate());
  validated.data = std::move(*job.mutable_data());
  validated.tensors.assign(std::make_move_iterator(job.mutable_tensors()->begin()),
                           std::make_move_iterator(job.mutable_tensors()->end()));
  return validated;
}

}  // namespace gradwatch::core
