#include "oci/registry_transport.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/retried_error.h"
#include "base/status_macros.h"
#include "oci/json_reader.h"

namespace farm {
namespace {

constexpr absl::string_view kHubHost = "docker.io";
constexpr absl::string_view kHubServer = "registry-1.docker.io";
constexpr size_t kServerMessageBytesMax = 300;  // Of a registry's own words in our errors.
// So many new bytes mean that a transfer gets on: its attempts are counted anew.
constexpr int64_t kProgressBytes = 1 << 20;

// What the registry says about an error, fit to be printed; "" if nothing.
std::string ServerMessage(const HttpResponse& response) {
  const absl::StatusOr<JsonReader> json =
      JsonReader::Parse(response.body, HttpClient::kErrorBodyBytesMax, "error");
  if (!json.ok()) return "";
  const absl::StatusOr<std::vector<JsonReader>> errors = (*json)["errors"].Array();
  if (!errors.ok() || errors->empty()) return "";
  std::string message = (*errors)[0]["message"].String().value_or("");
  if (message.empty()) message = (*errors)[0]["code"].String().value_or("");
  message.resize(std::min(message.size(), kServerMessageBytesMax));
  for (char& c : message) {
    if (!absl::ascii_isprint(c)) c = '?';
  }
  return message.empty() ? "" : absl::StrCat(": ", message);
}

std::string LoginHint(absl::string_view host) {
  return host == kHubHost ? "run `docker login`" : absl::StrCat("run `docker login ", host, "`");
}

bool IsPassingStatus(int status) {
  return status == 408 || status == 429 || (status >= 500 && status != 501);
}

absl::Duration RetryAfter(const HttpResponse& response, absl::Time now) {
  const std::string value = response.Header("retry-after");
  int64_t seconds = 0;
  if (absl::SimpleAtoi(value, &seconds)) return absl::Seconds(std::max<int64_t>(0, seconds));
  absl::Time date;
  std::string error;
  if (!absl::ParseTime("%a, %d %b %E4Y %H:%M:%S GMT", value, &date, &error)) {
    return absl::ZeroDuration();
  }
  return std::max(absl::ZeroDuration(), date - now);
}

bool SleepReally(absl::Duration duration, const CancelToken* cancel) {
  if (cancel != nullptr) return !cancel->WaitFor(duration);
  absl::SleepFor(duration);
  return true;
}

// Half of it is random, so that a farm's workers do not come back all at once.
absl::Duration Jittered(absl::Duration backoff) {
  thread_local absl::BitGen random;
  return backoff / 2 + backoff / 2 * absl::Uniform(random, 0.0, 1.0);
}

bool IsRedirect(const HttpRequest& request, const HttpResponse& response) {
  const bool readable = request.method == "GET" || request.method == "HEAD";
  const int status = response.status;
  return readable && !response.Header("location").empty() &&
         (status == 301 || status == 302 || status == 303 || status == 307 || status == 308);
}

}  // namespace

std::string RegistryEndpoint::Url(const Reference& repository, absl::string_view rest) const {
  return absl::StrCat(base_url, "/v2/", repository.path(), "/", rest);
}

RegistryAttempt RegistryAttempt::Final(absl::Status status) {
  RegistryAttempt attempt;
  attempt.status = std::move(status);
  return attempt;
}

RegistryAttempt RegistryAttempt::MayPass(absl::string_view message) {
  RegistryAttempt attempt;
  attempt.status = absl::UnavailableError(message);
  attempt.may_retry = true;
  return attempt;
}

std::vector<std::string> PullScope(const Reference& repository) {
  return {absl::StrCat("repository:", repository.path(), ":pull")};
}

std::vector<std::string> PushScope(const Reference& repository) {
  return {absl::StrCat("repository:", repository.path(), ":pull,push")};
}

absl::Status StatusOf(const HttpResponse& response, const RegistryEndpoint& endpoint,
                      absl::string_view kind, absl::string_view what) {
  const std::string message = ServerMessage(response);
  switch (response.status) {
    case 401:
      return absl::UnauthenticatedError(
          absl::StrCat("no access to ", what, ": it does not exist, or ", endpoint.host,
                       " needs other credentials; ", LoginHint(endpoint.host), message));
    case 403:
      return absl::PermissionDeniedError(absl::StrCat("access to ", what, " is denied by ",
                                                      endpoint.host, "; ", LoginHint(endpoint.host),
                                                      message));
    case 404:
      return absl::NotFoundError(absl::StrCat("no such ", kind, " ", what, message));
    default:
      return absl::InvalidArgumentError(absl::StrCat(what, ": registry ", endpoint.host,
                                                     " answers with HTTP status ", response.status,
                                                     message));
  }
}

RegistryTransport::RegistryTransport(const HttpRegistryOptions& options, Clock& clock,
                                     HttpRegistry::Sleep sleep)
    : options_(options),
      clock_(clock),
      sleep_(sleep ? std::move(sleep) : SleepReally),
      http_({.ca_file = options.ca_file,
             .user_agent = options.user_agent,
             .connect_timeout = options.connect_timeout,
             .low_speed_bytes_per_second = options.low_speed_bytes_per_second,
             .low_speed_time = options.low_speed_time}),
      authorizer_(http_, clock, options.document_timeout) {}

RegistryEndpoint RegistryTransport::EndpointOf(const std::string& host) const {
  RegistryEndpoint endpoint;
  endpoint.host = host;
  const bool plain = IsLoopbackHost(host) || options_.plain_http_hosts.count(host) > 0;
  endpoint.base_url = absl::StrCat(plain ? "http://" : "https://",
                                   host == kHubHost ? kHubServer : absl::string_view(host));
  endpoint.origin = UrlOrigin(endpoint.base_url).value_or("");
  return endpoint;
}

// Mirrors first. A mirror whose URL is none is skipped, with a word in the log.
std::vector<RegistryEndpoint> RegistryTransport::EndpointsToPull(const std::string& host) const {
  std::vector<RegistryEndpoint> endpoints;
  const auto mirrors = options_.mirrors.find(host);
  if (mirrors != options_.mirrors.end()) {
    for (const std::string& url : mirrors->second) {
      RegistryEndpoint endpoint;
      endpoint.base_url = std::string(absl::StripSuffix(url, "/"));
      const absl::StatusOr<std::string> origin = UrlOrigin(url);
      if (!origin.ok()) {
        LogWarning("registry mirror skipped", {{"url", url}, {"error", LogText(origin.status())}});
        continue;
      }
      endpoint.origin = *origin;
      endpoint.host = CanonicalRegistryHost(url);
      endpoint.mirror = true;
      endpoints.push_back(std::move(endpoint));
    }
  }
  endpoints.push_back(EndpointOf(host));
  return endpoints;
}

absl::Status RegistryTransport::FromAny(
    const std::string& host, const RegistryCall& call,
    const std::function<absl::Status(const RegistryEndpoint&)>& fetch,
    const std::function<bool()>& may_go_on) {
  absl::Status status;
  for (const RegistryEndpoint& endpoint : EndpointsToPull(host)) {
    status = fetch(endpoint);
    if (status.ok() || !endpoint.mirror || absl::IsCancelled(status) || !may_go_on()) break;
    LogWarning("registry mirror passed over",
               {{"mirror", endpoint.base_url}, {"error", LogText(status)}});
    if (call.remark) {
      call.remark(absl::StrCat("mirror ", endpoint.base_url, " passed over: ", status.message()));
    }
  }
  return status;
}

absl::Status RegistryTransport::Retry(const RegistryEndpoint& endpoint, const RegistryCall& call,
                                      const std::function<RegistryAttempt()>& once,
                                      const int64_t* progress) {
  const int attempts_max = endpoint.mirror ? 1 : options_.attempts_max;
  absl::Duration backoff = options_.backoff_first;
  int64_t progress_before = progress == nullptr ? 0 : *progress;
  for (int attempts = 1;; ++attempts) {
    const RegistryAttempt attempt = once();
    if (attempt.status.ok() || !attempt.may_retry) return attempt.status;
    if (progress != nullptr && *progress - progress_before >= kProgressBytes) {
      progress_before = *progress;
      attempts = 1;
      backoff = options_.backoff_first;
    }
    if (attempts >= attempts_max) {
      return AsRetried(
          Annotate(attempt.status, absl::StrCat("gave up after ", attempts, " attempts")));
    }
    if (attempt.retry_after > options_.retry_after_max) {
      return AsRetried(
          Annotate(attempt.status,
                   absl::StrCat("asked to wait for ", absl::FormatDuration(attempt.retry_after))));
    }
    const absl::Duration wait = std::max(attempt.retry_after, Jittered(backoff));
    if (call.remark) {
      call.remark(absl::StrCat(attempt.status.message(), "; attempt ", attempts + 1, " of ",
                               attempts_max, " in ",
                               absl::FormatDuration(absl::Trunc(wait, absl::Milliseconds(100)))));
    }
    if (!sleep_(wait, call.cancel)) return absl::CancelledError("cancelled");
    backoff = std::min(backoff * 2, options_.backoff_max);
  }
}

RegistryAttempt RegistryTransport::Send(const RegistryEndpoint& endpoint,
                                        const std::vector<std::string>& scopes,
                                        const RegistryCall& call, const MakeRequest& make) {
  const AuthTarget target = {
      .origin = endpoint.origin,
      .scopes = scopes,
      .credential = call.auth == nullptr ? nullptr : call.auth->Find(endpoint.host)};
  std::string authorization = authorizer_.Known(target);
  for (bool answered = false;; answered = true) {
    std::string answering_origin;
    HttpResult result = Follow(endpoint, authorization, call, make, answering_origin);
    const bool challenged =
        result.status.ok() && result.response.status == 401 && answering_origin == endpoint.origin;
    if (!challenged || answered) return Classify(endpoint, std::move(result));
    HttpResult answer =
        authorizer_.Answer(target, result.response.Header("www-authenticate"), call.cancel);
    if (!answer.status.ok()) return AuthFailure(endpoint, std::move(answer));
    authorization = std::move(answer.response.body);
  }
}

// Sends and follows redirects. The Authorization header goes to the endpoint's origin only.
HttpResult RegistryTransport::Follow(const RegistryEndpoint& endpoint,
                                     const std::string& authorization, const RegistryCall& call,
                                     const MakeRequest& make, std::string& origin) {
  std::string redirected_to;
  for (int redirects = 0;; ++redirects) {
    absl::StatusOr<HttpRequest> request = make();
    if (!request.ok()) return {.status = request.status(), .may_retry = false, .response = {}};
    if (!redirected_to.empty()) request->url = redirected_to;
    const absl::StatusOr<std::string> url_origin = UrlOrigin(request->url);
    if (!url_origin.ok()) {
      return {.status = url_origin.status(), .may_retry = false, .response = {}};
    }
    origin = *url_origin;
    if (origin == endpoint.origin && !authorization.empty()) {
      request->headers.emplace_back("Authorization", authorization);
    }
    request->cancel = call.cancel;
    request->bypass_proxy = IsLoopbackHost(origin.substr(origin.find("//") + 2));
    HttpResult result = http_.Do(*request);
    if (!result.status.ok() || !IsRedirect(*request, result.response)) return result;
    absl::StatusOr<std::string> next = RedirectTarget(*request, result.response, redirects);
    if (!next.ok()) return {.status = next.status(), .may_retry = false, .response = {}};
    redirected_to = *std::move(next);
  }
}

absl::StatusOr<std::string> RegistryTransport::RedirectTarget(const HttpRequest& request,
                                                              const HttpResponse& response,
                                                              int redirects) const {
  if (redirects == options_.redirects_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("more than ", options_.redirects_max, " redirects"));
  }
  ASSIGN_OR_RETURN(std::string url, ResolveEncrypted(request.url, response.Header("location")),
                   _ << "redirect");
  return url;
}

