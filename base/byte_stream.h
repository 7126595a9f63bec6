// Where bytes come from and go to, without saying what is behind: memory, files, the network.
#ifndef FARM_BASE_BYTE_STREAM_H_
#define FARM_BASE_BYTE_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// Read from front to back, once. Not safe for concurrent calls.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Reads up to `size` bytes into `buffer`; 0 means the end. Short reads are normal.
  virtual absl::StatusOr<size_t> Read(char* buffer, size_t size) = 0;
};

// Written from front to back. Not safe for concurrent calls.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual absl::Status Write(absl::string_view bytes) = 0;
};

// Borrows the bytes: they must outlive the source.
class StringSource final : public ByteSource {
 public:
  explicit StringSource(absl::string_view bytes) : bytes_(bytes) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override;

 private:
  absl::string_view bytes_;
};

class StringSink final : public ByteSink {
 public:
  // RESOURCE_EXHAUSTED once more than `bytes_max` were written.
  explicit StringSink(size_t bytes_max = SIZE_MAX) : bytes_max_(bytes_max) {}
  absl::Status Write(absl::string_view bytes) override;

  const std::string& bytes() const { return bytes_; }
  std::string Take() { return std::move(bytes_); }

 private:
  const size_t bytes_max_;
  std::string bytes_;
};

// Borrows an open descriptor and reads on from its offset.
class FdSource final : public ByteSource {
 public:
  explicit FdSource(int fd) : fd_(fd) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override;

 private:
  const int fd_;
};

// Borrows an open descriptor and writes all bytes at its offset.
class FdSink final : public ByteSink {
 public:
  explicit FdSink(int fd) : fd_(fd) {}
  absl::Status Write(absl::string_view bytes) override;

 private:
  const int fd_;
};

// Copies all of `source` into `sink`; returns how many bytes. RESOURCE_EXHAUSTED over `bytes_max`.
absl::StatusOr<int64_t> CopyBytes(ByteSource& source, ByteSink& sink,
                                  int64_t bytes_max = INT64_MAX);

// All of a file. NOT_FOUND; RESOURCE_EXHAUSTED if it is longer than `bytes_max`.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t bytes_max = INT64_MAX);

// Writes `bytes` to a temporary file beside `path` and renames it over `path`: readers see the old
// bytes or the new, never a part. Not synced to disk.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view bytes, int mode = 0644);

}  // namespace farm

#endif  // FARM_BASE_BYTE_STREAM_H_
