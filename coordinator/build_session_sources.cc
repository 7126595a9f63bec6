// What ADD, or a context that is a URL, reads from the network, as far as a build knows of it:
// which steps fetch it, and under which keys. A file is asked for at each build, and comes only if
// it is another one; a reference is asked for at each build, too, and the files of a commit are
// fetched once.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/log.h"
#include "base/redact_url.h"
#include "base/source_position.h"
#include "coordinator/build_session.h"
#include "coordinator/source_authorization.h"
#include "coordinator/step_result.h"
#include "plan/step_key.h"

namespace farm {
namespace {

bool IsPinned(const RemoteSource& remote) {
  return remote.kind == RemoteSource::Kind::kGit && IsGitCommitId(remote.git.ref);
}

v1::StepIdentity FileIdentity(const RemoteSource& remote) {
  v1::StepIdentity identity;
  v1::FetchFileOperation& fetch = *identity.mutable_fetch_file();
  fetch.set_url(remote.url);
  fetch.set_file_name(remote.file_name);
  fetch.set_checksum(remote.checksum);
  return identity;
}

}  // namespace

const RemoteSource& BuildSession::SourceOf(int index) const {
  return index == kContextRemote ? context_->source : plan_->remotes[static_cast<size_t>(index)];
}

BuildSession::Remote& BuildSession::RemoteOf(int index) {
  return index == kContextRemote ? context_->fetch : remotes_[static_cast<size_t>(index)];
}

void BuildSession::AddRemoteSteps() {
  for (int index = 0; index < static_cast<int>(plan_->remotes.size()); ++index) {
    remotes_.emplace_back();
    const PlanStep* const reader = ReaderOf(index);
    AddRemoteStep(index, reader == nullptr ? 0 : reader->position.line);
  }
}

void BuildSession::AddRemoteStep(int index, int line) {
  const RemoteSource& source = SourceOf(index);
  Remote& remote = RemoteOf(index);
  const std::string shown = RedactUrls(source.url);
  std::vector<int> deps;
  if (source.kind == RemoteSource::Kind::kGit && !IsPinned(source)) {
    remote.resolve = AddStep(absl::StrCat("[internal] resolve ", shown), {}, line);
    deps.push_back(remote.resolve);
  }
  remote.step = AddStep(absl::StrCat("[internal] fetch ", shown), deps, line);
}

void BuildSession::FetchRemotes() {
  for (int index = 0; index < static_cast<int>(remotes_.size()); ++index) FetchRemote(index);
}

void BuildSession::FetchRemote(int index) {
  const RemoteSource& source = SourceOf(index);
  RemoteOf(index).layer = -1;
  if (source.kind == RemoteSource::Kind::kHttp) {
    FetchFile(index);
  } else if (IsPinned(source)) {
    v1::GitCommit commit;
    commit.set_id(source.git.ref);
    FetchGit(index, commit);
  } else if (index == kContextRemote && context_->commit.has_value()) {
    // What the Dockerfile was read from, wherever the reference has moved to since.
    FetchGit(index, *context_->commit);
  } else {
    ResolveGit(index);
  }
}

BuildSession::StepRun BuildSession::RemoteRun(int index, int step, v1::StepIdentity identity,
                                              StepKey key) const {
  StepRun run;
  run.step = step;
  run.lookup = !request_.no_cache();
  run.request.domain = domain();
  run.request.build = id();
  run.request.key = key.digest;
  run.request.record.set_name(absl::StrCat("fetch ", RedactUrls(SourceOf(index).url)));
  for (v1::KeyPart& part : key.parts) *run.request.record.add_parts() = std::move(part);
  *run.request.spec.mutable_identity() = std::move(identity);
  run.request.spec.mutable_execution()->set_name(run.request.record.name());
  run.request.spec.mutable_execution()->set_loopback_allowed(farm_.is_local);
  return run;
}

void BuildSession::RunRemote(int index, StepRun run,
                             std::function<void(const v1::StepResult&)> then) {
  const int generation = generation_;
  const int step = run.step;
  absl::StatusOr<std::string> authorization =
      SourceAuthorization(SourceOf(index), request_.secrets());
  if (!authorization.ok()) return OnRemoteError(index, step, authorization.status());
  run.request.spec.mutable_execution()->set_source_authorization(*std::move(authorization));
  RunStep(std::move(run),
          [this, index, step, generation, then = std::move(then)](absl::StatusOr<StepDone> done) {
            if (generation != generation_) return;
            if (!done.ok()) return OnRemoteError(index, step, done.status());
            then(done->result);
          });
}

void BuildSession::FetchFile(int index) {
  const RemoteSource& remote = SourceOf(index);
  StepKey key = ComputeStepKey(FileIdentity(remote), Digest());
  // A known checksum is a known file; otherwise only the server knows whether it is still the same.
  if (!remote.checksum.empty() || request_.no_cache()) {
    return RunFetchFile(index, std::move(key), std::nullopt);
  }
  const int generation = generation_;
  Blocking([&farm = farm_, domain = domain(),
            digest = key.digest] { return farm.actions.Get(domain, digest); },
           [this, index, generation, key](absl::StatusOr<v1::ActionRecord> known) mutable {
             if (generation != generation_) return;
             std::optional<v1::ActionRecord> found;
             if (known.ok()) found = *std::move(known);
             RunFetchFile(index, std::move(key), found);
           });
}

void BuildSession::RunFetchFile(int index, StepKey key,
                                const std::optional<v1::ActionRecord>& known) {
  const RemoteSource& remote = SourceOf(index);
  v1::StepIdentity identity = FileIdentity(remote);
  StepRun run = RemoteRun(index, RemoteOf(index).step, identity, std::move(key));
  if (remote.checksum.empty()) run.lookup = false;
  if (known.has_value() && CheckResult(identity, known->result()).ok()) {
    v1::FetchedFile& file = *run.request.spec.mutable_execution()->mutable_known_file();
    *file.mutable_layer() = known->result().layer();
    file.set_etag(known->result().etag());
    file.set_last_modified(known->result().last_modified());
  }
  RunRemote(index, std::move(run),
            [this, index](const v1::StepResult& result) { OnRemoteFetched(index, result); });
}

void BuildSession::ResolveGit(int index) {
  const RemoteSource& remote = SourceOf(index);
  v1::StepIdentity identity;
  identity.mutable_resolve_git()->set_remote(remote.git.remote);
  identity.mutable_resolve_git()->set_ref(remote.git.ref);
  StepKey key = ComputeStepKey(identity, Digest());
  StepRun run = RemoteRun(index, RemoteOf(index).resolve, std::move(identity), std::move(key));
  run.lookup = false;
  run.request.cacheable = false;
  RunRemote(index, std::move(run), [this, index](const v1::StepResult& result) {
    const RemoteSource& remote = SourceOf(index);
    if (absl::StartsWith(result.commit().id(), remote.git.checksum)) {
      if (index == kContextRemote) context_->commit = result.commit();
      return FetchGit(index, result.commit());
    }
    OnRemoteError(index, RemoteOf(index).resolve,
                  absl::InvalidArgumentError(
                      absl::StrCat(RedactUrls(remote.url), ": checksum mismatch: expected commit ",
                                   remote.git.checksum, ", got ", result.commit().id())));
  });
}

void BuildSession::FetchGit(int index, const v1::GitCommit& commit) {
  const RemoteSource& remote = SourceOf(index);
  v1::StepIdentity identity;
  v1::FetchGitOperation& fetch = *identity.mutable_fetch_git();
  fetch.set_remote(remote.git.remote);
  fetch.set_commit(commit.id());
  fetch.set_ref(commit.ref());
  fetch.set_subdir(remote.git.subdir);
  fetch.set_submodules(remote.git.submodules);
  // As BuildKit has it: with a subdirectory there is none to keep.
  fetch.set_keep_git_dir(remote.git.keep_git_dir.value_or(false) && remote.git.subdir.empty());
  StepKey key = ComputeStepKey(identity, Digest());
  StepRun run = RemoteRun(index, RemoteOf(index).step, std::move(identity), std::move(key));
  run.request.parent_chain_id = ChainIdOf(FileSystemRef());
  RunRemote(index, std::move(run),
            [this, index](const v1::StepResult& result) { OnRemoteFetched(index, result); });
}

void BuildSession::OnRemoteFetched(int index, const v1::StepResult& result) {
  const int layer = AddLayer(MadeLayer(result));
  RemoteOf(index).layer = layer;
  if (index != kContextRemote) {
    return CheckSources({{FileSystemRef::Kind::kRemote, index}}, [this] { Advance(); });
  }
  if (SourceOf(index).kind == RemoteSource::Kind::kHttp) return UnpackContext();
  ReadDockerfile(layer);
}

void BuildSession::OnRemoteError(int index, int step, const absl::Status& error) {
  if (index == kContextRemote) return Fail(ContextError(error), step);
  const PlanStep* const reader = ReaderOf(index);
  if (reader == nullptr) return Fail(error, step);
  Fail(WithCode(error.code(), reader->Error(error.message())), step);
}

const PlanStep* BuildSession::ReaderOf(int index) const {
  const auto reader =
      std::find_if(plan_->steps.begin(), plan_->steps.end(), [index](const PlanStep& step) {
        return std::any_of(step.sources.begin(), step.sources.end(),
                           [index](const SourceRequest& request) {
                             return request.from.kind == FileSystemRef::Kind::kRemote &&
                                    request.from.index == index;
                           });
      });
  return reader == plan_->steps.end() ? nullptr : &*reader;
}

bool BuildSession::HasRemotesOf(const PlanStep& step) const {
  return std::all_of(step.sources.begin(), step.sources.end(),
                     [this](const SourceRequest& request) {
                       return request.from.kind != FileSystemRef::Kind::kRemote ||
                              remotes_[static_cast<size_t>(request.from.index)].layer >= 0;
                     });
}

}  // namespace farm
