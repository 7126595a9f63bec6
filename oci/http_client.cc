#include "oci/http_client.h"

#include <curl/curl.h>
#include <sys/socket.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/mutex.h"
#include "base/redact_url.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr long kBufferBytes = 256 << 10;  // Of libcurl, each way; its default is 16 or 64 KiB.
constexpr int64_t kUploadPatience = 5;    // Times the low-speed time.

struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
using Easy = std::unique_ptr<CURL, EasyDeleter>;

struct SlistDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Slist = std::unique_ptr<curl_slist, SlistDeleter>;

struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, UrlDeleter>;

void InitCurlOnce() {
  static std::once_flag once;
  std::call_once(once, [] { FARM_CHECK_EQ(curl_global_init(CURL_GLOBAL_DEFAULT), CURLE_OK); });
}

// One request under way, as libcurl's callbacks see it.
struct Exchange {
  const HttpRequest& request;
  HttpResponse response = {};
  int64_t header_bytes = 0;
  size_t body_sent = 0;                             // Of request.body.
  int64_t source_bytes_left = 0;                    // Of request.body_source.
  absl::Status callback_status = absl::OkStatus();  // Why a callback ended the exchange.
  absl::Status address_status = absl::OkStatus();   // Why an address was refused, if one was.
};

void ReadStatusLine(absl::string_view line, HttpResponse& response) {
  // Answers of proxies, and 100 Continue, come before the one that counts.
  response = HttpResponse();
  const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(' ', 2));
  if (parts.size() < 2 || !absl::SimpleAtoi(parts[1], &response.status)) response.status = 0;
}

size_t OnHeader(char* bytes, size_t size, size_t count, void* user) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  const absl::string_view line(bytes, size * count);
  exchange.header_bytes += line.size();
  if (exchange.header_bytes > HttpClient::kHeaderBytesMax) {
    exchange.callback_status = absl::UnavailableError(
        absl::StrCat("headers over ", HttpClient::kHeaderBytesMax, " bytes"));
    return 0;
  }
  if (absl::StartsWith(line, "HTTP/")) {
    ReadStatusLine(line, exchange.response);
    return line.size();
  }
  const size_t colon = line.find(':');
  if (colon != absl::string_view::npos) {
    std::string& value = exchange.response.headers[absl::AsciiStrToLower(line.substr(0, colon))];
    if (!value.empty()) value += ", ";
    value += std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return line.size();
}

size_t OnBody(char* bytes, size_t size, size_t count, void* user) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  const absl::string_view piece(bytes, size * count);
  std::string& body = exchange.response.body;
  const bool success = exchange.response.status / 100 == 2;
  if (!success) {
    const size_t room = HttpClient::kErrorBodyBytesMax - body.size();
    const absl::string_view kept = piece.substr(0, room);
    body.append(kept.data(), kept.size());
    return piece.size();
  }
  if (exchange.request.on_body) {
    exchange.callback_status = exchange.request.on_body(exchange.response, piece);
    return exchange.callback_status.ok() ? piece.size() : 0;
  }
  if (static_cast<int64_t>(body.size() + piece.size()) > exchange.request.response_bytes_max) {
    exchange.callback_status = absl::ResourceExhaustedError(
        absl::StrCat("the answer is over ", exchange.request.response_bytes_max, " bytes"));
    return 0;
  }
  body.append(piece.data(), piece.size());
  return piece.size();
}

size_t OnSend(char* buffer, size_t size, size_t count, void* user) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  const size_t room = size * count;
  if (exchange.request.body_source == nullptr) {
    const std::string& body = exchange.request.body;
    const size_t bytes = std::min(room, body.size() - exchange.body_sent);
    std::copy_n(body.data() + exchange.body_sent, bytes, buffer);
    exchange.body_sent += bytes;
    return bytes;
  }
  const size_t wanted = std::min<int64_t>(room, exchange.source_bytes_left);
  if (wanted == 0) return 0;
  absl::StatusOr<size_t> bytes = exchange.request.body_source->Read(buffer, wanted);
  if (bytes.ok() && *bytes == 0) {
    bytes = absl::DataLossError(
        absl::StrCat("the source ends ", exchange.source_bytes_left, " bytes early"));
  }
  if (!bytes.ok()) {
    exchange.callback_status = bytes.status();
    return CURL_READFUNC_ABORT;
  }
  exchange.source_bytes_left -= *bytes;
  return *bytes;
}

