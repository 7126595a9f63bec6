#ifndef FARM_WORKER_TESTING_HOST_GROUP_H_
#define FARM_WORKER_TESTING_HOST_GROUP_H_

#include <string>
#include <utility>
#include <vector>

namespace farm {

// The name of a control group of the host, for tests, which whoever uses it makes. Goes with this,
// if it is empty.
class HostGroup {
 public:
  explicit HostGroup(std::string mount_root = "/sys/fs/cgroup");
  ~HostGroup();
  HostGroup(const HostGroup&) = delete;
  HostGroup& operator=(const HostGroup&) = delete;

  // "/farm-test-group-1234".
  const std::string& path() const { return path_; }
  // Its directories, one in each hierarchy where it is.
  std::vector<std::string> Directories() const;
  // False if this host can't limit it.
  bool LimitProcesses(int processes_max) const;

 private:
  const std::string mount_root_;
  const std::string path_;
};

}  // namespace farm

#endif  // FARM_WORKER_TESTING_HOST_GROUP_H_
