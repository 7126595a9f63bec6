// The patterns of ${V#P}, ${V%P} and ${V/P/R}: `*` is any run of characters, `?` any one (neither a
// line end), `\` takes the meaning from `*`, `?`, `\`, `/` and `}`.
#ifndef FARM_DOCKERFILE_TRIM_PATTERN_H_
#define FARM_DOCKERFILE_TRIM_PATTERN_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// Comparisons of one character that one operation may take: hostile patterns are quadratic.
inline constexpr size_t kTrimStepsMax = 20'000'000;

class TrimPattern {
 public:
  // INVALID_ARGUMENT for a `\` before another character or at the end.
  static absl::StatusOr<TrimPattern> Parse(absl::string_view pattern);

  enum class Length { kShortest, kLongest };

  // `value` without the prefix (suffix) that matches. All fail only with RESOURCE_EXHAUSTED.
  absl::StatusOr<std::string> TrimPrefix(absl::string_view value, Length length) const;
  absl::StatusOr<std::string> TrimSuffix(absl::string_view value, Length length) const;
  // `value` with the first longest match, or with all, replaced.
  absl::StatusOr<std::string> Replace(absl::string_view value, absl::string_view replacement,
                                      bool all) const;

 private:
  struct Token {
    enum class Kind { kCharacter, kAny };
    Kind kind;
    char32_t character;
  };
  // What is between two `*`; one more than there are `*`.
  using Segment = std::vector<Token>;

  TrimPattern Reversed() const;
  // The end of the match that starts at `start`, if there is one. Counts down `steps`.
  std::optional<size_t> Match(const std::u32string& text, size_t start, Length length,
                              size_t& steps) const;
  static bool MatchSegment(const Segment& segment, const std::u32string& text, size_t at,
                           size_t& steps);

  std::vector<Segment> segments_;
};

}  // namespace farm

#endif  // FARM_DOCKERFILE_TRIM_PATTERN_H_
