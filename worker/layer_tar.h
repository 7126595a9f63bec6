#ifndef FARM_WORKER_LAYER_TAR_H_
#define FARM_WORKER_LAYER_TAR_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "base/byte_stream.h"
#include "worker/input_fetcher.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// Calls `read` with the tar of the layer that the step names as its only input, `diff_id`; again,
// with another form of it, if one turns out to be missing or damaged. `read` reads to the end.
//   INVALID_ARGUMENT     the input is no single layer, or `diff_id` no digest
//   FAILED_PRECONDITION  no form of it can be had
//   DATA_LOSS            what can be had is damaged, or another layer
//   CANCELLED
// and what `read` says.
absl::Status ReadLayerTar(const StepTools& tools, const StepRun& run, const std::string& diff_id,
                          InputFetcher::Errand& errand,
                          const std::function<absl::Status(ByteSource& tar)>& read);

}  // namespace farm

#endif  // FARM_WORKER_LAYER_TAR_H_