// Instead of a socket to an address that the request must not go to, none.
curl_socket_t OnSocket(void* user, curlsocktype, struct curl_sockaddr* address) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  const absl::Status allowed = CheckAddress(&address->addr, *exchange.request.addresses);
  if (!allowed.ok()) {
    exchange.address_status = allowed;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const CancelToken* cancel = static_cast<Exchange*>(user)->request.cancel;
  return cancel != nullptr && cancel->cancelled() ? 1 : 0;
}

bool NetworkErrorMayPass(CURLcode code) {
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_FAILED_INIT:
    case CURLE_OUT_OF_MEMORY:
      return false;
    default:
      return true;
  }
}

absl::Status NetworkError(CURLcode code, const char* detail) {
  std::string message = *detail != '\0' ? detail : curl_easy_strerror(code);
  if (code == CURLE_PEER_FAILED_VERIFICATION) {
    absl::StrAppend(&message, "; if you trust this host, add its authority to the CA file");
  }
  return absl::UnavailableError(message);
}

long Milliseconds(absl::Duration duration) {
  return static_cast<long>(std::max<int64_t>(1, absl::ToInt64Milliseconds(duration)));
}

absl::StatusOr<Url> ParseUrl(const std::string& text) {
  InitCurlOnce();
  Url url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    return absl::InvalidArgumentError(absl::StrCat("no URL: ", RedactUrls(text.substr(0, 200))));
  }
  return url;
}

std::optional<std::string> UrlPart(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return std::nullopt;
  std::string result = text;
  curl_free(text);
  return result;
}

absl::StatusOr<std::string> WholeUrl(CURLU* url) {
  std::optional<std::string> text = UrlPart(url, CURLUPART_URL);
  if (!text.has_value()) return absl::InvalidArgumentError("no URL");
  return *std::move(text);
}

}  // namespace

std::string HttpResponse::Header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

struct HttpClient::Impl {
  Options options;
  Mutex mu;
  // A handle keeps its connections; one that is idle serves the next request.
  std::vector<Easy> idle FARM_GUARDED_BY(mu);

  Easy Take() {
    MutexLock lock(mu);
    if (idle.empty()) return Easy(curl_easy_init());
    Easy easy = std::move(idle.back());
    idle.pop_back();
    return easy;
  }

  void Return(Easy easy) {
    curl_easy_reset(easy.get());
    MutexLock lock(mu);
    idle.push_back(std::move(easy));
  }

