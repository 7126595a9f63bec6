#include "plan/lowering.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "dockerfile/clean_path.h"
#include "dockerfile/expand.h"
#include "oci/reference.h"
#include "plan/platform_proto.h"

namespace farm {
namespace {

// BuildKit's mark in the history of images.
constexpr char kHistoryComment[] = "buildkit.dockerfile.v0";

VariableLookup LookupIn(const StageState& stage) {
  return [&stage](absl::string_view name) { return stage.env.Get(name); };
}

absl::StatusOr<Expansion> Expand(const PlanBuild& build, const StageState& stage,
                                 const Instruction& instruction, absl::string_view word) {
  const Expander expander({.escape = build.file.escape}, LookupIn(stage));
  absl::StatusOr<Expansion> expansion = expander.Expand(word);
  if (!expansion.ok()) return ErrorIn(build, instruction, expansion.status().message());
  return expansion;
}

// "[build 2/5] RUN make": the instruction as written, with variables.
std::string StepName(const PlanBuild& build, StageState& stage, const Instruction& instruction,
                     const StepText& about) {
  const Expander expander({.escape = build.file.escape,
                           .keep_quotes = about.keep_quotes,
                           .keep_unset = about.keep_quotes},
                          [&](absl::string_view name) -> std::optional<std::string> {
                            if (about.hidden.count(std::string(name)) != 0) return "****";
                            return stage.env.Get(name);
                          });
  const std::string written = absl::StrCat(instruction.original, about.remark);
  std::string text = expander.ExpandWord(written).value_or(written);
  const size_t verb_end = std::min(text.find(' '), text.size());
  text = absl::StrCat(absl::AsciiStrToUpper(text.substr(0, verb_end)), text.substr(verb_end));

  ++stage.steps_named;
  const int digits = static_cast<int>(absl::StrCat(stage.steps_total).size());
  return absl::StrCat("[", stage.label, stage.label.empty() ? "" : " ",
                      absl::StrFormat("%*d/%d] ", digits, stage.steps_named, stage.steps_total),
                      stage.instructions.back().is_trigger ? "ONBUILD " : "", text);
}

// Of a context that is no image.
FileSystemRef ContextFiles(PlanBuild& build, const std::string& name) {
  const NamedContext& context = build.options.contexts.at(name);
  if (context.kind == NamedContext::Kind::kFiles) {
    return {FileSystemRef::Kind::kContext, context.index};
  }
  const auto [index, is_new] =
      build.context_remotes.emplace(name, static_cast<int>(build.plan.remotes.size()));
  if (is_new) build.plan.remotes.push_back(context.remote);
  return {FileSystemRef::Kind::kRemote, index->second};
}

}  // namespace

void Environment::Set(absl::string_view name, absl::string_view value) {
  variables_[std::string(name)] = {.value = std::string(value), .set = ++settings_};
}

std::optional<std::string> Environment::Get(absl::string_view name) const {
  const auto found = variables_.find(name);
  if (found == variables_.end()) return std::nullopt;
  return found->second.value;
}

std::vector<std::string> Environment::ToList() const {
  std::vector<std::pair<uint64_t, std::string>> lines;
  lines.reserve(variables_.size());
  for (const auto& [name, variable] : variables_) {
    lines.emplace_back(variable.set, absl::StrCat(name, "=", variable.value));
  }
  std::sort(lines.begin(), lines.end());
  std::vector<std::string> list;
  list.reserve(lines.size());
  for (auto& [set, line] : lines) list.push_back(std::move(line));
  return list;
}

void DeclaredArgs::Add(const std::string& name, const std::optional<std::string>& value) {
  const auto [index, is_new] = indexes_.emplace(name, list_.size());
  if (is_new) {
    list_.push_back({name, value});
  } else {
    list_[index->second].value = value;
  }
}

absl::Status ErrorIn(const PlanBuild& build, const Instruction& instruction,
                     absl::string_view message) {
  return build.file.source->Error(instruction.position, message);
}

absl::Status LimitErrorIn(const PlanBuild& build, const Instruction& instruction,
                          absl::string_view message) {
  return WithCode(absl::StatusCode::kResourceExhausted, ErrorIn(build, instruction, message));
}

absl::StatusOr<std::string> ExpandIn(const PlanBuild& build, const StageState& stage,
                                     const Instruction& instruction, absl::string_view word) {
  ASSIGN_OR_RETURN(Expansion expansion, Expand(build, stage, instruction, word));
  return std::move(expansion.text);
}

absl::StatusOr<std::vector<std::string>> ExpandWordsIn(const PlanBuild& build,
                                                       const StageState& stage,
                                                       const Instruction& instruction,
                                                       absl::string_view word) {
  ASSIGN_OR_RETURN(Expansion expansion, Expand(build, stage, instruction, word));
  return std::move(expansion.words);
}

absl::Status Lower(PlanBuild&, StageState&, const Instruction& instruction,
                   const FromInstruction&) {
  FARM_CHECK(false) << "a FROM within a stage: " << instruction.position.ToString();
  return absl::OkStatus();
}

std::vector<std::string> Argv(const StageState& stage, const CommandLine& command) {
  if (!command.shell_form) return command.words;
  std::vector<std::string> argv = stage.image.config.shell;
  if (argv.empty()) argv = {"/bin/sh", "-c"};
  argv.push_back(absl::StrJoin(command.words, " "));
  return argv;
}

absl::StatusOr<FileSystemRef> FileSystemOf(PlanBuild& build, const SourceRef& source,
                                           const v1::Platform& platform,
                                           const SourcePosition& position) {
  switch (source.kind) {
    case SourceRef::Kind::kScratch:
      return FileSystemRef{};
    case SourceRef::Kind::kStage:
      return build.stages[source.stage].file_system;
    case SourceRef::Kind::kContext:
      return ContextFiles(build, source.context);
    case SourceRef::Kind::kImage:
      break;
  }
  ImageKey key;
  ASSIGN_OR_RETURN(key.name, CanonicalImage(build.file, source.image, position));
  key.platform = PlatformFromProto(platform).ToString();
  const auto image = build.resolved.find(key);
  if (image == build.resolved.end()) {
    return absl::FailedPreconditionError(absl::StrCat(position.ToString(), ": image ", key.name,
                                                      " for ", key.platform, " is not resolved"));
  }
  const auto [index, is_new] =
      build.base_indexes.emplace(key, static_cast<int>(build.plan.bases.size()));
  if (is_new) {
    build.plan.bases.push_back(image->second);
    build.plan.bases.back().name = key.name;
    build.plan.bases.back().platform = key.platform;
  }
  return FileSystemRef{FileSystemRef::Kind::kBase, index->second};
}

absl::StatusOr<std::string> CanonicalImage(const Dockerfile& file, absl::string_view image,
                                           const SourcePosition& position) {
  const absl::StatusOr<Reference> reference = Reference::Parse(image);
  if (!reference.ok()) {
    return file.source->Error(position, absl::StrCat("failed to parse stage name \"", image,
                                                     "\": ", reference.status().message()));
  }
  return reference->WithDefaultTag().canonical();
}

void AddPattern(absl::string_view path, SourceRequest& request) {
  request.patterns.push_back(CleanPath(absl::StrCat("/", path)).substr(1));
  request.lead_out.push_back(LeadsOut(path));
}

void CopyContextBase(PlanBuild& build, StageState& stage) {
  const FileSystemRef::Kind kind = stage.file_system.kind;
  if (kind != FileSystemRef::Kind::kContext && kind != FileSystemRef::Kind::kRemote) return;
  PlanStep& step = build.plan.steps.emplace_back();
  step.id = static_cast<int>(build.plan.steps.size()) - 1;
  step.name = absl::StrCat("[context ", stage.base_context, "] load as a base");
  step.instruction = absl::StrCat("FROM ", stage.base_context, " # buildkit");
  step.position = build.graph.stages()[stage.index].position;
  step.source_line = std::string(build.file.source->Line(step.position.line));
  *step.identity.mutable_platform() = stage.platform;
  step.identity.mutable_copy()->set_dest("/");
  SourceRequest& all = step.sources.emplace_back();
  all.from = stage.file_system;
  all.from_written = stage.base_context;
  all.patterns = {""};
  all.written = {"/"};

  AddHistory(stage, step.instruction);
  stage.history.back().step = step.id;
  stage.file_system = {FileSystemRef::Kind::kStep, step.id};
}

PlanStep& AddStep(PlanBuild& build, StageState& stage, const Instruction& instruction,
                  StepText text) {
  CopyContextBase(build, stage);
  std::string name = StepName(build, stage, instruction, text);
  PlanStep& step = build.plan.steps.emplace_back();
  step.id = static_cast<int>(build.plan.steps.size()) - 1;
  step.name = std::move(name);
  step.instruction = std::move(text.history);
  step.position = instruction.position;
  step.source_line = std::string(build.file.source->Line(instruction.position.line));
  step.origin = stage.trigger_origin;
  step.parent = stage.file_system;
  *step.identity.mutable_platform() = stage.platform;

  AddHistory(stage, step.instruction);
  stage.history.back().step = step.id;
  stage.instructions.back().step = step.id;
  stage.file_system = {FileSystemRef::Kind::kStep, step.id};
  return step;
}

void AddHistory(StageState& stage, std::string created_by) {
  stage.text_bytes += created_by.size() + sizeof(PlanHistory);
  PlanHistory& line = stage.history.emplace_back();
  line.created_by = std::move(created_by);
  line.comment = kHistoryComment;
}

}  // namespace farm
