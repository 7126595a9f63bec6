// What a Dockerfile says, before any variable is expanded: one Instruction for each, in order.
//
//   ASSIGN_OR_RETURN(Dockerfile file, ParseDockerfile(std::move(source)));
//   for (const Instruction& instruction : file.instructions) {
//     if (const auto* run = std::get_if<RunInstruction>(&instruction.body)) ...
//   }
//
// Strings are as written: quotes, escapes and $VARIABLES are still in them, and are processed by
// expand.h. The words of the JSON form are decoded, and are expanded all the same where BuildKit
// does so (COPY, ADD, VOLUME; never CMD, ENTRYPOINT, RUN, SHELL).
#ifndef FARM_DOCKERFILE_INSTRUCTION_H_
#define FARM_DOCKERFILE_INSTRUCTION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "base/source_position.h"
#include "dockerfile/source.h"

namespace farm {

// `# name=value` at the top of the file.
struct ParserDirective {
  std::string name;  // "syntax", "escape" or "check".
  std::string value;
  int line = 0;
};

// `--name=value` between an instruction's name and its arguments.
struct InstructionFlag {
  std::string name;   // "from"; without the dashes.
  std::string value;  // "" if `has_value` is false.
  bool has_value = false;
  SourcePosition position;

  // As written but for quotes and escapes, which are removed: "--from=x", "--link".
  std::string ToString() const;
};

// The lines between `<<NAME` and NAME.
struct Heredoc {
  std::string name;    // The delimiter without quotes.
  bool expand = true;  // False if a part of the delimiter is quoted.
  bool chomp = false;  // True for `<<-`.
  std::string text;    // The lines as written, each with its line end.
  std::string data;    // What they mean: `text`, for `<<-` without the tabs that begin a line.
};

// NAME=value of ENV and LABEL.
struct KeyValue {
  std::string key;
  std::string value;
  bool separated_by_space = false;  // The old form `ENV key value`; the value is the line's rest.
};

// NAME or NAME=value of ARG.
struct ArgDeclaration {
  std::string name;
  std::optional<std::string> value;  // nullopt: no default. "" for `NAME=`.
};

// The command of RUN, CMD, ENTRYPOINT and HEALTHCHECK.
struct CommandLine {
  // True: `words` has the line as one word, for `SHELL -c`; or nothing, if there are no arguments.
  // False: `words` is the argv, from the JSON form.
  bool shell_form = true;
  std::vector<std::string> words;
};

// What COPY and ADD have in common.
struct CopyArguments {
  // A source is a path, pattern or URL; or, as `heredoc`, an index into Instruction::heredocs.
  struct CopySource {
    std::string path;  // As written; "<<EOF" for a heredoc.
    std::optional<size_t> heredoc;
  };
  std::vector<CopySource> sources;  // At least one.
  std::string dest;
  std::string chown;  // "" if not given, also below.
  std::string chmod;
  bool link = false;
  bool parents = false;
  std::vector<std::string> exclude;  // One for each --exclude.
};

struct AddInstruction {
  CopyArguments copy;
  std::string checksum;
  std::optional<bool> keep_git_dir;
  std::optional<bool> unpack;  // nullopt: unpack local archives, not downloaded ones.
};
struct ArgInstruction {
  std::vector<ArgDeclaration> args;  // At least one.
};
struct CmdInstruction {
  CommandLine command;
};
struct CopyInstruction {
  CopyArguments copy;
  std::string from;  // Stage name, stage index, image or named context; "" for the build context.
};
struct EntrypointInstruction {
  CommandLine command;
};
struct EnvInstruction {
  std::vector<KeyValue> pairs;  // At least one.
};
struct ExposeInstruction {
  std::vector<std::string> ports;  // At least one; "80", "53/udp", "8000-8010/tcp", "$PORT".
};
struct FromInstruction {
  std::string base;
  std::string name;             // Lower case; "" without AS.
  std::string name_as_written;  // "Build"
  std::string as_keyword;       // "AS" as written; "" if there is none.
  std::string platform;         // Of --platform; "" if not given.
};
struct HealthcheckInstruction {
  bool none = false;  // HEALTHCHECK NONE: forget the base's check. Nothing else is set then.
  CommandLine command;
  // Zero: not given, the runtime's default holds.
  absl::Duration interval;
  absl::Duration timeout;
  absl::Duration start_period;
  absl::Duration start_interval;
  int32_t retries = 0;
};
struct LabelInstruction {
  std::vector<KeyValue> pairs;  // At least one.
};
struct MaintainerInstruction {
  std::string maintainer;
};
struct OnbuildInstruction {
  // The trigger as images record it ("RUN make"), its heredocs' lines included. It is parsed by
  // ParseTrigger() when a stage is built on the image.
  std::string trigger;
  std::string trigger_name;  // "RUN"
};
struct RunInstruction {
  CommandLine command;  // With heredocs: the line that has the `<<`; see Instruction::heredocs.
  std::vector<std::string> mounts;  // The value of each --mount, for ParseMount().
  std::string network;              // "default", "none", "host"; "" if not given.
  std::string security;             // "sandbox", "insecure"; "" if not given.
};
struct ShellInstruction {
  std::vector<std::string> words;  // At least one.
};
struct StopsignalInstruction {
  std::string signal;
};
struct UserInstruction {
  std::string user;
};
struct VolumeInstruction {
  std::vector<std::string> paths;  // At least one.
};
struct WorkdirInstruction {
  std::string path;
};

using InstructionBody =
    std::variant<AddInstruction, ArgInstruction, CmdInstruction, CopyInstruction,
                 EntrypointInstruction, EnvInstruction, ExposeInstruction, FromInstruction,
                 HealthcheckInstruction, LabelInstruction, MaintainerInstruction,
                 OnbuildInstruction, RunInstruction, ShellInstruction, StopsignalInstruction,
                 UserInstruction, VolumeInstruction, WorkdirInstruction>;

struct Instruction {
  std::string name;             // "COPY"
  std::string name_as_written;  // "copy"
  SourcePosition position;      // Of the name.
  int end_line = 0;             // Last line, that of a heredoc's end included.
  // The instruction on one line: continuations joined, comments within left out, no space at
  // either end; heredocs' lines are not in it. ("RUN make   all"; history lines are made from it.)
  std::string original;
  std::vector<InstructionFlag> flags;  // All, in order.
  bool json = false;                   // The arguments are a valid JSON array of strings.
  std::vector<Heredoc> heredocs;       // RUN, COPY, ADD, and ONBUILD of these.
  std::vector<std::string> comments;   // The comment lines right before it, without `#`.
  InstructionBody body;
};

struct Dockerfile {
  // Shared, since messages about the file quote its lines for as long as the build lives.
  std::shared_ptr<const DockerfileSource> source;
  std::vector<ParserDirective> directives;
  char escape = '\\';                     // Or '`'.
  std::vector<Instruction> instructions;  // At least one.
  // Of each instruction that has an empty line among its continuations, the last continued line:
  // accepted, but deprecated.
  std::vector<int> empty_continuation_lines;
};

}  // namespace farm

#endif  // FARM_DOCKERFILE_INSTRUCTION_H_
