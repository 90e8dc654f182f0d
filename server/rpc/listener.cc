#include "server/rpc/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

// A free port of one address may be taken at another of the same name.
constexpr int kTries = 16;
// A reader that takes nothing keeps its connection as long as gRPC's keepalive would.
constexpr int kUnansweredMilliseconds = 30'000;

void Switch(int socket, int level, int option, int value) {
  if (setsockopt(socket, level, option, &value, sizeof value) != 0) {
    spdlog::warn("socket option {} of level {}: {}", option, level, std::strerror(errno));
  }
}

// What is accepted inherits these. Small messages go at once.
void Prepare(int socket, const SocketAddress& address) {
  // The node that bind makes gets these rights, less the umask: there is no moment in which others may connect.
  if (address.is_unix()) return static_cast<void>(fchmod(socket, 0600));
  Switch(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  Switch(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  Switch(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, kUnansweredMilliseconds);
  if (address.storage.ss_family == AF_INET6) Switch(socket, IPPROTO_IPV6, IPV6_V6ONLY, address.is_any() ? 0 : 1);
}

// Whether a server answers at the socket file.
bool SomebodyListens(const SocketAddress& address) {
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return true;
  const absl::Cleanup closer = [probe] { close(probe); };
  return connect(probe, address.get(), address.size) == 0 || errno != ECONNREFUSED;
}

const char* PathOf(const SocketAddress& address) {
  return reinterpret_cast<const sockaddr_un&>(address.storage).sun_path;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(const std::string& address, bool beyond_this_machine) {
  GW_ASSIGN_OR_RETURN(ListenAddress wanted, ReadListenAddress(address));
  if (!wanted.is_local() && !beyond_this_machine) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen ", address, " can be reached from other machines, and everybody who reaches the server ",
                     "may start, change and delete jobs: nothing is encrypted and nobody is asked who they are. ",
                     "Give --insecure if that is meant, or listen on 127.0.0.1, [::1] or unix:PATH"));
  }
  std::unique_ptr<Listener> listener(new Listener(std::move(wanted)));
  GW_RETURN_IF_ERROR(listener->OpenAll());
  return listener;
}

void Listener::Close() {
  CloseSockets();
  struct stat now = {};
  if (file_number_ == 0 || lstat(PathOf(address_.addresses[0]), &now) != 0) return;
  if (now.st_dev == file_device_ && now.st_ino == file_number_) unlink(PathOf(address_.addresses[0]));
  file_number_ = 0;
}

void Listener::CloseSockets() {
  for (const int socket : sockets_) close(socket);
  sockets_.clear();
}

absl::Status Listener::OpenAll() {
  if (address_.is_unix()) return OpenSocketFile();
  absl::Status status = TryAll();
  const bool may_try_again = address_.port() == 0 && address_.addresses.size() > 1;
  for (int i = 1; i < kTries && may_try_again && !status.ok(); ++i) status = TryAll();
  if (status.ok()) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", address_.WithPort(address_.port()), ": ", status.message()));
}

absl::Status Listener::TryAll() {
  CloseSockets();
  port_ = address_.port();
  absl::Status missing;
  for (const SocketAddress& address : address_.addresses) {
    const absl::Status status = OpenOne(address);
    // A name may have an IPv6 address on a machine without.
    if (absl::IsNotFound(status)) {
      missing = status;
    } else {
      GW_RETURN_IF_ERROR(status);
    }
  }
  return sockets_.empty() ? missing : absl::OkStatus();
}

absl::Status Listener::OpenSocketFile() {
  const SocketAddress& address = address_.addresses[0];
  const std::string cannot = absl::StrCat("cannot listen on ", address_.host, ": ");
  struct stat found = {};
  if (lstat(PathOf(address), &found) == 0) {
    if (!S_ISSOCK(found.st_mode)) return absl::UnavailableError(absl::StrCat(cannot, "there is something else"));
    if (SomebodyListens(address)) return absl::UnavailableError(absl::StrCat(cannot, "another server listens there"));
    unlink(PathOf(address));
  }
  if (const absl::Status status = OpenOne(address); !status.ok()) {
    return absl::UnavailableError(absl::StrCat(cannot, status.message()));
  }
  if (lstat(PathOf(address), &found) != 0) return absl::UnavailableError(absl::StrCat(cannot, "the file is gone"));
  file_device_ = found.st_dev;
  file_number_ = found.st_ino;
  return absl::OkStatus();
}

absl::Status Listener::OpenOne(SocketAddress address) {
  if (!address.is_unix()) address.set_port(port_);
  const int opened = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (opened >= 0) {
    Prepare(opened, address);
    if (bind(opened, address.get(), address.size) == 0 && listen(opened, SOMAXCONN) == 0) {
      sockets_.push_back(opened);
      if (port_ == 0 && getsockname(opened, address.get(), &address.size) == 0) port_ = address.port();
      return absl::OkStatus();
    }
  }
  const int error = errno;
  if (opened >= 0) close(opened);
  if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT) return absl::NotFoundError(std::strerror(error));
  return absl::UnavailableError(std::strerror(error));
}

}  // namespace gradwatch::server
