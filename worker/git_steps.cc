#include "worker/git_steps.h"

#include <arpa/inet.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/errno_status.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "worker/git_command.h"
#include "worker/layer_output.h"
#include "worker/source_client.h"

namespace farm {
namespace {

constexpr int64_t kRefsBytesMax = 64 << 20;
constexpr absl::string_view kRefsPath = "/info/refs?service=git-upload-pack";

bool IsCommitId(absl::string_view id) {
  return (id.size() == 40 || id.size() == 64) &&
         std::all_of(id.begin(), id.end(), [](unsigned char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

// A repository that was found to be there, and how git gets to it.
struct Repository {
  std::string url;  // After redirects; without user.
  std::string shown;
  GitOptions git;
};

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

// Asks the server by our own client, which checks addresses and follows redirects; git is then told
// where that led, and does neither.
absl::StatusOr<Repository> Reach(const StepTools& tools, const StepRun& run,
                                 const std::string& remote) {
  const SourceClient::Options& limits = tools.sources.options();
  Repository repository{.url = "",
                        .shown = RedactUrls(remote),
                        .git = {.config = {},
                                .ca_file = limits.ca_file,
                                .file_bytes_max = limits.bytes_max,
                                .deadline = absl::Now() + limits.timeout,
                                .cancel = run.cancel}};
  RETURN_IF_ERROR(GitHost(remote, repository.shown).status());
  SourceClient::Call call;
  call.url = absl::StrCat(absl::StripSuffix(remote, "/"), kRefsPath);
  call.authorization = run.spec.execution().source_authorization();
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
  std::string authorization = call.authorization;
  if (authorization.empty() && !user.user.empty()) {
    authorization = BasicAuthorization(user.user, user.password);
  }
  if (!authorization.empty() && *UrlOrigin(user.url) == *UrlOrigin(repository.url)) {
    repository.git.config.emplace_back(absl::StrCat("http.", repository.url, ".extraHeader"),
                                       absl::StrCat("Authorization: ", authorization));
  }
  return repository;
}

absl::StatusOr<std::string> Git(const Repository& repository,
                                const std::vector<std::string>& args) {
  absl::StatusOr<std::string> printed = RunGit(args, repository.git);
  if (printed.ok()) return printed;
  // Not the repository's fault: the host has no git that will do.
  if (absl::IsUnavailable(printed.status())) return printed.status();
  return SourceError(repository.shown, printed.status());
}

// What "ls-remote" prints: name -> id.
std::map<std::string, std::string> ParseRefs(absl::string_view printed) {
  std::map<std::string, std::string> refs;
  for (const absl::string_view line : absl::StrSplit(printed, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(line, absl::MaxSplits('\t', 1));
    refs.emplace(pair.second, pair.first);
  }
  return refs;
}

absl::StatusOr<v1::GitCommit> FindDefaultBranch(const Repository& repository) {
  ASSIGN_OR_RETURN(const std::string printed,
                   Git(repository, {"ls-remote", "-q", "--symref", "--", repository.url, "HEAD"}));
  v1::GitCommit commit;
  for (const absl::string_view line : absl::StrSplit(printed, '\n', absl::SkipEmpty())) {
    absl::string_view rest = line;
    if (!absl::ConsumeSuffix(&rest, "\tHEAD")) continue;
    if (absl::ConsumePrefix(&rest, "ref: ")) {
      commit.set_ref(std::string(rest));
    } else {
      commit.set_id(std::string(rest));
    }
  }
  if (!commit.id().empty()) return commit;
  return absl::InvalidArgumentError(
      absl::StrCat(repository.shown, ": the repository has no default branch"));
}

absl::StatusOr<v1::GitCommit> FindRef(const Repository& repository, const std::string& ref) {
  ASSIGN_OR_RETURN(
      const std::string printed,
      Git(repository, {"ls-remote", "-q", "--", repository.url, ref, absl::StrCat(ref, "^{}")}));
  const std::map<std::string, std::string> refs = ParseRefs(printed);
  for (const std::string& name :
       {absl::StrCat("refs/", absl::StripPrefix(ref, "refs/")),
        absl::StrCat("refs/heads/", absl::StripPrefix(ref, "refs/heads/")),
        absl::StrCat("refs/tags/", absl::StripPrefix(ref, "refs/tags/"))}) {
    const auto found = refs.find(name);
    if (found == refs.end()) continue;
    const auto tagged = refs.find(name + "^{}");
    v1::GitCommit commit;
    commit.set_id(tagged != refs.end() ? tagged->second : found->second);
    commit.set_ref(name);
    return commit;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(repository.shown, ": the repository has no branch or tag \"", ref, "\""));
}

// Where a commit is fetched to and checked out.
class Checkout {
 public:
  Checkout(const Repository& repository, const v1::FetchGitOperation& operation, std::string dir)
      : repository_(repository),
        operation_(operation),
        tree_(dir + "/tree"),
        git_dir_(keeps_git_dir() ? tree_ + "/.git" : dir + "/repository") {}

  // As BuildKit has it: with a subdirectory there is none to keep.
  bool keeps_git_dir() const { return operation_.keep_git_dir() && operation_.subdir().empty(); }
  std::string result() const {
    return operation_.subdir().empty() ? tree_ : absl::StrCat(tree_, "/", operation_.subdir());
  }

  absl::Status Fetch() {
    if (mkdir(tree_.c_str(), 0755) != 0) return ErrnoStatus(errno, tree_);
    std::vector<std::string> init = {"init", "-q", "--template="};
    if (!keeps_git_dir()) init.push_back("--bare");
    init.push_back(keeps_git_dir() ? tree_ : git_dir_);
    RETURN_IF_ERROR(Git(repository_, init).status());
    if (keeps_git_dir() && !operation_.ref().empty() && FetchRef().ok()) return absl::OkStatus();
    const absl::Status shallow = FetchObjects({"--depth=1"}, {operation_.commit()});
    if (shallow.ok()) return absl::OkStatus();
    if (absl::IsCancelled(shallow) || absl::IsDeadlineExceeded(shallow)) return shallow;
    // A server of plain files knows no depth, an old one gives only what has a name.
    const std::string heads = "+refs/heads/*:refs/remotes/origin/*";
    const std::string all = "+refs/tags/*:refs/tags/*";
    RETURN_IF_ERROR(operation_.ref().empty() ? FetchObjects({}, {heads, all})
                                             : FetchObjects({}, {absl::StrCat("+", operation_.ref(),
                                                                              ":refs/farm/ref")}));
    if (HasCommit()) return absl::OkStatus();
    return Error(absl::StrCat("the repository has no commit ", operation_.commit()));
  }

  // What is fetched is small; what it unpacks to need not be. Names of submodules, of which a
  // commit has none of the files.
  absl::StatusOr<std::vector<std::string>> CheckSize() {
    // All of the commit goes through git's index.
    const std::vector<std::string> list = {"ls-tree", "-r",          "-l",
                                           "-z",      "--full-tree", operation_.commit()};
    std::string below;
    if (!operation_.subdir().empty()) {
      const std::string type =
          InRepository(
              {"cat-file", "-t", absl::StrCat(operation_.commit(), ":", operation_.subdir())})
              .value_or("");
      if (type != "tree\n") {
        return Error(absl::StrCat("the commit has no directory \"", operation_.subdir(), "\""));
      }
      below = operation_.subdir() + "/";
    }
    ASSIGN_OR_RETURN(const std::string printed, InRepository(list));
    std::vector<std::string> submodules;
    int64_t bytes = 0, entries = 0;
    for (const absl::string_view line : absl::StrSplit(printed, '\0', absl::SkipEmpty())) {
      const std::pair<absl::string_view, absl::string_view> pair =
          absl::StrSplit(line, absl::MaxSplits('\t', 1));
      const std::vector<absl::string_view> fields =
          absl::StrSplit(pair.first, ' ', absl::SkipEmpty());
      if (++entries > kGitFilesMax) {
        return Error(absl::StrCat("the commit has more than ", kGitFilesMax, " files"));
      }
      if (!absl::StartsWith(pair.second, below)) continue;
      ++files_;
      if (fields.size() == 4 && fields[1] == "commit") submodules.emplace_back(pair.second);
      int64_t size = 0;
      if (fields.size() == 4 && absl::SimpleAtoi(fields[3], &size)) bytes += size;
      if (bytes > repository_.git.file_bytes_max) {
        return Error(absl::StrCat("the commit's files are over sources.bytes_max = ",
                                  repository_.git.file_bytes_max, " bytes"));
      }
    }
    return submodules;
  }

  absl::Status WriteFiles() {
    if (keeps_git_dir()) {
      RETURN_IF_ERROR(
          InRepository({"checkout", "-q", "-f", "--detach", operation_.commit()}).status());
      return InRepository({"remote", "add", "origin", repository_.url}).status();
    }
    if (files_ == 0) {  // An empty directory, of which nothing is checked out.
      std::error_code error;
      std::filesystem::create_directories(result(), error);
      return error ? ErrnoStatus(error.value(), result()) : absl::OkStatus();
    }
    // All of the commit is in the index: attributes of directories above count, too.
    RETURN_IF_ERROR(InRepository({"read-tree", operation_.commit()}).status());
    return InRepository({"checkout", "-q", "-f", "--",
                         operation_.subdir().empty() ? "." : operation_.subdir()})
        .status();
  }

 private:
  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(repository_.shown, ": ", what));
  }

  absl::StatusOr<std::string> InRepository(const std::vector<std::string>& args) {
    std::vector<std::string> all = {"-C", tree_, absl::StrCat("--git-dir=", git_dir_),
                                    absl::StrCat("--work-tree=", tree_)};
    all.insert(all.end(), args.begin(), args.end());
    return Git(repository_, all);
  }

  absl::Status FetchObjects(const std::vector<std::string>& flags,
                            const std::vector<std::string>& what) {
    std::vector<std::string> args = {"fetch", "-q", "--no-tags", "--no-recurse-submodules",
                                     "--no-write-fetch-head"};
    args.insert(args.end(), flags.begin(), flags.end());
    args.insert(args.end(), {"--", repository_.url});
    args.insert(args.end(), what.begin(), what.end());
    return InRepository(args).status();
  }

  // The reference with its name, if it still is what was asked for.
  absl::Status FetchRef() {
    const std::string& ref = operation_.ref();
    RETURN_IF_ERROR(FetchObjects({"--depth=1", "-u"}, {absl::StrCat("+", ref, ":", ref)}));
    ASSIGN_OR_RETURN(const std::string now,
                     InRepository({"rev-parse", "--verify", absl::StrCat(ref, "^{commit}")}));
    if (absl::StripAsciiWhitespace(now) == operation_.commit()) return absl::OkStatus();
    RETURN_IF_ERROR(InRepository({"update-ref", "-d", ref}).status());
    return Error("the reference has moved meanwhile");
  }

  bool HasCommit() {
    return InRepository({"cat-file", "-e", absl::StrCat(operation_.commit(), "^{commit}")}).ok();
  }

  const Repository& repository_;
  const v1::FetchGitOperation& operation_;
  const std::string tree_;
  const std::string git_dir_;
  int64_t files_ = 0;
};

// It becomes a path below the tree.
bool IsCleanSubdir(absl::string_view path) {
  if (path.empty()) return true;
  for (const absl::string_view name : absl::StrSplit(path, '/')) {
    if (name.empty() || name == "." || name == ".." || absl::StrContains(name, '\0')) return false;
  }
  return true;
}

// It stands where git might take it for an option.
bool IsSafeArgument(absl::string_view text) {
  return !absl::StartsWith(text, "-") && !absl::StrContains(text, '\0');
}

}  // namespace

absl::StatusOr<v1::StepResult> ExecuteResolveGit(const StepTools& tools, const StepRun& run) {
  const v1::ResolveGitOperation& operation = run.spec.identity().resolve_git();
  if (!IsSafeArgument(operation.ref())) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", operation.ref(), "\" can't be a git reference"));
  }
  run.enter_phase(StepPhase::kFetching);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  ASSIGN_OR_RETURN(const Repository repository, Reach(tools, run, operation.remote()));
  v1::StepResult result;
  ASSIGN_OR_RETURN(*result.mutable_commit(), operation.ref().empty()
                                                 ? FindDefaultBranch(repository)
                                                 : FindRef(repository, operation.ref()));
  if (!IsCommitId(result.commit().id())) {
    return absl::InvalidArgumentError(
        absl::StrCat(repository.shown, ": the server gives no commit id"));
  }
  times.finished = tools.clock.Now();
  SetTimes(times, result);
  return result;
}

