// How a step's command is run: what it sees, what it may use, and how it ended.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Snapshot> snapshot, snapshotter.Prepare(layers, step_dir));
//   SandboxSpec spec{.args = {"/bin/sh", "-c", "make"}, .root_fd = snapshot->root_fd()};
//   ASSIGN_OR_RETURN(ExitState exit, sandbox.Run(spec, log, cancel));
//   if (!exit.ok()) ...  // The command failed: a result of the step, not an error of the farm.
#ifndef FARM_WORKER_SANDBOX_H_
#define FARM_WORKER_SANDBOX_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancel_token.h"
#include "worker/cgroup.h"

namespace farm {

enum class LogStream { kStdout = 1, kStderr = 2 };

// Takes what a command writes, as it comes and in the order of each stream.
class LogSink {
 public:
  virtual ~LogSink() = default;
  // Called on the thread of Sandbox::Run. While it blocks, the command blocks too once its pipe
  // (64 KiB) is full. Bounding the log is the sink's business: it may drop bytes.
  virtual void Append(LogStream stream, absl::string_view bytes) = 0;
};

enum class NetworkMode {
  kNone,      // A network namespace with only lo.
  kHost,      // The worker's network. Whoever makes the spec has checked that this is allowed.
  kIsolated,  // A network namespace that reaches others, but not the host; see IsolatedNetwork.
};

// A mount inside the root, beside /proc, /sys and /dev. A missing target is created (a directory,
// or a file for a file), with its missing parents, and removed again after the run, so that it is
// not in the layer; targets are resolved inside the root, symbolic links included.
struct SandboxMount {
  enum class Kind {
    kBind,   // The file or directory behind `source_fd`.
    kTmpfs,  // Empty, of at most `size_bytes`.
    kFile,   // A file with `contents`, kept in memory only: resolv.conf, hosts, secrets.
  };
  Kind kind = Kind::kBind;
  std::string target;  // Absolute path.
  bool read_only = true;

  // kBind. Borrowed: an open directory or file (O_PATH is enough) of the worker's mount namespace,
  // or the root_fd() of another Snapshot. Mounts beneath it are not seen.
  int source_fd = -1;
  // kTmpfs: 0 is half of the memory, as the kernel has it.
  int64_t size_bytes = 0;
  // kFile.
  std::string contents;
  // kTmpfs and kFile.
  uint32_t mode = 0644;
  uint32_t uid = 0;
  uint32_t gid = 0;
};

// As in setrlimit(2); RLIM_INFINITY is "unlimited".
struct SandboxRlimit {
  int resource = 0;  // RLIMIT_NOFILE, ...
  uint64_t soft = 0;
  uint64_t hard = 0;  // Above what the worker itself may have, that is taken (and logged once).
};

// What Docker gives without --shm-size.
inline constexpr int64_t kDefaultShmBytes = int64_t{64} << 20;

struct SandboxSpec {
  // Names the run in logs and to OCI runtimes: [A-Za-z0-9_.-]+, unique among the running.
  std::string id;

  // args[0] is looked up in PATH of `env` if it has no slash.
  std::vector<std::string> args;
  // "NAME=value", in order. HOME is added from /etc/passwd if missing, nothing else.
  std::vector<std::string> env;
  // Created with its missing parents, mode 0755 and owned by the user, if it does not exist.
  std::string cwd = "/";
  // As in Dockerfile USER: name | uid | name:group | uid:gid | ...; empty is 0:0.
  std::string user;

  // The root file system: a detached mount, Snapshot::root_fd(). Borrowed. The sandbox mounts a
  // clone of it (before Linux 6.15 itself, so one Snapshot serves one Run); its files can still be
  // read through the descriptor afterwards.
  int root_fd = -1;
  // An empty directory of this run on the worker's disk, for implementations that need one
  // (OCI bundles). They leave it empty.
  std::string scratch_dir;
  bool read_only_root = false;

  std::string hostname = "buildkitsandbox";
  NetworkMode network = NetworkMode::kNone;
  // All that the worker may do, and all system calls and devices: root on the host. Whoever makes
  // the spec has checked that this is allowed.
  bool insecure = false;
  std::vector<SandboxMount> mounts;  // Made in this order.
  int64_t shm_bytes = kDefaultShmBytes;

  // The group of the host ("/ci") below which the run has its own; "" is the worker's.
  std::string cgroup_parent;
  CgroupLimits limits;
  std::vector<SandboxRlimit> rlimits;
  absl::Duration timeout = absl::InfiniteDuration();
};

struct ExitState {
  int exit_code = 0;        // 128 + signal if a signal ended it, as a shell says it.
  int signal = 0;           // 0 if it exited by itself.
  bool oom_killed = false;  // Some process of it was killed over limits.memory_bytes.
  CgroupUsage usage{};
  absl::Duration wall_time{};

  bool ok() const { return exit_code == 0; }
};

// Safe for concurrent calls.
class Sandbox {
 public:
  virtual ~Sandbox() = default;

  // Runs the command to its end. When it returns, in whatever way, no process of the run is left,
  // daemons included, and nothing it did on disk but its changes in the root. Its mounts, which
  // nobody sees, and its empty control group go in the background.
  // A command that is not found or not executable is a result: exit code 127 or 126 and a line in
  // the log.
  //   PERMISSION_DENIED  this worker has not `cgroup_parent`
  //   INVALID_ARGUMENT   the spec cannot be run: unknown user, a working directory that is a file,
  //                      arguments beyond the kernel's limit
  //   CANCELLED          `cancel` was used; everything was killed
  //   DEADLINE_EXCEEDED  `timeout` passed; everything was killed
  //   RESOURCE_EXHAUSTED, UNAVAILABLE, INTERNAL  the worker could not run it
  virtual absl::StatusOr<ExitState> Run(const SandboxSpec& spec, LogSink& log,
                                        CancelToken& cancel) = 0;
};

}  // namespace farm

#endif  // FARM_WORKER_SANDBOX_H_
