#ifndef FARM_WORKER_OWNED_FILE_SOURCE_H_
#define FARM_WORKER_OWNED_FILE_SOURCE_H_

#include <utility>

#include "absl/status/statusor.h"
#include "base/byte_stream.h"
#include "base/unique_fd.h"

namespace farm {

// Owns the file that it reads, from its offset on.
class OwnedFileSource final : public ByteSource {
 public:
  explicit OwnedFileSource(UniqueFd file) : file_(std::move(file)), source_(file_.get()) {}

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    return source_.Read(buffer, size);
  }

 private:
  const UniqueFd file_;
  FdSource source_;
};

}  // namespace farm

#endif  // FARM_WORKER_OWNED_FILE_SOURCE_H_
