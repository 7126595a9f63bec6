#include "cli/go_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/suggestion.h"

namespace farm {

using Json = nlohmann::json;

// A node is a text, a value to print, a block (if, range), an operand or a call.
struct GoTemplate::Node {
  enum class Kind { kList, kText, kPrint, kIf, kRange, kField, kLiteral, kCall };
  Kind kind = Kind::kList;
  std::string text;                             // kText; kCall: name of the function
  std::vector<std::string> path;                // kField: "" for "."
  Json literal;                                 // kLiteral
  std::vector<std::unique_ptr<Node>> children;  // kList; kCall: arguments; others: [0] the value
  std::unique_ptr<Node> body, otherwise;        // kIf, kRange
};

namespace {

const std::vector<std::string> kFunctions = {"and",   "eq",      "index", "join",  "json",
                                             "len",   "lower",   "ne",    "not",   "or",
                                             "print", "println", "split", "title", "upper"};

absl::Status Malformed(absl::string_view what, absl::string_view piece) {
  return absl::InvalidArgumentError(
      absl::StrCat("format: ", what, " in '", piece.substr(0, 80), "'"));
}

// Outside of actions, docker reads these two escapes itself.
std::string Unescape(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == 't' || text[i + 1] == 'n')) {
      out += text[++i] == 't' ? '\t' : '\n';
    } else {
      out += text[i];
    }
  }
  return out;
}

// As Go's fmt prints values with %v.
std::string Shown(const Json& value) {
  switch (value.type()) {
    case Json::value_t::string:
      return value.get<std::string>();
    case Json::value_t::null:
      return "<no value>";
    case Json::value_t::array:
      return absl::StrCat(
          "[",
          absl::StrJoin(value, " ",
                        [](std::string* out, const Json& element) { *out += Shown(element); }),
          "]");
    case Json::value_t::object: {
      std::vector<std::string> pairs;
      for (const auto& [key, element] : value.items()) {
        pairs.push_back(absl::StrCat(key, ":", Shown(element)));
      }
      return absl::StrCat("map[", absl::StrJoin(pairs, " "), "]");
    }
    default:
      return value.dump();
  }
}

bool IsTrue(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value != 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !value.empty();
}

}  // namespace

class GoTemplate::Parser {
 public:
  explicit Parser(absl::string_view text) : rest_(text) {}

  absl::StatusOr<std::unique_ptr<Node>> ParseAll() {
    std::string end;
    ASSIGN_OR_RETURN(std::unique_ptr<Node> root, ParseList(0, &end));
    if (!end.empty()) return Malformed("nothing to end", absl::StrCat("{{", end, "}}"));
    return root;
  }

 private:
  // Parses up to "end" or "else", which `end` gets, or the end of the text.
  absl::StatusOr<std::unique_ptr<Node>> ParseList(int depth, std::string* end) {
    if (depth > kDepthMax) return Malformed("too many blocks within each other", rest_);
    auto list = std::make_unique<Node>();
    while (!rest_.empty()) {
      const size_t open = rest_.find("{{");
      AddText(rest_.substr(0, open), *list);
      if (open == absl::string_view::npos) {
        rest_ = "";
        break;
      }
      rest_.remove_prefix(open + 2);
      ASSIGN_OR_RETURN(const absl::string_view action, TakeAction(*list));
      if (action == "end" || action == "else") {
        *end = std::string(action);
        return list;
      }
      ASSIGN_OR_RETURN(std::unique_ptr<Node> node, ParseAction(action, depth));
      if (node != nullptr) list->children.push_back(std::move(node));
    }
    end->clear();
    return list;
  }

  void AddText(absl::string_view raw, Node& list) {
    std::string text = Unescape(raw);
    if (trim_next_) text = std::string(absl::StripLeadingAsciiWhitespace(text));
    trim_next_ = false;
    if (text.empty()) return;
    auto node = std::make_unique<Node>();
    node->kind = Node::Kind::kText;
    node->text = std::move(text);
    list.children.push_back(std::move(node));
  }

