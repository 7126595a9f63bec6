#include "worker/worker_config.h"

#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/cgroup_path.h"
#include "base/config_file.h"
#include "base/status_macros.h"
#include "base/time_proto.h"
#include "rpc/address.h"

namespace farm {
namespace {

constexpr int kSlotsMax = 1024;
constexpr size_t kNameBytesMax = 128;
// Of each: in use, ready, being taken down, and one to spare.
constexpr int kIsolatedNetworksPerSlot = 4;
constexpr int kCgroupParentsMax = 64;
constexpr int kResolversMax = 3;  // That a C library asks.

std::string HostName() {
  char name[256] = "";
  if (gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') return "worker";
  return name;
}

absl::Status SetDefaults(v1::WorkerConfig& config) {
  if (config.name().empty()) config.set_name(HostName());
  if (config.state_dir().empty()) config.set_state_dir("/var/lib/farm/worker");
  if (config.slots() == 0) {
    config.set_slots(std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  }
  if (config.runtime().empty()) config.set_runtime("namespaces");
  if (config.networks().empty()) {
    config.add_networks(v1::NETWORK_MODE_ISOLATED);
    config.add_networks(v1::NETWORK_MODE_NONE);
  }
  if (config.layers_bytes_max() == 0) config.set_layers_bytes_max(int64_t{50} << 30);
  if (config.caches_bytes_max() == 0) config.set_caches_bytes_max(int64_t{20} << 30);
  v1::SourceLimits& sources = *config.mutable_sources();
  if (sources.bytes_max() == 0) sources.set_bytes_max(int64_t{16} << 30);
  if (!sources.has_timeout()) *sources.mutable_timeout() = DurationToProto(absl::Hours(1));
  v1::StepLimits& limits = *config.mutable_limits();
  if (limits.processes_max() == 0) limits.set_processes_max(32768);
  if (!limits.has_timeout()) *limits.mutable_timeout() = DurationToProto(absl::Hours(6));
  if (limits.shm_bytes() == 0) limits.set_shm_bytes(int64_t{64} << 20);
  return absl::OkStatus();
}

absl::Status CheckCgroupParents(const v1::WorkerConfig& config) {
  if (config.cgroup_parents_size() > kCgroupParentsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("cgroup_parents: more than ", kCgroupParentsMax, " groups"));
  }
  std::set<std::string> seen;
  for (const std::string& parent : config.cgroup_parents()) {
    RETURN_IF_ERROR(CheckCgroupPath(parent)) << "cgroup_parents";
    if (!seen.insert(parent).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("cgroup_parents: ", parent, " is given twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status Check(const v1::WorkerConfig& config) {
  RETURN_IF_ERROR(ParseAddress(config.coordinator()).status()) << "coordinator";
  if (config.slots() < 1 || config.slots() > kSlotsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("slots: ", config.slots(), " is not between 1 and ", kSlotsMax));
  }
  if (config.name().size() > kNameBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("name: longer than ", kNameBytesMax, " bytes"));
  }
  for (const auto& [field, path] : {std::pair("state_dir", config.state_dir()),
                                    std::pair("shared_blob_dir", config.shared_blob_dir())}) {
    if (!path.empty() && !absl::StartsWith(path, "/")) {
      return absl::InvalidArgumentError(absl::StrCat(field, ": ", path, " is not absolute"));
    }
  }
  const v1::StepLimits& limits = config.limits();
  for (const auto& [field, value] : {std::pair("layers_bytes_max", config.layers_bytes_max()),
                                     std::pair("caches_bytes_max", config.caches_bytes_max()),
                                     std::pair("sources.bytes_max", config.sources().bytes_max()),
                                     std::pair("limits.memory_bytes", limits.memory_bytes()),
                                     std::pair("limits.processes_max", limits.processes_max()),
                                     std::pair("limits.disk_bytes", limits.disk_bytes()),
                                     std::pair("limits.shm_bytes", limits.shm_bytes())}) {
    if (value < 0)
      return absl::InvalidArgumentError(absl::StrCat(field, ": ", value, " is negative"));
  }
  if (!(limits.cpus() >= 0)) {  // NaN is neither.
    return absl::InvalidArgumentError(absl::StrCat("limits.cpus: ", limits.cpus(), " is negative"));
  }
  if (DurationFromProto(config.leave_after()) < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("leave_after: is negative");
  }
  if (limits.disk_bytes() > 0) {
    return absl::InvalidArgumentError(
        "limits.disk_bytes: not supported on this worker; leave it out");
  }
  RETURN_IF_ERROR(CheckCgroupParents(config));
  return IsolatedNetworkOptions(config).status();
}

}  // namespace

absl::StatusOr<IsolatedNetwork::Options> IsolatedNetworkOptions(const v1::WorkerConfig& config) {
  const v1::IsolatedNetworkConfig& from = config.isolated_network();
  IsolatedNetwork::Options options;
  options.networks_max = kIsolatedNetworksPerSlot * config.slots();
  if (!from.subnet().empty()) {
    ASSIGN_OR_RETURN(options.subnet, ParseIpv4Network(from.subnet()),
                     _ << "isolated_network.subnet");
    if (options.subnet.prefix_bits == 0) {
      return absl::InvalidArgumentError("isolated_network.subnet: 0.0.0.0/0 is every address");
    }
  }
  if (from.dns_size() > kResolversMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("isolated_network.dns: more than ", kResolversMax, " resolvers"));
  }
  for (const std::string& resolver : from.dns()) {
    ASSIGN_OR_RETURN(const uint32_t address, ParseIpv4Address(resolver),
                     _ << "isolated_network.dns");
    options.resolvers.push_back(address);
  }
  options.deny_private_networks = from.deny_private_networks();
  if (from.allowed_networks_size() > 0 && !from.deny_private_networks()) {
    return absl::InvalidArgumentError(
        "isolated_network.allowed_networks: only with deny_private_networks is anything denied");
  }
  for (const std::string& text : from.allowed_networks()) {
    ASSIGN_OR_RETURN(const Ipv4Network network, ParseIpv4Network(text),
                     _ << "isolated_network.allowed_networks");
    options.allowed_networks.push_back(network);
  }
  ASSIGN_OR_RETURN(const Address address, ParseAddress(config.coordinator()), _ << "coordinator");
  if (address.reach != Address::Reach::kUnixSocket) options.coordinator = address.target;
  return options;
}

absl::StatusOr<v1::WorkerConfig> EffectiveWorkerConfig(const WorkerFlags& flags) {
  v1::WorkerConfig config;
  if (!flags.file.empty()) {
    RETURN_IF_ERROR(LoadConfigFile(flags.file, config));
  }
  if (!flags.coordinator.empty()) config.set_coordinator(flags.coordinator);
  if (!flags.name.empty()) config.set_name(flags.name);
  if (!flags.state_dir.empty()) config.set_state_dir(flags.state_dir);
  if (flags.slots != 0) config.set_slots(flags.slots);
  if (!flags.runtime.empty()) config.set_runtime(flags.runtime);
  if (!flags.token_file.empty()) config.set_token_file(flags.token_file);
  if (!flags.shared_blob_dir.empty()) config.set_shared_blob_dir(flags.shared_blob_dir);
  if (config.coordinator().empty()) {
    return absl::InvalidArgumentError(
        "no coordinator: give its address by --coordinator or \"coordinator\" in the file");
  }
  RETURN_IF_ERROR(SetDefaults(config));
  const absl::Status checked = Check(config);
  if (checked.ok()) return config;
  // What a flag says does not stand in the file.
  const absl::string_view field = checked.message().substr(0, checked.message().find(':'));
  const bool is_of_flag = (field == "coordinator" && !flags.coordinator.empty()) ||
                          (field == "name" && !flags.name.empty()) ||
                          (field == "state_dir" && !flags.state_dir.empty()) ||
                          (field == "slots" && flags.slots != 0) ||
                          (field == "shared_blob_dir" && !flags.shared_blob_dir.empty());
  return is_of_flag ? checked : AtItsField(checked, flags.file);
}

}  // namespace farm
