#include "worker/git_repository.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "worker/source_client.h"

namespace farm {
namespace {

constexpr int64_t kRefsBytesMax = 64 << 20;
constexpr absl::string_view kRefsPath = "/info/refs?service=git-upload-pack";

bool IsAddress(const std::string& host) {
  in6_addr address{};
  return absl::StartsWith(host, "[") || inet_pton(AF_INET, host.c_str(), &address) == 1;
}

// The host of a repository. git must take it by the very name under which it is told the address:
// what curl would write in another way, as names of other alphabets, it would look up anew.
absl::StatusOr<HostAndPort> GitHost(const std::string& url, absl::string_view shown) {
  ASSIGN_OR_RETURN(HostAndPort host, UrlHost(url));
  const bool is_plain = std::all_of(host.host.begin(), host.host.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
  });
  if (is_plain || IsAddress(host.host)) return host;
  return absl::InvalidArgumentError(
      absl::StrCat(shown, ": expected the host of a git repository in ASCII, as xn--..."));
}

}  // namespace

absl::StatusOr<GitRepository> ReachGitRepository(const StepTools& tools, const StepRun& run,
                                                 const std::string& remote,
                                                 const std::string& authorization,
                                                 absl::Time deadline) {
  const SourceClient::Options& limits = tools.sources.options();
  GitRepository repository{.url = "",
                           .shown = RedactUrls(remote),
                           .git = {.config = {},
                                   .ca_file = limits.ca_file,
                                   .file_bytes_max = limits.bytes_max,
                                   .deadline = deadline,
                                   .cancel = run.cancel}};
  RETURN_IF_ERROR(GitHost(remote, repository.shown).status());
  SourceClient::Call call;
  call.url = absl::StrCat(absl::StripSuffix(remote, "/"), kRefsPath);
  call.authorization = authorization;
  // The short answer of a server that knows it.
  call.headers = {{"Git-Protocol", "version=2"}};
  call.step_allows_loopback = run.spec.execution().loopback_allowed();
  call.deadline = repository.git.deadline;
  call.cancel = &run.cancel;
  call.on_body = [got = int64_t{0}](const HttpResponse&, absl::string_view bytes) mutable {
    got += static_cast<int64_t>(bytes.size());
    return got <= kRefsBytesMax
               ? absl::OkStatus()
               : absl::InvalidArgumentError(absl::StrCat("the list of references has more than ",
                                                         kRefsBytesMax, " bytes"));
  };
  ASSIGN_OR_RETURN(const SourceClient::Answer answer, tools.sources.Get(call));
  absl::string_view url = answer.url;
  if (!absl::ConsumeSuffix(&url, kRefsPath)) {
    return absl::InvalidArgumentError(
        absl::StrCat(repository.shown, ": redirected to ", url, ", which is no git repository"));
  }
  repository.url = std::string(url);
  ASSIGN_OR_RETURN(const HostAndPort host, GitHost(repository.url, repository.shown));
  if (!IsAddress(host.host)) {
    repository.git.config.emplace_back(
        "http.curloptResolve",
        absl::StrCat(host.host, ":", host.port, ":", answer.response.peer_address));
  }
  ASSIGN_OR_RETURN(const UrlWithUser user, SplitUser(remote));
  std::string header = authorization;
  if (header.empty() && !user.user.empty()) header = BasicAuthorization(user.user, user.password);
  if (!header.empty() && *UrlOrigin(user.url) == *UrlOrigin(repository.url)) {
    repository.git.config.emplace_back(absl::StrCat("http.", repository.url, ".extraHeader"),
                                       absl::StrCat("Authorization: ", header));
  }
  return repository;
}

absl::StatusOr<std::string> RunGitFor(const GitRepository& repository,
                                      const std::vector<std::string>& args) {
  absl::StatusOr<std::string> printed = RunGit(args, repository.git);
  if (printed.ok()) return printed;
  // Not the repository's fault: the host has no git that will do.
  if (absl::IsUnavailable(printed.status())) return printed.status();
  return SourceError(repository.shown, printed.status());
}

}  // namespace farm
