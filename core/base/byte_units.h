// Counts of bytes in messages: exact for programs and tests, and in a unit that people read.
#ifndef GRADWATCH_CORE_BASE_BYTE_UNITS_H_
#define GRADWATCH_CORE_BASE_BYTE_UNITS_H_

#include <cstdint>
#include <string>

namespace gradwatch::core {

// What is put behind the exact number: " (31.1 GiB)", in the largest of MiB, GiB and TiB that it has one of at least;
// empty below 1 MiB.
std::string InUnits(int64_t bytes);

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_BASE_BYTE_UNITS_H_
