#include "worker/trash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "worker/remove_tree.h"

namespace farm {
namespace {

absl::StatusOr<std::vector<std::string>> Names(const std::string& path) {
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return ErrnoStatus(errno, path);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir)) {
    const absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  closedir(dir);
  return names;
}

}  // namespace

Trash::Trash(std::string dir) : dir_(std::move(dir)) {
  if (mkdir(dir_.c_str(), 0700) != 0 && errno != EEXIST) {
    LogWarning("no trash directory", {{"path", dir_}, {"error", LogText(ErrnoStatus(errno, ""))}});
  }
  if (auto names = Names(dir_); names.ok()) {
    for (const std::string& name : *names) queue_.push_back(absl::StrCat(dir_, "/", name));
  }
  thread_ = std::thread([this] { Run(); });
}

Trash::~Trash() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

absl::Status Trash::Throw(const std::string& path) {
  for (;;) {
    std::string target;
    {
      MutexLock lock(mu_);
      target = absl::StrCat(dir_, "/", next_name_++);
    }
    // NOREPLACE: an earlier run's names may still be there.
    if (renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0) {
      MutexLock lock(mu_);
      queue_.push_back(std::move(target));
      break;
    }
    if (errno == EEXIST) continue;
    if (errno == ENOENT) return absl::OkStatus();
    absl::Status error = ErrnoStatus(errno, absl::StrCat(path, " to ", target));
    LogWarning("not moved to the trash", {{"error", LogText(error)}});
    return error;
  }
  changed_.notify_all();
  return absl::OkStatus();
}

absl::Status Trash::ThrowContents(const std::string& dir) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(dir));
  for (const std::string& name : names) RETURN_IF_ERROR(Throw(absl::StrCat(dir, "/", name)));
  return absl::OkStatus();
}

void Trash::WaitUntilEmpty() {
  MutexLock lock(mu_);
  while (!queue_.empty() || deleting_) lock.Wait(changed_);
}

void Trash::Run() {
  for (;;) {
    std::string path;
    {
      MutexLock lock(mu_);
      deleting_ = false;
      changed_.notify_all();
      while (!stopping_ && queue_.empty()) lock.Wait(changed_);
      if (stopping_) return;
      path = std::move(queue_.front());
      queue_.pop_front();
      deleting_ = true;
    }
    if (absl::Status removed = RemoveTree(path); !removed.ok()) {
      LogWarning("not deleted", {{"error", LogText(removed)}});
    }
  }
}

}  // namespace farm
