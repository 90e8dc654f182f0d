#include "core/spec/controls.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/error.h"
#include "core/detect/detector.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::core {
namespace {

using ::google::protobuf::FieldMask;
using ::google::protobuf::util::MessageDifferencer;
using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
const double kNan = std::nan("");
const double kInfinity = std::numeric_limits<double>::infinity();

using Change = std::function<void(v1::Controls*)>;

v1::Controls Make(const Change& change) {
  v1::Controls controls;
  change(&controls);
  return controls;
}

FieldMask Mask(const std::vector<std::string>& paths) {
  FieldMask mask;
  for (const std::string& path : paths) mask.add_paths(path);
  return mask;
}

// Controls with nothing at its default.
v1::Controls Current() {
  v1::Controls controls;
  controls.mutable_clip()->set_mode(v1::CLIP_MODE_GLOBAL_NORM);
  controls.mutable_clip()->set_threshold(2);
  controls.mutable_clip()->set_non_finite(v1::NON_FINITE_ACTION_ZERO);
  controls.mutable_clip()->set_max_consecutive_skips(7);
  controls.mutable_clip()->set_pytorch_compatible(true);
  auto* limit = controls.mutable_clip()->add_overrides();
  limit->set_tensors("rnn0.*");
  limit->set_mode(v1::CLIP_MODE_VALUE);
  limit->set_threshold(3);
  controls.set_learning_rate_scale(0.5);
  controls.set_report_every(10);
  controls.set_histogram_every(20);
  controls.set_statistics(v1::STATISTICS_LEVEL_NORM);
  controls.set_gradient_cosine(true);
  controls.set_layer_statistics(true);
  return controls;
}

TEST(ControlsTest, DefaultsAreThoseOfTheProtocol) {
  const v1::Controls resolved = ResolveControls(v1::Controls());
  EXPECT_EQ(resolved.clip().mode(), v1::CLIP_MODE_NONE);
  EXPECT_EQ(resolved.clip().non_finite(), v1::NON_FINITE_ACTION_SKIP_STEP);
  EXPECT_EQ(resolved.clip().max_consecutive_skips(), 100);
  EXPECT_TRUE(resolved.clip().has_pytorch_compatible());
  EXPECT_FALSE(resolved.clip().pytorch_compatible());
  EXPECT_EQ(resolved.learning_rate_scale(), 1);
  EXPECT_EQ(resolved.report_every(), 1);
  EXPECT_EQ(resolved.histogram_every(), 16);
  EXPECT_EQ(resolved.statistics(), v1::STATISTICS_LEVEL_FULL);
  EXPECT_TRUE(MessageDifferencer::Equals(ResolveControls(resolved), resolved));
  EXPECT_TRUE(MessageDifferencer::Equals(ResolveControls(Current()), Current()));
}

TEST(ControlsTest, RefusesValuesOutOfRange) {
  const struct {
    Change change;
    const char* field;
    const char* message;
  } cases[] = {
      {[](auto* c) { c->set_learning_rate_scale(0); }, "learning_rate_scale", "got 0"},
      {[](auto* c) { c->set_learning_rate_scale(-1); }, "learning_rate_scale", "got -1"},
      {[](auto* c) { c->set_learning_rate_scale(1000.5); }, "learning_rate_scale", "got 1000.5"},
      {[](auto* c) { c->set_learning_rate_scale(kNan); }, "learning_rate_scale", "got nan"},
      {[](auto* c) { c->set_learning_rate_scale(kInfinity); }, "learning_rate_scale", "got inf"},
      {[](auto* c) { c->set_report_every(0); }, "report_every", "must be from 1 to 1000000; got 0"},
      {[](auto* c) { c->set_report_every(1'000'001); }, "report_every", "got 1000001"},
      {[](auto* c) { c->set_histogram_every(0); }, "histogram_every", "must be from 1 to 1000000; got 0"},
      {[](auto* c) { c->set_histogram_every(1'000'001); }, "histogram_every", "got 1000001"},
      {[](auto* c) { c->set_statistics(static_cast<v1::StatisticsLevel>(9)); }, "statistics", "unknown level 9"},
      {[](auto* c) { c->mutable_clip()->set_mode(v1::CLIP_MODE_VALUE); }, "clip.threshold", "0"},
      {[](auto* c) { c->mutable_clip()->set_mode(v1::CLIP_MODE_VALUE), c->mutable_clip()->set_threshold(kNan); },
       "clip.threshold", "nan"},
      {[](auto* c) { c->mutable_clip()->add_overrides()->set_mode(v1::CLIP_MODE_NONE); }, "clip.overrides[0].tensors",
       ""},
      {[](auto* c) { c->mutable_clip()->set_threshold(5); }, "clip.threshold", "is 5, which mode NONE does not read"},
      {[](auto* c) { c->mutable_clip()->set_mode(v1::CLIP_MODE_ZCLIP), c->mutable_clip()->set_threshold(5); },
       "clip.threshold", "is 5, which mode ZCLIP does not read"},
      {[](auto* c) { c->mutable_clip()->set_threshold(-5); }, "clip.threshold", "must be finite and above 0"},
  };
  for (const auto& c : cases) {
    const absl::Status status = ValidateControls(Make(c.change));
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr(c.message)));
    ASSERT_EQ(GetFieldViolations(status).size(), 1u) << status;
    EXPECT_EQ(GetFieldViolations(status)[0].field, c.field);
  }
  EXPECT_THAT(ValidateControls(v1::Controls()), IsOk());
  EXPECT_THAT(ValidateControls(Current()), IsOk());
}

