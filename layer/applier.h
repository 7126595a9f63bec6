// From a tar to a directory, safely: the tar is hostile, and so may be what is in the directory.
//
// Both functions resolve every path beneath the destination (openat2) and never follow a symlink at
// the end of one. What tars of others may hold, and what becomes of it:
//   /abs/name, ./name, a/../b   cleaned, as docker and containerd do
//   ../name, a/../../b          INVALID_ARGUMENT (docker refuses, containerd clamps)
//   a -> b, then a/x            written to b/x, resolved within the destination (both do)
//   a/x where a is a file       INVALID_ARGUMENT
//   hard link                   its target resolves alike and must have come before
//   the same name twice         the later one wins; directories merge
//   missing parents             made; ApplyLayer() follows symlinks below on the way to them
//   char device 0:0             INVALID_ARGUMENT: overlayfs would take it for a deletion
//   xattrs                      user.* (not user.overlay.*) and security.capability; others dropped
#ifndef FARM_LAYER_APPLIER_H_
#define FARM_LAYER_APPLIER_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "base/byte_stream.h"
#include "base/cancel_token.h"
#include "base/digest.h"
#include "layer/lower_view.h"
#include "layer/table.h"

namespace farm {

struct ApplyOptions {
  TableLimits limits{};
  int64_t tar_bytes_max = int64_t{64} << 30;
  // What the layer will be mounted on: where the tar lacks the parents of an entry, they are made
  // with the metadata they have below, else overlayfs would show them as 0755 root. Such a
  // directory fits only on this stack (see AppliedLayer::parents_from_below). Null: nothing is
  // below.
  const LowerView* below = nullptr;
  // If set and the tar's table is another one: DATA_LOSS.
  const Table* expected_table = nullptr;
  // If set and the tar has another hash: DATA_LOSS. Its size counts only if it is not 0.
  const Digest* expected_diff_id = nullptr;
  // Ends the work with CANCELLED; may be null.
  const CancelToken* cancel = nullptr;
};

struct AppliedLayer {
  Digest diff_id;  // Of all bytes of the tar, those after its end mark included.
  Table table;     // Without the parents that the tar lacks.
  // True if a missing parent got its metadata from ApplyOptions::below: the directory must not be
  // used on another stack.
  bool parents_from_below = false;
};

// Unpacks an uncompressed layer tar (see layer/compression.h for others) into the empty directory
// `dest_dirfd`, in the form that overlayfs mounts: ".wh.NAME" becomes a char device 0:0,
// ".wh..wh..opq" the mark of an opaque directory (at the root it is INVALID_ARGUMENT: overlayfs
// knows no opaque root). Where a layer holds a name and its whiteout, the name stays, and hides
// what is below. A root that is no entry is 0755, 0:0, 1970, whatever it is below. Owner, mode,
// xattrs and times are restored. Needs root.
//   INVALID_ARGUMENT    not a tar, or an entry that is refused, which is named
//   DATA_LOSS           the tar ends early, or not what was expected
//   RESOURCE_EXHAUSTED  over a limit, or the disk is full
//   CANCELLED           see ApplyOptions::cancel
// After an error the directory is half made: remove it.
absl::StatusOr<AppliedLayer> ApplyLayer(ByteSource& tar, int dest_dirfd,
                                        const ApplyOptions& options);

struct ExtractOptions {
  TableLimits limits{};
  int64_t tar_bytes_max = int64_t{64} << 30;
  // False: all belongs to whoever runs this, without set-id bits and xattrs, as an unprivileged
  // client needs it.
  bool restore_owner = true;
  // Whose all entries become, whatever the tar says (ADD --chown). Unset: as the tar says.
  struct Owner {
    uint32_t uid = 0;
    uint32_t gid = 0;
  };
  std::optional<Owner> owner;
  // Ends the work with CANCELLED; may be null.
  const CancelToken* cancel = nullptr;
};

// Unpacks an uncompressed tar over what is in `dest_dirfd` (ADD of an archive, `--output
// type=local`). Whiteouts have no meaning here: ".wh.x" is a name like others. An entry for
// the root itself is left out. Errors as above.
absl::Status ExtractTar(ByteSource& tar, int dest_dirfd, const ExtractOptions& options);

}  // namespace farm

#endif  // FARM_LAYER_APPLIER_H_
