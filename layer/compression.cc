#include "layer/compression.h"

#include <archive.h>
#include <isa-l.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr size_t kBufferBytes = 256 * 1024;
// Of a zstd frame: the most that decoders must take (RFC 8878), which is what they allot.
constexpr int kZstdWindowLog = 27;

// Reading.

// Gives some bytes that were read already, then the source's.
class PrefixedSource final : public ByteSource {
 public:
  PrefixedSource(std::string prefix, ByteSource& source)
      : prefix_(std::move(prefix)), source_(source) {}

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    if (given_ == prefix_.size()) return source_.Read(buffer, size);
    const size_t count = std::min(size, prefix_.size() - given_);
    std::memcpy(buffer, prefix_.data() + given_, count);
    given_ += count;
    return count;
  }

 private:
  const std::string prefix_;
  size_t given_ = 0;
  ByteSource& source_;
};

// Compressed bytes, a buffer at a time.
class InputBuffer {
 public:
  explicit InputBuffer(ByteSource& source)
      : source_(source), buffer_(std::make_unique_for_overwrite<char[]>(kBufferBytes)) {}

  // Reads on if all is used up. False at the end of the source.
  absl::StatusOr<bool> Fill() {
    if (!unused_.empty()) return true;
    ASSIGN_OR_RETURN(const size_t count, source_.Read(buffer_.get(), kBufferBytes));
    bytes_read_ += static_cast<int64_t>(count);
    unused_ = absl::string_view(buffer_.get(), count);
    return count > 0;
  }
  absl::string_view unused() const { return unused_; }
  void Use(size_t count) { unused_.remove_prefix(count); }
  int64_t bytes_read() const { return bytes_read_; }

 private:
  ByteSource& source_;
  const std::unique_ptr<char[]> buffer_;
  absl::string_view unused_;
  int64_t bytes_read_ = 0;
};

// One format, without limits.
class Decoder {
 public:
  virtual ~Decoder() = default;
  // As ByteSource::Read().
  virtual absl::StatusOr<size_t> Decode(InputBuffer& input, char* buffer, size_t size) = 0;
};

absl::Status Truncated(absl::string_view format) {
  return absl::DataLossError(absl::StrCat("the ", std::string(format), " stream ends early"));
}

class NoneDecoder final : public Decoder {
 public:
  absl::StatusOr<size_t> Decode(InputBuffer& input, char* buffer, size_t size) override {
    ASSIGN_OR_RETURN(const bool more, input.Fill());
    if (!more) return 0;
    const size_t count = std::min(size, input.unused().size());
    std::memcpy(buffer, input.unused().data(), count);
    input.Use(count);
    return count;
  }
};

class GzipDecoder final : public Decoder {
 public:
  absl::StatusOr<size_t> Decode(InputBuffer& input, char* buffer, size_t size) override {
    while (true) {
      ASSIGN_OR_RETURN(const bool more, input.Fill());
      if (!in_member_) {
        // Zeros after a member are padding, as tapes have it; gzip itself skips them too.
        while (members_ > 0 && !input.unused().empty() && input.unused()[0] == '\0') input.Use(1);
        if (input.unused().empty() && more) continue;
        if (!more) return 0;
        isal_inflate_init(&state_);
        state_.crc_flag = ISAL_GZIP;
        in_member_ = true;
      }
      state_.next_in =
          const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(input.unused().data()));
      state_.avail_in = static_cast<uint32_t>(input.unused().size());
      state_.next_out = reinterpret_cast<uint8_t*>(buffer);
      state_.avail_out = static_cast<uint32_t>(std::min<size_t>(size, UINT32_MAX));
      const uint32_t room = state_.avail_out;
      const int result = isal_inflate(&state_);
      input.Use(input.unused().size() - state_.avail_in);
      if (result == ISAL_INCORRECT_CHECKSUM) {
        return absl::DataLossError("gzip: wrong checksum");
      }
      if (result < 0) return absl::InvalidArgumentError(absl::StrCat("bad gzip data, ", result));
      if (state_.block_state == ISAL_BLOCK_FINISH) {
        in_member_ = false;
        ++members_;
      }
      const size_t count = room - state_.avail_out;
      if (count > 0) return count;
      if (in_member_ && !more) return Truncated("gzip");
    }
  }

 private:
  inflate_state state_;
  bool in_member_ = false;
  int64_t members_ = 0;
};