// Every path, with a value, and without one, which goes back to the default.
TEST(ApplyControlChangesTest, ChangesExactlyThePathsOfTheMask) {
  const struct {
    const char* path;
    Change change;
    Change expected;
    Change unset;  // null: the value must be given
  } cases[] = {
      {"clip", [](auto* c) { c->mutable_clip()->set_mode(v1::CLIP_MODE_NONE); },
       [](auto* c) { *c->mutable_clip() = ResolveControls(v1::Controls()).clip(); },
       [](auto* c) { *c->mutable_clip() = ResolveControls(v1::Controls()).clip(); }},
      {"clip.mode", [](auto* c) { c->mutable_clip()->set_mode(v1::CLIP_MODE_VALUE); },
       [](auto* c) { c->mutable_clip()->set_mode(v1::CLIP_MODE_VALUE); }, nullptr},
      {"clip.threshold", [](auto* c) { c->mutable_clip()->set_threshold(9); },
       [](auto* c) { c->mutable_clip()->set_threshold(9); }, nullptr},
      {"clip.non_finite", [](auto* c) { c->mutable_clip()->set_non_finite(v1::NON_FINITE_ACTION_STOP); },
       [](auto* c) { c->mutable_clip()->set_non_finite(v1::NON_FINITE_ACTION_STOP); },
       [](auto* c) { c->mutable_clip()->set_non_finite(v1::NON_FINITE_ACTION_SKIP_STEP); }},
      {"clip.overrides",
       [](auto* c) {
         auto* limit = c->mutable_clip()->add_overrides();
         limit->set_tensors("dense*");
         limit->set_mode(v1::CLIP_MODE_NONE);
       },
       [](auto* c) {
         auto* limit = c->mutable_clip()->mutable_overrides(0);
         limit->Clear();
         limit->set_tensors("dense*");
         limit->set_mode(v1::CLIP_MODE_NONE);
       },
       [](auto* c) { c->mutable_clip()->clear_overrides(); }},
      {"clip.max_consecutive_skips", [](auto* c) { c->mutable_clip()->set_max_consecutive_skips(1); },
       [](auto* c) { c->mutable_clip()->set_max_consecutive_skips(1); },
       [](auto* c) { c->mutable_clip()->set_max_consecutive_skips(100); }},
      {"clip.pytorch_compatible", [](auto* c) { c->mutable_clip()->set_pytorch_compatible(false); },
       [](auto* c) { c->mutable_clip()->set_pytorch_compatible(false); },
       [](auto* c) { c->mutable_clip()->set_pytorch_compatible(false); }},
      {"learning_rate_scale", [](auto* c) { c->set_learning_rate_scale(1000); },
       [](auto* c) { c->set_learning_rate_scale(1000); }, [](auto* c) { c->set_learning_rate_scale(1); }},
      {"report_every", [](auto* c) { c->set_report_every(3); }, [](auto* c) { c->set_report_every(3); },
       [](auto* c) { c->set_report_every(1); }},
      {"histogram_every", [](auto* c) { c->set_histogram_every(3); }, [](auto* c) { c->set_histogram_every(3); },
       [](auto* c) { c->set_histogram_every(16); }},
      {"statistics", [](auto* c) { c->set_statistics(v1::STATISTICS_LEVEL_NONE); },
       [](auto* c) { c->set_statistics(v1::STATISTICS_LEVEL_NONE); },
       [](auto* c) { c->set_statistics(v1::STATISTICS_LEVEL_FULL); }},
      {"gradient_cosine", [](auto* c) { c->set_gradient_cosine(false); },
       [](auto* c) { c->set_gradient_cosine(false); }, [](auto* c) { c->set_gradient_cosine(false); }},
      {"layer_statistics", [](auto* c) { c->set_layer_statistics(false); },
       [](auto* c) { c->set_layer_statistics(false); }, [](auto* c) { c->set_layer_statistics(false); }},
  };
  for (const auto& c : cases) {
    v1::Controls expected = Current();
    c.expected(&expected);
    const auto changed = ApplyControlChanges(Current(), Make(c.change), Mask({c.path}));
    ASSERT_THAT(changed, IsOk()) << c.path;
    EXPECT_TRUE(MessageDifferencer::Equals(*changed, expected)) << c.path << "\n" << changed->DebugString();

    const auto unset = ApplyControlChanges(Current(), v1::Controls(), Mask({c.path}));
    if (c.unset == nullptr) {
      EXPECT_THAT(unset, StatusIs(kInvalid, HasSubstr(c.path)));
      continue;
    }
    v1::Controls defaulted = Current();
    c.unset(&defaulted);
    ASSERT_THAT(unset, IsOk()) << c.path;
    EXPECT_TRUE(MessageDifferencer::Equals(*unset, defaulted)) << c.path << "\n" << unset->DebugString();
  }
}

