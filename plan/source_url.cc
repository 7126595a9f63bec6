#include "plan/source_url.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "dockerfile/clean_path.h"

namespace farm {
namespace {

constexpr size_t kSha1HexDigits = 40;
constexpr size_t kSha256HexDigits = 64;

bool IsAllOf(absl::string_view text, absl::string_view punctuation) {
  return std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return absl::ascii_isalnum(c) || absl::StrContains(punctuation, static_cast<char>(c));
  });
}

bool IsLowerHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
  });
}

// `text` without its %XX; nullopt if one is cut off or none, or is a byte that no path has.
std::optional<std::string> PercentDecoded(absl::string_view text) {
  std::string decoded;
  while (!text.empty()) {
    if (!absl::ConsumePrefix(&text, "%")) {
      decoded += text[0];
      text.remove_prefix(1);
      continue;
    }
    uint32_t byte = 0;
    if (text.size() < 2 || !absl::ascii_isxdigit(text[0]) || !absl::ascii_isxdigit(text[1]) ||
        !absl::SimpleHexAtoi(text.substr(0, 2), &byte) || byte == 0) {
      return std::nullopt;
    }
    decoded += static_cast<char>(byte);
    text.remove_prefix(2);
  }
  return decoded;
}

absl::Status Invalid(absl::string_view what) { return absl::InvalidArgumentError(what); }

absl::StatusOr<std::string> Decoded(absl::string_view text) {
  std::optional<std::string> decoded = PercentDecoded(text);
  if (decoded.has_value()) return *std::move(decoded);
  return Invalid(absl::StrCat("\"", text, "\" is not percent-encoded as URLs are"));
}

// git-check-ref-format(1), as far as a name could do harm or can't be meant.
absl::Status CheckRef(absl::string_view ref) {
  if (ref.size() > kGitRefBytesMax) {
    return Invalid(absl::StrCat("a git reference of more than ", kGitRefBytesMax, " bytes"));
  }
  const bool has_forbidden = std::any_of(ref.begin(), ref.end(), [](unsigned char c) {
    return c <= ' ' || c == 0x7F || absl::StrContains("~^:?*[\\", static_cast<char>(c));
  });
  if (!has_forbidden && !absl::StartsWith(ref, "-") && !absl::StrContains(ref, "..") &&
      !absl::StrContains(ref, "@{")) {
    return absl::OkStatus();
  }
  return Invalid(
      absl::StrCat("\"", ref,
                   "\" can't be a git reference: expected a branch, a tag or the id of a "
                   "commit"));
}

absl::StatusOr<std::string> CleanSubdir(absl::string_view subdir) {
  if (subdir.size() > kGitSubdirBytesMax) {
    return Invalid(absl::StrCat("a subdirectory of more than ", kGitSubdirBytesMax, " bytes"));
  }
  return CleanPath(absl::StrCat("/", subdir)).substr(1);
}

// The query of a reference: name -> value, each once.
class Query {
 public:
  static constexpr const char* kNames[] = {"ref",    "branch",   "tag",          "subdir",
                                           "commit", "checksum", "keep-git-dir", "submodules"};

  static absl::StatusOr<Query> Parse(absl::string_view text) {
    Query query;
    for (const absl::string_view pair : absl::StrSplit(text, '&', absl::SkipEmpty())) {
      const std::pair<absl::string_view, absl::string_view> parts =
          absl::StrSplit(pair, absl::MaxSplits('=', 1));
      ASSIGN_OR_RETURN(const std::string name, Decoded(parts.first));
      ASSIGN_OR_RETURN(std::string value, Decoded(parts.second));
      if (std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames)) {
        const std::string closest = ClosestMatch(name, {std::begin(kNames), std::end(kNames)});
        return Invalid(
            absl::StrCat("unexpected query \"", name, "\" of a git repository",
                         closest.empty() ? "" : absl::StrCat(" (did you mean ", closest, "?)")));
      }
      if (value.empty() && name != "keep-git-dir" && name != "submodules") {
        return Invalid(absl::StrCat("query \"", name, "\" has no value"));
      }
      if (!query.values_.emplace(name, std::move(value)).second) {
        return Invalid(absl::StrCat("query \"", name, "\" is given twice"));
      }
    }
    return query;
  }

  std::optional<std::string> Get(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) return std::nullopt;
    return found->second;
  }

 private:
  std::map<std::string, std::string> values_;
};

// `value` into `field`, unless that is another one already.
absl::Status SetOnce(absl::string_view what, const std::optional<std::string>& value,
                     std::string& field) {
  if (!value.has_value()) return absl::OkStatus();
  if (!field.empty() && field != *value) {
    return Invalid(absl::StrCat(what, " conflicts: \"", field, "\" and \"", *value, "\""));
  }
  field = *value;
  return absl::OkStatus();
}

// A name alone is true; nullopt if it is not there.
absl::StatusOr<std::optional<bool>> ReadSwitch(const Query& query, const std::string& name) {
  const std::optional<std::string> text = query.Get(name);
  if (!text.has_value()) return std::nullopt;
  bool value = true;
  if (!text->empty() && !absl::SimpleAtob(*text, &value)) {
    return Invalid(absl::StrCat(name, "=", *text, ": expected true or false"));
  }
  return value;
}

