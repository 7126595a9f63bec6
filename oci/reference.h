#ifndef FARM_OCI_REFERENCE_H_
#define FARM_OCI_REFERENCE_H_

#include <compare>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// The name of an image or of a repository, read as docker reads it. Always normalised: the registry
// host is filled in, and "library/" on Docker Hub.
//
//   typed                         canonical()                            familiar()
//   alpine                        docker.io/library/alpine               alpine
//   docker.io/library/alpine:3    docker.io/library/alpine:3             alpine:3
//   team/app@sha256:9f…           docker.io/team/app@sha256:9f…          team/app@sha256:9f…
//   localhost/app, host:5000/app  (as typed: the first part is a host if it contains '.', ':' or an
//                                 upper-case letter, or is "localhost")
//
// A value: cheap to copy, safe to read from several threads.
class Reference {
 public:
  static constexpr int kPathLengthMax = 255;  // Bytes of path(), docker's limit.
  static constexpr int kTagLengthMax = 128;
  static constexpr int kTextLengthMax = 4096;  // Of the text that Parse() looks at.

  Reference() = default;  // Names nothing: empty() is true.

  // Tag and digest are what was typed: see WithDefaultTag(). Errors are INVALID_ARGUMENT with
  // docker's sentences, so that people find them on the web:
  //   invalid reference format
  //   invalid reference format: repository name (library/Alpine) must be lowercase
  //   invalid repository name (HEX), cannot specify 64-byte hexadecimal strings
  //   repository name must not be more than 255 characters
  // A digest of another algorithm than sha256 is refused as unsupported.
  static absl::StatusOr<Reference> Parse(absl::string_view text);

  const std::string& host() const { return host_; }      // "docker.io", "localhost:5000"
  const std::string& path() const { return path_; }      // "library/alpine"
  const std::string& tag() const { return tag_; }        // "" if none
  const std::string& digest() const { return digest_; }  // "sha256:HEX", "" if none
  bool empty() const { return path_.empty(); }

  std::string repository() const;  // "docker.io/library/alpine"
  std::string canonical() const;   // repository[:tag][@digest]
  std::string familiar() const;    // As docker shows it: without docker.io/ and library/.
  std::string familiar_repository() const;

  // With tag "latest" if there is neither tag nor digest, else as it is.
  Reference WithDefaultTag() const;
  // The same repository under `tag` (no digest). INVALID_ARGUMENT "invalid tag format".
  absl::StatusOr<Reference> WithTag(absl::string_view tag) const;
  // The same repository and tag, pinned to `digest` ("sha256:HEX"). INVALID_ARGUMENT.
  absl::StatusOr<Reference> WithDigest(absl::string_view digest) const;
  // Neither tag nor digest.
  Reference RepositoryOnly() const;

  friend auto operator<=>(const Reference&, const Reference&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Reference& reference) {
    return out << reference.familiar();
  }

 private:
  std::string host_;
  std::string path_;
  std::string tag_;
  std::string digest_;
};

}  // namespace farm

#endif  // FARM_OCI_REFERENCE_H_
