#include "cli/go_template_parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "cli/go_template_functions.h"

namespace farm {
namespace {

using Json = nlohmann::json;

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

struct Word {
  std::string text;
  bool glued = false;  // no blank before it
};

absl::StatusOr<std::vector<Word>> SplitWords(absl::string_view text) {
  std::vector<Word> words;
  size_t i = 0;
  bool glued = false;
  while (i < text.size()) {
    const char c = text[i];
    size_t end = i + 1;
    if (absl::ascii_isspace(c)) {
      ++i;
      glued = false;
      continue;
    }
    if (c == '"' || c == '`') {
      while (end < text.size() && text[end] != c) end += (c == '"' && text[end] == '\\') ? 2 : 1;
      if (end >= text.size()) return Malformed("a string without end", text);
      ++end;
    } else if (absl::StartsWith(text.substr(i), ":=")) {
      end = i + 2;
    } else if (absl::string_view("()|,").find(c) == absl::string_view::npos) {
      while (end < text.size() && !absl::ascii_isspace(text[end]) &&
             absl::string_view("()|\"`,").find(text[end]) == absl::string_view::npos &&
             !absl::StartsWith(text.substr(end), ":=")) {
        ++end;
      }
    }
    words.push_back({std::string(text.substr(i, end - i)), glued});
    glued = true;
    i = end;
  }
  return words;
}

absl::StatusOr<std::vector<std::string>> SplitPath(absl::string_view fields,
                                                   absl::string_view text) {
  if (fields.empty()) return std::vector<std::string>();
  std::vector<std::string> path = absl::StrSplit(fields.substr(1), '.');
  if (fields[0] != '.' || std::count(path.begin(), path.end(), "") > 0) {
    return Malformed(absl::StrCat("bad field '", fields, "'"), text);
  }
  return path;
}

// "$name", and what follows it: "$v.Field" → "$v".
absl::string_view VariableOf(absl::string_view word) { return word.substr(0, word.find('.')); }

bool IsVariable(absl::string_view word) {
  return absl::StartsWith(word, "$") && std::all_of(word.begin() + 1, word.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '_';
         });
}

// A block's keyword in front of `action`, which is then taken off.
bool TakeKeyword(absl::string_view keyword, absl::string_view& action) {
  absl::string_view rest = action;
  if (!absl::ConsumePrefix(&rest, keyword)) return false;
  if (!rest.empty() && !absl::ascii_isspace(rest[0]) && rest[0] != '(' && rest[0] != '"') {
    return false;
  }
  action = absl::StripLeadingAsciiWhitespace(rest);
  return true;
}

}  // namespace

class GoTemplate::Parser::Impl {
 public:
  explicit Impl(absl::string_view text) : rest_(text), variables_({"$"}) {}

  absl::StatusOr<std::unique_ptr<Node>> ParseAll() {
    std::string end;
    ASSIGN_OR_RETURN(std::unique_ptr<Node> root, ParseList(0, &end));
    if (!end.empty()) return Malformed("nothing to end", absl::StrCat("{{", end, "}}"));
    return root;
  }