TEST(ApplyControlChangesTest, PathsReachTheNumbersOfAClipMode) {
  const auto zclip = [](auto* c) {
    c->mutable_clip()->set_mode(v1::CLIP_MODE_ZCLIP);
    c->mutable_clip()->mutable_zclip()->set_alpha(0.5);
    c->mutable_clip()->mutable_zclip()->set_z_threshold(4);
  };
  const auto first = ApplyControlChanges(Current(), Make(zclip), Mask({"clip.mode", "clip.zclip.alpha"}));
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->clip().zclip().alpha(), 0.5);
  EXPECT_EQ(first->clip().zclip().z_threshold(), 2.5) << "not in the mask: the default";
  EXPECT_EQ(first->clip().threshold(), 2) << "stays for the modes that read it";
  const auto second = ApplyControlChanges(*first, Make(zclip), Mask({"clip.zclip.z_threshold"}));
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->clip().zclip().alpha(), 0.5);
  EXPECT_EQ(second->clip().zclip().z_threshold(), 4);
  const auto third = ApplyControlChanges(*second, v1::Controls(), Mask({"clip.zclip.alpha"}));
  ASSERT_THAT(third, IsOk());
  EXPECT_EQ(third->clip().zclip().alpha(), 0.97);
  EXPECT_EQ(third->clip().zclip().z_threshold(), 4);
  const auto bad = ApplyControlChanges(*first, Make([](auto* c) { c->mutable_clip()->mutable_zclip()->set_alpha(2); }),
                                       Mask({"clip.zclip.alpha"}));
  EXPECT_THAT(bad, StatusIs(kInvalid, HasSubstr("clip.zclip.alpha: must be in [0, 1); got 2")));
}

// Controls with overrides for these globs: TENSOR_NORM, with limits 1, 2, 3.
v1::Controls Overrides(const std::vector<std::string>& globs) {
  v1::Controls controls;
  for (const std::string& glob : globs) {
    v1::TensorClip* limit = controls.mutable_clip()->add_overrides();
    limit->set_tensors(glob);
    limit->set_mode(v1::CLIP_MODE_TENSOR_NORM);
    limit->set_threshold(controls.clip().overrides_size());
  }
  return controls;
}

// "rnn*=1 dense.*=2".
std::string OverridesText(const v1::Controls& controls) {
  return absl::StrJoin(controls.clip().overrides(), " ", [](std::string* text, const v1::TensorClip& limit) {
    absl::StrAppend(text, limit.tensors(), "=", limit.threshold());
  });
}

