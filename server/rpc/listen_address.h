// What `--listen` may say: an address or a host's name with a port, or the path of a socket file.
#ifndef GRADWATCH_SERVER_RPC_LISTEN_ADDRESS_H_
#define GRADWATCH_SERVER_RPC_LISTEN_ADDRESS_H_

#include <sys/socket.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace gradwatch::server {

// An address of the kernel's.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  bool is_unix() const { return storage.ss_family == AF_UNIX; }
  // 0 for socket files.
  int port() const;
  void set_port(int port);
  // Every address of the machine.
  bool is_any() const;
  // Programs of this machine alone can reach it.
  bool is_local() const;
};

struct ListenAddress {
  std::string host;                      // as it was given, in brackets if it was; "unix:/PATH" for a socket file
  std::vector<SocketAddress> addresses;  // at least one; a name may have several, all with the same port

  bool is_unix() const { return addresses[0].is_unix(); }
  int port() const { return addresses[0].port(); }
  // Programs of this machine alone can reach it.
  bool is_local() const;
  // "HOST:PORT" with the port that was bound, "unix:/PATH".
  std::string WithPort(int port) const;
  // Where a program of this machine reaches it.
  std::string DialAddress(int port) const;
};

// "127.0.0.1:7700", "[::1]:7700", "localhost:7700", "unix:PATH" (made absolute); port 0: a free one. Asks the resolver
// for names. INVALID_ARGUMENT: it is no such address, or its path cannot be dialled. UNAVAILABLE: the name has no
// address.
absl::StatusOr<ListenAddress> ReadListenAddress(const std::string& text);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_LISTEN_ADDRESS_H_
