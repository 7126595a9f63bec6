#include "plan/outline.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "dockerfile/mount.h"
#include "dockerfile/parser.h"
#include "plan/lowering.h"
#include "plan/platform_proto.h"

namespace farm {
namespace {

// Of a trigger, in messages.
constexpr size_t kTriggerBytesShown = 200;

Platform BuildPlatform(const PlanOptions& options) {
  const Platform build = IsUnset(options.build_platform)
                             ? Platform::Host()
                             : PlatformFromProto(options.build_platform);
  return build.Normalized();
}

// The recorded triggers of what stage `stage` is built on.
std::vector<std::string> TriggersOf(const Dockerfile& file, const StageGraph& graph,
                                    const ResolvedImages& resolved, const Stage& stage,
                                    const ImageKey& base_image) {
  std::vector<std::string> triggers;
  // What stands for a stage is taken as it is.
  if (stage.is_replaced) return triggers;
  if (stage.base.kind == SourceRef::Kind::kImage) {
    const auto image = resolved.find(base_image);
    if (image != resolved.end()) triggers = image->second.config.config.on_build;
  } else if (stage.base.kind == SourceRef::Kind::kStage) {
    const Stage& base = graph.stages()[stage.base.stage];
    for (size_t i = base.begin; i < base.end; ++i) {
      const auto* onbuild = std::get_if<OnbuildInstruction>(&file.instructions[i].body);
      if (onbuild != nullptr) triggers.push_back(onbuild->trigger);
    }
  }
  return triggers;
}

// As PlanStep::origin.
std::string OriginOf(const StageGraph& graph, const Stage& stage, const std::string& trigger) {
  const std::string base = stage.base.kind == SourceRef::Kind::kStage
                               ? absl::StrCat("stage ", graph.stages()[stage.base.stage].name)
                               : absl::StrCat("image ", stage.base.image);
  const std::string text = RedactUrls(trigger);
  return absl::StrCat("from the ", base, ": ONBUILD ", text.substr(0, kTriggerBytesShown),
                      text.size() > kTriggerBytesShown ? "..." : "");
}

// The platform of each stage: that of its --platform; but a stage on another one has that one's,
// and scratch has the image's.
absl::StatusOr<std::vector<Platform>> PlatformsOf(const Dockerfile& file, const StageGraph& graph,
                                                  const Platform& of_image) {
  std::vector<Platform> platforms;
  for (const Stage& stage : graph.stages()) {
    Platform platform = of_image;
    if (!stage.platform.empty()) {
      absl::StatusOr<Platform> parsed = Platform::Parse(stage.platform);
      if (!parsed.ok()) {
        return file.source->Error(stage.position,
                                  absl::StrCat("failed to parse platform ", stage.platform, ": ",
                                               parsed.status().message()));
      }
      if (stage.base.kind == SourceRef::Kind::kImage) platform = parsed->Normalized();
    }
    if (stage.base.kind == SourceRef::Kind::kStage) platform = platforms[stage.base.stage];
    platforms.push_back(std::move(platform));
  }
  return platforms;
}

// Reads one needed stage: adds its triggers and their edges, and collects its images.
class StageReader {
 public:
  StageReader(const Dockerfile& file, const ResolvedImages& resolved, Outline& outline)
      : file_(file), resolved_(resolved), outline_(outline) {}

  absl::Status Read(int index) {
    const Stage stage = outline_.graph.stages()[index];
    ImageKey base_image;
    if (stage.base.kind == SourceRef::Kind::kImage) {
      ASSIGN_OR_RETURN(base_image.name, CanonicalImage(file_, stage.base.image, stage.position));
      base_image.platform = outline_.platforms[index].ToString();
      images_[index].push_back({base_image, stage.base.image, stage.position, index, ""});
    } else if (stage.base.kind == SourceRef::Kind::kContext) {
      outline_.contexts.insert(stage.base.context);
    }
    for (const std::string& trigger :
         TriggersOf(file_, outline_.graph, resolved_, stage, base_image)) {
      origin_ = OriginOf(outline_.graph, stage, trigger);
      absl::StatusOr<Instruction> instruction = ParseTrigger(trigger, stage.position);
      RETURN_IF_ERROR(FromTrigger(instruction.status(), origin_));
      RETURN_IF_ERROR(FromTrigger(ReadInstruction(index, *instruction), origin_));
      outline_.triggers[index].push_back({*std::move(instruction), origin_});
    }
    origin_.clear();
    for (size_t i = stage.begin; i < stage.end; ++i) {
      RETURN_IF_ERROR(ReadInstruction(index, file_.instructions[i]));
    }
    return absl::OkStatus();
  }

