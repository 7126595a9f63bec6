#ifndef FARM_WORKER_OVERLAY_SNAPSHOTTER_H_
#define FARM_WORKER_OVERLAY_SNAPSHOTTER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/snapshotter.h"
#include "worker/trash.h"

namespace farm {

// How a kernel is told the layers of an overlay.
enum class OverlayMethod {
  kFsconfig,  // One by one (Linux 6.8): any number up to the kernel's 500, and no path is too long.
  kMount,     // mount(2): all in one page of options, so we name them by short links.
};

// Snapshots by overlayfs. A step directory holds "upper" (the changes) and "work" (overlayfs' own).
//
// The mount options keep a directory of changes self-contained and like what Docker's users get:
// directories are not renamed by reference (redirect_dir), changed metadata takes the data along
// (metacopy), hard links break at copy-up (index). They also make a hostile layer harmless that has
// such references in its xattrs. "volatile": nothing is synced; a step directory that was not
// committed is never used again.
class OverlaySnapshotter final : public Snapshotter {
 public:
  // Mounts a small overlay under `probe_dir` (an existing directory on the file system of the
  // steps) to find out what this kernel can do. Borrows `trash`.
  //   FAILED_PRECONDITION  overlayfs does not work there; the message says why
  static absl::StatusOr<std::unique_ptr<OverlaySnapshotter>> Create(const std::string& probe_dir,
                                                                    Trash& trash);

  OverlaySnapshotter(OverlayMethod method, Trash& trash) : method_(method), trash_(trash) {}

  OverlayMethod method() const { return method_; }

  absl::StatusOr<std::unique_ptr<Snapshot>> Prepare(const std::vector<std::string>& layer_dirs,
                                                    const std::string& step_dir) override;

 private:
  const OverlayMethod method_;
  Trash& trash_;
};

}  // namespace farm

#endif  // FARM_WORKER_OVERLAY_SNAPSHOTTER_H_
