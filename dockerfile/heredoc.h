#ifndef FARM_DOCKERFILE_HEREDOC_H_
#define FARM_DOCKERFILE_HEREDOC_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// `<<EOF`, `<<-EOF`, `<<"EOF"`, `3<<EOF`: the announcement of a heredoc.
struct HeredocMarker {
  std::string name;
  bool expand = true;
  bool chomp = false;
};

// What `word` announces; nullopt if it is no marker.
std::optional<HeredocMarker> ParseHeredocMarker(absl::string_view word);

// The markers among the words of an instruction, in order. Words are a shell's: quotes hide a `<<`.
std::vector<HeredocMarker> FindHeredocMarkers(absl::string_view instruction);

// `text` without the tabs that begin its lines, as `<<-` wants it.
std::string ChompHeredoc(absl::string_view text);

}  // namespace farm

#endif  // FARM_DOCKERFILE_HEREDOC_H_
