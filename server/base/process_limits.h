// How many descriptors the process may hold, and how many of them connections may take.
#ifndef GRADWATCH_SERVER_BASE_PROCESS_LIMITS_H_
#define GRADWATCH_SERVER_BASE_PROCESS_LIMITS_H_

#include <cstdint>

namespace gradwatch::server {

// Raises the soft limit of descriptors to the hard one; says what holds now. Processes that are started inherit it.
int64_t RaiseDescriptorLimit();

// Connections get only descriptors with smaller numbers than this, where the process may hold `limit`: a fifth of the
// limit and at least 128 stay for the stores and for starting trainers, but connections get half of it in any case.
// A process is never given more than 16,384 connections: each takes some ten KiB.
int DescriptorsForConnections(int64_t limit);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_PROCESS_LIMITS_H_
