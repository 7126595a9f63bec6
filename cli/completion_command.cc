// farm completion
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/command.h"

namespace farm {
namespace {

// A command and what may follow it.
struct Completion {
  std::string path;  // "build", "local stop"
  std::string what;
  std::vector<std::string> words;
};

std::vector<std::string> FlagsOf(const CLI::App& command) {
  std::vector<std::string> words;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group().empty()) continue;
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  }
  return words;
}

void Collect(const CLI::App& command, const std::string& path, std::vector<Completion>& all) {
  Completion entry = {.path = path, .what = command.get_description(), .words = FlagsOf(command)};
  for (const CLI::App* sub : command.get_subcommands({})) entry.words.push_back(sub->get_name());
  all.push_back(std::move(entry));
  for (const CLI::App* sub : command.get_subcommands({})) {
    Collect(*sub, path.empty() ? sub->get_name() : absl::StrCat(path, " ", sub->get_name()), all);
  }
}

// Flags with few values, as patterns of the shell; those of --output stand behind "type=".
constexpr std::pair<const char*, const char*> kValues[] = {
    {"--progress", "auto tty plain rawjson quiet"},
    {"--network", "default host none"},
    {"--allow", "network.host security.insecure"},
    {"--compression", "gzip zstd"},
    {"-o|--output", "type=image type=registry type=oci type=docker type=tar type=local"},
    {"type", "image registry oci docker tar local"},
};
// Commands whose arguments are images.
constexpr char kImageCommands[] = "rmi|tag|history|inspect|push|save";

std::string Bash(const std::vector<Completion>& all) {
  std::string cases;
  for (const Completion& entry : all) {
    absl::StrAppend(&cases, "    \"", entry.path, "\") words=\"", absl::StrJoin(entry.words, " "),
                    "\";;\n");
  }
  return absl::StrCat(
      "# farm completion bash: source it, or put it into /etc/bash_completion.d/farm\n"
      "_farm() {\n"
      "  local word path=\"\" words=\"\" cur=\"${COMP_WORDS[COMP_CWORD]}\" i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    word=\"${COMP_WORDS[i]}\"\n"
      "    case \"${path:+$path }$word\" in\n",
      [&] {
        std::vector<std::string> paths;
        for (const Completion& entry : all) {
          if (!entry.path.empty()) paths.push_back(absl::StrCat("\"", entry.path, "\""));
        }
        return absl::StrCat("      ", absl::StrJoin(paths, "|"),
                            ") path=\"${path:+$path }$word\";;\n");
      }(),
      "    esac\n"
      "  done\n"
      "  case \"$path\" in\n",
      cases,
      "  esac\n"
      "  # To bash \"=\" and \":\" are words of their own.\n"
      "  local prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
      "  if [[ $cur == = ]]; then cur=\"\"\n"
      "  elif [[ $prev == = ]]; then prev=\"${COMP_WORDS[COMP_CWORD-2]}\"; fi\n"
      "  case \"$prev\" in\n",
      [] {
        std::string values;
        for (const auto& [flag, words] : kValues) {
          absl::StrAppend(&values, "    ", flag, ") words=\"", words, "\";;\n");
        }
        return values;
      }(),
      "    *) case \"$path $cur\" in\n"
      "      *\" -\"*) ;;\n"
      "      ",
      absl::StrReplaceAll(kImageCommands, {{"|", "\\ *|"}}),
      "\\ *)\n"
      "        local typed=\"${COMP_LINE:0:COMP_POINT}\"\n"
      "        typed=\"${typed##* }\"\n"
      "        words=\"$(timeout 2 farm images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null |\n"
      "          grep -v '<none>')\"\n"
      "        COMPREPLY=($(compgen -W \"$words\" -- \"$typed\"))\n"
      "        [[ $typed != *:* ]] || COMPREPLY=(\"${COMPREPLY[@]#\"${typed%:*}:\"}\")\n"
      "        return;;\n"
      "    esac;;\n"
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
      "  [[ ${#COMPREPLY[@]} -gt 0 || $cur == -* ]] && return\n"
      "  compopt -o filenames 2>/dev/null\n"
      "  COMPREPLY=($(compgen -f -- \"$cur\"))\n"
      "}\n"
      "complete -F _farm farm\n");
}

std::string Zsh(const std::vector<Completion>& all) {
  return absl::StrCat(
      "#compdef farm\n# farm completion zsh: put it into a directory of $fpath as _farm\n"
      "autoload -U +X bashcompinit && bashcompinit\n",
      Bash(all));
}

std::string Fish(const std::vector<Completion>& all) {
  std::string text = "# farm completion fish: put it into ~/.config/fish/completions/farm.fish\n";
  const auto quote = [](const std::string& words) {
    return absl::StrCat("'", absl::StrReplaceAll(words, {{"'", "\\'"}}), "'");
  };
  for (const Completion& entry : all) {
    const bool is_root = entry.path.empty();
    std::string condition = "__fish_use_subcommand";
    if (!is_root) {
      condition = absl::StrCat("__fish_seen_subcommand_from ",
                               entry.path.substr(entry.path.rfind(' ') + 1));
      const size_t space = entry.path.rfind(' ');
      absl::StrAppend(&text, "complete -c farm -n ",
                      quote(space == std::string::npos
                                ? "__fish_use_subcommand"
                                : "__fish_seen_subcommand_from " + entry.path.substr(0, space)),
                      " -f -a ", quote(entry.path.substr(space + 1)), " -d ", quote(entry.what),
                      "\n");
    }
    for (const std::string& word : entry.words) {
      if (word.rfind("--", 0) != 0) continue;
      absl::StrAppend(&text, "complete -c farm -n ", quote(condition), " -l ", word.substr(2),
                      "\n");
    }
  }
  return text;
}

}  // namespace

void AddCompletionCommand(CLI::App& app, CommandRunner& run) {
  CLI::App& command = *app.add_subcommand("completion", "Print a completion script for a shell");
  command.group("Farm");
  auto shell = std::make_shared<std::string>();
  command.add_option("SHELL", *shell, "bash, zsh or fish")
      ->type_name("bash|zsh|fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}).description(""));
  command.footer("Example:\n  source <(farm completion bash)");
  command.callback([shell, &app, &run] {
    run = [shell, &app](CommandContext& context) {
      std::vector<Completion> all;
      Collect(app, "", all);
      context.out() << (*shell == "bash" ? Bash(all) : *shell == "zsh" ? Zsh(all) : Fish(all));
      return static_cast<int>(kExitDone);
    };
  });
}

}  // namespace farm