class ZstdDecoder final : public Decoder {
 public:
  ZstdDecoder() : stream_(ZSTD_createDStream()) {
    FARM_CHECK(stream_ != nullptr);
    ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, kZstdWindowLog);
  }

  absl::StatusOr<size_t> Decode(InputBuffer& input, char* buffer, size_t size) override {
    while (true) {
      ASSIGN_OR_RETURN(const bool more, input.Fill());
      if (!more && between_frames_) return 0;
      ZSTD_inBuffer in{input.unused().data(), input.unused().size(), 0};
      ZSTD_outBuffer out{buffer, size, 0};
      const size_t result = ZSTD_decompressStream(stream_.get(), &out, &in);
      input.Use(in.pos);
      if (ZSTD_isError(result) != 0) {
        const std::string what = ZSTD_getErrorName(result);
        return absl::StrContains(what, "checksum")
                   ? absl::DataLossError(absl::StrCat("zstd: ", what))
                   : absl::InvalidArgumentError(absl::StrCat("bad zstd data: ", what));
      }
      between_frames_ = result == 0;
      if (out.pos > 0) return out.pos;
      if (!more && !between_frames_) return Truncated("zstd");
    }
  }

 private:
  struct Free {
    void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
  };
  const std::unique_ptr<ZSTD_DStream, Free> stream_;
  bool between_frames_ = true;
};

// bzip2 and xz, which only archives of people still use: libarchive's filters, without a format.
class ArchiveDecoder final : public Decoder {
 public:
  explicit ArchiveDecoder(Compression compression)
      : compression_(compression), archive_(archive_read_new()) {
    FARM_CHECK(archive_ != nullptr);
    if (compression == Compression::kBzip2) archive_read_support_filter_bzip2(archive_.get());
    if (compression == Compression::kXz) archive_read_support_filter_xz(archive_.get());
    archive_read_support_format_raw(archive_.get());
    archive_read_support_format_empty(archive_.get());
  }

  absl::StatusOr<size_t> Decode(InputBuffer& input, char* buffer, size_t size) override {
    input_ = &input;
    if (!opened_) {
      opened_ = true;
      if (archive_read_open(archive_.get(), this, nullptr, &ReadInput, nullptr) != ARCHIVE_OK) {
        return Failure();
      }
      archive_entry* entry;
      const int result = archive_read_next_header(archive_.get(), &entry);
      if (result == ARCHIVE_EOF) return 0;
      if (result != ARCHIVE_OK) return Failure();
    }
    const la_ssize_t count = archive_read_data(archive_.get(), buffer, size);
    if (count < 0) return Failure();
    return static_cast<size_t>(count);
  }

 private:
  struct Free {
    void operator()(archive* a) const { archive_read_free(a); }
  };

  static la_ssize_t ReadInput(archive* a, void* self, const void** bytes) {
    auto* decoder = static_cast<ArchiveDecoder*>(self);
    InputBuffer& input = *decoder->input_;
    input.Use(std::exchange(decoder->lent_, 0));
    const absl::StatusOr<bool> more = input.Fill();
    if (!more.ok()) {
      decoder->source_status_ = more.status();
      archive_set_error(a, EIO, "source");
      return -1;
    }
    *bytes = input.unused().data();
    decoder->lent_ = input.unused().size();
    return static_cast<la_ssize_t>(decoder->lent_);
  }

  absl::Status Failure() {
    if (!source_status_.ok()) return source_status_;
    const char* error = archive_error_string(archive_.get());
    const std::string what = error == nullptr ? "" : error;
    if (absl::StrContains(what, "truncated")) {
      return Truncated(std::string(CompressionName(compression_)));
    }
    return absl::InvalidArgumentError(
        absl::StrCat("bad ", std::string(CompressionName(compression_)), " data: ", what));
  }

  const Compression compression_;
  const std::unique_ptr<archive, Free> archive_;
  bool opened_ = false;
  InputBuffer* input_ = nullptr;
  size_t lent_ = 0;  // Bytes of the input that libarchive is reading.
  absl::Status source_status_;
};

