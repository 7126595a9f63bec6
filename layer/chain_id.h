#ifndef FARM_LAYER_CHAIN_ID_H_
#define FARM_LAYER_CHAIN_ID_H_

#include "absl/types/span.h"
#include "base/digest.h"

namespace farm {

// Name of a stack of layers, base first (OCI image-spec, config.md, "Layer ChainID"). Only the
// hashes of `diff_ids` count. It names no bytes: `size_bytes()` of the result is 0. No layers:
// empty.
Digest ChainId(absl::Span<const Digest> diff_ids);

}  // namespace farm

#endif  // FARM_LAYER_CHAIN_ID_H_
