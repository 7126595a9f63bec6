#include "base/byte_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace farm {
namespace {

constexpr size_t kCopyBufferBytes = 256 * 1024;

}  // namespace

absl::StatusOr<size_t> StringSource::Read(char* buffer, size_t size) {
  const size_t count = std::min(size, bytes_.size());
  std::memcpy(buffer, bytes_.data(), count);
  bytes_.remove_prefix(count);
  return count;
}

absl::Status StringSink::Write(absl::string_view bytes) {
  if (bytes.size() > bytes_max_ - bytes_.size()) {
    return absl::ResourceExhaustedError(absl::StrCat("more than ", bytes_max_, " bytes"));
  }
  bytes_.append(bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::StatusOr<size_t> FdSource::Read(char* buffer, size_t size) {
  ssize_t count;
  do {
    count = read(fd_, buffer, size);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return ErrnoStatus(errno, "read");
  return static_cast<size_t>(count);
}

absl::Status FdSink::Write(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(fd_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(errno, "write");
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> CopyBytes(ByteSource& source, ByteSink& sink, int64_t bytes_max) {
  const auto buffer = std::make_unique<char[]>(kCopyBufferBytes);
  int64_t total = 0;
  while (true) {
    ASSIGN_OR_RETURN(const size_t count, source.Read(buffer.get(), kCopyBufferBytes));
    if (count == 0) return total;
    if (static_cast<int64_t>(count) > bytes_max - total) {
      return absl::ResourceExhaustedError(absl::StrCat("more than ", bytes_max, " bytes"));
    }
    total += static_cast<int64_t>(count);
    RETURN_IF_ERROR(sink.Write({buffer.get(), count}));
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t bytes_max) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  FdSource source(fd.get());
  StringSink sink;
  RETURN_IF_ERROR(CopyBytes(source, sink, bytes_max).status()) << path;
  return sink.Take();
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view bytes, int mode) {
  std::string temporary = path + ".XXXXXX";
  UniqueFd fd(mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, temporary);
  absl::Status status = FdSink(fd.get()).Write(bytes);
  if (status.ok() && fchmod(fd.get(), mode) != 0) status = ErrnoStatus(errno, temporary);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = ErrnoStatus(errno, path);
  }
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

}  // namespace farm
