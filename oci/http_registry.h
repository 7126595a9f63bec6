#ifndef FARM_OCI_HTTP_REGISTRY_H_
#define FARM_OCI_HTTP_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "oci/registry.h"

namespace farm {

struct HttpRegistryOptions {
  // Registries spoken to by plain HTTP, as references name them. Loopback hosts (localhost,
  // 127.0.0.0/8, ::1) always are, as docker has it.
  std::set<std::string> plain_http_hosts;
  // By registry host: base URLs asked first for manifests and blobs, in this order, before the
  // registry itself ("https://mirror.example.com", "http://10.0.0.1:5000"). Never pushed to, and
  // sent only credentials kept for the mirror's own host.
  std::map<std::string, std::vector<std::string>> mirrors;
  std::string ca_file;  // PEM bundle; "" takes the system's.
  std::string user_agent = "farm";

  // Of one request, the first included. Nobody else repeats what has failed so often.
  int attempts_max = 5;
  absl::Duration backoff_first = absl::Milliseconds(500);  // Doubles; half of it is random.
  absl::Duration backoff_max = absl::Seconds(20);
  absl::Duration retry_after_max = absl::Minutes(2);  // A longer Retry-After ends the call.
  int redirects_max = 5;

  absl::Duration connect_timeout = absl::Seconds(20);
  // A transfer slower than this for so long is broken off (and retried).
  int64_t low_speed_bytes_per_second = 1000;
  absl::Duration low_speed_time = absl::Seconds(60);
  absl::Duration document_timeout = absl::Seconds(120);  // Manifests, tokens; blobs have none.

  int64_t push_chunk_bytes = 0;  // 0: a blob is one PUT; else PATCH requests of so many bytes.
};

// Registries over HTTP/1.1 and HTTP/2. Proxies come from the environment (https_proxy, http_proxy,
// no_proxy), not for loopback hosts. Connections and tokens are kept for later calls.
class HttpRegistry final : public Registry {
 public:
  using Options = HttpRegistryOptions;

  // Waits between attempts by `sleep`, which returns false if the call was cancelled meanwhile; a
  // test gives its own. Null waits really.
  using Sleep = std::function<bool(absl::Duration, const CancelToken*)>;

  // Borrows `clock` (for the life of tokens and Retry-After dates).
  HttpRegistry(Options options, Clock& clock, Sleep sleep = nullptr);
  ~HttpRegistry() override;

  absl::StatusOr<ResolvedImage> Resolve(const Reference& reference, const Platform& platform,
                                        const RegistryCall& call) override;
  absl::StatusOr<RawManifest> FetchManifest(const Reference& reference,
                                            const RegistryCall& call) override;
  absl::Status FetchBlob(const Reference& repository, const Descriptor& blob, int64_t offset,
                         ByteSink& sink, const RegistryCall& call) override;
  absl::StatusOr<bool> HasBlob(const Reference& repository, const Descriptor& blob,
                               const RegistryCall& call) override;
  absl::Status PushBlob(const Reference& repository, const Descriptor& blob, const BlobOpener& open,
                        const RegistryCall& call) override;
  absl::StatusOr<bool> MountBlob(const Reference& repository, const Descriptor& blob,
                                 const Reference& from, const RegistryCall& call) override;
  absl::StatusOr<Digest> PushManifest(const Reference& reference, absl::string_view media_type,
                                      absl::string_view bytes, const RegistryCall& call) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace farm

#endif  // FARM_OCI_HTTP_REGISTRY_H_
