#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "plan/go_format.h"
#include "plan/lowering.h"
#include "plan/ports.h"

namespace farm {
namespace {

// Arguments that tell an attestation scanner what to look at: declared, but no variables.
constexpr absl::string_view kScannerArgs[] = {"BUILDKIT_SBOM_SCAN_CONTEXT",
                                              "BUILDKIT_SBOM_SCAN_STAGE"};

using Pairs = std::vector<std::pair<std::string, std::string>>;

// All see the variables as they were before the instruction.
absl::StatusOr<Pairs> ExpandPairs(const PlanBuild& build, const StageState& stage,
                                  const Instruction& instruction,
                                  const std::vector<KeyValue>& pairs) {
  Pairs expanded;
  for (const KeyValue& pair : pairs) {
    ASSIGN_OR_RETURN(std::string key, ExpandIn(build, stage, instruction, pair.key));
    ASSIGN_OR_RETURN(std::string value, ExpandIn(build, stage, instruction, pair.value));
    expanded.emplace_back(std::move(key), std::move(value));
  }
  return expanded;
}

void RecordPairs(StageState& stage, const Instruction& instruction, const Pairs& pairs) {
  std::string line = instruction.name;
  for (const auto& [key, value] : pairs) {
    absl::StrAppend(&line, " ", key, "=", value);
    stage.instructions.back().pairs.emplace_back(key, value);
  }
  AddHistory(stage, std::move(line));
}

// A variable that is set already keeps its place.
void SetConfigVariable(StageState& stage, const std::string& name, absl::string_view value) {
  std::vector<std::string>& env = stage.image.config.env;
  const auto [index, is_new] = stage.config_env.emplace(name, env.size());
  if (is_new) env.emplace_back();
  env[index->second] = absl::StrCat(name, "=", value);
}

// Those that are set again count again; people do that seldom.
void SetVariable(StageState& stage, const std::string& name, const std::string& value) {
  stage.env.Set(name, value);
  stage.text_bytes += VariableBytes(name.size() + value.size());
}

// The value of an ARG: the build argument; else the default; else a global ARG's or predefined one.
absl::StatusOr<std::optional<std::string>> ArgValue(const PlanBuild& build, const StageState& stage,
                                                    const Instruction& instruction,
                                                    const ArgDeclaration& arg) {
  const auto build_arg = build.options.build_args.find(arg.name);
  if (build_arg != build.options.build_args.end()) return build_arg->second;
  if (arg.value.has_value()) {
    ASSIGN_OR_RETURN(std::string value, ExpandIn(build, stage, instruction, *arg.value));
    return value;
  }
  const auto global = build.graph.global_args().find(arg.name);
  if (global != build.graph.global_args().end()) return global->second;
  return std::nullopt;
}

// A number other than 0, or the name of a Linux signal with or without SIG.
bool IsSignal(absl::string_view text) {
  static constexpr absl::string_view kNames[] = {
      "ABRT", "ALRM",   "BUS",  "CHLD",   "CLD",   "CONT", "FPE",  "HUP",   "ILL",
      "INT",  "IO",     "IOT",  "KILL",   "PIPE",  "POLL", "PROF", "PWR",   "QUIT",
      "SEGV", "STKFLT", "STOP", "SYS",    "TERM",  "TRAP", "TSTP", "TTIN",  "TTOU",
      "URG",  "USR1",   "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX"};
  int32_t number = 0;
  if (absl::SimpleAtoi(text, &number)) return number != 0;
  const std::string upper = absl::AsciiStrToUpper(text);
  absl::string_view name = upper;
  absl::ConsumePrefix(&name, "SIG");
  if (std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames)) return true;
  const bool from_min = absl::ConsumePrefix(&name, "RTMIN+");
  const bool from_max = !from_min && absl::ConsumePrefix(&name, "RTMAX-");
  return (from_min || from_max) && absl::SimpleAtoi(name, &number) && number >= 1 &&
         number <= (from_min ? 15 : 14) && absl::StrCat(number) == name;
}

absl::Status TooManyPorts(const PlanBuild& build, const Instruction& instruction) {
  return LimitErrorIn(build, instruction,
                      absl::StrCat("the image exposes more than ", kExposedPortsMax, " ports"));
}

}  // namespace

absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const EnvInstruction& env) {
  ASSIGN_OR_RETURN(const Pairs pairs, ExpandPairs(build, stage, instruction, env.pairs));
  for (const auto& [name, value] : pairs) {
    SetVariable(stage, name, value);
    SetConfigVariable(stage, name, value);
  }
  RecordPairs(stage, instruction, pairs);
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const LabelInstruction& label) {
  ASSIGN_OR_RETURN(const Pairs pairs, ExpandPairs(build, stage, instruction, label.pairs));
  for (const auto& [name, value] : pairs) stage.image.config.labels[name] = value;
  RecordPairs(stage, instruction, pairs);
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const ArgInstruction& arg) {
  std::string line = "ARG";
  for (const ArgDeclaration& declaration : arg.args) {
    ASSIGN_OR_RETURN(const std::optional<std::string> value,
                     ArgValue(build, stage, instruction, declaration));
    absl::StrAppend(&line, " ", declaration.name);
    if (value.has_value()) {
      absl::StrAppend(&line, "=", *value);
      if (std::find(std::begin(kScannerArgs), std::end(kScannerArgs), declaration.name) ==
          std::end(kScannerArgs)) {
        SetVariable(stage, declaration.name, *value);
      }
    }
    stage.args.Add(declaration.name, value);
    stage.instructions.back().pairs.emplace_back(declaration.name, value);
  }
  AddHistory(stage, std::move(line));
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild&, StageState& stage, const Instruction&, const CmdInstruction& cmd) {
  stage.image.config.cmd = Argv(stage, cmd.command);
  // Means something on Windows only, but docker sets it everywhere and it is in the image's digest.
  stage.image.config.args_escaped = true;
  stage.has_cmd = true;
  AddHistory(stage, absl::StrCat("CMD ", GoQuotedList(stage.image.config.cmd)));
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild&, StageState& stage, const Instruction&,
                   const EntrypointInstruction& entrypoint) {
  stage.image.config.entrypoint = Argv(stage, entrypoint.command);
  if (!stage.has_cmd) stage.image.config.cmd.clear();  // The base's CMD was for its ENTRYPOINT.
  AddHistory(stage, absl::StrCat("ENTRYPOINT ", GoQuotedList(stage.image.config.entrypoint)));
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const ExposeInstruction& expose) {
  std::vector<std::string> ports;
  for (const std::string& argument : expose.ports) {
    ASSIGN_OR_RETURN(const std::vector<std::string> words,
                     ExpandWordsIn(build, stage, instruction, argument));
    for (const std::string& word : words) {
      stage.instructions.back().values.push_back(word);
      const absl::StatusOr<std::vector<std::string>> parsed = ParsePorts(word);
      if (!parsed.ok()) return ErrorIn(build, instruction, parsed.status().message());
      ports.insert(ports.end(), parsed->begin(), parsed->end());
      if (ports.size() > kExposedPortsMax) return TooManyPorts(build, instruction);
    }
  }
  std::set<std::string>& exposed = stage.image.config.exposed_ports;
  exposed.insert(ports.begin(), ports.end());
  if (exposed.size() > kExposedPortsMax) return TooManyPorts(build, instruction);
  AddHistory(stage, absl::StrCat("EXPOSE ", GoList(ports)));
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild&, StageState& stage, const Instruction&,
                   const HealthcheckInstruction& check) {
  Healthcheck& config = stage.image.config.healthcheck.emplace();
  if (check.none) {
    config.test = {"NONE"};
  } else {
    config.test = {check.command.shell_form ? "CMD-SHELL" : "CMD"};
    config.test.insert(config.test.end(), check.command.words.begin(), check.command.words.end());
  }
  config.interval = check.interval;
  config.timeout = check.timeout;
  config.start_period = check.start_period;
  config.start_interval = check.start_interval;
  config.retries = check.retries;
  AddHistory(stage, absl::StrCat("HEALTHCHECK {Test:", GoList(config.test),
                                 " Interval:", GoDuration(config.interval),
                                 " Timeout:", GoDuration(config.timeout),
                                 " StartPeriod:", GoDuration(config.start_period),
                                 " StartInterval:", GoDuration(config.start_interval),
                                 " Retries:", config.retries, "}"));
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild&, StageState& stage, const Instruction&,
                   const MaintainerInstruction& maintainer) {
  stage.image.author = maintainer.maintainer;
  stage.instructions.back().values = {maintainer.maintainer};
  AddHistory(stage, absl::StrCat("MAINTAINER ", maintainer.maintainer));
  return absl::OkStatus();
}

// The one instruction without a line of history.
absl::Status Lower(PlanBuild&, StageState& stage, const Instruction&,
                   const OnbuildInstruction& onbuild) {
  stage.image.config.on_build.push_back(onbuild.trigger);
  stage.instructions.back().values = {onbuild.trigger};
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild&, StageState& stage, const Instruction&,
                   const ShellInstruction& shell) {
  stage.image.config.shell = shell.words;
  stage.instructions.back().values = shell.words;
  AddHistory(stage, absl::StrCat("SHELL ", GoList(shell.words)));
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const StopsignalInstruction& stop) {
  ASSIGN_OR_RETURN(std::string signal, ExpandIn(build, stage, instruction, stop.signal));
  if (!IsSignal(signal)) {
    return ErrorIn(build, instruction, absl::StrCat("invalid signal: ", signal));
  }
  stage.image.config.stop_signal = signal;
  stage.instructions.back().values = {signal};
  AddHistory(stage, absl::StrCat("STOPSIGNAL ", signal));
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const UserInstruction& user) {
  ASSIGN_OR_RETURN(stage.image.config.user, ExpandIn(build, stage, instruction, user.user));
  stage.instructions.back().values = {stage.image.config.user};
  AddHistory(stage, absl::StrCat("USER ", stage.image.config.user));
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const VolumeInstruction& volume) {
  std::vector<std::string> paths;
  for (const std::string& word : volume.paths) {
    ASSIGN_OR_RETURN(std::string path, ExpandIn(build, stage, instruction, word));
    if (path.empty()) {
      return ErrorIn(build, instruction, "VOLUME specified can not be an empty string");
    }
    paths.push_back(std::move(path));
  }
  stage.image.config.volumes.insert(paths.begin(), paths.end());
  AddHistory(stage, absl::StrCat("VOLUME ", GoList(paths)));
  stage.instructions.back().values = std::move(paths);
  return absl::OkStatus();
}

}  // namespace farm
