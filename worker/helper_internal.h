// The parts of the farm-sandbox program. It is pid 1 of a sandbox, single-threaded, and does
// without the C++ library's heap: what it cannot do ends it, and with it all that runs in the
// sandbox.
#ifndef FARM_WORKER_HELPER_INTERNAL_H_
#define FARM_WORKER_HELPER_INTERNAL_H_

#include <stdint.h>
#include <sys/types.h>

#include "worker/sandbox_wire.h"

namespace farm::helper {

// Ends the helper with a Reply of "what detail" and errno.
[[noreturn]] void Fail(wire::ReplyKind kind, const char* what, const char* detail = nullptr);
[[noreturn]] inline void Broken(const char* what, const char* detail = nullptr) {
  Fail(wire::ReplyKind::kBroken, what, detail);
}

// Memory that the helper shares with the step's process, which is forked before the run is known.
struct Shared {
  uint32_t go;          // Futex: 1 once `header` and `body` are there and the root is in place.
  int32_t exec_error;   // errno of execve(2), 0 while it did not fail.
  int32_t setup_error;  // errno of `message`, for what failed before.
  char message[400];    // What failed.
  wire::RunHeader header;
  char body[wire::kRunBytesMax];
};

// --- helper_mounts.cc ---

// Replaces the mount namespace's root by an in-memory one that holds /proc, /sys, /dev and what
// masks parts of them, all of them ready to be moved into a root. `insecure`: nothing is masked or
// read-only, and there are more devices.
void PrepareMounts(bool insecure);

// Makes `root_fd` (a detached mount) the root of this mount namespace and of all processes in it,
// with the prepared mounts and those of the run. `binds` are the descriptors of the bind mounts.
void EnterRoot(int root_fd, const int* binds, const Shared& shared);

// For an OCI runtime: a private copy of the host's mounts, with this pid namespace's /proc.
void PrepareHostView(bool hide_unified);
// Attaches the root, and makes the files and bind mounts, at the places of the host's view that the
// run names.
void AttachForRuntime(int root_fd, const int* binds, const Shared& shared);

// --- helper_step.cc ---

// The step's process, from fork to execve: takes on the restrictions at once and waits for
// `shared->go`.
[[noreturn]] void RunStep(Shared* shared, int seccomp_fd);
// The same without restrictions, and with all capabilities for whatever user.
[[noreturn]] void RunInsecureStep(Shared* shared);
// The same for an OCI runtime: no restrictions.
[[noreturn]] void RunRuntime(Shared* shared);

}  // namespace farm::helper

#endif  // FARM_WORKER_HELPER_INTERNAL_H_
