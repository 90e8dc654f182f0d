// Random UUIDs, by which a server knows a repeated request.
#ifndef GRADWATCH_CLIENT_LIB_UUID_H_
#define GRADWATCH_CLIENT_LIB_UUID_H_

#include <string>

namespace gradwatch::client {

// A UUID of version 4 (RFC 4122) from the system's random numbers, in lower case. Thread-safe.
std::string RandomUuid();

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_UUID_H_
