// From the plain numbers of a step to the protobuf message that goes to the server.
#ifndef GRADWATCH_CLIENT_WORKER_REPORT_ENCODER_H_
#define GRADWATCH_CLIENT_WORKER_REPORT_ENCODER_H_

#include <cstdint>
#include <vector>

#include "core/stats/layer_statistics.h"
#include "core/stats/step_record.h"
#include "gradwatch/v1/telemetry.pb.h"

namespace gradwatch::worker {

// Fills `report`, which must be empty, with what the record's level says was measured; NaN and infinities as they are.
// Tensors and layers are told on the steps of Controls.report_every only, histograms on those of report_histograms;
// `layers` are those that the record may hold.
void EncodeReport(const core::StepRecord& record, const std::vector<core::LayerInfo>& layers, int32_t attempt,
                  v1::StepReport* report);

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_REPORT_ENCODER_H_
