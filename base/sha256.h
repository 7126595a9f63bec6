#ifndef FARM_BASE_SHA256_H_
#define FARM_BASE_SHA256_H_

#include <memory>

#include "absl/strings/string_view.h"
#include "base/digest.h"

namespace farm {

// SHA-256 over a stream of bytes. Not safe for concurrent calls.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(absl::string_view bytes);
  // Digest of all bytes so far, with their count; the hash then starts anew.
  Digest Finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

Digest DigestOf(absl::string_view bytes);

}  // namespace farm

#endif  // FARM_BASE_SHA256_H_
