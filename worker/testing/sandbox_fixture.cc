#include "worker/testing/sandbox_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/errno_status.h"
#include "worker/overlay_snapshotter.h"
#include "worker/remove_tree.h"

namespace farm {
namespace {

constexpr char kBusybox[] = "/bin/busybox";
constexpr const char* kApplets[] = {
    "awk",      "cat",   "chmod", "chown", "cut",      "dd",      "echo",  "env",
    "expr",     "false", "grep",  "head",  "hostname", "id",      "kill",  "ln",
    "ls",       "mkdir", "mknod", "mount", "mv",       "nc",      "ps",    "pwd",
    "readlink", "rm",    "sed",   "seq",   "setsid",   "sh",      "sleep", "sort",
    "stat",     "tail",  "tee",   "test",  "touch",    "tr",      "true",  "umount",
    "uname",    "wc",    "yes",   "ip",    "unshare",  "nsenter", "dmesg", "ulimit"};

void MakeDir(const std::string& path, mode_t mode = 0755) {
  FARM_CHECK(mkdir(path.c_str(), mode) == 0) << path;
  FARM_CHECK(chmod(path.c_str(), mode) == 0) << path;
}

void WriteFile(const std::string& path, absl::string_view text, int mode = 0644) {
  FARM_CHECK_OK(WriteFileAtomically(path, text, mode));
}

void MakeBaseLayer(const std::string& root) {
  MakeDir(root);
  for (const char* dir :
       {"/bin", "/etc", "/proc", "/sys", "/dev", "/home", "/usr", "/usr/bin", "/var", "/run"}) {
    MakeDir(root + dir);
  }
  MakeDir(root + "/tmp", 01777);
  MakeDir(root + "/root", 0700);
  MakeDir(root + "/home/app");
  FARM_CHECK(chown((root + "/home/app").c_str(), 1000, 1000) == 0);
  const absl::StatusOr<std::string> busybox = ReadFile(kBusybox);
  FARM_CHECK_OK(busybox.status());
  WriteFile(root + "/bin/busybox", *busybox, 0755);
  for (const char* applet : kApplets) {
    FARM_CHECK(symlink("busybox", absl::StrCat(root, "/bin/", applet).c_str()) == 0);
  }
  WriteFile(root + "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:App:/home/app:/bin/sh\n");
  WriteFile(root + "/etc/group", "root:x:0:\napp:x:1000:\ndocker:x:998:app\n");
}

std::vector<std::string> SortedNames(const std::string& path) {
  std::vector<std::string> names;
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') names.push_back(entry->d_name);
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

// Children of this process, which sandboxes' helpers are, and what their leaving would orphan.
int CountChildren() {
  int count = 0;
  for (const std::string& task : SortedNames("/proc/self/task")) {
    const std::string children =
        ReadFile(absl::StrCat("/proc/self/task/", task, "/children")).value_or("");
    count += static_cast<int>(std::count(children.begin(), children.end(), ' '));
  }
  return count;
}

}  // namespace

std::string Leftovers(const std::string& dir, CgroupTree& cgroups) {
  std::string text = absl::StrCat("children ", CountChildren(), "\n",
                                  ReadFile("/proc/self/mountinfo").value_or("?"));
  for (const std::string& name : SortedNames(dir)) absl::StrAppend(&text, name, "\n");
  // Any group of the tree stands for all of them: list its siblings.
  const auto probe = cgroups.Create("leftovers-probe");
  if (probe.ok() && !(*probe)->path().empty()) {
    const std::string parent = (*probe)->path().substr(0, (*probe)->path().rfind('/'));
    for (const std::string& hierarchy : SortedNames("/sys/fs/cgroup")) {
      const std::string group = absl::StrCat("/sys/fs/cgroup/", hierarchy, parent);
      for (const std::string& name : SortedNames(group)) {
        struct stat info;
        if (stat(absl::StrCat(group, "/", name).c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
          absl::StrAppend(&text, hierarchy, " ", name, "\n");
        }
      }
    }
  }
  return text;
}

SandboxWorld::SandboxWorld() {
  // Mounts of other programs would be counted as ours.
  FARM_CHECK(unshare(CLONE_NEWNS) == 0) << "must run as root";
  FARM_CHECK(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  const char* base = getenv("TEST_TMPDIR");
  dir_ = absl::StrCat(base != nullptr ? base : "/tmp", "/sandbox-XXXXXX");
  FARM_CHECK(mkdtemp(dir_.data()) != nullptr) << dir_;
  FARM_CHECK(chmod(dir_.c_str(), 0755) == 0);
  base_layer_ = dir_ + "/base";
  MakeBaseLayer(base_layer_);
  cgroups_ = OpenCgroupTree(absl::StrCat("farm-test-", getpid()));
  trash_ = std::make_unique<Trash>(dir_ + "/trash");
  absl::StatusOr<std::unique_ptr<OverlaySnapshotter>> snapshotter =
      OverlaySnapshotter::Create(dir_, *trash_);
  FARM_CHECK_OK(snapshotter.status());
  snapshotter_ = std::move(snapshotter).value();
}

SandboxWorld::~SandboxWorld() {
  snapshotter_.reset();
  trash_.reset();
  cgroups_.reset();
  RemoveTree(dir_).IgnoreError();  // The test's directory goes anyway.
  const std::string parent = absl::StrCat("/farm-test-", getpid());
  rmdir(("/sys/fs/cgroup" + parent).c_str());
  for (const std::string& hierarchy : SortedNames("/sys/fs/cgroup")) {
    rmdir(absl::StrCat("/sys/fs/cgroup/", hierarchy, parent).c_str());
  }
}

std::unique_ptr<Snapshot> SandboxWorld::NewRoot() {
  auto snapshot = snapshotter_->Prepare({base_layer_}, NewPath("step"));
  FARM_CHECK_OK(snapshot.status());
  return std::move(snapshot).value();
}

std::string SandboxWorld::NewPath(absl::string_view name) {
  return absl::StrCat(dir_, "/", name, "-", next_++);
}

RunResult SandboxWorld::Run(Sandbox& sandbox, SandboxSpec spec) {
  const std::unique_ptr<Snapshot> root = NewRoot();
  spec.root_fd = root->root_fd();
  spec.scratch_dir = NewPath("scratch");
  spec.id = absl::StrCat("test-", getpid(), "-", next_++);
  MakeDir(spec.scratch_dir);
  RecordingLog log;
  CancelToken cancel;
  RunResult result;
  result.exit = sandbox.Run(spec, log, cancel);
  result.out = std::move(log.out);
  result.err = std::move(log.err);
  FARM_CHECK(rmdir(spec.scratch_dir.c_str()) == 0) << "scratch directory is not left empty";
  return result;
}

SandboxSpec SandboxWorld::ShellSpec(const std::string& script) {
  SandboxSpec spec;
  spec.args = {"/bin/sh", "-c", script};
  spec.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  return spec;
}

RunResult SandboxWorld::Shell(Sandbox& sandbox, const std::string& script) {
  return Run(sandbox, ShellSpec(script));
}

}  // namespace farm