  // The text of an action whose "{{" was taken; a "}}" in a string does not end it.
  absl::StatusOr<absl::string_view> TakeAction(Node& before) {
    char quote = 0;
    size_t i = 0;
    for (; i < rest_.size(); ++i) {
      if (quote != 0) {
        if (rest_[i] == '\\' && quote == '"') {
          ++i;
        } else if (rest_[i] == quote) {
          quote = 0;
        }
      } else if (rest_[i] == '"' || rest_[i] == '`') {
        quote = rest_[i];
      } else if (absl::StartsWith(rest_.substr(i), "}}")) {
        break;
      }
    }
    if (i >= rest_.size()) return Malformed("no }} for {{", rest_);
    absl::string_view action = rest_.substr(0, i);
    rest_.remove_prefix(i + 2);
    if (absl::StartsWith(action, "- ")) {
      action.remove_prefix(1);
      if (!before.children.empty() && before.children.back()->kind == Node::Kind::kText) {
        std::string& text = before.children.back()->text;
        text = std::string(absl::StripTrailingAsciiWhitespace(text));
      }
    }
    if (absl::EndsWith(action, " -")) {
      action.remove_suffix(1);
      trim_next_ = true;
    }
    return absl::StripAsciiWhitespace(action);
  }

  absl::StatusOr<std::unique_ptr<Node>> ParseAction(absl::string_view action, int depth) {
    if (absl::StartsWith(action, "/*")) return nullptr;
    auto node = std::make_unique<Node>();
    node->kind = Node::Kind::kPrint;
    for (const auto& [word, kind] :
         {std::pair<absl::string_view, Node::Kind>{"if ", Node::Kind::kIf},
          {"range ", Node::Kind::kRange}}) {
      if (absl::ConsumePrefix(&action, word)) node->kind = kind;
    }
    ASSIGN_OR_RETURN(std::unique_ptr<Node> value, ParsePipeline(action));
    node->children.push_back(std::move(value));
    if (node->kind == Node::Kind::kPrint) return node;
    std::string end;
    ASSIGN_OR_RETURN(node->body, ParseList(depth + 1, &end));
    if (end == "else") {
      ASSIGN_OR_RETURN(node->otherwise, ParseList(depth + 1, &end));
    }
    if (end != "end") return Malformed("no {{end}}", action);
    return node;
  }

  // command | command: the value of the left one is the last argument of the right one.
  absl::StatusOr<std::unique_ptr<Node>> ParsePipeline(absl::string_view text) {
    ASSIGN_OR_RETURN(std::vector<std::string> words, Words(text));
    size_t at = 0;
    ASSIGN_OR_RETURN(std::unique_ptr<Node> node, ParseWords(words, at, 0, text));
    if (at != words.size()) return Malformed("a ')' too many", text);
    return node;
  }

