#include "cli/program.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/config_file.h"
#include "base/version.h"
#include "cli/command.h"
#include "cli/help.h"

namespace farm {
namespace {

const CLI::App& ChosenCommand(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  return *command;
}

// True if `arg` is a flag whose value is the next argument.
bool WantsValue(const CLI::App& command, const std::string& arg) {
  if (!absl::StartsWith(arg, "-")) return false;
  for (const CLI::App* from = &command; from != nullptr; from = from->get_parent()) {
    const CLI::Option* option = from->get_option_no_throw(arg);
    if (option != nullptr) return option->get_items_expected_max() > 0;
  }
  return false;
}

// CLI11 takes "-H=false" for -H and more letters. As docker reads it, it is "--human=false".
std::vector<std::string> WithLongNames(const CLI::App& app, std::vector<std::string> args) {
  const CLI::App* command = &app;
  for (size_t i = 0; i < args.size() && args[i] != "--"; ++i) {
    if (i > 0 && WantsValue(*command, args[i - 1])) continue;
    std::string& arg = args[i];
    const auto subcommands =
        command->get_subcommands([&arg](const CLI::App* sub) { return sub->get_name() == arg; });
    if (!subcommands.empty()) command = subcommands.front();
    if (arg.size() < 3 || arg[0] != '-' || arg[1] == '-' || arg[2] != '=') continue;
    for (const CLI::App* from = command; from != nullptr; from = from->get_parent()) {
      const CLI::Option* option = from->get_option_no_throw(arg.substr(0, 2));
      if (option == nullptr || option->get_lnames().empty()) continue;
      arg = absl::StrCat("--", option->get_lnames().front(), arg.substr(2));
      break;
    }
  }
  return args;
}

// "help" as docker has it: "help build" is "build --help".
std::vector<std::string> WithHelpFlag(std::vector<std::string> args) {
  if (args.empty() || args.front() != "help") return args;
  args.erase(args.begin());
  args.push_back("--help");
  return args;
}

}  // namespace

int RunProgram(const std::vector<std::string>& args, std::ostream& out, std::ostream& err,
               Clock& clock, std::unique_ptr<FarmClient> client) {
  CLI::App app("Build images from Dockerfiles, step by step, on the workers of a farm", "farm");
  GlobalOptions global;
  app.add_option("--farm", global.farm, "farm to use: unix:PATH or HOST:PORT [$FARM_ADDR, config]")
      ->type_name("ADDR");
  app.add_option("--config", global.config, "configuration [~/.config/farm/config.yaml]")
      ->type_name("FILE");
  app.add_option("--token-file", global.token_file, "file with the token for the farm")
      ->type_name("FILE");
  bool print_config = false;
  app.add_flag("--print-config", print_config, "print the effective configuration and exit");
  app.set_help_flag("-h,--help", "show help");
  app.set_version_flag("--version", absl::StrCat("farm ", Version()), "show the version");
  app.fallthrough();
  const bool needs_command = std::find(args.begin(), args.end(), "--print-config") == args.end();
  app.require_subcommand(needs_command ? 1 : 0, 1);
  CommandRunner run;
  AddBuildCommand(app, run);
  AddImageCommands(app, run);
  AddTransferCommands(app, run);
  AddDockerfileCommands(app, run);
  AddFarmCommands(app, run);
  AddCompletionCommand(app, run);
  // Last, since commands inherit it.
  app.footer(
      "Exit status: 0 done, 1 the build or command failed, 2 wrong usage or\n"
      "configuration, 3 trouble with the farm, 130 Ctrl-C.\n"
      "'farm COMMAND --help' says more about a command.");

  if (args.empty()) {
    out << HelpText(app);
    return kExitDone;
  }
  try {
    std::vector<std::string> reversed = WithLongNames(app, WithHelpFlag(args));
    std::reverse(reversed.begin(), reversed.end());  // As CLI11 wants them.
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    out << HelpText(ChosenCommand(app));
    return kExitDone;
  } catch (const CLI::CallForVersion& version) {
    out << version.what() << "\n";
    return kExitDone;
  } catch (const CLI::ParseError& error) {
    err << UsageErrorText(app, error);
    return kExitUsage;
  }
  CommandContext context(global, out, err, clock);
  if (print_config) {
    const absl::StatusOr<v1::ClientConfig> config = context.EffectiveConfig();
    if (!config.ok()) return context.Fail(config.status());
    out << ConfigToYaml(*config);
    return kExitDone;
  }
  if (client != nullptr) context.SetFarm(std::move(client));
  return run(context);
}

int FinishOutput(std::ostream& out, std::ostream& err, int code) {
  errno = 0;
  out.flush();
  if (out.good()) return code;
  // Who closes a pipe early has what it wanted (`farm images | head -1`).
  if (errno != EPIPE) err << "ERROR: standard output could not be written" << std::endl;
  return code == kExitDone ? static_cast<int>(kExitFailed) : code;
}

}  // namespace farm