// A decoder with its limits.
class BoundedDecompressor final : public Decompressor {
 public:
  BoundedDecompressor(std::string prefix, ByteSource& source, Compression compression,
                      const DecompressOptions& options)
      : source_(std::move(prefix), source),
        input_(source_),
        compression_(compression),
        options_(options) {
    switch (compression) {
      case Compression::kNone:
        decoder_ = std::make_unique<NoneDecoder>();
        break;
      case Compression::kGzip:
        decoder_ = std::make_unique<GzipDecoder>();
        break;
      case Compression::kZstd:
        decoder_ = std::make_unique<ZstdDecoder>();
        break;
      case Compression::kBzip2:
      case Compression::kXz:
        decoder_ = std::make_unique<ArchiveDecoder>(compression);
        break;
    }
  }

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    if (size == 0) return 0;
    ASSIGN_OR_RETURN(const size_t count, decoder_->Decode(input_, buffer, size));
    bytes_ += static_cast<int64_t>(count);
    if (bytes_ > options_.bytes_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("decompressed to more than bytes_max ", options_.bytes_max));
    }
    if (bytes_ > options_.ratio_free_bytes && bytes_ / options_.ratio_max > input_.bytes_read()) {
      return absl::ResourceExhaustedError(absl::StrCat("decompressed to ", bytes_, " bytes from ",
                                                       input_.bytes_read(), ", over ratio_max ",
                                                       options_.ratio_max));
    }
    return count;
  }

  Compression compression() const override { return compression_; }

 private:
  PrefixedSource source_;
  InputBuffer input_;
  const Compression compression_;
  const DecompressOptions options_;
  std::unique_ptr<Decoder> decoder_;
  int64_t bytes_ = 0;
};

// Writing.

std::string IsalVersion() {
  return absl::StrCat(ISAL_MAJOR_VERSION, ".", ISAL_MINOR_VERSION, ".", ISAL_PATCH_VERSION);
}

// gzip by ISA-L. The header holds no name and no time, so equal input gives equal bytes.
class IsalGzipCompressor final : public Compressor {
 public:
  IsalGzipCompressor(int level, ByteSink& sink) : sink_(sink), output_(kBufferBytes) {
    static constexpr int kLevelBytes[] = {ISAL_DEF_LVL0_DEFAULT, ISAL_DEF_LVL1_DEFAULT,
                                          ISAL_DEF_LVL2_DEFAULT, ISAL_DEF_LVL3_DEFAULT};
    level_buffer_.resize(std::max(1, kLevelBytes[level]));
    isal_deflate_init(&stream_);
    stream_.level = static_cast<uint32_t>(level);
    stream_.level_buf = level_buffer_.data();
    stream_.level_buf_size = static_cast<uint32_t>(level_buffer_.size());
    stream_.gzip_flag = IGZIP_GZIP;
    input_.reserve(kBufferBytes);
  }

