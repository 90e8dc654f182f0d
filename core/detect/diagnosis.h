// The lines of an alert: why, as far as the reports tell, what to do about it, and the words of both.
#ifndef GRADWATCH_CORE_DETECT_DIAGNOSIS_H_
#define GRADWATCH_CORE_DETECT_DIAGNOSIS_H_

#include "core/detect/causes.h"  // IWYU pragma: export
#include "core/detect/cures.h"   // IWYU pragma: export
#include "core/detect/words.h"   // IWYU pragma: export

#endif  // GRADWATCH_CORE_DETECT_DIAGNOSIS_H_
