#include "worker/testing/host_group.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace farm {

HostGroup::HostGroup(std::string mount_root)
    : mount_root_(std::move(mount_root)), path_(absl::StrCat("/farm-test-group-", getpid())) {}

HostGroup::~HostGroup() {
  for (const std::string& directory : Directories()) rmdir(directory.c_str());
}

std::vector<std::string> HostGroup::Directories() const {
  std::vector<std::string> roots = {mount_root_};
  for (const auto& hierarchy : std::filesystem::directory_iterator(mount_root_)) {
    if (hierarchy.is_directory()) roots.push_back(hierarchy.path());
  }
  std::vector<std::string> found;
  for (const std::string& root : roots) {
    if (access((root + path_).c_str(), F_OK) == 0) found.push_back(root + path_);
  }
  return found;
}

bool HostGroup::LimitProcesses(int processes_max) const {
  for (const std::string& directory : Directories()) {
    const std::string limit = directory + "/pids.max";
    if (access(limit.c_str(), W_OK) != 0) continue;
    return static_cast<bool>(std::ofstream(limit) << processes_max << std::flush);
  }
  return false;
}

}  // namespace farm