 private:
  // Parses up to "end" or "else ...", which `end` gets, or the end of the text. Variables that are
  // set within are known no more.
  absl::StatusOr<std::unique_ptr<Node>> ParseList(int depth, std::string* end) {
    if (depth > kDepthMax) return Malformed("too many blocks within each other", rest_);
    const size_t variables_before = variables_.size();
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
      absl::string_view rest = action;
      if (action == "end" || TakeKeyword("else", rest)) {
        *end = std::string(action);
        variables_.resize(variables_before);
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
    if (TakeKeyword("if", action)) return ParseBlock(Node::Kind::kIf, action, depth);
    if (TakeKeyword("range", action)) return ParseBlock(Node::Kind::kRange, action, depth);
    if (TakeKeyword("with", action)) return ParseBlock(Node::Kind::kWith, action, depth);
    return ParsePipeline(Node::Kind::kPrint, action);
  }

  absl::StatusOr<std::unique_ptr<Node>> ParseBlock(Node::Kind kind, absl::string_view action,
                                                   int depth) {
    if (depth > kDepthMax) return Malformed("too many blocks within each other", rest_);
    const size_t variables_before = variables_.size();
    ASSIGN_OR_RETURN(std::unique_ptr<Node> node, ParsePipeline(kind, action));
    std::string end;
    ASSIGN_OR_RETURN(node->body, ParseList(depth + 1, &end));
    absl::string_view after_else = end;
    if (end == "else") {
      ASSIGN_OR_RETURN(node->otherwise, ParseList(depth + 1, &end));
    } else if (TakeKeyword("else", after_else)) {
      // {{else if X}}: a block of its own, which the same {{end}} ends.
      const bool is_if = TakeKeyword("if", after_else);
      if (!is_if && !TakeKeyword("with", after_else)) return Malformed("a bad {{else}}", end);
      const std::string condition(after_else);
      node->otherwise = std::make_unique<Node>();
      ASSIGN_OR_RETURN(
          std::unique_ptr<Node> inner,
          ParseBlock(is_if ? Node::Kind::kIf : Node::Kind::kWith, condition, depth + 1));
      node->otherwise->children.push_back(std::move(inner));
      end = "end";
    }
    variables_.resize(variables_before);
    if (end != "end") return Malformed("no {{end}}", action);
    return node;
  }

  // [$variable [, $variable] :=] command | command: the value of the left command is the last
  // argument of the right one.
  absl::StatusOr<std::unique_ptr<Node>> ParsePipeline(Node::Kind kind, absl::string_view text) {
    ASSIGN_OR_RETURN(const std::vector<Word> words, SplitWords(text));
    auto node = std::make_unique<Node>();
    node->kind = kind;
    size_t at = 0;
    RETURN_IF_ERROR(TakeVariables(words, text, at, *node));
    ASSIGN_OR_RETURN(std::unique_ptr<Node> value, ParseWords(words, at, 0, text));
    if (at != words.size()) return Malformed("a ')' too many", text);
    node->children.push_back(std::move(value));
    if (!node->variables.empty() && kind == Node::Kind::kPrint) node->kind = Node::Kind::kSet;
    if (node->declares) {
      variables_.insert(variables_.end(), node->variables.begin(), node->variables.end());
    }
    return node;
  }

  absl::Status TakeVariables(const std::vector<Word>& words, absl::string_view text, size_t& at,
                             Node& node) {
    size_t count = 0;
    if (words.size() > 1 && IsVariable(words[0].text)) count = 1;
    if (count == 1 && words.size() > 3 && words[1].text == "," && IsVariable(words[2].text)) {
      count = 3;
    }
    if (count == 0 || count >= words.size()) return absl::OkStatus();
    node.declares = words[count].text == ":=";
    if (!node.declares && words[count].text != "=") return absl::OkStatus();
    if (count == 3 && node.kind != Node::Kind::kRange) return Malformed("two variables", text);
    for (size_t i = 0; i < count; i += 2) {
      if (!node.declares && !IsKnown(words[i].text)) return UnknownVariable(words[i].text, text);
      node.variables.push_back(words[i].text);
    }
    at = count + 1;
    return absl::OkStatus();
  }

  bool IsKnown(absl::string_view variable) const {
    return std::count(variables_.begin(), variables_.end(), variable) > 0;
  }
  static absl::Status UnknownVariable(absl::string_view name, absl::string_view text) {
    return Malformed(absl::StrCat("variable '", name, "' is not known"), text);
  }

  absl::StatusOr<std::unique_ptr<Node>> ParseWords(const std::vector<Word>& words, size_t& at,
                                                   int depth, absl::string_view text) {
    if (depth > kDepthMax) return Malformed("too many parentheses", text);
    std::unique_ptr<Node> piped;
    while (true) {
      std::vector<std::unique_ptr<Node>> terms;
      std::string function;
      const size_t first = at;
      for (; at < words.size() && words[at].text != "|" && words[at].text != ")"; ++at) {
        const std::string& word = words[at].text;
        if (word == "(") {
          ASSIGN_OR_RETURN(std::unique_ptr<Node> inner, ParseWords(words, ++at, depth + 1, text));
          if (at >= words.size()) return Malformed("no ')'", text);
          terms.push_back(std::move(inner));
        } else if (word[0] == '.' && words[at].glued && at > first && words[at - 1].text == ")") {
          auto field = std::make_unique<Node>();
          field->kind = Node::Kind::kField;
          ASSIGN_OR_RETURN(field->path, SplitPath(word, text));
          field->children.push_back(std::move(terms.back()));
          terms.back() = std::move(field);
        } else if (at == first && absl::ascii_isalpha(word[0]) && word != "true" &&
                   word != "false") {
          function = word;
        } else {
          ASSIGN_OR_RETURN(std::unique_ptr<Node> term, ParseOperand(word, text));
          terms.push_back(std::move(term));
        }
      }
      if (at == first) return Malformed("an empty action", text);
      if (piped != nullptr) terms.push_back(std::move(piped));
      if (function.empty()) {
        if (terms.size() != 1) return Malformed("values without a function", text);
        piped = std::move(terms[0]);
      } else {
        RETURN_IF_ERROR(CheckFunction(function, text));
        piped = std::make_unique<Node>();
        piped->kind = Node::Kind::kCall;
        piped->text = function;
        piped->children = std::move(terms);
      }
      if (at == words.size() || words[at].text == ")") return piped;
      ++at;  // The '|'.
    }
  }

  static absl::Status CheckFunction(const std::string& name, absl::string_view text) {
    const std::vector<std::string>& known = TemplateFunctions();
    if (std::find(known.begin(), known.end(), name) != known.end()) return absl::OkStatus();
    const std::string near = ClosestMatch(name, known);
    return Malformed(absl::StrCat("function '", name, "' is not known",
                                  near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")),
                     text);
  }

  absl::StatusOr<std::unique_ptr<Node>> ParseOperand(const std::string& word,
                                                     absl::string_view text) {
    auto node = std::make_unique<Node>();
    int64_t number = 0;
    if (word[0] == '.') {
      node->kind = Node::Kind::kField;
      if (word == ".") return node;
      ASSIGN_OR_RETURN(node->path, SplitPath(word, text));
      return node;
    }
    if (word[0] == '$') {
      const absl::string_view name = VariableOf(word);
      if (!IsKnown(name)) return UnknownVariable(name, text);
      node->kind = Node::Kind::kVariable;
      node->text = std::string(name);
      ASSIGN_OR_RETURN(node->path, SplitPath(absl::string_view(word).substr(name.size()), text));
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

  absl::string_view rest_;
  bool trim_next_ = false;
  std::vector<std::string> variables_;  // Those that are known here.
};

absl::StatusOr<std::unique_ptr<GoTemplate::Node>> GoTemplate::Parser::Parse(
    absl::string_view text) {
  return Impl(text).ParseAll();
}

}  // namespace farm
