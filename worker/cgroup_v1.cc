// One hierarchy for each controller, plus, on hybrid hosts, a v2 hierarchy without controllers that
// is of use for cgroup.kill.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "worker/cgroup_internal.h"

namespace farm::cgroup_internal {
namespace {

constexpr absl::Duration kKillTimeout = absl::Seconds(10);

// Where a group is in each hierarchy; "" where the host has none.
struct Paths {
  // cpuacct and freezer only without a v2 hierarchy, which does their work too: moving a process
  // into a group costs a millisecond for each.
  std::string memory, cpu, cpuacct, pids, freezer, unified;

  std::vector<std::string> All() const {
    std::vector<std::string> all;
    for (const std::string& path : {memory, cpu, cpuacct, pids, freezer, unified}) {
      // cpu and cpuacct are often one mount with two names.
      if (!path.empty()) all.push_back(path);
    }
    return all;
  }
  Paths Below(absl::string_view name) const {
    auto below = [name](const std::string& path) {
      return path.empty() ? path : absl::StrCat(path, "/", name);
    };
    return {below(memory), below(cpu), below(cpuacct), below(pids), below(freezer), below(unified)};
  }
};

std::vector<pid_t> Processes(const std::string& group) {
  std::vector<pid_t> pids;
  for (absl::string_view line : absl::StrSplit(ReadValue(group + "/cgroup.procs"), '\n')) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(line, &pid) && pid > 0) pids.push_back(pid);
  }
  return pids;
}

// Without cgroup.kill: freeze, so that none can fork away, kill, thaw, until none is left.
bool KillFrozen(const std::string& freezer, const std::string& procs) {
  const absl::Time give_up = absl::Now() + kKillTimeout;
  while (absl::Now() < give_up) {
    const std::vector<pid_t> pids = Processes(procs);
    if (pids.empty()) return true;
    // Without a freezer the loop still wins in the end: the killed cannot fork.
    if (!freezer.empty()) WriteValue(freezer + "/freezer.state", "FROZEN").IgnoreError();
    for (pid_t pid : Processes(procs)) kill(pid, SIGKILL);
    if (!freezer.empty()) WriteValue(freezer + "/freezer.state", "THAWED").IgnoreError();
    for (int ms = 1; ms <= 64 && !Processes(procs).empty(); ms *= 2) usleep(ms * 1000);
  }
  return false;
}

void KillAndRemove(const Paths& paths) {
  const std::vector<std::string> all = paths.All();
  if (all.empty()) return;
  for (const std::string& child : ChildGroups(all[0])) {
    KillAndRemove(paths.Below(child.substr(all[0].size() + 1)));
  }
  const bool killed =
      (!paths.unified.empty() && KillGroup2(paths.unified)) || KillFrozen(paths.freezer, all[0]);
  if (!killed) LogWarning("processes do not die", {{"cgroup", all[0]}});
  for (const std::string& path : all) {
    if (absl::Status removed = RemoveGroup(path); !removed.ok()) {
      LogWarning("cgroup not removed", {{"cgroup", path}, {"error", LogText(removed)}});
    }
  }
}

class Cgroup1 final : public Cgroup {
 public:
  Cgroup1(Paths paths, std::string path) : paths_(std::move(paths)), path_(std::move(path)) {}

  ~Cgroup1() override {
    for (const std::string& path : paths_.All()) {
      // The usual case: all processes are gone, and nobody has to be killed first.
      if (rmdir(path.c_str()) == 0 || errno == ENOENT) continue;
      KillAndRemove(paths_);
      return;
    }
  }

  absl::Status SetLimits(const CgroupLimits& limits) override {
    if (limits.memory_bytes > 0 && !paths_.memory.empty()) {
      const std::string bytes = absl::StrCat(limits.memory_bytes);
      RETURN_IF_ERROR(WriteValue(paths_.memory + "/memory.limit_in_bytes", bytes));
      // Memory and swap together, so that the limit is not stretched by swapping. Absent where the
      // kernel does not count swap.
      WriteValue(paths_.memory + "/memory.memsw.limit_in_bytes", bytes).IgnoreError();
    }
    if (limits.cpus > 0 && !paths_.cpu.empty()) {
      const int64_t quota_us = CpuQuotaUs(limits.cpus);
      RETURN_IF_ERROR(WriteValue(paths_.cpu + "/cpu.cfs_period_us", absl::StrCat(kCpuPeriodUs)));
      RETURN_IF_ERROR(WriteValue(paths_.cpu + "/cpu.cfs_quota_us", absl::StrCat(quota_us)));
    }
    if (limits.pids > 0 && !paths_.pids.empty()) {
      RETURN_IF_ERROR(WriteValue(paths_.pids + "/pids.max", absl::StrCat(limits.pids)));
    }
    return absl::OkStatus();
  }

  absl::Status Add(pid_t pid) override {
    for (const std::string& path : paths_.All()) {
      RETURN_IF_ERROR(WriteValue(path + "/cgroup.procs", absl::StrCat(pid)));
    }
    return absl::OkStatus();
  }

