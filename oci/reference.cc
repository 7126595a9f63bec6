#include "oci/reference.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/digest.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr absl::string_view kHubHost = "docker.io";
constexpr absl::string_view kHubLegacyHost = "index.docker.io";
constexpr absl::string_view kHubOfficialPrefix = "library/";

absl::Status InvalidFormat() { return absl::InvalidArgumentError("invalid reference format"); }

bool IsLowerHex(char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); }
bool IsPathAlnum(char c) { return absl::ascii_isdigit(c) || absl::ascii_islower(c); }
bool IsWordCharacter(char c) { return absl::ascii_isalnum(c) || c == '_'; }
bool HasUpper(absl::string_view text) {
  return std::any_of(text.begin(), text.end(), absl::ascii_isupper);
}

// Lower-case letters and digits, with one '.', one or two '_' or any number of '-' between them.
bool IsPathComponent(absl::string_view component) {
  size_t i = 0;
  while (true) {
    const size_t start = i;
    while (i < component.size() && IsPathAlnum(component[i])) ++i;
    if (i == start) return false;
    if (i == component.size()) return true;
    const char separator = component[i];
    const size_t separator_start = i;
    while (i < component.size() && component[i] == separator) ++i;
    const size_t length = i - separator_start;
    const bool valid =
        separator == '-' || (separator == '.' && length == 1) || (separator == '_' && length <= 2);
    if (!valid) return false;
  }
}

bool IsPath(absl::string_view path) {
  for (absl::string_view component : absl::StrSplit(path, '/')) {
    if (!IsPathComponent(component)) return false;
  }
  return true;
}

bool IsDomainComponent(absl::string_view component) {
  if (component.empty() || component.front() == '-' || component.back() == '-') return false;
  return std::all_of(component.begin(), component.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '-'; });
}

bool IsHostName(absl::string_view name) {
  for (absl::string_view component : absl::StrSplit(name, '.')) {
    if (!IsDomainComponent(component)) return false;
  }
  return true;
}

bool IsBracketedIpv6(absl::string_view host) {
  if (host.size() < 3 || host.front() != '[' || host.back() != ']') return false;
  host = host.substr(1, host.size() - 2);
  return std::all_of(host.begin(), host.end(),
                     [](char c) { return absl::ascii_isxdigit(c) || c == ':'; });
}

// A host name, IPv4 address or [IPv6 address], perhaps with ":port".
bool IsHost(absl::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon != absl::string_view::npos && !absl::EndsWith(host, "]")) {
    const absl::string_view port = host.substr(colon + 1);
    if (port.empty() || !std::all_of(port.begin(), port.end(), absl::ascii_isdigit)) return false;
    host = host.substr(0, colon);
  }
  return IsHostName(host) || IsBracketedIpv6(host);
}

bool IsTag(absl::string_view tag) {
  if (tag.empty() || tag.size() > Reference::kTagLengthMax || !IsWordCharacter(tag[0])) {
    return false;
  }
  return std::all_of(tag.begin(), tag.end(),
                     [](char c) { return IsWordCharacter(c) || c == '.' || c == '-'; });
}

// The digest grammar is wider than what anyone can check: names of algorithms joined by [-_+.].
bool HasDigestForm(absl::string_view digest) {
  const size_t colon = digest.find(':');
  if (colon == absl::string_view::npos) return false;
  const absl::string_view hex = digest.substr(colon + 1);
  if (hex.size() < 32 || !std::all_of(hex.begin(), hex.end(), absl::ascii_isxdigit)) return false;
  for (absl::string_view part : absl::StrSplit(digest.substr(0, colon), absl::ByAnyChar("-_+."))) {
    if (part.empty() || !absl::ascii_isalpha(part[0])) return false;
    if (!std::all_of(part.begin(), part.end(), absl::ascii_isalnum)) return false;
  }
  return true;
}

absl::Status CheckDigest(absl::string_view digest) {
  if (!HasDigestForm(digest)) return InvalidFormat();
  if (!absl::StartsWith(digest, "sha256:")) {
    return absl::InvalidArgumentError(
        absl::StrCat("unsupported digest algorithm: ", digest, ": expected sha256:HEX"));
  }
  if (digest.size() != 7 + 64) {
    return absl::InvalidArgumentError("invalid checksum digest length");
  }
  if (!Digest::FromOci(digest, 0).ok()) {
    return absl::InvalidArgumentError("invalid checksum digest format");
  }
  return absl::OkStatus();
}

