#include "client/lib/spec_reader.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/lib/json_escapes.h"
#include "client/lib/set_field.h"
#include "client/lib/utf8.h"
#include "client/lib/yaml_to_message.h"

namespace gradwatch::client {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

constexpr size_t kMaxFileBytes = 16 << 20;
constexpr int kMaxDepth = 100;

// Keeps the first error; the others follow from it.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (!text_.empty()) return;
    if (line >= 0) absl::StrAppend(&text_, line + 1, ":", column + 1, ":");
    absl::StrAppend(&text_, text_.empty() ? "" : " ", message);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// Whether all strings in `message` are UTF-8.
bool HasOnlyUtf8(const Message& message) {
  const auto& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  std::string scratch;
  for (const FieldDescriptor* const field : fields) {
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      if (field->type() == FieldDescriptor::TYPE_STRING) {
        const std::string& text = field->is_repeated()
                                      ? reflection.GetRepeatedStringReference(message, field, i, &scratch)
                                      : reflection.GetStringReference(message, field, &scratch);
        if (ValidUtf8Prefix(text) < text.size()) return false;
      } else if (field->type() == FieldDescriptor::TYPE_MESSAGE) {
        if (!HasOnlyUtf8(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                              : reflection.GetMessage(message, field))) {
          return false;
        }
      }
    }
  }
  return true;
}

// Protobuf would read "0x10" as 16 and "010" as 8, which nothing else here does.
absl::Status CheckNumbers(absl::string_view text, absl::string_view source_name) {
  using google::protobuf::io::Tokenizer;
  google::protobuf::io::ArrayInputStream input(text.data(), static_cast<int>(text.size()));
  FirstError ignored;  // the parser finds it again
  Tokenizer tokenizer(&input, &ignored);
  tokenizer.set_comment_style(Tokenizer::SH_COMMENT_STYLE);
  while (tokenizer.Next()) {
    const Tokenizer::Token& token = tokenizer.current();
    if (token.type != Tokenizer::TYPE_INTEGER || token.text.size() < 2 || token.text[0] != '0') continue;
    // Octal: "010". Textproto has no other reading of it, so it is refused.
    const absl::string_view expected =
        absl::ascii_isdigit(token.text[1]) ? "a decimal number without leading zeros" : "a decimal number";
    return absl::InvalidArgumentError(absl::StrCat(source_name, ":", token.line + 1, ":", token.column + 1,
                                                   ": expected ", expected, ", found \"", token.text.substr(0, 60),
                                                   "\""));
  }
  return absl::OkStatus();
}

// What some editors and shells write in place of UTF-8.
absl::Status CheckEncoding(absl::string_view text, absl::string_view source_name) {
  const auto not_utf8 = [source_name](absl::string_view encoding) {
    return absl::InvalidArgumentError(absl::StrCat(source_name, ": is ", encoding, "; must be UTF-8"));
  };
  const absl::string_view marks_of_utf32[] = {{"\xff\xfe\0\0", 4}, {"\0\0\xfe\xff", 4}};
  for (const absl::string_view mark : marks_of_utf32) {
    if (absl::StartsWith(text, mark)) return not_utf8("UTF-32");
  }
  if (absl::StartsWith(text, "\xff\xfe") || absl::StartsWith(text, "\xfe\xff")) return not_utf8("UTF-16");
  const size_t nul = text.find('\0');
  if (nul == absl::string_view::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(source_name, ": byte ", nul, " is NUL, so this is not UTF-8 text; perhaps it is UTF-16"));
}

absl::Status ParseTextproto(absl::string_view text, absl::string_view source_name, Message* message) {
  if (const size_t valid = ValidUtf8Prefix(text); valid < text.size()) {
    return absl::InvalidArgumentError(absl::StrCat(source_name, ": not UTF-8 at byte ", valid));
  }
  if (absl::Status status = CheckNumbers(text, source_name); !status.ok()) return status;
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(kMaxDepth);
  if (!parser.ParseFromString(std::string(text), message)) {
    return absl::InvalidArgumentError(absl::StrCat(source_name, ":", error.text()));
  }
  // Escapes may still have made other bytes, which no server would take.
  if (!HasOnlyUtf8(*message)) return absl::InvalidArgumentError(absl::StrCat(source_name, ": a string is not UTF-8"));
  return absl::OkStatus();
}

std::optional<SpecSyntax> SyntaxOfName(absl::string_view path) {
  for (const auto* const ending : {".yaml", ".yml"}) {
    if (absl::EndsWithIgnoreCase(path, ending)) return SpecSyntax::kYaml;
  }
  for (const auto* const ending : {".textproto", ".txtpb", ".pbtxt"}) {
    if (absl::EndsWithIgnoreCase(path, ending)) return SpecSyntax::kTextproto;
  }
  if (absl::EndsWithIgnoreCase(path, ".json")) return SpecSyntax::kJson;
  return std::nullopt;
}

