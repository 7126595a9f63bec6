#ifndef FARM_CLI_CONTEXT_UPLOAD_H_
#define FARM_CLI_CONTEXT_UPLOAD_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "cli/context_scanner.h"
#include "cli/farm_client.h"

namespace farm {

struct UploadedContext {
  int64_t blobs = 0;  // that the farm lacked
  int64_t bytes = 0;
};

// Called with the bytes sent so far, from several threads but one at a time.
using OnUploaded = std::function<void(int64_t sent_bytes)>;

// Brings to the farm what it lacks of a context: files first, the table last, so that a table that
// is there says that its files were there. With `trust_table` nothing else is asked if the table is
// there; the farm checks what it uses all the same, and says FAILED_PRECONDITION.
//   ABORTED  a file is not what it was when the context was scanned: scan again
absl::StatusOr<UploadedContext> UploadContext(const ScannedContext& context, FarmClient& client,
                                              bool trust_table, const OnUploaded& on_uploaded);

}  // namespace farm

#endif  // FARM_CLI_CONTEXT_UPLOAD_H_
