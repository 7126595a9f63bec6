#include "oci/registry_authorizer.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "oci/auth_challenge.h"
#include "oci/json_reader.h"

namespace farm {
namespace {

// Docker's default, and the shortest that a client has to reckon with.
constexpr absl::Duration kTokenLifetimeMin = absl::Seconds(60);
constexpr absl::Duration kTokenLifetimeMax = absl::Hours(24);
// So that a token does not end on its way.
constexpr absl::Duration kExpiryMargin = absl::Seconds(10);

constexpr char kClientId[] = "farm";

// Everything that a token depends on; secrets only as a hash.
std::string Key(const AuthTarget& target) {
  std::string who;
  if (target.credential != nullptr) {
    const RegistryCredential& credential = *target.credential;
    for (const std::string* part :
         {&credential.username, &credential.password, &credential.identity_token}) {
      absl::StrAppend(&who, part->size(), ":", *part);
    }
  }
  return absl::StrCat(target.origin, " ", absl::StrJoin(target.scopes, " "), " ",
                      DigestOf(who).hex());
}

std::string BasicHeader(const RegistryCredential& credential) {
  return absl::StrCat(
      "Basic ", absl::Base64Escape(absl::StrCat(credential.username, ":", credential.password)));
}

std::string FormEscape(absl::string_view text) {
  std::string result;
  for (const unsigned char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      result.push_back(static_cast<char>(c));
    } else {
      absl::StrAppend(&result, "%", absl::Hex(c, absl::kZeroPad2));
    }
  }
  return result;
}

std::string Parameter(const std::map<std::string, std::string>& params, const std::string& name) {
  const auto found = params.find(name);
  return found == params.end() ? "" : found->second;
}

HttpResult Failed(absl::Status status) {
  HttpResult result;
  result.status = std::move(status);
  return result;
}

HttpResult Header(std::string header) {
  HttpResult result;
  result.response.body = std::move(header);
  return result;
}

bool HasPassword(const RegistryCredential* credential) {
  return credential != nullptr && !credential->username.empty() &&
         credential->identity_token.empty();
}

bool HasIdentityToken(const RegistryCredential* credential) {
  return credential != nullptr && !credential->identity_token.empty();
}

// Ours, and those of the registry if it words them differently.
std::vector<std::string> Scopes(const AuthTarget& target, const std::string& challenged) {
  std::vector<std::string> scopes = target.scopes;
  for (absl::string_view scope : absl::StrSplit(challenged, ' ', absl::SkipEmpty())) {
    const size_t actions = scope.rfind(':');
    const bool known = std::any_of(scopes.begin(), scopes.end(), [&](const std::string& ours) {
      return absl::StartsWith(ours, scope.substr(0, actions + 1));
    });
    if (!known) scopes.emplace_back(scope);
  }
  return scopes;
}

absl::StatusOr<HttpRequest> TokenRequest(const AuthTarget& target,
                                         const std::map<std::string, std::string>& params) {
  const std::string realm = Parameter(params, "realm");
  const std::string service = Parameter(params, "service");
  ASSIGN_OR_RETURN(const std::string origin, UrlOrigin(realm), _ << "token server");
  const bool plain = absl::StartsWith(origin, "http://");
  if (plain && target.credential != nullptr && absl::StartsWith(target.origin, "https://")) {
    return absl::InvalidArgumentError(
        absl::StrCat("token server ", origin, ": credentials are not sent without encryption"));
  }
  HttpRequest request;
  request.url = realm;
  request.bypass_proxy = IsLoopbackHost(origin.substr(origin.find("//") + 2));
  const std::vector<std::string> scopes = Scopes(target, Parameter(params, "scope"));
  if (HasIdentityToken(target.credential)) {
    request.method = "POST";
    request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}};
    request.body = absl::StrCat("grant_type=refresh_token&client_id=", kClientId,
                                "&service=", FormEscape(service),
                                "&scope=", FormEscape(absl::StrJoin(scopes, " ")),
                                "&refresh_token=", FormEscape(target.credential->identity_token));
    return request;
  }
  if (!service.empty()) {
    ASSIGN_OR_RETURN(request.url, AddQuery(request.url, "service", service));
  }
  for (const std::string& scope : scopes) {
    ASSIGN_OR_RETURN(request.url, AddQuery(request.url, "scope", scope));
  }
  if (HasPassword(target.credential)) {
    ASSIGN_OR_RETURN(request.url, AddQuery(request.url, "account", target.credential->username));
    request.headers = {{"Authorization", BasicHeader(*target.credential)}};
  }
  return request;
}

