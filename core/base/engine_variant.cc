#include "core/base/engine_variant.h"

namespace gradwatch::core {

absl::string_view EngineVariant() { return GRADWATCH_ENGINE_VARIANT; }

}  // namespace gradwatch::core
