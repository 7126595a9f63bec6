#include "cli/help.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/suggestion.h"

namespace farm {
namespace {

constexpr size_t kPageColumns = 80;
constexpr size_t kNameColumns = 29;

std::string FullName(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  if (parent == nullptr) return command.get_name();
  return absl::StrCat(FullName(*parent), " ", command.get_name());
}

std::string OptionNames(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  std::string text = absl::StrJoin(names, ", ");
  if (option.get_snames().empty()) text = "    " + text;
  const std::string type = option.get_type_name();
  if (option.get_items_expected_max() > 0 && !type.empty()) absl::StrAppend(&text, " ", type);
  return text;
}

// "  NAME      description", the description broken into lines under itself.
std::string Row(absl::string_view name, absl::string_view description) {
  std::string text = absl::StrCat("  ", name);
  size_t column = text.size();
  if (column >= kNameColumns) {
    text += "  ";
    column += 2;
  } else {
    text.append(kNameColumns - column, ' ');
    column = kNameColumns;
  }
  bool first = true;
  for (const absl::string_view word : absl::StrSplit(description, ' ', absl::SkipEmpty())) {
    if (!first && column + 1 + word.size() > kPageColumns) {
      absl::StrAppend(&text, "\n", std::string(kNameColumns, ' '));
      column = kNameColumns;
    } else if (!first) {
      text += ' ';
      ++column;
    }
    absl::StrAppend(&text, word);
    column += word.size();
    first = false;
  }
  return text + "\n";
}

std::string Usage(const CLI::App& command) {
  std::string text = FullName(command);
  if (!command.get_subcommands({}).empty()) return text + " COMMAND";
  if (!command.get_options([](const CLI::Option* o) { return !o->get_positional(); }).empty()) {
    text += " [OPTIONS]";
  }
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_positional()) continue;
    std::string name =
        option->get_type_name().empty() ? option->get_single_name() : option->get_type_name();
    if (option->get_items_expected_max() > 1) name += "...";
    absl::StrAppend(&text, " ", option->get_required() ? name : absl::StrCat("[", name, "]"));
  }
  return text;
}

}  // namespace

std::string HelpText(const CLI::App& command) {
  std::string text = absl::StrCat(command.get_description(), "\n\nUsage: ", Usage(command), "\n");
  std::vector<std::string> groups;
  for (const CLI::App* sub : command.get_subcommands({})) {
    if (std::find(groups.begin(), groups.end(), sub->get_group()) == groups.end()) {
      groups.push_back(sub->get_group());
    }
  }
  for (const std::string& group : groups) {
    if (group.empty()) continue;
    absl::StrAppend(&text, "\n", group == "Subcommands" ? "Commands" : group, ":\n");
    for (const CLI::App* sub : command.get_subcommands({})) {
      if (sub->get_group() == group) {
        const std::vector<std::string> lines = absl::StrSplit(sub->get_description(), '\n');
        text += Row(sub->get_name(), lines[0]);
      }
    }
  }
  std::string options;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_positional() || option->get_group().empty()) continue;
    options += Row(OptionNames(*option), option->get_description());
  }
  if (!options.empty()) absl::StrAppend(&text, "\nOptions:\n", options);
  if (!command.get_footer().empty()) absl::StrAppend(&text, "\n", command.get_footer(), "\n");
  return text;
}

std::string UsageErrorText(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  const std::string name = FullName(*command);
  const std::vector<std::string> extras = app.remaining(/*recurse=*/true);
  std::string what = error.what();
  const auto kind = static_cast<CLI::ExitCodes>(error.get_exit_code());
  // A word that is no command also makes CLI11 miss one.
  if (!extras.empty() &&
      (kind == CLI::ExitCodes::ExtrasError || kind == CLI::ExitCodes::RequiredError)) {
    const std::string& word = extras.front();
    std::vector<std::string> candidates;
    if (absl::StartsWith(word, "-")) {
      for (const CLI::App* from = command; from != nullptr; from = from->get_parent()) {
        for (const CLI::Option* option : from->get_options()) {
          for (const std::string& l : option->get_lnames()) candidates.push_back("--" + l);
        }
      }
      what = absl::StrCat("unknown flag: ", word);
    } else if (!command->get_subcommands({}).empty()) {
      for (const CLI::App* sub : command->get_subcommands({}))
        candidates.push_back(sub->get_name());
      what = absl::StrCat("unknown command: ", word);
    } else {
      what = absl::StrCat("too many arguments: ", absl::StrJoin(extras, " "));
    }
    const std::vector<std::string> halves = absl::StrSplit(word, absl::MaxSplits('=', 1));
    if (command == &app && (word == "login" || word == "logout")) {
      absl::StrAppend(&what, "; run docker ", word,
                      ": farm uses the credentials that docker login has entered");
    } else if (const std::string near = ClosestMatch(halves[0], candidates); !near.empty()) {
      absl::StrAppend(&what, "; did you mean ", near, "?");
    }
  } else if (kind == CLI::ExitCodes::RequiredError && !command->get_subcommands({}).empty()) {
    what = "a command is missing";
  } else if (kind == CLI::ExitCodes::RequiredError) {
    what = absl::StrCat("missing argument: ", absl::StripSuffix(what, " is required"));
  }
  return absl::StrCat(name, ": ", what, "\nSee '", name, " --help'.\n");
}

}  // namespace farm
