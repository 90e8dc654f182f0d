// From the plain numbers of a step to the protobuf message that goes to the server.
#ifndef GRADWATCH_CLIENT_WORKER_REPORT_ENCODER_H_
#define GRADWATCH_CLIENT_WORKER_REPORT_ENCODER_H_

#include <cstdint>

#include "core/stats/step_record.h"
#include "gradwatch/v1/telemetry.pb.h"

namespace gradwatch::worker {

// Fills `report`, which must be empty, with what the record's level says was measured; NaN and infinities as they are.
// Tensors are told on the steps of Controls.report_every only.
void EncodeReport(const core::StepRecord& record, int32_t attempt, v1::StepReport* report);

}  // namespace gradwatch::worker

#endif  // GRADWATCH_CLIENT_WORKER_REPORT_ENCODER_H_