TEST(ApplyControlChangesTest, AnOverrideOfOneGlobIsChangedAlone) {
  v1::Controls wanted;
  for (const char* glob : {"other", "a.*", "a.b.c"}) {
    v1::TensorClip* limit = wanted.mutable_clip()->add_overrides();
    limit->set_tensors(glob);
    limit->set_mode(v1::CLIP_MODE_VALUE);
    limit->set_threshold(9);
  }
  const struct {
    std::vector<std::string> before;
    std::vector<std::string> paths;
    const char* after;
  } cases[] = {
      {{}, {"clip.overrides.`a.*`"}, "a.*=9"},
      {{"x", "a.*", "y"}, {"clip.overrides.`a.*`"}, "a.*=9 x=1 y=3"},  // no glob hides what was said last
      {{"x", "y"}, {"clip.overrides.`a.*`"}, "a.*=9 x=1 y=2"},
      {{"x", "y"}, {"clip.overrides.`a.*`", "clip.overrides.`a.b.c`"}, "a.b.c=9 a.*=9 x=1 y=2"},
      {{"x", "y"}, {"clip.overrides.`x`"}, "y=2"},       // removed: the values have none
      {{"x", "y", "x"}, {"clip.overrides.`x`"}, "y=2"},  // the second one too
      {{"`", "y"}, {"clip.overrides.```"}, "y=2"},       // a glob may be anything
      {{"x", "y"}, {"clip.overrides.`a.*`", "clip.overrides.`x`"}, "a.*=9 y=2"},
      {{"x", "y"}, {"clip.overrides"}, "other=9 a.*=9 a.b.c=9"},  // all of them
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(absl::StrCat(absl::StrJoin(c.before, " "), ": ", absl::StrJoin(c.paths, ", ")));
    const v1::Controls before = ResolveControls(Overrides(c.before));
    const auto after = ApplyControlChanges(before, wanted, Mask(c.paths));
    ASSERT_THAT(after, IsOk());
    EXPECT_EQ(OverridesText(*after), c.after);
    const auto again = ApplyControlChanges(before, ValuesAt(wanted, Mask(c.paths)), Mask(c.paths));
    ASSERT_THAT(again, IsOk());
    EXPECT_EQ(OverridesText(*again), c.after) << "the values alone make the same change";
  }
}

TEST(ApplyControlChangesTest, AnOverrideThatIsNotThereCannotBeRemoved) {
  const v1::Controls before = ResolveControls(Overrides({"rnn*", "dense*"}));
  EXPECT_THAT(ApplyControlChanges(before, v1::Controls(), Mask({"clip.overrides.`rnn`"})),
              StatusIs(kInvalid, "clip.overrides: \"rnn\" is none of the 2 overrides; the first is rnn*"));
  EXPECT_THAT(ApplyControlChanges(ResolveControls({}), v1::Controls(), Mask({"clip.overrides.`rnn`"})),
              StatusIs(kInvalid, "clip.overrides: no tensors have a limit of their own"));
  EXPECT_THAT(ApplyControlChanges(before, v1::Controls(), Mask({"clip.overrides.`rnn*`", "clip.overrides.`rnn*`"})),
              StatusIs(kInvalid, HasSubstr("\"rnn*\" is none of the 1 overrides")));
}