// JSON starts with a brace; textproto has lines such as "model {", which YAML has not.
SpecSyntax GuessSyntax(absl::string_view text) {
  if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "{")) return SpecSyntax::kJson;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    const size_t name = std::min(line.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_"), line.size());
    if (name > 0 && absl::StartsWith(absl::StripLeadingAsciiWhitespace(line.substr(name)), "{")) {
      return SpecSyntax::kTextproto;
    }
  }
  return SpecSyntax::kYaml;
}

absl::Status FileError(int error, const std::string& name) {
  const std::string text = absl::StrCat(name, ": ", std::generic_category().message(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(text);
  if (error == EACCES) return absl::PermissionDeniedError(text);
  return absl::InvalidArgumentError(text);
}

absl::StatusOr<std::string> ReadAll(std::FILE* file, const std::string& name) {
  std::string content;
  char block[1 << 16];
  size_t count;
  while ((count = std::fread(block, 1, sizeof(block), file)) > 0) {
    content.append(block, count);
    if (content.size() > kMaxFileBytes) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": larger than ", kMaxFileBytes, " bytes"));
    }
  }
  if (std::ferror(file)) return FileError(errno, name);
  return content;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), std::fclose);
  if (file == nullptr) return FileError(errno, path);
  return ReadAll(file.get(), path);
}

// A file with the syntax in which it is written.
struct Source {
  std::string name;
  std::string text;
  SpecSyntax syntax;
};

absl::StatusOr<Source> ReadSource(const std::string& path) {
  const bool standard_input = path == "-";
  const std::string name = standard_input ? "standard input" : path;
  absl::StatusOr<std::string> content = standard_input ? ReadAll(stdin, name) : ReadFile(path);
  if (!content.ok()) return content.status();
  const SpecSyntax syntax = SyntaxOfName(path).value_or(GuessSyntax(*content));
  return Source{name, *std::move(content), syntax};
}

// Whether what is wrong with rules is that they stand in a job's field of that name.
bool IsOfJob(const absl::Status& status) {
  return absl::StrContains(status.message(), "rules: expected a list, found a mapping") ||
         absl::StrContains(status.message(), "\"gradwatch.v1.Rule\" has no field named \"rules\"");
}

}  // namespace

absl::Status ParseMessage(absl::string_view text, SpecSyntax syntax, absl::string_view source_name, Message* message) {
  if (absl::Status status = CheckEncoding(text, source_name); !status.ok()) return status;
  switch (syntax) {
    case SpecSyntax::kYaml:
      return YamlToMessage(text, source_name, message);
    case SpecSyntax::kJson:
      return YamlToMessage(JoinSurrogateEscapes(text), source_name, message);
    case SpecSyntax::kTextproto:
      return ParseTextproto(text, source_name, message);
  }
  return absl::InternalError("no such syntax");
}

absl::Status ReadMessage(const std::string& path, Message* message) {
  const absl::StatusOr<Source> source = ReadSource(path);
  if (!source.ok()) return source.status();
  return ParseMessage(source->text, source->syntax, source->name, message);
}

absl::StatusOr<v1::RuleSet> ReadRules(const std::string& path) {
  const absl::StatusOr<Source> source = ReadSource(path);
  if (!source.ok()) return source.status();
  v1::RuleSet rules;
  const absl::Status status = ParseMessage(source->text, source->syntax, source->name, &rules);
  if (status.ok()) return rules;
  v1::JobSpec spec;
  const absl::Status spec_status = ParseMessage(source->text, source->syntax, source->name, &spec);
  if (!spec_status.ok()) return IsOfJob(status) ? spec_status : status;
  if (!spec.has_rules()) return status;
  return spec.rules();
}

absl::StatusOr<v1::JobSpec> ParseJobSpec(absl::string_view text, SpecSyntax syntax, absl::string_view source_name) {
  v1::JobSpec spec;
  if (absl::Status status = ParseMessage(text, syntax, source_name, &spec); !status.ok()) return status;
  return spec;
}

absl::StatusOr<v1::JobSpec> ReadJobSpec(const std::string& path) {
  v1::JobSpec spec;
  if (absl::Status status = ReadMessage(path, &spec); !status.ok()) return status;
  return spec;
}

absl::Status SetField(v1::JobSpec* spec, absl::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(absl::StrCat("expected path=value, found \"", assignment, "\""));
  }
  return SetFieldAtPath(assignment.substr(0, equals), assignment.substr(equals + 1), spec);
}

}  // namespace gradwatch::client
