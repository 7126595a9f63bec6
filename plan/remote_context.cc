#include "plan/remote_context.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "plan/source_url.h"

namespace farm {
namespace {

constexpr char kFileName[] = "context";

}  // namespace

std::string RemoteContextUrl(absl::string_view context) {
  if (IsHttpUrl(context) || IsGitReference(context)) return std::string(context);
  if (!absl::StartsWith(context, "github.com/")) return "";
  const size_t end = std::min(context.find_first_of("?#"), context.size());
  const absl::string_view path = context.substr(0, end);
  return absl::StrCat("https://", path, absl::EndsWith(path, ".git") ? "" : ".git",
                      context.substr(end));
}

absl::StatusOr<RemoteSource> RemoteContext(const std::string& url) {
  RemoteSource source{.url = url};
  if (!IsGitReference(url)) {
    source.kind = RemoteSource::Kind::kHttp;
    source.file_name = kFileName;
    return source;
  }
  source.kind = RemoteSource::Kind::kGit;
  ASSIGN_OR_RETURN(source.git, ParseGitReference(url), _ << RedactUrls(url));
  const absl::string_view problem = TransportProblem(source.git.transport);
  if (problem.empty()) return source;
  return absl::InvalidArgumentError(absl::StrCat(RedactUrls(url), ": ", problem));
}

}  // namespace farm
