// Which build of the engine the loader has picked.
#ifndef GRADWATCH_CORE_BASE_ENGINE_VARIANT_H_
#define GRADWATCH_CORE_BASE_ENGINE_VARIANT_H_

#include "absl/strings/string_view.h"

namespace gradwatch::core {

// "x86-64-v2", "x86-64-v3", "x86-64-v4", or "baseline" where there is only one. Results are bit-identical within one.
absl::string_view EngineVariant();

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_ENGINE_VARIANT_H_
