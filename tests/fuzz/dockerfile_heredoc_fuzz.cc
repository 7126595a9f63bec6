// Heredocs: the line that announces them, then their text.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "dockerfile/expand.h"
#include "dockerfile/heredoc.h"

namespace farm {
namespace {

std::optional<std::string> Lookup(absl::string_view name) {
  if (name.size() % 3 == 0) return std::nullopt;
  return name == "E" ? "" : "\t<<EOF $X 'q' \\";
}

void CheckMarker(const HeredocMarker& marker) {
  // An empty name would end the heredoc at the first empty line.
  FARM_CHECK(!marker.name.empty());
  FARM_CHECK(!absl::StrContains(marker.name, "<")) << marker.name;
}

void CheckText(absl::string_view text) {
  const std::string chomped = ChompHeredoc(text);
  FARM_CHECK_LE(chomped.size(), text.size());
  FARM_CHECK_EQ(ChompHeredoc(chomped), chomped);
  for (const absl::string_view line : absl::StrSplit(chomped, '\n')) {
    FARM_CHECK(!absl::StartsWith(line, "\t")) << chomped;
  }
  const absl::StatusOr<Expansion> expansion = ExpandHeredoc(text, Lookup);
  if (!expansion.ok()) {
    const absl::StatusCode code = expansion.status().code();
    FARM_CHECK(code == absl::StatusCode::kInvalidArgument ||
               code == absl::StatusCode::kResourceExhausted)
        << expansion.status();
    return;
  }
  FARM_CHECK_LE(expansion->text.size(), kHeredocExpansionBytesMax);
  // Quotes, spaces and tabs are text like any other.
  if (text.find_first_of("$\\") == absl::string_view::npos) {
    FARM_CHECK(expansion->text == text);
  }
}

void Test(absl::string_view input) {
  const absl::string_view line = input.substr(0, input.find('\n'));
  for (const HeredocMarker& marker : FindHeredocMarkers(line)) {
    CheckMarker(marker);
    FARM_CHECK(absl::StrContains(line, "<<")) << line;
  }
  if (const std::optional<HeredocMarker> marker = ParseHeredocMarker(line); marker.has_value()) {
    CheckMarker(*marker);
  }
  if (line.size() < input.size()) CheckText(input.substr(line.size() + 1));
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farm::Test(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
