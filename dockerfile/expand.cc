#include "dockerfile/expand.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "dockerfile/trim_pattern.h"

namespace farm {
namespace {

// Special parameters of a shell: one character, which is a whole name.
constexpr absl::string_view kSpecialParameters = "@*#?-$!0";

// Collects words while characters come in.
class WordCollector {
 public:
  // A character that is not quoted: a space ends the word.
  void Add(char c) {
    if (!absl::ascii_isspace(c)) {
      word_ += c;
    } else {
      Finish();
    }
  }
  void AddQuoted(absl::string_view text) { absl::StrAppend(&word_, text); }
  void Finish() {
    if (!word_.empty()) words_.push_back(std::exchange(word_, ""));
  }
  std::vector<std::string> TakeWords() { return std::move(words_); }

 private:
  std::string word_;
  std::vector<std::string> words_;
};

// One run over one word. Methods named Process consume what they are named for from `rest_`.
class Expanding {
 public:
  Expanding(const ExpandOptions& options, const VariableLookup& lookup, absl::string_view word)
      : options_(options), lookup_(lookup), rest_(word), keep_escapes_(options.keep_escapes) {}

  absl::StatusOr<Expansion> Run() {
    WordCollector words;
    ASSIGN_OR_RETURN(expansion_.text, ProcessUntil('\0', options_.keep_escapes, &words));
    words.Finish();
    expansion_.words = words.TakeWords();
    return std::move(expansion_);
  }

 private:
  // Up to `stop`, which is consumed, or to the end if it is NUL.
  absl::StatusOr<std::string> ProcessUntil(char stop, bool keep_escapes, WordCollector* words) {
    if (++depth_ > kExpansionDepthMax) {
      return absl::ResourceExhaustedError(
          absl::StrCat("more than ", kExpansionDepthMax, " nested ${...}"));
    }
    const bool outer_keep_escapes = std::exchange(keep_escapes_, keep_escapes);
    std::string out;
    bool stopped = false;
    while (!rest_.empty() && !stopped) {
      if (stop != '\0' && rest_[0] == stop) {
        Take();
        stopped = true;
      } else {
        RETURN_IF_ERROR(ProcessOne(out, words));
        RETURN_IF_ERROR(CheckSize(out.size()));
      }
    }
    keep_escapes_ = outer_keep_escapes;
    --depth_;
    if (!stopped && stop != '\0') {
      return absl::InvalidArgumentError(
          absl::StrCat("syntax error: missing '", std::string(1, stop), "' of ${...}"));
    }
    return out;
  }

  // A quoted string, a variable, an escaped character or a plain one.
  absl::Status ProcessOne(std::string& out, WordCollector* words) {
    const char c = rest_[0];
    const size_t before = out.size();
    bool quoted = true;
    if (c == '$') {
      ASSIGN_OR_RETURN(const std::string value, ProcessDollar());
      absl::StrAppend(&out, value);
      quoted = false;
    } else if (c == '\'' && !options_.ignore_quotes) {
      RETURN_IF_ERROR(ProcessSingleQuotes(out));
    } else if (c == '"' && !options_.ignore_quotes) {
      RETURN_IF_ERROR(ProcessDoubleQuotes(out));
    } else if (c == '<') {
      ProcessLessThan(out);
    } else if (c == options_.escape) {
      if (keep_escapes_) out += c;
      Take();
      if (!rest_.empty()) out += Take();
    } else {
      out += Take();
      quoted = false;
    }
    if (words == nullptr) return absl::OkStatus();
    const absl::string_view added = absl::string_view(out).substr(before);
    if (quoted) {
      words->AddQuoted(added);
    } else {
      for (const char plain : added) words->Add(plain);
    }
    return absl::OkStatus();
  }

