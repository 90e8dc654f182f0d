#include "server/api/call_metrics.h"

#include <algorithm>

namespace gradwatch::server {

void CallMetrics::Begin(Operation operation) {
  Slot& slot = slots_[static_cast<size_t>(operation)];
  absl::MutexLock lock(&slot.mutex);
  ++slot.figures.calls;
  ++slot.figures.open;
}

void CallMetrics::End(Operation operation, absl::StatusCode code, absl::Duration took) {
  const double seconds = absl::ToDoubleSeconds(took);
  const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin();
  Slot& slot = slots_[static_cast<size_t>(operation)];
  absl::MutexLock lock(&slot.mutex);
  --slot.figures.open;
  if (code != absl::StatusCode::kOk) ++slot.figures.errors[code];
  ++slot.figures.latencies[static_cast<size_t>(bucket)];
  slot.figures.seconds += seconds;
}

CallMetrics::Figures CallMetrics::Read(Operation operation) const {
  const Slot& slot = slots_[static_cast<size_t>(operation)];
  absl::MutexLock lock(&slot.mutex);
  return slot.figures;
}

}  // namespace gradwatch::server
