#include "worker/oci_bundle.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "worker/step_restrictions.h"

namespace farm {
namespace {

using Json = nlohmann::json;

template <typename T, size_t n>
Json ListOf(const T (&items)[n]) {
  Json list = Json::array();
  for (const T& item : items) list.push_back(item);
  return list;
}

Json Mount(const std::string& target, const std::string& type, const std::string& source,
           std::vector<std::string> options) {
  return {{"destination", target}, {"type", type}, {"source", source}, {"options", options}};
}

Json KernelMounts(const SandboxSpec& spec) {
  return {
      Mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
      Mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
      Mount("/dev/pts", "devpts", "devpts",
            {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
      Mount("/dev/shm", "tmpfs", "shm",
            {"nosuid", "noexec", "nodev", "mode=1777", absl::StrCat("size=", spec.shm_bytes)}),
      Mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
      Mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", spec.insecure ? "rw" : "ro"}),
  };
}

Json SpecMount(const SandboxMount& mount, const std::string& source) {
  std::vector<std::string> options = {mount.read_only ? "ro" : "rw", "nodev"};
  if (mount.kind != SandboxMount::Kind::kTmpfs) {
    options.push_back("bind");
    return Mount(mount.target, "bind", source, options);
  }
  options.push_back("nosuid");
  options.push_back(absl::StrFormat("mode=%o", mount.mode));
  options.push_back(absl::StrCat("uid=", mount.uid));
  options.push_back(absl::StrCat("gid=", mount.gid));
  if (mount.size_bytes > 0) options.push_back(absl::StrCat("size=", mount.size_bytes));
  return Mount(mount.target, "tmpfs", "tmpfs", options);
}

const char* RlimitName(int resource) {
  static const std::map<int, const char*> names = {
      {RLIMIT_AS, "RLIMIT_AS"},           {RLIMIT_CORE, "RLIMIT_CORE"},
      {RLIMIT_CPU, "RLIMIT_CPU"},         {RLIMIT_DATA, "RLIMIT_DATA"},
      {RLIMIT_FSIZE, "RLIMIT_FSIZE"},     {RLIMIT_LOCKS, "RLIMIT_LOCKS"},
      {RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"}, {RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"},
      {RLIMIT_NICE, "RLIMIT_NICE"},       {RLIMIT_NOFILE, "RLIMIT_NOFILE"},
      {RLIMIT_NPROC, "RLIMIT_NPROC"},     {RLIMIT_RSS, "RLIMIT_RSS"},
      {RLIMIT_RTPRIO, "RLIMIT_RTPRIO"},   {RLIMIT_RTTIME, "RLIMIT_RTTIME"},
      {RLIMIT_STACK, "RLIMIT_STACK"},     {RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"},
  };
  const auto found = names.find(resource);
  return found == names.end() ? nullptr : found->second;
}

// By number. Those that the worker lacks itself no runtime could give.
// clang-format off
constexpr const char* kCapabilityNames[] = {
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
    "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
};
// clang-format on

Json Capabilities(const SandboxSpec& spec) {
  Json names = Json::array();
  if (!spec.insecure) {
    for (const StepCapability& capability : kStepCapabilities) names.push_back(capability.name);
    return {{"bounding", names}, {"effective", names}, {"permitted", names}};
  }
  int number = 0;
  for (const char* name : kCapabilityNames) {
    if (prctl(PR_CAPBSET_READ, number++, 0, 0, 0) == 1) names.push_back(name);
  }
  return {{"bounding", names},
          {"effective", names},
          {"permitted", names},
          {"inheritable", names},
          {"ambient", names}};
}

Json Process(const SandboxSpec& spec, const ResolvedUser& user, const std::vector<std::string>& env,
             const std::vector<SandboxRlimit>& rlimits) {
  Json limits = Json::array();
  for (const SandboxRlimit& limit : rlimits) {
    if (const char* name = RlimitName(limit.resource)) {
      limits.push_back({{"type", name}, {"soft", limit.soft}, {"hard", limit.hard}});
    }
  }
  return {
      {"terminal", false},
      {"user",
       {{"uid", user.uid}, {"gid", user.gid}, {"umask", 022}, {"additionalGids", user.groups}}},
      {"args", spec.args},
      {"env", env},
      {"cwd", spec.cwd},
      {"capabilities", Capabilities(spec)},
      {"rlimits", limits},
      {"noNewPrivileges", false},
  };
}

Json Rule(const Json& names, const std::string& action, int errno_value, const Json& args) {
  Json rule = {{"names", names}, {"action", action}};
  if (errno_value != 0) rule["errnoRet"] = errno_value;
  if (!args.empty()) rule["args"] = args;
  return rule;
}

Json Argument(int index, uint64_t value, uint64_t value_two, const std::string& op) {
  return {{"index", index}, {"value", value}, {"valueTwo", value_two}, {"op", op}};
}

Json Seccomp() {
  const std::string allow = "SCMP_ACT_ALLOW";
  Json rules = Json::array();
  rules.push_back(Rule(ListOf(kAllowedSyscalls), allow, 0, Json::array()));
  for (uint64_t personality : kAllowedPersonalities) {
    rules.push_back(
        Rule({"personality"}, allow, 0, Json::array({Argument(0, personality, 0, "SCMP_CMP_EQ")})));
  }
  constexpr uint64_t kVsock = 40;  // AF_VSOCK
  rules.push_back(Rule({"socket"}, allow, 0, Json::array({Argument(0, kVsock, 0, "SCMP_CMP_NE")})));
  rules.push_back(Rule({"clone"}, allow, 0,
                       Json::array({Argument(0, kNamespaceFlags, 0, "SCMP_CMP_MASKED_EQ")})));
  rules.push_back(Rule({"clone3"}, "SCMP_ACT_ERRNO", ENOSYS, Json::array()));
  return {{"defaultAction", "SCMP_ACT_ERRNO"},
          {"defaultErrnoRet", EPERM},
#ifdef __x86_64__
          {"architectures", {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86"}},
#endif
          {"syscalls", rules}};
}

// Nodes may be made, but of those in /dev only can be opened: a runtime's /dev opens devices, and
// some lose the root mount's "nodev".
Json DeviceRules() {
  Json rules = Json::array({{{"allow", false}, {"access", "rwm"}}});
  for (const char* type : {"c", "b"}) {
    rules.push_back({{"allow", true}, {"type", type}, {"access", "m"}});
  }
  constexpr int kNodes[][2] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}};
  for (const auto& [major, minor] : kNodes) {
    rules.push_back(
        {{"allow", true}, {"type", "c"}, {"major", major}, {"minor", minor}, {"access", "rwm"}});
  }
  constexpr int kPtsMajor = 136;
  rules.push_back({{"allow", true}, {"type", "c"}, {"major", kPtsMajor}, {"access", "rwm"}});
  return rules;
}

Json AllDeviceRules() {
  Json rules = Json::array();
  for (const char* type : {"c", "b"}) {
    rules.push_back({{"allow", true}, {"type", type}, {"access", "rwm"}});
  }
  return rules;
}

Json InsecureDevice(const std::string& name, const char* type, unsigned major, unsigned minor) {
  return {{"path", absl::StrCat("/dev/", name)},
          {"type", type},
          {"major", major},
          {"minor", minor},
          {"fileMode", 0660},
          {"uid", 0},
          {"gid", 0}};
}

Json InsecureDevices() {
  Json devices = Json::array();
  for (const CharacterDevice& device : kInsecureDevices) {
    devices.push_back(InsecureDevice(device.name, "c", device.major, device.minor));
  }
  const int loops = CountLoopDevices("/dev/loop-control");
  for (int i = 0; i < loops; ++i) {
    devices.push_back(
        InsecureDevice(absl::StrCat("loop", i), "b", kLoopMajor, static_cast<unsigned>(i)));
  }
  return devices;
}

Json MaskedPaths() {
  Json masked = ListOf(kMaskedPaths);
  for (int cpu = 0; access(absl::StrFormat(kCpuPath, cpu).c_str(), F_OK) == 0; ++cpu) {
    // Only where it is: a runtime may refuse to mask what is not.
    std::string path = absl::StrFormat(kMaskedCpuPath, cpu);
    if (access(path.c_str(), F_OK) == 0) masked.push_back(std::move(path));
  }
  return masked;
}

Json Linux(const SandboxSpec& spec, const std::string& cgroup) {
  Json namespaces = Json::array();
  for (const char* type : {"pid", "ipc", "uts", "mount", "cgroup"}) {
    namespaces.push_back({{"type", type}});
  }
  // Of host none is named: the runtime's own. The isolated one is that which the runtime is started
  // in; not all stay there unless told to.
  if (spec.network == NetworkMode::kNone) namespaces.push_back({{"type", "network"}});
  if (spec.network == NetworkMode::kIsolated) {
    namespaces.push_back({{"type", "network"}, {"path", "/proc/self/ns/net"}});
  }
  Json linux_part;
  linux_part["namespaces"] = namespaces;
  if (spec.insecure) {
    linux_part["devices"] = InsecureDevices();
  } else {
    linux_part["maskedPaths"] = MaskedPaths();
    linux_part["readonlyPaths"] = ListOf(kReadOnlyPaths);
    linux_part["seccomp"] = Seccomp();
  }
  if (!cgroup.empty()) {
    linux_part["cgroupsPath"] = cgroup;
    linux_part["resources"] = {{"devices", spec.insecure ? AllDeviceRules() : DeviceRules()}};
  }
  return linux_part;
}

}  // namespace

std::string OciConfigJson(const SandboxSpec& spec, const ResolvedUser& user,
                          const std::vector<std::string>& env,
                          const std::vector<SandboxRlimit>& rlimits, const OciPaths& paths) {
  Json mounts = KernelMounts(spec);
  for (size_t i = 0; i < spec.mounts.size(); ++i) {
    mounts.push_back(SpecMount(spec.mounts[i], paths.mount_sources[i]));
  }
  const Json config = {{"ociVersion", "1.0.2"},
                       {"process", Process(spec, user, env, rlimits)},
                       {"root", {{"path", paths.root}, {"readonly", spec.read_only_root}}},
                       {"hostname", spec.hostname},
                       {"mounts", mounts},
                       {"linux", Linux(spec, paths.cgroup)}};
  // Arguments may be any bytes; JSON may not.
  return config.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace farm
