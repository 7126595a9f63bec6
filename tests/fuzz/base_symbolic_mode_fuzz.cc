// What --chmod takes beside numbers.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "base/check.h"
#include "base/symbolic_mode.h"

namespace farm {
namespace {

constexpr uint32_t kModes[] = {0, 0644, 0755, 0111, 02751, 04700, 01777, 07777};
constexpr uint32_t kAll = 07777;
constexpr uint32_t kNotOwner = 03077;

// The clauses of a list one after the other change a mode as the whole list does.
void CheckParts(absl::string_view text, const SymbolicMode& whole) {
  const size_t comma = text.find(',');
  if (comma == absl::string_view::npos) return;
  const absl::StatusOr<SymbolicMode> first = SymbolicMode::Parse(text.substr(0, comma));
  const absl::StatusOr<SymbolicMode> rest = SymbolicMode::Parse(text.substr(comma + 1));
  FARM_CHECK(first.ok() && rest.ok()) << text;
  for (const uint32_t mode : kModes) {
    for (const bool is_directory : {false, true}) {
      FARM_CHECK_EQ(whole.Apply(mode, is_directory),
                    rest->Apply(first->Apply(mode, is_directory), is_directory));
    }
  }
}

void Test(absl::string_view text) {
  const absl::StatusOr<SymbolicMode> parsed = SymbolicMode::Parse(text);
  if (!parsed.ok()) {
    FARM_CHECK(parsed.status().code() == absl::StatusCode::kInvalidArgument) << parsed.status();
    return;
  }
  FARM_CHECK(text.find_first_of("+-=") != absl::string_view::npos) << text;
  // One clause of the owner's, which leaves the others alone.
  const bool is_of_owner = !absl::StartsWith(text, "+") && !absl::StartsWith(text, "-") &&
                           !absl::StartsWith(text, "=") &&
                           text.find_first_not_of("urwx+-=") == absl::string_view::npos;
  for (const uint32_t mode : kModes) {
    for (const bool is_directory : {false, true}) {
      const uint32_t changed = parsed->Apply(mode, is_directory);
      FARM_CHECK_LE(changed, kAll);
      if (is_of_owner) {
        FARM_CHECK_EQ(changed & kNotOwner, mode & kNotOwner);
      }
    }
  }
  CheckParts(text, *parsed);
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farm::Test(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