RegistryAttempt RegistryTransport::Classify(const RegistryEndpoint& endpoint, HttpResult result) {
  RegistryAttempt attempt;
  attempt.response = std::move(result.response);
  if (!result.status.ok()) {
    attempt.status = Annotate(result.status, absl::StrCat("registry ", endpoint.host));
    attempt.may_retry = result.may_retry;
  } else if (IsPassingStatus(attempt.response.status)) {
    attempt.status = absl::UnavailableError(
        absl::StrCat("registry ", endpoint.host, ": HTTP status ", attempt.response.status,
                     attempt.response.status == 429 ? " (too many requests)" : "",
                     ServerMessage(attempt.response)));
    attempt.may_retry = true;
    attempt.retry_after = RetryAfter(attempt.response, clock_.Now());
  }
  return attempt;
}

RegistryAttempt RegistryTransport::AuthFailure(const RegistryEndpoint& endpoint,
                                               HttpResult answer) {
  RegistryAttempt attempt;
  attempt.may_retry = answer.may_retry;
  attempt.retry_after = RetryAfter(answer.response, clock_.Now());
  attempt.status = Annotate(answer.status, absl::StrCat("registry ", endpoint.host));
  if (absl::IsUnauthenticated(answer.status)) {
    attempt.status = absl::UnauthenticatedError(
        absl::StrCat(attempt.status.message(), "; ", LoginHint(endpoint.host)));
  }
  return attempt;
}

absl::StatusOr<HttpResponse> RegistryTransport::Exchange(const RegistryEndpoint& endpoint,
                                                         const std::vector<std::string>& scopes,
                                                         const RegistryCall& call,
                                                         const HttpRequest& request) {
  HttpResponse response;
  RETURN_IF_ERROR(Retry(endpoint, call, [&] {
    RegistryAttempt attempt = Send(endpoint, scopes, call, [&] { return request; });
    response = std::move(attempt.response);
    return attempt;
  }));
  return response;
}

}  // namespace farm
