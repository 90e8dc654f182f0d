// What an initializer's spec may be, and its defaults.
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/optim/initializer.h"
#include "core/optim/method_fields.h"

namespace gradwatch::core {
namespace {

constexpr MethodSet kScaled = Methods({v1::INITIALIZER_METHOD_NORMAL, v1::INITIALIZER_METHOD_UNIFORM});
constexpr MethodSet kXavier = Methods({v1::INITIALIZER_METHOD_XAVIER});
constexpr MethodSet kFixup = Methods({v1::INITIALIZER_METHOD_FIXUP});
constexpr MethodSet kByFans = Methods({v1::INITIALIZER_METHOD_HE, v1::INITIALIZER_METHOD_LECUN}) | kFixup;
constexpr MethodSet kSparse = Methods({v1::INITIALIZER_METHOD_SPARSE});
constexpr MethodSet kLooksLinear = Methods({v1::INITIALIZER_METHOD_LOOKS_LINEAR});
constexpr MethodSet kNotZero =
    kScaled | kXavier | kByFans | kSparse | kLooksLinear |
    Methods({v1::INITIALIZER_METHOD_PYTORCH, v1::INITIALIZER_METHOD_ORTHOGONAL, v1::INITIALIZER_METHOD_IDENTITY});
constexpr MethodSet kAll = kNotZero | Methods({v1::INITIALIZER_METHOD_ZERO, v1::INITIALIZER_METHOD_CONSTANT});

constexpr double kMaxInt = std::numeric_limits<int32_t>::max();
constexpr ValueRange kPositive = {.low = 0, .without_low = true};
constexpr ValueRange kAnyBool = {};

constexpr MethodField kFields[] = {
    {"gain", kAll, {.low = 0}, 1},
    {"gain_for", kNotZero, {}, std::nullopt},
    {"scale", kScaled, kPositive, std::nullopt, Need::kRequired},
    {"scale", kSparse, kPositive, 1},
    {"uniform", kXavier, kAnyBool, true},
    {"uniform", kByFans, kAnyBool, false},
    {"nonzeros", kSparse, {.low = 1, .high = kMaxInt}, 15},
    {"spectral_radius", kNotZero, kPositive, std::nullopt},
    {"branches", kFixup, {.low = 1, .high = kMaxInt}, std::nullopt, Need::kRequired},
    {"branch_layers", kFixup, {.low = 2, .high = kMaxInt}, 2},
    {"mirror", kLooksLinear, {.low = 1, .high = 3}, v1::Initializer::MIRROR_BOTH},
};

// Eigenvalues cost the third power of the rows.
constexpr int64_t kMaxSpectralRows = 1024;

void CheckGainFor(const v1::Initializer& initializer, FieldErrors* errors) {
  switch (initializer.gain_for()) {
    case v1::ACTIVATION_FUNCTION_UNSPECIFIED:
    case v1::ACTIVATION_FUNCTION_SIGMOID:
    case v1::ACTIVATION_FUNCTION_TANH:
    case v1::ACTIVATION_FUNCTION_RELU:
    case v1::ACTIVATION_FUNCTION_LEAKY_RELU:
    case v1::ACTIVATION_FUNCTION_SELU:
      return;
    default:
      errors->Add("gain_for", absl::StrCat("must be SIGMOID, TANH, RELU, LEAKY_RELU or SELU; got ",
                                           v1::ActivationFunction_IsValid(initializer.gain_for())
                                               ? v1::ActivationFunction_Name(initializer.gain_for())
                                               : absl::StrCat(initializer.gain_for())));
  }
}

void CheckMirror(v1::Initializer::Mirror mirror, int64_t rows, int64_t columns, FieldErrors* errors) {
  const bool even_rows = mirror == v1::Initializer::MIRROR_INPUTS || rows % 2 == 0;
  const bool even_columns = mirror == v1::Initializer::MIRROR_OUTPUTS || columns % 2 == 0;
  if (even_rows && even_columns) return;
  errors->Add("mirror", absl::StrCat("needs an even number of what is mirrored, but the matrix is ", rows, " x ",
                                     columns, " (outputs x inputs)"));
}

}  // namespace

v1::Initializer ResolveInitializer(const v1::Initializer& given, v1::InitializerMethod default_method,
                                   double default_scale) {
  v1::Initializer resolved = given;
  const bool unset = given.method() == v1::INITIALIZER_METHOD_UNSPECIFIED;
  const bool as_pytorch = given.method() == v1::INITIALIZER_METHOD_PYTORCH && default_scale > 0 && !given.has_scale();
  if (unset) resolved.set_method(default_method);
  if (as_pytorch) {
    const bool normal = default_method == v1::INITIALIZER_METHOD_NORMAL;
    resolved.set_method(normal ? v1::INITIALIZER_METHOD_NORMAL : v1::INITIALIZER_METHOD_UNIFORM);
  }
  const bool has_scale =
      resolved.method() == v1::INITIALIZER_METHOD_NORMAL || resolved.method() == v1::INITIALIZER_METHOD_UNIFORM;
  if ((unset || as_pytorch) && has_scale && default_scale > 0 && !resolved.has_scale()) {
    resolved.set_scale(default_scale);
  }
  SetMethodDefaults(kFields, &resolved);
  return resolved;
}

absl::Status ValidateInitializer(const v1::Initializer& initializer) {
  FieldErrors errors;
  if (CheckMethodIsKnown(initializer, &errors)) {
    CheckMethodFields(initializer, kFields, &errors);
    CheckGainFor(initializer, &errors);
  }
  return errors.ToStatus();
}

absl::Status CheckInitializerFits(const ParameterSegment& segment) {
  const v1::Initializer& initializer = segment.initializer;
  const int64_t rows = segment.shape[0], columns = rows == 0 ? 0 : segment.size / rows;
  FieldErrors errors;
  if (initializer.method() == v1::INITIALIZER_METHOD_SPARSE && initializer.nonzeros() > columns) {
    errors.Add("nonzeros",
               absl::StrCat("must be at most the ", columns, " inputs of a unit; got ", initializer.nonzeros()));
  }
  if (initializer.method() == v1::INITIALIZER_METHOD_LOOKS_LINEAR) {
    CheckMirror(initializer.mirror(), rows, columns, &errors);
  }
  if (initializer.has_spectral_radius() && (rows != columns || rows > kMaxSpectralRows)) {
    errors.Add("spectral_radius", absl::StrCat("needs a square matrix of at most ", kMaxSpectralRows,
                                               " rows, but it is ", rows, " x ", columns));
  }
  return errors.ToStatus();
}

}  // namespace gradwatch::core
