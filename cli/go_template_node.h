// The parsed form of a template: between its parser and its evaluator only.
#ifndef FARM_CLI_GO_TEMPLATE_NODE_H_
#define FARM_CLI_GO_TEMPLATE_NODE_H_

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/go_template.h"

namespace farm {

// A list of nodes, a text, a value to print or to set, a block (if, range, with), or an operand.
struct GoTemplate::Node {
  enum class Kind {
    kList,
    kText,
    kPrint,
    kSet,
    kIf,
    kRange,
    kWith,
    kField,
    kVariable,
    kLiteral,
    kCall
  };
  Kind kind = Kind::kList;
  std::string text;               // kText; kCall: name of the function; kVariable: "$name", "$"
  std::vector<std::string> path;  // kField, kVariable: of fields within; empty for itself
  nlohmann::json literal;         // kLiteral
  // kSet and blocks: the variables that the value is given to, at most two for kRange.
  std::vector<std::string> variables;
  bool declares = false;  // ":=": they are new, else known ones are set
  // kList; kCall: arguments; kField: none for a field of the dot, else [0] what it is a field of;
  // others: [0] the value.
  std::vector<std::unique_ptr<Node>> children;
  std::unique_ptr<Node> body, otherwise;  // blocks
};

}  // namespace farm

#endif  // FARM_CLI_GO_TEMPLATE_NODE_H_
