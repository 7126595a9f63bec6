// The rules of .dockerignore: one pattern a line, `#` at the start of a line is a comment, the last
// pattern that matches a path or one of its directories decides, `!` makes it an exception.
//
// A walk asks for each directory before it asks for what is in it:
//
//   ASSIGN_OR_RETURN(DockerIgnore ignore, DockerIgnore::Parse(".dockerignore", text));
//   void Walk(const Directory& dir, const DockerIgnore::Verdict& verdict) {
//     for (const Entry& entry : dir.entries()) {
//       const DockerIgnore::Verdict inner = ignore.Judge(entry.path(), verdict);
//       if (!inner.ignored) Add(entry);
//       if (entry.is_directory() && !inner.skip_beneath) Walk(entry, inner);
//     }
//   }
//   Walk(root, DockerIgnore::Verdict());
#ifndef FARM_DOCKERFILE_DOCKERIGNORE_H_
#define FARM_DOCKERFILE_DOCKERIGNORE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/source_position.h"
#include "dockerfile/glob.h"

namespace farm {

inline constexpr size_t kDockerignoreBytesMax = 1 << 20;
inline constexpr size_t kDockerignorePatternsMax = 10'000;

// Immutable; safe for concurrent calls.
class DockerIgnore {
 public:
  // What is known of a path. Default: of the root of the context.
  struct Verdict {
    bool ignored = false;
    bool skip_beneath = false;  // All that is beneath it is ignored too.
    std::vector<bool> matched;  // For each pattern: it matched this path or one of its directories.
    uint64_t steps = 0;         // Comparisons that this judgement took; see glob.h.
  };

  // Ignores nothing.
  DockerIgnore() = default;

  // `file` is for messages. INVALID_ARGUMENT, with position, for a malformed pattern, a lone `!`,
  // or a file over the limits above.
  static absl::StatusOr<DockerIgnore> Parse(const std::string& file, absl::string_view text);

  // From patterns instead of a file; for COPY --exclude. As in BuildKit a slash at the beginning,
  // which a line of a file may have, then stands for itself: "/a" matches no path. Errors are as
  // above, with lines counted from 1 in the order of `patterns`.
  static absl::StatusOr<DockerIgnore> FromPatterns(const std::vector<std::string>& patterns);

  // `path` is relative to the context, clean, and in the directory that `parent` is the verdict on.
  Verdict Judge(absl::string_view path, const Verdict& parent) const;

  // Whether `path`, relative and clean, is ignored. Looks at each of its directories anew.
  bool Ignores(absl::string_view path) const;

  // The pattern that decides that a path is ignored.
  struct Reason {
    SourcePosition position;  // its line; the file as Parse() was told it
    std::string pattern;      // as Patterns() has it
  };
  // Of `path` as in Ignores(); nullopt if it is not ignored.
  std::optional<Reason> WhyIgnored(absl::string_view path) const;

  // Lines that FromPatterns() reads as these.
  std::vector<std::string> Patterns() const;

  // Whether there is a `!`.
  bool has_exceptions() const { return has_exceptions_; }

 private:
  struct Pattern {
    bool exception = false;
    std::string text;  // Clean, without `!`.
    int line = 0;
    // The pattern begins with ** and has no other special character: it is a suffix.
    bool is_suffix = false;
    std::string suffix;
    GlobPattern glob;

    bool Matches(absl::string_view path, uint64_t& steps) const;
    bool MayMatchBeneath(absl::string_view directory, uint64_t& steps) const;
  };

  // `rooted`: "/a" is "a".
  absl::Status Add(absl::string_view line, bool rooted, const SourcePosition& position);

  Verdict JudgeFromRoot(absl::string_view path) const;

  std::string file_;
  std::vector<Pattern> patterns_;
  bool has_exceptions_ = false;
};

}  // namespace farm

#endif  // FARM_DOCKERFILE_DOCKERIGNORE_H_
