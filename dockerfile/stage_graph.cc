#include "dockerfile/stage_graph.h"

#include <functional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "dockerfile/mount.h"

namespace farm {
namespace {

using Variables = std::map<std::string, std::string>;

// BUILDPLATFORM and its parts, or TARGETPLATFORM and its.
void AddPlatform(absl::string_view prefix, const std::string& platform, Variables& out) {
  std::vector<std::string> parts = absl::StrSplit(platform, absl::MaxSplits('/', 2));
  parts.resize(3);
  out[absl::StrCat(prefix, "PLATFORM")] = platform;
  out[absl::StrCat(prefix, "OS")] = parts[0];
  out[absl::StrCat(prefix, "OSVERSION")] = "";
  out[absl::StrCat(prefix, "ARCH")] = parts[1];
  out[absl::StrCat(prefix, "VARIANT")] = parts[2];
}

// Stage that the build is for, as $TARGETSTAGE has it: "default" if it has no name.
std::string TargetStageName(const Dockerfile& file, const StageGraphOptions& options) {
  std::string name = options.target;
  if (name.empty()) {
    for (const Instruction& instruction : file.instructions) {
      if (const auto* from = std::get_if<FromInstruction>(&instruction.body)) name = from->name;
    }
  }
  return name.empty() ? "default" : name;
}

// What a FROM sees before any ARG of the file.
Variables BuiltInArgs(const Dockerfile& file, const StageGraphOptions& options) {
  Variables out;
  AddPlatform("BUILD", options.build_platform, out);
  AddPlatform("TARGET", options.target_platform, out);
  out["TARGETSTAGE"] = TargetStageName(file, options);
  for (auto& [name, value] : out) {
    const auto given = options.build_args.find(name);
    if (given != options.build_args.end()) value = given->second;
  }
  return out;
}

absl::StatusOr<Expansion> ExpandAt(const Dockerfile& file, const Variables& variables,
                                   const std::string& word, const SourcePosition& position) {
  const VariableLookup lookup = [&](absl::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(std::string(name));
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  absl::StatusOr<Expansion> expansion = Expander({.escape = file.escape}, lookup).Expand(word);
  if (!expansion.ok()) return file.source->Error(position, expansion.status().message());
  return expansion;
}

SourceRef StageSource(int stage) {
  SourceRef source;
  source.kind = SourceRef::Kind::kStage;
  source.stage = stage;
  return source;
}

// " (did you mean ALPINE?)" for the first of the unset variables that looks like a set one.
std::string SuggestVariable(const Expansion& expansion, const Variables& variables) {
  std::vector<std::string> known;
  for (const auto& [name, value] : variables) known.push_back(name);
  for (const std::string& name : expansion.unset) {
    const std::string match = ClosestMatch(name, known);
    if (!match.empty()) return absl::StrCat(" (did you mean ", match, "?)");
  }
  return "";
}

}  // namespace

absl::StatusOr<Variables> GlobalArgs(const Dockerfile& file, const StageGraphOptions& options) {
  Variables out = BuiltInArgs(file, options);
  for (const Instruction& instruction : file.instructions) {
    const auto* arg = std::get_if<ArgInstruction>(&instruction.body);
    if (arg == nullptr) break;
    for (const ArgDeclaration& declaration : arg->args) {
      const auto given = options.build_args.find(declaration.name);
      if (given != options.build_args.end()) {
        out[declaration.name] = given->second;
      } else if (declaration.value.has_value()) {
        ASSIGN_OR_RETURN(Expansion value,
                         ExpandAt(file, out, *declaration.value, instruction.position));
        out[declaration.name] = std::move(value.text);
      }
    }
  }
  return out;
}

absl::StatusOr<StageGraph> StageGraph::Create(const Dockerfile& file,
                                              const StageGraphOptions& options) {
  StageGraph graph;
  graph.source_ = file.source;
  graph.find_context_ = options.find_context;
  ASSIGN_OR_RETURN(graph.global_args_, GlobalArgs(file, options));
  RETURN_IF_ERROR(graph.ReadStages(file));
  graph.dependencies_.resize(graph.stages_.size());
  RETURN_IF_ERROR(graph.ReadDependencies(file));
  RETURN_IF_ERROR(graph.CheckNoCycle());
  return graph;
}

absl::Status StageGraph::ReadStages(const Dockerfile& file) {
  for (size_t i = 0; i < file.instructions.size(); ++i) {
    const Instruction& instruction = file.instructions[i];
    if (std::holds_alternative<FromInstruction>(instruction.body)) {
      RETURN_IF_ERROR(ReadFrom(file, i));
    } else if (!stages_.empty()) {
      if (!stages_.back().is_replaced) stages_.back().end = i + 1;
    } else if (!std::holds_alternative<ArgInstruction>(instruction.body)) {
      return source_->Error(instruction.position,
                            absl::StrCat("no build stage in current context: only ARG may come "
                                         "before the first FROM, not ",
                                         instruction.name));
    }
  }
  if (!stages_.empty()) return absl::OkStatus();
  return ErrorAt({.file = source_->file()}, "the Dockerfile contains no stages to build: no FROM");
}

absl::Status StageGraph::ReadFrom(const Dockerfile& file, size_t instruction) {
  const SourcePosition& position = file.instructions[instruction].position;
  const auto& from = std::get<FromInstruction>(file.instructions[instruction].body);
  Stage stage;
  if (stages_.size() == kStagesMax) {
    return source_->Error(position, absl::StrCat("more than ", kStagesMax, " stages"));
  }
  stage.index = static_cast<int>(stages_.size());
  stage.name = from.name;
  stage.position = position;
  stage.begin = stage.end = instruction + 1;

  ASSIGN_OR_RETURN(const Expansion base, ExpandAt(file, global_args_, from.base, position));
  if (base.text.empty()) {
    return source_->Error(position, absl::StrCat("base name (", from.base, ") should not be blank",
                                                 SuggestVariable(base, global_args_)));
  }
  if (!from.platform.empty()) {
    ASSIGN_OR_RETURN(Expansion platform, ExpandAt(file, global_args_, from.platform, position));
    if (platform.text.empty()) {
      return source_->Error(position,
                            absl::StrCat("empty platform value from expression ", from.platform,
                                         SuggestVariable(platform, global_args_)));
    }
    stage.platform = std::move(platform.text);
  }

  std::optional<SourceRef> replacement;
  if (find_context_ != nullptr && !stage.name.empty()) replacement = find_context_(stage.name);
  // Only earlier stages are known yet; their names are lower case, and here case matters.
  const auto earlier = stage_by_name_.find(base.text);
  if (replacement.has_value()) {
    stage.base = *std::move(replacement);
    stage.is_replaced = true;
  } else {
    stage.base =
        earlier == stage_by_name_.end() ? OtherSource(base.text) : StageSource(earlier->second);
  }
  if (!stage.name.empty()) stage_by_name_[stage.name] = stage.index;
  stages_.push_back(std::move(stage));
  return absl::OkStatus();
}

absl::Status StageGraph::ReadDependencies(const Dockerfile& file) {
  for (const Stage& stage : stages_) {
    if (stage.base.kind == SourceRef::Kind::kStage) {
      AddDependency(stage.index, stage.base.stage, stage.position);
    }
    for (size_t i = stage.begin; i < stage.end; ++i) {
      const Instruction& instruction = file.instructions[i];
      const SourcePosition& position = instruction.position;
      std::vector<SourceRef> sources;
      if (const auto* copy = std::get_if<CopyInstruction>(&instruction.body);
          copy != nullptr && !copy->from.empty()) {
        ASSIGN_OR_RETURN(SourceRef source, FindSource(copy->from, SourceUse::kCopy, position));
        sources.push_back(std::move(source));
      } else if (const auto* run = std::get_if<RunInstruction>(&instruction.body)) {
        for (const std::string& mount : run->mounts) {
          ASSIGN_OR_RETURN(const std::string from, MountSource(mount, position));
          if (from.empty()) continue;
          ASSIGN_OR_RETURN(SourceRef source, FindSource(from, SourceUse::kMount, position));
          sources.push_back(std::move(source));
        }
      }
      for (const SourceRef& source : sources) {
        if (source.kind == SourceRef::Kind::kStage) {
          AddDependency(stage.index, source.stage, position);
        }
      }
    }
  }
  return absl::OkStatus();
}

// What is no stage: an image, but for the reserved name and for names that the build has its own
// for.
SourceRef StageGraph::OtherSource(absl::string_view name) const {
  SourceRef source;
  if (name == "scratch") {
    source.kind = SourceRef::Kind::kScratch;
    return source;
  }
  if (find_context_ != nullptr) {
    if (std::optional<SourceRef> context = find_context_(name); context.has_value()) {
      return *std::move(context);
    }
  }
  source.image = std::string(name);
  return source;
}

absl::StatusOr<SourceRef> StageGraph::FindSource(absl::string_view from, SourceUse use,
                                                 const SourcePosition& position) const {
  if (from.find('$') != absl::string_view::npos) {
    return source_->Error(
        position, use == SourceUse::kCopy
                      ? "variable expansion is not supported for --from, define a new stage "
                        "with FROM using ARG from global scope as a workaround"
                      : "'from' doesn't support variable expansion, define alias stage "
                        "instead");
  }
  int index = 0;
  if (use == SourceUse::kCopy && absl::SimpleAtoi(from, &index)) {
    if (index < 0 || index >= static_cast<int>(stages_.size())) {
      return source_->Error(position, absl::StrCat("invalid stage index ", index, ": there are ",
                                                   stages_.size(), " stages, counted from 0"));
    }
    return StageSource(index);
  }
  const auto named = stage_by_name_.find(absl::AsciiStrToLower(from));
  return named == stage_by_name_.end() ? OtherSource(from) : StageSource(named->second);
}

absl::StatusOr<SourceRef> StageGraph::ResolveSource(absl::string_view from, int stage,
                                                    SourceUse use,
                                                    const SourcePosition& position) const {
  ASSIGN_OR_RETURN(SourceRef source, FindSource(from, use, position));
  if (source.kind == SourceRef::Kind::kStage && source.stage >= stage) {
    return source_->Error(
        position,
        absl::StrCat("cannot ", use == SourceUse::kCopy ? "copy" : "mount", " from stage \"", from,
                     "\", it needs to be defined before current ", Describe(stage)));
  }
  return source;
}

void StageGraph::AddDependency(int stage, int source, const SourcePosition& position) {
  dependencies_[stage].emplace(source, position);
}

absl::StatusOr<int> StageGraph::FindTarget(absl::string_view target) const {
  if (target.empty()) return static_cast<int>(stages_.size()) - 1;
  const auto named = stage_by_name_.find(absl::AsciiStrToLower(target));
  if (named != stage_by_name_.end()) return named->second;
  int index = 0;
  if (absl::SimpleAtoi(target, &index) && index >= 0 && index < static_cast<int>(stages_.size())) {
    return index;
  }
  std::vector<std::string> names;
  for (const auto& [name, stage] : stage_by_name_) names.push_back(name);
  const std::string match = ClosestMatch(target, names);
  return ErrorAt({.file = source_->file()},
                 absl::StrCat("target stage \"", target, "\" could not be found",
                              match.empty() ? "" : absl::StrCat(" (did you mean ", match, "?)")));
}

std::vector<bool> StageGraph::Needed(int target) const {
  std::vector<bool> needed(stages_.size());
  std::vector<int> pending = {target};
  while (!pending.empty()) {
    const int stage = pending.back();
    pending.pop_back();
    if (needed[stage]) continue;
    needed[stage] = true;
    for (const auto& [source, position] : dependencies_[stage]) pending.push_back(source);
  }
  return needed;
}

// Takes away, again and again, the stages that need none of those that are left; those that stay
// need each other in a circle, or a stage of such a circle.
absl::Status StageGraph::CheckNoCycle() const {
  std::vector<std::vector<int>> dependents(stages_.size());
  std::vector<size_t> waits_for(stages_.size());
  std::vector<int> free;
  for (const Stage& stage : stages_) {
    waits_for[stage.index] = dependencies_[stage.index].size();
    if (waits_for[stage.index] == 0) free.push_back(stage.index);
    for (const auto& [source, position] : dependencies_[stage.index]) {
      dependents[source].push_back(stage.index);
    }
  }
  while (!free.empty()) {
    const int done = free.back();
    free.pop_back();
    for (const int dependent : dependents[done]) {
      if (--waits_for[dependent] == 0) free.push_back(dependent);
    }
  }
  for (const Stage& stage : stages_) {
    // At the place that leads into the circle.
    for (const auto& [source, position] : dependencies_[stage.index]) {
      if (waits_for[source] == 0) continue;
      return source_->Error(
          position, absl::StrCat("circular dependency detected on ", Describe(stage.index)));
    }
  }
  return absl::OkStatus();
}

std::string StageGraph::Describe(int stage) const {
  FARM_CHECK_LT(static_cast<size_t>(stage), stages_.size());
  const std::string& name = stages_[stage].name;
  return name.empty() ? absl::StrCat("stage ", stage) : absl::StrCat("stage \"", name, "\"");
}

}  // namespace farm
