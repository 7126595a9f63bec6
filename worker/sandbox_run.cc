#include "worker/sandbox_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr size_t kHostnameBytesMax = 64;  // The kernel's.
constexpr size_t kMountsMax = wire::kDescriptorsMax - 1;
constexpr int kNotFound = 127, kNotExecutable = 126;

bool HasNul(absl::string_view text) { return text.find('\0') != absl::string_view::npos; }

bool IsBeneath(absl::string_view path, absl::string_view dir) {
  return absl::StartsWith(path, dir) && (path.size() == dir.size() || path[dir.size()] == '/');
}

absl::Status CheckMount(const SandboxMount& mount) {
  const std::string& target = mount.target;
  if (target.size() < 2 || target[0] != '/' || target.back() == '/' || HasNul(target)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "mount target \"", target, "\" is not an absolute path below the root directory"));
  }
  // The last one is where NamespaceSandbox hides what it no longer needs.
  for (absl::string_view kernel : {"/proc", "/sys", "/dev/mqueue"}) {
    if (IsBeneath(target, kernel)) {
      return absl::InvalidArgumentError(
          absl::StrCat("mount target ", target, " is inside of ", kernel));
    }
  }
  return absl::OkStatus();
}

template <typename T>
void AppendValue(std::string& body, const T& value) {
  body.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void AppendString(std::string& body, const std::string& text) {
  body.append(text.c_str(), text.size() + 1);
}

// A detached mount of a bind's source.
absl::StatusOr<UniqueFd> CloneSource(int source_fd) {
  UniqueFd clone(open_tree(source_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  // Linux before 6.15 does not clone a mount that is detached. It can be moved itself, once.
  if (!clone.valid() && errno == EINVAL) clone.Reset(fcntl(source_fd, F_DUPFD_CLOEXEC, 0));
  if (!clone.valid()) return ErrnoStatus(errno, "source");
  return clone;
}

absl::Status AppendMount(RunMessage& message, const SandboxMount& mount) {
  wire::Mount encoded{};
  encoded.kind = static_cast<wire::MountKind>(mount.kind);
  encoded.read_only = mount.read_only;
  encoded.mode = mount.mode;
  encoded.uid = mount.uid;
  encoded.gid = mount.gid;
  encoded.size_bytes = static_cast<uint64_t>(mount.size_bytes);
  std::string contents;
  if (mount.kind == SandboxMount::Kind::kBind) {
    struct stat info;
    if (fstat(mount.source_fd, &info) != 0) return ErrnoStatus(errno, "source");
    encoded.directory = S_ISDIR(info.st_mode);
    ASSIGN_OR_RETURN(UniqueFd source, CloneSource(mount.source_fd));
    message.descriptors.push_back(source.get());
    message.mounts.push_back(std::move(source));
  } else if (mount.kind == SandboxMount::Kind::kFile) {
    contents = mount.contents;
  }
  encoded.content_bytes = contents.size();
  AppendValue(message.body, encoded);
  AppendString(message.body, mount.target);
  message.body += contents;
  return absl::OkStatus();
}

// Docker's words, as people search for them.
std::string NotStartedMessage(const std::string& command, int error) {
  if (error == ENOENT && !absl::StrContains(command, "/")) {
    return absl::StrCat("exec: \"", command, "\": executable file not found in $PATH\n");
  }
  std::string reason = strerror(error);
  reason[0] = static_cast<char>(tolower(reason[0]));
  return absl::StrCat("exec ", command, ": ", reason, "\n");
}

ExitState ExitOf(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    return {.exit_code = 128 + WTERMSIG(wait_status), .signal = WTERMSIG(wait_status)};
  }
  return {.exit_code = WEXITSTATUS(wait_status)};
}

absl::Duration ToDuration(const timeval& time) { return absl::DurationFromTimeval(time); }

// What the control group counted, filled up with what the kernel counts for any process.
CgroupUsage UsageOf(Cgroup& cgroup, const rusage& resources) {
  CgroupUsage usage = cgroup.Usage();
  if (usage.cpu_time == absl::ZeroDuration()) {
    usage.cpu_time = ToDuration(resources.ru_utime) + ToDuration(resources.ru_stime);
  }
  if (usage.memory_peak_bytes == 0) usage.memory_peak_bytes = int64_t{1024} * resources.ru_maxrss;
  return usage;
}

}  // namespace

absl::Status CheckSpec(const SandboxSpec& spec) {
  if (spec.args.empty()) return absl::InvalidArgumentError("no command");
  if (spec.args[0].empty()) return absl::InvalidArgumentError("the command is empty");
  for (const auto* list : {&spec.args, &spec.env}) {
    for (const std::string& text : *list) {
      if (HasNul(text)) return absl::InvalidArgumentError("NUL byte in arguments or environment");
    }
  }
  if (spec.cwd.empty() || spec.cwd[0] != '/' || HasNul(spec.cwd)) {
    return absl::InvalidArgumentError(
        absl::StrCat("working directory \"", spec.cwd, "\" is not absolute"));
  }
  if (spec.hostname.size() > kHostnameBytesMax || HasNul(spec.hostname)) {
    return absl::InvalidArgumentError(
        absl::StrCat("host name longer than ", kHostnameBytesMax, " bytes"));
  }
  if (spec.mounts.size() > kMountsMax) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kMountsMax, " mounts"));
  }
  for (const SandboxMount& mount : spec.mounts) RETURN_IF_ERROR(CheckMount(mount));
  return absl::OkStatus();
}

