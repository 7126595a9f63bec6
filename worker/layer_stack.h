#ifndef FARM_WORKER_LAYER_STACK_H_
#define FARM_WORKER_LAYER_STACK_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/digest.h"
#include "base/unique_fd.h"
#include "layer/lower_view.h"
#include "worker/layer_cache.h"

namespace farm {

// Unpacked layers that make a root, held while a step uses them. Not safe for concurrent calls.
class LayerStack {
 public:
  // Puts a layer on top.
  absl::Status Push(LayerCache::Handle layer, const Digest& diff_id);

  // Topmost first, as Snapshotter::Prepare() takes them.
  std::vector<std::string> directories() const;
  // Borrows descriptors of this stack. Not after CloseDirectories().
  LowerView view() const;
  // For who needs no more of the layers than that they stay where they are.
  void CloseDirectories() { directories_.clear(); }
  // Zero if there are no layers.
  const Digest& chain_id() const { return chain_id_; }

 private:
  // Base first.
  std::vector<LayerCache::Handle> layers_;
  std::vector<UniqueFd> directories_;
  std::vector<Digest> diff_ids_;
  Digest chain_id_;
};

}  // namespace farm

#endif  // FARM_WORKER_LAYER_STACK_H_