absl::Status ReadQuery(const Query& query, GitReference& reference) {
  RETURN_IF_ERROR(SetOnce("ref", query.Get("ref"), reference.ref));
  for (const auto& [name, prefix] :
       {std::pair("tag", "refs/tags/"), std::pair("branch", "refs/heads/")}) {
    const std::optional<std::string> value = query.Get(name);
    if (!value.has_value()) continue;
    if (!reference.ref.empty()) return Invalid(absl::StrCat(name, " conflicts with another ref"));
    reference.ref = absl::StrCat(prefix, *value);
  }
  RETURN_IF_ERROR(SetOnce("subdir", query.Get("subdir"), reference.subdir));
  RETURN_IF_ERROR(SetOnce("checksum", query.Get("checksum"), reference.checksum));
  RETURN_IF_ERROR(SetOnce("commit", query.Get("commit"), reference.checksum));
  if (!reference.checksum.empty() && !IsGitChecksum(reference.checksum)) {
    return Invalid(absl::StrCat("invalid checksum \"", reference.checksum,
                                "\": expected hexadecimal digits of a commit"));
  }
  if (reference.ref.empty()) reference.ref = reference.checksum;
  ASSIGN_OR_RETURN(reference.keep_git_dir, ReadSwitch(query, "keep-git-dir"));
  ASSIGN_OR_RETURN(const std::optional<bool> submodules, ReadSwitch(query, "submodules"));
  reference.submodules = submodules.value_or(true);
  return absl::OkStatus();
}

GitTransport TransportOf(absl::string_view source) {
  if (IsHttpUrl(source)) return GitTransport::kHttp;
  return absl::StartsWith(source, "git://") ? GitTransport::kGit : GitTransport::kSsh;
}

}  // namespace

absl::string_view TransportProblem(GitTransport transport) {
  switch (transport) {
    case GitTransport::kHttp:
      break;
    case GitTransport::kSsh:
      return "a repository over ssh needs an ssh agent, and this farm passes none on; name it by "
             "its https URL";
    case GitTransport::kGit:
      return "git:// shows neither who answers nor that what comes is unchanged; name the "
             "repository by its https URL";
  }
  return "";
}

bool IsHttpUrl(absl::string_view source) {
  return absl::StartsWith(source, "http://") || absl::StartsWith(source, "https://");
}

bool IsGitReference(absl::string_view source) {
  if (absl::StartsWith(source, "git://") || absl::StartsWith(source, "ssh://")) return true;
  if (IsHttpUrl(source)) {
    source = source.substr(0, source.find_first_of("?#"));
    return absl::EndsWith(source, ".git");
  }
  const size_t at = source.find('@');
  const size_t colon = source.find(':');
  if (at == source.npos || colon == source.npos || at == 0 || colon <= at + 1) return false;
  return IsAllOf(source.substr(0, at), "-_") &&
         IsAllOf(source.substr(at + 1, colon - at - 1), "-.");
}

std::string FileNameOfUrl(absl::string_view url) {
  constexpr char kUnnamed[] = "__unnamed__";
  url = url.substr(url.find("://") + 3);
  url = url.substr(0, url.find_first_of("?#"));
  const std::optional<std::string> path =
      PercentDecoded(url.substr(std::min(url.find('/'), url.size())));
  if (!path.has_value()) return kUnnamed;
  absl::string_view name = *path;
  while (absl::ConsumeSuffix(&name, "/")) {
  }
  name = name.substr(name.rfind('/') + 1);
  return name.empty() || name == "." || name == ".." ? kUnnamed : std::string(name);
}

bool IsGitCommitId(absl::string_view text) {
  return (text.size() == kSha1HexDigits || text.size() == kSha256HexDigits) && IsLowerHex(text);
}

bool IsGitChecksum(absl::string_view text) {
  return !text.empty() && text.size() <= kSha256HexDigits && IsLowerHex(text);
}

absl::StatusOr<GitReference> ParseGitReference(absl::string_view source) {
  GitReference reference;
  reference.transport = TransportOf(source);
  const std::pair<absl::string_view, absl::string_view> fragment =
      absl::StrSplit(source, absl::MaxSplits('#', 1));
  const std::pair<absl::string_view, absl::string_view> query =
      absl::StrSplit(fragment.first, absl::MaxSplits('?', 1));
  reference.remote = std::string(query.first);
  ASSIGN_OR_RETURN(const std::string decoded, Decoded(fragment.second));
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(decoded, absl::MaxSplits(':', 1));
  reference.ref = parts.first;
  reference.subdir = parts.second;
  ASSIGN_OR_RETURN(const Query values, Query::Parse(query.second));
  RETURN_IF_ERROR(ReadQuery(values, reference));
  RETURN_IF_ERROR(CheckRef(reference.ref));
  ASSIGN_OR_RETURN(reference.subdir, CleanSubdir(reference.subdir));
  if (IsGitCommitId(reference.ref) && !absl::StartsWith(reference.ref, reference.checksum)) {
    return Invalid(
        absl::StrCat("checksum mismatch: expected ", reference.checksum, ", got ", reference.ref));
  }
  return reference;
}

}  // namespace farm
