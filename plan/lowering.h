// What planner.cc and the files lower_*.cc share: the state of a stage while its instructions are
// lowered one after the other, and what they do to it. Not for other libraries.
#ifndef FARM_PLAN_LOWERING_H_
#define FARM_PLAN_LOWERING_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dockerfile/instruction.h"
#include "dockerfile/stage_graph.h"
#include "plan/plan.h"
#include "plan/planner.h"

namespace farm {

inline constexpr char kDefaultPath[] =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Variables as a command sees them: ENV and ARG together, in the order in which they were last set.
class Environment {
 public:
  void Set(absl::string_view name, absl::string_view value);
  std::optional<std::string> Get(absl::string_view name) const;
  std::vector<std::string> ToList() const;  // "NAME=value"
  size_t size() const { return variables_.size(); }

 private:
  struct Variable {
    std::string value;
    uint64_t set = 0;  // Of all settings, the one that gave it its value.
  };
  absl::flat_hash_map<std::string, Variable> variables_;
  uint64_t settings_ = 0;
};

// The ARGs that a stage has declared, each once, in the order in which they were first declared.
class DeclaredArgs {
 public:
  void Add(const std::string& name, const std::optional<std::string>& value);
  // With the values of their last declarations.
  const std::vector<ArgDeclaration>& list() const { return list_; }

 private:
  std::vector<ArgDeclaration> list_;
  absl::flat_hash_map<std::string, size_t> indexes_;
};

// What a variable adds to StageState::text_bytes: each stage has a copy, and an index of names.
inline size_t VariableBytes(size_t text) { return text + 4 * sizeof(std::string); }

struct StageState {
  int index = 0;
  v1::Platform platform;
  std::string label;  // In step names: "build", "stage-0"; "" in a file of one stage.
  FileSystemRef file_system;
  std::string base_context;  // Name of the context that it is built on, if it is.
  Environment env;
  DeclaredArgs args;                                    // Those of base stages come first.
  ImageConfig image;                                    // Its history is that of the base image.
  absl::flat_hash_map<std::string, size_t> config_env;  // Name -> index in image.config.env.
  std::vector<PlanHistory> history;  // Of this file's instructions, those of base stages included.
  bool has_cmd = false;              // This very stage has a CMD.
  int steps_total = 0;               // For names; the base image counts as a step.
  int steps_named = 0;
  std::string trigger_origin;                 // As PlanStep::origin, while a trigger is lowered.
  std::vector<PlanInstruction> instructions;  // The last one is being lowered.
  size_t text_bytes = 0;                      // About what it adds to kPlanTextBytesMax.
};

struct PlanBuild {
  const Dockerfile& file;
  const PlanOptions& options;
  const StageGraph& graph;
  const ResolvedImages& resolved;
  v1::Platform platform;  // Of the image.
  Plan plan;
  std::vector<StageState> stages;              // By index; those not needed stay empty.
  std::map<ImageKey, int> base_indexes;        // -> index in plan.bases.
  std::map<std::string, int> context_remotes;  // By name -> index in plan.remotes.
  size_t text_bytes = 0;                       // Of the stages that are done.
};

// What `instruction`, whose body is the last argument, does to `stage`: one for each kind.
// FROM starts a stage and is in none, so that one is a bug.
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const FromInstruction& from);
// In lower_run.cc:
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const RunInstruction& run);
// In lower_files.cc:
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const AddInstruction& add);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const CopyInstruction& copy);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const WorkdirInstruction& workdir);
// In lower_metadata.cc, those that change only the config:
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const ArgInstruction& arg);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const CmdInstruction& cmd);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const EntrypointInstruction& entrypoint);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const EnvInstruction& env);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const ExposeInstruction& expose);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const HealthcheckInstruction& check);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const LabelInstruction& label);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const MaintainerInstruction& maintainer);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const OnbuildInstruction& onbuild);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const ShellInstruction& shell);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const StopsignalInstruction& stop);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const UserInstruction& user);
absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const VolumeInstruction& volume);

absl::Status CheckSyntaxDirective(const Dockerfile& file, const PlanOptions& options);
// "`what` is not supported yet`hint`"
absl::Status UnsupportedAt(const Dockerfile& file, const SourcePosition& position,
                           absl::string_view what, absl::string_view hint = "");

// An error at `instruction`.
absl::Status ErrorIn(const PlanBuild& build, const Instruction& instruction,
                     absl::string_view message);

// The same for a limit: RESOURCE_EXHAUSTED.
absl::Status LimitErrorIn(const PlanBuild& build, const Instruction& instruction,
                          absl::string_view message);

// `word` with the stage's variables, quotes and escapes processed.
absl::StatusOr<std::string> ExpandIn(const PlanBuild& build, const StageState& stage,
                                     const Instruction& instruction, absl::string_view word);

// The same, split into words where spaces are not quoted.
absl::StatusOr<std::vector<std::string>> ExpandWordsIn(const PlanBuild& build,
                                                       const StageState& stage,
                                                       const Instruction& instruction,
                                                       absl::string_view word);

// The shell of the stage with `command.words` as its one argument; in the JSON form the words.
std::vector<std::string> Argv(const StageState& stage, const CommandLine& command);

// What `source` is in this plan; an image is that of `platform`. INVALID_ARGUMENT for an image
// whose name cannot be one, FAILED_PRECONDITION for one that is not resolved.
absl::StatusOr<FileSystemRef> FileSystemOf(PlanBuild& build, const SourceRef& source,
                                           const v1::Platform& platform,
                                           const SourcePosition& position);
// "docker.io/library/alpine:latest"
absl::StatusOr<std::string> CanonicalImage(const Dockerfile& file, absl::string_view image,
                                           const SourcePosition& position);

// Adds what `path` names from the root of the request's file system.
void AddPattern(absl::string_view path, SourceRequest& request);

// How people are told of a step.
struct StepText {
  std::string history;
  bool keep_quotes = false;      // As in ExpandOptions, for the name.
  std::string remark;            // At the end of the name.
  std::set<std::string> hidden;  // Variables that the name shows as "****".
};

// Makes a layer of the stage's files, if they are still those of a context alone, which nothing can
// be put on top of.
void CopyContextBase(PlanBuild& build, StageState& stage);

// Adds a step on top of the stage's files, with its platform, name and line of history.
PlanStep& AddStep(PlanBuild& build, StageState& stage, const Instruction& instruction,
                  StepText text);

// Adds a line of history that makes no layer.
void AddHistory(StageState& stage, std::string created_by);

}  // namespace farm

#endif  // FARM_PLAN_LOWERING_H_
