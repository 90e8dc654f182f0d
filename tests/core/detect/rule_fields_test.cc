// The fields of conditions against the comments of the protobuf files, which are the contract: what is unset, and what
// is out of range.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "core/base/error.h"
#include "core/detect/detector.h"

namespace gradwatch::core {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// One field of one condition, with its comment in one line.
struct Field {
  const FieldDescriptor* condition;
  const FieldDescriptor* field;
  std::string comment;

  std::string path() const { return condition->name() + "." + field->name(); }
};

class RuleFieldsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    google::protobuf::FileDescriptorSet set;
    std::ifstream file(GRADWATCH_BINARY_DIR "/gradwatch.protoset", std::ios::binary);
    ASSERT_TRUE(set.ParseFromIstream(&file));
    for (const auto& proto : set.file()) ASSERT_NE(pool_.BuildFile(proto), nullptr) << proto.name();
    const auto& conditions = *v1::Rule::descriptor()->FindOneofByName("condition");
    for (int i = 0; i < conditions.field_count(); ++i) Add(*conditions.field(i));
    ASSERT_GE(fields_.size(), 45u);
  }

  void Add(const FieldDescriptor& condition) {
    const Descriptor& message = *condition.message_type();
    for (int i = 0; i < message.field_count(); ++i) {
      google::protobuf::SourceLocation location;
      const FieldDescriptor* commented = pool_.FindFieldByName(message.field(i)->full_name());
      ASSERT_NE(commented, nullptr) << message.field(i)->full_name();
      ASSERT_TRUE(commented->GetSourceLocation(&location));
      // A space begins each line.
      const std::string comment = absl::StrReplaceAll(location.leading_comments, {{"\n", ""}});
      fields_.push_back({&condition, message.field(i), comment});
    }
  }

  google::protobuf::DescriptorPool pool_;
  std::vector<Field> fields_;
};

// "10,000", "1e-7", "10^6".
double Number(const std::string& text) {
  const std::string plain = absl::StrReplaceAll(text, {{",", ""}});
  const size_t power = plain.find('^');
  if (power == std::string::npos) return std::stod(plain);
  return std::pow(std::stod(plain.substr(0, power)), std::stod(plain.substr(power + 1)));
}

// The first group of the pattern in the comment.
std::optional<std::string> Find(const std::string& comment, const char* pattern) {
  std::smatch match;
  if (!std::regex_search(comment, match, std::regex(pattern))) return std::nullopt;
  return match[1].str();
}

double Value(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? 1 : 0;
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.GetEnumValue(message, &field);
    default:
      return reflection.GetDouble(message, &field);
  }
}

// The condition of a rule of a resolved set that has just that rule, with nothing set.
v1::Rule ResolvedOf(const FieldDescriptor& condition) {
  v1::RuleSet rules;
  rules.set_preset("none");
  v1::Rule* const rule = rules.add_rules();
  rule->GetReflection()->MutableMessage(rule, &condition);
  return ResolveRules(rules).rules(0);
}

TEST_F(RuleFieldsTest, UnsetIsWhatTheCommentSays) {
  int numbers = 0;
  for (const Field& field : fields_) {
    if (field.comment.find("Required.") != std::string::npos) continue;
    const v1::Rule rule = ResolvedOf(*field.condition);
    const Message& message = rule.GetReflection()->GetMessage(rule, field.condition);
    const bool is_set = message.GetReflection()->HasField(message, field.field);
    const double value = Value(message, *field.field);
    const auto said = Find(field.comment, "Unset: ([^.]*(\\.[0-9]+)?)");
    ASSERT_TRUE(said.has_value()) << field.path() << " does not say what unset means";
    if (const auto number = Find(*said, "^([0-9][0-9,]*(\\.[0-9]+)?(e-[0-9]+)?)$"); number.has_value()) {
      EXPECT_TRUE(is_set) << field.path();
      EXPECT_EQ(value, Number(*number)) << field.path();
      ++numbers;
    } else if (said->rfind("false", 0) == 0) {
      EXPECT_TRUE(is_set) << field.path();
      EXPECT_EQ(value, 0) << field.path();
    } else if (*said == "LOSS") {
      EXPECT_EQ(value, v1::SeriesCondition::SERIES_LOSS) << field.path();
    } else if (*said == "window") {
      EXPECT_EQ(value, rule.series().window()) << field.path();
    } else {
      EXPECT_TRUE(*said == "none" || *said == "it need not" || said->rfind("the larger", 0) == 0) << *said;
      EXPECT_FALSE(is_set) << field.path();
    }
  }
  EXPECT_GE(numbers, 30);
}

