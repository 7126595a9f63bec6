// Words with variables. The first byte chooses the options.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "dockerfile/expand.h"

namespace farm {
namespace {

std::optional<std::string> Lookup(absl::string_view name) {
  if (name.size() % 3 == 0) return std::nullopt;
  if (name == "E") return "";
  if (name == "N") return "a\nb";
  return std::string("/a b/*/\\x'\"$Y.") + std::string(name);
}

void Test(uint8_t choice, absl::string_view word) {
  const Expander expander({.escape = (choice & 1) != 0 ? '`' : '\\',
                           .keep_quotes = (choice & 2) != 0,
                           .keep_escapes = (choice & 4) != 0,
                           .keep_unset = (choice & 8) != 0,
                           .ignore_quotes = (choice & 16) != 0},
                          Lookup);
  const absl::StatusOr<Expansion> expansion = expander.Expand(word);
  if (!expansion.ok()) {
    const absl::StatusCode code = expansion.status().code();
    FARM_CHECK(code == absl::StatusCode::kInvalidArgument ||
               code == absl::StatusCode::kResourceExhausted)
        << expansion.status();
    return;
  }
  FARM_CHECK_LE(expansion->text.size(), kExpansionBytesMax);
  for (const std::string& part : expansion->words) FARM_CHECK(!part.empty());
  for (const std::string& name : expansion->used) FARM_CHECK(!expansion->unset.contains(name));
  // A word without special characters is what it was.
  if (word.find_first_of("$'\"\\`<") == absl::string_view::npos) {
    FARM_CHECK(expansion->text == word);
  }
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  farm::Test(data[0], absl::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  return 0;
}