  absl::StatusOr<std::unique_ptr<Node>> ParseWords(const std::vector<std::string>& words,
                                                   size_t& at, int depth, absl::string_view text) {
    if (depth > kDepthMax) return Malformed("too many parentheses", text);
    std::unique_ptr<Node> piped;
    while (true) {
      std::vector<std::unique_ptr<Node>> terms;
      std::string function;
      const size_t first = at;
      for (; at < words.size() && words[at] != "|" && words[at] != ")"; ++at) {
        if (words[at] == "(") {
          ASSIGN_OR_RETURN(std::unique_ptr<Node> inner, ParseWords(words, ++at, depth + 1, text));
          if (at >= words.size()) return Malformed("no ')'", text);
          terms.push_back(std::move(inner));
        } else if (at == first && absl::ascii_isalpha(words[at][0]) && words[at] != "true" &&
                   words[at] != "false") {
          function = words[at];
        } else {
          ASSIGN_OR_RETURN(std::unique_ptr<Node> term, ParseOperand(words[at], text));
          terms.push_back(std::move(term));
        }
      }
      if (at == first) return Malformed("an empty action", text);
      if (piped != nullptr) terms.push_back(std::move(piped));
      if (function.empty()) {
        if (terms.size() != 1) return Malformed("values without a function", text);
        piped = std::move(terms[0]);
      } else {
        if (std::find(kFunctions.begin(), kFunctions.end(), function) == kFunctions.end()) {
          const std::string near = ClosestMatch(function, kFunctions);
          return Malformed(
              absl::StrCat("function '", function, "' is not known",
                           near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")),
              text);
        }
        piped = std::make_unique<Node>();
        piped->kind = Node::Kind::kCall;
        piped->text = function;
        piped->children = std::move(terms);
      }
      if (at == words.size() || words[at] == ")") return piped;
      ++at;  // The '|'.
    }
  }

  absl::StatusOr<std::unique_ptr<Node>> ParseOperand(const std::string& word,
                                                     absl::string_view text) {
    auto node = std::make_unique<Node>();
    int64_t number = 0;
    if (word[0] == '.') {
      node->kind = Node::Kind::kField;
      if (word != ".") node->path = absl::StrSplit(absl::string_view(word).substr(1), '.');
      if (std::count(node->path.begin(), node->path.end(), "") > 0) {
        return Malformed(absl::StrCat("bad field '", word, "'"), text);
      }
      return node;
    }
    node->kind = Node::Kind::kLiteral;
    if (word[0] == '"') {
      node->literal = Json::parse(word, nullptr, /*allow_exceptions=*/false);
    } else if (word[0] == '`') {
      node->literal = word.substr(1, word.size() - 2);
    } else if (word == "true" || word == "false") {
      node->literal = word == "true";
    } else if (absl::SimpleAtoi(word, &number)) {
      node->literal = number;
    } else {
      return Malformed(absl::StrCat("bad word '", word, "'"), text);
    }
    if (node->literal.is_discarded()) return Malformed("bad string", text);
    return node;
  }

  static absl::StatusOr<std::vector<std::string>> Words(absl::string_view text) {
    std::vector<std::string> words;
    size_t i = 0;
    while (i < text.size()) {
      const char c = text[i];
      size_t end = i + 1;
      if (absl::ascii_isspace(c)) {
        ++i;
        continue;
      }
      if (c == '"' || c == '`') {
        while (end < text.size() && text[end] != c) end += (c == '"' && text[end] == '\\') ? 2 : 1;
        if (end >= text.size()) return Malformed("a string without end", text);
        ++end;
      } else if (c != '(' && c != ')' && c != '|') {
        while (end < text.size() && !absl::ascii_isspace(text[end]) &&
               absl::string_view("()|\"`").find(text[end]) == absl::string_view::npos) {
          ++end;
        }
      }
      words.emplace_back(text.substr(i, end - i));
      i = end;
    }
    return words;
  }

  absl::string_view rest_;
  bool trim_next_ = false;
};

class GoTemplate::Evaluator {
 public:
  absl::Status Run(const Node& node, const Json& dot) {
    switch (node.kind) {
      case Node::Kind::kList:
        for (const std::unique_ptr<Node>& child : node.children) RETURN_IF_ERROR(Run(*child, dot));
        break;
      case Node::Kind::kText:
        out_ += node.text;
        break;
      case Node::Kind::kIf: {
        ASSIGN_OR_RETURN(const Json value, Value(*node.children[0], dot));
        const Node* branch = IsTrue(value) ? node.body.get() : node.otherwise.get();
        if (branch != nullptr) return Run(*branch, dot);
        break;
      }
      case Node::Kind::kRange: {
        ASSIGN_OR_RETURN(const Json value, Value(*node.children[0], dot));
        if (!value.empty() && !value.is_structured()) return Unfit("range", value);
        for (const Json& element : value) RETURN_IF_ERROR(Run(*node.body, element));
        if (value.empty() && node.otherwise != nullptr) return Run(*node.otherwise, dot);
        break;
      }
      default: {
        ASSIGN_OR_RETURN(const Json value, Value(*node.children[0], dot));
        out_ += Shown(value);
      }
    }
    if (out_.size() > kOutputBytesMax) {
      return absl::ResourceExhaustedError("format: the output is too long");
    }
    return absl::OkStatus();
  }

  std::string Take() { return std::move(out_); }

 private:
  absl::StatusOr<Json> Value(const Node& node, const Json& dot) {
    if (node.kind == Node::Kind::kLiteral) return node.literal;
    if (node.kind == Node::Kind::kField) return Field(node.path, dot);
    std::vector<Json> args;
    for (const std::unique_ptr<Node>& child : node.children) {
      ASSIGN_OR_RETURN(Json arg, Value(*child, dot));
      args.push_back(std::move(arg));
    }
    return Call(node.text, args);
  }

