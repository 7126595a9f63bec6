#include "worker/mount_source.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "layer/directory.h"
#include "worker/blob_feed.h"
#include "worker/copy_source.h"
#include "worker/copy_target.h"
#include "worker/layer_output.h"
#include "worker/step_sources.h"

namespace farm {
namespace {

// The one name in a context's tree: what is mounted, whether a file or a directory.
constexpr char kTreeName[] = "source";

// Not the content digest itself: the cache's other names are digests of tars.
Digest TreeName(const Digest& content) {
  return DigestOf(absl::StrCat("farm mount source 1 ", content.hex()));
}

absl::StatusOr<UniqueFd> OpenDirectory(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  return fd;
}

absl::StatusOr<CopyTarget::Directory> RootOf(int dir_fd) {
  CopyTarget::Directory root;
  root.fd.Reset(fcntl(dir_fd, F_DUPFD_CLOEXEC, 0));
  if (!root.fd.valid()) return ErrnoStatus(errno, "directory");
  return root;
}

// Writes what the context has at `from` as kTreeName into the directory `path`, which is made.
absl::StatusOr<LayerCache::Made> MakeTree(const StepTools& tools, const Table& context,
                                          const std::string& from, const std::string& path,
                                          InputFetcher::Errand& errand) {
  if (mkdir(path.c_str(), 0755) != 0) return ErrnoStatus(errno, path);
  ASSIGN_OR_RETURN(const UniqueFd dir, OpenDirectory(path));
  ASSIGN_OR_RETURN(const CopyTarget::Directory root, RootOf(dir.get()));
  CopyTarget target(dir.get(), {});
  std::vector<Digest> files;
  ContextSource::AppendFilesOf(context, from, files);
  for (const Digest& file : files) errand.fetched_bytes += file.size_bytes();
  BlobFeed feed(tools.blobs, tools.get_blobs, std::move(files), errand.cancel(), /*verify=*/true);
  KnownFiles unused;
  ContextSource source(context, feed, unused, errand.cancel());
  RETURN_IF_ERROR(source.IsDirectory(from).status());
  if (context.Find(from) != nullptr) {
    RETURN_IF_ERROR(source.CopyEntry(from, target, root, kTreeName));
  } else {  // A directory without metadata of its own, as a context's root is.
    ASSIGN_OR_RETURN(const CopyTarget::Directory made, target.EnterDirectory(root, kTreeName));
    RETURN_IF_ERROR(source.CopyContents(from, target, made));
    RETURN_IF_ERROR(target.Finish(
        made.fd.get(), {.mode = kImpliedDirectoryMode, .owner = {}, .mtime = absl::UnixEpoch()}));
  }
  return LayerCache::Made{.size_bytes = UnpackedBytes(context.Subtree(from))};
}

}  // namespace

absl::StatusOr<MountSource> MountSource::Fetch(const StepTools& tools, const v1::CopySource& source,
                                               const std::string& path, const Digest& content,
                                               InputFetcher::Errand& errand) {
  if (!IsCleanPath(path)) {
    return absl::InvalidArgumentError(absl::StrCat("mount source \"", path, "\" is not clean"));
  }
  MountSource made;
  if (!source.has_context_table()) {
    ASSIGN_OR_RETURN(SourceFiles files, FetchSource(tools, source, errand));
    made.layers_ = *std::move(files.layers);
    made.path_ = path;
    return made;
  }
  ASSIGN_OR_RETURN(
      made.tree_,
      tools.layers.Acquire({.diff_id = TreeName(content), .below = {}}, errand.cancel(),
                           [&](const std::string& tree) -> absl::StatusOr<LayerCache::Made> {
                             ASSIGN_OR_RETURN(const SourceFiles files,
                                              FetchSource(tools, source, errand));
                             return MakeTree(tools, *files.context, path, tree, errand);
                           }));
  ASSIGN_OR_RETURN(made.tree_fd_, OpenDirectory(made.tree_.path()));
  made.path_ = kTreeName;
  return made;
}

absl::StatusOr<int> MountSource::Show(const StepTools& tools, bool read_only,
                                      const std::string& dir, CancelToken& cancel) {
  ASSIGN_OR_RETURN(const bool is_directory,
                   LayersSource(view(), nullptr, cancel).IsDirectory(path_));
  ASSIGN_OR_RETURN(const int fd,
                   is_directory ? ShowDirectory(tools, dir) : ShowFile(read_only, dir, cancel));
  // A step may have hundreds of mounts, each of hundreds of layers.
  layers_.CloseDirectories();
  return fd;
}

absl::StatusOr<int> MountSource::ShowDirectory(const StepTools& tools, const std::string& dir) {
  ASSIGN_OR_RETURN(const LowerDirectory directory, view().Open(path_));
  ASSIGN_OR_RETURN(const std::vector<UniqueFd> fds, directory.OpenLayers());
  std::vector<std::string> paths;
  for (const UniqueFd& fd : fds) {
    paths.push_back(absl::StrCat("/proc/self/fd/", fd.get()));
  }
  ASSIGN_OR_RETURN(snapshot_, tools.snapshotter.Prepare(paths, dir));
  return snapshot_->root_fd();
}

absl::StatusOr<int> MountSource::ShowFile(bool read_only, const std::string& dir,
                                          CancelToken& cancel) {
  ASSIGN_OR_RETURN(const std::optional<LowerEntry> entry, view().Stat(path_));
  if (!entry.has_value() || !S_ISREG(entry->stat.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("mount source \"/", path_, "\" is neither a file nor a directory"));
  }
  if (read_only) {
    file_.Reset(openat(entry->layer_fd, entry->path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  } else {
    if (mkdir(dir.c_str(), 0700) != 0) return ErrnoStatus(errno, dir);
    ASSIGN_OR_RETURN(const UniqueFd copies, OpenDirectory(dir));
    ASSIGN_OR_RETURN(const CopyTarget::Directory root, RootOf(copies.get()));
    CopyTarget target(copies.get(), {});
    RETURN_IF_ERROR(
        LayersSource(view(), nullptr, cancel).CopyEntry(path_, target, root, kTreeName));
    file_.Reset(openat(copies.get(), kTreeName, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  }
  if (!file_.valid()) return ErrnoStatus(errno, "/" + path_);
  return file_.get();
}

absl::Status MountSource::CopyInto(int dir_fd, CancelToken& cancel) const {
  LayersSource source(view(), nullptr, cancel);
  ASSIGN_OR_RETURN(const bool is_directory, source.IsDirectory(path_));
  if (!is_directory) {
    return absl::InvalidArgumentError(absl::StrCat("\"/", path_, "\" is no directory"));
  }
  ASSIGN_OR_RETURN(const CopyTarget::Directory root, RootOf(dir_fd));
  CopyTarget target(dir_fd, {});
  RETURN_IF_ERROR(source.CopyContents(path_, target, root));
  ASSIGN_OR_RETURN(const LowerDirectory directory, view().Open(path_));
  if (directory.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const LowerEntry self, directory.StatSelf());
  return target.Finish(dir_fd, {.mode = self.stat.st_mode & 07777,
                                .owner = {self.stat.st_uid, self.stat.st_gid},
                                .mtime = absl::TimeFromTimespec(self.stat.st_mtim)});
}

}  // namespace farm
