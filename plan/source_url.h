// What ADD may name beside files of the context: URLs of files and of git repositories, as BuildKit
// tells and reads them. Text of a Dockerfile: hostile.
#ifndef FARM_PLAN_SOURCE_URL_H_
#define FARM_PLAN_SOURCE_URL_H_

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

inline constexpr size_t kGitRefBytesMax = 1024;
inline constexpr size_t kGitSubdirBytesMax = 4095;  // PATH_MAX, without the end

// http:// or https://.
bool IsHttpUrl(absl::string_view source);

// What BuildKit takes for a repository and never for a path: git:// and ssh:// URLs, others whose
// path ends in ".git", and user@host:path. ("github.com/x" may be a path.)
bool IsGitReference(absl::string_view source);

// The name of the file that a URL of one gives: the last part of its path, decoded;
// "https://example.com/a/b%20c.tar.gz?x=1" is "b c.tar.gz". "__unnamed__" if it has none.
std::string FileNameOfUrl(absl::string_view url);

enum class GitTransport { kHttp, kSsh, kGit };

// Why no worker gets to a repository by `transport`, for after its name; "" if one does.
absl::string_view TransportProblem(GitTransport transport);

// "REMOTE#REF:SUBDIR", or "REMOTE?ref=REF&subdir=SUBDIR" with any of: ref, branch, tag, subdir,
// checksum or commit, keep-git-dir, submodules.
struct GitReference {
  GitTransport transport = GitTransport::kHttp;
  std::string remote;  // a URL with the user it had, without query and fragment; or user@host:path
  std::string ref;     // branch, tag, full name or commit id; "" is the default branch
  std::string subdir;  // relative and clean; "" is all
  std::string checksum;              // hex digits that the commit's id begins with; "" is any
  std::optional<bool> keep_git_dir;  // unset: not said
  bool submodules = true;

  friend bool operator==(const GitReference&, const GitReference&) = default;
};

// INVALID_ARGUMENT for a query that is not known or said twice, a reference that git has none of,
// and over the limits above. `source` is one that IsGitReference().
absl::StatusOr<GitReference> ParseGitReference(absl::string_view source);

// A whole commit id: it needs no server to say which commit it is.
bool IsGitCommitId(absl::string_view text);
// Hex digits that a commit id may begin with.
bool IsGitChecksum(absl::string_view text);

}  // namespace farm

#endif  // FARM_PLAN_SOURCE_URL_H_
