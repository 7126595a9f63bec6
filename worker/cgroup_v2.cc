// One hierarchy for all controllers. A group that has controllers enabled for its children must
// have no processes of its own, which is why the worker moves itself into a leaf first.
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "worker/cgroup_internal.h"

namespace farm::cgroup_internal {
namespace {

void KillAndRemove(const std::string& path) {
  if (!KillGroup2(path)) LogWarning("processes do not die", {{"cgroup", path}});
  if (absl::Status removed = RemoveGroup(path); !removed.ok()) {
    LogWarning("cgroup not removed", {{"cgroup", path}, {"error", LogText(removed)}});
  }
}

class Cgroup2 final : public Cgroup {
 public:
  Cgroup2(std::string dir, std::string path, const CgroupCapabilities& capabilities)
      : dir_(std::move(dir)), path_(std::move(path)), capabilities_(capabilities) {}

  ~Cgroup2() override {
    if (rmdir(dir_.c_str()) != 0 && errno != ENOENT) KillAndRemove(dir_);
  }

  absl::Status SetLimits(const CgroupLimits& limits) override {
    if (limits.memory_bytes > 0 && capabilities_.memory) {
      RETURN_IF_ERROR(WriteValue(dir_ + "/memory.max", absl::StrCat(limits.memory_bytes)));
      // Absent where the kernel does not count swap.
      WriteValue(dir_ + "/memory.swap.max", "0").IgnoreError();
    }
    if (limits.cpus > 0 && capabilities_.cpu) {
      const int64_t quota_us = CpuQuotaUs(limits.cpus);
      RETURN_IF_ERROR(WriteValue(dir_ + "/cpu.max", absl::StrCat(quota_us, " ", kCpuPeriodUs)));
    }
    if (limits.pids > 0 && capabilities_.pids) {
      RETURN_IF_ERROR(WriteValue(dir_ + "/pids.max", absl::StrCat(limits.pids)));
    }
    return absl::OkStatus();
  }

  absl::Status Add(pid_t pid) override {
    return WriteValue(dir_ + "/cgroup.procs", absl::StrCat(pid));
  }

  CgroupUsage Usage() const override {
    return {.memory_peak_bytes = ReadNumber(dir_ + "/memory.peak"),
            .cpu_time = absl::Microseconds(ReadKeyedNumber(dir_ + "/cpu.stat", "usage_usec")),
            .oom_kills = ReadKeyedNumber(dir_ + "/memory.events", "oom_kill")};
  }

  std::string path() const override { return path_; }

 private:
  const std::string dir_;
  const std::string path_;
  const CgroupCapabilities& capabilities_;
};

class CgroupTree2 final : public CgroupTree {
 public:
  CgroupTree2(std::string dir, std::string path, CgroupCapabilities capabilities)
      : dir_(std::move(dir)), path_(std::move(path)), capabilities_(std::move(capabilities)) {}
  ~CgroupTree2() override { rmdir(dir_.c_str()); }

  const CgroupCapabilities& capabilities() const override { return capabilities_; }

  absl::StatusOr<std::unique_ptr<Cgroup>> Create(absl::string_view name) override {
    const std::string dir = absl::StrCat(dir_, "/", name);
    if (mkdir(dir.c_str(), 0755) != 0) return ErrnoStatus(errno, dir);
    return std::make_unique<Cgroup2>(dir, absl::StrCat(path_, "/", name), capabilities_);
  }

  void RemoveLeftovers() override {
    for (const std::string& child : ChildGroups(dir_)) KillAndRemove(child);
  }

 private:
  const std::string dir_;
  const std::string path_;
  const CgroupCapabilities capabilities_;
};

// The group of this process: "0::/system.slice/farm-worker.service" → "/system.slice/…".
std::string OwnGroup() {
  for (absl::string_view line : absl::StrSplit(ReadValue("/proc/self/cgroup"), '\n')) {
    if (absl::StartsWith(line, "0::/")) return std::string(line.substr(3));
  }
  return "/";
}

// Makes `parent` below `base`, with as many controllers for its children as it may have.
bool MakeParent(const std::string& base, absl::string_view parent) {
  std::string dir = base;
  const auto enable = [&dir] {
    for (const char* controller : {"+memory", "+cpu", "+pids"}) {
      // One by one: a host may have some of them only.
      WriteValue(dir + "/cgroup.subtree_control", controller).IgnoreError();
    }
  };
  for (const absl::string_view name : absl::StrSplit(parent, '/', absl::SkipEmpty())) {
    enable();
    absl::StrAppend(&dir, "/", name);
    if (mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST) return false;
  }
  enable();
  return access((dir + "/cgroup.procs").c_str(), W_OK) == 0;
}

// The group that ours are below. This process moves into a leaf of it.
std::string MakeOwn(const std::string& mount_root) {
  std::string own = OwnGroup();
  // After a restart inside the same unit, or a second tree of one process.
  if (absl::EndsWith(own, "/worker")) own.resize(own.size() - strlen("/worker"));
  if (own == "/" || access((mount_root + own).c_str(), F_OK) != 0) return "";
  const std::string leaf = mount_root + own + "/worker";
  mkdir(leaf.c_str(), 0755);
  WriteValue(leaf + "/cgroup.procs", "0").IgnoreError();  // MakeParent tells if it mattered.
  return own;
}

}  // namespace

std::unique_ptr<CgroupTree> OpenCgroup2(absl::string_view parent, const std::string& mount_root) {
  const bool is_absolute = absl::StartsWith(parent, "/");
  const std::string own = is_absolute ? "" : MakeOwn(mount_root);
  const std::string path = absl::StrCat(own, is_absolute ? "" : "/", parent);
  const std::string dir = mount_root + path;
  if (!MakeParent(mount_root + own, parent)) return nullptr;
  const std::vector<std::string> enabled =
      absl::StrSplit(absl::StripAsciiWhitespace(ReadValue(dir + "/cgroup.subtree_control")), ' ');
  auto has = [&](const char* name) {
    return std::find(enabled.begin(), enabled.end(), name) != enabled.end();
  };
  CgroupCapabilities capabilities{.memory = has("memory"),
                                  .cpu = has("cpu"),
                                  .pids = has("pids"),
                                  .kill = access((dir + "/cgroup.kill").c_str(), W_OK) == 0,
                                  .layout = "v2"};
  return std::make_unique<CgroupTree2>(dir, path, std::move(capabilities));
}

}  // namespace farm::cgroup_internal