TEST(ApplyControlChangesTest, AThresholdThatTheModeDoesNotReadIsRefusedWhereItIsNew) {
  const auto clip = [](v1::ClipMode mode, double threshold) {
    return Make([=](auto* c) { c->mutable_clip()->set_mode(mode), c->mutable_clip()->set_threshold(threshold); });
  };
  const struct {
    v1::Controls before, changes;
    std::vector<std::string> paths;
    bool ok;
  } cases[] = {
      {clip(v1::CLIP_MODE_NONE, 0), clip(v1::CLIP_MODE_UNSPECIFIED, 1), {"clip.threshold"}, false},
      {clip(v1::CLIP_MODE_AUTOCLIP, 0), clip(v1::CLIP_MODE_UNSPECIFIED, 1), {"clip.threshold"}, false},
      {clip(v1::CLIP_MODE_NONE, 0), clip(v1::CLIP_MODE_ZCLIP, 1), {"clip"}, false},
      {clip(v1::CLIP_MODE_NONE, 0), clip(v1::CLIP_MODE_ZCLIP, 1), {"clip.mode", "clip.threshold"}, false},
      {clip(v1::CLIP_MODE_VALUE, 1), clip(v1::CLIP_MODE_NONE, 1), {"clip.mode", "clip.threshold"}, false},
      {clip(v1::CLIP_MODE_NONE, 0), clip(v1::CLIP_MODE_VALUE, 1), {"clip.threshold", "clip.mode"}, true},
      {clip(v1::CLIP_MODE_NONE, 0), clip(v1::CLIP_MODE_VALUE, 1), {"clip"}, true},
      {clip(v1::CLIP_MODE_VALUE, 1), clip(v1::CLIP_MODE_NONE, 0), {"clip.mode"}, true},  // it is kept
      {clip(v1::CLIP_MODE_NONE, 1), Make([](auto* c) { c->set_report_every(3); }), {"report_every"}, true},
      {clip(v1::CLIP_MODE_NONE, 1), v1::Controls(), {"clip.threshold"}, true},           // it goes
      {clip(v1::CLIP_MODE_NONE, 1), clip(v1::CLIP_MODE_VALUE, 0), {"clip.mode"}, true},  // it is read again
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.before.ShortDebugString(), ": ", absl::StrJoin(c.paths, ", ")));
    const auto after = ApplyControlChanges(ResolveControls(c.before), c.changes, Mask(c.paths));
    if (c.ok) {
      EXPECT_THAT(after, IsOk());
    } else {
      EXPECT_THAT(after, StatusIs(kInvalid, HasSubstr("clip.threshold: is 1, which mode")));
    }
  }
}

TEST(CheckChangePathsTest, TakesFieldsAndOverrides) {
  for (const char* path : {"clip", "clip.mode", "clip.zclip", "clip.zclip.alpha", "clip.overrides", "report_every",
                           "clip.overrides.`a`", "clip.overrides.`rnn0.*.b`", "clip.overrides.`no such tensor`"}) {
    EXPECT_THAT(CheckChangePaths(Mask({path})), IsOk()) << path;
  }
  for (const char* path : {"", "clip.", "clips", "clip.overrides.", "clip.overrides.a", "clip.overrides.``",
                           "clip.overrides.`", "clip.overrides.`a", "clip.overrides.a`", "clip.overrides.`a`.mode",
                           "overrides.`a`", "clip.zclip.alpha.x", "clip.overrides.tensors"}) {
    const absl::Status status = CheckChangePaths(Mask({"report_every", path}));
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("update_mask: no path"))) << path;
    EXPECT_EQ(GetReason(status), "BAD_UPDATE_MASK");
  }
  EXPECT_THAT(CheckChangePaths(FieldMask()), StatusIs(kInvalid, HasSubstr("update_mask: required")));
  EXPECT_THAT(CheckChangePaths(Mask(std::vector<std::string>(256, "clip"))), IsOk());
  EXPECT_THAT(CheckChangePaths(Mask(std::vector<std::string>(257, "clip"))), StatusIs(kInvalid, HasSubstr("are 257")));
}

TEST(ValuesAtTest, KeepsWhatThePathsNameAndNothingElse) {
  v1::Controls all = Current();
  all.mutable_clip()->mutable_zclip()->set_alpha(0.5);
  all.mutable_clip()->mutable_zclip()->set_max_norm(2);
  const struct {
    std::vector<std::string> paths;
    const char* values;
  } cases[] = {
      {{"report_every"}, "report_every: 10"},
      {{"clip.threshold", "clip.mode"}, "clip { mode: CLIP_MODE_GLOBAL_NORM threshold: 2 }"},
      {{"clip.zclip.alpha"}, "clip { zclip { alpha: 0.5 } }"},
      {{"clip.adagc.beta"}, "clip { }"},  // unset: goes back to its default
      {{"clip.overrides.`rnn0.*`"}, "clip { overrides { tensors: \"rnn0.*\" mode: CLIP_MODE_VALUE threshold: 3 } }"},
      {{"clip.overrides.`rnn0.*`", "clip.overrides"},
       "clip { overrides { tensors: \"rnn0.*\" mode: CLIP_MODE_VALUE threshold: 3 } }"},
      {{"clip.overrides.`rnn1.*`"}, ""},  // none: goes
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ValuesAt(all, Mask(c.paths)).ShortDebugString(), c.values) << absl::StrJoin(c.paths, ", ");
  }
  EXPECT_EQ(ValuesAt(v1::Controls(), Mask({"clip.mode", "clip.zclip.alpha", "report_every"})).ShortDebugString(), "");
}

