#ifndef FARM_WORKER_BLOB_READER_H_
#define FARM_WORKER_BLOB_READER_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "base/byte_stream.h"

namespace farm {

// Turns what writes into a sink (a blob store's Get, a registry's FetchBlob) into a source, so that
// bytes are unpacked while they arrive. `produce` runs on a thread of its own. Read() gives the end
// only once `produce` returned OK; its error comes instead, after the last byte that it wrote. So
// whoever reads to the end has verified bytes if `produce` verifies them.
//
// Destroying the source early makes the sink's next Write() fail with CANCELLED, and waits until
// `produce` has returned. Buffers up to 4 MiB.
std::unique_ptr<ByteSource> ReadWhileProduced(std::function<absl::Status(ByteSink&)> produce);

}  // namespace farm

#endif  // FARM_WORKER_BLOB_READER_H_
