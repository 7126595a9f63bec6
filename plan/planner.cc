#include "plan/planner.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "dockerfile/stage_graph.h"
#include "oci/reference.h"
#include "plan/lowering.h"
#include "plan/outline.h"
#include "plan/platform_proto.h"

namespace farm {
namespace {

// Build arguments that every RUN sees without ARG, in no key; lower case is the same.
constexpr absl::string_view kProxyArgs[] = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY",
                                            "ALL_PROXY"};

constexpr char kEpochArg[] = "SOURCE_DATE_EPOCH";
// The last second that RFC 3339 can write.
constexpr int64_t kEpochMax = 253'402'300'799;

// A file of one stage shows no stage names, unless some COPY reads an image: that counts as a
// stage.
bool ShowsStageNames(const Dockerfile& file, const StageGraph& graph) {
  if (graph.stages().size() > 1) return true;
  const Stage& stage = graph.stages()[0];
  for (size_t i = stage.begin; i < stage.end; ++i) {
    const auto* copy = std::get_if<CopyInstruction>(&file.instructions[i].body);
    if (copy == nullptr || copy->from.empty()) continue;
    const absl::StatusOr<SourceRef> source = graph.ResolveSource(
        copy->from, 0, StageGraph::SourceUse::kCopy, file.instructions[i].position);
    if (source.ok() && source->kind != SourceRef::Kind::kStage) return true;
  }
  return false;
}

bool MakesStep(const Instruction& instruction) {
  const InstructionBody& body = instruction.body;
  return std::holds_alternative<RunInstruction>(body) ||
         std::holds_alternative<CopyInstruction>(body) ||
         std::holds_alternative<AddInstruction>(body) ||
         std::holds_alternative<WorkdirInstruction>(body);
}

// Numbers of BuildKit: the image or context of FROM is the first step; each trigger counts,
// whatever it is; and so does a WORKDIR of "/", which then makes no step.
int StepsTotal(const Dockerfile& file, const Stage& stage, size_t triggers) {
  const bool has_base =
      stage.base.kind == SourceRef::Kind::kImage || stage.base.kind == SourceRef::Kind::kContext;
  int total = static_cast<int>(triggers) + (has_base ? 1 : 0);
  for (size_t i = stage.begin; i < stage.end; ++i) total += MakesStep(file.instructions[i]) ? 1 : 0;
  return total;
}

// True if the image has no files at all. (Very old ones have layers that only history tells.)
bool IsEmptyImage(const ImageConfig& config) {
  return config.diff_ids.empty() &&
         std::all_of(config.history.begin(), config.history.end(),
                     [](const HistoryEntry& entry) { return entry.empty_layer; });
}

ImageConfig EmptyImage(const Platform& platform) {
  ImageConfig image;
  image.platform = platform;
  image.config.working_dir = "/";
  image.config.env = {absl::StrCat("PATH=", kDefaultPath)};
  return image;
}

std::pair<absl::string_view, absl::string_view> SplitVariable(absl::string_view line) {
  const size_t equal = line.find('=');
  if (equal == line.npos) return {line, ""};
  return {line.substr(0, equal), line.substr(equal + 1)};
}

// About what a stage on a base with this config starts with.
size_t TextBytes(const ImageConfig& image) {
  const ContainerConfig& config = image.config;
  size_t bytes = 0;
  for (const std::string& line : config.env) bytes += VariableBytes(line.size());
  for (const auto* list : {&config.cmd, &config.entrypoint, &config.shell}) {
    for (const std::string& text : *list) bytes += text.size() + sizeof(text);
  }
  for (const auto* set : {&config.exposed_ports, &config.volumes}) {
    for (const std::string& text : *set) bytes += text.size() + sizeof(text);
  }
  for (const auto& [name, value] : config.labels) {
    bytes += name.size() + value.size() + 2 * sizeof(std::string);
  }
  for (const HistoryEntry& line : image.history) {
    bytes += line.created_by.size() + line.author.size() + line.comment.size() + sizeof(line);
  }
  return bytes;
}

// What a stage takes over from the config it starts with.
void StartFromConfig(StageState& stage) {
  ContainerConfig& config = stage.image.config;
  config.on_build.clear();  // Run now; they are not inherited further.
  const bool has_path =
      std::any_of(config.env.begin(), config.env.end(),
                  [](const std::string& line) { return SplitVariable(line).first == "PATH"; });
  if (!has_path) config.env.push_back(absl::StrCat("PATH=", kDefaultPath));
  stage.config_env.clear();
  for (size_t i = 0; i < config.env.size(); ++i) {
    const auto [name, value] = SplitVariable(config.env[i]);
    stage.env.Set(name, value);
    stage.config_env.emplace(std::string(name), i);
  }
  if (!config.working_dir.empty() && !absl::StartsWith(config.working_dir, "/")) {
    config.working_dir = absl::StrCat("/", config.working_dir);
  }
}

absl::Status StartStage(PlanBuild& build, const Stage& stage, StageState& state) {
  switch (stage.base.kind) {
    case SourceRef::Kind::kScratch:
      state.image = EmptyImage(PlatformFromProto(build.platform));
      break;
    case SourceRef::Kind::kStage: {
      const StageState& base = build.stages[stage.base.stage];
      state.file_system = base.file_system;
      state.base_context = base.base_context;
      state.env = base.env;
      state.args = base.args;
      state.image = base.image;
      state.history = base.history;
      state.text_bytes = base.text_bytes;
      break;
    }
    case SourceRef::Kind::kContext: {
      ASSIGN_OR_RETURN(state.file_system,
                       FileSystemOf(build, stage.base, state.platform, stage.position));
      state.base_context = stage.base.context;
      state.image = EmptyImage(PlatformFromProto(build.platform));
      state.steps_named = 1;
      break;
    }
    case SourceRef::Kind::kImage: {
      ASSIGN_OR_RETURN(state.file_system,
                       FileSystemOf(build, stage.base, state.platform, stage.position));
      state.image = build.plan.bases[state.file_system.index].config;
      state.image.created.reset();
      state.image.diff_ids.clear();
      state.text_bytes = TextBytes(state.image);
      state.steps_named = IsEmptyImage(build.plan.bases[state.file_system.index].config) ? 0 : 1;
      break;
    }
  }
  StartFromConfig(state);
  return absl::OkStatus();
}

// Asked whenever `stage` may have grown; `position` is that of what made it grow.
absl::Status CheckLimits(const PlanBuild& build, const StageState& stage,
                         const SourcePosition& position) {
  std::string message;
  if (build.text_bytes + stage.text_bytes > kPlanTextBytesMax) {
    message = absl::StrCat("history and variables of this build take more than ", kPlanTextBytesMax,
                           " bytes");
  } else if (stage.env.size() > kStageVariablesMax ||
             stage.args.list().size() > kStageVariablesMax) {
    message = absl::StrCat("the stage has more than ", kStageVariablesMax, " variables");
  } else {
    return absl::OkStatus();
  }
  return WithCode(absl::StatusCode::kResourceExhausted,
                  build.file.source->Error(position, message));
}

absl::Status LowerInstruction(PlanBuild& build, StageState& stage, const Instruction& instruction) {
  PlanInstruction& record = stage.instructions.emplace_back();
  record.name = instruction.name;
  record.position = instruction.position;
  record.is_trigger = !stage.trigger_origin.empty();
  RETURN_IF_ERROR(std::visit(
      [&](const auto& body) { return Lower(build, stage, instruction, body); }, instruction.body));
  return CheckLimits(build, stage, instruction.position);
}

absl::Status LowerStage(PlanBuild& build, const Stage& stage, const Platform& platform,
                        const std::vector<Trigger>& triggers, bool shows_name) {
  StageState& state = build.stages[stage.index];
  state.index = stage.index;
  state.platform = PlatformToProto(platform);
  if (shows_name) {
    state.label = stage.name.empty() ? absl::StrCat("stage-", stage.index) : stage.name;
  }
  state.steps_total = StepsTotal(build.file, stage, triggers.size());
  RETURN_IF_ERROR(StartStage(build, stage, state));
  RETURN_IF_ERROR(CheckLimits(build, state, stage.position));
  for (const Trigger& trigger : triggers) {
    state.trigger_origin = trigger.origin;
    RETURN_IF_ERROR(
        FromTrigger(LowerInstruction(build, state, trigger.instruction), trigger.origin));
  }
  state.trigger_origin.clear();
  for (size_t i = stage.begin; i < stage.end; ++i) {
    RETURN_IF_ERROR(LowerInstruction(build, state, build.file.instructions[i]));
  }
  build.text_bytes += state.text_bytes;
  return absl::OkStatus();
}

// An image is for the platform that was asked for, whatever its base says; if none was, for that of
// the base.
void SetPlatform(const PlanOptions& options, Platform& platform) {
  if (!IsUnset(options.platform)) {
    const Platform wanted = TargetPlatform(options);
    if (wanted.os != platform.os || wanted.architecture != platform.architecture) {
      platform = wanted;
    } else if (!wanted.variant.empty()) {
      platform.variant = wanted.variant;
    }
  }
  platform = platform.Normalized();
}

ImageConfig StageImage(const PlanBuild& build, const StageState& state) {
  ImageConfig image = state.image;
  SetPlatform(build.options, image.platform);
  for (const PlanHistory& line : state.history) {
    HistoryEntry& entry = image.history.emplace_back();
    entry.created_by = line.created_by;
    entry.author = line.author;
    entry.comment = line.comment;
    entry.empty_layer = line.step < 0;
  }
  return image;
}

PlanStage DescribeStage(const PlanBuild& build, const Outline& outline, const Stage& stage) {
  PlanStage described;
  described.index = stage.index;
  described.name = stage.name;
  described.position = stage.position;
  described.platform = outline.platforms[stage.index].ToString();
  described.base_stage = stage.base.kind == SourceRef::Kind::kStage ? stage.base.stage : -1;
  if (stage.base.kind == SourceRef::Kind::kImage) {
    const absl::StatusOr<Reference> reference = Reference::Parse(stage.base.image);
    described.base_image =
        reference.ok() ? reference->WithDefaultTag().canonical() : stage.base.image;
  }
  if (stage.base.kind == SourceRef::Kind::kContext) described.base_context = stage.base.context;
  described.needed = outline.needed[stage.index];
  if (!described.needed) return described;
  const StageState& state = build.stages[stage.index];
  described.file_system = state.file_system;
  described.instructions = state.instructions;
  described.image = StageImage(build, state);
  return described;
}

std::vector<std::string> ProxyEnv(const std::map<std::string, std::string>& build_args) {
  std::vector<std::string> env;
  for (absl::string_view proxy : kProxyArgs) {
    std::string value;
    for (const auto& [name, build_arg] : build_args) {
      if (absl::EqualsIgnoreCase(name, proxy)) value = build_arg;
    }
    if (value.empty()) continue;
    env.push_back(absl::StrCat(proxy, "=", value));
    env.push_back(absl::StrCat(absl::AsciiStrToLower(proxy), "=", value));
  }
  return env;
}

bool IsProxyArg(absl::string_view name) {
  return std::any_of(std::begin(kProxyArgs), std::end(kProxyArgs), [name](absl::string_view proxy) {
    return absl::EqualsIgnoreCase(name, proxy);
  });
}

void CollectArgs(const Instruction& instruction, std::set<std::string>& names) {
  const auto* arg = std::get_if<ArgInstruction>(&instruction.body);
  if (arg == nullptr) return;
  for (const ArgDeclaration& declaration : arg->args) names.insert(declaration.name);
}

// Build arguments that no ARG declares and that mean nothing by themselves.
std::vector<std::string> UnusedBuildArgs(const PlanBuild& build, const Outline& outline) {
  std::set<std::string> known = {kEpochArg};
  for (const auto& [name, value] : outline.graph.global_args()) {
    if (absl::StartsWith(name, "TARGET") || absl::StartsWith(name, "BUILD")) known.insert(name);
  }
  for (const Instruction& instruction : build.file.instructions) CollectArgs(instruction, known);
  for (const std::vector<Trigger>& triggers : outline.triggers) {
    for (const Trigger& trigger : triggers) CollectArgs(trigger.instruction, known);
  }
  std::vector<std::string> unused;
  for (const auto& [name, value] : build.options.build_args) {
    if (!IsProxyArg(name) && !absl::StartsWith(name, "BUILDKIT_") && known.count(name) == 0) {
      unused.push_back(name);
    }
  }
  return unused;
}

// Of the ARG before the first FROM that declares `name`; else of no line.
SourcePosition PositionOfGlobalArg(const Dockerfile& file, absl::string_view name) {
  for (const Instruction& instruction : file.instructions) {
    const auto* arg = std::get_if<ArgInstruction>(&instruction.body);
    if (arg == nullptr) break;
    for (const ArgDeclaration& declaration : arg->args) {
      if (declaration.name == name) return instruction.position;
    }
  }
  return {.file = file.source->file()};
}

// What a build argument or a global ARG asks for, in seconds since 1970.
absl::StatusOr<std::optional<absl::Time>> CreatedMax(const PlanBuild& build) {
  std::string text;
  if (const auto global = build.graph.global_args().find(kEpochArg);
      global != build.graph.global_args().end()) {
    text = global->second;
  }
  const auto given = build.options.build_args.find(kEpochArg);
  if (given != build.options.build_args.end()) text = given->second;
  if (text.empty()) return std::nullopt;
  int64_t seconds = 0;
  if (absl::SimpleAtoi(text, &seconds) && seconds >= 0 && seconds <= kEpochMax) {
    return absl::FromUnixSeconds(seconds);
  }
  return build.file.source->Error(
      given == build.options.build_args.end() ? PositionOfGlobalArg(build.file, kEpochArg)
                                              : SourcePosition{.file = build.file.source->file()},
      absl::StrCat("invalid SOURCE_DATE_EPOCH: \"", text, "\" is no number of seconds since 1970",
                   given == build.options.build_args.end() ? "" : " (build argument)"));
}

absl::Status FinishPlan(PlanBuild& build, const Outline& outline) {
  StageState& target = build.stages[outline.target];
  CopyContextBase(build, target);
  Plan& plan = build.plan;
  plan.result = target.file_system;
  plan.config = target.image;
  SetPlatform(build.options, plan.config.platform);
  for (const auto& [name, value] : build.options.labels) plan.config.config.labels[name] = value;
  plan.history = target.history;
  ASSIGN_OR_RETURN(plan.created_max, CreatedMax(build));
  plan.target = outline.target;
  for (const Stage& stage : outline.graph.stages()) {
    plan.stages.push_back(DescribeStage(build, outline, stage));
  }
  plan.proxy_env = ProxyEnv(build.options.build_args);
  const std::vector<std::string> unused = UnusedBuildArgs(build, outline);
  if (!unused.empty()) {
    plan.warnings.push_back(absl::StrCat("One or more build-args [", absl::StrJoin(unused, " "),
                                         "] were not consumed"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const Dockerfile& file, const ResolvedImages& resolved,
                              const PlanOptions& options) {
  ASSIGN_OR_RETURN(const Outline outline, MakeOutline(file, resolved, options));
  PlanBuild build{file, options, outline.graph, resolved};
  build.platform = PlatformToProto(outline.platform);
  build.stages.resize(outline.graph.stages().size());

  const bool shows_names = ShowsStageNames(file, outline.graph);
  for (const Stage& stage : outline.graph.stages()) {
    if (!outline.needed[stage.index]) continue;
    RETURN_IF_ERROR(LowerStage(build, stage, outline.platforms[stage.index],
                               outline.triggers[stage.index], shows_names));
  }
  RETURN_IF_ERROR(FinishPlan(build, outline));
  return std::move(build.plan);
}

}  // namespace farm
