// Points on interleaved spiral arms in the plane.
#ifndef GRADWATCH_CORE_DATA_SPIRALS_SOURCE_H_
#define GRADWATCH_CORE_DATA_SPIRALS_SOURCE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/data/data_source.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// A point of arm a (its class) at radius r from U[0, 1) has the angle 2 pi (a / arms + 1.5 r), and noise of the given
// standard deviation on both coordinates. Violations are relative to the SpiralsTask.
absl::StatusOr<std::unique_ptr<DataSource>> MakeSpirals(const v1::SpiralsTask& spec, int64_t batch_size, uint64_t seed);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_SPIRALS_SOURCE_H_
