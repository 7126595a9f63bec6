#include "base/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"

namespace farm {

absl::StatusOr<UniqueFd> LockStateDir(const std::string& dir, absl::string_view program) {
  std::filesystem::path parent = std::filesystem::absolute(dir).lexically_normal();
  if (!parent.has_filename()) parent = parent.parent_path();  // "DIR/"
  std::error_code error;
  std::filesystem::create_directories(parent.parent_path(), error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("making the parents of ", dir));
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoStatus(errno, dir);
  const std::string path = absl::StrCat(dir, "/", program, ".lock");
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("another farm-", program, " uses ", dir, " (", path, " is locked)"));
  }
  return fd;
}

}  // namespace farm
