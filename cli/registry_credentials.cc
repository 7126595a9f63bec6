#include "cli/registry_credentials.h"

#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cli/exit_code.h"
#include "dockerfile/mount.h"
#include "dockerfile/parser.h"
#include "oci/docker_credentials.h"
#include "oci/reference.h"

namespace farm {
namespace {

void AddHost(const std::string& image, std::set<std::string>& hosts) {
  if (const auto reference = Reference::Parse(image); reference.ok()) {
    hosts.insert(reference->host());
  }
}

absl::Status AddCredential(
    const std::string& host,
    google::protobuf::RepeatedPtrField<v1::RegistryCredential>& credentials) {
  const auto find = [&]() -> absl::StatusOr<std::optional<RegistryCredential>> {
    ASSIGN_OR_RETURN(const DockerCredentials docker, DockerCredentials::Load());
    return docker.Find(host);
  };
  const absl::StatusOr<std::optional<RegistryCredential>> found = find();
  if (!found.ok()) {
    const absl::Status status = Annotate(found.status(), absl::StrCat("credentials for ", host));
    return AsLocalError(absl::Status(
        status.code(), absl::StrCat(status.message(), "; run `docker login ", host,
                                    "`, or mend credsStore and credHelpers in docker's "
                                    "config.json")));
  }
  if (!found->has_value()) return absl::OkStatus();
  v1::RegistryCredential& credential = *credentials.Add();
  credential.set_host(host);
  credential.set_username((*found)->username);
  credential.set_password((*found)->password);
  credential.set_identity_token((*found)->identity_token);
  return absl::OkStatus();
}

}  // namespace

std::set<std::string> RegistryHostsOf(const std::string& dockerfile_name,
                                      const std::string& dockerfile,
                                      const StageGraphOptions& options) {
  std::set<std::string> hosts;
  auto source = DockerfileSource::Create(dockerfile_name, dockerfile);
  if (!source.ok()) return hosts;
  const auto file = ParseDockerfile(*std::move(source));
  if (!file.ok()) return hosts;
  const auto graph = StageGraph::Create(*file, options);
  if (!graph.ok()) return hosts;
  for (const Stage& stage : graph->stages()) {
    if (stage.base.kind == SourceRef::Kind::kImage) AddHost(stage.base.image, hosts);
    for (size_t i = stage.begin; i < stage.end; ++i) {
      const Instruction& instruction = file->instructions[i];
      const auto add = [&](const std::string& name, StageGraph::SourceUse use) {
        if (name.empty()) return;
        const auto from = graph->ResolveSource(name, stage.index, use, instruction.position);
        if (from.ok() && from->kind == SourceRef::Kind::kImage) AddHost(from->image, hosts);
      };
      if (const auto* copy = std::get_if<CopyInstruction>(&instruction.body); copy != nullptr) {
        add(copy->from, StageGraph::SourceUse::kCopy);
      }
      if (const auto* run = std::get_if<RunInstruction>(&instruction.body); run != nullptr) {
        for (const std::string& mount : run->mounts) {
          add(MountSource(mount, instruction.position).value_or(""), StageGraph::SourceUse::kMount);
        }
      }
    }
  }
  return hosts;
}

std::set<std::string> HostsWithLogin() {
  const absl::StatusOr<DockerCredentials> docker = DockerCredentials::Load();
  return docker.ok() ? docker->Hosts() : std::set<std::string>();
}

absl::Status AddRegistryCredentials(
    const std::set<std::string>& hosts,
    google::protobuf::RepeatedPtrField<v1::RegistryCredential>& credentials) {
  for (const std::string& host : hosts) RETURN_IF_ERROR(AddCredential(host, credentials));
  return absl::OkStatus();
}

void AddPullCredentials(const std::set<std::string>& hosts,
                        const std::function<void(absl::string_view line)>& warn,
                        google::protobuf::RepeatedPtrField<v1::RegistryCredential>& credentials) {
  for (const std::string& host : hosts) {
    const absl::Status status = AddCredential(host, credentials);
    if (!status.ok()) warn(absl::StrCat("warning: ", status.message(), "; going on without"));
  }
}

}  // namespace farm
