#include "worker/oci_runtime_sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "worker/oci_bundle.h"
#include "worker/remove_tree.h"
#include "worker/root_directory.h"
#include "worker/root_path.h"
#include "worker/sandbox_run.h"

namespace farm {
namespace {

constexpr char kCgroupRoot[] = "/sys/fs/cgroup";
constexpr char kDefaultPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr int64_t kRuntimeLogBytesMax = 1 << 20;

absl::string_view PathIn(const std::vector<std::string>& env) {
  for (absl::string_view entry : env) {
    if (absl::ConsumePrefix(&entry, "PATH=")) return entry;
  }
  return kDefaultPath;
}

// 0, or what execve would say of `path`. Runtimes word and number this each in its own way, so it
// is found out before they run.
int ExecError(int root_fd, const std::string& path) {
  const absl::StatusOr<UniqueFd> file = OpenInRoot(root_fd, path, O_PATH);
  struct stat info;
  if (!file.ok() || fstat(file->get(), &info) != 0) return ENOENT;
  return S_ISREG(info.st_mode) && (info.st_mode & 0111) != 0 ? 0 : EACCES;
}

// 0 if args[0] can be run as it is or is found in PATH.
int CommandError(const SandboxSpec& spec, const std::vector<std::string>& env) {
  const std::string& command = spec.args[0];
  if (absl::StrContains(command, "/")) {
    const bool relative = command[0] != '/';
    return ExecError(spec.root_fd, relative ? absl::StrCat(spec.cwd, "/", command) : command);
  }
  int error = ENOENT;
  for (absl::string_view dir : absl::StrSplit(PathIn(env), ':')) {
    const int found = ExecError(spec.root_fd, absl::StrCat(dir, "/", command));
    if (found == 0) return 0;
    if (found == EACCES) error = EACCES;
  }
  return error;
}

// The bundle's directory; its contents are removed at the end.
class Bundle {
 public:
  explicit Bundle(std::string dir) : dir_(std::move(dir)) {}
  ~Bundle() {
    for (const std::string& path : {Config(), Log(), Root(), Files(), State()}) {
      if (absl::Status removed = RemoveTree(path); !removed.ok()) {
        LogWarning("bundle not removed", {{"error", LogText(removed)}});
      }
    }
  }
  Bundle(const Bundle&) = delete;
  Bundle& operator=(const Bundle&) = delete;

  absl::Status MakeDirectories() const {
    for (const std::string& path : {Root(), Files(), State()}) {
      if (mkdir(path.c_str(), 0700) != 0) return ErrnoStatus(errno, path);
    }
    return absl::OkStatus();
  }

  const std::string& dir() const { return dir_; }
  std::string Config() const { return dir_ + "/config.json"; }
  std::string Log() const { return dir_ + "/runtime.log"; }
  std::string Root() const { return dir_ + "/root"; }
  std::string Files() const { return dir_ + "/files"; }
  std::string State() const { return dir_ + "/state"; }