  absl::Status Write(absl::string_view bytes) override {
    // What comes out depends on how the input is cut, so it is always cut alike.
    while (!bytes.empty()) {
      const size_t count = std::min(bytes.size(), kBufferBytes - input_.size());
      input_.append(bytes.data(), count);
      bytes.remove_prefix(count);
      if (input_.size() < kBufferBytes) continue;
      RETURN_IF_ERROR(Deflate(/*last=*/false));
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override { return Deflate(/*last=*/true); }

 private:
  absl::Status Deflate(bool last) {
    stream_.next_in = reinterpret_cast<uint8_t*>(input_.data());
    stream_.avail_in = static_cast<uint32_t>(input_.size());
    stream_.end_of_stream = last ? 1 : 0;
    do {
      stream_.next_out = output_.data();
      stream_.avail_out = static_cast<uint32_t>(output_.size());
      const int result = isal_deflate(&stream_);
      if (result != COMP_OK) return absl::InternalError(absl::StrCat("isal_deflate: ", result));
      const size_t count = output_.size() - stream_.avail_out;
      if (count == 0) continue;
      RETURN_IF_ERROR(sink_.Write({reinterpret_cast<const char*>(output_.data()), count}));
    } while (stream_.avail_out == 0 || stream_.avail_in > 0);
    input_.clear();
    return absl::OkStatus();
  }

  ByteSink& sink_;
  std::string input_;
  std::vector<uint8_t> output_;
  std::vector<uint8_t> level_buffer_;
  isal_zstream stream_;
};

class ZstdCompressor final : public Compressor {
 public:
  ZstdCompressor(int level, ByteSink& sink)
      : sink_(sink), output_(ZSTD_CStreamOutSize()), stream_(ZSTD_createCStream()) {
    FARM_CHECK(stream_ != nullptr);
    ZSTD_CCtx_setParameter(stream_.get(), ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(stream_.get(), ZSTD_c_checksumFlag, 1);
  }

  absl::Status Write(absl::string_view bytes) override { return Run(bytes, ZSTD_e_continue); }
  absl::Status Finish() override { return Run("", ZSTD_e_end); }

 private:
  struct Free {
    void operator()(ZSTD_CStream* stream) const { ZSTD_freeCStream(stream); }
  };

  absl::Status Run(absl::string_view bytes, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    while (true) {
      ZSTD_outBuffer out{output_.data(), output_.size(), 0};
      const size_t left = ZSTD_compressStream2(stream_.get(), &out, &in, directive);
      if (ZSTD_isError(left) != 0) return absl::InternalError(ZSTD_getErrorName(left));
      if (out.pos > 0) {
        RETURN_IF_ERROR(sink_.Write({output_.data(), out.pos}));
      }
      const bool done = directive == ZSTD_e_end ? left == 0 : in.pos == in.size;
      if (done) return absl::OkStatus();
    }
  }

  ByteSink& sink_;
  std::vector<char> output_;
  const std::unique_ptr<ZSTD_CStream, Free> stream_;
};

constexpr int kIsalLevelMax = 3;
constexpr int kZstdLevelMax = 19;

// "gzip-isal-2.30.0-" and the like: an id without its level.
std::string GzipIdPrefix() { return absl::StrCat("gzip-isal-", IsalVersion(), "-"); }
std::string ZstdIdPrefix() { return absl::StrCat("zstd-", ZSTD_versionString(), "-"); }

}  // namespace

absl::string_view CompressionName(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "none";
    case Compression::kGzip:
      return "gzip";
    case Compression::kZstd:
      return "zstd";
    case Compression::kBzip2:
      return "bzip2";
    case Compression::kXz:
      return "xz";
  }
  return "unknown";
}

Compression DetectCompression(absl::string_view prefix) {
  if (absl::StartsWith(prefix, "\x1f\x8b\x08")) return Compression::kGzip;
  if (absl::StartsWith(prefix, "\x28\xb5\x2f\xfd")) return Compression::kZstd;
  if (absl::StartsWith(prefix, "BZh")) return Compression::kBzip2;
  if (absl::StartsWith(prefix, absl::string_view("\xfd"
                                                 "7zXZ\0",
                                                 6)))
    return Compression::kXz;
  // Frames that zstd's decoders skip may come first: 0x184D2A50 to 5F, lowest byte first.
  if (prefix.size() >= 4 && (prefix[0] & 0xf0) == 0x50 &&
      prefix.substr(1, 3) == absl::string_view("\x2a\x4d\x18", 3)) {
    return Compression::kZstd;
  }
  return Compression::kNone;
}

absl::StatusOr<std::unique_ptr<Decompressor>> NewDecompressor(ByteSource& source,
                                                              const DecompressOptions& options) {
  std::string prefix(kCompressionMagicBytes, '\0');
  size_t size = 0;
  while (size < prefix.size()) {
    ASSIGN_OR_RETURN(const size_t count, source.Read(prefix.data() + size, prefix.size() - size));
    if (count == 0) break;
    size += count;
  }
  prefix.resize(size);
  const Compression compression = DetectCompression(prefix);
  return std::make_unique<BoundedDecompressor>(std::move(prefix), source, compression, options);
}

std::string DefaultCompressionId(Compression compression) {
  FARM_CHECK(compression == Compression::kGzip || compression == Compression::kZstd);
  return compression == Compression::kGzip ? GzipIdPrefix() + "1" : ZstdIdPrefix() + "3";
}

absl::StatusOr<std::unique_ptr<Compressor>> NewCompressor(absl::string_view compression_id,
                                                          ByteSink& sink) {
  const bool gzip = absl::StartsWith(compression_id, "gzip-isal-");
  if (!gzip && !absl::StartsWith(compression_id, "zstd-")) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown compression \"", compression_id, "\"; known are ", GzipIdPrefix(),
                     "0 to ", kIsalLevelMax, " and ", ZstdIdPrefix(), "1 to ", kZstdLevelMax));
  }
  absl::string_view rest = compression_id;
  if (!absl::ConsumePrefix(&rest, gzip ? GzipIdPrefix() : ZstdIdPrefix())) {
    return absl::FailedPreconditionError(
        absl::StrCat("compression \"", compression_id, "\" needs another version of the library; ",
                     "here is ", gzip ? GzipIdPrefix() : ZstdIdPrefix(), "*"));
  }
  int level = 0;
  const int level_min = gzip ? 0 : 1;
  const int level_max = gzip ? kIsalLevelMax : kZstdLevelMax;
  if (!absl::SimpleAtoi(rest, &level) || level < level_min || level > level_max) {
    return absl::InvalidArgumentError(absl::StrCat(
        "compression \"", compression_id, "\": levels are ", level_min, " to ", level_max));
  }
  std::unique_ptr<Compressor> compressor;
  if (gzip) {
    compressor = std::make_unique<IsalGzipCompressor>(level, sink);
  } else {
    compressor = std::make_unique<ZstdCompressor>(level, sink);
  }
  return compressor;
}

}  // namespace farm
