#include "layer/chain_id.h"

#include "absl/strings/str_cat.h"
#include "base/sha256.h"

namespace farm {

Digest ChainId(absl::Span<const Digest> diff_ids) {
  Digest chain;
  for (size_t i = 0; i < diff_ids.size(); ++i) {
    const Digest next =
        i == 0 ? diff_ids[0] : DigestOf(absl::StrCat(chain.oci(), " ", diff_ids[i].oci()));
    chain = Digest(next.hash(), 0);
  }
  return chain;
}

}  // namespace farm