std::vector<std::string> EnvironmentOf(const SandboxSpec& spec, const ResolvedUser& user) {
  std::vector<std::string> env = spec.env;
  const bool has_home = std::any_of(env.begin(), env.end(), [](const std::string& entry) {
    return absl::StartsWith(entry, "HOME=");
  });
  if (!has_home) env.push_back("HOME=" + user.home);
  return env;
}

std::vector<SandboxRlimit> RlimitsOf(const SandboxSpec& spec) {
  // Not 0: a core_pattern that is a pipe does not care for that, and its program runs on the host.
  // 1 is the value that the kernel stops at in both cases: less than any core has.
  std::vector<SandboxRlimit> limits = {{.resource = RLIMIT_CORE, .soft = 1, .hard = 1}};
  for (SandboxRlimit limit : spec.rlimits) {
    rlimit own{};
    if (getrlimit(static_cast<__rlimit_resource_t>(limit.resource), &own) == 0 &&
        limit.hard > own.rlim_max) {
      static std::atomic<bool> said = false;
      if (!said.exchange(true)) {
        LogWarning("resource limit above the worker's own, which is taken",
                   {{"resource", absl::StrCat(limit.resource)},
                    {"wanted", absl::StrCat(limit.hard)},
                    {"taken", absl::StrCat(own.rlim_max)}});
      }
      limit.hard = own.rlim_max;
    }
    limit.soft = std::min(limit.soft, limit.hard);
    limits.push_back(limit);
  }
  return limits;
}

absl::Status AddStubs(const SandboxSpec& spec, MountStubs& stubs) {
  std::vector<absl::string_view> mounted = {"/dev"};
  for (const SandboxMount& mount : spec.mounts) {
    // What lies in an earlier mount is no matter of the root.
    const bool covered = std::any_of(mounted.begin(), mounted.end(), [&](absl::string_view dir) {
      return IsBeneath(mount.target, dir);
    });
    if (covered) continue;
    mounted.push_back(mount.target);
    bool directory = mount.kind == SandboxMount::Kind::kTmpfs;
    if (mount.kind == SandboxMount::Kind::kBind) {
      struct stat info;
      if (fstat(mount.source_fd, &info) != 0) return ErrnoStatus(errno, mount.target);
      directory = S_ISDIR(info.st_mode);
    }
    RETURN_IF_ERROR(stubs.Add(mount.target, directory)) << "mount point";
  }
  return absl::OkStatus();
}