absl::StatusOr<v1::StepResult> ExecuteFetchGit(const StepTools& tools, const StepRun& run) {
  const v1::FetchGitOperation& operation = run.spec.identity().fetch_git();
  if (!IsCommitId(operation.commit()) || !IsSafeArgument(operation.ref()) ||
      !IsCleanSubdir(operation.subdir())) {
    return absl::InvalidArgumentError("the step names no commit, reference or directory of git");
  }
  run.enter_phase(StepPhase::kFetching);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  const std::string path = tools.StepDir(run.id);
  const absl::Cleanup drop = [&] { tools.trash.Throw(path).IgnoreError(); };  // It logs.
  if (mkdir(path.c_str(), 0755) != 0) return ErrnoStatus(errno, path);
  ASSIGN_OR_RETURN(const Repository repository, Reach(tools, run, operation.remote()));
  Checkout checkout(repository, operation, path);
  RETURN_IF_ERROR(checkout.Fetch());
  ASSIGN_OR_RETURN(const std::vector<std::string> submodules, checkout.CheckSize());
  for (const std::string& submodule : submodules) {
    run.log.Append(LogStream::kStderr,
                   absl::StrCat("submodule ", submodule, " is left out: ADD fetches none\n"));
  }
  RETURN_IF_ERROR(checkout.WriteFiles());
  times.finished = tools.clock.Now();

  run.enter_phase(StepPhase::kStoring);
  v1::StepResult result;
  RETURN_IF_ERROR(StoreTree(tools, run, checkout.result(), {}, times, result));
  return result;
}

}  // namespace farm
