#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "base/symbolic_mode.h"
#include "dockerfile/clean_path.h"
#include "dockerfile/expand.h"
#include "plan/lowering.h"
#include "plan/source_url.h"

namespace farm {
namespace {

constexpr size_t kSourceBytesMax = 2 << 20;  // of all sources of one instruction, expanded
constexpr size_t kModeDigitsMax = 4;         // 7777
constexpr size_t kSha256HexDigits = 64;

// COPY and ADD after expansion.
struct ExpandedCopy {
  std::vector<std::string> sources;
  std::vector<InlineFile> inline_files;
  std::string dest;
  std::string chown;
  std::string chmod;
  std::vector<std::string> excludes;
  bool link = false;
  bool parents = false;
  std::optional<bool> unpack;
};

// A number is octal; everything else is symbolic.
absl::Status CheckChmod(const PlanBuild& build, const Instruction& instruction,
                        const std::string& chmod) {
  if (chmod.empty()) return absl::OkStatus();
  const bool is_number = std::all_of(chmod.begin(), chmod.end(),
                                     [](unsigned char c) { return absl::ascii_isdigit(c); });
  if (is_number) {
    const bool is_octal = chmod.find_first_of("89") == std::string::npos;
    const size_t first = std::min(chmod.find_first_not_of('0'), chmod.size());
    if (is_octal && chmod.size() - first <= kModeDigitsMax) return absl::OkStatus();
  } else if (chmod.find_first_of("+-=") != std::string::npos) {
    const absl::StatusOr<SymbolicMode> mode = SymbolicMode::Parse(chmod);
    return mode.ok() ? absl::OkStatus() : ErrorIn(build, instruction, mode.status().message());
  }
  return ErrorIn(build, instruction,
                 absl::StrCat("invalid chmod parameter: '", chmod,
                              "'. it should be octal string and between 0 and 07777"));
}

absl::StatusOr<std::string> InlineData(const PlanBuild& build, const StageState& stage,
                                       const Instruction& instruction, const Heredoc& heredoc) {
  if (!heredoc.expand) return heredoc.data;
  absl::StatusOr<Expansion> expansion =
      ExpandHeredoc(heredoc.data, [&stage](absl::string_view name) { return stage.env.Get(name); });
  if (!expansion.ok()) return ErrorIn(build, instruction, expansion.status().message());
  return std::move(expansion->text);
}

// A layer that is made on an empty root has no passwd to look names up in; root needs none.
absl::Status CheckLinkOwner(const PlanBuild& build, const Instruction& instruction,
                            const ExpandedCopy& copy) {
  if (!copy.link) return absl::OkStatus();
  const std::vector<absl::string_view> parts = absl::StrSplit(copy.chown, ':');
  if (std::all_of(parts.begin(), parts.end(), [](absl::string_view part) {
        return part == "root" || std::all_of(part.begin(), part.end(), absl::ascii_isdigit);
      })) {
    return absl::OkStatus();
  }
  return ErrorIn(build, instruction,
                 absl::StrCat("--link with --chown=", copy.chown,
                              ": a linked layer knows no names, use numbers (uid:gid)"));
}

absl::StatusOr<ExpandedCopy> Expand(const PlanBuild& build, const StageState& stage,
                                    const Instruction& instruction, const CopyArguments& copy) {
  ExpandedCopy expanded;
  ASSIGN_OR_RETURN(expanded.chown, ExpandIn(build, stage, instruction, copy.chown));
  ASSIGN_OR_RETURN(expanded.chmod, ExpandIn(build, stage, instruction, copy.chmod));
  size_t source_bytes = 0;
  for (const CopyArguments::CopySource& source : copy.sources) {
    if (source.heredoc.has_value()) {
      const Heredoc& heredoc = instruction.heredocs[*source.heredoc];
      InlineFile& file = expanded.inline_files.emplace_back();
      file.name = heredoc.name;
      ASSIGN_OR_RETURN(file.data, InlineData(build, stage, instruction, heredoc));
      continue;
    }
    ASSIGN_OR_RETURN(std::string path, ExpandIn(build, stage, instruction, source.path));
    source_bytes += path.size();
    if (source_bytes > kSourceBytesMax) {
      return LimitErrorIn(build, instruction,
                          absl::StrCat("its sources take more than ", kSourceBytesMax, " bytes"));
    }
    expanded.sources.push_back(std::move(path));
  }
  ASSIGN_OR_RETURN(expanded.dest, ExpandIn(build, stage, instruction, copy.dest));
  if (copy.exclude.size() > kExcludesMax) {
    return LimitErrorIn(build, instruction,
                        absl::StrCat("more than ", kExcludesMax, " times --exclude"));
  }
  expanded.excludes = copy.exclude;  // As they are written: BuildKit knows no variables there.
  expanded.link = copy.link;
  expanded.parents = copy.parents;
  RETURN_IF_ERROR(CheckChmod(build, instruction, expanded.chmod));
  // As BuildKit has it: with --chmod the layer is made on its parent.
  if (!expanded.chmod.empty()) expanded.link = false;
  RETURN_IF_ERROR(CheckLinkOwner(build, instruction, expanded));
  return expanded;
}

// Absolute; with a slash at the end where the words mean a directory.
std::string Destination(const StageState& stage, const std::string& dest) {
  const bool is_directory =
      dest.empty() || dest == "." || absl::EndsWith(dest, "/") || absl::EndsWith(dest, "/.");
  std::string path = CleanPath(absl::StartsWith(dest, "/")
                                   ? dest
                                   : absl::StrCat("/", stage.image.config.working_dir, "/", dest));
  if (is_directory && path != "/") path += '/';
  return path;
}

std::string HistoryOf(const Instruction& instruction, const ExpandedCopy& copy) {
  std::string line = instruction.name;
  if (copy.parents) absl::StrAppend(&line, " --parents");
  if (!copy.chown.empty()) absl::StrAppend(&line, " --chown=", copy.chown);
  if (!copy.chmod.empty()) absl::StrAppend(&line, " --chmod=", copy.chmod);
  for (const std::string& source : copy.sources) absl::StrAppend(&line, " ", RedactUrls(source));
  for (const InlineFile& file : copy.inline_files) absl::StrAppend(&line, " <<", file.name);
  return absl::StrCat(line, " ", copy.dest, " # buildkit");
}

// A source of --parents: what is before "/./" is not kept.
void AddWithParents(const std::string& source, SourceRequest& request) {
  const size_t pivot = source.find("/./");
  const bool has_pivot = pivot != std::string::npos;
  const std::string kept = has_pivot ? source.substr(pivot + 3) : source;
  AddPattern(has_pivot ? source.substr(0, pivot) : "", request);
  request.includes.push_back(CleanPath(absl::StrCat("/", kept)).substr(1));
  if (LeadsOut(kept)) request.lead_out.back() = true;
  request.written.push_back(source);
}

// The sources in their order: neighbours that are in the same file system are one request.
class SourceGroups {
 public:
  SourceGroups(PlanBuild& build, const ExpandedCopy& copy, SourceRequest local)
      : build_(build), copy_(copy), local_(std::move(local)) {}

