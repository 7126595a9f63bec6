#ifndef FARM_OCI_REGISTRY_H_
#define FARM_OCI_REGISTRY_H_

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/byte_stream.h"
#include "base/cancel_token.h"
#include "oci/descriptor.h"
#include "oci/reference.h"

namespace farm {

// Who someone is for one registry. Never logged, never in an error message.
struct RegistryCredential {
  std::string username;
  std::string password;
  std::string identity_token;  // OAuth2 refresh token, in place of a password.
};

// Credentials by registry host as references name it ("docker.io", "localhost:5000"). Docker Hub
// is found under each of its names: docker.io, index.docker.io, https://index.docker.io/v1/.
class RegistryAuth {
 public:
  RegistryAuth() = default;

  void Set(absl::string_view host, RegistryCredential credential);
  const RegistryCredential* Find(absl::string_view host) const;  // Null: anonymous.

 private:
  std::map<std::string, RegistryCredential> by_host_;
};

// The one name of a registry that people, docker's config and references call differently:
// "https://index.docker.io/v1/" → "docker.io", "https://host:5000/" → "host:5000".
std::string CanonicalRegistryHost(absl::string_view host);

// What each call of a Registry needs besides its subject. Borrows: what is pointed to outlives the
// call.
struct RegistryCall {
  const RegistryAuth* auth = nullptr;   // Null: anonymous.
  const CancelToken* cancel = nullptr;  // Null: not to be cancelled. CANCELLED once it is.
  // Told on the calling thread, a sentence without newline, each time that something is tried again
  // or elsewhere: which host, why, and which attempt is next. Null: nobody is told.
  std::function<void(const std::string& remark)> remark = nullptr;
};

// A manifest or index as the registry has it.
struct RawManifest {
  Descriptor descriptor;  // Media type, digest and size of `bytes`; verified.
  std::string bytes;
};

// An image of a registry for one platform, pinned: naming it by digest gives these bytes for ever.
struct ResolvedImage {
  Reference pinned;      // As asked, with the digest of the first document that the name led to.
  RawManifest manifest;  // Of the one platform.
  Descriptor config;
  std::string config_bytes;          // Parsed once without error: see ParseImageConfig().
  std::optional<RawManifest> index;  // Through which the manifest was found, if there is one.
};

// A registry of images (distribution-spec), or a fake of one. Which host is meant, the reference
// says. Safe for concurrent calls; each may block for minutes.
//
// Errors of all calls:
//   NOT_FOUND           no such image or blob ("no such image registry/team/app:v3")
//   UNAUTHENTICATED     credentials are missing or wrong ("run `docker login HOST`")
//   PERMISSION_DENIED   known, but not allowed to
//   RESOURCE_EXHAUSTED  over a limit on our side (sizes)
//   UNAVAILABLE         network, 5xx or 429 after all retries (base/retried_error.h): another try
//                       later may succeed
//   DATA_LOSS           bytes that do not hash to their digest, or a size that is not the promised
//   INVALID_ARGUMENT    the registry refuses what was sent, or its document makes no sense
//   CANCELLED
class Registry {
 public:
  virtual ~Registry() = default;

  // Manifest and config of `reference` for `platform`; "latest" if neither tag nor digest is given.
  // NOT_FOUND also if it is not there for that platform; the message names those there are. An
  // image that is no index is returned whatever its platform is: the caller compares if it minds.
  virtual absl::StatusOr<ResolvedImage> Resolve(const Reference& reference,
                                                const Platform& platform,
                                                const RegistryCall& call) = 0;

  // The document itself, index or manifest.
  virtual absl::StatusOr<RawManifest> FetchManifest(const Reference& reference,
                                                    const RegistryCall& call) = 0;

  // Writes the bytes of `blob` from `offset` on. A connection that breaks is resumed where it
  // stopped; each byte is written once. With offset 0 all bytes are hashed, and DATA_LOSS comes
  // after the last of them was written: use nothing of the sink before OK. With another offset only
  // the size is checked, and the caller, who has the front part, verifies.
  virtual absl::Status FetchBlob(const Reference& repository, const Descriptor& blob,
                                 int64_t offset, ByteSink& sink, const RegistryCall& call) = 0;

  virtual absl::StatusOr<bool> HasBlob(const Reference& repository, const Descriptor& blob,
                                       const RegistryCall& call) = 0;

  // Uploads `blob`, unless it is there. `open` is called again, at an offset, to go on after a
  // break. DATA_LOSS if the source's bytes are not what `blob` says.
  virtual absl::Status PushBlob(const Reference& repository, const Descriptor& blob,
                                const BlobOpener& open, const RegistryCall& call) = 0;

  // Asks the registry to take `blob` over from `from`, another repository on the same host. False
  // if it would not (no such blob there, no rights, not supported): then push it.
  virtual absl::StatusOr<bool> MountBlob(const Reference& repository, const Descriptor& blob,
                                         const Reference& from, const RegistryCall& call) = 0;

  // Stores a manifest or index whose blobs are there, under the tag of `reference` ("latest" if it
  // has none), or under its digest alone if it has only that. Returns the digest it is known by.
  virtual absl::StatusOr<Digest> PushManifest(const Reference& reference,
                                              absl::string_view media_type, absl::string_view bytes,
                                              const RegistryCall& call) = 0;
};

}  // namespace farm

#endif  // FARM_OCI_REGISTRY_H_
