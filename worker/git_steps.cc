#include "worker/git_steps.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "worker/git_checkout.h"
#include "worker/git_repository.h"
#include "worker/layer_output.h"
#include "worker/source_client.h"

namespace farm {
namespace {

bool IsCommitId(absl::string_view id) {
  return (id.size() == 40 || id.size() == 64) &&
         std::all_of(id.begin(), id.end(), [](unsigned char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
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

absl::StatusOr<v1::GitCommit> FindDefaultBranch(const GitRepository& repository) {
  ASSIGN_OR_RETURN(
      const std::string printed,
      RunGitFor(repository, {"ls-remote", "-q", "--symref", "--", repository.url, "HEAD"}));
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

absl::StatusOr<v1::GitCommit> FindRef(const GitRepository& repository, const std::string& ref) {
  ASSIGN_OR_RETURN(const std::string printed,
                   RunGitFor(repository, {"ls-remote", "-q", "--", repository.url, ref,
                                          absl::StrCat(ref, "^{}")}));
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
  ASSIGN_OR_RETURN(const GitRepository repository,
                   ReachGitRepository(tools, run, operation.remote(),
                                      run.spec.execution().source_authorization(),
                                      absl::Now() + tools.sources.options().timeout));
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
  ASSIGN_OR_RETURN(const std::string tree, CheckOutGit(tools, run, operation, path));
  times.finished = tools.clock.Now();

  run.enter_phase(StepPhase::kStoring);
  v1::StepResult result;
  RETURN_IF_ERROR(StoreTree(tools, run, tree, {}, times, result));
  return result;
}

}  // namespace farm
