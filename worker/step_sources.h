#ifndef FARM_WORKER_STEP_SOURCES_H_
#define FARM_WORKER_STEP_SOURCES_H_

#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "layer/table.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/input_fetcher.h"
#include "worker/layer_stack.h"
#include "worker/step_tools.h"

namespace farm {

// What a step copies from or mounts: one of the two.
struct SourceFiles {
  std::optional<Table> context;  // its files are blobs of the CAS
  std::optional<LayerStack> layers;
};

// Brings a source of a step here: a context's table, or unpacked layers.
//   INVALID_ARGUMENT  it is not set, or a context's file has an xattr that no layer can hold
// and the errors of InputFetcher.
absl::StatusOr<SourceFiles> FetchSource(const StepTools& tools, const v1::CopySource& source,
                                        InputFetcher::Errand& errand);

// "" or names separated by single slashes, none of them "." or "..": a path that stays below.
bool IsCleanPath(absl::string_view path);

}  // namespace farm

#endif  // FARM_WORKER_STEP_SOURCES_H_
