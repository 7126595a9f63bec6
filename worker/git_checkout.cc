#include "worker/git_checkout.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "worker/disk_usage.h"
#include "worker/git_modules.h"
#include "worker/git_repository.h"
#include "worker/source_client.h"

namespace farm {
namespace {

namespace fs = std::filesystem;

// What is to be had of one repository, and where it goes.
struct Wanted {
  std::string remote;
  std::string commit;
  std::string ref;     // full name under which the commit was found; "" if there is none
  std::string subdir;  // "" is all
  std::string tree;    // The directory of its files, which is there and empty.
  std::string git_dir;
  bool keeps_git_dir = false;
  bool submodules = false;
  std::string path;  // from the first repository; "" is that one
};

// Over the first repository and all submodules.
struct Totals {
  int64_t bytes = 0;
  int64_t files = 0;
};

// Whether `path` is a directory of the tree, and led to by no symbolic link: git has written the
// tree out of what is hostile, and a submodule's files may take the place of what another one is to
// have.
bool IsDirectoryOf(const std::string& tree, const std::string& path) {
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd dir(open(tree.c_str(), kFlags));
  for (const absl::string_view name : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (!dir.valid() || name == "..") return false;
    dir = UniqueFd(openat(dir.get(), std::string(name).c_str(), kFlags));
  }
  return dir.valid();
}

// One repository, of which a commit is fetched and checked out.
class Checkout {
 public:
  struct Submodule {
    std::string path;
    std::string commit;
  };

  Checkout(const GitRepository& repository, const Wanted& wanted, Totals& totals)
      : repository_(repository), wanted_(wanted), totals_(totals) {}

  absl::Status Fetch() {
    RETURN_IF_ERROR(Init());
    const std::string& ref = wanted_.ref;
    if (wanted_.keeps_git_dir && !ref.empty() && FetchRef().ok()) return absl::OkStatus();
    const absl::Status shallow = FetchObjects({"--depth=1"}, {wanted_.commit});
    if (shallow.ok()) return absl::OkStatus();
    if (absl::IsCancelled(shallow) || absl::IsDeadlineExceeded(shallow)) return shallow;
    // A server of plain files knows no depth, an old one gives only what has a name.
    const std::string heads = "+refs/heads/*:refs/remotes/origin/*";
    const std::string all = "+refs/tags/*:refs/tags/*";
    RETURN_IF_ERROR(ref.empty() ? FetchObjects({}, {heads, all})
                                : FetchObjects({}, {absl::StrCat("+", ref, ":refs/farm/ref")}));
    if (HasCommit()) return absl::OkStatus();
    return Error(absl::StrCat("the repository has no commit ", wanted_.commit));
  }

  // Counts what is to be written: what is fetched is small, what it unpacks to need not be. Returns
  // the submodules below the subdirectory, or the one that it is of.
  absl::StatusOr<std::vector<Submodule>> List() {
    if (wanted_.keeps_git_dir) {
      RETURN_IF_ERROR(CountGitDir());
    }
    // All of the commit goes through git's index.
    ASSIGN_OR_RETURN(const std::string printed,
                     Run({"ls-tree", "-r", "-l", "-z", "--full-tree", wanted_.commit}));
    const bool is_all = wanted_.subdir.empty();
    const std::string below = is_all ? "" : wanted_.subdir + "/";
    std::vector<Submodule> submodules;
    for (const absl::string_view line : absl::StrSplit(printed, '\0', absl::SkipEmpty())) {
      const std::pair<absl::string_view, absl::string_view> pair =
          absl::StrSplit(line, absl::MaxSplits('\t', 1));
      const std::vector<absl::string_view> fields =
          absl::StrSplit(pair.first, ' ', absl::SkipEmpty());
      const absl::string_view path = pair.second;
      if (++totals_.files > kGitFilesMax) {
        return Error(absl::StrCat("the commit has more than ", kGitFilesMax, " files"));
      }
      if (fields.size() != 4) continue;
      if (path == ".gitmodules" && fields[1] == "blob") has_modules_ = true;
      const bool is_submodule = fields[1] == "commit";
      if (wanted_.submodules && is_submodule && absl::StartsWith(below, absl::StrCat(path, "/"))) {
        around_ = {std::string(path), std::string(fields[2])};
      }
      if (!absl::StartsWith(path, below)) continue;
      ++files_;
      if (is_submodule) submodules.push_back({std::string(path), std::string(fields[2])});
      int64_t size = 0;
      if (absl::SimpleAtoi(fields[3], &size)) totals_.bytes += size;
      RETURN_IF_ERROR(CheckBytes());
    }
    if (around_.has_value()) return std::vector<Submodule>{*around_};
    if (!is_all &&
        Run({"cat-file", "-t", absl::StrCat(wanted_.commit, ":", wanted_.subdir)}).value_or("") !=
            "tree\n") {
      return Error(absl::StrCat("the commit has no directory \"", wanted_.subdir, "\""));
    }
    return submodules;
  }

