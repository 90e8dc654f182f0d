#include "core/base/byte_units.h"

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace gradwatch::core {

std::string InUnits(int64_t bytes) {
  constexpr struct {
    int shift;
    absl::string_view name;
  } kUnits[] = {{40, "TiB"}, {30, "GiB"}, {20, "MiB"}};
  for (const auto& unit : kUnits) {
    const int64_t one = int64_t{1} << unit.shift;
    if (bytes >= one)
      return absl::StrFormat(" (%.1f %s)", static_cast<double>(bytes) / static_cast<double>(one), unit.name);
  }
  return "";
}

}  // namespace gradwatch::core
