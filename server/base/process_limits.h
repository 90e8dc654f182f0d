// How many descriptors the process may hold, and for how many connections and jobs that is enough.
#ifndef GRADWATCH_SERVER_BASE_PROCESS_LIMITS_H_
#define GRADWATCH_SERVER_BASE_PROCESS_LIMITS_H_

#include <cstdint>

namespace gradwatch::server {

// Raises the soft limit of descriptors to the hard one; says what holds now. Processes that are started inherit it.
int64_t RaiseDescriptorLimit();

// How many connections may be open at once where the process may hold `limit` descriptors: a fifth of the limit and at
// least 128 stay for the stores and for starting trainers, but connections get half of it in any case. Never more than
// 16,384: each takes some ten KiB.
int MaxConnections(int64_t limit);

// How many jobs may run at once then: each has a connection, a process and a store, six descriptors in all, and half of
// the limit is for them.
int MaxRunningJobs(int64_t limit);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_BASE_PROCESS_LIMITS_H_
