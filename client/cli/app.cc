#include "client/cli/app.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <map>
#include <memory>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/adjust.h"
#include "client/cli/alerts.h"
#include "client/cli/clip_cancel.h"
#include "client/cli/clip_get.h"
#include "client/cli/clip_set.h"
#include "client/cli/compare.h"
#include "client/cli/health.h"
#include "client/cli/job_change.h"
#include "client/cli/job_get.h"
#include "client/cli/job_list.h"
#include "client/cli/job_update.h"
#include "client/cli/job_wait.h"
#include "client/cli/option_types.h"
#include "client/cli/rules.h"
#include "client/cli/rules_help.h"
#include "client/cli/rules_set.h"
#include "client/cli/session.h"
#include "client/cli/silences.h"
#include "client/cli/stats.h"
#include "client/cli/submit.h"
#include "client/cli/watch.h"
#include "client/lib/channel.h"
#include "client/lib/printable.h"
#include "client/lib/suggestion.h"
#include "client/lib/utf8.h"

namespace gradwatch::cli {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(10);

constexpr char kFooter[] =
    "Exit codes: 0 success, 1 failed, 2 usage or invalid spec, 3 no server, 4 not allowed, 5 not found, 6 conflict,\n"
    "7 quota, 8 stopped, 9 alert (--fail-on-alert), 124 timeout, 130 Ctrl-C.";

struct GlobalOptions {
  std::string server;
  Output output = Output::kTable;
  absl::optional<double> timeout_seconds;
  std::string color = "auto";
};

using Command = std::function<absl::StatusOr<ExitCode>(Session&)>;

// Adds a command whose options live as long as `selected`, which is set if the command is given.
template <typename Options>
void AddCommand(CLI::App& parent, CLI::App* (*add)(CLI::App&, Options*),
                absl::StatusOr<ExitCode> (*run)(const Options&, Session&), Command* selected) {
  auto options = std::make_shared<Options>();
  CLI::App* app = add(parent, options.get());
  app->callback([=] { *selected = [=](Session& session) { return run(*options, session); }; });
}

CLI::App& AddGroup(CLI::App& parent, const char* name, const char* description) {
  return *parent.add_subcommand(name, description)->require_subcommand(1);
}

void AddCommands(CLI::App& app, Command* selected) {
  AddCommand(app, AddSubmit, RunSubmit, selected);
  CLI::App& job = AddGroup(app, "job", "Look up, change and end jobs");
  AddCommand(job, AddJobList, RunJobList, selected);
  AddCommand(job, AddJobGet, RunJobGet, selected);
  AddCommand(job, AddJobWait, RunJobWait, selected);
  AddCommand(job, AddJobUpdate, RunJobUpdate, selected);
  AddCommand(job, AddJobPause, RunJobPause, selected);
  AddCommand(job, AddJobResume, RunJobResume, selected);
  AddCommand(job, AddJobStop, RunJobStop, selected);
  AddCommand(job, AddJobDelete, RunJobDelete, selected);
  AddCommand(app, AddWatch, RunWatch, selected);
  CLI::App& alerts = AddGroup(app, "alerts", "Alerts of all jobs");
  AddCommand(alerts, AddAlertsList, RunAlertsList, selected);
  AddCommand(alerts, AddAlertsWatch, RunAlertsWatch, selected);
  AddCommand(alerts, AddAlertsGet, RunAlertsGet, selected);
  AddCommand(alerts, AddAlertsAck, RunAlertsAck, selected);
  AddCommand(alerts, AddAlertsSilence, RunAlertsSilence, selected);
  AddCommand(alerts, AddAlertsSilences, RunAlertsSilences, selected);
  AddCommand(alerts, AddAlertsUnsilence, RunAlertsUnsilence, selected);
  CLI::App& clip = AddGroup(app, "clip", "The clip threshold of a job, and the changes that wait");
  AddCommand(clip, AddClipGet, RunClipGet, selected);
  AddCommand(clip, AddClipSet, RunClipSet, selected);
  AddCommand(clip, AddClipUnset, RunClipUnset, selected);
  AddCommand(clip, AddClipCancel, RunClipCancel, selected);
  AddCommand(app, AddAdjust, RunAdjust, selected);
  CLI::App& rules = AddGroup(app, "rules", "The rules by which a job is judged, also while it runs");
  AddCommand(rules, AddRulesGet, RunRulesGet, selected);
  AddCommand(rules, AddRulesApply, RunRulesApply, selected);
  AddCommand(rules, AddRulesSet, RunRulesSet, selected);
  AddCommand(rules, AddRulesConditions, RunRulesConditions, selected);
  AddCommand(rules, AddRulesPresets, RunRulesPresets, selected);
  AddCommand(app, AddStats, RunStats, selected);
  AddCommand(app, AddCompare, RunCompare, selected);
  AddCommand(app, AddHealth, RunHealth, selected);
  AddCommand(app, AddVersion, RunVersion, selected);
}

void AddGlobalOptions(CLI::App& app, GlobalOptions* options) {
  static const std::map<std::string, Output> kOutputs = {{"table", Output::kTable},
                                                         {"json", Output::kJson},
                                                         {"jsonl", Output::kJson},
                                                         {"yaml", Output::kYaml},
                                                         {"csv", Output::kCsv}};
  app.add_option("--server", options->server, "host:port or unix:path; unset: GRADWATCH_SERVER, else 127.0.0.1:7700");
  app.add_option_function<std::string>(
         "-o,--output",
         [options](const std::string& name) {
           if (kOutputs.count(name) == 0)
             throw CLI::ValidationError("-o", "\"" + name + "\" is none of table, json, yaml, csv");
           options->output = kOutputs.at(name);
         },
         "table, json or yaml; a stream in json is one object a line; stats prints csv, too")
      ->type_name("FORM");
  app.add_option("--timeout", options->timeout_seconds, "Seconds after which the command gives up, with exit code 124")
      ->check(client::FinitePositive());
  app.add_option("--color", options->color, "auto, always or never")->check(CLI::IsMember({"auto", "always", "never"}));
}

bool WantsColor(const GlobalOptions& options, const Environment& environment, const Io& io) {
  if (options.color != "auto") return options.color == "always";
  return io.out_is_tty && environment("NO_COLOR").empty() && environment("TERM") != "dumb";
}

std::string ServerOf(const GlobalOptions& options, const Environment& environment) {
  if (!options.server.empty()) return options.server;
  const std::string server = environment("GRADWATCH_SERVER");
  return server.empty() ? client::kDefaultServer : server;
}

ExitCode RunCommand(const Command& command, const GlobalOptions& options, const Environment& environment, Io& io,
                    client::Cancellation* cancellation) {
  io.color = WantsColor(options, environment, io);
  absl::optional<absl::Duration> timeout;
  if (options.timeout_seconds.has_value()) timeout = absl::Seconds(*options.timeout_seconds);
  client::Connection connection(ServerOf(options, environment),
                                {.timeout = timeout.value_or(kCallTimeout), .cancellation = cancellation});
  Session session(io, options.output, connection, timeout);
  absl::StatusOr<ExitCode> code = command(session);
  if (const absl::Status written = session.CheckOutput(); code.ok() && !written.ok()) code = session.WithDone(written);
  if (code.ok()) return *code;
  PrintError(*io.err, code.status());
  return cancellation->cancelled() ? ExitCode::kInterrupted : ExitCodeOf(code.status());
}

// The position of the first argument that protobuf would not take as text; 0 if there is none.
size_t FirstThatIsNotUtf8(const std::vector<std::string>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (client::ValidUtf8Prefix(arguments[i]) < arguments[i].size()) return i + 1;
  }
  return 0;
}