  absl::Status WriteFiles() {
    if (wanted_.keeps_git_dir) {
      RETURN_IF_ERROR(Run({"checkout", "-q", "-f", "--detach", wanted_.commit}).status());
      return Run({"remote", "add", "origin", repository_.url}).status();
    }
    if (around_.has_value()) return MakeDirectory(around_->path);
    if (files_ == 0) return MakeDirectory(wanted_.subdir);  // Of which nothing is checked out.
    // All of the commit is in the index: attributes of directories above count, too.
    RETURN_IF_ERROR(Run({"read-tree", wanted_.commit}).status());
    return Run({"checkout", "-q", "-f", "--", wanted_.subdir.empty() ? "." : wanted_.subdir})
        .status();
  }

  // What the commit says of its submodules.
  absl::StatusOr<std::map<std::string, GitModule>> Modules() {
    if (!has_modules_) return std::map<std::string, GitModule>();
    ASSIGN_OR_RETURN(const std::string printed,
                     Run({"config", "--null", "--blob",
                          absl::StrCat(wanted_.commit, ":.gitmodules"), "--list"}));
    return ParseGitModules(printed);
  }

  // As `git submodule init` leaves it.
  absl::Status Register(const GitModule& module, const std::string& url) {
    const std::string key = absl::StrCat("submodule.", module.name);
    RETURN_IF_ERROR(Run({"config", key + ".active", "true"}).status());
    return Run({"config", key + ".url", url}).status();
  }

 private:
  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(repository_.shown, ": ", what));
  }

  absl::Status MakeDirectory(const std::string& path) const {
    std::error_code error;
    fs::create_directories(fs::path(wanted_.tree) / path, error);
    return error ? ErrnoStatus(error.value(), path) : absl::OkStatus();
  }

  absl::Status CheckBytes() const {
    if (totals_.bytes <= repository_.git.file_bytes_max) return absl::OkStatus();
    return Error(absl::StrCat("the commit's files are over sources.bytes_max = ",
                              repository_.git.file_bytes_max, " bytes"));
  }

  absl::StatusOr<std::string> Run(const std::vector<std::string>& args) {
    std::vector<std::string> all = {"-C", wanted_.tree, absl::StrCat("--git-dir=", wanted_.git_dir),
                                    absl::StrCat("--work-tree=", wanted_.tree)};
    all.insert(all.end(), args.begin(), args.end());
    return RunGitFor(repository_, all);
  }

  absl::Status Init() {
    const bool is_first = wanted_.path.empty();
    if (wanted_.keeps_git_dir && is_first) {
      return RunGitFor(repository_, {"init", "-q", "--template=", wanted_.tree}).status();
    }
    // Names of submodules may be such that one lies in another's directory.
    std::error_code error;
    if (fs::symlink_status(wanted_.git_dir, error).type() != fs::file_type::not_found) {
      return Error("its name in .gitmodules is that of another submodule, or of a part of it");
    }
    RETURN_IF_ERROR(
        RunGitFor(repository_, {"init", "-q", "--template=", "--bare", wanted_.git_dir}).status());
    return wanted_.keeps_git_dir ? Join() : absl::OkStatus();
  }

