#include "worker/copy_step.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/symbolic_mode.h"
#include "layer/applier.h"
#include "layer/archive.h"
#include "layer/compression.h"
#include "worker/blob_feed.h"
#include "worker/copy_source.h"
#include "worker/copy_target.h"
#include "worker/layer_output.h"
#include "worker/owned_file_source.h"
#include "worker/step_sources.h"
#include "worker/user_database.h"

namespace farm {
namespace {

constexpr uint32_t kInlineMode = 0644;

// What the items of a step name besides their sources.
struct Selections {
  std::map<std::string, Table> tables;  // by the hex of their digests

  // Null: the item is copied as a whole.
  const Table* Of(const v1::CopyItem& item) const {
    return item.has_selection() ? &tables.at(item.selection().hash()) : nullptr;
  }
};

absl::StatusOr<std::vector<SourceFiles>> FetchSources(const StepTools& tools, const StepRun& run,
                                                      InputFetcher::Errand& errand) {
  std::vector<SourceFiles> sources;
  for (const v1::CopySource& source : run.spec.inputs().sources()) {
    ASSIGN_OR_RETURN(sources.emplace_back(), FetchSource(tools, source, errand));
  }
  for (const v1::CopyItem& item : run.spec.identity().copy().items()) {
    if (!IsCleanPath(item.path()) || !IsCleanPath(item.name()) ||
        absl::StrContains(item.name(), "/")) {
      return absl::InvalidArgumentError(
          absl::StrCat("item \"", item.path(), "\" named \"", item.name(), "\": not a clean path"));
    }
    if (item.has_inline_()) continue;
    if (item.source() < 0 || item.source() >= static_cast<int>(sources.size())) {
      return absl::InvalidArgumentError(absl::StrCat("the copy has no source ", item.source()));
    }
  }
  return sources;
}

absl::StatusOr<Selections> FetchSelections(const StepTools& tools, const StepRun& run) {
  Selections selections;
  for (const v1::CopyItem& item : run.spec.identity().copy().items()) {
    if (!item.has_selection()) continue;
    ASSIGN_OR_RETURN(Table table, tools.inputs.FetchTable(item.selection()));
    selections.tables.emplace(item.selection().hash(), std::move(table));
  }
  return selections;
}

// The bytes of the file that an item names; null if it is no regular file.
absl::StatusOr<std::unique_ptr<ByteSource>> OpenItem(const StepTools& tools,
                                                     const SourceFiles& files,
                                                     const v1::CopyItem& item,
                                                     InputFetcher::Errand& errand) {
  if (files.context.has_value()) {
    const TableEntry* entry = files.context->Find(item.path());
    if (entry == nullptr || entry->type != EntryType::kFile) return nullptr;
    return tools.inputs.OpenBlob(entry->content, /*trust_file=*/false, errand);
  }
  ASSIGN_OR_RETURN(const std::optional<LowerEntry> entry, files.layers->view().Stat(item.path()));
  if (!entry.has_value() || !S_ISREG(entry->stat.st_mode)) return nullptr;
  UniqueFd fd(openat(entry->layer_fd, entry->path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "/" + entry->path);
  return std::make_unique<OwnedFileSource>(std::move(fd));
}

// Which items are archives that ADD unpacks.
absl::StatusOr<std::vector<bool>> FindArchives(const StepTools& tools,
                                               const v1::CopyOperation& operation,
                                               const std::vector<SourceFiles>& sources,
                                               InputFetcher::Errand& errand) {
  std::vector<bool> archives;
  for (const v1::CopyItem& item : operation.items()) {
    archives.push_back(false);
    if (!item.unpack_archive() || item.has_inline_()) continue;
    ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> file,
                     OpenItem(tools, sources[item.source()], item, errand));
    if (file == nullptr) continue;
    ASSIGN_OR_RETURN(archives.back(), IsArchive(*file));
  }
  return archives;
}

// Blobs of all that is copied from contexts, in order.
std::vector<Digest> FilesToFeed(const v1::CopyOperation& operation,
                                const std::vector<SourceFiles>& sources,
                                const Selections& selections, const std::vector<bool>& archives) {
  std::vector<Digest> digests;
  for (int i = 0; i < operation.items_size(); ++i) {
    const v1::CopyItem& item = operation.items(i);
    if (item.has_inline_() || archives[i]) continue;
    const SourceFiles& files = sources[item.source()];
    if (!files.context.has_value()) continue;
    const Table* selection = selections.Of(item);
    ContextSource::AppendFilesOf(selection != nullptr ? *selection : *files.context,
                                 selection != nullptr ? "" : item.path(), digests);
  }
  return digests;
}

bool CopiesFromContextsOnly(const v1::CopyOperation& operation,
                            const std::vector<SourceFiles>& sources,
                            const std::vector<bool>& archives) {
  for (int i = 0; i < operation.items_size(); ++i) {
    const v1::CopyItem& item = operation.items(i);
    if (item.has_inline_() || archives[i] || !sources[item.source()].context.has_value()) {
      return false;
    }
  }
  return true;
}

absl::StatusOr<CopyTarget::Options> MakeOptions(const v1::CopyOperation& operation, int root_fd) {
  CopyTarget::Options options;
  if (!operation.chown().empty()) {
    ASSIGN_OR_RETURN(const ResolvedUser user, ResolveOwner(root_fd, operation.chown()),
                     _ << "--chown");
    options.owner = Owner{user.uid, user.gid};
  }
  if (operation.chmod().find_first_of("+-=") != std::string::npos) {
    ASSIGN_OR_RETURN(options.mode_change, SymbolicMode::Parse(operation.chmod()), _ << "--chmod");
  } else if (!operation.chmod().empty()) {
    uint32_t mode = 0;
    for (const char c : operation.chmod()) {
      mode = c >= '0' && c <= '7' && mode <= 07777 ? mode * 8 + static_cast<uint32_t>(c - '0')
                                                   : 010000;
    }
    if (mode > 07777) {
      return absl::InvalidArgumentError(
          absl::StrCat("--chmod=", operation.chmod(), ": expected octal digits up to 7777"));
    }
    options.mode = mode;
  }
  return options;
}

absl::Status UnpackArchive(const StepTools& tools, ByteSource& file,
                           const v1::CopyOperation& operation, CopyTarget& target,
                           const std::optional<Owner>& owner, CancelToken& cancel) {
  ASSIGN_OR_RETURN(const CopyTarget::Directory directory, target.MakeDirectories(operation.dest()));
  ASSIGN_OR_RETURN(const std::unique_ptr<Decompressor> tar, NewDecompressor(file, tools.unpack));
  ExtractOptions options;
  options.tar_bytes_max = tools.unpack.bytes_max;
  options.cancel = &cancel;
  if (owner.has_value()) options.owner = ExtractOptions::Owner{owner->uid, owner->gid};
  return ExtractTar(*tar, directory.fd.get(), options);
}

absl::Status CopyItem(CopySource& source, const v1::CopyItem& item,
                      const v1::CopyOperation& operation, CopyTarget& target) {
  ASSIGN_OR_RETURN(const bool is_directory, source.IsDirectory(item.path()));
  const bool contents_only = is_directory && item.name().empty();
  if (!absl::EndsWith(operation.dest(), "/") && operation.items_size() == 1) {
    ASSIGN_OR_RETURN(const CopyTarget::Place place, target.Locate(operation.dest()));
    if (!contents_only) {
      return source.CopyEntry(item.path(), target, place.directory,
                              place.name.empty() ? item.name() : place.name);
    }
    if (!place.name.empty() && place.exists) {
      return absl::InvalidArgumentError(absl::StrCat("cannot copy to non-directory: /",
                                                     JoinPath(place.directory.path, place.name)));
    }
  }
  ASSIGN_OR_RETURN(const CopyTarget::Directory directory, target.MakeDirectories(operation.dest()));
  return contents_only ? source.CopyContents(item.path(), target, directory)
                       : source.CopyEntry(item.path(), target, directory, item.name());
}

// A file whose bytes the step itself holds. A directory as destination gets it under its name.
absl::Status WriteInline(const v1::CopyItem& item, const v1::CopyOperation& operation,
                         absl::Time now, CopyTarget& target) {
  CopyTarget::Place place;
  if (!absl::EndsWith(operation.dest(), "/") && operation.items_size() == 1) {
    ASSIGN_OR_RETURN(place, target.Locate(operation.dest()));
  } else {
    ASSIGN_OR_RETURN(place.directory, target.MakeDirectories(operation.dest()));
  }
  const std::string& name = place.name.empty() ? item.name() : place.name;
  ASSIGN_OR_RETURN(const UniqueFd fd, target.CreateFile(place.directory, name));
  FdSink sink(fd.get());
  RETURN_IF_ERROR(sink.Write(item.inline_())) << name;
  return target.Finish(fd.get(), {.mode = kInlineMode, .owner = {}, .mtime = now});
}

// All items, in order.
absl::Status CopyItems(const StepTools& tools, const StepRun& run,
                       const std::vector<SourceFiles>& sources, const Selections& selections,
                       const std::vector<bool>& archives, int root_fd, InputFetcher::Errand& errand,
                       KnownFiles& known) {
  const v1::CopyOperation& operation = run.spec.identity().copy();
  ASSIGN_OR_RETURN(const CopyTarget::Options options, MakeOptions(operation, root_fd));
  CopyTarget target(root_fd, options);
  std::vector<Digest> digests = FilesToFeed(operation, sources, selections, archives);
  for (const Digest& digest : digests) errand.fetched_bytes += digest.size_bytes();
  // What other items write may replace what is known of a file, so then nothing is: the packer
  // hashes all, and blobs are verified as they are written.
  const bool contexts_only = CopiesFromContextsOnly(operation, sources, archives);
  BlobFeed feed(tools.blobs, tools.get_blobs, std::move(digests), run.cancel,
                /*verify=*/!contexts_only);
  for (int i = 0; i < operation.items_size(); ++i) {
    const v1::CopyItem& item = operation.items(i);
    if (item.has_inline_()) {
      RETURN_IF_ERROR(WriteInline(item, operation, tools.clock.Now(), target));
      continue;
    }
    const SourceFiles& files = sources[item.source()];
    const Table* selection = selections.Of(item);
    if (archives[i]) {
      ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> file,
                       OpenItem(tools, files, item, errand));
      RETURN_IF_ERROR(UnpackArchive(tools, *file, operation, target, options.owner, run.cancel))
          << item.path();
    } else if (files.context.has_value()) {
      ContextSource source(selection != nullptr ? *selection : *files.context, feed, known,
                           run.cancel);
      v1::CopyItem selected = item;
      if (selection != nullptr) selected.clear_path();
      RETURN_IF_ERROR(CopyItem(source, selected, operation, target));
    } else {
      LayersSource source(files.layers->view(), selection, run.cancel);
      RETURN_IF_ERROR(CopyItem(source, item, operation, target));
    }
  }
  if (!contexts_only) known = {};
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::StepResult> ExecuteCopy(const StepTools& tools, const StepRun& run) {
  run.enter_phase(StepPhase::kFetching);
  InputFetcher::Errand errand(run.spec, run.cancel, &run.log);
  ASSIGN_OR_RETURN(const LayerStack root,
                   tools.inputs.FetchLayers(run.spec.inputs().root(), errand));
  ASSIGN_OR_RETURN(const std::vector<SourceFiles> sources, FetchSources(tools, run, errand));
  ASSIGN_OR_RETURN(const Selections selections, FetchSelections(tools, run));
  ASSIGN_OR_RETURN(const std::vector<bool> archives,
                   FindArchives(tools, run.spec.identity().copy(), sources, errand));
  ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot,
                   tools.snapshotter.Prepare(root.directories(), tools.StepDir(run.id)));

  run.enter_phase(StepPhase::kRunning);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  KnownFiles known;
  RETURN_IF_ERROR(
      CopyItems(tools, run, sources, selections, archives, snapshot->root_fd(), errand, known));
  times.finished = tools.clock.Now();

  run.enter_phase(StepPhase::kStoring);
  v1::StepResult result;
  result.mutable_usage()->set_fetched_bytes(errand.fetched_bytes);
  RETURN_IF_ERROR(StoreLayer(tools, run, *snapshot, root, known, times, result));
  return result;
}

}  // namespace farm
