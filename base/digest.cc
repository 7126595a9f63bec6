#include "base/digest.h"

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace farm {
namespace {

constexpr absl::string_view kOciPrefix = "sha256:";

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

absl::StatusOr<Digest> Digest::FromHex(absl::string_view hex, int64_t size_bytes) {
  Hash hash;
  if (hex.size() != 2 * hash.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("digest has ", hex.size(), " characters, expected 64 hex digits"));
  }
  if (size_bytes < 0) return absl::InvalidArgumentError("digest of a negative size");
  for (size_t i = 0; i < hash.size(); ++i) {
    const int high = HexValue(hex[2 * i]);
    const int low = HexValue(hex[2 * i + 1]);
    if (high < 0 || low < 0) {
      return absl::InvalidArgumentError("digest is not made of lower-case hex digits");
    }
    hash[i] = static_cast<unsigned char>(high << 4 | low);
  }
  return Digest(hash, size_bytes);
}

absl::StatusOr<Digest> Digest::FromOci(absl::string_view text, int64_t size_bytes) {
  if (!absl::StartsWith(text, kOciPrefix)) {
    return absl::InvalidArgumentError("digest does not begin with \"sha256:\"");
  }
  return FromHex(text.substr(kOciPrefix.size()), size_bytes);
}

std::string Digest::hex() const { return absl::BytesToHexString(raw()); }

std::string Digest::oci() const { return absl::StrCat(kOciPrefix, hex()); }

}  // namespace farm
