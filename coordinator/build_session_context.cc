// A build context from a URL: fetched by steps of the kind that ADD has, until it is one layer that
// the Dockerfile's steps copy from, as if it were another stage's.
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "coordinator/build_session.h"
#include "dockerfile/dockerignore.h"
#include "dockerfile/source.h"
#include "plan/remote_context.h"
#include "plan/resolve_sources.h"
#include "plan/step_key.h"

namespace farm {
namespace {

constexpr char kKeepGitDirArg[] = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

// That the file was copied as it is: it was no archive.
bool HoldsFileItself(const Table& unpacked, const Table& fetched, const std::string& name) {
  const TableEntry* const file = fetched.Find(name);
  const TableEntry* const same = unpacked.Find(name);
  return file != nullptr && same != nullptr && same->type == EntryType::kFile &&
         same->content == file->content;
}

absl::Status TooLargeForDockerfile(int64_t bytes) {
  return absl::InvalidArgumentError(absl::StrCat("the file is no tar archive, and with ", bytes,
                                                 " bytes larger than a Dockerfile may be (",
                                                 kDockerfileBytesMax, ")"));
}

}  // namespace

absl::Status BuildSession::AddContextSteps() {
  if (request_.has_context_table()) {
    return absl::InvalidArgumentError("a build has a context's table, or its URL");
  }
  context_.emplace();
  ASSIGN_OR_RETURN(context_->source, RemoteContext(request_.context_url()));
  const auto keep = request_.build_args().find(kKeepGitDirArg);
  bool is_kept = false;
  if (keep != request_.build_args().end() && absl::SimpleAtob(keep->second, &is_kept) && is_kept) {
    context_->source.git.keep_git_dir = true;
  }
  AddRemoteStep(kContextRemote, 0);
  return absl::OkStatus();
}

void BuildSession::FetchContext() {
  context_->layer = -1;
  FetchRemote(kContextRemote);
}

void BuildSession::UnpackContext() {
  const std::string shown = RedactUrls(context_->source.url);
  if (context_->unpack_step == 0) {
    context_->unpack_step = AddStep(absl::StrCat("[internal] unpack ", shown));
  }
  const int fetched = context_->fetch.layer;
  SourceRequest archive = FileInTree(context_->source.file_name);
  archive.unpack = true;
  CopyFromContext(context_->unpack_step, std::move(archive), fetched, [this, fetched](int tree) {
    const int generation = generation_;
    struct Found {
      bool is_file = false;
      int64_t bytes = 0;
    };
    Blocking(
        [&farm = farm_, unpacked = TableOf(tree), whole = TableOf(fetched),
         name = context_->source.file_name]() -> absl::StatusOr<Found> {
          ASSIGN_OR_RETURN(const std::shared_ptr<const Table> tree, farm.tables.Get(unpacked));
          ASSIGN_OR_RETURN(const std::shared_ptr<const Table> file, farm.tables.Get(whole));
          if (!HoldsFileItself(*tree, *file, name)) return Found{};
          return Found{.is_file = true, .bytes = file->Find(name)->size_bytes()};
        },
        [this, generation, tree, fetched](absl::StatusOr<Found> found) {
          if (generation != generation_) return;
          const int step = context_->unpack_step;
          if (!found.ok()) return OnContextError(found.status(), step, fetched);
          if (!found->is_file) return ReadDockerfile(tree);
          if (context_->was_read) return IgnoreFiles(-1);
          // With a Dockerfile from elsewhere it is the context's only file.
          if (!request_.dockerfile().empty()) return OnDockerfileRead(fetched, {});
          if (!request_.dockerfile_path().empty()) {
            return Fail(ContextError(absl::InvalidArgumentError(
                            "-f has no meaning with a URL of a Dockerfile: it is no tar archive")),
                        step);
          }
          if (found->bytes > static_cast<int64_t>(kDockerfileBytesMax)) {
            return Fail(ContextError(TooLargeForDockerfile(found->bytes)), step);
          }
          ReadDockerfileOf(fetched, -1, {.dockerfile = context_->source.file_name, .ignore = ""});
        });
  });
}

void BuildSession::ReadDockerfile(int tree) {
  if (context_->was_read) return IgnoreFiles(tree);
  std::string path;
  if (request_.dockerfile().empty()) {
    path = request_.dockerfile_path().empty() ? "Dockerfile" : request_.dockerfile_path();
  }
  struct Found {
    absl::StatusOr<DockerfilePaths> paths;
  };
  const int generation = generation_;
  Blocking(
      [&farm = farm_, table = TableOf(tree), path, cancel = cancel_]() -> absl::StatusOr<Found> {
        ASSIGN_OR_RETURN(const std::shared_ptr<const Table> files, farm.tables.Merged({&table, 1}));
        return Found{.paths = FindDockerfile(*files, path, *cancel)};
      },
      [this, generation, tree](absl::StatusOr<Found> found) {
        if (generation != generation_) return;
        const int step = context_->fetch.step;
        if (!found.ok()) return OnContextError(found.status(), step, tree);
        if (!found->paths.ok()) return Fail(ContextError(found->paths.status()));
        const DockerfilePaths& paths = *found->paths;
        SourceRequest files;
        for (const std::string& path : {paths.dockerfile, paths.ignore}) {
          if (path.empty()) continue;
          files.from.kind = FileSystemRef::Kind::kRemote;
          files.literal = true;
          files.patterns.push_back(path);
          files.written.push_back(path);
        }
        if (files.patterns.empty()) return OnDockerfileRead(tree, {});
        if (context_->read_step == 0) {
          context_->read_step = AddStep("[internal] load build definition");
        }
        CopyFromContext(context_->read_step, std::move(files), tree,
                        [this, tree, paths](int layer) { ReadDockerfileOf(layer, tree, paths); });
      });
}

void BuildSession::ReadDockerfileOf(int layer, int tree, const DockerfilePaths& paths) {
  const int generation = generation_;
  Blocking([&farm = farm_, tar = layers()[static_cast<size_t>(layer)].blob->digest,
            paths] { return ReadDockerfileLayer(farm.blobs, tar, paths); },
           [this, generation, layer, tree](absl::StatusOr<ContextDockerfile> read) {
             if (generation != generation_) return;
             if (!read.ok()) return OnContextError(read.status(), context_->read_step, layer);
             OnDockerfileRead(tree, *read);
           });
}

void BuildSession::OnDockerfileRead(int tree, const ContextDockerfile& read) {
  if (request_.dockerfile().empty()) {
    request_.set_dockerfile(read.dockerfile);
    v1::BuildEvent event;
    event.mutable_dockerfile_read()->set_name(request_.dockerfile_name());
    event.mutable_dockerfile_read()->set_text(read.dockerfile);
    events().Emit(std::move(event));
  }
  const absl::StatusOr<DockerIgnore> ignore = DockerIgnore::Parse(read.ignore_name, read.ignore);
  if (!ignore.ok()) return Fail(ignore.status());
  context_->ignore = ignore->Patterns();
  request_.mutable_ignore_file()->set_name(read.ignore_name);
  request_.mutable_ignore_file()->set_text(read.ignore);
  context_->was_read = true;
  IgnoreFiles(tree);
}

void BuildSession::IgnoreFiles(int tree) {
  if (tree < 0 || context_->ignore.empty()) return OnContextReady(tree);
  if (context_->ignore_step == 0) {
    context_->ignore_step = AddStep("[internal] leave out what .dockerignore names");
  }
  SourceRequest all = FileInTree("");
  all.excludes = context_->ignore;
  CopyFromContext(context_->ignore_step, std::move(all), tree,
                  [this](int layer) { OnContextReady(layer); });
}

void BuildSession::OnContextReady(int layer) {
  if (layer < 0) return OnContextKnown(layer, Digest());
  const int generation = generation_;
  Blocking(
      [&farm = farm_, table = TableOf(layer)]() -> absl::StatusOr<Digest> {
        ASSIGN_OR_RETURN(const std::shared_ptr<const Table> files, farm.tables.Merged({&table, 1}));
        return files->ContentsDigest("");
      },
      [this, generation, layer](absl::StatusOr<Digest> content) {
        if (generation != generation_) return;
        if (!content.ok()) return OnContextError(content.status(), context_->fetch.step, layer);
        OnContextKnown(layer, *content);
      });
}

void BuildSession::OnContextKnown(int layer, const Digest& content) {
  context_->layer = layer;
  if (!context_->content.has_value()) {
    context_->content = content;
    return StartPreparing();
  }
  // After a restart. What the plan was made of must still be so.
  if (*context_->content == content) return StartSteps();
  Fail(ContextError(absl::AbortedError("it has changed since the build began: build again")));
}

void BuildSession::CopyFromContext(int step, SourceRequest request, int from,
                                   std::function<void(int layer)> then) {
  PlanStep copy;
  *copy.identity.mutable_platform() = farm_.platform;
  copy.identity.mutable_copy()->set_dest("/");
  // As the files of any context.
  copy.identity.mutable_copy()->set_chown("0:0");
  copy.sources.push_back(std::move(request));
  const int generation = generation_;
  Blocking(
      [&farm = farm_, copy = std::move(copy), table = TableOf(from), cancel = cancel_,
       parent = ChainIdOf(FileSystemRef())]() -> absl::StatusOr<Keyed> {
        ASSIGN_OR_RETURN(const std::shared_ptr<const Table> files, farm.tables.Merged({&table, 1}));
        const Table* const tables[] = {files.get()};
        ASSIGN_OR_RETURN(ResolvedSources resolved, ResolveSources(copy, tables, *cancel));
        Keyed keyed{.identity = std::move(resolved.identity)};
        keyed.key = ComputeStepKey(keyed.identity, parent);
        for (const Table& selection : resolved.selections) {
          ASSIGN_OR_RETURN(keyed.selections.emplace_back(),
                           PutBytes(farm.blobs, selection.Encode()));
        }
        return keyed;
      },
      [this, generation, step, from, then = std::move(then)](absl::StatusOr<Keyed> keyed) mutable {
        if (generation != generation_) return;
        if (!keyed.ok()) return OnContextError(keyed.status(), step, from);
        RunContextCopy(step, *std::move(keyed), from, std::move(then));
      });
}

void BuildSession::RunContextCopy(int step, Keyed keyed, int from,
                                  std::function<void(int layer)> then) {
  selections_.insert(selections_.end(), keyed.selections.begin(), keyed.selections.end());
  StepRun run = RemoteRun(kContextRemote, step, std::move(keyed.identity), std::move(keyed.key));
  run.is_internal = true;
  run.request.record.set_name(absl::StrCat("copy from ", RedactUrls(context_->source.url)));
  run.request.spec.mutable_execution()->set_name(run.request.record.name());
  run.request.parent_chain_id = ChainIdOf(FileSystemRef());
  *run.request.spec.mutable_inputs()->add_sources()->mutable_layers()->add_layers() =
      layer(from).ref;
  const int generation = generation_;
  RunStep(std::move(run),
          [this, generation, step, from, then = std::move(then)](absl::StatusOr<StepDone> done) {
            if (generation != generation_) return;
            if (!done.ok()) return OnContextError(done.status(), step, from);
            then(AddLayer(MadeLayer(done->result)));
          });
}

absl::Status BuildSession::ContextError(const absl::Status& error) const {
  return absl::Status(error.code(), absl::StrCat("build context ", RedactUrls(context_->source.url),
                                                 ": ", error.message()));
}

Digest BuildSession::TableOf(int layer_index) const {
  return *DigestFromProto(layers()[static_cast<size_t>(layer_index)].ref.table());
}

}  // namespace farm
