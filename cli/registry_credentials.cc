#include "cli/registry_credentials.h"

#include <optional>
#include <utility>
#include <variant>

#include "base/status_macros.h"
#include "dockerfile/parser.h"
#include "dockerfile/stage_graph.h"
#include "oci/docker_credentials.h"
#include "oci/reference.h"

namespace farm {
namespace {

void AddHost(const std::string& image, std::set<std::string>& hosts) {
  if (const auto reference = Reference::Parse(image); reference.ok()) {
    hosts.insert(reference->host());
  }
}

}  // namespace

std::set<std::string> RegistryHostsOf(const std::string& dockerfile_name,
                                      const std::string& dockerfile,
                                      const std::map<std::string, std::string>& build_args) {
  std::set<std::string> hosts;
  auto source = DockerfileSource::Create(dockerfile_name, dockerfile);
  if (!source.ok()) return hosts;
  const auto file = ParseDockerfile(*std::move(source));
  if (!file.ok()) return hosts;
  StageGraphOptions options;
  options.build_args = build_args;
  const auto graph = StageGraph::Create(*file, options);
  if (!graph.ok()) return hosts;
  for (const Stage& stage : graph->stages()) {
    if (stage.base.kind == SourceRef::Kind::kImage) AddHost(stage.base.image, hosts);
    for (size_t i = stage.begin; i < stage.end; ++i) {
      const Instruction& instruction = file->instructions[i];
      const auto* copy = std::get_if<CopyInstruction>(&instruction.body);
      if (copy == nullptr || copy->from.empty()) continue;
      const auto from = graph->ResolveSource(copy->from, stage.index, StageGraph::SourceUse::kCopy,
                                             instruction.position);
      if (from.ok() && from->kind == SourceRef::Kind::kImage) AddHost(from->image, hosts);
    }
  }
  return hosts;
}

absl::Status AddRegistryCredentials(
    const std::set<std::string>& hosts,
    google::protobuf::RepeatedPtrField<v1::RegistryCredential>& credentials) {
  if (hosts.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const DockerCredentials docker, DockerCredentials::Load());
  for (const std::string& host : hosts) {
    ASSIGN_OR_RETURN(const std::optional<RegistryCredential> found, docker.Find(host));
    if (!found.has_value()) continue;
    v1::RegistryCredential& credential = *credentials.Add();
    credential.set_host(host);
    credential.set_username(found->username);
    credential.set_password(found->password);
    credential.set_identity_token(found->identity_token);
  }
  return absl::OkStatus();
}

}  // namespace farm
