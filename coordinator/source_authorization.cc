#include "coordinator/source_authorization.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "oci/http_client.h"

namespace farm {
namespace {

constexpr char kGitTokenUser[] = "x-access-token";

enum class Kind { kHeader, kBearerToken, kGitToken };

struct Candidate {
  std::string id;
  Kind kind;
};

std::vector<Candidate> CandidatesFor(const RemoteSource& source, const HostAndPort& host) {
  if (source.kind == RemoteSource::Kind::kHttp) {
    return {{absl::StrCat("HTTP_AUTH_TOKEN_", host.host), Kind::kBearerToken},
            {absl::StrCat("HTTP_AUTH_HEADER_", host.host), Kind::kHeader}};
  }
  std::vector<Candidate> candidates;
  for (const std::string& suffix : {absl::StrCat(".", host.host, ":", host.port),
                                    absl::StrCat(".", host.host), std::string()}) {
    candidates.push_back({absl::StrCat("GIT_AUTH_HEADER", suffix), Kind::kHeader});
    candidates.push_back({absl::StrCat("GIT_AUTH_TOKEN", suffix), Kind::kGitToken});
  }
  return candidates;
}

// The message must not show the value.
absl::StatusOr<std::string> ValueOf(const v1::SecretValue& secret) {
  const absl::string_view value = absl::StripAsciiWhitespace(secret.value());
  const bool is_line =
      std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c <= 0x7E; });
  if (!value.empty() && is_line && value.size() <= kAuthorizationBytesMax) {
    return std::string(value);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("secret ", secret.id(), ": expected one line of at most ",
                   kAuthorizationBytesMax, " ASCII letters, to authorise a request"));
}

}  // namespace

absl::StatusOr<std::string> SourceAuthorization(
    const RemoteSource& source,
    const google::protobuf::RepeatedPtrField<v1::SecretValue>& secrets) {
  if (secrets.empty()) return "";
  ASSIGN_OR_RETURN(
      const HostAndPort host,
      UrlHost(source.kind == RemoteSource::Kind::kHttp ? source.url : source.git.remote));
  for (const Candidate& candidate : CandidatesFor(source, host)) {
    const auto secret =
        std::find_if(secrets.begin(), secrets.end(),
                     [&](const v1::SecretValue& known) { return known.id() == candidate.id; });
    if (secret == secrets.end()) continue;
    ASSIGN_OR_RETURN(std::string value, ValueOf(*secret));
    switch (candidate.kind) {
      case Kind::kHeader:
        return value;
      case Kind::kBearerToken:
        return absl::StrCat("Bearer ", value);
      case Kind::kGitToken:
        return BasicAuthorization(kGitTokenUser, value);
    }
  }
  return "";
}

}  // namespace farm
