#include "layer/compression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "layer/archive.h"
#include "layer/chain_id.h"
#include "layer/testing/tar_builder.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

// Made by Python's bz2 and lzma from "hello\n".
std::string Bzip2Hello() {
  return absl::HexStringToBytes(
      "425a6839314159265359c1c080e2000001410000100244a00030cd00c3462997177245385090c1c0"
      "80e2");
}
std::string XzHello() {
  return absl::HexStringToBytes(
      "fd377a585a000004e6d6b4460200210116000000742fe5a301000568656c6c6f0a000000a56097f1"
      "94f6fde000011e06c12fa41d1fb6f37d010000000004595a");
}

std::string Compressed(absl::string_view id, absl::string_view bytes,
                       size_t write_bytes = SIZE_MAX) {
  StringSink sink;
  absl::StatusOr<std::unique_ptr<Compressor>> compressor = NewCompressor(id, sink);
  FARM_CHECK_OK(compressor.status());
  while (!bytes.empty()) {
    FARM_CHECK_OK((*compressor)->Write(bytes.substr(0, write_bytes)));
    bytes.remove_prefix(std::min(write_bytes, bytes.size()));
  }
  FARM_CHECK_OK((*compressor)->Finish());
  return sink.Take();
}

// Gives one byte at a time.
class DrippingSource final : public ByteSource {
 public:
  explicit DrippingSource(absl::string_view bytes) : source_(bytes) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t) override { return source_.Read(buffer, 1); }

 private:
  StringSource source_;
};

absl::StatusOr<std::string> Decompressed(ByteSource& source,
                                         const DecompressOptions& options = {}) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Decompressor> bytes, NewDecompressor(source, options));
  StringSink sink;
  RETURN_IF_ERROR(CopyBytes(*bytes, sink).status());
  return sink.Take();
}
absl::StatusOr<std::string> Decompressed(const std::string& bytes,
                                         const DecompressOptions& options = {}) {
  StringSource source(bytes);
  return Decompressed(source, options);
}

// Not too easy and not too hard to compress.
std::string SomeBytes(size_t size) {
  std::mt19937 random(1);
  std::string bytes;
  while (bytes.size() < size) absl::StrAppend(&bytes, random() % 1000, " some words\n");
  bytes.resize(size);
  return bytes;
}

const std::string kGzip = DefaultCompressionId(Compression::kGzip);
const std::string kZstd = DefaultCompressionId(Compression::kZstd);

TEST(CompressionTest, DecompressesWhatItCompressed) {
  const std::string bytes = SomeBytes(1'000'000);
  for (const std::string& id : {kGzip, kZstd}) {
    const std::string compressed = Compressed(id, bytes);
    EXPECT_LT(compressed.size(), bytes.size() / 2) << id;
    EXPECT_THAT(Decompressed(compressed), IsOkAndHolds(bytes)) << id;
    EXPECT_THAT(Decompressed(Compressed(id, "")), IsOkAndHolds("")) << id;
  }
}

