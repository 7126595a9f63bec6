// Path patterns: of COPY and ADD sources, of --exclude, and of .dockerignore.
//
//   *      any run of characters but '/'          [a-z]  one character of the class
//   ?      any one character but '/'              [^a]   one that is not in it (may be '/')
//   \c     the character c
// With `double_star`, as .dockerignore has it:
//   **/    any run of whole path components, also none ("a**b" is "a**/b")
//   **     at the end: everything
#ifndef FARM_DOCKERFILE_GLOB_H_
#define FARM_DOCKERFILE_GLOB_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// Longest pattern: Linux knows no longer path.
inline constexpr size_t kGlobBytesMax = 4'095;

class GlobPattern {
 public:
  struct Options {
    bool double_star = false;
  };

  // INVALID_ARGUMENT if a class is not closed, empty or has a reversed range, if a '\' is last, or
  // if the pattern is longer than kGlobBytesMax.
  static absl::StatusOr<GlobPattern> Parse(absl::string_view pattern, Options options);

  // Whether the whole of `path` matches. The comparisons that it took, at most the pattern's length
  // times the path's, are added to `steps`.
  bool Matches(absl::string_view path, uint64_t& steps) const;

  // Whether a path that begins with `prefix` may match. `steps` as above.
  bool MayMatchBeginningWith(absl::string_view prefix, uint64_t& steps) const;

 private:
  struct Token {
    enum class Kind { kCharacter, kAny, kClass, kStar, kComponents, kRest };
    Kind kind = Kind::kCharacter;
    char32_t character = 0;
    bool negated = false;
    std::vector<std::pair<char32_t, char32_t>> ranges;

    bool Consumes(char32_t c) const;
  };
  // Which tokens may come next. `inside` is for kComponents, in the middle of a component.
  struct States {
    std::vector<bool> before;
    std::vector<bool> inside;
    bool any = false;
  };

  static absl::StatusOr<Token> ParseClass(absl::string_view& rest);
  void Enter(size_t token, States& states) const;
  States Run(absl::string_view text, uint64_t& steps) const;

  std::vector<Token> tokens_;
  std::string
      literal_;  // What each match begins with: the tokens before the first that is special.
};

// Whether `path` has a '*', '?' or '[' that is not escaped.
bool HasGlob(absl::string_view path);

}  // namespace farm

#endif  // FARM_DOCKERFILE_GLOB_H_
