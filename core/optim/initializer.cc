#include "core/optim/initializer.h"

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/base/random.h"

namespace gradwatch::core {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// The gain of torch.nn.init.calculate_gain.
double GainFor(v1::ActivationFunction function) {
  switch (function) {
    case v1::ACTIVATION_FUNCTION_TANH:
      return 5.0 / 3;
    case v1::ACTIVATION_FUNCTION_RELU:
      return std::sqrt(2.0);
    case v1::ACTIVATION_FUNCTION_LEAKY_RELU:
      return std::sqrt(2 / (1 + 0.01 * 0.01));
    case v1::ACTIVATION_FUNCTION_SELU:
      return 0.75;
    default:
      return 1;
  }
}

// Standard deviation, without gain, of the methods that go by the fans.
double DeviationByFans(const ParameterSegment& segment) {
  const double in = std::max<int64_t>(segment.fan_in, 1), out = segment.fan_out;
  const v1::Initializer& initializer = segment.initializer;
  switch (initializer.method()) {
    case v1::INITIALIZER_METHOD_XAVIER:
      return std::sqrt(2 / (in + out));
    case v1::INITIALIZER_METHOD_HE:
      return std::sqrt(2 / in);
    case v1::INITIALIZER_METHOD_FIXUP:
      return std::sqrt(2 / in) * std::pow(initializer.branches(), -0.5 / (initializer.branch_layers() - 1));
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
RowMajor Orthogonal(int64_t rows, int64_t columns, Random random) {
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
  if (rows >= columns) return q;
  return q.transpose();
}

template <typename T>
void FillOrthogonal(double gain, int64_t columns, Random random, std::span<T> values) {
  const RowMajor q = Orthogonal(static_cast<int64_t>(values.size()) / columns, columns, random);
  std::transform(q.data(), q.data() + q.size(), values.begin(), [=](double x) { return static_cast<T>(gain * x); });
}

template <typename T>
void FillLooksLinear(double gain, v1::Initializer::Mirror mirror, int64_t columns, Random random, std::span<T> values) {
  const int64_t rows = static_cast<int64_t>(values.size()) / columns;
  const int64_t q_rows = mirror == v1::Initializer::MIRROR_INPUTS ? rows : rows / 2;
  const int64_t q_columns = mirror == v1::Initializer::MIRROR_OUTPUTS ? columns : columns / 2;
  const RowMajor q = Orthogonal(q_rows, q_columns, random);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const bool mirrored = (i >= q_rows) != (j >= q_columns);
      values[i * columns + j] = static_cast<T>((mirrored ? -gain : gain) * q(i % q_rows, j % q_columns));
    }
  }
}

// The places in a row are the first of a random order (Fisher and Yates).
template <typename T>
void FillSparse(double deviation, int64_t nonzeros, int64_t columns, Random random, std::span<T> values) {
  std::fill(values.begin(), values.end(), T(0));
  std::vector<int64_t> places(columns);
  for (size_t row = 0; row < values.size(); row += columns) {
    std::iota(places.begin(), places.end(), 0);
    for (int64_t i = 0; i < std::min(nonzeros, columns); ++i) {
      std::swap(places[i], places[i + static_cast<int64_t>(random.NextBelow(columns - i))]);
      values[row + places[i]] = static_cast<T>(deviation * random.NextNormal());
    }
  }
}

template <typename T>
void Fill(const ParameterSegment& segment, Random random, std::span<T> values) {
  const v1::Initializer& initializer = segment.initializer;
  const double gain = initializer.gain() * GainFor(initializer.gain_for());
  const int64_t columns = segment.shape[0] == 0 ? 1 : segment.size / segment.shape[0];
  switch (initializer.method()) {
    case v1::INITIALIZER_METHOD_NORMAL:
      return FillNormal(gain * initializer.scale(), random, values);
    case v1::INITIALIZER_METHOD_UNIFORM:
      return FillUniform(gain * initializer.scale(), random, values);
    case v1::INITIALIZER_METHOD_ORTHOGONAL:
      return FillOrthogonal(gain, columns, random, values);
    case v1::INITIALIZER_METHOD_LOOKS_LINEAR:
      return FillLooksLinear(gain, initializer.mirror(), columns, random, values);
    case v1::INITIALIZER_METHOD_SPARSE:
      return FillSparse(gain * initializer.scale(), initializer.nonzeros(), columns, random, values);
    case v1::INITIALIZER_METHOD_IDENTITY:
      return FillIdentity(gain, columns, values);
    case v1::INITIALIZER_METHOD_PYTORCH:
      return FillUniform(gain * DeviationByFans(segment), random, values);
    case v1::INITIALIZER_METHOD_CONSTANT:
      return std::fill(values.begin(), values.end(), static_cast<T>(gain));
    case v1::INITIALIZER_METHOD_XAVIER:
    case v1::INITIALIZER_METHOD_HE:
    case v1::INITIALIZER_METHOD_LECUN:
    case v1::INITIALIZER_METHOD_FIXUP: {
      const double deviation = gain * DeviationByFans(segment);
      if (initializer.uniform()) return FillUniform(std::sqrt(3.0) * deviation, random, values);
      return FillNormal(deviation, random, values);
    }
    default:  // ZERO; a valid initializer has no other
      std::fill(values.begin(), values.end(), T(0));
  }
}

// Scales a square matrix to the spectral radius.
void Rescale(double radius, int64_t rows, std::span<double> values) {
  const Eigen::Map<const RowMajor> matrix(values.data(), rows, rows);
  const Eigen::EigenSolver<Eigen::MatrixXd> solver(matrix, /*computeEigenvectors=*/false);
  const double present = solver.eigenvalues().cwiseAbs().maxCoeff();
  if (!(present > 0)) return;
  for (double& value : values) value *= radius / present;
}

}  // namespace

template <typename T>
void InitializeTensor(const ParameterSegment& segment, uint64_t seed, int index, std::span<T> values) {
  const Random random(seed, RandomStream::kInitialization, static_cast<uint64_t>(index));
  if (!segment.initializer.has_spectral_radius()) return Fill(segment, random, values);
  std::vector<double> matrix(values.size());
  Fill(segment, random, std::span(matrix));
  Rescale(segment.initializer.spectral_radius(), segment.shape[0], matrix);
  std::transform(matrix.begin(), matrix.end(), values.begin(), [](double x) { return static_cast<T>(x); });
}

template void InitializeTensor(const ParameterSegment&, uint64_t, int, std::span<float>);
template void InitializeTensor(const ParameterSegment&, uint64_t, int, std::span<double>);

}  // namespace gradwatch::core
