// How a weight starts: the methods' definitions, their checks and their random numbers.
//
// With f_in and f_out the segment's fans and g the gain (times that of gain_for):
//   XAVIER        Glorot and Bengio 2010: variance g^2 2 / (f_in + f_out)
//   HE            He et al. 2015: variance g^2 2 / f_in
//   LECUN         LeCun et al. 1998: variance g^2 / f_in
//   FIXUP         Zhang et al. 2019: variance g^2 2 / f_in L^(-1 / (m - 1)) for L branches of m layers
//                 (these four: normal, or uniform within sqrt(3) standard deviations)
//   PYTORCH       torch.nn's defaults: uniform within +-g / sqrt(f_in) where the layer names no scale of its own
//   NORMAL        normal with standard deviation g * scale
//   UNIFORM       uniform within +-g * scale
//   ORTHOGONAL    Saxe et al. 2014: g Q sign(diag R) of the QR decomposition of a normal matrix; its rows, or its
//                 columns where there are fewer of them, are orthonormal up to g
//   LOOKS_LINEAR  Balduzzi et al. 2017: [[M, -M], [-M, M]], or one half of it, with M as ORTHOGONAL
//   SPARSE        Martens 2010: in each row so many weights, at random places, are normal with standard deviation
//                 g * scale; the others are zero
//   IDENTITY      Le et al. 2015: g on the diagonal, zero elsewhere
//   ZERO          zero
//   CONSTANT      g everywhere
// A tensor of more than two dimensions counts as the matrix [outermost, all others]. With spectral_radius the matrix is
// scaled at the end (Pascanu et al. 2013 do so with a sparse one); one without eigenvalues but zero stays as it is.
#ifndef GRADWATCH_CORE_OPTIM_INITIALIZER_H_
#define GRADWATCH_CORE_OPTIM_INITIALIZER_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "core/tensor/parameter_layout.h"
#include "gradwatch/v1/model.pb.h"

namespace gradwatch::core {

// `given` with everything that is unset filled in; an unset method becomes `default_method`, an unset scale
// `default_scale` (where the method has one and the default is above 0). PYTORCH with a `default_scale` becomes NORMAL
// if that is the default method and else UNIFORM of that scale: layers give the scale that PyTorch uses.
v1::Initializer ResolveInitializer(const v1::Initializer& given, v1::InitializerMethod default_method,
                                   double default_scale = 0);

// Checks a resolved initializer without its tensor: fields known to the method, numbers in range. Violations are
// relative to it.
absl::Status ValidateInitializer(const v1::Initializer& initializer);

// Whether a valid initializer fits the shape of its tensor: INVALID_ARGUMENT about nonzeros, mirror or spectral_radius
// if not, with paths relative to it.
absl::Status CheckInitializerFits(const ParameterSegment& segment);

// Bytes that drawing the tensor takes for a moment, besides the tensor itself, at most; less than the tensor takes
// but with ORTHOGONAL and LOOKS_LINEAR, which need their matrix once as doubles, and with spectral_radius.
int64_t InitializationBytes(const ParameterSegment& segment);

// Fills `values` (segment.size elements) as segment.initializer says, which must be valid and fit. A pure function of
// the seed and of `index`, the segment's place in the layout; drawn in double, so that float and double networks start
// alike.
template <typename T>
void InitializeTensor(const ParameterSegment& segment, uint64_t seed, int index, std::span<T> values);

extern template void InitializeTensor(const ParameterSegment&, uint64_t, int, std::span<float>);
extern template void InitializeTensor(const ParameterSegment&, uint64_t, int, std::span<double>);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_OPTIM_INITIALIZER_H_