struct TokenAnswer {
  std::string token;
  absl::Duration lifetime;
};

absl::StatusOr<TokenAnswer> ReadToken(absl::string_view body) {
  ASSIGN_OR_RETURN(
      const JsonReader json,
      JsonReader::Parse(body, RegistryAuthorizer::kTokenBytesMax, "token server's answer"));
  TokenAnswer answer;
  ASSIGN_OR_RETURN(answer.token, json["token"].String());
  if (answer.token.empty()) {
    ASSIGN_OR_RETURN(answer.token, json["access_token"].String());
  }
  if (answer.token.empty()) return json.Error("no token in it");
  // It becomes a header.
  if (std::any_of(answer.token.begin(), answer.token.end(),
                  [](unsigned char c) { return c <= ' ' || c >= 0x7f; })) {
    return json.Error("the token has characters that no token has");
  }
  ASSIGN_OR_RETURN(const int64_t seconds, json["expires_in"].Int());
  answer.lifetime = std::clamp(absl::Seconds(seconds), kTokenLifetimeMin, kTokenLifetimeMax);
  return answer;
}

}  // namespace

std::string RegistryAuthorizer::Known(const AuthTarget& target) {
  MutexLock lock(mu_);
  const auto found = tokens_.find(Key(target));
  if (found == tokens_.end()) return "";
  if (found->second.expires <= clock_.Now()) {
    tokens_.erase(found);
    return "";
  }
  return found->second.header;
}

HttpResult RegistryAuthorizer::Answer(const AuthTarget& target, const std::string& challenges,
                                      const CancelToken* cancel) {
  bool wants_basic = false;
  for (const AuthChallenge& challenge : ParseAuthChallenges(challenges)) {
    if (challenge.scheme == "bearer") return FetchToken(target, challenge.params, cancel);
    wants_basic |= challenge.scheme == "basic";
  }
  if (!wants_basic) {
    return Failed(absl::InvalidArgumentError(
        "the registry asks for neither Basic nor Bearer authentication"));
  }
  if (!HasPassword(target.credential)) {
    return Failed(absl::UnauthenticatedError("a user name and password are needed"));
  }
  std::string header = BasicHeader(*target.credential);
  Remember(target, header, kTokenLifetimeMax);
  return Header(std::move(header));
}

HttpResult RegistryAuthorizer::FetchToken(const AuthTarget& target,
                                          const std::map<std::string, std::string>& params,
                                          const CancelToken* cancel) {
  absl::StatusOr<HttpRequest> request = TokenRequest(target, params);
  if (!request.ok()) return Failed(request.status());
  request->timeout = timeout_;
  request->response_bytes_max = kTokenBytesMax;
  request->cancel = cancel;
  HttpResult result = http_.Do(*request);
  if (!result.status.ok()) {
    result.status = Annotate(result.status, "token server");
    return result;
  }
  const int status = result.response.status;
  if (status / 100 == 4 && status != 429 && status != 404) {
    return Failed(absl::UnauthenticatedError(target.credential == nullptr
                                                 ? "the token server gives no token without a login"
                                                 : "the token server refuses the credentials"));
  }
  if (status / 100 != 2) {
    result.status = absl::UnavailableError(absl::StrCat("token server: HTTP status ", status));
    result.may_retry = status == 429 || status >= 500;
    return result;
  }
  absl::StatusOr<TokenAnswer> answer = ReadToken(result.response.body);
  if (!answer.ok()) return Failed(answer.status());
  std::string header = absl::StrCat("Bearer ", answer->token);
  Remember(target, header, answer->lifetime);
  return Header(std::move(header));
}

void RegistryAuthorizer::Remember(const AuthTarget& target, std::string header,
                                  absl::Duration lifetime) {
  MutexLock lock(mu_);
  if (tokens_.size() >= kTokensMax) tokens_.clear();
  tokens_[Key(target)] = {std::move(header), clock_.Now() + lifetime - kExpiryMargin};
}

}  // namespace farm