// A good rule but for the field, which has the value.
v1::RuleSet With(const Field& field, double value) {
  v1::RuleSet rules;
  rules.set_preset("none");
  v1::Rule* const rule = rules.add_rules();
  rule->set_name("a");
  Message* const message = rule->GetReflection()->MutableMessage(rule, field.condition);
  if (rule->has_norm_limit()) rule->mutable_norm_limit()->set_max_norm(1);
  if (rule->has_series()) {
    rule->mutable_series()->set_baseline(v1::SeriesCondition::BASELINE_MEAN);
    rule->mutable_series()->set_factor(2);
    rule->mutable_series()->set_warm_up(1);
  }
  const auto& reflection = *message->GetReflection();
  if (field.field->cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
    reflection.SetInt32(message, field.field, static_cast<int32_t>(value));
  } else {
    reflection.SetDouble(message, field.field, value);
  }
  return rules;
}

// Whether a value of a field is good; whatever else is told of the rule is not expected.
bool IsGood(const Field& field, double value) {
  const auto violations = GetFieldViolations(ValidateRules(With(field, value)));
  for (const FieldViolation& violation : violations) {
    EXPECT_EQ(violation.field, "rules[0]." + field.path()) << violation.description;
  }
  return violations.empty();
}

// The next value of the field's type.
double Next(const Field& field, double value, double towards) {
  if (field.field->cpp_type() == FieldDescriptor::CPPTYPE_INT32) return towards > value ? value + 1 : value - 1;
  return std::nextafter(value, towards);
}

TEST_F(RuleFieldsTest, RangesAreWhatTheCommentsSay) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  int lows = 0, highs = 0;
  for (const Field& field : fields_) {
    const auto type = field.field->cpp_type();
    if (type != FieldDescriptor::CPPTYPE_DOUBLE && type != FieldDescriptor::CPPTYPE_INT32) continue;
    SCOPED_TRACE(field.path());
    if (type == FieldDescriptor::CPPTYPE_DOUBLE) {
      EXPECT_FALSE(IsGood(field, kInfinity));
      EXPECT_FALSE(IsGood(field, -kInfinity));
      EXPECT_FALSE(IsGood(field, std::nan("")));
    }
    if (const auto low = Find(field.comment, "Range (?:from )?([0-9][0-9,]*)"); low.has_value()) {
      EXPECT_TRUE(IsGood(field, Number(*low)));
      EXPECT_FALSE(IsGood(field, Next(field, Number(*low), -kInfinity)));
      ++lows;
    } else if (const auto above = Find(field.comment, "Range above ([0-9][0-9,]*)"); above.has_value()) {
      EXPECT_FALSE(IsGood(field, Number(*above)));
      EXPECT_TRUE(IsGood(field, Next(field, Number(*above), kInfinity)));
      ++lows;
    } else {
      EXPECT_NE(field.comment.find("Finite."), std::string::npos) << "says nothing of its range";
    }
    if (const auto high = Find(field.comment, "(?:Range [0-9,]+ to|at most) ([0-9][0-9,^]*)"); high.has_value()) {
      EXPECT_TRUE(IsGood(field, Number(*high)));
      EXPECT_FALSE(IsGood(field, Next(field, Number(*high), kInfinity)));
      ++highs;
    } else if (const auto below = Find(field.comment, "Range .*below ([0-9]+)"); below.has_value()) {
      EXPECT_FALSE(IsGood(field, Number(*below)));
      EXPECT_TRUE(IsGood(field, Next(field, Number(*below), -kInfinity)));
      ++highs;
    }
  }
  EXPECT_GE(lows, 40);
  EXPECT_GE(highs, 10);
}

}  // namespace
}  // namespace gradwatch::core
