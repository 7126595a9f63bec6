#include "cli/blob_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <thread>
#include <utility>

#include "base/child_process.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace farm {
namespace {

constexpr int kPipeBytes = 1 << 20;

class PipedBlob final : public ByteSource {
 public:
  PipedBlob(BlobStore& store, const Digest& digest, int64_t offset, UniqueFd read_end,
            UniqueFd write_end)
      : read_end_(std::move(read_end)),
        source_(read_end_.get()),
        writer_([this, &store, digest, offset, fd = std::move(write_end)]() mutable {
          FdSink sink(fd.get());
          status_ = store.Get(digest, offset, sink);
          // Closing is what the reader sees as the end, so it comes after the status.
          fd.Reset();
        }) {}

  ~PipedBlob() override {
    read_end_.Reset();  // The writer's next write fails, should it not be done.
    if (writer_.joinable()) writer_.join();
  }

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    ASSIGN_OR_RETURN(const size_t n, source_.Read(buffer, size));
    if (n > 0 || size == 0) return n;
    if (writer_.joinable()) writer_.join();
    RETURN_IF_ERROR(status_);
    return 0;
  }

 private:
  UniqueFd read_end_;
  FdSource source_;
  absl::Status status_;  // Of the writer; read after it was joined.
  std::thread writer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteSource>> OpenBlob(BlobStore& store, const Digest& digest,
                                                     int64_t offset) {
  ASSIGN_OR_RETURN(Pipe pipe, MakePipe());
  fcntl(pipe.write.get(), F_SETPIPE_SZ, kPipeBytes);  // Fewer switches of threads; not vital.
  return std::make_unique<PipedBlob>(store, digest, offset, std::move(pipe.read),
                                     std::move(pipe.write));
}

}  // namespace farm