  absl::Status ProcessSingleQuotes(std::string& out) {
    const size_t end = rest_.find('\'', 1);
    if (end == absl::string_view::npos) {
      return absl::InvalidArgumentError("syntax error: missing closing single quote");
    }
    absl::StrAppend(&out,
                    options_.keep_quotes ? rest_.substr(0, end + 1) : rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return absl::OkStatus();
  }

  absl::Status ProcessDoubleQuotes(std::string& out) {
    if (options_.keep_quotes) out += '"';
    Take();
    while (!rest_.empty()) {
      if (rest_[0] == '$') {
        ASSIGN_OR_RETURN(const std::string value, ProcessDollar());
        absl::StrAppend(&out, value);
        RETURN_IF_ERROR(CheckSize(out.size()));
        continue;
      }
      char c = Take();
      if (c == '"') {
        if (options_.keep_quotes) out += c;
        return absl::OkStatus();
      }
      if (c == options_.escape) {
        if (keep_escapes_) out += c;
        if (rest_.empty()) break;
        // Before other characters the escape is one itself.
        if (rest_[0] == '"' || rest_[0] == '$' || rest_[0] == options_.escape) c = Take();
      }
      out += c;
    }
    return absl::InvalidArgumentError("syntax error: missing closing double quote");
  }

  // `<<` keeps the spaces behind it, so that `<< EOF` is one word, as a heredoc's marker must be.
  void ProcessLessThan(std::string& out) {
    out += Take();
    if (rest_.empty() || rest_[0] != '<') return;
    out += Take();
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t' || rest_[0] == '\r')) {
      out += Take();
    }
  }

  absl::StatusOr<std::string> ProcessDollar() {
    Take();
    if (!rest_.empty() && rest_[0] == '{') {
      Take();
      return ProcessBraces();
    }
    const std::string name = ProcessName();
    if (name.empty()) return std::string("$");
    const std::optional<std::string> value = Get(name);
    if (!value.has_value() && options_.keep_unset) return absl::StrCat("$", name);
    return value.value_or("");
  }

  // What follows "${".
  absl::StatusOr<std::string> ProcessBraces() {
    if (rest_.empty()) return absl::InvalidArgumentError("syntax error: missing '}' of ${...}");
    if (absl::string_view("{}:").find(rest_[0]) != absl::string_view::npos) {
      return absl::InvalidArgumentError("syntax error: bad substitution: a name must follow ${");
    }
    const std::string name = ProcessName();
    if (rest_.empty()) return absl::InvalidArgumentError("syntax error: missing '}' of ${...}");
    std::string modifier(1, Take());
    switch (modifier[0]) {
      case '}': {
        const std::optional<std::string> value = Get(name);
        if (!value.has_value() && options_.keep_unset) return absl::StrCat("${", name, "}");
        return value.value_or("");
      }
      case '/':
        return ProcessReplacement(name);
      case ':':
        if (rest_.empty()) return absl::InvalidArgumentError("syntax error: missing '}' of ${...}");
        modifier += Take();
        break;
      default:
        break;
    }
    return ProcessModifier(name, modifier);
  }

  absl::StatusOr<std::string> ProcessModifier(const std::string& name,
                                              const std::string& modifier) {
    const char kind = modifier.back();
    const bool has_colon = modifier.size() == 2;
    const bool is_pattern = kind == '#' || kind == '%';
    const auto unsupported = [&modifier] {
      return absl::InvalidArgumentError(
          absl::StrCat("unsupported modifier (", modifier, ") in substitution"));
    };
    // Another one with a colon is refused once it is needed: ${V:=x} may be for the shell.
    if (has_colon ? is_pattern : absl::string_view("-+?#%").find(kind) == absl::string_view::npos) {
      return unsupported();
    }
    ASSIGN_OR_RETURN(std::string word, ProcessUntil('}', is_pattern, nullptr));
    const std::optional<std::string> value = Get(name);
    if (!value.has_value() && options_.keep_unset) {
      return absl::StrCat("${", name, modifier, word, "}");
    }
    const bool present = value.has_value() && !(has_colon && value->empty());
    switch (kind) {
      case '-':
        return present ? *value : word;
      case '+':
        return present ? word : std::string();
      case '?':
        if (present) return *value;
        if (word.empty()) {
          word = value.has_value() ? "is not allowed to be empty" : "is not allowed to be unset";
        }
        return absl::InvalidArgumentError(absl::StrCat(name, ": ", word));
      case '#':
      case '%':
        return Trim(value.value_or(""), kind, word);
      default:
        return unsupported();
    }
  }

