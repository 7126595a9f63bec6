#ifndef FARM_BASE_SYMBOLIC_MODE_H_
#define FARM_BASE_SYMBOLIC_MODE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// A change of permission bits as chmod(1) takes it: "u+x", "go-w,a+rX", "u=rwX,g=u". Where a clause
// does not say who, the umask 022 holds back, as it does for BuildKit's --chmod: "+w" is "u+w".
class SymbolicMode {
 public:
  // INVALID_ARGUMENT says what is wrong with `text`.
  static absl::StatusOr<SymbolicMode> Parse(absl::string_view text);

  // What becomes of `mode` (07777).
  uint32_t Apply(uint32_t mode, bool is_directory) const;

 private:
  struct Change {
    uint32_t who = 0;         // Bits of 07777 that it may touch.
    char operation = '=';     // '+', '-' or '='.
    uint32_t bits = 0;        // Of all classes alike, before `who` is applied.
    bool execute_if = false;  // X: for directories, and where somebody may execute already.
    char copy_from = 0;       // 'u', 'g' or 'o': the bits that this class has.
  };

  std::vector<Change> changes_;
};

}  // namespace farm

#endif  // FARM_BASE_SYMBOLIC_MODE_H_
