#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "dockerfile/clean_path.h"
#include "dockerfile/lint_rules.h"
#include "dockerfile/mount.h"
#include "dockerfile/parser.h"

namespace farm {
namespace {

// What the images that are built have if their base has none.
constexpr char kDefaultPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Whether one of `words` is a part of `name` between underscores.
bool HasPart(absl::string_view name, std::initializer_list<absl::string_view> words) {
  const std::string lower = absl::AsciiStrToLower(name);
  for (const absl::string_view part : absl::StrSplit(lower, '_')) {
    if (std::find(words.begin(), words.end(), part) != words.end()) return true;
  }
  return false;
}

bool LooksSecret(absl::string_view name) {
  return HasPart(name, {"apikey", "auth", "credential", "credentials", "key", "password", "pword",
                        "passwd", "secret", "token"}) &&
         !HasPart(name, {"public", "file", "version"});
}

bool IsRemote(absl::string_view source) {
  return absl::StartsWith(source, "http://") || absl::StartsWith(source, "https://") ||
         absl::StartsWith(source, "git@") || absl::StartsWith(source, "git://") ||
         absl::StartsWith(source, "ssh://");
}

class StageLinter {
 public:
  // What a stage hands on to those that are built on it.
  struct State {
    LintVariables env;
    std::set<std::string> args;  // Declared; they need not have a value.
    bool has_shell = false;
    bool has_workdir = false;
  };

  StageLinter(const Dockerfile& file, const StageGraph& graph, const LintOptions& options,
              State state, LintWarningList& out)
      : file_(file), graph_(graph), options_(options), state_(std::move(state)), out_(out) {}

  // `triggers`: those of what the stage is built on, which come first, at its FROM.
  State Run(const Stage& stage, const std::vector<std::string>& triggers) {
    std::vector<Instruction> pulled_in;
    for (const std::string& trigger : triggers) {
      absl::StatusOr<Instruction> instruction = ParseTrigger(trigger, stage.position);
      if (instruction.ok()) pulled_in.push_back(*std::move(instruction));
    }
    for (const Instruction& instruction : pulled_in) CheckInstruction(instruction);
    for (size_t i = stage.begin; i < stage.end; ++i) CheckInstruction(file_.instructions[i]);
    return std::move(state_);
  }

 private:
  void CheckInstruction(const Instruction& instruction) {
    instruction_ = &instruction;
    std::visit([this](const auto& body) { Check(body); }, instruction.body);
  }

  void Check(const AddInstruction& add) {
    Expand(add.checksum);
    CheckCopy(add.copy, "Add", /*from_context=*/true);
  }
  void Check(const CopyInstruction& copy) { CheckCopy(copy.copy, "Copy", copy.from.empty()); }

  void Check(const ArgInstruction& arg) {
    for (const ArgDeclaration& declaration : arg.args) {
      CheckSecret("ARG", declaration.name);
      const LintVariables& given = options_.stages.build_args;
      const auto build_arg = given.find(declaration.name);
      const auto global = graph_.global_args().find(declaration.name);
      if (build_arg != given.end()) {
        state_.env[declaration.name] = build_arg->second;
      } else if (declaration.value.has_value()) {
        state_.env[declaration.name] = Expand(*declaration.value);
      } else if (global != graph_.global_args().end()) {
        state_.env[declaration.name] = global->second;
      }
      state_.args.insert(declaration.name);
    }
  }

  void Check(const CmdInstruction& cmd) {
    CheckOnce();
    CheckJson(cmd.command);
  }
  void Check(const EntrypointInstruction& entrypoint) {
    CheckOnce();
    CheckJson(entrypoint.command);
  }
  void Check(const HealthcheckInstruction&) { CheckOnce(); }

  void Check(const EnvInstruction& env) {
    // All values are expanded before any is set.
    std::vector<std::pair<std::string, std::string>> values;
    for (const KeyValue& pair : env.pairs) {
      values.emplace_back(Expand(pair.key), Expand(pair.value));
      CheckFormat(pair);
      CheckSecret("ENV", values.back().first);
    }
    for (auto& [key, value] : values) state_.env[key] = std::move(value);
  }

  void Check(const LabelInstruction& label) {
    for (const KeyValue& pair : label.pairs) {
      Expand(pair.key);
      Expand(pair.value);
      CheckFormat(pair);
    }
  }