  void SetOptions(CURL* easy, Exchange& exchange) const {
    const HttpRequest& request = exchange.request;
    curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kBufferBytes);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, kBufferBytes);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, options.user_agent.c_str());
    if (!options.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options.ca_file.c_str());
    if (request.bypass_proxy) curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, Milliseconds(options.connect_timeout));
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT,
                     static_cast<long>(options.low_speed_bytes_per_second));
    // A registry is silent after an upload for as long as its own store needs to take the blob in.
    const int64_t patience = request.method == "PUT" ? kUploadPatience : 1;
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
                     static_cast<long>(std::max<int64_t>(
                         1, absl::ToInt64Seconds(options.low_speed_time * patience))));
    if (request.timeout != absl::InfiniteDuration()) {
      curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, Milliseconds(request.timeout));
    }
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, OnHeader);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, OnBody);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, OnProgress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, &exchange);
    if (request.addresses.has_value()) {
      // A kept connection was checked for another request, or not at all.
      curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
      curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
      curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, OnSocket);
      curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &exchange);
    }
    SetMethod(easy, exchange);
  }

  static void SetMethod(CURL* easy, Exchange& exchange) {
    const HttpRequest& request = exchange.request;
    if (request.method == "HEAD") {
      curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (request.method != "GET" && request.method != "DELETE") {
      exchange.source_bytes_left = request.body_bytes;
      const int64_t bytes = request.body_source != nullptr
                                ? request.body_bytes
                                : static_cast<int64_t>(request.body.size());
      curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
      curl_easy_setopt(easy, CURLOPT_READFUNCTION, OnSend);
      curl_easy_setopt(easy, CURLOPT_READDATA, &exchange);
      curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(bytes));
    }
    if (request.method != "HEAD") {
      curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }
  }

  static Slist Headers(const HttpRequest& request) {
    // Without "Expect: 100-continue", which costs a second where a server does not know it.
    Slist list(curl_slist_append(nullptr, "Expect:"));
    for (const auto& [name, value] : request.headers) {
      list.reset(curl_slist_append(list.release(), absl::StrCat(name, ": ", value).c_str()));
    }
    return list;
  }
};

HttpClient::HttpClient(Options options) : impl_(std::make_unique<Impl>()) {
  InitCurlOnce();
  impl_->options = std::move(options);
}

HttpClient::~HttpClient() = default;

HttpResult HttpClient::Do(const HttpRequest& request) {
  HttpResult result;
  if (request.cancel != nullptr && request.cancel->cancelled()) {
    result.status = absl::CancelledError("cancelled");
    return result;
  }
  if (request.addresses.has_value()) {
    const absl::StatusOr<HostAndPort> host = UrlHost(request.url);
    result.status = host.ok() ? CheckHost(host->host, *request.addresses) : host.status();
    if (!result.status.ok()) return result;
  }
  Easy easy = impl_->Take();
  if (easy == nullptr) {
    result.status = absl::ResourceExhaustedError("no memory for an HTTP request");
    return result;
  }
  Exchange exchange{.request = request};
  char detail[CURL_ERROR_SIZE] = "";
  const Slist headers = Impl::Headers(request);
  impl_->SetOptions(easy.get(), exchange);
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy.get(), CURLOPT_ERRORBUFFER, detail);
  const CURLcode code = curl_easy_perform(easy.get());
  const char* peer = nullptr;
  curl_easy_getinfo(easy.get(), CURLINFO_PRIMARY_IP, &peer);
  if (peer != nullptr) exchange.response.peer_address = peer;
  impl_->Return(std::move(easy));

  result.response = std::move(exchange.response);
  if (!exchange.callback_status.ok()) {
    result.status = exchange.callback_status;
  } else if (code == CURLE_COULDNT_CONNECT && !exchange.address_status.ok()) {
    result.status = exchange.address_status;
  } else if (code == CURLE_ABORTED_BY_CALLBACK) {
    result.status = absl::CancelledError("cancelled");
  } else if (code != CURLE_OK) {
    result.status = NetworkError(code, detail);
    result.may_retry = NetworkErrorMayPass(code);
  }
  return result;
}

absl::StatusOr<UrlWithUser> SplitUser(const std::string& text) {
  ASSIGN_OR_RETURN(const Url url, ParseUrl(text));
  UrlWithUser split;
  split.user = UrlPart(url.get(), CURLUPART_USER, CURLU_URLDECODE).value_or("");
  split.password = UrlPart(url.get(), CURLUPART_PASSWORD, CURLU_URLDECODE).value_or("");
  for (const CURLUPart part : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS}) {
    curl_url_set(url.get(), part, nullptr, 0);
  }
  ASSIGN_OR_RETURN(split.url, WholeUrl(url.get()));
  RETURN_IF_ERROR(UrlOrigin(split.url).status());
  return split;
}

