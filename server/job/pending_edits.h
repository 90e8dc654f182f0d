// The edits of a job's controls that wait for their step.
#ifndef GRADWATCH_SERVER_JOB_PENDING_EDITS_H_
#define GRADWATCH_SERVER_JOB_PENDING_EDITS_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradwatch/v1/controls.pb.h"
#include "gradwatch/v1/job_service.pb.h"
#include "gradwatch/v1/trainer_service.pb.h"

namespace gradwatch::server {

// Edits by their steps: first those without at_step, then those with, each by id. That is not yet the order in which
// they are applied: one without at_step takes its turn as if it had its trainer's next step for at_step. Never changed
// once it is made: a record of a job shares it with all others that have the same edits, and each change makes a new
// list, which shares all but a few edits with the old one. Thread-safe.
class PendingEdits {
 public:
  using Edit = std::shared_ptr<const v1::Adjustment>;
  using List = std::shared_ptr<const PendingEdits>;
  // How many edits have a rule of the name; none that no edit has.
  using NameCounts = absl::flat_hash_map<std::string, int>;

  static constexpr size_t kMaxEdits = 10'000;
  static constexpr size_t kMaxBytes = size_t{16} << 20;  // serialised

  // Where an edit stands in the list.
  struct Place {
    int64_t at_step = -1;  // -1: none
    int64_t edit = 0;
    auto operator<=>(const Place&) const = default;
  };
  static Place PlaceOf(const v1::Adjustment& edit);

  // Nothing waits.
  static List None();

  size_t size() const { return size_; }
  size_t bytes() const { return bytes_; }
  // Of all edits, withdrawn ones too. Counted as they come and go: each edit of rules asks, and there may be many.
  const NameCounts& rule_names() const { return *rule_names_; }
  // Whether `edit` may wait too.
  bool HasRoomFor(const v1::Adjustment& edit) const;

  // Null: it does not wait.
  Edit Find(int64_t edit) const;
  // The list with `edit` at its place; one of the same id, which has the same at_step, is replaced.
  List With(v1::Adjustment edit) const;
  // The list without the edit of this id.
  List Without(int64_t edit) const;
  // At most `limit` of those behind `place`, in the list's order.
  std::vector<Edit> After(Place place, size_t limit = kMaxEdits) const;
  // All of them, in the order in which they were accepted.
  std::vector<Edit> ByAge() const;
  // One whose turn was before that of `edit`, which was applied for `step`, and that its trainer knew: edits reach it
  // in the order in which they were accepted. Not one that is withdrawn. Null: there is none.
  Edit PassedOver(const v1::Adjustment& edit, int64_t step) const;

  // The controls when a trainer whose next step is `next_step` has applied all that is due up to `step`, which is not
  // before, to `in_force` (resolved), but for what is withdrawn and for what does not fit when its turn comes: a
  // forecast, for checking what comes then. Overrides of single tensors may be in another order.
  v1::Controls ControlsUpTo(int64_t step, int64_t next_step, const v1::Controls& in_force) const;

 private:
  // Up to some hundred edits in a row: what a change copies.
  struct Chunk;
  class LastWrites;

  // The first chunk that ends at `place` or behind; their number if there is none.
  size_t ChunkOf(Place place) const;
  // Counts the rules of an edit that comes (`by` 1) or goes (-1).
  void CountNames(const v1::Adjustment& edit, int by);
  // Puts edits into the place of chunk `index`: one chunk, two if they are many, none if there are none.
  void Replace(size_t index, std::vector<Edit> edits);
  // Whether the list has them in the order of their turns too: none without at_step waits, or none for a step that is
  // the next or before it.
  bool IsInTurn(int64_t next_step) const;
  // Tells what is due up to `step`, from the last to the first of the list: quick, since chunks know what counts.
  void AddDue(int64_t step, LastWrites* last) const;
  // What is due up to `step`, in the order of turns.
  std::vector<Edit> DueInTurn(int64_t step, int64_t next_step) const;
  // What ControlsUpTo says, edit by edit, each of them checked.
  v1::Controls Replay(int64_t step, int64_t next_step, const v1::Controls& in_force) const;

  std::vector<std::shared_ptr<const Chunk>> chunks_;  // none is empty
  std::shared_ptr<const NameCounts> rule_names_ = std::make_shared<NameCounts>();
  size_t size_ = 0;
  size_t bytes_ = 0;
};

// Whether an edit is one of the rules.
bool ChangesRules(const v1::Adjustment& edit);

// The values of an edit, and of what is to change.
v1::ControlEdit ToControlEdit(const v1::Adjustment& edit);
// All that waits, for a trainer that attaches, in the order in which it was accepted: at most 256 edits and, unless one
// edit alone is more, 1 MiB in a batch. What is withdrawn is told with its edit: the trainer may know neither.
std::vector<v1::EditBatch> MakeEditBatches(const PendingEdits& edits);

// A page of the list of the job `uid`. Errors as JobService.ListEdits says. Edits that come, or go, between two pages
// may or may not be told; all others are, once.
absl::StatusOr<v1::ListEditsResponse> ListEdits(const PendingEdits& edits, absl::string_view uid,
                                                const v1::ListEditsRequest& request);

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_JOB_PENDING_EDITS_H_