absl::StatusOr<RunMessage> EncodeRun(const RunStrings& strings, const SandboxSpec& spec,
                                     const ResolvedUser& user) {
  RunMessage message;
  const std::vector<SandboxRlimit> rlimits = RlimitsOf(spec);
  // A clone, so that spec.root_fd stays free of what is mounted in the sandbox: who looks through
  // it afterwards, for stubs say, sees the root alone.
  UniqueFd root(open_tree(spec.root_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!root.valid() && errno != EINVAL) return ErrnoStatus(errno, "root file system");
  message.root_is_moved = !root.valid();  // Linux before 6.15.
  message.descriptors.push_back(message.root_is_moved ? spec.root_fd : root.get());
  message.mounts.push_back(std::move(root));
  for (uint32_t group : user.groups) AppendValue(message.body, group);
  for (const SandboxRlimit& limit : rlimits) {
    AppendValue(message.body,
                wire::Rlimit{static_cast<uint64_t>(limit.resource), limit.soft, limit.hard});
  }
  for (const std::string* text :
       {&strings.hostname, &strings.cwd, &strings.root_target, &strings.files_dir}) {
    AppendString(message.body, *text);
  }
  for (const SandboxMount& mount : strings.mounts) {
    RETURN_IF_ERROR(AppendMount(message, mount)) << "mount " << mount.target;
  }
  for (const std::string& arg : strings.args) AppendString(message.body, arg);
  for (const std::string& entry : strings.env) AppendString(message.body, entry);

  if (message.body.size() > wire::kRunBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("arguments, environment and files in memory are ", message.body.size(),
                     " bytes, more than ", wire::kRunBytesMax));
  }
  message.header = {
      .body_bytes = static_cast<uint32_t>(message.body.size()),
      .groups = static_cast<uint32_t>(user.groups.size()),
      .rlimits = static_cast<uint32_t>(rlimits.size()),
      .mounts = static_cast<uint32_t>(strings.mounts.size()),
      .args = static_cast<uint32_t>(strings.args.size()),
      .env = static_cast<uint32_t>(strings.env.size()),
      .uid = user.uid,
      .gid = user.gid,
      .read_only_root = spec.read_only_root,
      .open_devices = spec.insecure,
      .shm_bytes = spec.shm_bytes == kDefaultShmBytes ? 0 : static_cast<uint64_t>(spec.shm_bytes)};
  return message;
}

absl::StatusOr<ExitState> FinishRun(HelperProcess& helper, const SandboxSpec& spec,
                                    absl::Time started, LogSink& log, CancelToken& cancel) {
  const HelperEnd end = helper.Wait(log, cancel, started + spec.timeout);
  const CgroupUsage usage = UsageOf(helper.cgroup(), end.resources);
  // The reply first: a command that ended just before it was cancelled has a result.
  if (!end.replied) {
    switch (end.cause) {
      case HelperEnd::Cause::kCancelled:
        return absl::CancelledError("the command was cancelled");
      case HelperEnd::Cause::kTimedOut:
        return absl::DeadlineExceededError(
            absl::StrCat("the command ran longer than ", absl::FormatDuration(spec.timeout)));
      case HelperEnd::Cause::kItself:
        break;
    }
    if (usage.oom_kills == 0) return absl::UnavailableError("sandbox helper was killed");
  }
  ExitState state;
  switch (end.replied ? end.reply.kind : wire::ReplyKind::kExited) {
    case wire::ReplyKind::kExited:
      // The kernel, out of memory, may choose the helper.
      state = ExitOf(end.replied ? end.reply.wait_status : SIGKILL);
      break;
    case wire::ReplyKind::kNotStarted: {
      ASSIGN_OR_RETURN(state, NotStarted(end.reply.message, end.reply.error, log));
      break;
    }
    case wire::ReplyKind::kBadSpec:
      return absl::InvalidArgumentError(
          absl::StrCat(end.reply.message, ": ", strerror(end.reply.error)));
    case wire::ReplyKind::kReady:
    case wire::ReplyKind::kBroken:
      return ErrnoStatus(end.reply.error, absl::StrCat("sandbox: ", end.reply.message));
  }
  state.usage = usage;
  state.oom_killed = usage.oom_kills > 0;
  state.wall_time = absl::Now() - started;
  return state;
}

absl::StatusOr<ExitState> NotStarted(const std::string& command, int error, LogSink& log) {
  const std::string message = NotStartedMessage(command, error);
  if (error == E2BIG) return absl::InvalidArgumentError(message);
  log.Append(LogStream::kStderr, message);
  return ExitState{.exit_code = error == ENOENT || error == ENOTDIR ? kNotFound : kNotExecutable};
}

}  // namespace farm
