#ifndef FARM_CAS_REMOTE_BLOB_STORE_H_
#define FARM_CAS_REMOTE_BLOB_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cas/blob_store.h"

namespace grpc {
class ChannelInterface;
class ClientContext;
}  // namespace grpc

namespace farm {

// The blobs of another program, by the Remote Execution API: small ones in batches, large ones in
// chunks that go on where a lost connection cut them off. Calls block, with deadlines, and are
// repeated with growing pauses while the server can't be reached; then UNAVAILABLE.
//
// Does not hash what it gets: wrap it in a VerifyingBlobStore. Sync() only asks whether the blobs
// are there: how durable they are is the server's to decide. Delete() is UNIMPLEMENTED, as the
// protocol has no such call.
class RemoteBlobStore final : public BlobStore {
 public:
  struct Options {
    std::string instance = {};  // instance_name: the trust domain, "" for the caller's own
    int attempts_max = 5;       // in a row without any progress
    absl::Duration backoff_min = absl::Milliseconds(100);
    absl::Duration backoff_max = absl::Seconds(5);
    // Of one call; one that moves a large blob gets a second more for each 256 KiB.
    absl::Duration call_timeout = absl::Seconds(60);
    // Called on each call's context before it starts, e.g. to add credentials. May be null.
    std::function<void(grpc::ClientContext&)> prepare = {};
  };

  struct Blob {
    Digest digest;
    absl::string_view bytes;
  };

  explicit RemoteBlobStore(std::shared_ptr<grpc::ChannelInterface> channel)
      : RemoteBlobStore(std::move(channel), Options()) {}
  RemoteBlobStore(std::shared_ptr<grpc::ChannelInterface> channel, Options options);
  ~RemoteBlobStore() override;

  absl::Status Put(const Digest& digest, ByteSource& source) override;
  absl::Status PutFile(const Digest& digest, const std::string& path) override;
  absl::Status Get(const Digest& digest, int64_t offset, ByteSink& sink) override;
  absl::StatusOr<UniqueFd> OpenFile(const Digest& digest) override;
  absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest> digests) override;
  absl::Status Sync(absl::Span<const Digest> digests) override;
  absl::Status Delete(const Digest& digest) override;

  // Stores many blobs in as few calls as their sizes permit; large ones travel by themselves. Ends
  // at the first error; the blobs before it are stored.
  absl::Status PutBatch(absl::Span<const Blob> blobs);

  // Reads many blobs the same way and calls `receive` for each, in any order, with its bytes or
  // what went wrong. A blob is in memory whole: keep large ones out of here. Returns an error only
  // if it ended early.
  absl::Status GetBatch(
      absl::Span<const Digest> digests,
      const std::function<void(const Digest&, absl::StatusOr<std::string>)>& receive);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace farm

#endif  // FARM_CAS_REMOTE_BLOB_STORE_H_
