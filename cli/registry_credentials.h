#ifndef FARM_CLI_REGISTRY_CREDENTIALS_H_
#define FARM_CLI_REGISTRY_CREDENTIALS_H_

#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// Hosts of the registries that a Dockerfile's FROM and --from name, as far as can be told without
// building it. A Dockerfile that can't be parsed names none: the farm will say why.
std::set<std::string> RegistryHostsOf(const std::string& dockerfile_name,
                                      const std::string& dockerfile,
                                      const std::map<std::string, std::string>& build_args);

// Adds what `docker login` knows of the hosts. Errors are those of docker's configuration and
// credential helpers.
absl::Status AddRegistryCredentials(
    const std::set<std::string>& hosts,
    google::protobuf::RepeatedPtrField<v1::RegistryCredential>& credentials);

}  // namespace farm

#endif  // FARM_CLI_REGISTRY_CREDENTIALS_H_
