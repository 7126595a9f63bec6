#ifndef FARM_OCI_REGISTRY_AUTHORIZER_H_
#define FARM_OCI_REGISTRY_AUTHORIZER_H_

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "oci/http_client.h"
#include "oci/registry.h"

namespace farm {

// Whom a request goes to and what for.
struct AuthTarget {
  std::string origin;                              // "https://registry-1.docker.io:443"
  std::vector<std::string> scopes;                 // "repository:library/alpine:pull"
  const RegistryCredential* credential = nullptr;  // Null: anonymous.
};

// Turns challenges of registries into Authorization headers, and keeps tokens as long as they
// live. Safe for concurrent calls.
class RegistryAuthorizer {
 public:
  static constexpr int64_t kTokenBytesMax = 1 << 20;  // Of a token server's answer.
  static constexpr size_t kTokensMax = 10'000;        // Kept; over that, all are forgotten.

  RegistryAuthorizer(HttpClient& http, Clock& clock, absl::Duration timeout)
      : http_(http), clock_(clock), timeout_(timeout) {}

  // The header's value that worked for the like of `target` before, "" if none is known.
  std::string Known(const AuthTarget& target);

  // The value that answers a 401 with these WWW-Authenticate challenges. The result's `status` is
  //   UNAUTHENTICATED   credentials are missing, refused, or of no use here
  //   UNAVAILABLE       the token server (may_retry as the network says, or its 429 and 5xx)
  //   INVALID_ARGUMENT  a challenge or an answer that makes no sense
  // and the value is response.body.
  HttpResult Answer(const AuthTarget& target, const std::string& challenges,
                    const CancelToken* cancel);

 private:
  struct Token {
    std::string header;
    absl::Time expires;
  };

  HttpResult FetchToken(const AuthTarget& target, const std::map<std::string, std::string>& params,
                        const CancelToken* cancel);
  void Remember(const AuthTarget& target, std::string header, absl::Duration lifetime);

  HttpClient& http_;
  Clock& clock_;
  const absl::Duration timeout_;
  Mutex mu_;
  std::map<std::string, Token> tokens_ FARM_GUARDED_BY(mu_);  // By Key().
};

}  // namespace farm

#endif  // FARM_OCI_REGISTRY_AUTHORIZER_H_
