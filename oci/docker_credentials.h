#ifndef FARM_OCI_DOCKER_CREDENTIALS_H_
#define FARM_OCI_DOCKER_CREDENTIALS_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "oci/registry.h"

namespace farm {

// The credentials that `docker login` left in config.json. Safe for concurrent reads.
//
//   ASSIGN_OR_RETURN(DockerCredentials docker, DockerCredentials::Load());
//   ASSIGN_OR_RETURN(std::optional<RegistryCredential> found, docker.Find("docker.io"));
class DockerCredentials {
 public:
  static constexpr int64_t kConfigBytesMax = 8 << 20;
  static constexpr int64_t kHelperOutputBytesMax = 1 << 20;
  static constexpr absl::Duration kHelperTimeout = absl::Seconds(30);

  DockerCredentials() = default;  // Knows none.

  // Reads $DOCKER_CONFIG/config.json or ~/.docker/config.json. A missing file knows none.
  // INVALID_ARGUMENT, naming the file, if it is no such document.
  static absl::StatusOr<DockerCredentials> Load();
  static absl::StatusOr<DockerCredentials> LoadFile(const std::string& path);
  static absl::StatusOr<DockerCredentials> Parse(absl::string_view json);

  // Credentials for a registry host as references name it; empty if there are none. An entry of
  // exactly that name ("https://index.docker.io/v1/" for the Hub) comes before those of other URLs
  // of the host. Asks, in
  // docker's order, the host's credential helper or the credentials store (the program
  // docker-credential-NAME in $PATH), else the file itself.
  //   UNAVAILABLE        the helper is not there, fails, or takes longer than kHelperTimeout
  //   INVALID_ARGUMENT   its answer or the file's entry makes no sense
  absl::StatusOr<std::optional<RegistryCredential>> Find(absl::string_view host) const;

  // The hosts that `docker login` has entered into the file, as references name them. Those that
  // only a helper knows are not among them.
  std::set<std::string> Hosts() const;

 private:
  struct Auth {
    int rank = 0;        // Of the key; the least one counts.
    std::string server;  // The key.
    std::optional<RegistryCredential> credential;
  };
  std::map<std::string, Auth> auths_;           // By canonical host.
  std::map<std::string, std::string> helpers_;  // Canonical host → helper's NAME.
  std::string store_;                           // NAME of the store of all others.
};

}  // namespace farm

#endif  // FARM_OCI_DOCKER_CREDENTIALS_H_
