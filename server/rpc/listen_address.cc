#include "server/rpc/listen_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/status_macros.h"

namespace gradwatch::server {
namespace {

const sockaddr_in& V4(const SocketAddress& address) { return reinterpret_cast<const sockaddr_in&>(address.storage); }
const sockaddr_in6& V6(const SocketAddress& address) { return reinterpret_cast<const sockaddr_in6&>(address.storage); }
bool IsV4(const SocketAddress& address) { return address.storage.ss_family == AF_INET; }
bool IsV6(const SocketAddress& address) { return address.storage.ss_family == AF_INET6; }

// gRPC's clients read "unix:PATH" as a URI.
bool CanBeDialled(char c) { return absl::ascii_isalnum(c) || absl::StrContains("-._~!$&'()*+,;=:@/", c); }

absl::StatusOr<ListenAddress> SocketFile(absl::string_view path) {
  if (absl::StartsWith(path, "///")) path.remove_prefix(2);
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  std::error_code error;
  const auto absolute = std::filesystem::absolute(std::string(path), error).lexically_normal().string();
  if (path.empty() || error || absolute.size() >= sizeof name.sun_path ||
      !std::all_of(absolute.begin(), absolute.end(), CanBeDialled)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"unix:", path, "\" is not unix:PATH whose absolute path has at most ", sizeof name.sun_path - 1,
                     " letters, digits and characters of - . _ ~ ! $ & ' ( ) * + , ; = : @ /"));
  }
  std::memcpy(name.sun_path, absolute.data(), absolute.size());
  ListenAddress address;
  address.host = absl::StrCat("unix:", absolute);
  SocketAddress& only = address.addresses.emplace_back();
  std::memcpy(&only.storage, &name, sizeof name);
  only.size = sizeof name;
  return address;
}

// Takes the brackets off an IPv6 address, which needs them: its colons are no port's.
bool SplitHost(absl::string_view host, std::string* name) {
  const bool bracketed = absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]");
  *name = std::string(host);
  return !host.empty() && bracketed == absl::StrContains(host, ':') && host.find_first_of("[]") == host.npos;
}

absl::Status Resolve(const std::string& name, int port, ListenAddress* address) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* list = nullptr;
  if (const int error = getaddrinfo(name.c_str(), nullptr, &hints, &list); error != 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", name, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    SocketAddress found;
    std::memcpy(&found.storage, entry->ai_addr, entry->ai_addrlen);
    found.size = entry->ai_addrlen;
    found.set_port(port);
    const auto same = [&found](const SocketAddress& other) {
      return other.size == found.size && std::memcmp(&other.storage, &found.storage, found.size) == 0;
    };
    if (std::none_of(address->addresses.begin(), address->addresses.end(), same)) address->addresses.push_back(found);
  }
  return absl::OkStatus();
}

}  // namespace

int SocketAddress::port() const {
  if (IsV4(*this)) return ntohs(V4(*this).sin_port);
  if (IsV6(*this)) return ntohs(V6(*this).sin6_port);
  return 0;
}

void SocketAddress::set_port(int port) {
  if (IsV4(*this)) reinterpret_cast<sockaddr_in&>(storage).sin_port = htons(static_cast<uint16_t>(port));
  if (IsV6(*this)) reinterpret_cast<sockaddr_in6&>(storage).sin6_port = htons(static_cast<uint16_t>(port));
}

bool SocketAddress::is_any() const {
  if (IsV4(*this)) return V4(*this).sin_addr.s_addr == htonl(INADDR_ANY);
  return IsV6(*this) && IN6_IS_ADDR_UNSPECIFIED(&V6(*this).sin6_addr);
}

bool SocketAddress::is_local() const {
  if (IsV4(*this)) return ntohl(V4(*this).sin_addr.s_addr) >> 24 == 127;
  if (!IsV6(*this)) return is_unix();
  const in6_addr& bytes = V6(*this).sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&bytes) || (IN6_IS_ADDR_V4MAPPED(&bytes) && bytes.s6_addr[12] == 127);
}

bool ListenAddress::is_local() const {
  return std::all_of(addresses.begin(), addresses.end(), [](const SocketAddress& one) { return one.is_local(); });
}

std::string ListenAddress::WithPort(int port) const { return is_unix() ? host : absl::StrCat(host, ":", port); }

std::string ListenAddress::DialAddress(int port) const {
  if (!addresses[0].is_any()) return WithPort(port);
  return absl::StrCat(IsV6(addresses[0]) ? "[::1]:" : "127.0.0.1:", port);
}

absl::StatusOr<ListenAddress> ReadListenAddress(const std::string& text) {
  absl::string_view path = text;
  if (absl::ConsumePrefix(&path, "unix:")) return SocketFile(path);
  const size_t colon = text.rfind(':');
  ListenAddress address;
  std::string name;
  int port = -1;
  if (colon != text.npos) address.host = text.substr(0, colon);
  if (!SplitHost(address.host, &name) || !absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not ADDRESS:PORT with a port from 0 to 65535, nor unix:PATH"));
  }
  GW_RETURN_IF_ERROR(Resolve(name, port, &address));
  return address;
}

}  // namespace gradwatch::server
