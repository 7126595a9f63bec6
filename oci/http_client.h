// One HTTP exchange at a time over libcurl, with kept connections. Knows nothing of registries.
#ifndef FARM_OCI_HTTP_CLIENT_H_
#define FARM_OCI_HTTP_CLIENT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/byte_stream.h"
#include "base/cancel_token.h"
#include "oci/address_policy.h"

namespace farm {

struct HttpResponse {
  int status = 0;  // 200, 404, …
  std::map<std::string, std::string>
      headers;               // Names in lower case; of equal names joined by ", ".
  std::string body;          // Unless `on_body` took it.
  std::string peer_address;  // That was connected to: "192.0.2.1".

  std::string Header(const std::string& name) const;  // "" if there is none.
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;

  std::string body;                   // Of POST, PUT, PATCH, if there is no `body_source`.
  ByteSource* body_source = nullptr;  // Borrowed; gives at least `body_bytes`.
  int64_t body_bytes = 0;             // Of body_source.

  // Takes the body of a 2xx answer, piece by piece; an error ends the exchange. Null collects it.
  std::function<absl::Status(const HttpResponse& head, absl::string_view bytes)> on_body;
  int64_t response_bytes_max = 1 << 20;  // Of a collected body.

  absl::Duration timeout = absl::InfiniteDuration();
  bool bypass_proxy = false;
  // Set: PERMISSION_DENIED unless the address that is connected to is allowed, whatever the name
  // says; the exchange has a connection of its own. Through a proxy that is the proxy's address,
  // and what the URL names as an address is checked besides.
  std::optional<AddressPolicy> addresses;
  const CancelToken* cancel = nullptr;
};

struct HttpResult {
  // OK: an answer arrived whole, whatever its status. UNAVAILABLE: the network,
  // or what is no HTTP or over kHeaderBytesMax; CANCELLED; PERMISSION_DENIED: by `addresses`;
  // RESOURCE_EXHAUSTED: a collected body over its limit; else what on_body or body_source said.
  absl::Status status;
  bool may_retry = false;  // Only of errors of the network that may pass.
  HttpResponse response;
};

// Safe for concurrent calls.
class HttpClient {
 public:
  static constexpr int64_t kHeaderBytesMax = 256 << 10;    // Of one answer.
  static constexpr int64_t kErrorBodyBytesMax = 64 << 10;  // Kept of an answer that is not 2xx.

  struct Options {
    std::string ca_file;
    std::string user_agent;
    absl::Duration connect_timeout;
    int64_t low_speed_bytes_per_second;
    absl::Duration low_speed_time;
  };
  explicit HttpClient(Options options);
  ~HttpClient();

  // Follows no redirects, sends no credentials of its own.
  HttpResult Do(const HttpRequest& request);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A URL, and what it said of who asks.
struct UrlWithUser {
  std::string url;  // Without it.
  std::string user;
  std::string password;
};
// Both decoded. INVALID_ARGUMENT unless `url` is absolute, http or https, with a host.
absl::StatusOr<UrlWithUser> SplitUser(const std::string& url);
// Host and port of an absolute URL, the port always there; an IPv6 address in brackets.
struct HostAndPort {
  std::string host;
  std::string port;
};
absl::StatusOr<HostAndPort> UrlHost(const std::string& url);
// The value of an Authorization header for these.
std::string BasicAuthorization(absl::string_view user, absl::string_view password);
// A date of HTTP ("Sun, 06 Nov 1994 08:49:37 GMT" and its older forms); nullopt if it is none.
std::optional<absl::Time> ParseHttpDate(const std::string& text);

// "https://host:port" of an absolute URL, with the port always there. INVALID_ARGUMENT unless it is
// http or https with a host and without user or password.
absl::StatusOr<std::string> UrlOrigin(const std::string& url);
// `reference`, relative or absolute, as seen from `base`. INVALID_ARGUMENT.
absl::StatusOr<std::string> ResolveUrl(const std::string& base, const std::string& reference);
// The same for where a server sends us on to. INVALID_ARGUMENT also if that would lead from https
// to a place without encryption.
absl::StatusOr<std::string> ResolveEncrypted(const std::string& base, const std::string& reference);
// `url` with one more "name=value" in its query, escaped.
absl::StatusOr<std::string> AddQuery(const std::string& url, absl::string_view name,
                                     absl::string_view value);
// A host of this machine: localhost, 127.0.0.0/8 or ::1, with or without port.
bool IsLoopbackHost(absl::string_view host_and_port);

}  // namespace farm

#endif  // FARM_OCI_HTTP_CLIENT_H_
