// From the text of a template to its nodes: for GoTemplate only.
#ifndef FARM_CLI_GO_TEMPLATE_PARSER_H_
#define FARM_CLI_GO_TEMPLATE_PARSER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/go_template.h"
#include "cli/go_template_node.h"

namespace farm {

class GoTemplate::Parser {
 public:
  // INVALID_ARGUMENT, with the piece of text, for what can't be parsed or isn't known.
  static absl::StatusOr<std::unique_ptr<Node>> Parse(absl::string_view text);

 private:
  class Impl;
};

}  // namespace farm

#endif  // FARM_CLI_GO_TEMPLATE_PARSER_H_
