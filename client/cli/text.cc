#include "client/cli/text.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/civil_time.h"
#include "client/lib/printable.h"
#include "client/lib/timestamp.h"

namespace gradwatch::cli {
namespace {

constexpr double kLargestPlain = 1e6;  // of whole numbers that are written without an exponent

}  // namespace

std::string NumberText(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  const bool is_plain = value == std::floor(value) && std::abs(value) <= kLargestPlain;
  return is_plain ? absl::StrFormat("%.0f", value) : absl::StrFormat("%.4g", value);
}

std::string ExactText(double value) {
  std::string text = NumberText(value);
  double read = 0;
  for (int digits = 5; digits <= std::numeric_limits<double>::max_digits10; ++digits) {
    if (!std::isfinite(value) || (absl::SimpleAtod(text, &read) && read == value)) break;
    text = absl::StrFormat("%.*g", digits, value);
  }
  return text;
}

std::string BytesText(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return absl::StrFormat("%.3g %s", value, kUnits[unit]);
}

std::string DurationText(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(duration);
  if (seconds < 120) return absl::StrCat(seconds, " s");
  if (seconds < 120 * 60) return absl::StrCat(seconds / 60, " min");
  if (seconds < 48 * 3600) return absl::StrCat(seconds / 3600, " h");
  return absl::StrCat(seconds / 86400, " d");
}

std::string AgoText(const google::protobuf::Timestamp& time, absl::Time now) {
  if (time.seconds() == 0) return "";
  return absl::StrCat(DurationText(std::max(now - client::FromTimestamp(time), absl::ZeroDuration())), " ago");
}

std::string ClockText(const google::protobuf::Timestamp& time, absl::Time now, absl::TimeZone zone) {
  const absl::Time second = absl::FromUnixSeconds(time.seconds() + (time.nanos() > 0 ? 1 : 0));
  const bool is_today = absl::ToCivilDay(second, zone) == absl::ToCivilDay(now, zone);
  return absl::FormatTime(is_today ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", second, zone);
}

int CharacterCount(absl::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string ShellQuoted(absl::string_view text) {
  const auto is_plain = [](char c) { return absl::ascii_isalnum(c) || absl::string_view("-_./:=,+@%").find(c) < 10; };
  if (!text.empty() && std::all_of(text.begin(), text.end(), is_plain)) return std::string(text);
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

std::string TableText(const std::vector<std::vector<std::string>>& originals) {
  std::vector<std::vector<std::string>> rows = originals;
  for (auto& row : rows) {
    for (std::string& cell : row) cell = client::Printable(cell);
  }
  std::vector<int> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], CharacterCount(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&line, row[i], std::string(widths[i] - CharacterCount(row[i]) + 2, ' '));
    }
    absl::StrAppend(&text, absl::StripTrailingAsciiWhitespace(line), "\n");
  }
  return text;
}

}  // namespace gradwatch::cli
