// How much of what trainers have said, all of them together, is on its way into the stores.
#ifndef GRADWATCH_SERVER_RPC_READ_BUDGET_H_
#define GRADWATCH_SERVER_RPC_READ_BUDGET_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace gradwatch::server {

// Thread-safe.
class ReadBudget {
 public:
  static constexpr size_t kBytes = size_t{256} << 20;  // serialised

  explicit ReadBudget(size_t bytes = kBytes) : bytes_(bytes) {}

  // Whether who has something under way may read more. Who has nothing may always: nobody is kept out by others.
  bool HasRoom() const { return used_ < bytes_; }

  // A part of the budget, given back when it goes: also with a message that is never accepted.
  class Share {
   public:
    Share(std::shared_ptr<ReadBudget> budget, size_t bytes) : budget_(std::move(budget)), bytes_(bytes) {
      budget_->used_ += bytes_;
    }
    ~Share() { budget_->used_ -= bytes_; }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

   private:
    const std::shared_ptr<ReadBudget> budget_;
    const size_t bytes_;
  };

 private:
  const size_t bytes_;
  std::atomic<size_t> used_ = 0;
};

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_RPC_READ_BUDGET_H_
