// The sockets that the server listens on.
#ifndef GRADWATCH_SERVER_RPC_LISTENER_H_
#define GRADWATCH_SERVER_RPC_LISTENER_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/rpc/listen_address.h"

namespace gradwatch::server {

// Not thread-safe.
class Listener {
 public:
  // Listens at `address` (see ReadListenAddress): at all addresses of a name; "0.0.0.0" is all of IPv4, "[::]" IPv4
  // too. A socket file belongs to its user alone; one that nobody listens at any more is replaced. INVALID_ARGUMENT: it
  // is no such address, or others than programs of this machine could reach it and `beyond_this_machine` is not set.
  // UNAVAILABLE: it cannot be bound.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(const std::string& address, bool beyond_this_machine);
  // As Close.
  ~Listener() { Close(); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Closes the sockets and removes the socket file.
  void Close();

  // They do not block.
  const std::vector<int>& sockets() const { return sockets_; }
  // "HOST:PORT" with the port that was bound, or "unix:/PATH".
  std::string address() const { return address_.WithPort(port_); }
  // Where a program of this machine reaches it.
  std::string dial_address() const { return address_.DialAddress(port_); }
  // Programs of this machine alone can reach it.
  bool is_local() const { return address_.is_local(); }

 private:
  explicit Listener(ListenAddress address) : address_(std::move(address)), port_(address_.port()) {}
  absl::Status OpenAll();
  absl::Status TryAll();
  absl::Status OpenSocketFile();
  // Adds one socket; the first with port 0 says the port of all. NOT_FOUND: the machine has no such address.
  absl::Status OpenOne(SocketAddress address);
  void CloseSockets();

  const ListenAddress address_;
  int port_;
  std::vector<int> sockets_;
  dev_t file_device_ = 0;  // of the socket file, so that no other's is removed
  ino_t file_number_ = 0;  // 0: there is none
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_LISTENER_H_
