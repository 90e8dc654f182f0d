// Shapes for people.
#ifndef GRADWATCH_CORE_NN_SHAPE_TEXT_H_
#define GRADWATCH_CORE_NN_SHAPE_TEXT_H_

#include <string>

#include "core/data/batch.h"

namespace gradwatch::core {

// "10 features", "100 steps of 6 features" or "1 x 28 x 28 features".
std::string ShapeText(const Shape& shape);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_NN_SHAPE_TEXT_H_
