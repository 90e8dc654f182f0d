#include "server/job/pending_edits.h"

#include <gmock/gmock.h>
#include <google/protobuf/field_mask.pb.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/error.h"
#include "core/spec/controls.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::server {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

v1::Adjustment Edit(int64_t id, int64_t at_step, const std::vector<std::string>& paths = {},
                    const v1::Controls& values = {}) {
  v1::Adjustment edit;
  edit.set_edit(id);
  if (at_step >= 0) edit.set_at_step(at_step);
  edit.mutable_paths()->Assign(paths.begin(), paths.end());
  *edit.mutable_values() = values;
  return edit;
}

v1::Adjustment Scale(int64_t id, int64_t at_step, double scale) {
  v1::Controls values;
  values.set_learning_rate_scale(scale);
  return Edit(id, at_step, {"learning_rate_scale"}, values);
}

v1::Adjustment Clip(int64_t id, int64_t at_step, v1::ClipMode mode, double threshold,
                    const std::vector<std::string>& paths = {"clip"}) {
  v1::Controls values;
  values.mutable_clip()->set_mode(mode);
  values.mutable_clip()->set_threshold(threshold);
  return Edit(id, at_step, paths, values);
}

v1::Adjustment Rules(int64_t id, int64_t at_step, const std::vector<std::string>& names) {
  v1::Controls values;
  for (const std::string& name : names) values.mutable_rules()->add_rules()->set_name(name);
  return Edit(id, at_step, {"rules"}, values);
}

v1::Adjustment Withdrawn(v1::Adjustment edit) {
  edit.set_withdrawn_by("somebody");
  return edit;
}

PendingEdits::List ListOf(const std::vector<v1::Adjustment>& edits) {
  PendingEdits::List list = PendingEdits::None();
  for (const v1::Adjustment& edit : edits) list = list->With(edit);
  return list;
}

// "3" or "3@100" for each edit.
std::string Text(const std::vector<PendingEdits::Edit>& edits) {
  return absl::StrJoin(edits, " ", [](std::string* out, const PendingEdits::Edit& edit) {
    absl::StrAppend(out, edit->edit());
    if (edit->has_at_step()) absl::StrAppend(out, "@", edit->at_step());
  });
}

// As many as an edit of the rules would find if it looked at all that wait.
TEST(PendingEditsTest, NamesOfRulesAreCountedAsEditsComeAndGo) {
  using ::testing::Pair;
  using ::testing::UnorderedElementsAre;
  PendingEdits::List list = PendingEdits::None();
  EXPECT_THAT(list->rule_names(), IsEmpty());
  list = list->With(Rules(1, 100, {"a", "b"}));
  list = list->With(Scale(2, -1, 0.5));
  const PendingEdits::List before = list;
  list = list->With(Rules(3, -1, {"b", "c"}));
  const auto all = UnorderedElementsAre(Pair("a", 1), Pair("b", 2), Pair("c", 1));
  EXPECT_THAT(list->rule_names(), all);
  list = list->With(Withdrawn(Rules(3, -1, {"b", "c"})));
  EXPECT_THAT(list->rule_names(), all) << "it waits still, and once";
  EXPECT_THAT(list->Without(1)->rule_names(), UnorderedElementsAre(Pair("b", 1), Pair("c", 1)));
  EXPECT_THAT(list->Without(1)->Without(7)->Without(3)->rule_names(), IsEmpty());
  EXPECT_THAT(before->rule_names(), UnorderedElementsAre(Pair("a", 1), Pair("b", 1))) << "a list never changes";
}

TEST(PendingEditsTest, AreInTheOrderOfStepAndIdWhateverTheOrderOfAcceptance) {
  const auto list = ListOf({Edit(1, 300), Edit(2, -1), Edit(3, 100), Edit(4, 300), Edit(5, -1), Edit(7, 0)});
  EXPECT_EQ(Text(list->After({})), "2 5 7@0 3@100 1@300 4@300");
  EXPECT_EQ(Text(list->ByAge()), "1@300 2 3@100 4@300 5 7@0");
  EXPECT_EQ(Text(list->After({.at_step = -1, .edit = 2}, 2)), "5 7@0");
  EXPECT_EQ(Text(list->After({.at_step = 100, .edit = 9})), "1@300 4@300");
  EXPECT_THAT(list->After({.at_step = 300, .edit = 4}), IsEmpty());
  EXPECT_EQ(list->Find(4)->at_step(), 300);
  EXPECT_EQ(list->Find(6), nullptr);
}

