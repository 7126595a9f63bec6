#ifndef FARM_BASE_DIGEST_H_
#define FARM_BASE_DIGEST_H_

#include <array>
#include <compare>
#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// SHA-256 of some bytes and how many they are: the name of a blob.
// Two digests are equal if both hash and size are.
class Digest {
 public:
  using Hash = std::array<unsigned char, 32>;

  Digest() = default;  // All zero: "none"; see empty().
  Digest(const Hash& hash, int64_t size_bytes) : hash_(hash), size_bytes_(size_bytes) {}

  // From 64 lower-case hex digits. INVALID_ARGUMENT for anything else or a negative size.
  static absl::StatusOr<Digest> FromHex(absl::string_view hex, int64_t size_bytes);
  // From "sha256:HEX" as OCI writes it (image-spec, descriptor.md, "Digests").
  // INVALID_ARGUMENT for another algorithm or form.
  static absl::StatusOr<Digest> FromOci(absl::string_view text, int64_t size_bytes);

  const Hash& hash() const { return hash_; }
  int64_t size_bytes() const { return size_bytes_; }
  bool empty() const { return *this == Digest(); }

  std::string hex() const;
  std::string oci() const;  // "sha256:HEX"
  // The hash's 32 bytes, as keys and records hold them.
  absl::string_view raw() const {
    return {reinterpret_cast<const char*>(hash_.data()), hash_.size()};
  }

  friend auto operator<=>(const Digest&, const Digest&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Digest& digest) {
    return H::combine(std::move(h), digest.hash_, digest.size_bytes_);
  }
  friend std::ostream& operator<<(std::ostream& out, const Digest& digest) {
    return out << digest.oci() << "/" << digest.size_bytes_;
  }

 private:
  Hash hash_{};
  int64_t size_bytes_ = 0;
};

}  // namespace farm

#endif  // FARM_BASE_DIGEST_H_
