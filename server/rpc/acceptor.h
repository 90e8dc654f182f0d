// Accepts connections, in place of gRPC: one failed accept, for want of a descriptor, would make gRPC's listener deaf
// for ever.
#ifndef GRADWATCH_SERVER_RPC_ACCEPTOR_H_
#define GRADWATCH_SERVER_RPC_ACCEPTOR_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/listen_address.h"

namespace gradwatch::server {

// A thread that accepts while the object lives. What cannot be accepted now, for want of descriptors or memory, waits
// in the kernel's queue and is accepted as soon as it can be.
class Acceptor {
 public:
  // Takes a connection, which does not block and closes on exec, as its own. `listener` is where it came from.
  using Take = std::function<void(int listener, int connection)>;

  // `listeners` do not block and outlive it. Of more than `most` connections those that come last are closed at once.
  // Who takes them closes them too, so that they are counted by looking at the process's descriptors, and only when one
  // has a number from which there may be too many. UNAVAILABLE: there is no descriptor for the object.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Start(std::vector<int> listeners, int most, Take take);
  // As Stop.
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // After this nothing is taken; the listeners may be closed.
  void Stop();
  // Ends the connections that are open, whatever is on its way. gRPC ends no call on a connection whose client does not
  // read before its write is through, even if the call is cancelled.
  void Cut();

  // Connections that were closed because there were too many.
  int64_t refused() const { return refused_; }
  // Times that nothing could be accepted.
  int64_t failed() const { return failed_; }

 private:
  Acceptor(std::vector<int> listeners, int most, Take take, int stop);
  // All that are open now.
  void ForEachConnection(absl::FunctionRef<void(int descriptor)> use) const;
  // Whether this connection, which is open, is not one too many.
  bool HasRoomFor(int connection);
  void Work();
  // False: nothing can be accepted for the moment.
  bool AcceptOne(int listener);
  // Logs, but not more than once a second.
  void Complain(const std::string& text);

  const std::vector<int> listeners_;
  std::vector<SocketAddress> addresses_;  // of the listeners; constant after construction
  const int most_;
  const Take take_;
  const int stop_;  // an eventfd, readable when it is over
  std::atomic<int64_t> refused_ = 0;
  std::atomic<int64_t> failed_ = 0;
  absl::Time complained_ = absl::InfinitePast();  // of the thread
  absl::Time full_until_ = absl::InfinitePast();  // of the thread
  std::thread thread_;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_ACCEPTOR_H_