  void Check(const ExposeInstruction& expose) {
    for (const std::string& word : expose.ports) {
      const std::string port = Expand(word, /*reports=*/false);
      const size_t colon = port.rfind(':');
      const size_t slash = port.find('/', colon == std::string::npos ? 0 : colon);
      const std::string protocol = slash == std::string::npos ? "" : port.substr(slash + 1);
      if (protocol != absl::AsciiStrToLower(protocol)) {
        out_.Add("ExposeProtoCasing", *instruction_,
                 absl::StrCat("Defined protocol '", port,
                              "' in EXPOSE instruction should be lowercase"));
      }
      if (colon != std::string::npos && colon > 0) {
        out_.Add("ExposeInvalidFormat", *instruction_,
                 absl::StrCat("EXPOSE instruction should not define an IP address or host-port "
                              "mapping, found '",
                              port, "'"));
      }
    }
  }

  void Check(const RunInstruction& run) {
    const WordExpansion expand = [this](absl::string_view word) -> absl::StatusOr<std::string> {
      return Expand(word);
    };
    for (const std::string& mount : run.mounts) {
      (void)ParseMount(mount, instruction_->position, expand);  // For the variables in it.
    }
  }

  void Check(const WorkdirInstruction& workdir) {
    const std::string path = Expand(workdir.path);
    if (!state_.has_workdir && !absl::StartsWith(path, "/")) {
      out_.Add("WorkdirRelativePath", *instruction_,
               absl::StrCat("Relative workdir \"", path,
                            "\" can have unexpected results if the base image changes"));
    }
    state_.has_workdir = true;
  }

  void Check(const ShellInstruction&) { state_.has_shell = true; }
  void Check(const StopsignalInstruction& signal) { Expand(signal.signal); }
  void Check(const UserInstruction& user) { Expand(user.user); }
  void Check(const VolumeInstruction& volume) {
    for (const std::string& path : volume.paths) Expand(path);
  }
  void Check(const FromInstruction&) {}
  void Check(const MaintainerInstruction&) {}
  void Check(const OnbuildInstruction&) {}

  void CheckCopy(const CopyArguments& copy, absl::string_view verb, bool from_context) {
    Expand(copy.chown);
    Expand(copy.chmod);
    Expand(copy.dest);
    for (const CopyArguments::CopySource& source : copy.sources) {
      if (!source.heredoc.has_value()) {
        const std::string path = Expand(source.path);
        if (from_context) CheckNotIgnored(path, verb);
      } else if (const Heredoc& heredoc = instruction_->heredocs[*source.heredoc]; heredoc.expand) {
        ReportUnset(ExpandHeredoc(heredoc.data, LookupIn(state_.env)));
      }
    }
  }

  void CheckNotIgnored(const std::string& path, absl::string_view verb) {
    // With exceptions a directory may be ignored and yet have files that are not.
    if (options_.ignore == nullptr || options_.ignore->has_exceptions() || IsRemote(path)) return;
    std::string clean = CleanPath(path);
    if (clean.size() > 1 && clean[0] == '/') clean.erase(0, 1);
    if (clean == "." || clean == "/" || !options_.ignore->Ignores(clean)) return;
    out_.Add("CopyIgnoredFile", *instruction_,
             absl::StrCat("Attempting to ", verb, " file \"", path,
                          "\" that is excluded by .dockerignore"),
             /*is_experimental=*/true);
  }

  void CheckFormat(const KeyValue& pair) {
    if (!pair.separated_by_space) return;
    const std::string& name = instruction_->name_as_written;
    out_.Add("LegacyKeyValueFormat", *instruction_,
             absl::StrCat("\"", name, " key=value\" should be used instead of legacy \"", name,
                          " key value\" format"));
  }

  void CheckSecret(absl::string_view instruction, const std::string& name) {
    if (!LooksSecret(name)) return;
    out_.Add("SecretsUsedInArgOrEnv", *instruction_,
             absl::StrCat("Do not use ARG or ENV instructions for sensitive data (", instruction,
                          " \"", name, "\")"));
  }

  void CheckJson(const CommandLine& command) {
    if (!command.shell_form || state_.has_shell) return;
    out_.Add("JSONArgsRecommended", *instruction_,
             absl::StrCat("JSON arguments recommended for ", instruction_->name_as_written,
                          " to prevent unintended behavior related to OS signals"));
  }

