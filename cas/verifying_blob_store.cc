#include "cas/verifying_blob_store.h"

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace farm {
namespace {

class HashingSink final : public ByteSink {
 public:
  explicit HashingSink(ByteSink& sink) : sink_(sink) {}

  absl::Status Write(absl::string_view bytes) override {
    sha256_.Update(bytes);
    return sink_.Write(bytes);
  }
  Digest Finish() { return sha256_.Finish(); }

 private:
  ByteSink& sink_;
  Sha256 sha256_;
};

}  // namespace

absl::Status VerifyingBlobStore::Get(const Digest& digest, int64_t offset, ByteSink& sink) {
  if (offset != 0) return inner_.Get(digest, offset, sink);
  HashingSink hashing(sink);
  RETURN_IF_ERROR(inner_.Get(digest, 0, hashing));
  if (const Digest actual = hashing.Finish(); actual != digest) {
    return absl::DataLossError(absl::StrCat("blob ", digest.oci(), " of ", digest.size_bytes(),
                                            " bytes arrived as ", actual.oci(), " of ",
                                            actual.size_bytes()));
  }
  return absl::OkStatus();
}

absl::Status VerifyingBlobStore::Put(const Digest& digest, ByteSource& source) {
  return inner_.Put(digest, source);
}
absl::Status VerifyingBlobStore::PutFile(const Digest& digest, const std::string& path) {
  return inner_.PutFile(digest, path);
}
absl::StatusOr<UniqueFd> VerifyingBlobStore::OpenFile(const Digest& digest) {
  return inner_.OpenFile(digest);
}
absl::StatusOr<std::vector<Digest>> VerifyingBlobStore::FindMissing(
    absl::Span<const Digest> digests) {
  return inner_.FindMissing(digests);
}
absl::Status VerifyingBlobStore::Sync(absl::Span<const Digest> digests) {
  return inner_.Sync(digests);
}
absl::Status VerifyingBlobStore::Delete(const Digest& digest) { return inner_.Delete(digest); }

}  // namespace farm
