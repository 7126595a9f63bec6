// The stages of a Dockerfile, what each is built on, and which of them a target needs.
//
//   ASSIGN_OR_RETURN(StageGraph graph, StageGraph::Create(file, {.target_platform = "linux/arm64",
//                                                                .build_args = {{"V", "1"}}}));
//   ASSIGN_OR_RETURN(int target, graph.FindTarget("release"));
//   const std::vector<bool> needed = graph.Needed(target);
//   for (size_t i = graph.stages()[target].begin; i < graph.stages()[target].end; ++i) {
//     Lower(file.instructions[i]);
//   }
//
// Edges come from FROM, COPY --from and RUN --mount=from=. None of the latter two may have
// variables, so that the graph is complete without knowing any stage's environment. Only the
// triggers of a base image's ONBUILD are unknown here: the planner resolves their sources by
// ResolveSource() and adds them by AddDependency().
#ifndef FARM_DOCKERFILE_STAGE_GRAPH_H_
#define FARM_DOCKERFILE_STAGE_GRAPH_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dockerfile/expand.h"
#include "dockerfile/instruction.h"

namespace farm {

// Stages of a file. Generated ones have some hundreds.
inline constexpr size_t kStagesMax = 1'000;

// Where files come from: a stage of this file, or else something that is no stage.
struct SourceRef {
  enum class Kind { kScratch, kStage, kImage, kContext };
  Kind kind = Kind::kImage;
  int stage = -1;       // Of kStage.
  std::string context;  // Of kContext: the name of files that the build brings for it.
  std::string image;    // Of kImage: as written, after expansion ("alpine"); not normalised.

  friend bool operator==(const SourceRef&, const SourceRef&) = default;
};

struct Stage {
  int index = 0;
  std::string name;         // Lower case; "" if none.
  SourcePosition position;  // Of its FROM.
  SourceRef base;  // Of a stage that the build replaces: what by. It has no instructions then.
  bool is_replaced = false;
  std::string platform;  // Of --platform, expanded; "" if not given. Not checked.
  // Its instructions, without FROM: Dockerfile::instructions[begin, end). FROM is begin - 1.
  size_t begin = 0;
  size_t end = 0;
};

// The options of a build that a Dockerfile's FROM lines and ARGs see.
struct StageGraphOptions {
  std::string build_platform = "linux/amd64";   // Of the machine that builds: "os/arch[/variant]".
  std::string target_platform = "linux/amd64";  // Of the image.
  std::string target = "";                      // For $TARGETSTAGE; "" is the last stage.
  std::map<std::string, std::string> build_args = {};
  // What the build puts in the place of the stage or image `name` (--build-context); nullopt if
  // nothing. Null: nothing for any.
  std::function<std::optional<SourceRef>(absl::string_view name)> find_context = nullptr;
};

// The variables that FROM lines see and that an ARG without value in a stage takes its default
// from: the ARGs before the first FROM, BUILDPLATFORM, BUILDOS, BUILDOSVERSION, BUILDARCH,
// BUILDVARIANT, the same for TARGET..., and TARGETSTAGE; each overridden by a build argument of its
// name.
absl::StatusOr<std::map<std::string, std::string>> GlobalArgs(const Dockerfile& file,
                                                              const StageGraphOptions& options);

class StageGraph {
 public:
  // Reads the ARGs before the first FROM and all FROM lines. `file` need not outlive the graph.
  // INVALID_ARGUMENT, with position: an instruction other than ARG before the first FROM, no FROM,
  // a blank base name, a bad stage index, a variable in `from`, a stage that needs itself in the
  // end, more than kStagesMax stages. That a needed stage reads from a later one is left to
  // ResolveSource().
  static absl::StatusOr<StageGraph> Create(const Dockerfile& file,
                                           const StageGraphOptions& options);

  const std::vector<Stage>& stages() const { return stages_; }

  // See GlobalArgs().
  const std::map<std::string, std::string>& global_args() const { return global_args_; }

  // The stage that `--target` names: by name (case ignored) or index; "" is the last stage.
  // INVALID_ARGUMENT with a suggestion if there is none.
  absl::StatusOr<int> FindTarget(absl::string_view target) const;

  // What `from` means in an instruction of stage `stage`. COPY --from: a stage index, a stage name
  // (case ignored), else what the build has for that name, or an image. Mounts know no index, so
  // that from=0 is an image.
  // INVALID_ARGUMENT, with `position`: `from` has a variable; no such index; the stage itself or a
  // later one.
  enum class SourceUse { kCopy, kMount };
  absl::StatusOr<SourceRef> ResolveSource(absl::string_view from, int stage, SourceUse use,
                                          const SourcePosition& position) const;

  // Stage `stage` reads from stage `source`, as ResolveSource() found, at `position`.
  void AddDependency(int stage, int source, const SourcePosition& position);

  // The stages that `stage` reads from directly, its base included, each with the first place that
  // does.
  const std::map<int, SourcePosition>& DependenciesOf(int stage) const {
    return dependencies_[stage];
  }

  // For each stage: whether `target` is it or depends on it.
  std::vector<bool> Needed(int target) const;

 private:
  StageGraph() = default;

  absl::Status ReadStages(const Dockerfile& file);
  absl::Status ReadFrom(const Dockerfile& file, size_t instruction);
  absl::Status ReadDependencies(const Dockerfile& file);
  absl::StatusOr<SourceRef> FindSource(absl::string_view from, SourceUse use,
                                       const SourcePosition& position) const;
  SourceRef OtherSource(absl::string_view name) const;
  absl::Status CheckNoCycle() const;
  std::string Describe(int stage) const;

  std::shared_ptr<const DockerfileSource> source_;
  std::vector<Stage> stages_;
  std::map<std::string, int, std::less<>> stage_by_name_;  // The last one of a name.
  std::map<std::string, std::string> global_args_;
  std::function<std::optional<SourceRef>(absl::string_view name)> find_context_;
  std::vector<std::map<int, SourcePosition>> dependencies_;
};

}  // namespace farm

#endif  // FARM_DOCKERFILE_STAGE_GRAPH_H_
