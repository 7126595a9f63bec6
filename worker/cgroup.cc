#include "worker/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "worker/cgroup_internal.h"

namespace farm {
namespace {

// Stands in where there are no control groups.
class NoCgroup final : public Cgroup {
 public:
  absl::Status SetLimits(const CgroupLimits&) override { return absl::OkStatus(); }
  absl::Status Add(pid_t) override { return absl::OkStatus(); }
  CgroupUsage Usage() const override { return {}; }
  std::string path() const override { return ""; }
};

class NoCgroupTree final : public CgroupTree {
 public:
  const CgroupCapabilities& capabilities() const override { return capabilities_; }
  absl::StatusOr<std::unique_ptr<Cgroup>> Create(absl::string_view) override {
    return std::make_unique<NoCgroup>();
  }
  void RemoveLeftovers() override {}

 private:
  const CgroupCapabilities capabilities_{.layout = "none"};
};

}  // namespace

std::string CgroupCapabilities::Describe() const {
  std::vector<std::string> limits;
  if (memory) limits.push_back("memory");
  if (cpu) limits.push_back("cpu");
  if (pids) limits.push_back("pids");
  return absl::StrCat("cgroup ", layout, " (",
                      limits.empty() ? "no limits" : absl::StrJoin(limits, ", "), ")",
                      kill ? " with kill" : "");
}

std::unique_ptr<CgroupTree> OpenCgroupTree(absl::string_view parent,
                                           const std::string& mount_root) {
  std::unique_ptr<CgroupTree> tree = cgroup_internal::IsCgroup2(mount_root)
                                         ? cgroup_internal::OpenCgroup2(parent, mount_root)
                                         : cgroup_internal::OpenCgroup1(parent, mount_root);
  if (tree == nullptr) tree = std::make_unique<NoCgroupTree>();
  return tree;
}

std::map<std::string, std::unique_ptr<CgroupTree>> OpenCgroupParents(
    const std::vector<std::string>& parents, absl::string_view owner, const CgroupCapabilities& own,
    const std::string& mount_root) {
  std::map<std::string, std::unique_ptr<CgroupTree>> trees;
  for (const std::string& parent : parents) {
    std::unique_ptr<CgroupTree> tree = OpenCgroupTree(absl::StrCat(parent, "/", owner), mount_root);
    const CgroupCapabilities& can = tree->capabilities();
    const bool limits_less = can.memory < own.memory || can.cpu < own.cpu || can.pids < own.pids;
    if (can.layout == "none" || limits_less) {
      LogWarning("control group not offered to builds",
                 {{"cgroup", parent}, {"has", can.Describe()}, {"needs", own.Describe()}});
      continue;
    }
    tree->RemoveLeftovers();
    trees[parent] = std::move(tree);
  }
  return trees;
}

namespace cgroup_internal {
namespace {

constexpr absl::Duration kKillTimeout = absl::Seconds(10);
constexpr absl::Duration kRemoveTimeout = absl::Seconds(1);
constexpr size_t kValueBytesMax = 64 << 10;

bool HasMagic(const std::string& path, int64_t magic) {
  struct statfs info;
  return statfs(path.c_str(), &info) == 0 && info.f_type == magic;
}

}  // namespace

int64_t CpuQuotaUs(double cpus) {
  return std::max<int64_t>(1000, std::llround(cpus * static_cast<double>(kCpuPeriodUs)));
}

bool IsCgroup1(const std::string& path) { return HasMagic(path, CGROUP_SUPER_MAGIC); }
bool IsCgroup2(const std::string& path) { return HasMagic(path, CGROUP2_SUPER_MAGIC); }

absl::Status WriteValue(const std::string& path, absl::string_view value) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid() || write(fd.get(), value.data(), value.size()) < 0) {
    return ErrnoStatus(errno, absl::StrCat(path, ": writing \"", value, "\""));
  }
  return absl::OkStatus();
}

std::string ReadValue(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string value;
  char buffer[4096];
  ssize_t n;
  while (fd.valid() && value.size() < kValueBytesMax &&
         (n = read(fd.get(), buffer, sizeof(buffer))) > 0) {
    value.append(buffer, static_cast<size_t>(n));
  }
  return value;
}

int64_t ReadNumber(const std::string& path) {
  int64_t number = 0;
  return absl::SimpleAtoi(absl::StripAsciiWhitespace(ReadValue(path)), &number) ? number : 0;
}

int64_t ReadKeyedNumber(const std::string& path, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(ReadValue(path), '\n')) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    int64_t number = 0;
    if (pair.first == key && absl::SimpleAtoi(pair.second, &number)) return number;
  }
  return 0;
}

std::vector<std::string> ChildGroups(const std::string& path) {
  std::vector<std::string> children;
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return children;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
      children.push_back(absl::StrCat(path, "/", entry->d_name));
    }
  }
  closedir(dir);
  return children;
}

absl::Status RemoveGroup(const std::string& path) {
  const absl::Time give_up = absl::Now() + kRemoveTimeout;
  while (rmdir(path.c_str()) != 0 && errno != ENOENT) {
    const int error = errno;
    for (const std::string& child : ChildGroups(path)) RETURN_IF_ERROR(RemoveGroup(child));
    if (absl::Now() > give_up) return ErrnoStatus(error, path);
    poll(nullptr, 0, 1);
  }
  return absl::OkStatus();
}

bool KillGroup2(const std::string& path) {
  if (!WriteValue(path + "/cgroup.kill", "1").ok()) return false;
  // cgroup.events raises POLLPRI when "populated" changes.
  UniqueFd events(open((path + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  const absl::Time give_up = absl::Now() + kKillTimeout;
  while (events.valid() && absl::Now() < give_up) {
    char buffer[256];
    const ssize_t n = pread(events.get(), buffer, sizeof(buffer), 0);
    if (n <= 0) return false;
    if (absl::StrContains(absl::string_view(buffer, static_cast<size_t>(n)), "populated 0")) {
      return true;
    }
    pollfd changed{.fd = events.get(), .events = POLLPRI, .revents = 0};
    poll(&changed, 1, 100);
  }
  return false;
}

}  // namespace cgroup_internal
}  // namespace farm