  // Of a stage that is not needed: that the images that it names could be there.
  absl::Status CheckNames(const Stage& stage) const {
    if (stage.base.kind == SourceRef::Kind::kImage) {
      RETURN_IF_ERROR(CanonicalImage(file_, stage.base.image, stage.position).status());
    }
    for (size_t i = stage.begin; i < stage.end; ++i) {
      const Instruction& instruction = file_.instructions[i];
      ASSIGN_OR_RETURN(const std::vector<SourceUse> uses, SourcesOf(instruction));
      for (const SourceUse& use : uses) {
        const absl::StatusOr<SourceRef> source =
            outline_.graph.ResolveSource(use.from, stage.index, use.kind, instruction.position);
        if (!source.ok() || source->kind != SourceRef::Kind::kImage) continue;
        RETURN_IF_ERROR(CanonicalImage(file_, source->image, instruction.position).status());
      }
    }
    return absl::OkStatus();
  }

  // In the order of the file, each once.
  std::vector<ImageUse> Images() const {
    std::vector<ImageUse> images;
    std::set<ImageKey> seen;
    for (const auto& [stage, of_stage] : images_) {
      for (const ImageUse& image : of_stage) {
        if (seen.insert(image.key).second) images.push_back(image);
      }
    }
    return images;
  }

 private:
  struct SourceUse {
    std::string from;
    StageGraph::SourceUse kind;
  };

  static absl::StatusOr<std::vector<SourceUse>> SourcesOf(const Instruction& instruction) {
    std::vector<SourceUse> uses;
    if (const auto* run = std::get_if<RunInstruction>(&instruction.body)) {
      for (const std::string& mount : run->mounts) {
        ASSIGN_OR_RETURN(std::string from, MountSource(mount, instruction.position));
        if (!from.empty()) uses.push_back({std::move(from), StageGraph::SourceUse::kMount});
      }
    }
    if (const auto* copy = std::get_if<CopyInstruction>(&instruction.body);
        copy != nullptr && !copy->from.empty()) {
      uses.push_back({copy->from, StageGraph::SourceUse::kCopy});
    }
    return uses;
  }

  absl::Status ReadInstruction(int stage, const Instruction& instruction) {
    ASSIGN_OR_RETURN(const std::vector<SourceUse> uses, SourcesOf(instruction));
    for (const SourceUse& use : uses) {
      RETURN_IF_ERROR(ReadSource(stage, use, instruction.position));
    }
    return absl::OkStatus();
  }

  absl::Status ReadSource(int stage, const SourceUse& use, const SourcePosition& position) {
    ASSIGN_OR_RETURN(const SourceRef source,
                     outline_.graph.ResolveSource(use.from, stage, use.kind, position));
    if (source.kind == SourceRef::Kind::kStage) {
      outline_.graph.AddDependency(stage, source.stage, position);
    } else if (source.kind == SourceRef::Kind::kImage) {
      ImageKey image;
      ASSIGN_OR_RETURN(image.name, CanonicalImage(file_, source.image, position));
      image.platform = outline_.platform.ToString();
      images_[stage].push_back({std::move(image), source.image, position, stage, origin_});
    } else if (source.kind == SourceRef::Kind::kContext) {
      outline_.contexts.insert(source.context);
    }
    return absl::OkStatus();
  }

