#ifndef FARM_CLI_REGISTRY_CREDENTIALS_H_
#define FARM_CLI_REGISTRY_CREDENTIALS_H_

#include <functional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "dockerfile/stage_graph.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// Hosts of the registries that a Dockerfile's FROM and --from name, as far as can be told without
// building it. A Dockerfile that can't be parsed names none: the farm will say why.
std::set<std::string> RegistryHostsOf(const std::string& dockerfile_name,
                                      const std::string& dockerfile,
                                      const StageGraphOptions& options);

// Hosts that docker's configuration has credentials of, for a Dockerfile that is not here. Empty if
// it can't be read.
std::set<std::string> HostsWithLogin();

// Adds what `docker login` knows of the hosts that will be pushed to. An error of docker's
// configuration or a credential helper names the host and what may mend it.
absl::Status AddRegistryCredentials(
    const std::set<std::string>& hosts,
    google::protobuf::RepeatedPtrField<v1::RegistryCredential>& credentials);

// The same for hosts that are only pulled from, of which most need no login: each whose credentials
// can't be had is left out, and `warn` gets a line about it.
void AddPullCredentials(const std::set<std::string>& hosts,
                        const std::function<void(absl::string_view line)>& warn,
                        google::protobuf::RepeatedPtrField<v1::RegistryCredential>& credentials);

}  // namespace farm

#endif  // FARM_CLI_REGISTRY_CREDENTIALS_H_
