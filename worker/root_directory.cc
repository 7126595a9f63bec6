#include "worker/root_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace farm {
namespace {

int OpenDirectory(int root_fd, const char* path) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(syscall(SYS_openat2, root_fd, path, &how, sizeof(how)));
}

// Makes `prefix`/`name`, where `name` points into the text of the path and is taken off meanwhile.
bool MakeDirectory(int root_fd, const char* prefix, char* name, uint32_t uid, uint32_t gid) {
  const char first = name[0];
  name[0] = '\0';
  const int parent = OpenDirectory(root_fd, prefix[0] == '\0' ? "/" : prefix);
  name[0] = first;
  if (parent < 0) return false;
  // A dangling link in that place is EEXIST: not for us to repair.
  const bool made = mkdirat(parent, name, 0755) == 0 &&
                    fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW) == 0 &&
                    fchmodat(parent, name, 0755, 0) == 0;  // Whatever the umask.
  const int error = errno;
  close(parent);
  errno = error;
  return made;
}

}  // namespace

int OpenOrMakeDirectory(int root_fd, const char* path, uint32_t uid, uint32_t gid) {
  int fd = OpenDirectory(root_fd, path);
  if (fd >= 0 || errno != ENOENT) return fd;
  char* prefix = strdup(path);
  if (prefix == nullptr) return -1;
  // Component by component: each prefix is opened, links and all, or made.
  for (char* end = prefix; *end != '\0';) {
    char* name = end + strspn(end, "/");
    end = name + strcspn(name, "/");
    if (*name == '\0') break;
    const char separator = *end;
    *end = '\0';
    fd = OpenDirectory(root_fd, prefix);
    if (fd >= 0) {
      close(fd);
    } else if (errno != ENOENT || !MakeDirectory(root_fd, prefix, name, uid, gid)) {
      const int error = errno;
      free(prefix);
      errno = error;
      return -1;
    }
    *end = separator;
  }
  free(prefix);
  return OpenDirectory(root_fd, path);
}

}  // namespace farm
