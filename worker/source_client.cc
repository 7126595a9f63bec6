#include "worker/source_client.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/redact_url.h"
#include "base/status_macros.h"

namespace farm {
namespace {

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::string StatusText(int status) {
  switch (status) {
    case 401:
      return "401 Unauthorized";
    case 403:
      return "403 Forbidden";
    case 404:
      return "404 Not Found";
    case 410:
      return "410 Gone";
    case 429:
      return "429 Too Many Requests";
    case 500:
      return "500 Internal Server Error";
    case 502:
      return "502 Bad Gateway";
    case 503:
      return "503 Service Unavailable";
    case 504:
      return "504 Gateway Timeout";
    default:
      return absl::StrCat(status);
  }
}

// A server that is busy may have an answer in a moment.
bool MayPass(const HttpResult& result) {
  if (!result.status.ok()) return result.may_retry;
  const int status = result.response.status;
  return status == 429 || (status >= 500 && status != 501);
}

}  // namespace

absl::Status SourceError(absl::string_view what, const absl::Status& error) {
  const std::string message = absl::StrCat(what, ": ", RedactUrls(error.message()));
  switch (error.code()) {
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kInternal:
      return absl::Status(error.code(), message);
    default:
      return absl::InvalidArgumentError(message);
  }
}

SourceClient::SourceClient(Options options)
    : options_(std::move(options)),
      http_({.ca_file = options_.ca_file,
             .user_agent = options_.user_agent,
             .connect_timeout = options_.connect_timeout,
             .low_speed_bytes_per_second = options_.low_speed_bytes_per_second,
             .low_speed_time = options_.low_speed_time}) {}

HttpResult SourceClient::Try(const Call& call, const HttpRequest& request) {
  absl::Duration pause = options_.retry_pause;
  for (int attempt = 1;; ++attempt) {
    HttpRequest timed = request;
    timed.timeout = call.deadline - absl::Now();
    HttpResult result;
    if (timed.timeout <= absl::ZeroDuration()) {
      result.status = absl::DeadlineExceededError("the time is over");
      return result;
    }
    if (call.on_start) result.status = call.on_start();
    if (result.status.ok()) result = http_.Do(timed);
    if (!MayPass(result) || attempt == kAttemptsMax) return result;
    if (call.cancel != nullptr && call.cancel->WaitFor(pause)) {
      result.status = absl::CancelledError("cancelled");
      return result;
    }
    pause *= 2;
  }
}

absl::StatusOr<SourceClient::Answer> SourceClient::Get(const Call& call) {
  const std::string shown = absl::StrCat("GET ", RedactUrls(call.url));
  const absl::StatusOr<UrlWithUser> first = SplitUser(call.url);
  if (!first.ok()) return SourceError(shown, first.status());
  std::string authorization = call.authorization;
  if (authorization.empty() && !first->user.empty()) {
    authorization = BasicAuthorization(first->user, first->password);
  }
  HttpRequest request;
  request.url = first->url;
  request.on_body = call.on_body;
  request.cancel = call.cancel;
  request.addresses =
      AddressPolicy{.loopback_allowed = options_.loopback_allowed ||
                                        (options_.is_local && call.step_allows_loopback)};
  for (int redirects = 0;; ++redirects) {
    request.headers = call.headers;
    // Nobody else gets what was meant for the first one.
    if (!authorization.empty() && *UrlOrigin(request.url) == *UrlOrigin(first->url)) {
      request.headers.emplace_back("Authorization", authorization);
    }
    HttpResult result = Try(call, request);
    if (!result.status.ok() && absl::Now() >= call.deadline && !absl::IsCancelled(result.status)) {
      return absl::DeadlineExceededError(absl::StrCat(
          shown, ": not done within sources.timeout = ", absl::FormatDuration(options_.timeout)));
    }
    if (!result.status.ok()) {
      return SourceError(redirects == 0 ? shown : absl::StrCat(shown, " leads to ", request.url),
                         result.status);
    }
    const int status = result.response.status;
    if (status / 100 == 2 || status == 304) {
      return Answer{.response = std::move(result.response), .url = std::move(request.url)};
    }
    const std::string location = result.response.Header("location");
    if (!IsRedirect(status) || location.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(shown, ": the server answers ", StatusText(status),
                       redirects == 0 ? "" : absl::StrCat(" at ", request.url)));
    }
    if (redirects == kRedirectsMax) {
      return absl::InvalidArgumentError(
          absl::StrCat(shown, ": more than ", kRedirectsMax, " redirects"));
    }
    absl::StatusOr<std::string> next = ResolveEncrypted(request.url, location);
    if (!next.ok()) return SourceError(shown, next.status());
    request.url = *std::move(next);
  }
}

}  // namespace farm
