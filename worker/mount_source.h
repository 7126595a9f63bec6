#ifndef FARM_WORKER_MOUNT_SOURCE_H_
#define FARM_WORKER_MOUNT_SOURCE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "base/unique_fd.h"
#include "layer/lower_view.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/input_fetcher.h"
#include "worker/layer_cache.h"
#include "worker/layer_stack.h"
#include "worker/snapshotter.h"
#include "worker/step_tools.h"

namespace farm {

// A file or directory of a build context, a stage or an image that a RUN --mount names, held here
// while the command runs. What a context has at a path is unpacked once and kept beside the layers,
// by its content: the next step with the same mount finds it. Not safe for concurrent calls.
class MountSource {
 public:
  // Brings `path` of `source` here; `content` is its content digest, as RunMount has it.
  //   INVALID_ARGUMENT  a path that is not clean, or a source that is not set
  // and the errors of InputFetcher and BlobFeed.
  static absl::StatusOr<MountSource> Fetch(const StepTools& tools, const v1::CopySource& source,
                                           const std::string& path, const Digest& content,
                                           InputFetcher::Errand& errand);

  // Makes it ready to be mounted once, and returns a descriptor that lives as long as this. What is
  // written to it stays in `dir`, a path of the step's directory that does not exist yet. Call it
  // once, and nothing after it.
  //   INVALID_ARGUMENT  the source has no such entry, or one that is neither file nor directory
  absl::StatusOr<int> Show(const StepTools& tools, bool read_only, const std::string& dir,
                           CancelToken& cancel);

  // Copies what is in the directory that it is into an empty one, which gets its metadata, too.
  //   INVALID_ARGUMENT  it is no directory
  absl::Status CopyInto(int dir_fd, CancelToken& cancel) const;

 private:
  MountSource() = default;

  LowerView view() const { return tree_fd_.valid() ? LowerView({tree_fd_.get()}) : layers_.view(); }
  absl::StatusOr<int> ShowDirectory(const StepTools& tools, const std::string& dir);
  absl::StatusOr<int> ShowFile(bool read_only, const std::string& dir, CancelToken& cancel);

  // Of a stage or image.
  LayerStack layers_;
  // Of a context.
  LayerCache::Handle tree_;
  UniqueFd tree_fd_;
  std::string path_;  // in view()

  // What Show() made.
  std::unique_ptr<Snapshot> snapshot_;
  UniqueFd file_;
};

}  // namespace farm

#endif  // FARM_WORKER_MOUNT_SOURCE_H_
