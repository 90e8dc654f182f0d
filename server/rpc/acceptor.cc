#include "server/rpc/acceptor.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/thread_name.h"

namespace gradwatch::server {
namespace {

constexpr int kPauseMilliseconds = 100;
constexpr absl::Duration kComplainEvery = absl::Seconds(1);
// How long nobody is counted again after there were too many.
constexpr absl::Duration kFullFor = absl::Milliseconds(100);

// Of no family if the descriptor is no socket.
SocketAddress LocalAddress(int descriptor) {
  SocketAddress address;
  address.size = sizeof address.storage;
  if (getsockname(descriptor, address.get(), &address.size) != 0) return SocketAddress();
  return address;
}

// A listener at every address has connections at each of them.
bool SamePlace(const SocketAddress& listener, const SocketAddress& connection) {
  if (connection.is_unix() || listener.is_unix()) {
    return connection.size == listener.size && std::memcmp(connection.get(), listener.get(), listener.size) == 0;
  }
  return listener.port() != 0 && listener.port() == connection.port();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Start(std::vector<int> listeners, int most, Take take) {
  const int stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (stop < 0) return absl::UnavailableError(absl::StrCat("eventfd: ", std::strerror(errno)));
  return std::unique_ptr<Acceptor>(new Acceptor(std::move(listeners), most, std::move(take), stop));
}

Acceptor::Acceptor(std::vector<int> listeners, int most, Take take, int stop)
    : listeners_(std::move(listeners)), most_(most), take_(std::move(take)), stop_(stop) {
  for (const int listener : listeners_) addresses_.push_back(LocalAddress(listener));
  thread_ = std::thread([this] {
    core::NameThisThread("accept");
    Work();
  });
}

Acceptor::~Acceptor() {
  Stop();
  close(stop_);
}

void Acceptor::Stop() {
  eventfd_write(stop_, 1);
  if (thread_.joinable()) thread_.join();
}

void Acceptor::Cut() {
  ForEachConnection([](int descriptor) { shutdown(descriptor, SHUT_RDWR); });
}

void Acceptor::ForEachConnection(absl::FunctionRef<void(int descriptor)> use) const {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  const int end = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, INT_MAX));
  for (int descriptor = 0; descriptor < end; ++descriptor) {
    const SocketAddress address = LocalAddress(descriptor);
    const auto same = [&address](const SocketAddress& one) { return SamePlace(one, address); };
    const bool is_listener = std::find(listeners_.begin(), listeners_.end(), descriptor) != listeners_.end();
    if (!is_listener && std::any_of(addresses_.begin(), addresses_.end(), same)) use(descriptor);
  }
}

bool Acceptor::HasRoomFor(int connection) {
  if (connection < most_) return true;  // there are not more descriptors than that in all
  const absl::Time now = absl::Now();
  if (now < full_until_ && now >= full_until_ - kFullFor) return false;
  int count = 0;
  ForEachConnection([&count](int) { ++count; });
  if (count <= most_) return true;
  full_until_ = now + kFullFor;
  return false;
}

void Acceptor::Work() {
  std::vector<pollfd> polled = {{stop_, POLLIN, 0}};
  for (const int listener : listeners_) polled.push_back({listener, POLLIN, 0});
  bool pausing = false;
  for (;;) {
    for (pollfd& entry : polled) entry.revents = 0;
    // In a pause the listeners are not looked at: they would be ready all the time.
    poll(polled.data(), pausing ? 1 : polled.size(), pausing ? kPauseMilliseconds : -1);
    if (polled[0].revents != 0) return;
    pausing = false;
    for (size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents != 0 && !AcceptOne(polled[i].fd)) pausing = true;
    }
  }
}

bool Acceptor::AcceptOne(int listener) {
  const int connection = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (connection < 0) {
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return true;
    Complain(absl::StrCat("cannot accept connections for now: ", std::strerror(errno)));
    ++failed_;
    return false;
  }
  if (HasRoomFor(connection)) {
    take_(listener, connection);
    return true;
  }
  Complain(absl::StrCat("too many connections: ", ++refused_, " closed so far"));
  close(connection);
  return true;
}

void Acceptor::Complain(const std::string& text) {
  const absl::Time now = absl::Now();
  if (now < complained_ + kComplainEvery && now >= complained_) return;
  complained_ = now;
  spdlog::warn("{}", text);
}

}  // namespace gradwatch::server
