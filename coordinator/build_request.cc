#include "coordinator/build_request.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/cgroup_path.h"
#include "base/digest_proto.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "layer/context_table.h"
#include "oci/reference.h"
#include "plan/remote_context.h"
#include "plan/run_settings.h"
#include "plan/source_url.h"

namespace farm {
namespace {

constexpr int kTagsMax = 256;
constexpr int kSshAgentsMax = 64;
constexpr int kNamedContextsMax = 1000;
constexpr int kLayoutImagesMax = 64;  // of one context

// Of StartBuildRequest.entitlements.
constexpr char kNetworkHost[] = "network.host";
constexpr char kSecurityInsecure[] = "security.insecure";

absl::StatusOr<std::map<std::string, NamedContext>> NamedContextsOf(
    const v1::StartBuildRequest& request) {
  if (request.named_contexts_size() > kNamedContextsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("more than ", kNamedContextsMax, " named contexts"));
  }
  std::map<std::string, NamedContext> contexts;
  for (int i = 0; i < request.named_contexts_size(); ++i) {
    const v1::NamedContext& given = request.named_contexts(i);
    ASSIGN_OR_RETURN(const std::string name, ContextName(given.name()));
    const auto [place, is_new] = contexts.try_emplace(name);
    if (!is_new)
      return absl::InvalidArgumentError(absl::StrCat("context ", name, " is given twice"));
    NamedContext& context = place->second;
    switch (given.source_case()) {
      case v1::NamedContext::kTable:
        context.index = i + 1;
        break;
      case v1::NamedContext::kImage:
        context.kind = NamedContext::Kind::kImage;
        context.image = given.image();
        break;
      case v1::NamedContext::kUrl: {
        context.kind = NamedContext::Kind::kRemote;
        ASSIGN_OR_RETURN(context.remote, RemoteContext(given.url()), _ << "context " << name);
        break;
      }
      case v1::NamedContext::kLayout:
        context.kind = NamedContext::Kind::kImage;
        context.image = given.layout().reference();
        break;
      case v1::NamedContext::SOURCE_NOT_SET:
        return absl::InvalidArgumentError(absl::StrCat("context ", name, " has no source"));
    }
  }
  return contexts;
}

absl::Status CheckRunSettings(const v1::StartBuildRequest& request) {
  if (request.extra_hosts_size() > kExtraHostsMax || request.ulimits_size() > kUlimitsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("more than ", kExtraHostsMax, " extra hosts, or ", kUlimitsMax, " ulimits"));
  }
  for (const v1::HostAlias& host : request.extra_hosts()) {
    RETURN_IF_ERROR(CheckExtraHost(host)) << "extra host";
  }
  std::set<std::string> limited;
  for (const v1::Ulimit& ulimit : request.ulimits()) {
    RETURN_IF_ERROR(CheckUlimit(ulimit));
    if (!limited.insert(ulimit.name()).second) {
      return absl::InvalidArgumentError(absl::StrCat("ulimit ", ulimit.name(), " is given twice"));
    }
  }
  if (!request.cgroup_parent().empty()) {
    RETURN_IF_ERROR(CheckCgroupPath(request.cgroup_parent()));
  }
  return CheckShmBytes(request.shm_bytes());
}

// That steps may copy from the context, before anything runs.
absl::Status CheckContext(FarmContext& farm, const Digest& digest, const std::string& name) {
  // The store first: a table that is in memory may be gone there, where workers read it.
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, farm.blobs.FindMissing({&digest, 1}));
  const absl::StatusOr<std::shared_ptr<const Table>> table =
      missing.empty() ? farm.tables.Get(digest) : absl::NotFoundError("");
  if (absl::IsNotFound(table.status()) || absl::IsDataLoss(table.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("the table of the ", name, " is not in the farm"));
  }
  RETURN_IF_ERROR(table.status()) << name;
  if (static_cast<int64_t>((*table)->size()) > farm.context_entries_max) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the ", name, " has more than context_entries_max = ", farm.context_entries_max,
        " entries"));
  }
  RETURN_IF_ERROR(CheckContextTable(**table)) << name;
  return absl::OkStatus();
}

// Where a repository is that no worker gets to.
absl::Status CheckTransport(const PlanStep& step, const RemoteSource& remote) {
  if (remote.kind != RemoteSource::Kind::kGit) return absl::OkStatus();
  const absl::string_view problem = TransportProblem(remote.git.transport);
  if (problem.empty()) return absl::OkStatus();
  return step.Error(absl::StrCat("ADD ", RedactUrls(remote.url), ": ", problem));
}

absl::Status CheckEntitlement(const PlanStep& step, absl::string_view flag,
                              const std::string& entitlement,
                              const v1::StartBuildRequest& request) {
  const auto& granted = request.entitlements();
  if (std::find(granted.begin(), granted.end(), entitlement) != granted.end()) {
    return absl::OkStatus();
  }
  return step.Error(absl::StrCat("RUN ", flag, ": ", entitlement,
                                 " is not allowed to this build (allow it with --allow ",
                                 entitlement, ")"));
}

// An ssh agent that a mount names, if the client has it.
absl::Status AddSshAgent(const PlanStep& step, const v1::RunMount& mount,
                         const v1::StartBuildRequest& request, v1::StepExecution& execution) {
  const auto& agents = request.ssh_agents();
  if (std::find(agents.begin(), agents.end(), mount.id()) != agents.end()) {
    const auto& added = execution.ssh_agents();
    const bool is_new = std::find(added.begin(), added.end(), mount.id()) == added.end();
    if (is_new) execution.add_ssh_agents(mount.id());
    return absl::OkStatus();
  }
  if (!mount.required()) return absl::OkStatus();
  return step.Error(
      absl::StrCat("ssh agent ", mount.id(), ": not found (give it with --ssh ", mount.id(), ")"));
}

}  // namespace

