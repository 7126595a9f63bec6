#ifndef FARM_WORKER_SOURCE_CLIENT_H_
#define FARM_WORKER_SOURCE_CLIENT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancel_token.h"
#include "oci/http_client.h"

namespace farm {

// Asks servers that a Dockerfile names: follows redirects, checks each address that is connected
// to, tries again where the network may do better. Safe for concurrent calls.
class SourceClient {
 public:
  static constexpr int kRedirectsMax = 10;
  static constexpr int kAttemptsMax = 3;  // Of each request, if the network fails.

  struct Options {
    std::string ca_file;  // PEM; "" is the system's
    std::string user_agent;
    bool loopback_allowed = false;
    // A step's own word that it may be led to loopback counts.
    bool is_local = false;
    int64_t bytes_max = int64_t{16} << 30;    // of one source
    absl::Duration timeout = absl::Hours(1);  // of one source
    absl::Duration connect_timeout = absl::Seconds(30);
    // A server that is slower than this for so long is given up.
    int64_t low_speed_bytes_per_second = 16;
    absl::Duration low_speed_time = absl::Minutes(1);
    absl::Duration retry_pause = absl::Seconds(1);  // the second one is twice as long
  };

  struct Call {
    std::string url;  // http or https; a user in it is sent as basic authorization to its origin
    std::string authorization;  // in place of that, for the same origin
    std::vector<std::pair<std::string, std::string>> headers;
    bool step_allows_loopback = false;
    absl::Time deadline = absl::InfiniteFuture();
    const CancelToken* cancel = nullptr;
    // Before each attempt at the final answer's body, and for its pieces; only of a 2xx answer.
    std::function<absl::Status()> on_start;
    std::function<absl::Status(const HttpResponse& head, absl::string_view bytes)> on_body;
  };
  struct Answer {
    HttpResponse response;  // 2xx or 304
    std::string url;        // that gave it, after redirects; without user
  };

  explicit SourceClient(Options options);

  const Options& options() const { return options_; }

  // Errors name the URL, without its user:
  //   INVALID_ARGUMENT   no URL, a status that is an error, too many redirects or one to nowhere,
  //                      the server can't be reached or is too slow, an address that is refused
  //   DEADLINE_EXCEEDED  `deadline`; CANCELLED
  // and what on_start and on_body say.
  absl::StatusOr<Answer> Get(const Call& call);

 private:
  HttpResult Try(const Call& call, const HttpRequest& request);

  const Options options_;
  HttpClient http_;
};

// An error of what a Dockerfile names: another worker would do no better.
absl::Status SourceError(absl::string_view what, const absl::Status& error);

}  // namespace farm

#endif  // FARM_WORKER_SOURCE_CLIENT_H_