TEST(CheckControlsFitTest, SpamNeedsASecondMoment) {
  const v1::Controls spam = Make([](auto* c) { c->mutable_clip()->set_mode(v1::CLIP_MODE_SPAM); });
  for (const auto method : {v1::OPTIMIZER_METHOD_UNSPECIFIED, v1::OPTIMIZER_METHOD_SGD, v1::OPTIMIZER_METHOD_RMSPROP,
                            v1::OPTIMIZER_METHOD_ADAGRAD, v1::OPTIMIZER_METHOD_ADAM, v1::OPTIMIZER_METHOD_ADAMW}) {
    v1::OptimizerSpec optimizer;
    optimizer.set_method(method);
    EXPECT_THAT(CheckControlsFit(v1::Controls(), optimizer), IsOk());
    if (method == v1::OPTIMIZER_METHOD_ADAM || method == v1::OPTIMIZER_METHOD_ADAMW) {
      EXPECT_THAT(CheckControlsFit(spam, optimizer), IsOk());
    } else {
      EXPECT_THAT(CheckControlsFit(spam, optimizer), StatusIs(kInvalid, HasSubstr("clip.mode: SPAM needs optimizer")));
    }
  }
  EXPECT_THAT(CheckControlsFit(spam, v1::OptimizerSpec()), StatusIs(kInvalid, HasSubstr("got SGD")));
}

TEST(CheckOverridesMatchTest, EveryPatternNeedsATensor) {
  google::protobuf::RepeatedPtrField<v1::TensorInfo> tensors;
  tensors.Add()->set_name("rnn0.weight_hh");
  tensors.Add()->set_name("dense1.bias");
  EXPECT_THAT(CheckOverridesMatch(v1::Controls(), {}), IsOk());
  v1::Controls controls;
  for (const char* pattern : {"rnn*", "*.bias"}) controls.mutable_clip()->add_overrides()->set_tensors(pattern);
  EXPECT_THAT(CheckOverridesMatch(controls, tensors), IsOk());
  controls.mutable_clip()->add_overrides()->set_tensors("rnn1*");
  EXPECT_THAT(CheckOverridesMatch(controls, tensors),
              StatusIs(kInvalid, HasSubstr("clip.overrides[2].tensors: \"rnn1*\" matches none of the 2 tensors; the "
                                           "first is rnn0.weight_hh")));
}

TEST(ApplyControlChangesTest, ValuesOutsideTheMaskAreIgnored) {
  const auto changed = ApplyControlChanges(Current(), Make([](auto* c) {
                                             c->set_report_every(-5);
                                             c->set_learning_rate_scale(3);
                                           }),
                                           Mask({"learning_rate_scale"}));
  ASSERT_THAT(changed, IsOk());
  EXPECT_EQ(changed->report_every(), 10);
  EXPECT_EQ(changed->learning_rate_scale(), 3);
}

TEST(ApplyControlChangesTest, ManyPathsAtOnce) {
  const auto changed = ApplyControlChanges(v1::Controls(), Make([](auto* c) {
                                             c->mutable_clip()->set_mode(v1::CLIP_MODE_TENSOR_NORM);
                                             c->mutable_clip()->set_threshold(4);
                                           }),
                                           Mask({"clip.threshold", "clip.mode", "clip.mode"}));
  ASSERT_THAT(changed, IsOk());
  EXPECT_EQ(changed->clip().mode(), v1::CLIP_MODE_TENSOR_NORM);
  EXPECT_EQ(changed->clip().threshold(), 4);
}

