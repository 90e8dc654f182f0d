#include "client/cli/clip_set.h"

#include <google/protobuf/text_format.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/client/cli/cli_fixture.h"
#include "tests/support/status_matchers.h"

namespace gradwatch::cli {
namespace {

using ::gradwatch::testing::IsOk;
using ::gradwatch::testing::ParseOptions;
using ::gradwatch::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ClipSetParseTest, ReadsAllOptions) {
  const ClipSetOptions options = ParseOptions(
      AddClipSet,
      "job --max-norm 1.5 --mode tensor_norm --tensors a* --non-finite zero --if-etag e --at-step 7 --no-wait");
  EXPECT_EQ(options.adjusting.job_id, "job");
  EXPECT_EQ(options.max_norm, 1.5);
  EXPECT_FALSE(options.max_value.has_value());
  EXPECT_EQ(options.mode, v1::CLIP_MODE_TENSOR_NORM);
  EXPECT_EQ(options.tensors, "a*");
  EXPECT_EQ(options.non_finite, v1::NON_FINITE_ACTION_ZERO);
  EXPECT_EQ(options.adjusting.if_etag, "e");
  EXPECT_EQ(options.adjusting.at_step, 7);
  EXPECT_TRUE(options.adjusting.no_wait);
  EXPECT_FALSE(options.adjusting.wait);
  EXPECT_TRUE(ParseOptions(AddClipSet, "job --max-norm 1 --wait").adjusting.wait);
}

TEST(ClipSetParseTest, RefusesWhatIsNoLimit) {
  for (const char* arguments :
       {"", "x --max-norm 0", "x --max-norm -1", "x --max-norm nan", "x --max-norm inf", "x --max-norm 1e999",
        "x --max-norm abc", "x --max-norm 1 --max-value 1", "x --factor 0", "x --factor 1 --max-norm 1", "x --set",
        "x --mode soft", "x --non-finite ignore", "x --max-norm 1 --wait --no-wait"}) {
    EXPECT_THROW(ParseOptions(AddClipSet, arguments), CLI::ParseError) << arguments;
  }
}

// As errors and the protocol have them.
TEST(ClipSetParseTest, WordsMayBeInAnyCaseAndWithHyphens) {
  for (const char* mode : {"global_norm", "GLOBAL_NORM", "global-norm", "Global-Norm", "CLIP_MODE_GLOBAL_NORM"}) {
    EXPECT_EQ(ParseOptions(AddClipSet, absl::StrCat("x --mode ", mode)).mode, v1::CLIP_MODE_GLOBAL_NORM) << mode;
  }
  EXPECT_EQ(ParseOptions(AddClipSet, "x --non-finite SKIP-STEP").non_finite, v1::NON_FINITE_ACTION_SKIP_STEP);
  for (const char* mode : {"unspecified", "CLIP_MODE_UNSPECIFIED", "globalnorm", "-", "global norm"}) {
    EXPECT_THROW(ParseOptions(AddClipSet, absl::StrCat("x --mode=", mode)), CLI::ParseError) << mode;
  }
}

// The request that the arguments make where the edit will find the mode `present`.
absl::StatusOr<v1::AdjustJobRequest> Make(const std::string& arguments,
                                          v1::ClipMode present = v1::CLIP_MODE_UNSPECIFIED) {
  return MakeClipRequest(ParseOptions(AddClipSet, "job " + arguments), {.mode = present, .in_force = present});
}

// An edit says what was asked for and nothing else.
TEST(MakeClipRequestTest, ALimitSetsTheThresholdAndTheModeWhereNoneReadsIt) {
  const struct {
    const char* arguments;
    v1::ClipMode before;
    v1::ClipMode asked;  // unspecified: it is left as it is
    double threshold;    // 0: it is not told, or unset
    std::vector<std::string> paths;
  } cases[] = {
      {"--max-norm 2", v1::CLIP_MODE_UNSPECIFIED, v1::CLIP_MODE_GLOBAL_NORM, 2, {"clip.mode", "clip.threshold"}},
      {"--max-norm 2", v1::CLIP_MODE_VALUE, v1::CLIP_MODE_GLOBAL_NORM, 2, {"clip.mode", "clip.threshold"}},
      {"--max-norm 2", v1::CLIP_MODE_ZCLIP, v1::CLIP_MODE_GLOBAL_NORM, 2, {"clip.mode", "clip.threshold"}},
      {"--max-norm 2", v1::CLIP_MODE_TENSOR_NORM, v1::CLIP_MODE_UNSPECIFIED, 2, {"clip.threshold"}},
      {"--max-norm 2", v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_UNSPECIFIED, 2, {"clip.threshold"}},
      {"--max-norm 2 --mode global_norm",
       v1::CLIP_MODE_TENSOR_NORM,
       v1::CLIP_MODE_GLOBAL_NORM,
       2,
       {"clip.mode", "clip.threshold"}},
      {"--max-value 3", v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_VALUE, 3, {"clip.mode", "clip.threshold"}},
      {"--factor 0.02", v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_ADAPTIVE, 0.02, {"clip.mode", "clip.threshold"}},
      // The limit stays.
      {"--mode tensor_norm", v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_TENSOR_NORM, 0, {"clip.mode"}},
      {"--mode value", v1::CLIP_MODE_VALUE, v1::CLIP_MODE_VALUE, 0, {"clip.mode"}},
      {"--mode adaptive", v1::CLIP_MODE_ADAPTIVE, v1::CLIP_MODE_ADAPTIVE, 0, {"clip.mode"}},
      // A norm is no fraction: back to the default.
      {"--mode adaptive", v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_ADAPTIVE, 0, {"clip.mode", "clip.threshold"}},
      {"--mode adaptive", v1::CLIP_MODE_ZCLIP, v1::CLIP_MODE_ADAPTIVE, 0, {"clip.mode", "clip.threshold"}},
      {"--mode none", v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_NONE, 0, {"clip.mode"}},
      {"--mode zclip", v1::CLIP_MODE_ADAPTIVE, v1::CLIP_MODE_ZCLIP, 0, {"clip.mode"}},
      {"--non-finite zero", v1::CLIP_MODE_GLOBAL_NORM, v1::CLIP_MODE_UNSPECIFIED, 0, {"clip.non_finite"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.arguments, " after ", v1::ClipMode_Name(c.before)));
    const auto request = Make(c.arguments, c.before);
    ASSERT_THAT(request, IsOk());
    EXPECT_EQ(request->controls().clip().mode(), c.asked);
    EXPECT_EQ(request->controls().clip().threshold(), c.threshold);
    EXPECT_THAT(request->update_mask().paths(), ::testing::ElementsAreArray(c.paths));
  }
}

// Whatever number is there was meant for something else, also one that was kept while no mode read it.
TEST(MakeClipRequestTest, AModeThatFindsNoLimitOfItsKindAsksForOne) {
  const struct {
    const char* arguments;
    v1::ClipMode before;
    const char* needs;
  } cases[] = {
      {"--mode global_norm", v1::CLIP_MODE_ADAPTIVE, "give --max-norm"},
      {"--mode global_norm", v1::CLIP_MODE_ZCLIP, "give --max-norm"},  // adaptive before that
      {"--mode tensor_norm", v1::CLIP_MODE_NONE, "give --max-norm"},
      {"--mode tensor_norm", v1::CLIP_MODE_VALUE, "give --max-norm"},
      {"--mode value", v1::CLIP_MODE_GLOBAL_NORM, "give --max-value"},
      {"--mode value", v1::CLIP_MODE_UNSPECIFIED, "give --max-value"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(Make(c.arguments, c.before), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.needs)))
        << c.arguments << " after " << v1::ClipMode_Name(c.before);
  }
}