  static absl::StatusOr<Json> Field(const std::vector<std::string>& path, const Json& dot) {
    const Json* value = &dot;
    for (const std::string& name : path) {
      if (value->is_null()) return Json();
      const auto found = value->is_object() ? value->find(name) : value->end();
      if (!value->is_object() || found == value->end()) {
        // A map of the person's own (labels) has no fixed fields: as in Go, that is no value.
        if (value->is_object() && value != &dot) return Json();
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

  static absl::Status Unfit(absl::string_view function, const Json& value) {
    return absl::InvalidArgumentError(absl::StrCat("format: ", function, " does not take ",
                                                   value.type_name(), " ",
                                                   Shown(value).substr(0, 80)));
  }

  static absl::StatusOr<Json> Call(const std::string& name, const std::vector<Json>& args) {
    if (name == "println" || name == "print") {
      std::vector<std::string> shown;
      for (const Json& arg : args) shown.push_back(Shown(arg));
      return name == "print" ? absl::StrJoin(shown, "") : absl::StrJoin(shown, " ") + "\n";
    }
    const bool two = name == "join" || name == "index" || name == "split" || name == "eq" ||
                     name == "ne" || name == "and" || name == "or";
    if (args.size() < (two ? 2 : 1) || (!two && args.size() != 1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("format: ", name, " takes ", two ? "2 arguments" : "1 argument"));
    }
    if (name == "json") {
      return args[0].dump(-1, ' ', false, Json::error_handler_t::replace);
    }
    if (name == "not") return !IsTrue(args[0]);
    if (name == "eq")
      return std::any_of(args.begin() + 1, args.end(),
                         [&](const Json& arg) { return arg == args[0]; });
    if (name == "ne") return args[0] != args[1];
    if (name == "and" || name == "or") {
      for (const Json& arg : args) {
        if (IsTrue(arg) == (name == "or")) return arg;
      }
      return args.back();
    }
    if (name == "len") {
      if (args[0].is_string()) return args[0].get_ref<const std::string&>().size();
      if (args[0].is_structured()) return args[0].size();
      return Unfit(name, args[0]);
    }
    if (name == "index") return Index(args);
    if (name == "join" || name == "split") return JoinOrSplit(name, args);
    if (!args[0].is_string()) return Unfit(name, args[0]);
    std::string text = args[0].get<std::string>();
    if (name == "lower") return absl::AsciiStrToLower(text);
    if (name == "upper") return absl::AsciiStrToUpper(text);
    if (!text.empty()) text[0] = absl::ascii_toupper(text[0]);  // "title"
    return text;
  }

  static absl::StatusOr<Json> Index(const std::vector<Json>& args) {
    Json value = args[0];
    for (size_t i = 1; i < args.size(); ++i) {
      if (value.is_array() && args[i].is_number_integer()) {
        const int64_t at = args[i].get<int64_t>();
        if (at < 0 || at >= static_cast<int64_t>(value.size())) {
          return absl::InvalidArgumentError(
              absl::StrCat("format: index ", at, " is out of range, there are ", value.size()));
        }
        value = Json(value[at]);
      } else if (value.is_object() && args[i].is_string()) {
        const auto found = value.find(args[i].get<std::string>());
        value = found == value.end() ? Json("") : Json(*found);
      } else {
        return Unfit("index", value);
      }
    }
    return value;
  }

  static absl::StatusOr<Json> JoinOrSplit(const std::string& name, const std::vector<Json>& args) {
    // Both in docker's order (value, separator) and in that of a pipeline (separator, value).
    const bool swapped = name == "join" ? args[1].is_array() : false;
    const Json& value = args[swapped ? 1 : 0];
    const Json& separator = args[swapped ? 0 : 1];
    if (!separator.is_string()) return Unfit(name, separator);
    if (name == "split") {
      if (!value.is_string()) return Unfit(name, value);
      const std::vector<std::string> parts =
          absl::StrSplit(value.get<std::string>(), separator.get<std::string>());
      return Json(parts);
    }
    if (!value.is_array() && !value.is_null()) return Unfit(name, value);
    std::vector<std::string> shown;
    for (const Json& element : value) shown.push_back(Shown(element));
    return absl::StrJoin(shown, separator.get<std::string>());
  }

  std::string out_;
};

GoTemplate::GoTemplate(std::unique_ptr<Node> root) : root_(std::move(root)) {}
GoTemplate::GoTemplate(GoTemplate&&) noexcept = default;
GoTemplate::~GoTemplate() = default;

absl::StatusOr<GoTemplate> GoTemplate::Parse(absl::string_view text) {
  if (text.size() > kTextBytesMax)
    return absl::InvalidArgumentError("format: the text is too long");
  ASSIGN_OR_RETURN(std::unique_ptr<Node> root, Parser(text).ParseAll());
  return GoTemplate(std::move(root));
}

absl::StatusOr<std::string> GoTemplate::Execute(const nlohmann::json& value) const {
  Evaluator evaluator;
  RETURN_IF_ERROR(evaluator.Run(*root_, value));
  return evaluator.Take();
}

}  // namespace farm