TEST(ApplyControlChangesTest, RefusesMasksThatNameNothing) {
  for (const std::vector<std::string>& paths : std::vector<std::vector<std::string>>{{},
                                                                                     {""},
                                                                                     {"*"},
                                                                                     {"clip."},
                                                                                     {".clip"},
                                                                                     {"clip.mode.x"},
                                                                                     {"clips"},
                                                                                     {"clip.tensors"},
                                                                                     {"Clip"},
                                                                                     {"learning_rate_scale.x"},
                                                                                     {"clip.overrides.`a"},
                                                                                     {"clip.mode", "oops"}}) {
    const absl::Status status = ApplyControlChanges(Current(), Current(), Mask(paths)).status();
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("update_mask: "))) << ::testing::PrintToString(paths);
    EXPECT_EQ(GetReason(status), "BAD_UPDATE_MASK");
  }
  EXPECT_THAT(
      ApplyControlChanges(Current(), Current(), Mask({"oops"})),
      StatusIs(kInvalid, HasSubstr("no path \"oops\"; there are clip, learning_rate_scale, report_every, "
                                   "statistics, gradient_cosine, layer_statistics, rules, histogram_every, clip.mode, "
                                   "clip.threshold")));
}

TEST(ApplyControlChangesTest, RefusesWhatTheResultMustNotBe) {
  const struct {
    std::vector<std::string> paths;
    Change change;
    const char* message;
  } cases[] = {
      {{"clip.threshold"}, [](auto* c) { c->mutable_clip()->set_threshold(kNan); }, "clip.threshold"},
      {{"clip.threshold"}, [](auto* c) { c->mutable_clip()->set_threshold(-1); }, "clip.threshold"},
      {{"clip"}, [](auto* c) { c->mutable_clip()->set_threshold(1); }, "clip.mode: must be named in a change"},
      {{"clip"}, [](auto* c) { c->mutable_clip()->set_mode(v1::CLIP_MODE_VALUE); }, "clip.threshold"},
      {{"learning_rate_scale"}, [](auto* c) { c->set_learning_rate_scale(kInfinity); }, "learning_rate_scale"},
      {{"report_every"}, [](auto* c) { c->set_report_every(0); }, "report_every"},
  };
  for (const auto& c : cases) {
    const absl::Status status = ApplyControlChanges(Current(), Make(c.change), Mask(c.paths)).status();
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr(c.message)));
    EXPECT_EQ(GetReason(status), "FIELD_VIOLATION");
  }
}

// --- Rules ---

v1::RuleSet OneRule(const std::string& name, double max_norm) {
  v1::RuleSet rules;
  rules.set_preset("none");
  v1::Rule* const rule = rules.add_rules();
  rule->set_name(name);
  rule->mutable_norm_limit()->set_max_norm(max_norm);
  return rules;
}

v1::Controls WithRules(const v1::RuleSet& rules) {
  return Make([&rules](auto* c) { *c->mutable_rules() = rules; });
}

TEST(ControlsOfRulesTest, AChangeTakesThePlaceOfAllRulesAndOfNothingElse) {
  v1::Controls current = Current();
  *current.mutable_rules() = OneRule("old", 1);
  v1::Controls changes = WithRules(OneRule("new", 2));
  changes.set_report_every(77);  // the mask does not name it
  const auto changed = ApplyControlChanges(current, changes, Mask({"rules"}));
  ASSERT_THAT(changed, IsOk());
  ASSERT_EQ(changed->rules().rules_size(), 1);
  EXPECT_EQ(changed->rules().rules(0).name(), "new");
  EXPECT_EQ(changed->rules().rules(0).norm_limit().max_norm(), 2);
  EXPECT_EQ(changed->rules().rules(0).severity(), v1::SEVERITY_WARNING) << "defaults are filled in";
  v1::Controls others = *changed;
  others.clear_rules();
  EXPECT_TRUE(MessageDifferencer::Equals(others, Current())) << others.DebugString();
  EXPECT_TRUE(MessageDifferencer::Equals(ResolveControls(*changed), *changed));

  const auto unset = ApplyControlChanges(current, v1::Controls(), Mask({"rules"}));
  ASSERT_THAT(unset, IsOk());
  EXPECT_TRUE(MessageDifferencer::Equals(*unset, Current())) << "those of the spec again";
  const auto other = ApplyControlChanges(current, changes, Mask({"report_every"}));
  ASSERT_THAT(other, IsOk());
  EXPECT_EQ(other->rules().rules(0).name(), "old");
  EXPECT_EQ(ValuesAt(changes, Mask({"rules"})).rules().SerializeAsString(), changes.rules().SerializeAsString());
  EXPECT_FALSE(ValuesAt(changes, Mask({"report_every"})).has_rules());
}