TEST(PendingEditsTest, AListNeverChanges) {
  const auto first = ListOf({Edit(1, -1), Edit(2, 5)});
  const auto second = first->With(Edit(3, 2));
  const auto third = second->Without(1);
  const auto fourth = third->With(Withdrawn(Edit(2, 5)));
  EXPECT_EQ(Text(first->After({})), "1 2@5");
  EXPECT_EQ(Text(second->After({})), "1 3@2 2@5");
  EXPECT_EQ(Text(third->After({})), "3@2 2@5");
  EXPECT_EQ(Text(fourth->After({})), "3@2 2@5");
  EXPECT_EQ(third->Find(2)->withdrawn_by(), "");
  EXPECT_EQ(fourth->Find(2)->withdrawn_by(), "somebody");
  EXPECT_EQ(Text(fourth->Without(77)->After({})), "3@2 2@5") << "nothing of that id waits";
  EXPECT_THAT(PendingEdits::None()->After({}), IsEmpty());
}

// Against a map, with enough edits for many chunks, that grow, shrink and go.
TEST(PendingEditsTest, AgreesWithAMapOverManyChanges) {
  using Key = std::tuple<int64_t, int64_t>;
  std::mt19937 random(1);
  std::map<Key, v1::Adjustment> model;
  PendingEdits::List list = PendingEdits::None();
  const auto check = [&] {
    size_t bytes = 0;
    std::vector<PendingEdits::Edit> expected;
    for (const auto& [key, edit] : model) {
      bytes += edit.ByteSizeLong();
      expected.push_back(std::make_shared<const v1::Adjustment>(edit));
    }
    ASSERT_EQ(Text(list->After({})), Text(expected));
    ASSERT_EQ(list->size(), model.size());
    ASSERT_EQ(list->bytes(), bytes);
  };
  int64_t last = 0;
  for (int i = 0; i < 12'000; ++i) {
    const bool grows = i / 2000 % 2 == 0;  // by turns
    if (model.empty() || random() % 8 < (grows ? 7 : 1)) {
      const v1::Adjustment edit = Scale(++last, static_cast<int64_t>(random() % 600) - 100, 0.5);
      model[{edit.has_at_step() ? edit.at_step() : -1, edit.edit()}] = edit;
      list = list->With(edit);
    } else {
      auto any = model.lower_bound({static_cast<int64_t>(random() % 500) - 1, 0});
      if (any == model.end()) any = model.begin();
      if (random() % 4 == 0) {
        any->second.set_withdrawn_by("w");
        list = list->With(any->second);
      } else {
        list = list->Without(any->second.edit());
        model.erase(any);
      }
    }
    if (i % 500 == 0) check();
  }
  for (const auto& [key, edit] : model) ASSERT_NE(list->Find(edit.edit()), nullptr);
  while (!model.empty()) {
    list = list->Without(std::get<1>(model.begin()->first));
    model.erase(model.begin());
  }
  check();
}