TEST(MakeClipRequestTest, EveryModeOfItsOwnNumbersCanBeSet) {
  const struct {
    const char* arguments;
    v1::ClipMode mode;
    std::vector<std::string> paths;
    const char* clip;  // in text format
  } cases[] = {
      {"--mode autoclip", v1::CLIP_MODE_AUTOCLIP, {"clip.mode"}, "mode: CLIP_MODE_AUTOCLIP"},
      {"--mode autoclip --set percentile=20 --set history=500",
       v1::CLIP_MODE_AUTOCLIP,
       {"clip.autoclip.percentile", "clip.autoclip.history", "clip.mode"},
       "mode: CLIP_MODE_AUTOCLIP autoclip { percentile: 20 history: 500 }"},
      {"--mode zclip --set alpha=0.9 --set method=mean --set max_norm=0",
       v1::CLIP_MODE_ZCLIP,
       {"clip.zclip.alpha", "clip.zclip.method", "clip.zclip.max_norm", "clip.mode"},
       "mode: CLIP_MODE_ZCLIP zclip { alpha: 0.9 method: METHOD_MEAN max_norm: 0 }"},
      {"--mode adagc --set warmup_steps=1e3",
       v1::CLIP_MODE_ADAGC,
       {"clip.adagc.warmup_steps", "clip.mode"},
       "mode: CLIP_MODE_ADAGC adagc { warmup_steps: 1000 }"},
      {"--mode spam --set theta=1000",
       v1::CLIP_MODE_SPAM,
       {"clip.spam.theta", "clip.mode"},
       "mode: CLIP_MODE_SPAM spam { theta: 1000 }"},
      {"--mode adaptive --factor 0.02 --set epsilon=0.01",
       v1::CLIP_MODE_ADAPTIVE,
       {"clip.adaptive.epsilon", "clip.mode", "clip.threshold"},
       "mode: CLIP_MODE_ADAPTIVE threshold: 0.02 adaptive { epsilon: 0.01 }"},
  };
  for (const auto& c : cases) {
    const auto request = Make(c.arguments, v1::CLIP_MODE_GLOBAL_NORM);
    ASSERT_THAT(request, IsOk()) << c.arguments;
    EXPECT_THAT(request->update_mask().paths(), ::testing::ElementsAreArray(c.paths)) << c.arguments;
    v1::ClipSettings want;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(c.clip, &want));
    EXPECT_EQ(request->controls().clip().DebugString(), want.DebugString()) << c.arguments;
  }
}

