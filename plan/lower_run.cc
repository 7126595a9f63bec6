#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/ssh_agent_protocol.h"
#include "base/status_macros.h"
#include "dockerfile/clean_path.h"
#include "dockerfile/heredoc.h"
#include "dockerfile/mount.h"
#include "plan/lowering.h"
#include "plan/run_settings.h"

namespace farm {
namespace {

constexpr absl::string_view kHeredocDirectory = "/dev/pipes/";
constexpr absl::string_view kSecretsDirectory = "/run/secrets/";
constexpr absl::string_view kSshAgentVariable = "SSH_AUTH_SOCK";
// Build arguments, as BuildKit has them.
constexpr char kHostnameArg[] = "BUILDKIT_SANDBOX_HOSTNAME";
constexpr char kCacheNamespaceArg[] = "BUILDKIT_CACHE_MOUNT_NS";

std::string BuildArg(const PlanBuild& build, const std::string& name) {
  const auto given = build.options.build_args.find(name);
  return given == build.options.build_args.end() ? "" : given->second;
}

v1::NetworkMode Network(const RunInstruction& run, const PlanOptions& options) {
  if (run.network == "none") return v1::NETWORK_MODE_NONE;
  if (run.network == "host") return v1::NETWORK_MODE_HOST;
  return options.network;
}

// "|2 A=1 B=2 " for the ARGs declared so far, each once, with the values that the command sees;
// "" if there is none.
std::string ArgPrefix(const StageState& stage) {
  const std::vector<ArgDeclaration>& args = stage.args.list();
  if (args.empty()) return "";
  std::string prefix = absl::StrCat("|", args.size(), " ");
  for (const ArgDeclaration& arg : args) {
    const std::string value = stage.env.Get(arg.name).value_or(arg.value.value_or(""));
    absl::StrAppend(&prefix, arg.name, "=", value, " ");
  }
  return prefix;
}

// What the command line becomes with the heredocs of its instruction.
struct Script {
  std::vector<std::string> args;
  std::optional<InlineFile> file;  // To run: a heredoc that begins with "#!".
  std::string remark;              // For the step's name.
};

// The first line, and a mark if there are more.
std::string Summary(absl::string_view data) {
  data = absl::StripAsciiWhitespace(data);
  const size_t end = data.find('\n');
  if (end == data.npos) return std::string(data);
  return absl::StrCat(absl::StripSuffix(data.substr(0, end), "\r"), "...");
}

Script ScriptOf(const StageState& stage, const Instruction& instruction,
                const CommandLine& command) {
  if (instruction.heredocs.empty()) return {.args = Argv(stage, command)};
  const std::string& line = command.words[0];
  if (ParseHeredocMarker(line).has_value()) {
    // The heredoc is all there is: its text is the command, for shells that know no heredocs.
    const Heredoc& heredoc = instruction.heredocs[0];
    Script script;
    script.remark = absl::StrCat(" (", Summary(heredoc.text), ")");
    CommandLine text{.shell_form = true, .words = {heredoc.data}};
    if (absl::StartsWith(heredoc.data, "#!")) {
      script.file = {.name = heredoc.name, .data = heredoc.data};
      text.words = {absl::StrCat(kHeredocDirectory, heredoc.name)};
    }
    script.args = Argv(stage, text);
    return script;
  }
  // The shell sees the heredocs as they stand in the file.
  CommandLine whole{.shell_form = true, .words = {line}};
  for (const Heredoc& heredoc : instruction.heredocs) {
    absl::StrAppend(&whole.words[0], "\n", heredoc.text, heredoc.name);
  }
  return {.args = Argv(stage, whole)};
}

v1::RunMount::Sharing SharingOf(const Mount& mount) {
  switch (mount.sharing.value_or(Mount::Sharing::kShared)) {
    case Mount::Sharing::kShared:
      return v1::RunMount::SHARING_SHARED;
    case Mount::Sharing::kPrivate:
      return v1::RunMount::SHARING_PRIVATE;
    case Mount::Sharing::kLocked:
      return v1::RunMount::SHARING_LOCKED;
  }
  return v1::RunMount::SHARING_UNSPECIFIED;
}

std::string BaseName(absl::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

// One RUN, while its mounts are lowered.
class MountLowering {
 public:
  MountLowering(PlanBuild& build, const StageState& stage, const Instruction& instruction)
      : build_(build), stage_(stage), instruction_(instruction) {}

  absl::Status Add(const std::string& text, const SourcePosition& position) {
    ASSIGN_OR_RETURN(const Mount mount, ParseMount(text, position, [this](absl::string_view word) {
                       return ExpandIn(build_, stage_, instruction_, word);
                     }));
    position_ = position;
    v1::RunMount lowered;
    lowered.set_source(-1);
    switch (mount.type) {
      case Mount::Type::kBind:
        lowered.set_kind(v1::RunMount::KIND_BIND);
        RETURN_IF_ERROR(AddSource(mount, lowered));
        break;
      case Mount::Type::kCache:
        lowered.set_kind(v1::RunMount::KIND_CACHE);
        RETURN_IF_ERROR(AddCache(mount, lowered));
        break;
      case Mount::Type::kTmpfs:
        lowered.set_kind(v1::RunMount::KIND_TMPFS);
        lowered.set_size_bytes(mount.size_bytes.value_or(0));
        break;
      case Mount::Type::kSecret:
        return AddSecret(mount);
      case Mount::Type::kSsh:
        return AddSsh(mount);
    }
    lowered.set_read_only(mount.read_only);
    ASSIGN_OR_RETURN(*lowered.mutable_target(), Target(mount.target));
    mounts.push_back(std::move(lowered));
    return absl::OkStatus();
  }

  std::vector<v1::RunMount> mounts;
  std::vector<SourceRequest> sources;
  std::set<std::string> secret_variables;
  std::string ssh_agent;  // the first one's target; "" if there is none

 private:
  absl::StatusOr<std::string> Target(absl::string_view target) const {
    const std::string& cwd = stage_.image.config.working_dir;
    const std::string path = CleanPath(
        absl::StartsWith(target, "/") ? std::string(target) : absl::StrCat("/", cwd, "/", target));
    if (path == "/") {
      return build_.file.source->Error(position_, "invalid mount target \"/\"");
    }
    return path;
  }

  absl::Status AddSource(const Mount& mount, v1::RunMount& lowered) {
    SourceRequest request;
    request.from.kind = FileSystemRef::Kind::kContext;
    if (!mount.from.empty()) {
      ASSIGN_OR_RETURN(const SourceRef source,
                       build_.graph.ResolveSource(mount.from, stage_.index,
                                                  StageGraph::SourceUse::kMount, position_));
      ASSIGN_OR_RETURN(request.from, FileSystemOf(build_, source, build_.platform, position_));
      if (source.kind == SourceRef::Kind::kStage) request.stage = source.stage;
      request.from_written = mount.from;
    }
    AddPattern(mount.source, request);
    lowered.set_source(static_cast<int32_t>(sources.size()));
    lowered.set_path(request.patterns[0]);
    sources.push_back(std::move(request));
    return absl::OkStatus();
  }

  absl::Status AddCache(const Mount& mount, v1::RunMount& lowered) {
    lowered.set_id(mount.id.empty() ? CleanPath(mount.target) : mount.id);
    if (const std::string space = BuildArg(build_, kCacheNamespaceArg); !space.empty()) {
      lowered.set_id(CleanPath(absl::StrCat(space, "/", lowered.id())));
    }
    lowered.set_sharing(SharingOf(mount));
    if (mount.from.empty()) {
      if (CleanPath(absl::StrCat("/", mount.source)) != "/") {
        return build_.file.source->Error(position_,
                                         "source of a cache needs from: without it, a new cache is "
                                         "empty");
      }
      SetOwner(mount, 0755, lowered);
      return absl::OkStatus();
    }
    // What is not given is the source's own.
    if (mount.uid.has_value()) lowered.set_uid(*mount.uid);
    if (mount.gid.has_value()) lowered.set_gid(*mount.gid);
    if (mount.mode.has_value()) lowered.set_mode(*mount.mode);
    return AddSource(mount, lowered);
  }

  static void SetOwner(const Mount& mount, uint32_t mode, v1::RunMount& lowered) {
    lowered.set_uid(mount.uid.value_or(0));
    lowered.set_gid(mount.gid.value_or(0));
    lowered.set_mode(mount.mode.value_or(mode));
  }

  absl::Status AddSecret(const Mount& mount) {
    v1::RunMount lowered;
    lowered.set_source(-1);
    lowered.set_kind(v1::RunMount::KIND_SECRET);
    std::string id = mount.source.empty() ? mount.id : mount.source;
    if (id.empty()) id = BaseName(CleanPath(mount.target));
    if (mount.env.has_value()) {
      lowered.set_env(*mount.env);
      secret_variables.insert(*mount.env);
    }
    if (!mount.target.empty()) {
      ASSIGN_OR_RETURN(*lowered.mutable_target(), Target(mount.target));
    } else if (!mount.env.has_value()) {
      lowered.set_target(absl::StrCat(kSecretsDirectory, BaseName(CleanPath(id))));
    }
    lowered.set_id(std::move(id));
    lowered.set_required(mount.required);
    lowered.set_read_only(true);
    SetOwner(mount, 0400, lowered);
    mounts.push_back(std::move(lowered));
    return absl::OkStatus();
  }

  absl::Status AddSsh(const Mount& mount) {
    if (!mount.source.empty()) {
      return build_.file.source->Error(position_, "ssh does not support source");
    }
    if (ssh_agents_ == kSshMountsMax) {
      return build_.file.source->Error(
          position_, absl::StrCat("a RUN has more than ", kSshMountsMax, " mounts of type ssh"));
    }
    v1::RunMount lowered;
    lowered.set_source(-1);
    lowered.set_kind(v1::RunMount::KIND_SSH);
    lowered.set_id(mount.id.empty() ? "default" : mount.id);
    lowered.set_target(absl::StrCat(kSshAgentPath, ssh_agents_++));
    if (!mount.target.empty()) {
      ASSIGN_OR_RETURN(*lowered.mutable_target(), Target(mount.target));
    }
    if (ssh_agent.empty()) ssh_agent = lowered.target();
    lowered.set_required(mount.required);
    lowered.set_read_only(true);
    SetOwner(mount, 0600, lowered);
    mounts.push_back(std::move(lowered));
    return absl::OkStatus();
  }

  PlanBuild& build_;
  const StageState& stage_;
  const Instruction& instruction_;
  SourcePosition position_;
  size_t ssh_agents_ = 0;
};

v1::RunMount ScriptMount(const InlineFile& file) {
  v1::RunMount mount;
  mount.set_kind(v1::RunMount::KIND_FILE);
  mount.set_source(-1);
  mount.set_target(absl::StrCat(kHeredocDirectory, file.name));
  mount.set_mode(0755);
  mount.set_read_only(true);
  mount.set_contents(file.data);
  return mount;
}

}  // namespace

absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const RunInstruction& run) {
  const std::string hostname = BuildArg(build, kHostnameArg);
  if (!hostname.empty()) {
    if (const absl::Status status = CheckHostname(hostname); !status.ok()) {
      return ErrorIn(build, instruction,
                     absl::StrCat("build argument ", kHostnameArg, ": ", status.message()));
    }
  }
  if (!instruction.heredocs.empty() && (!run.command.shell_form || run.command.words.size() != 1)) {
    return ErrorIn(build, instruction, "RUN with a heredoc must not be in JSON form");
  }
  const Script script = ScriptOf(stage, instruction, run.command);
  if (script.args.empty()) return ErrorIn(build, instruction, "RUN needs a command, [] has none");

  MountLowering mounts(build, stage, instruction);
  if (script.file.has_value()) mounts.mounts.push_back(ScriptMount(*script.file));
  size_t next = 0;
  for (const InstructionFlag& flag : instruction.flags) {
    if (flag.name == "device") {
      return UnsupportedAt(build.file, flag.position, "RUN --device",
                           "; workers give commands no devices of their hosts");
    }
    if (flag.name != "mount" || next == run.mounts.size()) continue;
    RETURN_IF_ERROR(mounts.Add(run.mounts[next++], flag.position));
  }

  PlanStep& step = AddStep(build, stage, instruction,
                           {.history = absl::StrCat("RUN ", ArgPrefix(stage),
                                                    absl::StrJoin(script.args, " "), " # buildkit"),
                            .keep_quotes = true,
                            .remark = script.remark,
                            .hidden = mounts.secret_variables});
  step.sources = std::move(mounts.sources);
  v1::RunOperation& operation = *step.identity.mutable_run();
  operation.mutable_args()->Add(script.args.begin(), script.args.end());
  std::vector<std::string> env = stage.env.ToList();
  if (!mounts.ssh_agent.empty() && !stage.env.Get(kSshAgentVariable).has_value()) {
    env.push_back(absl::StrCat(kSshAgentVariable, "=", mounts.ssh_agent));
  }
  operation.mutable_env()->Add(env.begin(), env.end());
  for (const std::string& variable : env) stage.text_bytes += variable.size() + sizeof(variable);
  for (v1::RunMount& mount : mounts.mounts) *operation.add_mounts() = std::move(mount);
  const std::string& cwd = stage.image.config.working_dir;
  operation.set_cwd(cwd.empty() ? "/" : cwd);
  operation.set_user(stage.image.config.user);
  operation.set_network(Network(run, build.options));
  operation.set_insecure(run.security == "insecure");
  for (const std::string& name : build.options.extra_host_names) {
    operation.add_extra_host_names(name);
    stage.text_bytes += name.size() + sizeof(name);
  }
  operation.set_shm_bytes(build.options.shm_bytes);
  operation.set_hostname(hostname);
  for (const v1::Ulimit& ulimit : build.options.ulimits) {
    *operation.add_ulimits() = ulimit;
    stage.text_bytes += ulimit.name().size() + sizeof(ulimit);
  }
  return absl::OkStatus();
}

}  // namespace farm
