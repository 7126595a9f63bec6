#include "cli/go_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "cli/go_template_functions.h"
#include "cli/go_template_node.h"
#include "cli/go_template_parser.h"

namespace farm {
namespace {

using Json = nlohmann::json;

// Maps of an image's config: Go prints those that are nil otherwise than nil slices.
bool IsNameOfMap(const std::string& name) {
  return name == "Labels" || name == "Volumes" || name == "ExposedPorts";
}

}  // namespace

class GoTemplate::Evaluator {
 public:
  explicit Evaluator(const Json& root) : root_(root) {}

  absl::Status Run(const Node& node, const Json& dot) {
    switch (node.kind) {
      case Node::Kind::kList:
        return RunList(node, dot);
      case Node::Kind::kText:
        out_ += node.text;
        break;
      case Node::Kind::kSet: {
        ASSIGN_OR_RETURN(Json value, Value(*node.children[0], dot));
        Set(node, 0, std::move(value));
        break;
      }
      case Node::Kind::kIf:
      case Node::Kind::kWith:
        return Choose(node, dot);
      case Node::Kind::kRange:
        return Repeat(node, dot);
      default: {
        ASSIGN_OR_RETURN(const Json value, Value(*node.children[0], dot));
        out_ += Printed(*node.children[0], value);
      }
    }
    if (out_.size() > kOutputBytesMax) {
      return absl::ResourceExhaustedError("format: the output is too long");
    }
    return absl::OkStatus();
  }

  std::string Take() { return std::move(out_); }

 private:
  struct Variable {
    std::string name;
    Json value;
  };

  // Variables that are declared in a list end with it.
  absl::Status RunList(const Node& node, const Json& dot) {
    const size_t before = variables_.size();
    for (const std::unique_ptr<Node>& child : node.children) RETURN_IF_ERROR(Run(*child, dot));
    variables_.resize(before);
    return absl::OkStatus();
  }

  absl::Status Choose(const Node& node, const Json& dot) {
    ASSIGN_OR_RETURN(const Json value, Value(*node.children[0], dot));
    const size_t before = variables_.size();
    if (!node.variables.empty()) Set(node, 0, value);
    absl::Status status;
    if (IsTrueInGo(value)) {
      status = Run(*node.body, node.kind == Node::Kind::kWith ? value : dot);
    } else if (node.otherwise != nullptr) {
      status = Run(*node.otherwise, dot);
    }
    variables_.resize(before);
    return status;
  }

  absl::Status Repeat(const Node& node, const Json& dot) {
    ASSIGN_OR_RETURN(const Json value, Value(*node.children[0], dot));
    if (!IsNothing(value) && !value.is_structured()) return UnfitArgument("range", value);
    if (IsNothing(value) || value.empty()) {
      return node.otherwise == nullptr ? absl::OkStatus() : Run(*node.otherwise, dot);
    }
    int64_t index = 0;
    for (auto element = value.begin(); element != value.end(); ++element, ++index) {
      const size_t before = variables_.size();
      if (!node.variables.empty()) Set(node, node.variables.size() - 1, *element);
      if (node.variables.size() == 2) {
        Set(node, 0, value.is_object() ? Json(element.key()) : Json(index));
      }
      RETURN_IF_ERROR(Run(*node.body, *element));
      variables_.resize(before);
    }
    return absl::OkStatus();
  }

  void Set(const Node& node, size_t which, Json value) {
    const std::string& name = node.variables[which];
    if (node.declares) {
      variables_.push_back({name, std::move(value)});
    } else if (Variable* known = Find(name); known != nullptr) {
      known->value = std::move(value);
    }
  }

  // The innermost one.
  Variable* Find(absl::string_view name) {
    const auto found = std::find_if(variables_.rbegin(), variables_.rend(),
                                    [&](const Variable& each) { return each.name == name; });
    return found == variables_.rend() ? nullptr : &*found;
  }

  absl::StatusOr<Json> Value(const Node& node, const Json& dot) {
    switch (node.kind) {
      case Node::Kind::kLiteral:
        return node.literal;
      case Node::Kind::kVariable: {
        const Variable* known = Find(node.text);
        return Field(node.path, known == nullptr ? root_ : known->value);  // "$" is the root.
      }
      case Node::Kind::kField: {
        if (node.children.empty()) return Field(node.path, dot);
        ASSIGN_OR_RETURN(const Json base, Value(*node.children[0], dot));
        return Field(node.path, base);
      }
      default:
        return Call(node, dot);
    }
  }

  absl::StatusOr<Json> Call(const Node& node, const Json& dot) {
    const bool is_and = node.text == "and";
    std::vector<Json> args;
    for (const std::unique_ptr<Node>& child : node.children) {
      ASSIGN_OR_RETURN(Json arg, Value(*child, dot));
      args.push_back(std::move(arg));
      // As in Go, what can't matter any more is not looked at.
      if ((is_and || node.text == "or") && IsTrueInGo(args.back()) != is_and) return args.back();
    }
    return CallTemplateFunction(node.text, args);
  }

  static absl::StatusOr<Json> Field(const std::vector<std::string>& path, const Json& dot) {
    const Json* value = &dot;
    for (const std::string& name : path) {
      if (IsNothing(*value)) return Json(Json::value_t::discarded);
      const auto found = value->is_object() ? value->find(name) : value->end();
      if (!value->is_object() || found == value->end()) {
        // A map of the person's own (labels) has no fixed fields: as in Go, that is no value.
        if (value->is_object() && value != &dot) return Json(Json::value_t::discarded);
        std::vector<std::string> names;
        if (value->is_object()) {
          for (const auto& [key, unused] : value->items()) names.push_back(key);
        }
        const std::string near = ClosestMatch(name, names);
        return absl::InvalidArgumentError(absl::StrCat(
            "format: there is no field ", name,
            near.empty() ? "" : absl::StrCat("; did you mean ", near, "?"),
            names.empty() ? "" : absl::StrCat(" There are ", absl::StrJoin(names, ", "))));
      }
      value = &*found;
    }
    return *value;
  }

  static std::string Printed(const Node& node, const Json& value) {
    if (!value.is_null() || node.path.empty()) return ShownAsInGo(value);
    return IsNameOfMap(node.path.back()) ? "map[]" : "[]";
  }

  const Json& root_;
  std::vector<Variable> variables_;
  std::string out_;
};

GoTemplate::GoTemplate(std::unique_ptr<Node> root) : root_(std::move(root)) {}
GoTemplate::GoTemplate(GoTemplate&&) noexcept = default;
GoTemplate::~GoTemplate() = default;

absl::StatusOr<GoTemplate> GoTemplate::Parse(absl::string_view text) {
  if (text.size() > kTextBytesMax)
    return absl::InvalidArgumentError("format: the text is too long");
  ASSIGN_OR_RETURN(std::unique_ptr<Node> root, Parser::Parse(text));
  return GoTemplate(std::move(root));
}

absl::StatusOr<std::string> GoTemplate::Execute(const nlohmann::json& value) const {
  Evaluator evaluator(value);
  RETURN_IF_ERROR(evaluator.Run(*root_, value));
  return evaluator.Take();
}

}  // namespace farm