  // Has the tree of a submodule and its git directory, which is elsewhere, name each other.
  absl::Status Join() {
    const fs::path tree = wanted_.tree, git_dir = wanted_.git_dir;
    const std::string link = wanted_.tree + "/.git";
    const UniqueFd file(
        open(link.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!file.valid()) return ErrnoStatus(errno, link);
    RETURN_IF_ERROR(
        FdSink(file.get())
            .Write(absl::StrCat("gitdir: ", git_dir.lexically_relative(tree).string(), "\n")));
    RETURN_IF_ERROR(Run({"config", "core.bare", "false"}).status());
    return Run({"config", "core.worktree", tree.lexically_relative(git_dir).string()}).status();
  }

  absl::Status CountGitDir() {
    const UniqueFd dir(open(wanted_.git_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir.valid()) return ErrnoStatus(errno, wanted_.git_dir);
    ASSIGN_OR_RETURN(const int64_t bytes, DiskUsage(dir.get(), repository_.git.cancel));
    totals_.bytes += bytes;
    return CheckBytes();
  }

  absl::Status FetchObjects(const std::vector<std::string>& flags,
                            const std::vector<std::string>& what) {
    std::vector<std::string> args = {"fetch", "-q", "--no-tags", "--no-recurse-submodules",
                                     "--no-write-fetch-head"};
    args.insert(args.end(), flags.begin(), flags.end());
    args.insert(args.end(), {"--", repository_.url});
    args.insert(args.end(), what.begin(), what.end());
    return Run(args).status();
  }

  // The reference with its name, if it still is what was asked for.
  absl::Status FetchRef() {
    const std::string& ref = wanted_.ref;
    RETURN_IF_ERROR(FetchObjects({"--depth=1", "-u"}, {absl::StrCat("+", ref, ":", ref)}));
    ASSIGN_OR_RETURN(const std::string now,
                     Run({"rev-parse", "--verify", absl::StrCat(ref, "^{commit}")}));
    if (absl::StripAsciiWhitespace(now) == wanted_.commit) return absl::OkStatus();
    RETURN_IF_ERROR(Run({"update-ref", "-d", ref}).status());
    return Error("the reference has moved meanwhile");
  }

  bool HasCommit() {
    return Run({"cat-file", "-e", absl::StrCat(wanted_.commit, "^{commit}")}).ok();
  }

  const GitRepository& repository_;
  const Wanted& wanted_;
  Totals& totals_;
  int64_t files_ = 0;                // to be written
  std::optional<Submodule> around_;  // that the subdirectory is, or is in
  bool has_modules_ = false;
};

// All repositories of an operation, one after the other.
class Fetcher {
 public:
  Fetcher(const StepTools& tools, const StepRun& run, const v1::FetchGitOperation& operation,
          std::string dir)
      : tools_(tools),
        run_(run),
        operation_(operation),
        dir_(std::move(dir)),
        deadline_(absl::Now() + tools.sources.options().timeout) {}

  absl::StatusOr<std::string> Run() {
    Wanted first{.remote = operation_.remote(),
                 .commit = operation_.commit(),
                 .ref = operation_.ref(),
                 .subdir = operation_.subdir(),
                 .tree = dir_ + "/tree",
                 .git_dir = "",
                 .submodules = operation_.submodules(),
                 .path = ""};
    // As BuildKit has it: with a subdirectory there is none to keep.
    first.keeps_git_dir = operation_.keep_git_dir() && first.subdir.empty();
    first.git_dir = first.keeps_git_dir ? first.tree + "/.git" : dir_ + "/repository";
    const std::string result = (fs::path(first.tree) / first.subdir).string();
    if (mkdir(first.tree.c_str(), 0755) != 0) return ErrnoStatus(errno, first.tree);
    wanted_.push_back(std::move(first));
    for (; !wanted_.empty(); wanted_.pop_front()) {
      const std::string& path = wanted_.front().path;
      RETURN_IF_ERROR(FetchOne(wanted_.front()))
          << (path.empty() ? "" : absl::StrCat("submodule \"", path, "\""));
    }
    if (!IsDirectoryOf(dir_ + "/tree", operation_.subdir())) {
      return absl::InvalidArgumentError(absl::StrCat(RedactUrls(operation_.remote()),
                                                     ": the commit has no directory \"",
                                                     operation_.subdir(), "\""));
    }
    return result;
  }

 private:
  absl::Status FetchOne(const Wanted& wanted) {
    std::error_code not_empty;
    if (!IsDirectoryOf(dir_ + "/tree", wanted.path) || !fs::is_empty(wanted.tree, not_empty)) {
      return absl::InvalidArgumentError("its path is no empty directory of the commit");
    }
    ASSIGN_OR_RETURN(const std::string authorization, AuthorizationFor(wanted.remote));
    ASSIGN_OR_RETURN(const GitRepository repository,
                     ReachGitRepository(tools_, run_, wanted.remote, authorization, deadline_));
    Checkout checkout(repository, wanted, totals_);
    RETURN_IF_ERROR(checkout.Fetch());
    ASSIGN_OR_RETURN(const std::vector<Checkout::Submodule> submodules, checkout.List());
    RETURN_IF_ERROR(checkout.WriteFiles());
    if (wanted.submodules && !submodules.empty()) {
      RETURN_IF_ERROR(AddSubmodules(wanted, submodules, checkout));
    }
    if (wanted.keeps_git_dir) return absl::OkStatus();
    std::error_code error;  // So that there is one at a time.
    fs::remove_all(wanted.git_dir, error);
    return error ? ErrnoStatus(error.value(), wanted.git_dir) : absl::OkStatus();
  }

  absl::Status AddSubmodules(const Wanted& parent,
                             const std::vector<Checkout::Submodule>& submodules,
                             Checkout& checkout) {
    ASSIGN_OR_RETURN(const auto modules, checkout.Modules());
    for (const Checkout::Submodule& submodule : submodules) {
      if (++submodules_ > kGitSubmodulesMax) {
        return absl::InvalidArgumentError(
            absl::StrCat("more than ", kGitSubmodulesMax, " submodules"));
      }
      const std::string path =
          parent.path.empty() ? submodule.path : absl::StrCat(parent.path, "/", submodule.path);
      const auto module = modules.find(submodule.path);
      if (module == modules.end() || module->second.url.empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat("submodule \"", path, "\": .gitmodules gives no URL for it"));
      }
      if (module->second.update == "none") {
        if (parent.subdir.size() > submodule.path.size()) {  // What is wanted is in there.
          return absl::InvalidArgumentError(
              absl::StrCat("submodule \"", path, "\": its update is none, so it has no files"));
        }
        Log(absl::StrCat("submodule ", path, " is left out: its update is none"));
        continue;
      }
      ASSIGN_OR_RETURN(Wanted wanted, WantedOf(parent, submodule, module->second),
                       _ << "submodule \"" << path << "\"");
      wanted.path = path;
      if (wanted.keeps_git_dir) {
        ASSIGN_OR_RETURN(const UrlWithUser user, SplitUser(wanted.remote));
        RETURN_IF_ERROR(checkout.Register(module->second, user.url));
      }
      Log(absl::StrCat("submodule ", path, ": ", RedactUrls(wanted.remote), " at ", wanted.commit));
      wanted_.push_back(std::move(wanted));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Wanted> WantedOf(const Wanted& parent, const Checkout::Submodule& submodule,
                                  const GitModule& module) {
    Wanted wanted;
    ASSIGN_OR_RETURN(wanted.remote, SubmoduleUrl(parent.remote, module.url));
    wanted.commit = submodule.commit;
    wanted.tree = absl::StrCat(parent.tree, "/", submodule.path);
    wanted.keeps_git_dir = parent.keeps_git_dir;
    wanted.submodules = true;
    wanted.git_dir = parent.keeps_git_dir ? absl::StrCat(parent.git_dir, "/modules/", module.name)
                                          : absl::StrCat(dir_, "/repository-", submodules_);
    if (parent.subdir.size() > submodule.path.size()) {  // It is in there, and not around it.
      wanted.subdir = parent.subdir.substr(submodule.path.size() + 1);
    }
    return wanted;
  }

  absl::StatusOr<std::string> AuthorizationFor(const std::string& remote) const {
    ASSIGN_OR_RETURN(const UrlWithUser first, SplitUser(operation_.remote()));
    ASSIGN_OR_RETURN(const UrlWithUser here, SplitUser(remote));
    ASSIGN_OR_RETURN(const std::string first_origin, UrlOrigin(first.url));
    ASSIGN_OR_RETURN(const std::string origin, UrlOrigin(here.url));
    return origin == first_origin ? run_.spec.execution().source_authorization() : "";
  }

  void Log(const std::string& line) {
    run_.log.Append(LogStream::kStderr, absl::StrCat(line, "\n"));
  }

  const StepTools& tools_;
  const StepRun& run_;
  const v1::FetchGitOperation& operation_;
  const std::string dir_;
  const absl::Time deadline_;
  std::deque<Wanted> wanted_;
  Totals totals_;
  int submodules_ = 0;
};

}  // namespace

absl::StatusOr<std::string> CheckOutGit(const StepTools& tools, const StepRun& run,
                                        const v1::FetchGitOperation& operation,
                                        const std::string& dir) {
  return Fetcher(tools, run, operation, dir).Run();
}

}  // namespace farm
