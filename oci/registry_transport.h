// What all requests to registries have in common: which server, who asks, again and again.
#ifndef FARM_OCI_REGISTRY_TRANSPORT_H_
#define FARM_OCI_REGISTRY_TRANSPORT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "oci/http_client.h"
#include "oci/http_registry.h"
#include "oci/registry.h"
#include "oci/registry_authorizer.h"

namespace farm {

// A server that has the repositories of a registry host: itself or a mirror.
struct RegistryEndpoint {
  std::string base_url;  // Without a slash at the end.
  std::string origin;    // See UrlOrigin().
  std::string host;      // For credentials and messages.
  bool mirror = false;   // Asked once, no more.

  // Where the API has `rest` of a repository ("manifests/latest").
  std::string Url(const Reference& repository, absl::string_view rest) const;
};

// One attempt of something. `status` is OK for an answer with any HTTP status that a retry would
// not change: see StatusOf().
struct RegistryAttempt {
  absl::Status status;
  bool may_retry = false;
  absl::Duration retry_after;  // As the server asks; zero if it does not.
  HttpResponse response;

  static RegistryAttempt Final(absl::Status status);
  static RegistryAttempt MayPass(absl::string_view message);  // UNAVAILABLE.
};

// Scopes of tokens.
std::vector<std::string> PullScope(const Reference& repository);
std::vector<std::string> PushScope(const Reference& repository);

// The error that an HTTP status other than success means, in a sentence for people. `kind` is what
// a 404 says there is none of: "image".
absl::Status StatusOf(const HttpResponse& response, const RegistryEndpoint& endpoint,
                      absl::string_view kind, absl::string_view what);

// Safe for concurrent calls.
class RegistryTransport {
 public:
  // Makes a request anew for each time that it is sent.
  using MakeRequest = std::function<absl::StatusOr<HttpRequest>()>;

  RegistryTransport(const HttpRegistryOptions& options, Clock& clock, HttpRegistry::Sleep sleep);

  const HttpRegistryOptions& options() const { return options_; }

  RegistryEndpoint EndpointOf(const std::string& host) const;
  bool HasMirrors(const std::string& host) const { return options_.mirrors.count(host) > 0; }

  // Does `fetch` with the mirrors of `host`, then with the registry itself, until one succeeds, or
  // until `may_go_on` says no after a failure.
  absl::Status FromAny(
      const std::string& host, const RegistryCall& call,
      const std::function<absl::Status(const RegistryEndpoint&)>& fetch,
      const std::function<bool()>& may_go_on = [] { return true; });

  // Does `once` until it succeeds, fails for good, or was tried as often as `endpoint` is worth
  // without `progress` (in bytes; may be null) getting on.
  absl::Status Retry(const RegistryEndpoint& endpoint, const RegistryCall& call,
                     const std::function<RegistryAttempt()>& once,
                     const int64_t* progress = nullptr);

  // One exchange with all that belongs to it: redirects, and a 401 answered.
  RegistryAttempt Send(const RegistryEndpoint& endpoint, const std::vector<std::string>& scopes,
                       const RegistryCall& call, const MakeRequest& make);

  // A small exchange, retried.
  absl::StatusOr<HttpResponse> Exchange(const RegistryEndpoint& endpoint,
                                        const std::vector<std::string>& scopes,
                                        const RegistryCall& call, const HttpRequest& request);

 private:
  std::vector<RegistryEndpoint> EndpointsToPull(const std::string& host) const;
  HttpResult Follow(const RegistryEndpoint& endpoint, const std::string& authorization,
                    const RegistryCall& call, const MakeRequest& make, std::string& origin);
  absl::StatusOr<std::string> RedirectTarget(const HttpRequest& request,
                                             const HttpResponse& response, int redirects) const;
  RegistryAttempt Classify(const RegistryEndpoint& endpoint, HttpResult result);
  RegistryAttempt AuthFailure(const RegistryEndpoint& endpoint, HttpResult answer);

  const HttpRegistryOptions& options_;
  Clock& clock_;
  const HttpRegistry::Sleep sleep_;
  HttpClient http_;
  RegistryAuthorizer authorizer_;
};

}  // namespace farm

#endif  // FARM_OCI_REGISTRY_TRANSPORT_H_