 private:
  const std::string dir_;
};

bool HasName(const std::string& program, absl::string_view name) {
  return absl::string_view(program).substr(program.rfind('/') + 1) == name;
}

std::vector<std::string> CommandLine(const std::string& program, const Bundle& bundle,
                                     const std::string& id) {
  std::vector<std::string> line = {program,      "--root",       bundle.State(), "--log",
                                   bundle.Log(), "--log-format", "json"};
  // Limits are those of the group that the runtime is started in. Below it the runtime makes one of
  // its own, to restrict devices; not so gVisor, which has no devices to restrict.
  if (HasName(program, "crun")) line.push_back("--cgroup-manager=cgroupfs");
  if (HasName(program, "runsc")) line.push_back("--ignore-cgroups");
  line.insert(line.end(), {"run", "--bundle", bundle.dir(), id});
  return line;
}

// Runtimes leave their group's parents in the hierarchies that we do not use ourselves.
void RemoveRuntimeGroups(const std::string& path) {
  DIR* root = opendir(kCgroupRoot);
  if (root == nullptr || path.empty()) return;
  while (const dirent* entry = readdir(root)) {
    const std::string group = absl::StrCat(kCgroupRoot, "/", entry->d_name, path);
    rmdir((group + "/oci").c_str());
    rmdir(group.c_str());
  }
  closedir(root);
}

// What the runtime itself complained of, "" if nothing: only then is the exit code the command's.
std::string RuntimeError(const Bundle& bundle) {
  const std::string log = ReadFile(bundle.Log(), kRuntimeLogBytesMax).value_or("");
  for (absl::string_view line : absl::StrSplit(log, '\n')) {
    if (absl::StrContains(line, "\"level\":\"error\"") ||
        absl::StrContains(line, "\"level\": \"error\"")) {
      return std::string(line);
    }
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<OciRuntimeSandbox>> OciRuntimeSandbox::Create(
    const std::string& runtime, HelperPool& pool) {
  if (absl::StrContains(runtime, "/")) {
    if (access(runtime.c_str(), X_OK) != 0) return ErrnoStatus(errno, runtime);
    return std::unique_ptr<OciRuntimeSandbox>(new OciRuntimeSandbox(runtime, pool));
  }
  const char* path = getenv("PATH");
  for (absl::string_view dir : absl::StrSplit(path != nullptr ? path : kDefaultPath, ':')) {
    const std::string program = absl::StrCat(dir, "/", runtime);
    if (access(program.c_str(), X_OK) == 0) {
      return std::unique_ptr<OciRuntimeSandbox>(new OciRuntimeSandbox(program, pool));
    }
  }
  return absl::NotFoundError(absl::StrCat("no OCI runtime ", runtime, " in PATH"));
}

absl::StatusOr<ExitState> OciRuntimeSandbox::Run(const SandboxSpec& spec, LogSink& log,
                                                 CancelToken& cancel) {
  const absl::Time started = absl::Now();
  RETURN_IF_ERROR(CheckSpec(spec));
  ASSIGN_OR_RETURN(const ResolvedUser user, ResolveUser(spec.root_fd, spec.user),
                   _ << "USER " << spec.user);
  const std::vector<std::string> env = EnvironmentOf(spec, user);

  MountStubs stubs(spec.root_fd);
  RETURN_IF_ERROR(AddStubs(spec, stubs));
  for (const char* kernel : {"/proc", "/sys", "/dev"}) {
    UniqueFd(OpenOrMakeDirectory(spec.root_fd, kernel, 0, 0)).Reset();  // The runtime says, if not.
  }
  const UniqueFd cwd(OpenOrMakeDirectory(spec.root_fd, spec.cwd.c_str(), user.uid, user.gid));
  if (!cwd.valid()) {
    return absl::InvalidArgumentError(
        ErrnoStatus(errno, absl::StrCat("working directory ", spec.cwd)).message());
  }
  if (const int error = CommandError(spec, env); error != 0) {
    return NotStarted(spec.args[0], error, log);
  }

  const Bundle bundle(spec.scratch_dir);
  RETURN_IF_ERROR(bundle.MakeDirectories());
  ASSIGN_OR_RETURN(
      const std::unique_ptr<HelperProcess> helper,
      pool_.Take(HelperKindFor(spec.network, /*is_runtime=*/true), spec.cgroup_parent));
  const std::string cgroup = helper->cgroup().path();
  OciPaths paths{.root = bundle.Root(), .mount_sources = {}, .cgroup = {}};
  if (!HasName(program_, "runsc") && !cgroup.empty()) paths.cgroup = cgroup + "/oci";
  std::vector<SandboxMount> mounts;
  for (const SandboxMount& mount : spec.mounts) {
    const bool tmpfs = mount.kind == SandboxMount::Kind::kTmpfs;
    paths.mount_sources.push_back(tmpfs ? "" : absl::StrCat(bundle.Files(), "/", mounts.size()));
    mounts.push_back(mount);
    mounts.back().target = paths.mount_sources.back();
  }
  RETURN_IF_ERROR(WriteFileAtomically(
      bundle.Config(), OciConfigJson(spec, user, env, RlimitsOf(spec), paths), 0600));

  SandboxSpec runtime_spec = spec;
  runtime_spec.rlimits.clear();  // They are the command's, not the runtime's.
  ASSIGN_OR_RETURN(const RunMessage message,
                   EncodeRun({.hostname = "",
                              .cwd = bundle.dir(),
                              .root_target = bundle.Root(),
                              .files_dir = bundle.Files(),
                              .args = CommandLine(program_, bundle, spec.id),
                              .env = {absl::StrCat("PATH=", kDefaultPath)},
                              .mounts = mounts},
                             runtime_spec, ResolvedUser{}));
  RETURN_IF_ERROR(helper->cgroup().SetLimits(spec.limits));
  RETURN_IF_ERROR(helper->Send(message.header, message.body, message.descriptors));
  absl::StatusOr<ExitState> exit = FinishRun(*helper, spec, started, log, cancel);
  if (message.root_is_moved) helper->DropMounts();  // They cover the stubs.
  RemoveRuntimeGroups(paths.cgroup.empty() ? "" : cgroup);
  if (exit.ok() && exit->exit_code != 0) {
    if (const std::string error = RuntimeError(bundle); !error.empty() && !exit->oom_killed) {
      return absl::InternalError(absl::StrCat(program_, ": ", error));
    }
    // Runtimes report a signal as a shell does.
    if (exit->exit_code > 128 && exit->exit_code < 128 + 65) exit->signal = exit->exit_code - 128;
    // A v1 group counts only its own kills, and the runtime's group is gone by now.
    exit->oom_killed |= exit->signal == SIGKILL && spec.limits.memory_bytes > 0 &&
                        exit->usage.memory_peak_bytes >= spec.limits.memory_bytes;
  }
  return exit;
}

bool HostHasHybridCgroups() {
  const std::string controllers =
      ReadFile(absl::StrCat(kCgroupRoot, "/unified/cgroup.controllers"), 4096).value_or("");
  return controllers.size() > 1;
}

}  // namespace farm
