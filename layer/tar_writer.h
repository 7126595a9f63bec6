#ifndef FARM_LAYER_TAR_WRITER_H_
#define FARM_LAYER_TAR_WRITER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/byte_stream.h"
#include "layer/tar_entry.h"
#include "layer/twin_sha256.h"

namespace farm {

// Writes a tar whose bytes depend on nothing but the entries: ustar headers, with a pax header
// before them only for what they cannot hold (names over 100 bytes, big numbers, xattrs; in this
// order: path, linkpath, size, uid, gid, mtime, xattrs by name). Numeric ids, no user names, times
// floored to whole seconds. Not safe for concurrent calls.
//
//   TarWriter writer(sink);
//   RETURN_IF_ERROR(writer.AddEntry(entry));
//   RETURN_IF_ERROR(writer.AddData(bytes));  // In all entry.size_bytes of them.
//   RETURN_IF_ERROR(writer.Finish());
//
// All errors are those of the sink, except that more than `bytes_max` are RESOURCE_EXHAUSTED.
class TarWriter {
 public:
  // Borrows the sink, which gets writes of 128 KiB and more, but for the last, and `hash`, which
  // gets all bytes of the tar and may be null.
  explicit TarWriter(ByteSink& sink, int64_t bytes_max = INT64_MAX, TwinSha256* hash = nullptr);

  // Begins the next entry; the data of the one before must be complete. A directory's name gets a
  // trailing slash if it has none.
  absl::Status AddEntry(const TarEntry& entry);
  // Adds bytes to the entry, and to `content` unless that is null; it may be called any number of
  // times.
  absl::Status AddData(absl::string_view bytes, TwinSha256* content = nullptr);
  // Writes the end mark, two blocks of zeros, and what is buffered.
  absl::Status Finish();

 private:
  void AppendHeader(const TarEntry& entry, absl::string_view name, char type_flag);
  absl::Status Append(absl::string_view bytes, TwinSha256* content);
  void AppendZerosToBlock();
  void HashBuffered(size_t keep);
  absl::Status Flush();

  ByteSink& sink_;
  int64_t bytes_left_;
  int64_t data_left_ = 0;
  std::string buffer_;
  TwinSha256* const hash_;
  size_t hashed_ = 0;  // Bytes of buffer_ that are in hash_.
};

}  // namespace farm

#endif  // FARM_LAYER_TAR_WRITER_H_
