#ifndef FARM_LAYER_TWIN_SHA256_H_
#define FARM_LAYER_TWIN_SHA256_H_

#include <memory>

#include "absl/strings/string_view.h"
#include "base/digest.h"

namespace farm {

// SHA-256 that can take the same bytes into two hashes for little more than the price of one. The
// bytes of a file in a tar count for the tar's digest and for the file's own, and hashing is most
// of what packing a big file costs. Not safe for concurrent calls.
class TwinSha256 {
 public:
  TwinSha256();
  ~TwinSha256();

  void Update(absl::string_view bytes);
  // As a.Update(bytes) and b.Update(bytes). Both at once where the processor has SHA instructions
  // and the hashes stand at equal offsets within a block of 64 bytes (in a tar a file's bytes do:
  // they begin at a multiple of 512); else one after the other.
  static void UpdateBoth(TwinSha256& a, TwinSha256& b, absl::string_view bytes);
  // Digest of all bytes so far, with their count; the hash then starts anew.
  Digest Finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace farm

#endif  // FARM_LAYER_TWIN_SHA256_H_
