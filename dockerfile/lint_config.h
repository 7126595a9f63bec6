#ifndef FARM_DOCKERFILE_LINT_CONFIG_H_
#define FARM_DOCKERFILE_LINT_CONFIG_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// Which lint rules are on. By default all are but the experimental ones.
class LintConfig {
 public:
  // Parses the value of `# check=`: up to three of "skip=RULE,RULE", "experimental=RULE,RULE" and
  // "error=BOOL", separated by ';'; "all" stands for all rules. What follows a space is ignored.
  // INVALID_ARGUMENT for anything else.
  static absl::StatusOr<LintConfig> Parse(absl::string_view check);

  // This one, with what the first "check=..." among the comments of an instruction adds. One that
  // cannot be parsed adds nothing: it may be prose.
  LintConfig With(const std::vector<std::string>& comments) const;

  bool Enables(absl::string_view rule, bool is_experimental) const;

  // Whether warnings make the build fail.
  bool error() const { return error_; }

 private:
  struct Selection {
    bool all = false;
    std::set<std::string, std::less<>> rules;

    bool Has(absl::string_view rule) const;
    void Add(absl::string_view list);
    void Add(const Selection& other);
  };

  Selection skip_;
  Selection experimental_;
  bool error_ = false;
};

}  // namespace farm

#endif  // FARM_DOCKERFILE_LINT_CONFIG_H_