TEST(ControlsOfRulesTest, WhatGetRulesHasFilledInIsForgotten) {
  v1::RuleSet told = OneRule("mine", 2);
  told.mutable_rules(0)->set_armed_at(17);
  told.mutable_rules(0)->set_unable("needs level FULL");
  const auto changed = ApplyControlChanges(v1::Controls(), WithRules(told), Mask({"rules"}));
  ASSERT_THAT(changed, IsOk());
  EXPECT_FALSE(changed->rules().rules(0).has_armed_at());
  EXPECT_EQ(changed->rules().rules(0).unable(), "");
}

TEST(ControlsOfRulesTest, RulesAreGivenAsAWhole) {
  EXPECT_THAT(CheckChangePaths(Mask({"rules", "clip"})), IsOk());
  for (const char* path : {"rules.preset", "rules.rules", "rules.rules.name", "rules.oops", "rules."}) {
    const absl::Status status = CheckChangePaths(Mask({"report_every", path}));
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("rules are changed as a whole; give all of them"))) << path;
    EXPECT_EQ(GetReason(status), "BAD_UPDATE_MASK");
  }
}

TEST(ControlsOfRulesTest, RulesThatMustNotBeAreRefusedAtTheirPlace) {
  v1::RuleSet rules = OneRule("good", 1);
  *rules.add_rules() = OneRule("bad", -1).rules(0);
  const absl::Status status = ApplyControlChanges(Current(), WithRules(rules), Mask({"rules"})).status();
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("-1")));
  ASSERT_EQ(GetFieldViolations(status).size(), 1u) << status;
  EXPECT_EQ(GetFieldViolations(status)[0].field, "rules.rules[1].norm_limit.max_norm");
}

TEST(ControlsOfRulesTest, ASpecHasThemInAFieldOfItsOwn) {
  v1::Controls controls = WithRules(OneRule("mine", 1));
  controls.set_report_every(0);
  const absl::Status status = ValidateControls(controls);
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("set the rules of the job, not of its controls")));
  ASSERT_EQ(GetFieldViolations(status).size(), 2u) << "and all else that is wrong: " << status;
  EXPECT_EQ(GetFieldViolations(status)[0].field, "rules");
  EXPECT_EQ(GetFieldViolations(status)[1].field, "report_every");
}

TEST(ControlsOfRulesTest, ThoseOfTheControlsHoldBeforeThoseOfTheSpec) {
  v1::JobSpec spec;
  *spec.mutable_rules() = OneRule("spec", 1);
  EXPECT_EQ(EffectiveRules(spec, v1::Controls()).rules(0).name(), "spec");
  EXPECT_EQ(EffectiveRules(spec, WithRules(OneRule("edit", 1))).rules(0).name(), "edit");
  v1::Controls none;
  none.mutable_rules()->set_preset("none");
  EXPECT_EQ(EffectiveRules(spec, none).rules_size(), 0) << "no rules are rules too";
}

// Memory that a trainer takes between two steps: 64 windows of 10,000 steps over 402 tensors took it 40 s.
TEST(CheckRulesFitTest, WindowsTogetherHaveABound) {
  v1::RuleSet rules;
  rules.set_preset("none");
  for (int i = 0; i < 64; ++i) {
    v1::Rule& rule = *rules.add_rules();
    rule.set_name(absl::StrCat("r", i));
    rule.mutable_norm_spike()->set_window(10'000);
    rule.mutable_norm_spike()->set_per_tensor(true);
  }
  rules = ResolveRules(rules);
  google::protobuf::RepeatedPtrField<v1::TensorInfo> tensors;
  EXPECT_TRUE(CheckRulesFit(rules, tensors).ok()) << "no tensor is known yet";
  for (int i = 0; i < 402; ++i) tensors.Add()->set_name(absl::StrCat("t", i));
  const absl::Status status = CheckRulesFit(rules, tensors);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetReason(status), "QUOTA_MEMORY");
  EXPECT_THAT(status.message(), ::testing::HasSubstr("the windows of 64 rules over 402 tensors"));
  EXPECT_THAT(status.message(), ::testing::HasSubstr("at most 134217728 (128.0 MiB) may be"));
  for (v1::Rule& rule : *rules.mutable_rules()) rule.set_tensors("t7");
  EXPECT_TRUE(CheckRulesFit(rules, tensors).ok());
  EXPECT_TRUE(CheckRulesFit(ResolveRules(v1::RuleSet()), tensors).ok());
}

}  // namespace
}  // namespace gradwatch::core
