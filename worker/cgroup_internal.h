// What the cgroup implementations share: the small files of a control group. Paths here come from
// the kernel and from our own names, so plain paths do.
#ifndef FARM_WORKER_CGROUP_INTERNAL_H_
#define FARM_WORKER_CGROUP_INTERNAL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/cgroup.h"

namespace farm::cgroup_internal {

// Period of the CPU quota, as Docker and systemd have it.
inline constexpr int64_t kCpuPeriodUs = 100'000;
// The CPU time for each period; the kernel takes no less than a millisecond.
int64_t CpuQuotaUs(double cpus);

bool IsCgroup1(const std::string& path);
bool IsCgroup2(const std::string& path);

// One write(2), as the kernel wants it.
absl::Status WriteValue(const std::string& path, absl::string_view value);
// "" if it cannot be read.
std::string ReadValue(const std::string& path);
// The number in a file of one number, or after `key` in a file of "key number" lines; 0 if absent.
int64_t ReadNumber(const std::string& path);
int64_t ReadKeyedNumber(const std::string& path, absl::string_view key);

std::vector<std::string> ChildGroups(const std::string& path);
// Removes a group and those below it; empty of processes they must be. A group that is just being
// emptied is EBUSY for a moment, so this retries for up to a second.
absl::Status RemoveGroup(const std::string& path);

// Asks the kernel to kill all in a v2 group and waits until it is empty. False if it has no
// cgroup.kill or is not empty after kKillTimeout.
bool KillGroup2(const std::string& path);

// The implementations, each in its own .cc. Null if that layout has nothing of use.
std::unique_ptr<CgroupTree> OpenCgroup1(absl::string_view parent, const std::string& mount_root);
std::unique_ptr<CgroupTree> OpenCgroup2(absl::string_view parent, const std::string& mount_root);

}  // namespace farm::cgroup_internal

#endif  // FARM_WORKER_CGROUP_INTERNAL_H_
