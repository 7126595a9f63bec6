// A directory for one test, with short ways to fill it and look into it.
#ifndef FARM_LAYER_TESTING_SCRATCH_DIRECTORY_H_
#define FARM_LAYER_TESTING_SCRATCH_DIRECTORY_H_

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/unique_fd.h"
#include "layer/directory.h"

namespace farm {

// Paths given to its functions are relative to it. Everything must work, else the test stops.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    const char* parent = getenv("TEST_TMPDIR");
    path_ = absl::StrCat(parent != nullptr ? parent : "/tmp", "/scratch.XXXXXX");
    FARM_CHECK(mkdtemp(path_.data()) != nullptr) << path_;
    FARM_CHECK(chmod(path_.c_str(), 0755) == 0);
  }
  ~ScratchDirectory() {
    std::error_code ignored;  // A leftover in the test's own directory does no harm.
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string At(absl::string_view name) const { return absl::StrCat(path_, "/", name); }

  UniqueFd Open(absl::string_view name = ".") const {
    UniqueFd fd(open(At(name).c_str(), O_RDONLY | O_CLOEXEC));
    FARM_CHECK(fd.valid()) << At(name);
    return fd;
  }
  void Directory(absl::string_view name, mode_t mode = 0755) const {
    FARM_CHECK(mkdir(At(name).c_str(), mode) == 0) << At(name);
    FARM_CHECK(chmod(At(name).c_str(), mode) == 0);
  }
  void File(absl::string_view name, absl::string_view bytes, mode_t mode = 0644) const {
    const UniqueFd fd(open(At(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    FARM_CHECK(fd.valid()) << At(name);
    FARM_CHECK_OK(FdSink(fd.get()).Write(bytes));
    FARM_CHECK(fchmod(fd.get(), mode) == 0);
  }
  void Symlink(absl::string_view name, const std::string& target) const {
    FARM_CHECK(symlink(target.c_str(), At(name).c_str()) == 0) << At(name);
  }
  void HardLink(absl::string_view name, absl::string_view target) const {
    FARM_CHECK(link(At(target).c_str(), At(name).c_str()) == 0) << At(name);
  }
  void Node(absl::string_view name, mode_t mode, unsigned major, unsigned minor) const {
    FARM_CHECK(mknod(At(name).c_str(), mode, makedev(major, minor)) == 0) << At(name);
    FARM_CHECK(chmod(At(name).c_str(), mode & 07777) == 0);
  }
  void Socket(absl::string_view name) const {
    const UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const UniqueFd directory = Open();  // Its path may be too long for an address.
    const std::string path = absl::StrCat("/proc/self/fd/", directory.get(), "/", name);
    FARM_CHECK_LT(path.size(), sizeof(address.sun_path));
    memcpy(address.sun_path, path.c_str(), path.size() + 1);
    FARM_CHECK(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  }
  void Whiteout(absl::string_view name) const { Node(name, S_IFCHR, 0, 0); }
  void Opaque(absl::string_view name) const { SetXattr(name, "trusted.overlay.opaque", "y"); }
  void SetXattr(absl::string_view name, const char* key, const std::string& value) const {
    FARM_CHECK(lsetxattr(At(name).c_str(), key, value.data(), value.size(), 0) == 0) << At(name);
  }
  void SetMtime(absl::string_view name, absl::Time mtime) const {
    const timespec times[2] = {{0, UTIME_OMIT}, absl::ToTimespec(mtime)};
    FARM_CHECK(utimensat(AT_FDCWD, At(name).c_str(), times, AT_SYMLINK_NOFOLLOW) == 0) << At(name);
  }
  // Gives the directory and all in it one mtime.
  void SetAllMtimes(absl::Time mtime) const {
    for (const auto& item : std::filesystem::recursive_directory_iterator(path_)) {
      SetMtime(absl::string_view(item.path().c_str()).substr(path_.size() + 1), mtime);
    }
    SetMtime(".", mtime);
  }

  bool Exists(absl::string_view name) const {
    struct stat stat;
    return lstat(At(name).c_str(), &stat) == 0;
  }
  struct stat Stat(absl::string_view name) const {
    struct stat stat;
    FARM_CHECK(lstat(At(name).c_str(), &stat) == 0) << At(name);
    return stat;
  }
  absl::Time Mtime(absl::string_view name) const {
    return absl::TimeFromTimespec(Stat(name).st_mtim);
  }
  bool IsWhiteout(absl::string_view name) const {
    return Exists(name) && IsWhiteoutDevice(Stat(name));
  }
  std::string Read(absl::string_view name) const {
    absl::StatusOr<std::string> bytes = ReadFile(At(name));
    FARM_CHECK_OK(bytes.status());
    return *bytes;
  }
  // "" if there is none.
  std::string Xattr(absl::string_view name, const char* key) const {
    char value[256];
    const ssize_t size = lgetxattr(At(name).c_str(), key, value, sizeof(value));
    return size < 0 ? "" : std::string(value, static_cast<size_t>(size));
  }
  std::vector<std::string> Names(absl::string_view name = ".") const {
    const UniqueFd fd = Open(name);
    absl::StatusOr<std::vector<DirectoryItem>> items = ListDirectory(fd.get());
    FARM_CHECK_OK(items.status());
    std::vector<std::string> names;
    for (const DirectoryItem& item : *items) names.push_back(item.name);
    return names;
  }

 private:
  std::string path_;
};

}  // namespace farm

#endif  // FARM_LAYER_TESTING_SCRATCH_DIRECTORY_H_
