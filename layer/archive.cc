#include "layer/archive.h"

#include <memory>
#include <string>

#include "base/status_macros.h"
#include "layer/compression.h"
#include "layer/tar_entry.h"
#include "layer/tar_reader.h"

namespace farm {
namespace {

// Tells an error of the file from one of what is in it.
class WatchedSource final : public ByteSource {
 public:
  explicit WatchedSource(ByteSource& source) : source_(source) {}

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    absl::StatusOr<size_t> count = source_.Read(buffer, size);
    if (!count.ok()) status_ = count.status();
    return count;
  }
  const absl::Status& status() const { return status_; }

 private:
  ByteSource& source_;
  absl::Status status_;
};

absl::StatusOr<std::string> FirstBlock(ByteSource& source) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Decompressor> bytes, NewDecompressor(source, {}));
  std::string block(kTarBlockBytes, '\0');
  size_t size = 0;
  while (size < block.size()) {
    ASSIGN_OR_RETURN(const size_t count, bytes->Read(block.data() + size, block.size() - size));
    if (count == 0) break;
    size += count;
  }
  block.resize(size);
  return block;
}

}  // namespace

absl::StatusOr<bool> IsArchive(ByteSource& file) {
  WatchedSource source(file);
  const absl::StatusOr<std::string> block = FirstBlock(source);
  RETURN_IF_ERROR(source.status());
  return block.ok() && IsTarHeader(*block);
}

}  // namespace farm