  void AddLocal(const std::string& source) {
    if (groups_.empty() || groups_.back().from != local_.from) {
      groups_.push_back(local_);
      groups_.back().excludes = copy_.excludes;
    }
    SourceRequest& request = groups_.back();
    if (copy_.parents) return AddWithParents(source, request);
    AddPattern(source, request);
    request.written.push_back(absl::StrCat("/", request.patterns.back()));
  }

  void AddRemote(RemoteSource remote) {
    SourceRequest& request = groups_.emplace_back();
    request.from = {FileSystemRef::Kind::kRemote, static_cast<int>(build_.plan.remotes.size())};
    request.patterns.push_back(remote.file_name);
    request.literal = true;
    request.written.push_back(RedactUrls(remote.url));
    request.excludes = copy_.excludes;
    request.unpack = remote.kind == RemoteSource::Kind::kHttp && copy_.unpack.value_or(false);
    build_.plan.remotes.push_back(std::move(remote));
  }

  std::vector<SourceRequest> Take() { return std::move(groups_); }

 private:
  PlanBuild& build_;
  const ExpandedCopy& copy_;
  const SourceRequest local_;
  std::vector<SourceRequest> groups_;
};

void AddCopyStep(PlanBuild& build, StageState& stage, const Instruction& instruction,
                 ExpandedCopy copy, std::vector<SourceRequest> sources) {
  for (const InlineFile& file : copy.inline_files) stage.text_bytes += file.data.size();
  PlanStep& step = AddStep(build, stage, instruction, {.history = HistoryOf(instruction, copy)});
  step.name = RedactUrls(step.name);
  step.source_line = RedactUrls(step.source_line);
  v1::CopyOperation& operation = *step.identity.mutable_copy();
  operation.set_dest(Destination(stage, copy.dest));
  operation.set_chown(copy.chown);
  operation.set_chmod(copy.chmod);
  step.link = copy.link;
  step.sources = std::move(sources);
  step.inline_files = std::move(copy.inline_files);
}

void RecordSwitches(const CopyArguments& copy, PlanInstruction& record) {
  if (copy.link) record.switches.insert("link");
  if (copy.parents) record.switches.insert("parents");
}

absl::Status CheckChecksum(const PlanBuild& build, const Instruction& instruction,
                           const ExpandedCopy& copy, const std::string& checksum) {
  if (checksum.empty()) return absl::OkStatus();
  if (copy.sources.size() != 1 || !copy.inline_files.empty()) {
    return ErrorIn(build, instruction, "checksum can't be specified for multiple sources");
  }
  const std::string& source = copy.sources[0];
  if (IsGitReference(source)) {
    if (IsGitChecksum(checksum)) return absl::OkStatus();
    return ErrorIn(build, instruction,
                   absl::StrCat("invalid checksum \"", checksum,
                                "\": expected hexadecimal digits of a commit"));
  }
  if (!IsHttpUrl(source)) {
    return ErrorIn(build, instruction, "checksum requires HTTP(S) or Git sources");
  }
  const size_t colon = std::min(checksum.find(':'), checksum.size());
  const absl::string_view hex =
      absl::string_view(checksum).substr(std::min(colon + 1, checksum.size()));
  const bool is_hex = std::all_of(hex.begin(), hex.end(), [](unsigned char c) {
    return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
  });
  if (checksum.substr(0, colon) == "sha256" && hex.size() == kSha256HexDigits && is_hex) {
    return absl::OkStatus();
  }
  return ErrorIn(build, instruction,
                 absl::StrCat("invalid checksum \"", checksum,
                              "\": expected sha256: and 64 hexadecimal digits"));
}

absl::StatusOr<RemoteSource> GitSource(const PlanBuild& build, const Instruction& instruction,
                                       const std::string& source, const std::string& checksum,
                                       std::optional<bool> keep_git_dir) {
  absl::StatusOr<GitReference> git = ParseGitReference(source);
  if (!git.ok()) return ErrorIn(build, instruction, git.status().message());
  if (!checksum.empty() && !git->checksum.empty() && git->checksum != checksum) {
    return ErrorIn(build, instruction,
                   absl::StrCat("--checksum=", checksum, " conflicts with the one of the URL, ",
                                git->checksum));
  }
  if (!checksum.empty()) git->checksum = checksum;
  if (keep_git_dir.has_value() && git->keep_git_dir.value_or(*keep_git_dir) != *keep_git_dir) {
    return ErrorIn(build, instruction, "inconsistent keep-git-dir configuration");
  }
  if (keep_git_dir.has_value()) git->keep_git_dir = keep_git_dir;
  if (IsGitCommitId(git->ref) && !absl::StartsWith(git->ref, git->checksum)) {
    return ErrorIn(build, instruction,
                   absl::StrCat("checksum mismatch: expected ", git->checksum, ", got ", git->ref));
  }
  return RemoteSource{.kind = RemoteSource::Kind::kGit,
                      .url = source,
                      .checksum = checksum,
                      .git = *std::move(git)};
}

}  // namespace

absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const CopyInstruction& copy) {
  ASSIGN_OR_RETURN(ExpandedCopy expanded, Expand(build, stage, instruction, copy.copy));
  SourceRequest local;
  local.from.kind = FileSystemRef::Kind::kContext;
  if (!copy.from.empty()) {
    ASSIGN_OR_RETURN(const SourceRef source,
                     build.graph.ResolveSource(copy.from, stage.index, StageGraph::SourceUse::kCopy,
                                               instruction.position));
    ASSIGN_OR_RETURN(local.from, FileSystemOf(build, source, build.platform, instruction.position));
    if (source.kind == SourceRef::Kind::kStage) local.stage = source.stage;
    local.from_written = copy.from;
  }
  SourceGroups groups(build, expanded, std::move(local));
  for (const std::string& source : expanded.sources) {
    if (IsGitReference(source)) {
      return ErrorIn(build, instruction, "source can't be a git ref for COPY");
    }
    if (IsHttpUrl(source)) return ErrorIn(build, instruction, "source can't be a URL for COPY");
    groups.AddLocal(source);
  }
  RecordSwitches(copy.copy, stage.instructions.back());
  AddCopyStep(build, stage, instruction, std::move(expanded), groups.Take());
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const AddInstruction& add) {
  ASSIGN_OR_RETURN(ExpandedCopy expanded, Expand(build, stage, instruction, add.copy));
  ASSIGN_OR_RETURN(const std::string checksum, ExpandIn(build, stage, instruction, add.checksum));
  RETURN_IF_ERROR(CheckChecksum(build, instruction, expanded, checksum));
  expanded.unpack = add.unpack;
  SourceRequest local;
  local.from.kind = FileSystemRef::Kind::kContext;
  local.unpack = add.unpack.value_or(true);
  SourceGroups groups(build, expanded, std::move(local));
  for (const std::string& source : expanded.sources) {
    if (IsGitReference(source)) {
      ASSIGN_OR_RETURN(RemoteSource git,
                       GitSource(build, instruction, source, checksum, add.keep_git_dir));
      groups.AddRemote(std::move(git));
    } else if (IsHttpUrl(source)) {
      groups.AddRemote({.kind = RemoteSource::Kind::kHttp,
                        .url = source,
                        .file_name = FileNameOfUrl(source),
                        .checksum = checksum});
    } else {
      groups.AddLocal(source);
    }
  }
  PlanInstruction& record = stage.instructions.back();
  RecordSwitches(add.copy, record);
  if (add.keep_git_dir.value_or(false)) record.switches.insert("keep-git-dir");
  if (add.unpack.value_or(false)) record.switches.insert("unpack");
  AddCopyStep(build, stage, instruction, std::move(expanded), groups.Take());
  return absl::OkStatus();
}

absl::Status Lower(PlanBuild& build, StageState& stage, const Instruction& instruction,
                   const WorkdirInstruction& workdir) {
  ASSIGN_OR_RETURN(std::string path, ExpandIn(build, stage, instruction, workdir.path));
  // An absolute path stays as it is written, "/app/" with its slash, in config and history.
  if (!absl::StartsWith(path, "/")) {
    path = CleanPath(absl::StrCat("/", stage.image.config.working_dir, "/", path));
  }
  stage.image.config.working_dir = path;
  stage.instructions.back().values = {path};
  if (path == "/") {
    AddHistory(stage, "WORKDIR /");
    return absl::OkStatus();
  }
  PlanStep& step = AddStep(build, stage, instruction, {.history = absl::StrCat("WORKDIR ", path)});
  v1::MakeDirectoryOperation& operation = *step.identity.mutable_make_directory();
  operation.set_path(CleanPath(path));
  operation.set_user(stage.image.config.user);
  return absl::OkStatus();
}

}  // namespace farm
