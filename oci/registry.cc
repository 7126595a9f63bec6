#include "oci/registry.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"

namespace farm {

std::string CanonicalRegistryHost(absl::string_view host) {
  if (!absl::ConsumePrefix(&host, "https://")) absl::ConsumePrefix(&host, "http://");
  host = host.substr(0, host.find('/'));
  std::string result = absl::AsciiStrToLower(host);
  const bool is_hub = result == "index.docker.io" || result == "registry-1.docker.io";
  return is_hub ? "docker.io" : result;
}

void RegistryAuth::Set(absl::string_view host, RegistryCredential credential) {
  by_host_[CanonicalRegistryHost(host)] = std::move(credential);
}

const RegistryCredential* RegistryAuth::Find(absl::string_view host) const {
  const auto found = by_host_.find(CanonicalRegistryHost(host));
  return found == by_host_.end() ? nullptr : &found->second;
}

}  // namespace farm
