#ifndef FARM_CAS_CAS_SERVICE_H_
#define FARM_CAS_CAS_SERVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/executor.h"
#include "cas/blob_store.h"
#include "cas/index.h"

namespace grpc {
class ServerContextBase;
class Service;
}  // namespace grpc

namespace farm {

// The blobs of one batch call, together. With what surrounds them a batch stays below 4 MiB, which
// is what a gRPC client or server takes if nobody told it otherwise.
inline constexpr int64_t kCasBatchBytesMax = (4 << 20) - (512 << 10);
// And how many they may be.
inline constexpr int kCasBatchBlobsMax = 4096;
// Digests in one FindMissingBlobs call.
inline constexpr int kCasFindMissingMax = 50'000;
// Of one message of a stream.
inline constexpr int64_t kCasChunkBytes = 1 << 20;

// Offers a BlobStore by the Remote Execution API v2: ContentAddressableStorage, ByteStream,
// ActionCache and Capabilities (proto/build/bazel/remote/execution/v2).
//
// Calls use gRPC's callback API: no thread waits for a peer. What blocks (disk, index) runs on
// `pool`, a chunk at a time; where the pool is full, a call ends with RESOURCE_EXHAUSTED. A stream
// has one chunk in memory and asks for the next when that has gone.
//
// Register services() with a server, and shut that server down before this is destroyed; the pool
// must outlive both.
class CasService {
 public:
  struct Options {
    std::string spool_dir;  // for uploads under way; best on the store's file system
    int uploads_max = 1024;
    int64_t blob_bytes_max = int64_t{64} << 30;    // that of the store: more is refused at once
    int64_t spool_bytes_max = int64_t{128} << 30;  // of all uploads under way together
  };

  // The trust domain that a call acts in, or why it may not. `instance` is what the client wrote as
  // instance_name: at most 255 bytes, maybe "". Called from gRPC's threads; must not block.
  using Authorize = std::function<absl::StatusOr<std::string>(
      const grpc::ServerContextBase& context, absl::string_view instance)>;

  CasService(BlobStore& blobs, Index& index, Executor& pool, Clock& clock, Authorize authorize,
             Options options);
  ~CasService();

  std::vector<grpc::Service*> services();

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace farm

#endif  // FARM_CAS_CAS_SERVICE_H_