struct HostAndRemainder {
  std::string host;
  std::string remainder;  // path[:tag][@digest]
};

HostAndRemainder SplitHost(absl::string_view text) {
  const size_t slash = text.find('/');
  const absl::string_view first = text.substr(0, slash);
  const bool is_host =
      slash != absl::string_view::npos &&
      (first == "localhost" || first.find_first_of(".:") != first.npos || HasUpper(first));
  HostAndRemainder result;
  result.host = std::string(is_host && first != kHubLegacyHost ? first : kHubHost);
  result.remainder = std::string(is_host ? text.substr(slash + 1) : text);
  if (result.host == kHubHost && !absl::StrContains(result.remainder, '/')) {
    result.remainder.insert(0, kHubOfficialPrefix.data(), kHubOfficialPrefix.size());
  }
  return result;
}

}  // namespace

absl::StatusOr<Reference> Reference::Parse(absl::string_view text) {
  if (text.size() > kTextLengthMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid reference format: longer than ", kTextLengthMax, " characters"));
  }
  if (text.size() == 64 && std::all_of(text.begin(), text.end(), IsLowerHex)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "invalid repository name (", text, "), cannot specify 64-byte hexadecimal strings"));
  }
  const HostAndRemainder split = SplitHost(text);
  absl::string_view rest = split.remainder;

  if (const absl::string_view name = rest.substr(0, rest.find(':')); HasUpper(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid reference format: repository name (", name, ") must be lowercase"));
  }
  Reference result;
  if (const size_t at = rest.find('@'); at != absl::string_view::npos) {
    result.digest_ = std::string(rest.substr(at + 1));
    rest = rest.substr(0, at);
    RETURN_IF_ERROR(CheckDigest(result.digest_));
  }
  if (const size_t colon = rest.find(':'); colon != absl::string_view::npos) {
    result.tag_ = std::string(rest.substr(colon + 1));
    rest = rest.substr(0, colon);
    if (!IsTag(result.tag_)) return InvalidFormat();
  }
  if (!IsHost(split.host) || !IsPath(rest)) return InvalidFormat();
  if (rest.size() > kPathLengthMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("repository name must not be more than ", kPathLengthMax, " characters"));
  }
  result.host_ = split.host;
  result.path_ = std::string(rest);
  return result;
}

std::string Reference::repository() const { return absl::StrCat(host_, "/", path_); }

std::string Reference::canonical() const {
  return absl::StrCat(repository(), tag_.empty() ? "" : ":", tag_, digest_.empty() ? "" : "@",
                      digest_);
}

std::string Reference::familiar_repository() const {
  if (host_ != kHubHost) return repository();
  const absl::string_view path = path_;
  if (absl::StartsWith(path, kHubOfficialPrefix)) {
    const absl::string_view name = path.substr(kHubOfficialPrefix.size());
    if (!absl::StrContains(name, '/')) return std::string(name);
  }
  return path_;
}

std::string Reference::familiar() const {
  return absl::StrCat(familiar_repository(), tag_.empty() ? "" : ":", tag_,
                      digest_.empty() ? "" : "@", digest_);
}

Reference Reference::WithDefaultTag() const {
  Reference result = *this;
  if (tag_.empty() && digest_.empty()) result.tag_ = "latest";
  return result;
}

absl::StatusOr<Reference> Reference::WithTag(absl::string_view tag) const {
  if (!IsTag(tag)) return absl::InvalidArgumentError("invalid tag format");
  Reference result = RepositoryOnly();
  result.tag_ = std::string(tag);
  return result;
}

absl::StatusOr<Reference> Reference::WithDigest(absl::string_view digest) const {
  RETURN_IF_ERROR(CheckDigest(digest));
  Reference result = *this;
  result.digest_ = std::string(digest);
  return result;
}

Reference Reference::RepositoryOnly() const {
  Reference result;
  result.host_ = host_;
  result.path_ = path_;
  return result;
}

}  // namespace farm
