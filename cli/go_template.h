#ifndef FARM_CLI_GO_TEMPLATE_H_
#define FARM_CLI_GO_TEMPLATE_H_

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// The part of Go's text/template that people use with docker's --format:
//
//   {{.Field.Sub}}  {{json .}}  {{.Tags | join ", "}}  {{index .Tags 0}}  {{len .Layers}}
//   {{range $i, $tag := .Tags}}{{$i}}: {{$tag}}{{println}}{{else}}no tag{{end}}
//   {{if eq .Os "linux"}}…{{else if .Os}}…{{else}}…{{end}}  {{with .Config}}{{.User}}{{end}}
//
// with the functions of TemplateFunctions() (cli/go_template_functions.h); blanks are trimmed by
// {{- and -}}; "\t" and "\n" outside of actions are a tab and a line end. Immutable.
class GoTemplate {
 public:
  static constexpr size_t kTextBytesMax = 64 << 10;
  static constexpr int kDepthMax = 32;
  static constexpr size_t kOutputBytesMax = 64 << 20;

  // INVALID_ARGUMENT, with the piece of text, for what can't be parsed or isn't known.
  static absl::StatusOr<GoTemplate> Parse(absl::string_view text);
  GoTemplate(GoTemplate&&) noexcept;
  ~GoTemplate();

  // INVALID_ARGUMENT: a field that `value` (an object) has not, with a suggestion; a function's
  // argument of a wrong kind.
  absl::StatusOr<std::string> Execute(const nlohmann::json& value) const;

 private:
  struct Node;
  class Parser;
  class Evaluator;
  explicit GoTemplate(std::unique_ptr<Node> root);
  std::unique_ptr<Node> root_;
};

}  // namespace farm

#endif  // FARM_CLI_GO_TEMPLATE_H_
