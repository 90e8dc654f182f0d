// Points around random centres.
#ifndef GRADWATCH_CORE_DATA_GAUSSIAN_CLUSTERS_SOURCE_H_
#define GRADWATCH_CORE_DATA_GAUSSIAN_CLUSTERS_SOURCE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/data/data_source.h"
#include "gradwatch/v1/job.pb.h"

namespace gradwatch::core {

// The centre of a class is normal with standard deviation `spread`, a point normal with 1 around it; classes are drawn
// uniformly. Violations are relative to the GaussianClustersTask.
absl::StatusOr<std::unique_ptr<DataSource>> MakeGaussianClusters(const v1::GaussianClustersTask& spec,
                                                                 int64_t batch_size, uint64_t seed);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DATA_GAUSSIAN_CLUSTERS_SOURCE_H_