  static absl::StatusOr<std::string> Trim(const std::string& value, char kind,
                                          absl::string_view pattern) {
    TrimPattern::Length length = TrimPattern::Length::kShortest;
    if (!pattern.empty() && pattern[0] == kind) {
      length = TrimPattern::Length::kLongest;
      pattern.remove_prefix(1);
    }
    ASSIGN_OR_RETURN(const TrimPattern parsed, TrimPattern::Parse(pattern),
                     _ << "invalid pattern (" << pattern << ") in substitution");
    return kind == '#' ? parsed.TrimPrefix(value, length) : parsed.TrimSuffix(value, length);
  }

  // What follows "${NAME/".
  absl::StatusOr<std::string> ProcessReplacement(const std::string& name) {
    const bool all = !rest_.empty() && rest_[0] == '/';
    if (all) Take();
    ASSIGN_OR_RETURN(const std::string pattern, ProcessUntil('/', true, nullptr));
    ASSIGN_OR_RETURN(const std::string replacement, ProcessUntil('}', true, nullptr));
    const std::optional<std::string> value = Get(name);
    if (!value.has_value() && options_.keep_unset) {
      return absl::StrCat("${", name, all ? "//" : "/", pattern, "/", replacement, "}");
    }
    ASSIGN_OR_RETURN(const TrimPattern parsed, TrimPattern::Parse(pattern),
                     _ << "invalid pattern (" << pattern << ") in substitution");
    return parsed.Replace(value.value_or(""), replacement, all);
  }

  // Letters, digits and '_'; or digits only; or one special parameter. "" if there is no name.
  std::string ProcessName() {
    std::string name;
    while (!rest_.empty()) {
      const char c = rest_[0];
      if (name.empty() && absl::ascii_isdigit(c)) {
        while (!rest_.empty() && absl::ascii_isdigit(rest_[0])) name += Take();
        break;
      }
      if (name.empty() && kSpecialParameters.find(c) != absl::string_view::npos) {
        name += Take();
        break;
      }
      absl::string_view behind = rest_;
      const char32_t letter = TakeCharacter(behind);
      if (letter != '_' && !IsLetterOrDigit(letter)) break;
      absl::StrAppend(&name, rest_.substr(0, rest_.size() - behind.size()));
      rest_ = behind;
    }
    return name;
  }

  std::optional<std::string> Get(const std::string& name) {
    std::optional<std::string> value = lookup_(name);
    (value.has_value() ? expansion_.used : expansion_.unset).insert(name);
    return value;
  }

  // All that comes out of inner words and values passes here on its way out.
  absl::Status CheckSize(size_t bytes) const {
    if (bytes <= options_.bytes_max) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat("the result is longer than ", options_.bytes_max, " bytes"));
  }

  char Take() {
    const char c = rest_[0];
    rest_.remove_prefix(1);
    return c;
  }

  const ExpandOptions& options_;
  const VariableLookup& lookup_;
  absl::string_view rest_;
  bool keep_escapes_;  // Options' value, but true within a pattern.
  int depth_ = 0;
  Expansion expansion_;
};

}  // namespace

Expander::Expander(ExpandOptions options, VariableLookup lookup)
    : options_(options), lookup_(std::move(lookup)) {}

absl::StatusOr<Expansion> Expander::Expand(absl::string_view word) const {
  ASSIGN_OR_RETURN(Expansion expansion, Expanding(options_, lookup_, word).Run(),
                   _ << "cannot expand \"" << word.substr(0, 200) << "\"");
  return expansion;
}

absl::StatusOr<std::string> Expander::ExpandWord(absl::string_view word) const {
  ASSIGN_OR_RETURN(Expansion expansion, Expand(word));
  return std::move(expansion.text);
}

absl::StatusOr<Expansion> ExpandHeredoc(absl::string_view data, VariableLookup lookup) {
  const ExpandOptions options = {.ignore_quotes = true, .bytes_max = kHeredocExpansionBytesMax};
  // Not shown in the message: it has lines of its own.
  ASSIGN_OR_RETURN(Expansion expansion, Expanding(options, lookup, data).Run(),
                   _ << "cannot expand the text of a heredoc");
  return expansion;
}

}  // namespace farm
