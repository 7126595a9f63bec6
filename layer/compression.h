// Compressed forms of a byte stream: reading all that registries and people hand us, writing two.
//
//   ASSIGN_OR_RETURN(auto tar, NewDecompressor(blob, {}));
//   ASSIGN_OR_RETURN(AppliedLayer layer, ApplyLayer(*tar, dirfd, {}));
//
//   ASSIGN_OR_RETURN(auto gzip, NewCompressor(DefaultCompressionId(Compression::kGzip), file));
//   RETURN_IF_ERROR(CopyBytes(tar, *gzip).status());
//   RETURN_IF_ERROR(gzip->Finish());
#ifndef FARM_LAYER_COMPRESSION_H_
#define FARM_LAYER_COMPRESSION_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/byte_stream.h"

namespace farm {

enum class Compression { kNone, kGzip, kZstd, kBzip2, kXz };

// "none", "gzip", "zstd", "bzip2", "xz".
absl::string_view CompressionName(Compression compression);

// By the magic number that a stream begins with; kCompressionMagicBytes of it are enough.
Compression DetectCompression(absl::string_view prefix);
inline constexpr size_t kCompressionMagicBytes = 6;

struct DecompressOptions {
  int64_t bytes_max = int64_t{64} << 30;  // Of the result.
  // Against bombs: once the result is longer than `ratio_free_bytes` it may have at most
  // `ratio_max` bytes for each compressed one. Deflate cannot pass 1032; zeros in zstd reach
  // 30,000.
  int64_t ratio_max = 1000;
  int64_t ratio_free_bytes = int64_t{4} << 30;
};

// The result of decompressing another source. Read() gives
//   INVALID_ARGUMENT    bytes that are not in the format
//   DATA_LOSS           the stream ends early, or a checksum in it is wrong
//   RESOURCE_EXHAUSTED  over a limit of DecompressOptions
// besides the errors of the source.
class Decompressor : public ByteSource {
 public:
  // What it found; kNone passes the bytes on.
  virtual Compression compression() const = 0;
};

// Reads the beginning of `source` to see how it is compressed. Borrows the source, and reads it to
// its end if the result is read to its end: several gzip members, zstd frames, bzip2 or xz streams
// in a row give one result.
absl::StatusOr<std::unique_ptr<Decompressor>> NewDecompressor(ByteSource& source,
                                                              const DecompressOptions& options);

// Codec, library with its version, level: "gzip-isal-2.30.0-1", "zstd-1.5.4-3". Equal ids give
// equal bytes for equal input, so results are memoised by (diffID, this). For kGzip and kZstd.
std::string DefaultCompressionId(Compression compression);

// Compresses what is written into another sink.
class Compressor : public ByteSink {
 public:
  // Writes what is left and the format's end. Nothing may be written after. Without it the output
  // is incomplete.
  virtual absl::Status Finish() = 0;
};

// Borrows `sink`.
//   INVALID_ARGUMENT     no such codec or level
//   FAILED_PRECONDITION  this program has another version of the library
absl::StatusOr<std::unique_ptr<Compressor>> NewCompressor(absl::string_view compression_id,
                                                          ByteSink& sink);

}  // namespace farm

#endif  // FARM_LAYER_COMPRESSION_H_