  const Dockerfile& file_;
  const ResolvedImages& resolved_;
  Outline& outline_;
  std::string origin_;  // Of the trigger that is being read.
  std::map<int, std::vector<ImageUse>> images_;
};

}  // namespace

Platform TargetPlatform(const PlanOptions& options) {
  if (IsUnset(options.platform)) return BuildPlatform(options);
  return PlatformFromProto(options.platform).Normalized();
}

absl::Status FromTrigger(const absl::Status& status, const std::string& origin) {
  if (status.ok() || origin.empty()) return status;
  return Extend(status, absl::StrCat(" (", origin, ")"));
}

absl::StatusOr<Outline> MakeOutline(const Dockerfile& file, const ResolvedImages& resolved,
                                    const PlanOptions& options) {
  RETURN_IF_ERROR(CheckSyntaxDirective(file, options));
  ASSIGN_OR_RETURN(StageGraph graph, StageGraph::Create(file, StageGraphOptionsOf(options)));
  const int stages = static_cast<int>(graph.stages().size());
  Outline outline{std::move(graph), TargetPlatform(options), 0, {}, {}, {}, {}, {}};
  ASSIGN_OR_RETURN(outline.platforms, PlatformsOf(file, outline.graph, outline.platform));
  ASSIGN_OR_RETURN(outline.target, outline.graph.FindTarget(options.target));
  outline.triggers.resize(stages);

  // From the last stage to the first, as all edges lead to earlier ones: a stage is read once all
  // that may need it are, and then what it needs itself is known, triggers included.
  StageReader reader(file, resolved, outline);
  outline.needed.resize(stages);
  outline.needed[outline.target] = true;
  for (int stage = outline.target; stage >= 0; --stage) {
    if (!outline.needed[stage]) continue;
    RETURN_IF_ERROR(reader.Read(stage));
    for (const auto& [source, position] : outline.graph.DependenciesOf(stage)) {
      outline.needed[source] = true;
    }
  }
  for (const Stage& stage : outline.graph.stages()) {
    if (!outline.needed[stage.index]) {
      RETURN_IF_ERROR(reader.CheckNames(stage));
    }
  }
  outline.images = reader.Images();
  return outline;
}

StageGraphOptions StageGraphOptionsOf(const PlanOptions& options) {
  StageGraphOptions graph_options{.build_platform = BuildPlatform(options).ToString(),
                                  .target_platform = TargetPlatform(options).ToString(),
                                  .target = options.target,
                                  .build_args = options.build_args};
  if (options.contexts.empty()) return graph_options;
  graph_options.find_context =
      [contexts = options.contexts](absl::string_view written) -> std::optional<SourceRef> {
    const absl::StatusOr<std::string> name = ContextName(written);
    if (!name.ok()) return std::nullopt;
    const auto found = contexts.find(*name);
    if (found == contexts.end()) return std::nullopt;
    SourceRef source;
    if (found->second.kind != NamedContext::Kind::kImage) {
      source.kind = SourceRef::Kind::kContext;
      source.context = *name;
    } else if (found->second.image == "scratch") {
      source.kind = SourceRef::Kind::kScratch;
    } else {
      source.image = found->second.image;
    }
    return source;
  };
  return graph_options;
}

absl::StatusOr<std::vector<ImageKey>> ImagesToResolve(const Dockerfile& file,
                                                      const ResolvedImages& resolved,
                                                      const PlanOptions& options) {
  ASSIGN_OR_RETURN(const Outline outline, MakeOutline(file, resolved, options));
  std::vector<ImageKey> missing;
  for (const ImageUse& image : outline.images) {
    if (resolved.count(image.key) == 0) missing.push_back(image.key);
  }
  return missing;
}

absl::StatusOr<std::set<std::string>> ContextsNeeded(const Dockerfile& file,
                                                     const ResolvedImages& resolved,
                                                     const PlanOptions& options) {
  ASSIGN_OR_RETURN(const Outline outline, MakeOutline(file, resolved, options));
  std::set<std::string> names;
  for (const std::string& name : outline.contexts) {
    if (options.contexts.at(name).kind == NamedContext::Kind::kFiles) names.insert(name);
  }
  return names;
}

absl::Status UnresolvedImage(const Dockerfile& file, const ResolvedImages& resolved,
                             const PlanOptions& options, const ImageKey& image,
                             const absl::Status& error) {
  ASSIGN_OR_RETURN(const Outline outline, MakeOutline(file, resolved, options));
  const auto use = std::find_if(outline.images.begin(), outline.images.end(),
                                [&image](const ImageUse& use) { return use.key == image; });
  FARM_CHECK(use != outline.images.end()) << image.name;
  std::vector<std::string> names;  // Of the stages that may be read there.
  for (int i = 0; i < use->stage; ++i) {
    const std::string& name = outline.graph.stages()[i].name;
    if (!name.empty()) names.push_back(name);
  }
  const std::string stage = ClosestMatch(use->written, names);
  absl::Status at = WithCode(
      error.code(),
      file.source->Error(
          use->position,
          absl::StrCat(
              error.message(),
              stage.empty() ? "" : absl::StrCat(" (did you mean the stage ", stage, "?)"))));
  at = FromTrigger(at, use->origin);
  error.ForEachPayload(
      [&at](absl::string_view url, const absl::Cord& payload) { at.SetPayload(url, payload); });
  return at;
}

}  // namespace farm