TEST(MakeClipRequestTest, SetAloneChangesTheModeThatHolds) {
  const auto request = Make("--set z_threshold=3", v1::CLIP_MODE_ZCLIP);
  ASSERT_THAT(request, IsOk());
  EXPECT_THAT(request->update_mask().paths(), ElementsAre("clip.zclip.z_threshold"));
  EXPECT_EQ(request->controls().clip().zclip().z_threshold(), 3);
  for (const char* wrong :
       {"--set percentile=3", "--set z_threshold=much", "--set z_threshold", "--set =3", "--set alpha.x=3",
        "--mode global_norm --max-norm 1 --set alpha=3", "--max-norm 1 --set alpha=3"}) {
    EXPECT_THAT(Make(wrong, v1::CLIP_MODE_ZCLIP), StatusIs(absl::StatusCode::kInvalidArgument, _)) << wrong;
  }
  EXPECT_THAT(Make("--set alpha=0.9", v1::CLIP_MODE_NONE),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("zclip")));
}

TEST(MakeClipRequestTest, AGlobMayBeAdaptive) {
  const auto request = Make("--tensors dense* --factor 0.05");
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->controls().clip().overrides(0).mode(), v1::CLIP_MODE_ADAPTIVE);
  EXPECT_EQ(request->controls().clip().overrides(0).threshold(), 0.05);
}

TEST(MakeClipRequestTest, ModeNoneKeepsTheThreshold) {
  const auto request = Make("--mode none --non-finite stop");
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->controls().clip().mode(), v1::CLIP_MODE_NONE);
  EXPECT_EQ(request->controls().clip().non_finite(), v1::NON_FINITE_ACTION_STOP);
  EXPECT_THAT(request->update_mask().paths(), ElementsAre("clip.mode", "clip.non_finite"));
}

TEST(MakeClipRequestTest, AGlobGetsItsOwnLimitAndOthersAreNotTouched) {
  const struct {
    const char* arguments;
    const char* path;
    v1::ClipMode mode;
    double threshold;
  } cases[] = {
      {"--tensors rnn0.* --max-norm 2", "clip.overrides.`rnn0.*`", v1::CLIP_MODE_TENSOR_NORM, 2},
      {"--tensors * --max-value 2", "clip.overrides.`*`", v1::CLIP_MODE_VALUE, 2},
      {"--tensors * --mode none", "clip.overrides.`*`", v1::CLIP_MODE_NONE, 0},
      {"--tensors * --mode tensor_norm --max-norm 3", "clip.overrides.`*`", v1::CLIP_MODE_TENSOR_NORM, 3},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.arguments);
    const auto request = Make(c.arguments, v1::CLIP_MODE_VALUE);
    ASSERT_THAT(request, IsOk());
    EXPECT_THAT(request->update_mask().paths(), ElementsAre(c.path));
    ASSERT_EQ(request->controls().clip().overrides_size(), 1);
    EXPECT_EQ(request->controls().clip().overrides(0).mode(), c.mode);
    EXPECT_EQ(request->controls().clip().overrides(0).threshold(), c.threshold);
  }
}

TEST(MakeClipRequestTest, RefusesContradictions) {
  for (const char* arguments :
       {"", "--tensors a", "--tensors a --non-finite zero", "--mode none --max-norm 1", "--mode value --max-norm 1",
        "--mode global_norm --max-value 1", "--tensors a --mode tensor_norm", "--mode zclip --max-norm 1",
        "--mode zclip --factor 1", "--mode none --factor 1", "--mode adaptive --max-value 1",
        "--tensors a --max-norm 1 --set alpha=1", "--tensors a --max-norm 1 --non-finite zero"}) {
    EXPECT_THAT(Make(arguments), StatusIs(absl::StatusCode::kInvalidArgument, _)) << arguments;
  }
}

// It was given: "nothing to set" would be no help.
TEST(MakeClipRequestTest, WhatGoesForAllTensorsIsSaidTo) {
  for (const char* arguments : {"--tensors a --non-finite zero", "--tensors a --max-norm 1 --non-finite zero"}) {
    EXPECT_THAT(Make(arguments),
                StatusIs(absl::StatusCode::kInvalidArgument, "--non-finite goes for all tensors, not with --tensors"))
        << arguments;
  }
}

}  // namespace
}  // namespace gradwatch::cli
