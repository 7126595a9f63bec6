// Extended attributes: which of them are a layer's, and how overlayfs marks its directories.
#ifndef FARM_LAYER_XATTRS_H_
#define FARM_LAYER_XATTRS_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

using Xattrs = std::map<std::string, std::string>;

// What layers carry: user.* and security.capability. All others belong to the host (SELinux labels,
// ACLs by local ids) or to the kernel (trusted.*); user.overlay.* would speak to overlayfs; a
// pax record cannot hold a name with "=".
bool IsLayerXattr(absl::string_view name);

// The layer's xattrs of an open file or directory (Linux has neither of the two on anything else);
// security.capability in its version 2, which does not depend on the user namespace that wrote it.
absl::StatusOr<Xattrs> ReadLayerXattrs(int fd);

// The same for what an overlay mount wrote, and removes what is not a layer's and a step can set:
// ACLs, and names of user.* that no layer carries. Overlayfs' own marks (trusted.overlay.*) and the
// host's labels (security.*) stay.
absl::StatusOr<Xattrs> KeepLayerXattrs(int fd);
// Removes the layer's, too.
absl::Status KeepOverlayXattrs(int fd);
// Removes the ACL of a device or fifo, which cannot be opened.
absl::Status DropAclAt(int dirfd, const std::string& name);

// Sets each of `xattrs` that IsLayerXattr(). Where the file system has no user.* these are left
// out, as other tools do.
absl::Status WriteLayerXattrs(int fd, const Xattrs& xattrs);

// trusted.overlay.opaque=y: overlayfs shows nothing from below this directory.
absl::StatusOr<bool> HasOpaqueMark(int dirfd);
absl::Status SetOpaqueMark(int dirfd);

}  // namespace farm

#endif  // FARM_LAYER_XATTRS_H_
