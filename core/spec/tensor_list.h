// What the list of a model's tensors may be, whoever tells it.
#ifndef GRADWATCH_CORE_SPEC_TENSOR_LIST_H_
#define GRADWATCH_CORE_SPEC_TENSOR_LIST_H_

#include <google/protobuf/repeated_ptr_field.h>

#include "absl/status/status.h"
#include "gradwatch/v1/telemetry.pb.h"

namespace gradwatch::core {

// At most 20,000 tensors, of 2 MiB together: a job is told with all of them in one message. Names are unique, of 1 to
// 256 characters of UTF-8; shapes have at most 8 dimensions, each from 1, and fewer than 2^48 elements together; depths
// are from 0. INVALID_ARGUMENT names the first that is wrong: "tensors[3].name".
absl::Status CheckTensorList(const google::protobuf::RepeatedPtrField<v1::TensorInfo>& tensors);

// Whether two lists are the same.
bool SameTensors(const google::protobuf::RepeatedPtrField<v1::TensorInfo>& a,
                 const google::protobuf::RepeatedPtrField<v1::TensorInfo>& b);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_SPEC_TENSOR_LIST_H_
