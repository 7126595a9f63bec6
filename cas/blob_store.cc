#include "cas/blob_store.h"

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace farm {

const Digest& EmptyBlobDigest() {
  static const Digest& digest = *new Digest(DigestOf(""));
  return digest;
}

absl::StatusOr<std::string> GetBytes(BlobStore& store, const Digest& digest, int64_t bytes_max) {
  if (digest.size_bytes() > bytes_max) {
    return absl::ResourceExhaustedError(absl::StrCat("blob ", digest.oci(), " has ",
                                                     digest.size_bytes(), " bytes, more than the ",
                                                     bytes_max, " that are read at once"));
  }
  StringSink sink(static_cast<size_t>(digest.size_bytes()));
  RETURN_IF_ERROR(store.Get(digest, 0, sink));
  return sink.Take();
}

absl::StatusOr<Digest> PutBytes(BlobStore& store, absl::string_view bytes) {
  const Digest digest = DigestOf(bytes);
  StringSource source(bytes);
  RETURN_IF_ERROR(store.Put(digest, source));
  return digest;
}

absl::StatusOr<std::string> ReadBlob(const Digest& digest, ByteSource& source) {
  std::string bytes(static_cast<size_t>(digest.size_bytes()), '\0');
  size_t count = 0;
  while (count < bytes.size()) {
    ASSIGN_OR_RETURN(const size_t read, source.Read(bytes.data() + count, bytes.size() - count));
    if (read == 0) {
      return absl::InvalidArgumentError(absl::StrCat("blob ", digest.oci(), " ends after ", count,
                                                     " of ", digest.size_bytes(), " bytes"));
    }
    count += read;
  }
  char extra;
  ASSIGN_OR_RETURN(const size_t read, source.Read(&extra, 1));
  if (read != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("blob ", digest.oci(), " has more than its ", digest.size_bytes(), " bytes"));
  }
  RETURN_IF_ERROR(CheckBlobDigest(digest, DigestOf(bytes)));
  return bytes;
}

absl::Status CheckBlobDigest(const Digest& expected, const Digest& actual) {
  if (actual == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the bytes sent as blob ", expected.oci(), " hash to ", actual.oci(),
                   " and are ", actual.size_bytes(), " bytes, expected ", expected.size_bytes()));
}

absl::Status BlobNotFound(const Digest& digest) {
  return absl::NotFoundError(
      absl::StrCat("no blob ", digest.oci(), " of ", digest.size_bytes(), " bytes"));
}

absl::Status CheckBlobOffset(const Digest& digest, int64_t offset) {
  if (offset >= 0 && offset <= digest.size_bytes()) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("offset ", offset, " is not within the ",
                                            digest.size_bytes(), " bytes of blob ", digest.oci()));
}

absl::Status CheckBlobSize(const Digest& digest, int64_t blob_bytes_max) {
  if (digest.size_bytes() <= blob_bytes_max) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("blob ", digest.oci(), " has ", digest.size_bytes(), " bytes, more than the ",
                   blob_bytes_max, " that this store takes (blob_bytes_max)"));
}

}  // namespace farm