absl::StatusOr<HostAndPort> UrlHost(const std::string& text) {
  ASSIGN_OR_RETURN(const Url url, ParseUrl(text));
  return HostAndPort{.host = UrlPart(url.get(), CURLUPART_HOST).value_or(""),
                     .port = UrlPart(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT).value_or("")};
}

std::string BasicAuthorization(absl::string_view user, absl::string_view password) {
  return absl::StrCat("Basic ", absl::Base64Escape(absl::StrCat(user, ":", password)));
}

std::optional<absl::Time> ParseHttpDate(const std::string& text) {
  const time_t seconds = curl_getdate(text.c_str(), nullptr);
  if (seconds < 0) return std::nullopt;
  return absl::FromTimeT(seconds);
}

absl::StatusOr<std::string> UrlOrigin(const std::string& text) {
  ASSIGN_OR_RETURN(const Url url, ParseUrl(text));
  const std::optional<std::string> scheme = UrlPart(url.get(), CURLUPART_SCHEME);
  const std::optional<std::string> host = UrlPart(url.get(), CURLUPART_HOST);
  const std::optional<std::string> port = UrlPart(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  if (!host.has_value() || host->empty() || (scheme != "http" && scheme != "https")) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected an http or https URL: ", text.substr(0, 200)));
  }
  if (UrlPart(url.get(), CURLUPART_USER).has_value()) {
    return absl::InvalidArgumentError("expected a URL without a user name");
  }
  return absl::StrCat(*scheme, "://", absl::AsciiStrToLower(*host), ":", port.value_or(""));
}

absl::StatusOr<std::string> ResolveUrl(const std::string& base, const std::string& reference) {
  ASSIGN_OR_RETURN(const Url url, ParseUrl(base));
  if (curl_url_set(url.get(), CURLUPART_URL, reference.c_str(), 0) != CURLUE_OK) {
    return absl::InvalidArgumentError(absl::StrCat("no URL: ", reference.substr(0, 200)));
  }
  ASSIGN_OR_RETURN(std::string result, WholeUrl(url.get()));
  RETURN_IF_ERROR(UrlOrigin(result).status());
  return result;
}

absl::StatusOr<std::string> ResolveEncrypted(const std::string& base,
                                             const std::string& reference) {
  ASSIGN_OR_RETURN(std::string url, ResolveUrl(base, reference));
  if (absl::StartsWith(base, "https:") && !absl::StartsWith(url, "https:")) {
    return absl::InvalidArgumentError(absl::StrCat("the server leads from https to ",
                                                   url.substr(0, url.find('?')),
                                                   ": not followed without encryption"));
  }
  return url;
}

absl::StatusOr<std::string> AddQuery(const std::string& text, absl::string_view name,
                                     absl::string_view value) {
  ASSIGN_OR_RETURN(const Url url, ParseUrl(text));
  const std::string parameter = absl::StrCat(name, "=", value);
  if (curl_url_set(url.get(), CURLUPART_QUERY, parameter.c_str(),
                   CURLU_APPENDQUERY | CURLU_URLENCODE) != CURLUE_OK) {
    return absl::InvalidArgumentError(absl::StrCat("no URL: ", text.substr(0, 200)));
  }
  return WholeUrl(url.get());
}

bool IsLoopbackHost(absl::string_view host) {
  if (absl::StartsWith(host, "[")) {
    const absl::string_view address = host.substr(1, host.find(']') - 1);
    return address == "::1" || address == "0:0:0:0:0:0:0:1";
  }
  host = host.substr(0, host.find(':'));
  if (host == "localhost") return true;
  // A whole address, so that 127.example.com is none.
  const std::vector<absl::string_view> parts = absl::StrSplit(host, '.');
  if (parts.size() != 4 || parts[0] != "127") return false;
  return std::all_of(parts.begin(), parts.end(), [](absl::string_view part) {
    int number = 0;
    return absl::SimpleAtoi(part, &number) && number >= 0 && number <= 255;
  });
}

}  // namespace farm
