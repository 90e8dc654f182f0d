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

// Columns of Q that are written out together.
constexpr int64_t kQBlock = 64;
// Bytes of so many numbers and of what Eigen's products take to pack them, which is bounded by the caches.
int64_t WorkingBytes(int64_t numbers) {
  constexpr int64_t kMaxPacked = 4 << 20;
  const int64_t bytes = numbers * static_cast<int64_t>(sizeof(double));
  return bytes + std::min(kMaxPacked, 2 * bytes);
}

// Bytes that VisitOrthogonal takes for a moment: the matrix, and columns and rows of it.
int64_t OrthogonalBytes(int64_t rows, int64_t columns) {
  const int64_t narrow = std::min(rows, columns);
  return WorkingBytes(rows * columns + std::min(kQBlock, narrow) * (rows + columns) + kQBlock * narrow);
}

// Calls visit(i, j, element) for every element of an orthogonal matrix, which is never there as a whole besides its own
// decomposition. Decomposes the tall one of the matrix and its transpose, in the place of the random numbers.
template <typename Visit>
void VisitOrthogonal(int64_t rows, int64_t columns, Random random, const Visit& visit) {
  const int64_t tall = std::max(rows, columns), narrow = std::min(rows, columns);
  Eigen::MatrixXd matrix(tall, narrow);
  for (int64_t i = 0; i < tall; ++i) {
    for (int64_t j = 0; j < narrow; ++j) matrix(i, j) = random.NextNormal();
  }
  const Eigen::HouseholderQR<Eigen::Ref<Eigen::MatrixXd>> decomposition(matrix);
  for (int64_t begin = 0; begin < narrow; begin += kQBlock) {
    const int64_t count = std::min(kQBlock, narrow - begin);
    Eigen::MatrixXd q = Eigen::MatrixXd::Zero(tall, count);
    q.diagonal(-begin).setOnes();
    // The reflections after these leave the unit vectors as they are.
    q.applyOnTheLeft(decomposition.householderQ().setLength(begin + count));
    for (int64_t j = 0; j < count; ++j) {
      const double sign = matrix(begin + j, begin + j) < 0 ? -1 : 1;
      for (int64_t i = 0; i < tall; ++i) {
        rows >= columns ? visit(i, begin + j, sign * q(i, j)) : visit(begin + j, i, sign * q(i, j));
      }
    }
  }
}

template <typename T>
void FillOrthogonal(double gain, int64_t columns, Random random, std::span<T> values) {
  const int64_t rows = static_cast<int64_t>(values.size()) / columns;
  VisitOrthogonal(rows, columns, random,
                  [&](int64_t i, int64_t j, double x) { values[i * columns + j] = static_cast<T>(gain * x); });
}

// How large M is.
struct LooksLinearPart {
  int64_t rows, columns;
};

LooksLinearPart PartOf(v1::Initializer::Mirror mirror, int64_t rows, int64_t columns) {
  return {.rows = mirror == v1::Initializer::MIRROR_INPUTS ? rows : rows / 2,
          .columns = mirror == v1::Initializer::MIRROR_OUTPUTS ? columns : columns / 2};
}

template <typename T>
void FillLooksLinear(double gain, v1::Initializer::Mirror mirror, int64_t columns, Random random, std::span<T> values) {
  const int64_t rows = static_cast<int64_t>(values.size()) / columns;
  const LooksLinearPart part = PartOf(mirror, rows, columns);
  VisitOrthogonal(part.rows, part.columns, random, [&](int64_t i, int64_t j, double x) {
    for (int64_t row = i; row < rows; row += part.rows) {
      for (int64_t column = j; column < columns; column += part.columns) {
        const bool mirrored = (row >= part.rows) != (column >= part.columns);
        values[row * columns + column] = static_cast<T>((mirrored ? -gain : gain) * x);
      }
    }
  });
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

// Bytes that Fill takes for a moment.
int64_t FillBytes(const ParameterSegment& segment) {
  const int64_t rows = segment.shape.empty() ? 1 : segment.shape[0], columns = rows == 0 ? 1 : segment.size / rows;
  switch (segment.initializer.method()) {
    case v1::INITIALIZER_METHOD_ORTHOGONAL:
      return OrthogonalBytes(rows, columns);
    case v1::INITIALIZER_METHOD_LOOKS_LINEAR: {
      const LooksLinearPart part = PartOf(segment.initializer.mirror(), rows, columns);
      return OrthogonalBytes(part.rows, part.columns);
    }
    case v1::INITIALIZER_METHOD_SPARSE:
      return columns * static_cast<int64_t>(sizeof(int64_t));
    default:
      return 0;
  }
}

// What rescaling holds at once: the matrix, its Hessenberg form and its Schur form.
constexpr int64_t kSchurMatrices = 3;

// The largest magnitude of an eigenvalue: they are on the diagonal of the real Schur form, which has a block of two
// rows for each pair of complex ones.
double SpectralRadius(const Eigen::Map<const RowMajor>& matrix) {
  Eigen::RealSchur<Eigen::MatrixXd> schur;
  const Eigen::MatrixXd& form = schur.compute(matrix, /*computeU=*/false).matrixT();
  double radius = 0;
  for (Eigen::Index i = 0; i < form.rows(); ++i) {
    const bool is_pair = i + 1 < form.rows() && form(i + 1, i) != 0;
    if (!is_pair) {
      radius = std::max(radius, std::abs(form(i, i)));
      continue;
    }
    radius = std::max(radius, std::sqrt(std::abs(form(i, i) * form(i + 1, i + 1) - form(i, i + 1) * form(i + 1, i))));
    ++i;
  }
  return radius;
}

// Scales a square matrix to the spectral radius.
void Rescale(double radius, int64_t rows, std::span<double> values) {
  const double present = SpectralRadius(Eigen::Map<const RowMajor>(values.data(), rows, rows));
  if (!(present > 0)) return;
  for (double& value : values) value *= radius / present;
}

}  // namespace

int64_t InitializationBytes(const ParameterSegment& segment) {
  if (!segment.initializer.has_spectral_radius()) return FillBytes(segment);
  const int64_t matrix = segment.size * static_cast<int64_t>(sizeof(double));  // at most 1,024 rows
  return std::max(matrix + FillBytes(segment), WorkingBytes(kSchurMatrices * segment.size));
}

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
