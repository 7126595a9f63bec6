// Whole Dockerfiles: parser, mounts, ONBUILD triggers, lint, stage graph.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "dockerfile/lint.h"
#include "dockerfile/mount.h"
#include "dockerfile/parser.h"
#include "dockerfile/stage_graph.h"

namespace farm {
namespace {

void CheckError(const absl::Status& status) {
  FARM_CHECK_EQ(static_cast<int>(status.code()),
                static_cast<int>(absl::StatusCode::kInvalidArgument))
      << status;
  FARM_CHECK(PositionOf(status).has_value()) << status;
}

void CheckInstruction(const Dockerfile& file, const Instruction& instruction) {
  FARM_CHECK_LE(1, instruction.position.line);
  FARM_CHECK_LE(instruction.position.line, instruction.end_line);
  FARM_CHECK_LE(instruction.end_line, file.source->line_count());
  FARM_CHECK(!instruction.original.empty());
  if (const auto* run = std::get_if<RunInstruction>(&instruction.body)) {
    for (const std::string& mount : run->mounts) {
      const absl::StatusOr<Mount> parsed = ParseMount(mount, instruction.position);
      if (!parsed.ok()) CheckError(parsed.status());
    }
  }
  if (const auto* onbuild = std::get_if<OnbuildInstruction>(&instruction.body)) {
    const absl::StatusOr<Instruction> trigger =
        ParseTrigger(onbuild->trigger, instruction.position);
    if (!trigger.ok()) CheckError(trigger.status());
  }
}

void CheckGraph(const StageGraph& graph) {
  const int last = static_cast<int>(graph.stages().size()) - 1;
  FARM_CHECK(graph.Needed(last)[last]);
  for (const Stage& stage : graph.stages()) {
    FARM_CHECK_LE(stage.begin, stage.end);
    FARM_CHECK_LT(stage.base.stage, stage.index);
  }
}

void Test(const std::string& text) {
  absl::StatusOr<DockerfileSource> source = DockerfileSource::Create("Dockerfile", text);
  if (!source.ok()) return CheckError(source.status());
  const absl::StatusOr<Dockerfile> file = ParseDockerfile(*std::move(source));
  if (!file.ok()) return CheckError(file.status());
  for (const Instruction& instruction : file->instructions) CheckInstruction(*file, instruction);
  const absl::StatusOr<LintResult> lint = Lint(*file, {});
  if (!lint.ok()) CheckError(lint.status());
  const absl::StatusOr<StageGraph> graph = StageGraph::Create(*file, {});
  if (!graph.ok()) return CheckError(graph.status());
  CheckGraph(*graph);
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farm::Test(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