  // Warns at the one before, since that is the one that has no effect.
  void CheckOnce() {
    const Instruction*& before = last_of_name_[instruction_->name];
    if (before != nullptr) {
      out_.Add("MultipleInstructionsDisallowed", *before,
               absl::StrCat("Multiple ", instruction_->name_as_written,
                            " instructions should not be used in the same stage because only the "
                            "last one will be used"));
    }
    before = instruction_;
  }

  // The word with its variables replaced; those that are unknown are reported, but in EXPOSE.
  std::string Expand(absl::string_view word, bool reports = true) {
    const Expander expander({.escape = file_.escape}, LookupIn(state_.env));
    absl::StatusOr<Expansion> expansion = expander.Expand(word);
    if (reports) ReportUnset(expansion);
    return expansion.ok() ? std::move(expansion->text) : std::string(word);
  }

  void ReportUnset(const absl::StatusOr<Expansion>& expansion) {
    if (!expansion.ok()) return;  // An error for the build, not advice.
    for (const std::string& name : expansion->unset) {
      if (state_.args.contains(name)) continue;
      out_.Add("UndefinedVar", *instruction_,
               absl::StrCat("Usage of undefined variable '$", name, "'",
                            SuggestName(name, {}, state_.env, "$")));
    }
  }

  const Dockerfile& file_;
  const StageGraph& graph_;
  const LintOptions& options_;
  State state_;
  LintWarningList& out_;
  const Instruction* instruction_ = nullptr;  // The one that is looked at.
  std::map<std::string, const Instruction*> last_of_name_;
};

// Whether the base image is for the platform that the stage is for.
void CheckBasePlatform(const Instruction& from, const std::string& image,
                       const std::string& expected, const std::string& actual,
                       LintWarningList& out) {
  const std::vector<std::string> want = absl::StrSplit(expected, '/');
  const std::vector<std::string> have = absl::StrSplit(actual, '/');
  if (want.size() < 2 || have.size() < 2) return;
  if (want[0] == have[0] && want[1] == have[1]) return;
  out.Add("InvalidBaseImagePlatform", from,
          absl::StrCat("Base image ", image, " was pulled with platform \"", actual,
                       "\", expected \"", expected, "\" for current build"));
}

// What the stage has for those that are built on it.
std::vector<std::string> TriggersOf(const Dockerfile& file, const Stage& stage) {
  std::vector<std::string> triggers;
  for (size_t i = stage.begin; i < stage.end; ++i) {
    const auto* onbuild = std::get_if<OnbuildInstruction>(&file.instructions[i].body);
    if (onbuild != nullptr) triggers.push_back(onbuild->trigger);
  }
  return triggers;
}

}  // namespace

void LintStages(const Dockerfile& file, const StageGraph& graph, const LintOptions& options,
                LintWarningList& out) {
  const absl::StatusOr<int> target = graph.FindTarget(options.stages.target);
  std::vector<bool> judged(graph.stages().size(), true);
  if (options.target_only && target.ok()) judged = graph.Needed(*target);

  std::vector<StageLinter::State> states;
  for (const Stage& stage : graph.stages()) {
    StageLinter::State& state = states.emplace_back();
    if (!judged[stage.index]) continue;  // Nor is any that is judged built on it.
    std::vector<std::string> triggers;
    if (stage.base.kind == SourceRef::Kind::kStage) {
      state = states[stage.base.stage];
      triggers = TriggersOf(file, graph.stages()[stage.base.stage]);
    } else if (stage.base.kind == SourceRef::Kind::kImage && options.base_image != nullptr) {
      const std::string& platform =
          stage.platform.empty() ? options.stages.target_platform : stage.platform;
      if (std::optional<LintBaseImage> image = options.base_image(stage.base, platform);
          image.has_value()) {
        CheckBasePlatform(file.instructions[stage.begin - 1], stage.base.image, image->expected,
                          image->platform, out);
        state.env = std::move(image->env);
        state.has_shell = image->has_shell;
        // What stands for a stage is taken as it is.
        if (!stage.is_replaced) triggers = std::move(image->on_build);
      }
    }
    state.env.emplace("PATH", kDefaultPath);
    state = StageLinter(file, graph, options, std::move(state), out).Run(stage, triggers);
  }
}

}  // namespace farm