absl::Status CheckRequest(const v1::StartBuildRequest& request) {
  if (request.tags_size() > kTagsMax) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kTagsMax, " tags"));
  }
  if (request.ssh_agents_size() > kSshAgentsMax) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kSshAgentsMax, " ssh agents"));
  }
  for (const std::string& tag : request.tags()) {
    ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(tag),
                     _ << "invalid tag \"" << tag << "\"");
    if (!reference.digest().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid tag \"", tag, "\": a tag has no digest"));
    }
  }
  for (const v1::NamedContext& context : request.named_contexts()) {
    if (context.layout().images_size() > kLayoutImagesMax) {
      return absl::InvalidArgumentError(absl::StrCat("context ", context.name(),
                                                     ": an OCI layout of more than ",
                                                     kLayoutImagesMax, " platforms"));
    }
  }
  RETURN_IF_ERROR(CheckRunSettings(request));
  for (const std::string& entitlement : request.entitlements()) {
    if (entitlement != kNetworkHost && entitlement != kSecurityInsecure) {
      return absl::InvalidArgumentError(absl::StrCat("unknown entitlement \"", entitlement,
                                                     "\", expected ", kNetworkHost, " or ",
                                                     kSecurityInsecure));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Digest>> SentTable(const v1::Digest& table) {
  if (table.hash().empty()) return std::nullopt;
  return DigestFromProto(table);
}

absl::StatusOr<PlanOptions> PlanOptionsOf(const FarmContext& farm,
                                          const v1::StartBuildRequest& request) {
  PlanOptions options;
  options.target = request.target();
  for (const auto& [name, value] : request.build_args()) options.build_args[name] = value;
  for (const auto& [name, value] : request.labels()) options.labels[name] = value;
  options.platform = request.platform();
  options.build_platform = farm.platform;
  options.network = request.network();
  for (const v1::HostAlias& host : request.extra_hosts()) {
    options.extra_host_names.push_back(host.name());
  }
  options.shm_bytes = request.shm_bytes();
  options.ulimits.assign(request.ulimits().begin(), request.ulimits().end());
  ASSIGN_OR_RETURN(options.contexts, NamedContextsOf(request));
  return options;
}

absl::Status CheckContexts(FarmContext& farm, const v1::StartBuildRequest& request) {
  if (request.has_context_table()) {
    ASSIGN_OR_RETURN(const Digest table, DigestFromProto(request.context_table()));
    RETURN_IF_ERROR(CheckContext(farm, table, "build context"));
  }
  for (const v1::NamedContext& context : request.named_contexts()) {
    ASSIGN_OR_RETURN(const std::optional<Digest> table, SentTable(context.table()));
    if (!table.has_value()) continue;
    RETURN_IF_ERROR(CheckContext(farm, *table, absl::StrCat("context ", context.name())));
  }
  return absl::OkStatus();
}

absl::Status CheckSent(const Plan& plan, const v1::StartBuildRequest& request) {
  for (const PlanStep& step : plan.steps) {
    for (const SourceRequest& source : step.sources) {
      if (source.from.kind != FileSystemRef::Kind::kContext || source.from.index == 0) continue;
      const v1::NamedContext& context = request.named_contexts(source.from.index - 1);
      if (!context.table().hash().empty()) continue;
      return absl::FailedPreconditionError(
          absl::StrCat("the files of context ", context.name(), " are not in the farm"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRunnable(const Plan& plan, const v1::StartBuildRequest& request) {
  for (const PlanStep& step : plan.steps) {
    const v1::RunOperation& run = step.identity.run();
    if (run.insecure()) {
      RETURN_IF_ERROR(CheckEntitlement(step, "--security=insecure", kSecurityInsecure, request));
    }
    // If the whole build is to have it, the client has said so.
    if (run.network() == v1::NETWORK_MODE_HOST && request.network() != v1::NETWORK_MODE_HOST) {
      RETURN_IF_ERROR(CheckEntitlement(step, "--network=host", kNetworkHost, request));
    }
    for (const SourceRequest& request : step.sources) {
      if (request.from.kind != FileSystemRef::Kind::kRemote) continue;
      RETURN_IF_ERROR(CheckTransport(step, plan.remotes[static_cast<size_t>(request.from.index)]));
    }
  }
  return absl::OkStatus();
}

absl::Status AddSecrets(const PlanStep& step, const v1::RunOperation& run,
                        const v1::StartBuildRequest& request, v1::StepExecution& execution) {
  for (const v1::RunMount& mount : run.mounts()) {
    if (mount.kind() == v1::RunMount::KIND_SSH) {
      RETURN_IF_ERROR(AddSshAgent(step, mount, request, execution));
    }
    if (mount.kind() != v1::RunMount::KIND_SECRET) continue;
    const auto secret =
        std::find_if(request.secrets().begin(), request.secrets().end(),
                     [&mount](const v1::SecretValue& known) { return known.id() == mount.id(); });
    if (secret != request.secrets().end()) {
      *execution.add_secrets() = *secret;
    } else if (mount.required()) {
      return step.Error(absl::StrCat("secret ", mount.id(),
                                     ": not found (give it with --secret id=", mount.id(),
                                     ",src=FILE)"));
    }
  }
  return absl::OkStatus();
}

}  // namespace farm
