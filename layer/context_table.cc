#include "layer/context_table.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "layer/paths.h"
#include "layer/xattrs.h"

namespace farm {
namespace {

absl::Status Refused(const TableEntry& entry, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(ShownPath(entry.path), " ", why));
}

}  // namespace

absl::Status CheckContextTable(const Table& context) {
  for (const TableEntry& entry : context.entries()) {
    if (entry.type == EntryType::kWhiteout) return Refused(entry, "is a whiteout");
    if (entry.opaque) return Refused(entry, "is marked as opaque");
    for (const auto& [name, value] : entry.xattrs) {
      if (IsLayerXattr(name)) continue;
      return Refused(entry, absl::StrCat("has the xattr ", absl::CHexEscape(name),
                                         ", which no layer can hold"));
    }
  }
  return absl::OkStatus();
}

}  // namespace farm