// The group of commands of which none was given; null if one was.
const CLI::App* GroupWithoutCommand(const CLI::App& app) {
  const CLI::App* group = &app;
  while (group->get_require_subcommand_min() > 0) {
    if (group->get_subcommands().empty()) return group;
    group = group->get_subcommands().front();
  }
  return nullptr;
}

std::string NotExpectedText(const CLI::App& app) {
  // In the error itself they stand in reverse.
  return absl::StrCat("not expected: ", absl::StrJoin(app.remaining(/*recurse=*/true), " "));
}

// What is wrong where no command of `group` was given: mostly that one was mistyped.
std::string NoCommandText(const CLI::App& app, const CLI::App& group) {
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  if (!unknown.empty() && absl::StartsWith(unknown[0], "-")) return NotExpectedText(app);
  std::vector<std::string> commands;
  for (const CLI::App* command : group.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(command->get_name());
  }
  const std::string where = &group == &app ? "" : group.get_name() + ": ";
  if (unknown.empty()) return absl::StrCat(where, "a command is required", client::Suggestion("", commands));
  return absl::StrCat(where, "no command \"", unknown[0], "\"", client::Suggestion(unknown[0], commands));
}

// For what CLI11 throws: help and version, which are no errors, and all kinds of wrong arguments.
ExitCode TellParseError(const CLI::App& app, const CLI::ParseError& error, Io& io) {
  std::ostringstream out, err;
  const auto kind = static_cast<CLI::ExitCodes>(error.get_exit_code());
  const CLI::App* const group = kind == CLI::ExitCodes::RequiredError ? GroupWithoutCommand(app) : nullptr;
  if (kind == CLI::ExitCodes::ExtrasError || group != nullptr) {
    const std::string text = group == nullptr ? NotExpectedText(app) : NoCommandText(app, *group);
    err << "gradwatch: " << client::Printable(text) << "\nRun with --help for more information.\n";
  } else {
    app.exit(error, out, err);
  }
  *io.out << client::PrintableLines(out.str()) << std::flush;
  *io.err << client::PrintableLines(err.str()) << std::flush;
  if (kind != CLI::ExitCodes::Success) return ExitCode::kUsage;
  if (io.out->good()) return ExitCode::kSuccess;
  PrintError(*io.err, OutputLost());
  return ExitCode::kFailure;
}

}  // namespace

ExitCode RunApp(const std::vector<std::string>& arguments, const Environment& environment, Io io,
                client::Cancellation* cancellation) {
  if (const size_t bad = FirstThatIsNotUtf8(arguments); bad > 0) {
    *io.err << "gradwatch: argument " << bad << " is not UTF-8\n" << std::flush;
    return ExitCode::kUsage;
  }
  CLI::App app("Watch training jobs, and change them while they run.", "gradwatch");
  GlobalOptions options;
  Command command;
  app.fallthrough();  // global options may stand after the command
  app.require_subcommand(1);
  app.set_version_flag("--version", "gradwatch " GRADWATCH_VERSION);
  app.footer(kFooter);
  AddGlobalOptions(app, &options);
  AddCommands(app, &command);
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 takes them in reverse
  } catch (const CLI::ParseError& error) {
    return TellParseError(app, error, io);
  }
  if (options.output == Output::kCsv && !app.got_subcommand("stats")) {
    *io.err << "gradwatch: -o: only stats prints csv\n" << std::flush;
    return ExitCode::kUsage;
  }
  return RunCommand(command, options, environment, io, cancellation);
}

}  // namespace gradwatch::cli
