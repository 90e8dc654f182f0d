#include "client/lib/spec_writer.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/lib/utf8.h"
#include "client/lib/value_tree.h"

namespace gradwatch::client {
namespace {

using Kind = ValueTree::Kind;

constexpr char32_t kReplacement = 0xfffd;  // for what is not UTF-8

// Writes a tree as JSON, with line breaks if it is to be pretty.
class JsonWriter {
 public:
  explicit JsonWriter(bool pretty) : pretty_(pretty) {}

  void Write(const ValueTree& tree, int depth) {
    switch (tree.kind) {
      case Kind::kText:
        text_ += JsonString(tree.text);
        return;
      case Kind::kNumber:
        text_ += tree.is_special_number() ? JsonString(tree.text) : tree.text;
        return;
      case Kind::kBool:
        text_ += tree.text;
        return;
      case Kind::kList:
        return WriteItems('[', ']', depth, tree.elements, [&](const ValueTree& element) { Write(element, depth + 1); });
      case Kind::kMapping:
        return WriteItems('{', '}', depth, tree.members, [&](const auto& member) {
          absl::StrAppend(&text_, JsonString(member.key), pretty_ ? ": " : ":");
          Write(member.value, depth + 1);
        });
    }
  }
  std::string TakeText() { return std::move(text_); }

 private:
  void WriteItems(char open, char close, int depth, const auto& items, const auto& write) {
    text_ += open;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) text_ += ',';
      BreakLine(depth + 1);
      write(items[i]);
    }
    if (!items.empty()) BreakLine(depth);
    text_ += close;
  }
  void BreakLine(int depth) {
    if (pretty_) absl::StrAppend(&text_, "\n", std::string(2 * depth, ' '));
  }

  const bool pretty_;
  std::string text_;
};

// Whether `text` means itself in YAML without quotes: it starts with a letter, has nothing that YAML or a reader could
// take for something else, and is not a word that some YAML reads as a value.
bool IsPlainYaml(absl::string_view text) {
  constexpr std::array<absl::string_view, 12> kWords = {"true", "false", "null", "yes", "no",  "on",
                                                        "off",  "y",     "n",    "nan", "inf", "infinity"};
  if (text.empty() || !absl::ascii_isalpha(text.front())) return false;
  for (const absl::string_view word : kWords) {
    if (absl::EqualsIgnoreCase(text, word)) return false;
  }
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isalnum(c) || absl::StrContains("_-./", c); });
}

std::string YamlString(absl::string_view text) { return IsPlainYaml(text) ? std::string(text) : JsonString(text); }

std::string YamlNumber(const ValueTree& tree) {
  if (!tree.is_special_number()) return tree.text;
  return tree.text == "NaN" ? ".nan" : tree.text == "Infinity" ? ".inf" : "-.inf";
}

// Writes a tree as YAML in block style.
class YamlWriter {
 public:
  // Writes what stands on the lines of their own below a key or a dash. The first line is already indented.
  void WriteBlock(const ValueTree& tree, int depth) {
    const char* separator = "";
    const std::string indented = absl::StrCat("\n", std::string(2 * depth, ' '));
    for (const auto& [key, value] : tree.members) {
      absl::StrAppend(&text_, std::exchange(separator, indented.c_str()), YamlString(key), ":");
      if (IsBlock(value)) absl::StrAppend(&text_, "\n", std::string(2 * (depth + 1), ' '));
      WriteValue(value, depth + 1);
    }
    for (const ValueTree& element : tree.elements) {
      absl::StrAppend(&text_, std::exchange(separator, indented.c_str()), "-");
      if (IsBlock(element)) text_ += ' ';
      WriteValue(element, depth + 1);
    }
  }
  std::string TakeText() { return text_.empty() ? "{}" : std::move(text_); }

 private:
  static bool IsBlock(const ValueTree& tree) { return !tree.members.empty() || !tree.elements.empty(); }

  void WriteValue(const ValueTree& tree, int depth) {
    if (IsBlock(tree)) return WriteBlock(tree, depth);
    absl::StrAppend(&text_, " ",
                    tree.kind == Kind::kText     ? YamlString(tree.text)
                    : tree.kind == Kind::kNumber ? YamlNumber(tree)
                    : tree.kind == Kind::kBool   ? tree.text
                    : tree.kind == Kind::kList   ? "[]"
                                                 : "{}");
  }

  std::string text_;
};

std::string FormatTextproto(const google::protobuf::Message& message) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  std::string text;
  printer.PrintToString(message, &text);
  while (absl::EndsWith(text, "\n")) text.pop_back();
  return text;
}

}  // namespace

std::string JsonString(absl::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const absl::string_view character = text.substr(0, std::max<size_t>(Utf8Length(text), 1));
    const char32_t code_point = Utf8Length(text) == 0 ? kReplacement : Utf8CodePoint(character);
    if (code_point == '"' || code_point == '\\') {
      absl::StrAppend(&json, "\\", character);
    } else if (code_point == '\n' || code_point == '\t') {
      json += code_point == '\n' ? "\\n" : "\\t";
    } else if ((!IsPrintable(code_point) && code_point < 0x10000) || code_point == kReplacement) {
      absl::StrAppendFormat(&json, "\\u%04x", static_cast<uint32_t>(code_point));
    } else {
      absl::StrAppend(&json, character);
    }
    text.remove_prefix(character.size());
  }
  return json + '"';
}

std::string FormatMessage(const google::protobuf::Message& message, OutputSyntax syntax, const FormatOptions& options) {
  if (syntax == OutputSyntax::kTextproto) return FormatTextproto(message);
  const ValueTree tree = BuildValueTree(message, options.include_defaults, options.partial);
  if (syntax == OutputSyntax::kYaml) {
    YamlWriter writer;
    writer.WriteBlock(tree, 0);
    return writer.TakeText();
  }
  JsonWriter writer(syntax == OutputSyntax::kJsonPretty);
  writer.Write(tree, 0);
  return writer.TakeText();
}

}  // namespace gradwatch::client
