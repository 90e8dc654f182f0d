#include "server/job/pending_edits.h"

#include <google/protobuf/field_mask.pb.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "core/base/status_macros.h"
#include "core/spec/controls.h"
#include "server/base/paging.h"

namespace gradwatch::server {
namespace {

constexpr size_t kChunkEdits = 128;
constexpr int kEditsPage = 50;
constexpr int kBatchEdits = 256;
constexpr size_t kBatchBytes = size_t{1} << 20;

// A token has two parts, one for each number of a place; the second holds only together with the first.
std::string MakePlaceToken(PendingEdits::Place place, absl::string_view list) {
  return absl::StrCat(MakePageToken(place.at_step, list), ".",
                      MakePageToken(place.edit, absl::StrCat(list, "/", place.at_step)));
}

absl::StatusOr<PendingEdits::Place> ReadPlaceToken(absl::string_view token, absl::string_view list) {
  PendingEdits::Place place;
  if (token.empty()) return place;
  const std::vector<absl::string_view> parts = absl::StrSplit(token, '.');
  GW_ASSIGN_OR_RETURN(place.at_step, ReadPageToken(parts.front(), list, place.at_step));
  // A part that is missing is taken from the other, which does not fit.
  GW_ASSIGN_OR_RETURN(place.edit, ReadPageToken(parts.back(), absl::StrCat(list, "/", place.at_step), place.edit));
  return place;
}

// An edit's change of one path.
struct Write {
  const v1::Adjustment* edit;
  const std::string* path;
};

}  // namespace

// Of many changes in a row those that count in the end: ten thousand edits mostly change the same few paths.
class PendingEdits::LastWrites {
 public:
  // To be told from the last to the first.
  void Add(const Write& write) {
    if (!write.edit->withdrawn_by().empty() || IsCovered(*write.path)) return;
    paths_.insert(*write.path);
    last_first_.push_back(write);
  }
  void Add(const v1::Adjustment& edit) {
    for (int i = edit.paths_size() - 1; i >= 0; --i) Add({&edit, &edit.paths(i)});
  }
  // From the first to the last.
  std::vector<Write> Take() {
    std::reverse(last_first_.begin(), last_first_.end());
    return std::move(last_first_);
  }

 private:
  // Whether it, or a message that holds it, is set later.
  bool IsCovered(absl::string_view path) const {
    if (paths_.contains(path)) return true;
    for (size_t dot = path.find('.'); dot != path.npos; dot = path.find('.', dot + 1)) {
      if (paths_.contains(path.substr(0, dot))) return true;
    }
    return false;
  }

