#ifndef FARM_LAYER_TAR_READER_H_
#define FARM_LAYER_TAR_READER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/byte_stream.h"
#include "layer/tar_entry.h"
#include "layer/twin_sha256.h"

namespace farm {

struct TarLimits {
  int64_t bytes_max = int64_t{64} << 30;
  int64_t entries_max = 1'000'000;  // Without the headers that say more of an entry.
  // Of all pax and GNU headers of one entry together, with the blocks that announce them: its names
  // and xattrs. And of all global records that are in force.
  int64_t extended_header_bytes_max = 1 << 20;
};

// Reads a tar as a stream: v7, ustar, pax (with global headers) and GNU (long names, base-256
// numbers). The tar may be hostile: memory is bounded, whatever it says. Sparse files, multi-volume
// and incremental archives are refused. Not safe for concurrent calls.
//
//   TarReader reader(source, limits);
//   TarEntry entry;
//   while (true) {
//     ASSIGN_OR_RETURN(bool more, reader.Next(&entry));
//     if (!more) break;
//     ... reader.NextData() until it is empty, or not at all
//   }
class TarReader {
 public:
  // Borrows the source, and `hash`, which gets all bytes of the tar and may be null.
  TarReader(ByteSource& source, const TarLimits& limits, TwinSha256* hash = nullptr);

  // Goes to the next entry, past data that was not read. False at the end: two blocks of zeros, or
  // the end of the source where a header would be.
  //   INVALID_ARGUMENT    not a tar, or of a kind that is refused
  //   DATA_LOSS           the source ends within an entry
  //   RESOURCE_EXHAUSTED  over a limit, which is named
  absl::StatusOr<bool> Next(TarEntry* entry);

  // The next bytes of the entry's data, also added to `content` unless that is null; empty after
  // the last. They are valid until the next call.
  absl::StatusOr<absl::string_view> NextData(TwinSha256* content = nullptr);

  // After Next() said false: reads the source to its end, so that `hash` has all of it.
  absl::Status Drain();

 private:
  using Records = std::map<std::string, std::string>;

  absl::string_view Take(size_t count);
  absl::StatusOr<size_t> Fill();
  absl::StatusOr<const char*> NextBlock();
  absl::StatusOr<bool> NextHeader(TarEntry* entry);
  absl::StatusOr<std::string> ExtendedHeader();
  absl::Status AddGlobal(absl::string_view pax);
  absl::Status Skip();
  absl::Status OverLimit() const;
  absl::Status OverExtended() const;

  ByteSource& source_;
  const TarLimits limits_;
  TwinSha256* const hash_;
  const std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0;  // Unread bytes of buffer_ are [begin_, end_).
  size_t end_ = 0;
  int64_t bytes_read_ = 0;
  int64_t headers_ = 0;  // Of all kinds.
  int64_t entries_ = 0;
  int64_t data_left_ = 0;     // Of the current entry.
  int64_t padding_left_ = 0;  // Behind it.
  char type_flag_ = 0;        // Of the last header.
  Records global_;            // Pax records for all entries from here on.
};

// True if these bytes begin with the header of a tar entry, by its checksum.
bool IsTarHeader(absl::string_view bytes);

}  // namespace farm

#endif  // FARM_LAYER_TAR_READER_H_
