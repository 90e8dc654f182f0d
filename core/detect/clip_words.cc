#include "core/detect/clip_words.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/detect/words.h"

namespace gradwatch::core {
namespace {

// The limit of a mode, as the end of a sentence.
std::string LimitInWords(const TensorClipping& clipping, double norm_limit) {
  const std::string number = Number(clipping.number);
  switch (clipping.mode) {
    case v1::CLIP_MODE_GLOBAL_NORM:
      return absl::StrCat("the global norm is at most ", number);
    case v1::CLIP_MODE_TENSOR_NORM:
      return absl::StrCat(clipping.own ? "its" : "each tensor's", " norm is at most ", number);
    case v1::CLIP_MODE_VALUE:
      return absl::StrCat("each of ", clipping.own ? "its" : "the", " elements is at most ", number, " in magnitude");
    case v1::CLIP_MODE_ADAPTIVE:
      return absl::StrCat("each of ", clipping.own ? "its" : "the", " units has a gradient of at most ", number,
                          " times the norm of its weights");
    case v1::CLIP_MODE_AUTOCLIP:
      return absl::StrCat("AutoClip, the global norm is at most percentile ", number, " of the norms so far");
    case v1::CLIP_MODE_ZCLIP:
      return absl::StrCat("ZClip, a global norm more than ", number, " deviations above its average is cut",
                          std::isnan(norm_limit) ? "" : absl::StrCat(", and any above ", Number(norm_limit)));
    case v1::CLIP_MODE_ADAGC:
      return absl::StrCat("AdaGC, each tensor's norm is at most ", number,
                          " times its own average, and in the warm-up the global norm at most ", Number(norm_limit));
    case v1::CLIP_MODE_SPAM:
      return absl::StrCat("SPAM, an element's square is at most ", number,
                          " times the optimizer's second moment of it, but not in the first steps after the start or a "
                          "reset");
    default:
      return "";
  }
}

// Whether all tensors have limits of their own, so that what the others would have is no matter.
bool EachHasItsOwn(const ClipInForce& in_force) {
  return !in_force.tensors.empty() &&
         std::all_of(in_force.tensors.begin(), in_force.tensors.end(),
                     [](const TensorClipping& tensor) { return tensor.own && IsLimited(tensor); });
}

}  // namespace

bool IsLimited(const TensorClipping& clipping) {
  return clipping.mode != v1::CLIP_MODE_NONE && clipping.mode != v1::CLIP_MODE_UNSPECIFIED;
}

std::string ClippingInForce(const ClipInForce& in_force, int tensor, absl::string_view tensor_name) {
  const TensorClipping& clipping = in_force.Of(tensor);
  if (clipping.own && !IsLimited(clipping)) {
    return absl::StrCat("An override takes ", tensor_name, " out of clipping: nothing limits it.");
  }
  if (clipping.own) {
    return absl::StrCat("Clipping is on for ", tensor_name, " by itself: ", LimitInWords(clipping, NAN), ".");
  }
  if (tensor < 0 && EachHasItsOwn(in_force)) return "Clipping is on: each tensor has a limit of its own.";
  if (!IsLimited(clipping)) return "";
  return absl::StrCat("Clipping is on: ", LimitInWords(clipping, in_force.norm_limit), ".");
}

}  // namespace gradwatch::core
