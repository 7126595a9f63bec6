#include "coordinator/incarnation.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace farm {

absl::StatusOr<int64_t> NextIncarnation(Index& index, Clock& clock) {
  constexpr char kKey[] = "incarnation";
  int64_t incarnation = absl::ToUnixMillis(clock.Now());
  const absl::StatusOr<std::string> before = index.Get(IndexTable::kMeta, kKey);
  if (before.ok()) {
    if (!absl::SimpleAtoi(*before, &incarnation)) {
      return absl::DataLossError("the index's incarnation is no number");
    }
    ++incarnation;
  } else if (!absl::IsNotFound(before.status())) {
    return before.status();
  }
  IndexBatch batch;
  batch.Put(IndexTable::kMeta, kKey, absl::StrCat(incarnation));
  RETURN_IF_ERROR(index.Apply(batch, Index::Durability::kSynced));
  return incarnation;
}

}  // namespace farm
