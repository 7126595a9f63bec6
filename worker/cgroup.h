// Control groups: one for each step, to limit it, to measure it and to kill all of it.
#ifndef FARM_WORKER_CGROUP_H_
#define FARM_WORKER_CGROUP_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace farm {

// 0 means unlimited.
struct CgroupLimits {
  int64_t memory_bytes = 0;  // Page cache included; swap is not added to it where that can be said.
  double cpus = 0;           // CPU time per wall time: 1.5 is one and a half cores.
  int64_t pids = 0;          // Processes and threads.
};

// 0 where the host does not count it.
struct CgroupUsage {
  int64_t memory_peak_bytes = 0;
  absl::Duration cpu_time{};
  int64_t oom_kills = 0;  // Processes killed over the memory limit.
};

// What this host can do. A limit that it cannot set is not an error: the step runs unlimited, and
// the worker reports that it does.
struct CgroupCapabilities {
  bool memory = false;
  bool cpu = false;
  bool pids = false;
  // Killing a group is one atomic write (cgroup.kill, Linux 5.14), not a loop over its processes.
  bool kill = false;

  // "cgroup v1 (memory, cpu, pids) with kill", for a log line.
  std::string Describe() const;
  std::string layout;  // "v1", "v2", "hybrid" or "none".
};

// The group of one step. Not safe for concurrent calls.
class Cgroup {
 public:
  // Kills what is left in it, processes being forked included, and removes it. What does not die
  // within some seconds or cannot be removed is logged.
  virtual ~Cgroup() = default;

  // Sets what the host can limit (see CgroupCapabilities) and ignores the rest.
  virtual absl::Status SetLimits(const CgroupLimits& limits) = 0;
  // Moves a process; children it makes from now on are in the group too.
  virtual absl::Status Add(pid_t pid) = 0;
  virtual CgroupUsage Usage() const = 0;
  // Path of the group below a hierarchy's root, such as "/farm/step-1"; "" if there are no cgroups.
  virtual std::string path() const = 0;
};

// Our part of the host's hierarchies. Safe for concurrent calls.
class CgroupTree {
 public:
  virtual ~CgroupTree() = default;

  virtual const CgroupCapabilities& capabilities() const = 0;
  // `name` is one path component. ALREADY_EXISTS if a group of that name is there.
  virtual absl::StatusOr<std::unique_ptr<Cgroup>> Create(absl::string_view name) = 0;
  // Kills and removes all groups below our parent, in every hierarchy of the host: what a worker
  // that was killed left behind, and its OCI runtimes, which use more hierarchies than we do.
  virtual void RemoveLeftovers() = 0;
};

// Finds out what is mounted at `mount_root` (/sys/fs/cgroup) and makes the group `parent` in each
// hierarchy that is of use, below the one this process is in (v2) or below the root (v1). One that
// begins with a slash ("/ci/farm-1") is below the root in both, and the groups that it is in are
// made, too, and stay. Without any hierarchy, or without the right to write there, the tree's
// groups do nothing and capabilities() says so. The tree's end removes `parent`, unless a group is
// left in it.
std::unique_ptr<CgroupTree> OpenCgroupTree(absl::string_view parent,
                                           const std::string& mount_root = "/sys/fs/cgroup");

// For each of `parents`, groups of the host such as "/ci", the tree of the group `owner` in it,
// with what an earlier process of that owner left there removed. One in which a limit could not be
// set that `own`, the process's other tree, can set is logged and left out: nobody gets rid of a
// limit by naming another group.
std::map<std::string, std::unique_ptr<CgroupTree>> OpenCgroupParents(
    const std::vector<std::string>& parents, absl::string_view owner, const CgroupCapabilities& own,
    const std::string& mount_root = "/sys/fs/cgroup");

}  // namespace farm

#endif  // FARM_WORKER_CGROUP_H_
