#include "dockerfile/words.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

namespace farm {
namespace {

// Reads one word of TakeFlags() from `at` on, which is moved behind it.
std::string TakeFlagWord(absl::string_view text, char escape, size_t& at) {
  std::string word;
  char quote = '\0';
  for (; at < text.size(); ++at) {
    char c = text[at];
    if (quote == '\0' && absl::ascii_isspace(c)) break;
    if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '\'' || c == '"')) {
      quote = c;
    } else {
      if (c == escape) {
        if (++at == text.size()) break;
        c = text[at];
      }
      word += c;
    }
  }
  return word;
}

// Whether arrays nest, or have other things than strings in them, is all that is of interest.
class JsonWordsReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Other(); }
  bool boolean(bool) override { return Other(); }
  bool number_integer(number_integer_t) override { return Other(); }
  bool number_unsigned(number_unsigned_t) override { return Other(); }
  bool number_float(number_float_t, const string_t&) override { return Other(); }
  bool string(string_t& value) override {
    words_.push_back(std::move(value));
    return true;
  }
  bool binary(binary_t&) override { return Other(); }
  bool start_object(std::size_t) override { return Other(); }
  bool key(string_t&) override { return Other(); }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return ++arrays_ == 1 || Other(); }
  bool end_array() override { return true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

  bool strings_only() const { return strings_only_; }
  std::vector<std::string> TakeWords() { return std::move(words_); }

 private:
  bool Other() {
    strings_only_ = false;
    return true;
  }

  std::vector<std::string> words_;
  int arrays_ = 0;
  bool strings_only_ = true;
};

}  // namespace

std::vector<std::string> SplitAtSpaces(absl::string_view text) {
  return absl::StrSplit(text, absl::ByAnyChar("\t\v\f\r "), absl::SkipEmpty());
}

std::vector<std::string> SplitQuoted(absl::string_view text, char escape) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;  // True also for an empty quoted word.
  char quote = '\0';
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (quote == '\0' && absl::ascii_isspace(c)) {
      if (in_word) words.push_back(std::exchange(word, ""));
      in_word = false;
      continue;
    }
    if (c == escape && quote != '\'') {
      if (at + 1 == text.size()) break;  // An escape with nothing behind it.
      word += c;
      word += text[++at];
      in_word = true;
      continue;
    }
    if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '\'' || c == '"')) {
      quote = c;
    }
    word += c;
    in_word = true;
  }
  if (in_word) words.push_back(std::move(word));
  return words;
}

FlagWords TakeFlags(absl::string_view text, char escape) {
  FlagWords out;
  size_t at = 0;
  while (true) {
    while (at < text.size() && absl::ascii_isspace(text[at])) ++at;
    out.rest = at;
    if (text.substr(at, 2) != "--") return out;
    std::string word = TakeFlagWord(text, escape, at);
    if (word == "--") {
      out.rest = at;
      return out;
    }
    if (!word.empty()) out.flags.push_back({std::move(word), out.rest});
  }
}

absl::StatusOr<std::optional<std::vector<std::string>>> ParseJsonWords(absl::string_view text) {
  text = absl::StripLeadingAsciiWhitespace(text);
  if (text.empty() || text[0] != '[') return std::nullopt;
  JsonWordsReader reader;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &reader)) return std::nullopt;
  if (!reader.strings_only()) {
    return absl::InvalidArgumentError(
        "when using JSON array syntax, arrays must be comprised of strings only");
  }
  return reader.TakeWords();
}

}  // namespace farm
