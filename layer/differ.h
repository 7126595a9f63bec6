// From a directory to a layer: one pass that walks, writes the tar, hashes it and makes its table.
#ifndef FARM_LAYER_DIFFER_H_
#define FARM_LAYER_DIFFER_H_

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/byte_stream.h"
#include "base/cancel_token.h"
#include "base/digest.h"
#include "layer/lower_view.h"
#include "layer/table.h"

namespace farm {

struct PackOptions {
  TableLimits limits{};
  int64_t tar_bytes_max = int64_t{64} << 30;
  // Digests of files by path, where they are known (a COPY knows what it wrote): these files are
  // not hashed again. A digest with another size than the file is DATA_LOSS; equal sizes are
  // believed.
  const absl::flat_hash_map<std::string, Digest>* known_files = nullptr;
  // Ends the work with CANCELLED; may be null.
  const CancelToken* cancel = nullptr;
};

struct PackedLayer {
  Digest diff_id;  // Of the uncompressed tar, and its size.
  Table table;
};

// Writes the layer that the overlayfs upper directory `upper_dirfd` makes of `below`. The bytes are
// a pure function of the two: names sorted, numeric ids, times in whole seconds. Rules:
//  - Times of the upper are truncated to whole seconds first, on disk too: the step's successors
//    here and those who unpack the tar elsewhere see the same times.
//  - A whiteout (char device 0:0) is written as ".wh.NAME" if `below` has the name, else dropped.
//  - An opaque directory gives explicit whiteouts of what was below it.
//  - A directory in which nothing is written is left out if `below` has it with equal mode, owner,
//    xattrs and mtime (overlayfs copies parents up). The parents of all that is written are
//    written: some runtimes unpack a layer by itself, and would give a missing parent made-up
//    metadata.
//  - The root itself is never written, as in images of others. On disk it gets the owner, mode and
//    time that ApplyLayer() gives the root of such a tar.
//  - Files under several names are hard links to the first of them. Holes are written as zeros.
//  - Sockets are in no layer, nor are extended attributes but user.* and security.capability (in
//    its version 2): all others belong to the host. What of these a step can make is removed from
//    the directory, so that its successors here see what those see who unpack the tar elsewhere.
// Nothing else may use the directory meanwhile.
//   INVALID_ARGUMENT    a name that a layer cannot hold (".wh.*"), or a file changed while read
//   RESOURCE_EXHAUSTED  over a limit
//   CANCELLED           see PackOptions::cancel
absl::StatusOr<PackedLayer> PackLayer(int upper_dirfd, const LowerView& below,
                                      const PackOptions& options, ByteSink& tar);

// Writes all of a directory as a layer that needs nothing below (import, flatten). No overlay
// meaning: a char device 0:0 is INVALID_ARGUMENT. Sockets and other extended attributes are
// skipped; the directory is not changed. Errors as above.
absl::StatusOr<PackedLayer> PackTree(int dirfd, const PackOptions& options, ByteSink& tar);

}  // namespace farm

#endif  // FARM_LAYER_DIFFER_H_
