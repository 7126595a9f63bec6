#include "worker/root_path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/status_macros.h"

namespace farm {

absl::StatusOr<UniqueFd> OpenInRoot(int root_fd, const std::string& path, int flags,
                                    uint32_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  UniqueFd fd(static_cast<int>(syscall(SYS_openat2, root_fd, path.c_str(), &how, sizeof(how))));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  return fd;
}

absl::StatusOr<std::string> ReadFileInRoot(int root_fd, const std::string& path,
                                           int64_t bytes_max) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenInRoot(root_fd, path, O_RDONLY | O_NONBLOCK));
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  FdSource source(fd.get());
  StringSink sink;
  RETURN_IF_ERROR(CopyBytes(source, sink, bytes_max).status()) << path;
  return sink.Take();
}

}  // namespace farm
