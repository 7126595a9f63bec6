// What the worker and its farm-sandbox helper say to each other over a socket, on one machine and
// from one build: plain structs, no versions. No allocation and no Abseil here: the helper is to
// start in no time.
//
//   worker                          helper (pid 1 of its pid namespace)
//   Prepare, seccomp program  --->  makes namespaces and mounts, forks the step's process: warm
//                             <---  Reply kReady, with its mount namespace
//   RunHeader, bytes, mounts  --->  puts the root in place, lets the step's process go
//                             <---  Reply, and ends; whatever still runs in there dies with it
#ifndef FARM_WORKER_SANDBOX_WIRE_H_
#define FARM_WORKER_SANDBOX_WIRE_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace farm::wire {

// The helper's end of the socket. 0, 1 and 2 are the step's.
inline constexpr int kControlFd = 3;
// RunHeader and what follows it. The kernel takes 2 MiB of arguments and environment at most; the
// rest is room for small files (SandboxMount::kFile).
inline constexpr uint32_t kRunBytesMax = 8 << 20;
// The kernel passes at most 253 in one message.
inline constexpr uint32_t kDescriptorsMax = 250;

enum class Role : uint32_t {
  kStep = 1,     // Be the sandbox.
  kRuntime = 2,  // Run an OCI runtime, with the root mounted for it.
};

enum class Network : uint32_t {
  kHost = 0,   // The worker's own.
  kNew = 1,    // A network namespace with lo up.
  kGiven = 2,  // The network namespace of a descriptor.
};

// With descriptors: for kStep a file of struct sock_filter; then, for kGiven, the namespace.
struct Prepare {
  Role role;
  Network network;
  uint32_t hide_unified;  // kRuntime: unmount /sys/fs/cgroup/unified in its mount namespace.
  uint32_t insecure;      // kStep: all capabilities and system calls, nothing hidden or read-only.
};

// Followed by `body_bytes` bytes, read in this order with Reader:
//   groups: u32 each · rlimits: Rlimit each · hostname · cwd · root_target · files_dir: strings ·
//   mounts: Mount each, followed by its target, and by `content_bytes` bytes · args · env: strings
// With the descriptors: the root mount, then one for each bind mount.
// For kRuntime `cwd` is the bundle, and all mounts, as well as the root at `root_target`, are made
// at paths of the host, beneath a tmpfs that is mounted on `files_dir`.
struct RunHeader {
  uint32_t body_bytes;
  uint32_t groups, rlimits, mounts, args, env;
  uint32_t uid, gid;
  uint32_t read_only_root;
  uint32_t open_devices;  // Device nodes in the root can be opened.
  uint64_t shm_bytes;
};

struct Rlimit {
  uint64_t resource, soft, hard;
};

enum class MountKind : uint32_t { kBind = 0, kTmpfs = 1, kFile = 2 };

struct Mount {
  MountKind kind;
  uint32_t read_only;
  uint32_t directory;  // kBind: what a missing target is made as.
  uint32_t mode, uid, gid;
  uint64_t size_bytes;
  uint64_t content_bytes;
};

enum class ReplyKind : uint32_t {
  // Prepared. The descriptor that comes along keeps the mounts, so that taking them down, which is
  // slow, does not hold up the end of a run.
  kReady = 5,
  kExited = 1,      // `wait_status` as of waitpid(2).
  kNotStarted = 2,  // execve(2) failed with `error`; `message` is the path tried last.
  kBadSpec = 3,     // The user's doing: `message` says what failed with `error`.
  kBroken = 4,      // The host's doing, likewise.
};

struct Reply {
  ReplyKind kind;
  int32_t wait_status;
  int32_t error;
  char message[500];  // NUL-terminated.
};

// Takes values off a buffer; all zero once it ran out. Strings are NUL-terminated in the buffer.
class Reader {
 public:
  Reader(const char* data, size_t size) : data_(data), left_(size) {}

  template <typename T>
  T Value() {
    T value{};
    if (const char* bytes = Bytes(sizeof(T))) memcpy(&value, bytes, sizeof(T));
    return value;
  }
  const char* String() {
    const void* end = memchr(data_, 0, left_);
    if (end == nullptr) return Fail("");
    const char* text = data_;
    Bytes(static_cast<size_t>(static_cast<const char*>(end) - data_) + 1);
    return text;
  }
  const char* Bytes(size_t size) {
    if (size > left_) return Fail(nullptr);
    const char* bytes = data_;
    data_ += size;
    left_ -= size;
    return bytes;
  }
  bool ok() const { return ok_; }

 private:
  const char* Fail(const char* result) {
    ok_ = false;
    left_ = 0;
    return result;
  }

  const char* data_;
  size_t left_;
  bool ok_ = true;
};

}  // namespace farm::wire

#endif  // FARM_WORKER_SANDBOX_WIRE_H_
