#include "worker/layer_stack.h"

#include <errno.h>
#include <fcntl.h>

#include <utility>

#include "base/errno_status.h"
#include "layer/chain_id.h"

namespace farm {

absl::Status LayerStack::Push(LayerCache::Handle layer, const Digest& diff_id) {
  UniqueFd directory(open(layer.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return ErrnoStatus(errno, layer.path());
  directories_.push_back(std::move(directory));
  layers_.push_back(std::move(layer));
  diff_ids_.push_back(diff_id);
  chain_id_ = ChainId(diff_ids_);
  return absl::OkStatus();
}

std::vector<std::string> LayerStack::directories() const {
  std::vector<std::string> paths;
  for (auto it = layers_.rbegin(); it != layers_.rend(); ++it) paths.push_back(it->path());
  return paths;
}

LowerView LayerStack::view() const {
  std::vector<int> fds;
  for (auto it = directories_.rbegin(); it != directories_.rend(); ++it) fds.push_back(it->get());
  return LowerView(std::move(fds));
}

}  // namespace farm
