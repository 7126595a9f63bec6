#ifndef FARM_DOCKERFILE_PARSER_H_
#define FARM_DOCKERFILE_PARSER_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dockerfile/instruction.h"

namespace farm {

// Words of one instruction, heredocs of one instruction, instructions of a file: above these the
// file is hostile.
inline constexpr size_t kInstructionWordsMax = 100'000;
inline constexpr size_t kHeredocsMax = 1'000;
inline constexpr size_t kInstructionsMax = 100'000;

// Parses a whole Dockerfile. Errors are INVALID_ARGUMENT and carry their position and line.
// Order of instructions is not checked here (see StageGraph), nor is any variable expanded.
absl::StatusOr<Dockerfile> ParseDockerfile(DockerfileSource source);

// Parses the trigger of an ONBUILD, as an image config records it, to an instruction whose lines
// and position are those of `from`, the FROM that pulls it in, as are those of errors. Not a FROM,
// ONBUILD or MAINTAINER.
absl::StatusOr<Instruction> ParseTrigger(absl::string_view trigger, const SourcePosition& from);

}  // namespace farm

#endif  // FARM_DOCKERFILE_PARSER_H_
