#include "cli/build_request.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/cgroup_path.h"
#include "base/status_macros.h"
#include "cli/build_arguments.h"
#include "oci/platform.h"
#include "oci/reference.h"

namespace farm {
namespace {

// Those that Docker knows as predefined build arguments.
void AddProxies(v1::StartBuildRequest& request) {
  for (const absl::string_view name :
       {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}) {
    for (const std::string& spelled : {std::string(name), absl::AsciiStrToLower(name)}) {
      if (const char* value = EnvironmentVariable(spelled); value != nullptr && value[0] != 0) {
        (*request.mutable_proxy_args())[spelled] = value;
      }
    }
  }
}

// As docker's client does: the variable counts as if it were given by --build-arg.
void AddSourceDateEpoch(v1::StartBuildRequest& request) {
  constexpr char kName[] = "SOURCE_DATE_EPOCH";
  if (const char* value = EnvironmentVariable(kName); value != nullptr && value[0] != 0) {
    request.mutable_build_args()->insert({kName, value});  // Not in place of another one.
  }
}

// The names that type=image,name=... gives the image, besides -t.
absl::Status AddNamesOf(const BuildOutput& output, v1::StartBuildRequest& request) {
  if (output.type != BuildOutput::Type::kImage && !output.push) return absl::OkStatus();
  for (const std::string& name : output.names) {
    ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(name),
                     _ << "invalid name \"" << name << "\"");
    const std::string tag = reference.WithDefaultTag().canonical();
    const auto& tags = request.tags();
    if (std::find(tags.begin(), tags.end(), tag) == tags.end()) request.add_tags(tag);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<BuildOutput>> MakeOutputs(const BuildFlags& flags) {
  std::vector<BuildOutput> outputs;
  for (const std::string& text : flags.outputs) {
    ASSIGN_OR_RETURN(BuildOutput output, ParseBuildOutput(text));
    if (!outputs.empty() && outputs.front().rewrite_timestamp != output.rewrite_timestamp) {
      return absl::InvalidArgumentError(
          "--output: a build makes one image, so rewrite-timestamp must be said of all or of none");
    }
    outputs.push_back(std::move(output));
  }
  if (outputs.empty() || flags.push || flags.load) outputs.push_back({});
  if (flags.push)
    outputs.push_back(
        {.type = BuildOutput::Type::kRegistry, .dest = "", .names = {}, .compression = ""});
  if (flags.load)
    outputs.push_back(
        {.type = BuildOutput::Type::kDocker, .dest = "", .names = {}, .compression = ""});
  for (const BuildOutput& output : outputs) {
    if (output.type == BuildOutput::Type::kRegistry && output.names.empty() && flags.tags.empty()) {
      return absl::InvalidArgumentError("a push needs a name: give the image one with -t");
    }
    RETURN_IF_ERROR(CheckBuildOutput(output));
  }
  return outputs;
}

absl::StatusOr<v1::StartBuildRequest> MakeRequest(const BuildFlags& flags,
                                                  const std::vector<BuildOutput>& outputs) {
  v1::StartBuildRequest request;
  request.set_target(flags.target);
  RETURN_IF_ERROR(AddPairs("--build-arg", flags.build_args, true, *request.mutable_build_args()));
  RETURN_IF_ERROR(AddPairs("--label", flags.labels, false, *request.mutable_labels()));
  for (const std::string& text : flags.add_hosts) {
    ASSIGN_OR_RETURN(*request.add_extra_hosts(), ParseAddHost(text));
  }
  for (const std::string& text : flags.ulimits) {
    ASSIGN_OR_RETURN(v1::Ulimit ulimit, ParseUlimit(text));
    // As docker has it, the last of a name counts.
    auto& ulimits = *request.mutable_ulimits();
    const auto same = std::find_if(ulimits.begin(), ulimits.end(), [&](const v1::Ulimit& other) {
      return other.name() == ulimit.name();
    });
    (same == ulimits.end() ? *request.add_ulimits() : *same) = std::move(ulimit);
  }
  if (!flags.shm_size.empty()) {
    ASSIGN_OR_RETURN(const int64_t shm_bytes, ParseShmSize(flags.shm_size));
    request.set_shm_bytes(shm_bytes);
  }
  if (!flags.cgroup_parent.empty()) {
    // As docker has it, a slash before it can be left out.
    const std::string parent =
        absl::StrCat(absl::StartsWith(flags.cgroup_parent, "/") ? "" : "/", flags.cgroup_parent);
    RETURN_IF_ERROR(CheckCgroupPath(parent)) << "--cgroup-parent";
    request.set_cgroup_parent(parent);
  }
  for (const std::string& text : flags.secrets) {
    ASSIGN_OR_RETURN(*request.add_secrets(), ReadSecret(text));
  }
  for (const std::string& text : flags.allow) {
    RETURN_IF_ERROR(CheckEntitlement(text));
    request.add_entitlements(text);
  }
  for (const std::string& tag : flags.tags) {
    ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(tag),
                     _ << "invalid tag \"" << tag << "\"");
    if (!reference.digest().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid tag \"", tag, "\": a digest can't be given to an image"));
    }
    request.add_tags(reference.WithDefaultTag().canonical());
  }
  for (const BuildOutput& output : outputs) {
    RETURN_IF_ERROR(AddNamesOf(output, request));
  }
  request.set_no_cache(flags.no_cache);
  request.set_pull(flags.pull);
  request.set_explain(flags.explain);
  if (!flags.platform.empty()) {
    if (absl::StrContains(flags.platform, ',')) {
      return absl::InvalidArgumentError("--platform: farm builds for one platform at a time");
    }
    ASSIGN_OR_RETURN(const Platform platform, Platform::Parse(flags.platform), _ << "--platform");
    request.mutable_platform()->set_os(platform.os);
    request.mutable_platform()->set_architecture(platform.architecture);
    request.mutable_platform()->set_variant(platform.variant);
  }
  if (flags.network == "none") {
    request.set_network(v1::NETWORK_MODE_NONE);
  } else if (flags.network == "host") {
    request.set_network(v1::NETWORK_MODE_HOST);
  } else if (!flags.network.empty() && flags.network != "default") {
    return absl::InvalidArgumentError(
        absl::StrCat("--network: '", flags.network, "' is not one of default, host, none"));
  }
  AddProxies(request);
  AddSourceDateEpoch(request);
  for (const BuildOutput& output : outputs) {
    *request.add_exports() = ExportOf(output);
    if (output.rewrite_timestamp) request.set_rewrite_timestamps(true);
  }
  return request;
}

