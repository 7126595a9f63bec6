#include "coordinator/coordinator_config.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/config_file.h"
#include "base/status_macros.h"
#include "base/time_proto.h"
#include "cas/garbage_collector.h"
#include "rpc/address.h"

namespace farm {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr absl::Duration kLeaseTtlMin = absl::Seconds(3);

void SetDefaults(v1::CoordinatorConfig& config) {
  if (config.state_dir().empty()) config.set_state_dir("/var/lib/farm/coordinator");
  if (config.listen().empty()) config.add_listen("unix:/run/farm/farm.sock");
  v1::StorageLimits& storage = *config.mutable_storage();
  if (storage.high_mark_bytes() == 0) storage.set_high_mark_bytes(100 * kGiB);
  if (storage.low_mark_bytes() == 0) storage.set_low_mark_bytes(storage.high_mark_bytes() / 5 * 4);
  if (storage.blob_bytes_max() == 0) storage.set_blob_bytes_max(64 * kGiB);
  if (!storage.has_grace()) *storage.mutable_grace() = DurationToProto(absl::Hours(6));
  if (!config.has_lease_ttl()) *config.mutable_lease_ttl() = DurationToProto(absl::Seconds(30));
  if (config.builds_max() == 0) config.set_builds_max(256);
  if (config.step_log_bytes_max() == 0) config.set_step_log_bytes_max(2 << 20);
  if (config.step_attempts_max() == 0) config.set_step_attempts_max(3);
  if (config.context_entries_max() == 0) config.set_context_entries_max(1'000'000);
}

absl::Status Check(const v1::CoordinatorConfig& config) {
  if (config.storage().low_mark_bytes() > config.storage().high_mark_bytes()) {
    return absl::InvalidArgumentError("storage.low_mark_bytes: it is over storage.high_mark_bytes");
  }
  for (const auto& [field, value] :
       {std::pair("storage.low_mark_bytes", config.storage().low_mark_bytes()),
        std::pair("storage.blob_bytes_max", config.storage().blob_bytes_max()),
        std::pair("step_log_bytes_max", config.step_log_bytes_max()),
        std::pair("builds_max", int64_t{config.builds_max()}),
        std::pair("step_attempts_max", int64_t{config.step_attempts_max()})}) {
    if (value < 0) {
      return absl::InvalidArgumentError(absl::StrCat(field, ": ", value, " is negative"));
    }
  }
  if (DurationFromProto(config.storage().grace()) < kGraceMin) {
    return absl::InvalidArgumentError(
        absl::StrCat("storage.grace: it is under ", absl::FormatDuration(kGraceMin)));
  }
  if (DurationFromProto(config.lease_ttl()) < kLeaseTtlMin) {
    return absl::InvalidArgumentError(
        absl::StrCat("lease_ttl: it is under ", absl::FormatDuration(kLeaseTtlMin)));
  }
  return absl::OkStatus();
}

}  // namespace

bool IsLocal(const v1::CoordinatorConfig& config) {
  return std::all_of(config.listen().begin(), config.listen().end(),
                     [](const std::string& address) {
                       const absl::StatusOr<Address> parsed = ParseAddress(address);
                       return parsed.ok() && parsed->reach == Address::Reach::kUnixSocket;
                     });
}

absl::StatusOr<v1::CoordinatorConfig> EffectiveConfig(const CoordinatorFlags& flags) {
  v1::CoordinatorConfig config;
  if (!flags.file.empty()) {
    RETURN_IF_ERROR(LoadConfigFile(flags.file, config));
  }
  if (!flags.state_dir.empty()) config.set_state_dir(flags.state_dir);
  if (!flags.listen.empty()) {
    config.clear_listen();
    for (const std::string& address : flags.listen) config.add_listen(address);
  }
  if (!flags.idle_shutdown.empty()) {
    absl::Duration idle;
    if (!absl::ParseDuration(flags.idle_shutdown, &idle) || idle < absl::ZeroDuration()) {
      return absl::InvalidArgumentError(absl::StrCat("--idle-shutdown: \"", flags.idle_shutdown,
                                                     "\" is no duration, expected e.g. 15m"));
    }
    *config.mutable_idle_shutdown() = DurationToProto(idle);
  }
  SetDefaults(config);
  for (const std::string& address : config.listen()) {
    const absl::Status parsed = ParseAddress(address).status();
    if (parsed.ok()) continue;
    if (!flags.listen.empty()) return Annotate(parsed, "--listen");
    return AtItsField(Annotate(parsed, "listen"), flags.file);
  }
  // The worker of a local farm knows what its host can do, and who can open the socket's file is
  // trusted with it.
  if (!IsLocal(config) && config.run_network_default() == v1::NETWORK_MODE_UNSPECIFIED) {
    config.set_run_network_default(v1::NETWORK_MODE_ISOLATED);
  }
  RETURN_IF_ERROR(AtItsField(Check(config), flags.file));
  return config;
}

}  // namespace farm
