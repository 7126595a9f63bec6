#ifndef FARM_WORKER_COPY_SOURCE_H_
#define FARM_WORKER_COPY_SOURCE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/cancel_token.h"
#include "base/digest.h"
#include "layer/lower_view.h"
#include "layer/table.h"
#include "worker/blob_feed.h"
#include "worker/copy_target.h"
#include "worker/layer_output.h"

namespace farm {

// Something to copy from. Paths are as in layer/table.h, and lead to what they name without
// symlinks. Not safe for concurrent calls.
class CopySource {
 public:
  virtual ~CopySource() = default;

  // INVALID_ARGUMENT if there is no such entry: the step's description does not fit its inputs.
  virtual absl::StatusOr<bool> IsDirectory(absl::string_view path) = 0;

  // Copies an entry to a name in a directory. Files that are one inode in the source are one in the
  // target.
  virtual absl::Status CopyEntry(absl::string_view path, CopyTarget& target,
                                 const CopyTarget::Directory& directory,
                                 absl::string_view name) = 0;
  // Copies what is in directory `path` into a directory that is there, and gives that the time of
  // the source's.
  virtual absl::Status CopyContents(absl::string_view path, CopyTarget& target,
                                    const CopyTarget::Directory& directory) = 0;
};

// A build context: a table, and a blob for each file. `feed` gives the blobs of what CopyEntry()
// and CopyContents() will copy, in their order (AppendFilesOf). Fills `known`. Borrows all.
class ContextSource final : public CopySource {
 public:
  ContextSource(const Table& table, BlobFeed& feed, KnownFiles& known, CancelToken& cancel)
      : table_(table), feed_(feed), known_(known), cancel_(cancel) {}

  // Blobs that copying `path` reads, in order.
  static void AppendFilesOf(const Table& table, absl::string_view path,
                            std::vector<Digest>& digests);

  absl::StatusOr<bool> IsDirectory(absl::string_view path) override;
  absl::Status CopyEntry(absl::string_view path, CopyTarget& target,
                         const CopyTarget::Directory& directory, absl::string_view name) override;
  absl::Status CopyContents(absl::string_view path, CopyTarget& target,
                            const CopyTarget::Directory& directory) override;

 private:
  class TreeCopy;

  const Table& table_;
  BlobFeed& feed_;
  KnownFiles& known_;
  CancelToken& cancel_;
};

// The root of another stage or image, unpacked here. Borrows the layers that `view` shows.
class LayersSource final : public CopySource {
 public:
  // Of a directory whose contents are copied only what `selection` holds, with paths relative to
  // it; null: all.
  LayersSource(LowerView view, const Table* selection, CancelToken& cancel)
      : view_(std::move(view)), selection_(selection), cancel_(cancel) {}

  absl::StatusOr<bool> IsDirectory(absl::string_view path) override;
  absl::Status CopyEntry(absl::string_view path, CopyTarget& target,
                         const CopyTarget::Directory& directory, absl::string_view name) override;
  absl::Status CopyContents(absl::string_view path, CopyTarget& target,
                            const CopyTarget::Directory& directory) override;

 private:
  class TreeCopy;

  const LowerView view_;
  const Table* const selection_;
  CancelToken& cancel_;
};

}  // namespace farm

#endif  // FARM_WORKER_COPY_SOURCE_H_