  CgroupUsage Usage() const override {
    CgroupUsage usage;
    if (!paths_.memory.empty()) {
      usage.memory_peak_bytes = ReadNumber(paths_.memory + "/memory.max_usage_in_bytes");
      usage.oom_kills = ReadKeyedNumber(paths_.memory + "/memory.oom_control", "oom_kill");
    }
    if (!paths_.cpuacct.empty()) {
      usage.cpu_time = absl::Nanoseconds(ReadNumber(paths_.cpuacct + "/cpuacct.usage"));
    } else if (!paths_.unified.empty()) {
      usage.cpu_time =
          absl::Microseconds(ReadKeyedNumber(paths_.unified + "/cpu.stat", "usage_usec"));
    }
    return usage;
  }

  std::string path() const override { return path_; }

 private:
  const Paths paths_;
  const std::string path_;
};

class CgroupTree1 final : public CgroupTree {
 public:
  CgroupTree1(std::string mount_root, Paths parent, std::string path,
              CgroupCapabilities capabilities)
      : mount_root_(std::move(mount_root)),
        parent_(std::move(parent)),
        path_(std::move(path)),
        capabilities_(std::move(capabilities)) {}
  ~CgroupTree1() override {
    for (const std::string& path : parent_.All()) rmdir(path.c_str());
    for (const std::string& path : OfRuntimes()) rmdir(path.c_str());
  }

  const CgroupCapabilities& capabilities() const override { return capabilities_; }

  absl::StatusOr<std::unique_ptr<Cgroup>> Create(absl::string_view name) override {
    Paths paths = parent_.Below(name);
    std::vector<std::string> made;
    for (const std::string& path : paths.All()) {
      if (mkdir(path.c_str(), 0755) == 0) {
        made.push_back(path);
      } else if (errno != EEXIST || made.empty()) {
        // EEXIST after the first is cpuacct being cpu by another name.
        const absl::Status error = ErrnoStatus(errno, path);
        for (const std::string& m : made) rmdir(m.c_str());
        return error;
      }
    }
    return std::make_unique<Cgroup1>(std::move(paths), absl::StrCat(path_, "/", name));
  }

  void RemoveLeftovers() override {
    for (const std::string& hierarchy : parent_.All()) {
      for (const std::string& child : ChildGroups(hierarchy)) {
        KillAndRemove(parent_.Below(child.substr(hierarchy.size() + 1)));
      }
    }
    for (const std::string& parent : OfRuntimes()) {
      for (const std::string& child : ChildGroups(parent)) KillAndRemove({.memory = child});
      rmdir(parent.c_str());
    }
  }

 private:
  // Our parent group in the hierarchies that only OCI runtimes use.
  std::vector<std::string> OfRuntimes() const {
    const std::vector<std::string> ours = parent_.All();
    std::vector<std::string> others;
    for (const std::string& hierarchy : ChildGroups(mount_root_)) {
      std::string parent = hierarchy + path_;
      const bool is_ours = std::find(ours.begin(), ours.end(), parent) != ours.end();
      if (!is_ours && access(parent.c_str(), F_OK) == 0) others.push_back(std::move(parent));
    }
    return others;
  }

  const std::string mount_root_;
  const Paths parent_;
  const std::string path_;
  const CgroupCapabilities capabilities_;
};

// The parent group in the hierarchy mounted at `mount`, "" if there is none or it is not for us.
std::string MakeParent(const std::string& mount, bool v2, absl::string_view parent) {
  if (!(v2 ? IsCgroup2(mount) : IsCgroup1(mount))) return "";
  std::string path = mount;
  for (const absl::string_view name : absl::StrSplit(parent, '/', absl::SkipEmpty())) {
    absl::StrAppend(&path, "/", name);
    if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return "";
  }
  return access(path.c_str(), W_OK) == 0 ? path : "";
}

}  // namespace

std::unique_ptr<CgroupTree> OpenCgroup1(absl::string_view parent, const std::string& mount_root) {
  auto v1 = [&](const char* name) { return MakeParent(mount_root + "/" + name, false, parent); };
  Paths paths{.memory = v1("memory"), .cpu = v1("cpu"), .pids = v1("pids")};
  paths.unified = MakeParent(mount_root + "/unified", true, parent);
  // The file is there even if that hierarchy has no controller.
  const bool has_kill =
      !paths.unified.empty() && access((paths.unified + "/cgroup.kill").c_str(), W_OK) == 0;
  if (!has_kill) {
    paths.cpuacct = v1("cpuacct");
    paths.freezer = v1("freezer");
  }
  if (paths.All().empty()) return nullptr;
  CgroupCapabilities capabilities{.memory = !paths.memory.empty(),
                                  .cpu = !paths.cpu.empty(),
                                  .pids = !paths.pids.empty(),
                                  .kill = has_kill,
                                  .layout = paths.unified.empty() ? "v1" : "hybrid"};
  const bool is_absolute = absl::StartsWith(parent, "/");
  return std::make_unique<CgroupTree1>(mount_root, std::move(paths),
                                       absl::StrCat(is_absolute ? "" : "/", parent),
                                       std::move(capabilities));
}

}  // namespace farm::cgroup_internal