  absl::flat_hash_set<absl::string_view> paths_;  // of the edits
  std::vector<Write> last_first_;
};

struct PendingEdits::Chunk {
  std::vector<Place> places;  // beside `edits`, since they are searched
  std::vector<Edit> edits;
  std::vector<Write> writes;  // that count when all of them were applied
};

PendingEdits::Place PendingEdits::PlaceOf(const v1::Adjustment& edit) {
  return {.at_step = edit.has_at_step() ? edit.at_step() : -1, .edit = edit.edit()};
}

PendingEdits::List PendingEdits::None() {
  static const auto* const none = new List(std::make_shared<PendingEdits>());
  return *none;
}

bool PendingEdits::HasRoomFor(const v1::Adjustment& edit) const {
  return size_ < kMaxEdits && bytes_ + edit.ByteSizeLong() <= kMaxBytes;
}

PendingEdits::Edit PendingEdits::Find(int64_t edit) const {
  for (const auto& chunk : chunks_) {
    const auto found = std::find_if(chunk->places.begin(), chunk->places.end(),
                                    [=](const Place& place) { return place.edit == edit; });
    if (found != chunk->places.end()) return chunk->edits[found - chunk->places.begin()];
  }
  return nullptr;
}

size_t PendingEdits::ChunkOf(Place place) const {
  const auto found = std::partition_point(chunks_.begin(), chunks_.end(),
                                          [&](const auto& chunk) { return chunk->places.back() < place; });
  return found - chunks_.begin();
}

void PendingEdits::CountNames(const v1::Adjustment& edit, int by) {
  if (edit.values().rules().rules().empty()) return;
  auto counts = std::make_shared<NameCounts>(*rule_names_);
  for (const v1::Rule& rule : edit.values().rules().rules()) {
    const auto count = counts->try_emplace(rule.name(), 0).first;
    if ((count->second += by) == 0) counts->erase(count);
  }
  rule_names_ = std::move(counts);
}

PendingEdits::List PendingEdits::With(v1::Adjustment edit) const {
  const Place place = PlaceOf(edit);
  auto list = std::make_shared<PendingEdits>(*this);
  size_t index = ChunkOf(place);
  if (index > 0 && index == chunks_.size()) --index;  // behind all: into the last chunk
  std::vector<Edit> edits;
  if (index < chunks_.size()) edits = chunks_[index]->edits;
  const auto next =
      std::partition_point(edits.begin(), edits.end(), [&](const Edit& known) { return PlaceOf(*known) < place; });
  list->bytes_ += edit.ByteSizeLong();
  list->CountNames(edit, 1);
  auto shared = std::make_shared<const v1::Adjustment>(std::move(edit));
  if (next != edits.end() && PlaceOf(**next) == place) {
    list->bytes_ -= (*next)->ByteSizeLong();
    list->CountNames(**next, -1);
    *next = std::move(shared);
  } else {
    ++list->size_;
    edits.insert(next, std::move(shared));
  }
  list->Replace(index, std::move(edits));
  return list;
}

PendingEdits::List PendingEdits::Without(int64_t edit) const {
  auto list = std::make_shared<PendingEdits>(*this);
  const Edit known = Find(edit);
  if (known == nullptr) return list;
  const size_t index = ChunkOf(PlaceOf(*known));
  std::vector<Edit> edits = chunks_[index]->edits;
  std::erase(edits, known);
  --list->size_;
  list->bytes_ -= known->ByteSizeLong();
  list->CountNames(*known, -1);
  // Two that have become small are one again, so that there are never many.
  if (index + 1 < chunks_.size() && edits.size() + chunks_[index + 1]->edits.size() <= kChunkEdits / 2) {
    const auto& next = chunks_[index + 1]->edits;
    edits.insert(edits.end(), next.begin(), next.end());
    list->chunks_.erase(list->chunks_.begin() + static_cast<ptrdiff_t>(index) + 1);
  }
  list->Replace(index, std::move(edits));
  return list;
}

void PendingEdits::Replace(size_t index, std::vector<Edit> edits) {
  const auto make = [](std::vector<Edit> some) {
    Chunk chunk{.places = {}, .edits = std::move(some), .writes = {}};
    LastWrites last;
    for (auto it = chunk.edits.rbegin(); it != chunk.edits.rend(); ++it) last.Add(**it);
    chunk.writes = last.Take();
    for (const Edit& edit : chunk.edits) chunk.places.push_back(PlaceOf(*edit));
    return std::make_shared<const Chunk>(std::move(chunk));
  };
  const auto at = chunks_.begin() + static_cast<ptrdiff_t>(index);
  const auto next = at == chunks_.end() ? at : chunks_.erase(at);
  if (edits.empty()) return;
  if (edits.size() <= kChunkEdits) {
    chunks_.insert(next, make(std::move(edits)));
    return;
  }
  const auto middle = edits.begin() + static_cast<ptrdiff_t>(edits.size() / 2);
  auto second = make(std::vector<Edit>(middle, edits.end()));
  edits.erase(middle, edits.end());
  chunks_.insert(chunks_.insert(next, std::move(second)), make(std::move(edits)));
}

std::vector<PendingEdits::Edit> PendingEdits::After(Place place, size_t limit) const {
  std::vector<Edit> edits;
  for (size_t index = ChunkOf(place); index < chunks_.size() && edits.size() < limit; ++index) {
    const Chunk& chunk = *chunks_[index];
    const auto first = std::upper_bound(chunk.places.begin(), chunk.places.end(), place) - chunk.places.begin();
    for (size_t i = first; i < chunk.edits.size() && edits.size() < limit; ++i) edits.push_back(chunk.edits[i]);
  }
  return edits;
}

std::vector<PendingEdits::Edit> PendingEdits::ByAge() const {
  std::vector<Edit> edits = After({});
  std::sort(edits.begin(), edits.end(), [](const Edit& a, const Edit& b) { return a->edit() < b->edit(); });
  return edits;
}

PendingEdits::Edit PendingEdits::PassedOver(const v1::Adjustment& edit, int64_t step) const {
  const Place turn = {.at_step = edit.has_at_step() ? edit.at_step() : step, .edit = edit.edit()};
  for (const auto& chunk : chunks_) {
    for (size_t i = 0; i < chunk->places.size(); ++i) {
      const Place place = chunk->places[i];
      if (place.at_step > step) return nullptr;
      const bool knew = place.edit < edit.edit() && chunk->edits[i]->withdrawn_by().empty();
      const Place its_turn = {.at_step = place.at_step < 0 ? step : place.at_step, .edit = place.edit};
      if (knew && its_turn < turn) return chunk->edits[i];
    }
  }
  return nullptr;
}

bool PendingEdits::IsInTurn(int64_t next_step) const {
  if (chunks_.empty() || chunks_.front()->places.front().at_step >= 0) return true;
  const std::vector<Edit> scheduled = After({.at_step = -1, .edit = std::numeric_limits<int64_t>::max()}, 1);
  return scheduled.empty() || scheduled[0]->at_step() > next_step;
}

std::vector<PendingEdits::Edit> PendingEdits::DueInTurn(int64_t step, int64_t next_step) const {
  std::vector<Edit> due = After({});
  const auto later =
      std::partition_point(due.begin(), due.end(), [step](const Edit& edit) { return PlaceOf(*edit).at_step <= step; });
  due.erase(later, due.end());
  const auto turn = [next_step](const Edit& edit) {
    return Place{.at_step = edit->has_at_step() ? edit->at_step() : next_step, .edit = edit->edit()};
  };
  std::sort(due.begin(), due.end(), [&turn](const Edit& a, const Edit& b) { return turn(a) < turn(b); });
  return due;
}

void PendingEdits::AddDue(int64_t step, LastWrites* last) const {
  for (auto it = chunks_.rbegin(); it != chunks_.rend(); ++it) {
    const Chunk& chunk = **it;
    if (chunk.places.back().at_step <= step) {
      for (auto write = chunk.writes.rbegin(); write != chunk.writes.rend(); ++write) last->Add(*write);
      continue;
    }
    for (size_t i = chunk.edits.size(); i-- > 0;) {
      if (chunk.places[i].at_step <= step) last->Add(*chunk.edits[i]);
    }
  }
}

v1::Controls PendingEdits::ControlsUpTo(int64_t step, int64_t next_step, const v1::Controls& in_force) const {
  LastWrites last;
  if (IsInTurn(next_step)) {
    AddDue(step, &last);
  } else {  // rare
    const std::vector<Edit> due = DueInTurn(step, next_step);
    for (auto edit = due.rbegin(); edit != due.rend(); ++edit) last.Add(**edit);
  }
  v1::Controls controls = in_force;
  for (const Write& write : last.Take()) core::CopyControlPath(*write.path, write.edit->values(), &controls);
  // Checked as after a change, here one of nothing. If it fails, some edit will not fit when its turn comes, and what
  // it would have changed stays as it was.
  google::protobuf::FieldMask nothing;
  nothing.add_paths("report_every");
  auto checked = core::ApplyControlChanges(controls, controls, nothing);
  return checked.ok() ? *std::move(checked) : Replay(step, next_step, in_force);
}

v1::Controls PendingEdits::Replay(int64_t step, int64_t next_step, const v1::Controls& in_force) const {
  v1::Controls controls = in_force;
  for (const Edit& edit : DueInTurn(step, next_step)) {
    if (!edit->withdrawn_by().empty()) continue;
    google::protobuf::FieldMask mask;
    *mask.mutable_paths() = edit->paths();
    auto changed = core::ApplyControlChanges(controls, edit->values(), mask);
    if (changed.ok()) controls = *std::move(changed);
  }
  return controls;
}

bool ChangesRules(const v1::Adjustment& edit) {
  return std::find(edit.paths().begin(), edit.paths().end(), "rules") != edit.paths().end();
}

v1::ControlEdit ToControlEdit(const v1::Adjustment& edit) {
  v1::ControlEdit told;
  told.set_edit(edit.edit());
  *told.mutable_values() = edit.values();
  *told.mutable_paths() = edit.paths();
  if (edit.has_at_step()) told.set_at_step(edit.at_step());
  return told;
}

std::vector<v1::EditBatch> MakeEditBatches(const PendingEdits& edits) {
  std::vector<v1::EditBatch> batches;
  size_t bytes = 0;
  for (const PendingEdits::Edit& edit : edits.ByAge()) {
    v1::ControlEdit told = ToControlEdit(*edit);
    const size_t size = told.ByteSizeLong() + 2 * sizeof(int64_t);  // with its frame, and its withdrawal
    if (batches.empty() || batches.back().edits_size() == kBatchEdits || bytes + size > kBatchBytes) {
      batches.emplace_back();
      bytes = 0;
    }
    bytes += size;
    *batches.back().add_edits() = std::move(told);
    if (!edit->withdrawn_by().empty()) batches.back().add_withdrawn(edit->edit());
  }
  return batches;
}

absl::StatusOr<v1::ListEditsResponse> ListEdits(const PendingEdits& edits, absl::string_view uid,
                                                const v1::ListEditsRequest& request) {
  const std::string list = absl::StrCat("edits/", uid);
  GW_ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size(), kEditsPage));
  GW_ASSIGN_OR_RETURN(const PendingEdits::Place after, ReadPlaceToken(request.page_token(), list));
  v1::ListEditsResponse response;
  PageRoom room(page_size);
  for (const PendingEdits::Edit& edit : edits.After(after, static_cast<size_t>(page_size) + 1)) {
    if (!room.Take(*edit)) {
      const v1::Adjustment& last = *response.edits().rbegin();
      response.set_next_page_token(MakePlaceToken(PendingEdits::PlaceOf(last), list));
      break;
    }
    *response.add_edits() = *edit;
  }
  return response;
}

}  // namespace gradwatch::server