TEST(CompressionTest, BytesDoNotDependOnHowTheyAreWritten) {
  const std::string bytes = SomeBytes(700'000);
  for (const std::string& id : {kGzip, kZstd}) {
    const std::string whole = Compressed(id, bytes);
    EXPECT_EQ(Compressed(id, bytes, 1000), whole) << id;
    EXPECT_EQ(Compressed(id, bytes, 262'144), whole) << id;
  }
}

TEST(CompressionTest, SourcesMayDrip) {
  const std::string bytes = SomeBytes(50'000);
  for (const std::string& compressed :
       {bytes, Compressed(kGzip, bytes), Compressed(kZstd, bytes)}) {
    DrippingSource source(compressed);
    EXPECT_THAT(Decompressed(source), IsOkAndHolds(bytes));
  }
}

TEST(CompressionTest, ReadsBzip2AndXz) {
  EXPECT_THAT(Decompressed(Bzip2Hello()), IsOkAndHolds("hello\n"));
  EXPECT_THAT(Decompressed(XzHello()), IsOkAndHolds("hello\n"));
  EXPECT_THAT(Decompressed(Bzip2Hello() + Bzip2Hello()), IsOkAndHolds("hello\nhello\n"));
  EXPECT_THAT(Decompressed(XzHello() + XzHello()), IsOkAndHolds("hello\nhello\n"));
}

TEST(CompressionTest, SeveralMembersGiveOneResult) {
  EXPECT_THAT(Decompressed(Compressed(kGzip, "a") + Compressed(kGzip, "b")), IsOkAndHolds("ab"));
  EXPECT_THAT(Decompressed(Compressed(kZstd, "a") + Compressed(kZstd, "b")), IsOkAndHolds("ab"));
  const std::string zeros(1000, '\0');
  EXPECT_THAT(Decompressed(Compressed(kGzip, "a") + zeros), IsOkAndHolds("a"));
}

TEST(CompressionTest, OtherBytesPassThrough) {
  for (const std::string bytes : {"", "x", "\x1f", "hello world"}) {
    StringSource source(bytes);
    ASSERT_OK_AND_ASSIGN(const auto plain, NewDecompressor(source, {}));
    EXPECT_EQ(plain->compression(), Compression::kNone);
    EXPECT_THAT(Decompressed(bytes), IsOkAndHolds(bytes));
  }
}

TEST(CompressionTest, EveryCutIsDataLoss) {
  const std::string bytes = SomeBytes(3000);
  for (const std::string& compressed : {Compressed(kGzip, bytes), Compressed(kZstd, bytes)}) {
    for (size_t size = kCompressionMagicBytes; size < compressed.size(); size += 7) {
      EXPECT_THAT(Decompressed(compressed.substr(0, size)), StatusIs(absl::StatusCode::kDataLoss))
          << size;
    }
  }
  EXPECT_FALSE(Decompressed(XzHello().substr(0, 40)).ok());
  EXPECT_FALSE(Decompressed(Bzip2Hello().substr(0, 30)).ok());
}

TEST(CompressionTest, DamageIsAnError) {
  const std::string bytes = SomeBytes(3000);
  for (std::string compressed : {Compressed(kGzip, bytes), Compressed(kZstd, bytes)}) {
    compressed[compressed.size() - 6] ^= 1;
    EXPECT_FALSE(Decompressed(compressed).ok());
  }
}

TEST(CompressionTest, BombsAreBounded) {
  const std::string zeros(8 << 20, '\0');
  for (const std::string& id : {kGzip, kZstd}) {
    const std::string bomb = Compressed(id, zeros);
    EXPECT_THAT(Decompressed(bomb, {.bytes_max = 1 << 20}),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("bytes_max")));
    EXPECT_THAT(Decompressed(bomb, {.ratio_max = 50, .ratio_free_bytes = 1 << 20}),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("ratio_max 50")));
    EXPECT_OK(Decompressed(bomb, {.ratio_max = 50, .ratio_free_bytes = 8 << 20}));
  }
}

TEST(CompressionTest, IdsNameCodecVersionAndLevel) {
  EXPECT_THAT(kGzip, ::testing::MatchesRegex("gzip-isal-[0-9]+\\.[0-9]+\\.[0-9]+-1"));
  EXPECT_THAT(kZstd, ::testing::MatchesRegex("zstd-[0-9]+\\.[0-9]+\\.[0-9]+-3"));
  StringSink sink;
  EXPECT_THAT(NewCompressor("gzip-isal-1.0.0-1", sink),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(NewCompressor("zstd-9.9.9-3", sink), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(NewCompressor("lzma-1", sink), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(NewCompressor(kGzip + "0", sink), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(NewCompressor(kZstd + "x", sink), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(CompressionTest, GzipHasNoNameAndNoTime) {
  const std::string compressed = Compressed(kGzip, "hello\n");
  EXPECT_EQ(compressed.substr(0, 3), "\x1f\x8b\x08");
  EXPECT_EQ(compressed.substr(3, 5), std::string(5, '\0'));  // Flags, mtime.
}

TEST(ArchiveTest, IsToldByContent) {
  const auto is_archive = [](const std::string& bytes) {
    StringSource source(bytes);
    absl::StatusOr<bool> result = IsArchive(source);
    EXPECT_OK(result);
    return result.value_or(false);
  };
  const std::string tar = TarBuilder().File("f", "hello").Build();
  EXPECT_TRUE(is_archive(tar));
  EXPECT_TRUE(is_archive(Compressed(kGzip, tar)));
  EXPECT_TRUE(is_archive(Compressed(kZstd, tar)));
  EXPECT_FALSE(is_archive(Compressed(kGzip, "hello")));
  EXPECT_FALSE(is_archive(Bzip2Hello()));
  EXPECT_FALSE(is_archive(""));
  EXPECT_FALSE(is_archive("hello"));
  EXPECT_FALSE(is_archive(std::string(10'240, '\0')));
  EXPECT_FALSE(is_archive(tar.substr(0, 511)));
  EXPECT_FALSE(is_archive(Compressed(kGzip, tar).substr(0, 20)));
}

// The example of the OCI image-spec's definition, computed apart from this code.
TEST(ChainIdTest, FollowsTheSpecification) {
  const Digest a = DigestOf("a");
  const Digest b = DigestOf("b");
  const Digest c = DigestOf("c");
  EXPECT_EQ(ChainId({}), Digest());
  EXPECT_EQ(ChainId({a}).oci(), a.oci());
  EXPECT_EQ(ChainId({a, b}).hex(),
            "51c0c8ace48498d6f5fee6b0592cc06f2da0f3cbe09c5a34a97dce85c3889676");
  EXPECT_EQ(ChainId({a, b, c}).hex(),
            "2fce7f8ce91bcf0a1428b36e1024639fdbd9469eea762dba98aa749631885106");
  EXPECT_EQ(ChainId({a}), ChainId({Digest(a.hash(), 99)}));  // Sizes do not count.
}

}  // namespace
}  // namespace farm
