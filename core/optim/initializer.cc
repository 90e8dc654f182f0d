#include "core/optim/initializer.h"

#include <Eigen/Core>
#include <Eigen/QR>
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/error.h"
#include "core/base/random.h"

namespace gradwatch::core {
namespace {

bool HasScale(v1::InitializerMethod method) {
  return method == v1::INITIALIZER_METHOD_NORMAL || method == v1::INITIALIZER_METHOD_UNIFORM;
}

bool HasFans(v1::InitializerMethod method) {
  return method == v1::INITIALIZER_METHOD_XAVIER || method == v1::INITIALIZER_METHOD_HE ||
         method == v1::INITIALIZER_METHOD_LECUN;
}

void CheckScale(const v1::Initializer& initializer, FieldErrors* errors) {
  if (!HasScale(initializer.method())) {
    if (initializer.has_scale()) errors->Add("scale", "is only for NORMAL and UNIFORM");
    return;
  }
  if (!initializer.has_scale()) {
    errors->Add("scale", "is required by NORMAL and UNIFORM");
  } else if (!(std::isfinite(initializer.scale()) && initializer.scale() > 0)) {
    errors->Add("scale", absl::StrCat("must be finite and above 0; got ", initializer.scale()));
  }
}

// Standard deviation of the methods that go by the fans.
double DeviationByFans(const ParameterSegment& segment) {
  const double in = std::max<int64_t>(segment.fan_in, 1), out = segment.fan_out;
  switch (segment.initializer.method()) {
    case v1::INITIALIZER_METHOD_XAVIER:
      return std::sqrt(2 / (in + out));
    case v1::INITIALIZER_METHOD_HE:
      return std::sqrt(2 / in);
    default:
      return std::sqrt(1 / in);
  }
}

template <typename T>
void FillNormal(double deviation, Random random, std::span<T> values) {
  for (T& value : values) value = static_cast<T>(deviation * random.NextNormal());
}

template <typename T>
void FillUniform(double bound, Random random, std::span<T> values) {
  for (T& value : values) value = static_cast<T>(bound * (2 * random.NextUniform() - 1));
}

template <typename T>
void FillIdentity(double gain, int64_t columns, std::span<T> values) {
  std::fill(values.begin(), values.end(), T(0));
  const int64_t rows = static_cast<int64_t>(values.size()) / columns;
  for (int64_t i = 0; i < std::min(rows, columns); ++i) values[i * columns + i] = static_cast<T>(gain);
}

// Decomposes the tall one of the matrix and its transpose.
template <typename T>
void FillOrthogonal(double gain, int64_t columns, Random random, std::span<T> values) {
  const int64_t rows = static_cast<int64_t>(values.size()) / columns;
  const int64_t tall = std::max(rows, columns), narrow = std::min(rows, columns);
  Eigen::MatrixXd normal(tall, narrow);
  for (int64_t i = 0; i < tall; ++i) {
    for (int64_t j = 0; j < narrow; ++j) normal(i, j) = random.NextNormal();
  }
  const Eigen::HouseholderQR<Eigen::MatrixXd> decomposition(normal);
  Eigen::MatrixXd q = decomposition.householderQ() * Eigen::MatrixXd::Identity(tall, narrow);
  for (int64_t j = 0; j < narrow; ++j) {
    if (decomposition.matrixQR()(j, j) < 0) q.col(j) = -q.col(j);
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      values[i * columns + j] = static_cast<T>(gain * (rows >= columns ? q(i, j) : q(j, i)));
    }
  }
}

}  // namespace

v1::Initializer ResolveInitializer(const v1::Initializer& given, v1::InitializerMethod default_method,
                                   double default_scale) {
  v1::Initializer resolved = given;
  if (given.method() == v1::INITIALIZER_METHOD_UNSPECIFIED) resolved.set_method(default_method);
  if (!resolved.has_gain()) resolved.set_gain(1);
  const bool by_default = given.method() == v1::INITIALIZER_METHOD_UNSPECIFIED && default_scale > 0;
  if (by_default && HasScale(default_method) && !resolved.has_scale()) resolved.set_scale(default_scale);
  if (HasFans(resolved.method()) && !resolved.has_uniform()) {
    resolved.set_uniform(resolved.method() == v1::INITIALIZER_METHOD_XAVIER);
  }
  return resolved;
}

absl::Status ValidateInitializer(const v1::Initializer& initializer) {
  FieldErrors errors;
  if (!v1::InitializerMethod_IsValid(initializer.method())) {
    errors.Add("method", absl::StrCat("is not a method; got ", static_cast<int>(initializer.method())));
  } else if (initializer.method() == v1::INITIALIZER_METHOD_SPARSE) {
    errors.Add("method", "not served yet: INITIALIZER_METHOD_SPARSE");
  } else {
    CheckScale(initializer, &errors);
    if (initializer.has_uniform() && !HasFans(initializer.method())) {
      errors.Add("uniform", "is only for XAVIER, HE and LECUN");
    }
    if (initializer.has_nonzeros()) errors.Add("nonzeros", "is only for SPARSE");
  }
  if (!(std::isfinite(initializer.gain()) && initializer.gain() >= 0)) {
    errors.Add("gain", absl::StrCat("must be finite and not negative; got ", initializer.gain()));
  }
  return errors.ToStatus();
}

template <typename T>
void InitializeTensor(const ParameterSegment& segment, uint64_t seed, int index, std::span<T> values) {
  const v1::Initializer& initializer = segment.initializer;
  const double gain = initializer.gain();
  const int64_t columns = segment.shape[0] == 0 ? 1 : segment.size / segment.shape[0];
  const Random random(seed, RandomStream::kInitialization, static_cast<uint64_t>(index));
  switch (initializer.method()) {
    case v1::INITIALIZER_METHOD_NORMAL:
      return FillNormal(gain * initializer.scale(), random, values);
    case v1::INITIALIZER_METHOD_UNIFORM:
      return FillUniform(gain * initializer.scale(), random, values);
    case v1::INITIALIZER_METHOD_ORTHOGONAL:
      return FillOrthogonal(gain, columns, random, values);
    case v1::INITIALIZER_METHOD_IDENTITY:
      return FillIdentity(gain, columns, values);
    case v1::INITIALIZER_METHOD_CONSTANT:
      return std::fill(values.begin(), values.end(), static_cast<T>(gain));
    case v1::INITIALIZER_METHOD_XAVIER:
    case v1::INITIALIZER_METHOD_HE:
    case v1::INITIALIZER_METHOD_LECUN: {
      const double deviation = gain * DeviationByFans(segment);
      if (initializer.uniform()) return FillUniform(std::sqrt(3.0) * deviation, random, values);
      return FillNormal(deviation, random, values);
    }
    default:  // ZERO; a valid initializer has no other
      std::fill(values.begin(), values.end(), T(0));
  }
}

template void InitializeTensor(const ParameterSegment&, uint64_t, int, std::span<float>);
template void InitializeTensor(const ParameterSegment&, uint64_t, int, std::span<double>);

}  // namespace gradwatch::core
