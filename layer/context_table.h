// What a build context may hold: less than a layer.
#ifndef FARM_LAYER_CONTEXT_TABLE_H_
#define FARM_LAYER_CONTEXT_TABLE_H_

#include "absl/status/status.h"
#include "layer/table.h"

namespace farm {

// INVALID_ARGUMENT, with the entry, for what means something to overlayfs or belongs to the host
// that a context is copied on: whiteouts, opaque directories, xattrs that no layer holds.
absl::Status CheckContextTable(const Table& context);

}  // namespace farm

#endif  // FARM_LAYER_CONTEXT_TABLE_H_
