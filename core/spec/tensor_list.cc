#include "core/spec/tensor_list.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/error.h"
#include "core/base/status_macros.h"
#include "core/base/utf8.h"

namespace gradwatch::core {
namespace {

constexpr int kMaxTensors = 20'000;
constexpr size_t kMaxBytes = size_t{2} << 20;  // serialised
constexpr int64_t kMaxNameCharacters = 256;
constexpr int kMaxDimensions = 8;
constexpr int64_t kMaxElements = int64_t{1} << 48;

absl::Status CheckShape(const v1::TensorInfo& tensor, const std::string& field) {
  if (tensor.shape_size() > kMaxDimensions) {
    return InvalidField(field, absl::StrCat(tensor.shape_size(), " dimensions are more than ", kMaxDimensions));
  }
  int64_t elements = 1;
  for (const int64_t size : tensor.shape()) {
    if (size < 1) return InvalidField(field, absl::StrCat("sizes are from 1; got ", size));
    if (size >= kMaxElements / elements) return InvalidField(field, "too many elements");
    elements *= size;
  }
  return absl::OkStatus();
}

absl::Status CheckName(const std::string& name, const std::string& field) {
  const int64_t characters = CountCodePoints(name);
  if (characters == kInvalidUtf8) return InvalidField(field, "must be UTF-8");
  if (characters >= 1 && characters <= kMaxNameCharacters) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("must have 1 to ", kMaxNameCharacters, " characters; has ", characters));
}

}  // namespace

absl::Status CheckTensorList(const google::protobuf::RepeatedPtrField<v1::TensorInfo>& tensors) {
  if (tensors.size() > kMaxTensors) {
    return InvalidField("tensors", absl::StrCat(tensors.size(), " are more than ", kMaxTensors));
  }
  size_t bytes = 0;
  std::set<absl::string_view> names;
  for (int i = 0; i < tensors.size(); ++i) {
    const v1::TensorInfo& tensor = tensors[i];
    const std::string path = absl::StrCat("tensors[", i, "]");
    GW_RETURN_IF_ERROR(CheckName(tensor.name(), path + ".name"));
    if (!names.insert(tensor.name()).second) {
      return InvalidField(path + ".name", absl::StrCat("\"", tensor.name(), "\" is there twice"));
    }
    GW_RETURN_IF_ERROR(CheckShape(tensor, path + ".shape"));
    if (tensor.depth() < 0) return InvalidField(path + ".depth", absl::StrCat("must be from 0; got ", tensor.depth()));
    bytes += tensor.ByteSizeLong();
  }
  if (bytes > kMaxBytes) {
    return InvalidField("tensors", absl::StrCat("their names and shapes take ", bytes, " bytes; at most ", kMaxBytes));
  }
  return absl::OkStatus();
}

bool SameTensors(const google::protobuf::RepeatedPtrField<v1::TensorInfo>& a,
                 const google::protobuf::RepeatedPtrField<v1::TensorInfo>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const v1::TensorInfo& x, const v1::TensorInfo& y) {
    return x.name() == y.name() && x.depth() == y.depth() &&
           std::equal(x.shape().begin(), x.shape().end(), y.shape().begin(), y.shape().end());
  });
}

}  // namespace gradwatch::core