TEST(PendingEditsTest, HasRoomForSoManyAndSoMuch) {
  PendingEdits::List list = PendingEdits::None();
  for (int i = 1; i <= 9999; ++i) list = list->With(Edit(i, i % 7));
  EXPECT_TRUE(list->HasRoomFor(Edit(10'000, 1)));
  list = list->With(Edit(10'000, 1));
  EXPECT_FALSE(list->HasRoomFor(Edit(10'001, 1)));
  EXPECT_TRUE(list->Without(5)->HasRoomFor(Edit(10'001, 1)));

  v1::Adjustment large = Edit(1, -1);
  large.set_actor(std::string(size_t{1} << 20, 'x'));
  list = PendingEdits::None();
  while (list->HasRoomFor(large)) {
    list = list->With(large);
    large.set_edit(large.edit() + 1);
  }
  EXPECT_EQ(list->size(), 15u) << "each has a little more than a megabyte";
  EXPECT_TRUE(list->HasRoomFor(Edit(100, -1)));
}

// --- What will hold ---

v1::Controls Defaults() { return core::ResolveControls({}); }

TEST(PendingEditsTest, WhatIsDueByThenWillHold) {
  const auto list = ListOf({Scale(1, 300, 4), Scale(2, -1, 2), Scale(3, 100, 3), Scale(5, 300, 5)});
  const auto scale = [&](int64_t step) { return list->ControlsUpTo(step, 0, Defaults()).learning_rate_scale(); };
  EXPECT_EQ(PendingEdits::None()->ControlsUpTo(7, 0, Defaults()).learning_rate_scale(), 1);
  EXPECT_EQ(scale(0), 2);
  EXPECT_EQ(scale(99), 2);
  EXPECT_EQ(scale(100), 3);
  EXPECT_EQ(scale(299), 3);
  EXPECT_EQ(scale(300), 5);
}

TEST(PendingEditsTest, WhatIsWithdrawnIsTakenForGone) {
  const auto list = ListOf({Scale(1, -1, 2), Withdrawn(Scale(2, -1, 3))});
  EXPECT_EQ(list->ControlsUpTo(0, 0, Defaults()).learning_rate_scale(), 2);
}

TEST(PendingEditsTest, AMessageReplacesItsFieldsAndAFieldStaysInItsMessage) {
  auto list =
      ListOf({Clip(1, -1, v1::CLIP_MODE_VALUE, 3, {"clip.mode", "clip.threshold"}),
              Clip(2, -1, v1::CLIP_MODE_GLOBAL_NORM, 2), Clip(3, -1, v1::CLIP_MODE_TENSOR_NORM, 9, {"clip.mode"})});
  v1::Controls controls = list->ControlsUpTo(0, 0, Defaults());
  EXPECT_EQ(controls.clip().mode(), v1::CLIP_MODE_TENSOR_NORM);
  EXPECT_EQ(controls.clip().threshold(), 2);
  list = list->With(Clip(4, -1, v1::CLIP_MODE_NONE, 0));
  controls = list->ControlsUpTo(0, 0, Defaults());
  EXPECT_EQ(controls.clip().mode(), v1::CLIP_MODE_NONE);
  EXPECT_EQ(controls.clip().threshold(), 0);
}

TEST(PendingEditsTest, WhatWillNotFitIsLeftOut) {
  // The mode of the third needs a threshold, which the second takes away after it was accepted.
  const auto list = ListOf({Clip(1, -1, v1::CLIP_MODE_GLOBAL_NORM, 1), Clip(2, -1, v1::CLIP_MODE_NONE, 0),
                            Clip(3, 100, v1::CLIP_MODE_VALUE, 0, {"clip.mode"}), Scale(4, 100, 3)});
  const v1::Controls controls = list->ControlsUpTo(100, 0, Defaults());
  EXPECT_EQ(controls.clip().mode(), v1::CLIP_MODE_NONE);
  EXPECT_EQ(controls.learning_rate_scale(), 3);
}

// Any change of these is valid in any order.
v1::Adjustment AnyEdit(int64_t id, std::mt19937& random) {
  v1::Controls values;
  const double number = 1 + static_cast<double>(random() % 100);
  const auto at_step = static_cast<int64_t>(random() % 60) - 10;
  switch (random() % 6) {
    case 0:
      values.set_report_every(static_cast<int32_t>(number));
      return Edit(id, at_step, {"report_every"}, values);
    case 1:
      return Clip(id, at_step, random() % 2 == 0 ? v1::CLIP_MODE_VALUE : v1::CLIP_MODE_GLOBAL_NORM, number);
    case 2:
      return Clip(id, at_step, v1::CLIP_MODE_TENSOR_NORM, number, {"clip.threshold", "clip.mode"});
    case 3:
      values.mutable_clip()->set_max_consecutive_skips(static_cast<int32_t>(number));
      return Edit(id, at_step, {"clip.max_consecutive_skips", "report_every"}, values);  // one goes to its default
    case 4:
      values.mutable_clip()->mutable_zclip()->set_alpha(1 / (number + 1));
      return Edit(id, at_step, {random() % 2 == 0 ? "clip.zclip.alpha" : "clip.zclip"}, values);
    default:
      return Scale(id, at_step, number);
  }
}

// The edits in the order in which a trainer applies them whose next step is `next_step`, each with the step of its
// turn.
std::map<std::pair<int64_t, int64_t>, PendingEdits::Edit> Turns(const PendingEdits& list, int64_t next_step) {
  std::map<std::pair<int64_t, int64_t>, PendingEdits::Edit> turns;
  for (const auto& edit : list.After({})) {
    turns[{edit->has_at_step() ? edit->at_step() : next_step, edit->edit()}] = edit;
  }
  return turns;
}

TEST(PendingEditsTest, TheForecastIsWhatApplyingOneByOneGives) {
  std::mt19937 random(2);
  PendingEdits::List list = PendingEdits::None();
  for (int id = 1; id <= 600; ++id) {
    list = list->With(AnyEdit(id, random));
    if (id % 20 != 0) continue;
    // Before all that is for a step, among it, and behind it.
    const int64_t next_step = id % 60 == 0 ? 0 : id % 60 == 20 ? 25 : 60;
    v1::Controls controls = Defaults();
    int64_t step = -1;
    const auto expect_same = [&] {
      if (step < next_step) return;
      ASSERT_EQ(list->ControlsUpTo(step, next_step, Defaults()).SerializeAsString(), controls.SerializeAsString())
          << step << " after " << next_step;
    };
    for (const auto& [turn, edit] : Turns(*list, next_step)) {
      if (turn.first != step) expect_same();
      step = turn.first;
      google::protobuf::FieldMask mask;
      *mask.mutable_paths() = edit->paths();
      const auto changed = core::ApplyControlChanges(controls, edit->values(), mask);
      ASSERT_THAT(changed, IsOk());
      controls = *changed;
    }
    expect_same();
  }
}

// Those without at_step stand before them in the list.
TEST(PendingEditsTest, WhatIsForTheNextStepTakesItsTurnByItsId) {
  const auto list = ListOf({Scale(1, 7, 2), Scale(2, -1, 3), Scale(3, 7, 4), Scale(4, -1, 5), Scale(5, 6, 6)});
  const auto scale = [&](int64_t step, int64_t next) {
    return list->ControlsUpTo(step, next, Defaults()).learning_rate_scale();
  };
  EXPECT_EQ(scale(7, 7), 5) << "5 is late, then 1, 2, 3 and 4";
  EXPECT_EQ(list->Without(4)->ControlsUpTo(7, 7, Defaults()).learning_rate_scale(), 4);
  EXPECT_EQ(scale(9, 9), 5) << "those for a step are late";
  EXPECT_EQ(scale(6, 6), 6) << "2, 4, 5";
  EXPECT_EQ(scale(7, 6), 4) << "2, 4, 5, 1, 3";
  EXPECT_EQ(scale(5, 5), 5) << "2, 4";
}

// Each edit is checked in its turn, where something does not fit.
TEST(PendingEditsTest, WhatWillNotFitIsFoundInTheOrderOfTurns) {
  const auto list = ListOf({Clip(1, 0, v1::CLIP_MODE_TENSOR_NORM, 5), Clip(2, -1, v1::CLIP_MODE_NONE, 0),
                            Clip(3, 0, v1::CLIP_MODE_VALUE, 0, {"clip.mode"}), Scale(4, -1, 3)});
  const v1::Controls controls = list->ControlsUpTo(0, 0, Defaults());
  EXPECT_EQ(controls.clip().mode(), v1::CLIP_MODE_NONE) << "1, 2, and 3 finds no threshold";
  EXPECT_EQ(controls.learning_rate_scale(), 3);
}

// --- For trainers and users ---

TEST(PendingEditsTest, BatchesAreInTheOrderOfAcceptanceWithWithdrawals) {
  const auto batches = MakeEditBatches(*ListOf({Scale(1, 50, 2), Withdrawn(Scale(2, -1, 3)), Scale(4, 20, 4)}));
  ASSERT_THAT(batches, SizeIs(1));
  ASSERT_EQ(batches[0].edits_size(), 3);
  EXPECT_EQ(batches[0].edits(0).edit(), 1);
  EXPECT_EQ(batches[0].edits(0).at_step(), 50);
  EXPECT_EQ(batches[0].edits(1).edit(), 2);
  EXPECT_FALSE(batches[0].edits(1).has_at_step());
  EXPECT_EQ(batches[0].edits(1).values().learning_rate_scale(), 3);
  EXPECT_THAT(batches[0].edits(1).paths(), ElementsAre("learning_rate_scale"));
  EXPECT_EQ(batches[0].edits(2).edit(), 4);
  EXPECT_THAT(batches[0].withdrawn(), ElementsAre(2));
  EXPECT_THAT(MakeEditBatches(*PendingEdits::None()), IsEmpty());
}

TEST(PendingEditsTest, BatchesEndAtTheirNumberAndTheirSize) {
  PendingEdits::List list = PendingEdits::None();
  for (int id = 1; id <= 513; ++id) list = list->With(Withdrawn(Scale(id, 600 - id, 2)));
  std::vector<int> sizes;
  int64_t last = 0;
  for (const v1::EditBatch& batch : MakeEditBatches(*list)) {
    sizes.push_back(batch.edits_size());
    EXPECT_EQ(batch.withdrawn_size(), batch.edits_size());
    for (const v1::ControlEdit& edit : batch.edits()) EXPECT_EQ(edit.edit(), ++last);
  }
  EXPECT_THAT(sizes, ElementsAre(256, 256, 1));

  list = PendingEdits::None();
  v1::Controls values;
  values.mutable_clip()->add_overrides()->set_tensors(std::string(300'000, 'x'));
  for (int id = 1; id <= 7; ++id) list = list->With(Edit(id, -1, {"clip.overrides"}, values));
  sizes.clear();
  for (const v1::EditBatch& batch : MakeEditBatches(*list)) {
    sizes.push_back(batch.edits_size());
    EXPECT_LE(batch.ByteSizeLong(), size_t{1} << 20);
  }
  EXPECT_THAT(sizes, ElementsAre(3, 3, 1));
}

// What waits, which edit was applied for which step, and which one it has passed over; 0: none.
TEST(PendingEditsTest, AnEditPassesOverWhatItsTrainerKnewAndWasDueBefore) {
  const struct {
    std::vector<v1::Adjustment> waiting;
    int64_t edit, step, passed;
  } cases[] = {
      {{Edit(1, -1)}, 1, 5, 0},
      {{Edit(1, -1), Edit(2, -1)}, 1, 5, 0},
      {{Edit(1, -1), Edit(2, -1)}, 2, 5, 1},
      {{Edit(1, -1), Edit(2, 5)}, 2, 5, 1},
      {{Edit(1, -1), Edit(2, 4)}, 2, 5, 0},  // late, so its turn was that of step 4
      {{Edit(1, 4), Edit(2, -1)}, 2, 5, 1},
      {{Edit(1, 6), Edit(2, -1)}, 2, 5, 0},
      {{Edit(1, 5), Edit(2, 4)}, 2, 5, 0},
      {{Edit(1, 5), Edit(2, 5)}, 2, 5, 1},
      {{Edit(3, -1), Edit(4, 2), Edit(2, 5)}, 2, 5, 0},  // accepted later: it may not know them
      {{Withdrawn(Edit(1, -1)), Edit(2, -1)}, 2, 5, 0},
  };
  for (const auto& [waiting, edit, step, passed] : cases) {
    const auto list = ListOf(waiting);
    const auto other = list->PassedOver(*list->Find(edit), step);
    EXPECT_EQ(other == nullptr ? 0 : other->edit(), passed) << edit << " of " << waiting[0].ShortDebugString();
  }
  PendingEdits::List many = PendingEdits::None();
  for (int id = 1; id <= 1000; ++id) many = many->With(Edit(id, 2000 - id));
  EXPECT_EQ(many->PassedOver(*many->Find(1000), 1500), nullptr);
  EXPECT_EQ(many->PassedOver(Edit(1001, -1), 1500)->edit(), 1000);
}

TEST(PendingEditsTest, PagesTellEachEditOnceAlsoWhenSomeGoMeanwhile) {
  PendingEdits::List list = PendingEdits::None();
  for (int id = 1; id <= 120; ++id) list = list->With(Edit(id, id % 2 == 0 ? id % 10 : -1));
  v1::ListEditsRequest request;
  std::vector<int64_t> told;
  std::vector<int> sizes;
  for (;;) {
    const auto page = ListEdits(*list, "uid", request);
    ASSERT_THAT(page, IsOk());
    sizes.push_back(page->edits_size());
    for (const v1::Adjustment& edit : page->edits()) told.push_back(edit.edit());
    if (page->next_page_token().empty()) break;
    request.set_page_token(page->next_page_token());
    list = list->Without(told.back())->Without(told[3]);
  }
  EXPECT_THAT(sizes, ElementsAre(50, 50, 20));
  EXPECT_EQ(told[0], 1);
  EXPECT_EQ(told[60], 10) << "those of step 0 come after those of no step";
  EXPECT_EQ(std::set<int64_t>(told.begin(), told.end()).size(), 120u);
}

TEST(PendingEditsTest, PagesAreOfTheirListOnly) {
  const auto list = ListOf({Edit(1, 5), Edit(2, 6), Edit(3, -1)});
  v1::ListEditsRequest request;
  request.set_page_size(1);
  const std::string token = ListEdits(*list, "uid", request)->next_page_token();
  request.set_page_token(token);
  EXPECT_EQ(ListEdits(*list, "uid", request)->edits(0).edit(), 1);
  EXPECT_EQ(core::GetReason(ListEdits(*list, "other", request).status()), "BAD_PAGE_TOKEN");
  for (const std::string& bad :
       {token.substr(0, token.find('.')), token.substr(token.find('.') + 1), absl::StrCat(token, "x")}) {
    request.set_page_token(bad);
    EXPECT_EQ(core::GetReason(ListEdits(*list, "uid", request).status()), "BAD_PAGE_TOKEN") << bad;
  }
  request.clear_page_token();
  request.set_page_size(-1);
  EXPECT_THAT(ListEdits(*list, "uid", request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_size")));
}

}  // namespace
}  // namespace gradwatch::server