std::set<std::string> PushHosts(const std::vector<BuildOutput>& outputs,
                                const v1::StartBuildRequest& request) {
  std::set<std::string> hosts;
  for (const BuildOutput& output : outputs) {
    if (output.type != BuildOutput::Type::kRegistry) continue;
    std::vector<std::string> names = output.names;
    if (names.empty()) names.assign(request.tags().begin(), request.tags().end());
    for (const std::string& name : names) {
      if (const auto reference = Reference::Parse(name); reference.ok()) {
        hosts.insert(reference->host());
      }
    }
  }
  return hosts;
}

void AddNamedContexts(const std::vector<ContextFlag>& contexts, v1::StartBuildRequest& request) {
  for (const ContextFlag& flag : contexts) {
    v1::NamedContext& context = *request.add_named_contexts();
    context.set_name(flag.name);
    switch (flag.context.kind) {
      case NamedContext::Kind::kFiles:
        context.mutable_table();
        break;
      case NamedContext::Kind::kImage:
        if (flag.layout.empty()) {
          context.set_image(flag.context.image);
        } else {
          context.mutable_layout()->set_reference(flag.context.image);
        }
        break;
      case NamedContext::Kind::kRemote:
        context.set_url(flag.context.remote.url);
        break;
    }
  }
}

}  // namespace farm
