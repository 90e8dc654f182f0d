#include "client/cli/near_rules.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/rules_help.h"
#include "client/lib/printable.h"
#include "client/lib/suggestion.h"

namespace gradwatch::cli {

void NoteNearRules(const v1::RuleSet& written, const v1::RuleSet& resolved, const Session& session) {
  std::set<std::string> own;
  for (const v1::Rule& rule : written.rules()) own.insert(rule.name());
  std::vector<std::string> of_preset;
  for (const v1::Rule& rule : resolved.rules()) {
    if (own.count(rule.name()) == 0) of_preset.push_back(rule.name());
  }
  for (const std::string& name : own) {
    const std::string meant = client::NearestSuggestion(name, of_preset, /*most_edits=*/1);
    if (!meant.empty()) session.Note(absl::StrCat("gradwatch: ", name, " is a rule beside those of the preset", meant));
  }
}

void NoteReplacedDefaults(const v1::RuleSet& written, const v1::RuleSet& resolved, const Session& session) {
  if (written.preset().empty() || written.preset() == kDefaultPreset) return;
  const absl::StatusOr<v1::RuleSet> defaults = ReadPreset(kDefaultPreset, session);
  if (!defaults.ok()) return;
  std::set<std::string> names;
  for (const v1::Rule& rule : resolved.rules()) names.insert(rule.name());
  int gone = 0;
  for (const v1::Rule& rule : defaults->rules()) gone += names.count(rule.name()) == 0 ? 1 : 0;
  if (gone == 0) return;
  const int all = defaults->rules_size();
  const std::string which = gone == all ? absl::StrCat("the ", all) : absl::StrCat(gone, " of the ", all);
  const std::string left =
      names.empty() ? "no rules" : absl::StrCat(names.size(), names.size() == 1 ? " rule" : " rules");
  session.Note(absl::StrCat("gradwatch: preset ", client::Printable(written.preset()), " replaces ", which,
                            " default rules; the job has ", left));
}

}  // namespace gradwatch::cli
