#include "worker/seccomp_filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "worker/step_restrictions.h"

namespace farm {
namespace {

constexpr uint32_t kX32Bit = 0x40000000;
constexpr int kSyscallNumberMax = 1024;  // Where to look for the newest that libseccomp knows.

struct FreeContext {
  void operator()(scmp_filter_ctx context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<void, FreeContext>;

absl::Status Check(int result, absl::string_view what) {
  if (result >= 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("seccomp filter: ", what, ": error ", -result));
}

template <typename... Conditions>
absl::Status AddRule(const Context& context, uint32_t action, const char* name,
                     Conditions... conditions) {
  const int number = seccomp_syscall_resolve_name(name);
  if (number == __NR_SCMP_ERROR) return absl::OkStatus();
  return Check(
      seccomp_rule_add(context.get(), action, number, sizeof...(conditions), conditions...), name);
}

absl::Status AddRules(const Context& context) {
#ifdef __x86_64__
  // 32-bit programs run too. The x32 ABI, which Docker lists, does not: hardly a kernel has it.
  RETURN_IF_ERROR(Check(seccomp_arch_add(context.get(), SCMP_ARCH_X86), "x86"));
#endif
  RETURN_IF_ERROR(Check(
      seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM)), "badarch"));
  // A binary tree instead of a list: some 10 comparisons for a call instead of some hundred.
  RETURN_IF_ERROR(Check(seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimize"));
  for (const char* name : kAllowedSyscalls) RETURN_IF_ERROR(AddRule(context, SCMP_ACT_ALLOW, name));
  for (uint64_t personality : kAllowedPersonalities) {
    RETURN_IF_ERROR(
        AddRule(context, SCMP_ACT_ALLOW, "personality", SCMP_A0(SCMP_CMP_EQ, personality)));
  }
  RETURN_IF_ERROR(
      AddRule(context, SCMP_ACT_ALLOW, "socket", SCMP_A0(SCMP_CMP_NE, uint64_t{AF_VSOCK})));
  RETURN_IF_ERROR(AddRule(context, SCMP_ACT_ALLOW, "clone",
                          SCMP_A0(SCMP_CMP_MASKED_EQ, kNamespaceFlags, uint64_t{0})));
  // Its flags are behind a pointer, where a filter cannot look: C libraries then use clone.
  return AddRule(context, SCMP_ACT_ERRNO(ENOSYS), "clone3");
}

uint32_t NewestKnownSyscall() {
  for (int number = kSyscallNumberMax; number > 0; --number) {
    if (char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number)) {
      free(name);
      return static_cast<uint32_t>(number);
    }
  }
  return 0;
}

// ENOSYS for what is newer than libseccomp: EPERM would keep C libraries from falling back.
std::vector<sock_filter> NewerSyscallsAreUnknown() {
  const uint32_t newest = NewestKnownSyscall();
  return {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, seccomp_arch_native(), 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, newest, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
  };
}

}  // namespace

absl::StatusOr<std::string> BuildSeccompFilter() {
  const Context context(seccomp_init(SCMP_ACT_ERRNO(EPERM)));
  if (context == nullptr) return absl::InternalError("seccomp filter: no context");
  RETURN_IF_ERROR(AddRules(context));
  UniqueFd file(memfd_create("seccomp", MFD_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, "memfd_create");
  RETURN_IF_ERROR(Check(seccomp_export_bpf(context.get(), file.get()), "export"));
  if (lseek(file.get(), 0, SEEK_SET) != 0) return ErrnoStatus(errno, "seccomp filter");
  FdSource source(file.get());
  StringSink program;
  const std::vector<sock_filter> prefix = NewerSyscallsAreUnknown();
  RETURN_IF_ERROR(program.Write(
      {reinterpret_cast<const char*>(prefix.data()), prefix.size() * sizeof(sock_filter)}));
  RETURN_IF_ERROR(CopyBytes(source, program).status());
  return program.Take();
}

}  // namespace farm
