#include "cli/go_template_functions.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "cli/terminal_text.h"

namespace farm {
namespace {

using Json = nlohmann::json;
using Args = std::vector<Json>;

constexpr int64_t kPaddingMax = 1000;

absl::Status Wrong(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("format: ", what));
}

absl::StatusOr<int64_t> IntegerOf(absl::string_view function, const Json& value) {
  if (!value.is_number_integer()) return UnfitArgument(function, value);
  return value.get<int64_t>();
}

absl::StatusOr<std::string> TextOf(absl::string_view function, const Json& value) {
  if (IsNothing(value)) return std::string();
  if (!value.is_string()) return UnfitArgument(function, value);
  return value.get<std::string>();
}

absl::StatusOr<Json> Length(const Args& args) {
  if (IsNothing(args[0])) return 0;
  if (args[0].is_string()) return args[0].get_ref<const std::string&>().size();
  if (args[0].is_structured()) return args[0].size();
  return UnfitArgument("len", args[0]);
}

absl::StatusOr<Json> Index(const Args& args) {
  Json value = args[0];
  for (size_t i = 1; i < args.size(); ++i) {
    if (args[i].is_number_integer() && (value.is_array() || IsNothing(value))) {
      const int64_t at = args[i].get<int64_t>();
      const int64_t size = value.is_array() ? static_cast<int64_t>(value.size()) : 0;
      if (at < 0 || at >= size) {
        return Wrong(absl::StrCat("index ", at, " is out of range, there are ", size));
      }
      value = Json(value[at]);
    } else if (args[i].is_string() && (value.is_object() || IsNothing(value))) {
      const auto found = value.is_object() ? value.find(args[i].get<std::string>()) : value.end();
      value = value.is_object() && found != value.end() ? Json(*found) : Json("");
    } else {
      return UnfitArgument("index", value);
    }
  }
  return value;
}

absl::StatusOr<Json> Slice(const Args& args) {
  const Json& value = args[0];
  if (!value.is_string() && !value.is_array() && !IsNothing(value)) {
    return UnfitArgument("slice", value);
  }
  const int64_t size = value.is_string()  ? value.get_ref<const std::string&>().size()
                       : value.is_array() ? value.size()
                                          : 0;
  int64_t from = 0;
  int64_t to = size;
  if (args.size() > 1) {
    ASSIGN_OR_RETURN(from, IntegerOf("slice", args[1]));
  }
  if (args.size() > 2) {
    ASSIGN_OR_RETURN(to, IntegerOf("slice", args[2]));
  }
  if (from < 0 || from > to || to > size) {
    return Wrong(absl::StrCat("slice ", from, ":", to, " is out of range, there are ", size));
  }
  if (value.is_string()) return value.get_ref<const std::string&>().substr(from, to - from);
  Json part = Json::array();
  for (int64_t i = from; i < to; ++i) part.push_back(value[i]);
  return part;
}

// Both in docker's order (value, separator) and in that of a pipeline (separator, value).
absl::StatusOr<Json> Join(const Args& args) {
  const bool swapped = args[1].is_array();
  const Json& value = args[swapped ? 1 : 0];
  ASSIGN_OR_RETURN(const std::string separator, TextOf("join", args[swapped ? 0 : 1]));
  if (!value.is_array() && !IsNothing(value)) return UnfitArgument("join", value);
  std::vector<std::string> shown;
  for (const Json& element : value) shown.push_back(ShownAsInGo(element));
  return absl::StrJoin(shown, separator);
}

absl::StatusOr<Json> Split(const Args& args) {
  ASSIGN_OR_RETURN(const std::string text, TextOf("split", args[0]));
  ASSIGN_OR_RETURN(const std::string separator, TextOf("split", args[1]));
  const std::vector<std::string> parts = absl::StrSplit(text, separator);
  return Json(parts);
}

absl::StatusOr<Json> Pad(const Args& args) {
  ASSIGN_OR_RETURN(const std::string text, TextOf("pad", args[0]));
  ASSIGN_OR_RETURN(const int64_t before, IntegerOf("pad", args[1]));
  ASSIGN_OR_RETURN(const int64_t after, IntegerOf("pad", args[2]));
  if (text.empty()) return text;
  if (before < 0 || before > kPaddingMax) return UnfitArgument("pad", args[1]);
  if (after < 0 || after > kPaddingMax) return UnfitArgument("pad", args[2]);
  return absl::StrCat(std::string(before, ' '), text, std::string(after, ' '));
}

absl::StatusOr<Json> Truncate(const Args& args) {
  ASSIGN_OR_RETURN(std::string text, TextOf("truncate", args[0]));
  ASSIGN_OR_RETURN(const int64_t length, IntegerOf("truncate", args[1]));
  if (length < 0) return UnfitArgument("truncate", args[1]);
  return text.substr(0, length);
}

absl::StatusOr<Json> Compare(const std::string& name, const Args& args) {
  const bool comparable =
      (args[0].is_number() && args[1].is_number()) || (args[0].is_string() && args[1].is_string());
  if (!comparable) return UnfitArgument(name, args[args[0].is_structured() ? 0 : 1]);
  if (name == "lt") return args[0] < args[1];
  if (name == "le") return args[0] <= args[1];
  if (name == "gt") return args[0] > args[1];
  return args[0] >= args[1];
}

// One verb of printf, such as "%-20s" or "%.12s".
struct Verb {
  bool left = false;
  bool zeros = false;
  int width = 0;
  std::optional<int> precision;
  char letter = 0;
};

// Takes a verb off the front of `rest`, whose "%" is gone.
absl::StatusOr<Verb> TakeVerb(absl::string_view& rest) {
  Verb verb;
  const auto digits = [&rest]() -> int {
    size_t count = 0;
    while (count < rest.size() && absl::ascii_isdigit(rest[count])) ++count;
    int number = 0;
    if (count > 0 && !absl::SimpleAtoi(rest.substr(0, count), &number)) number = kPaddingMax + 1;
    rest.remove_prefix(count);
    return number;
  };
  for (; !rest.empty() && absl::string_view("-0+# ").find(rest[0]) != absl::string_view::npos;
       rest.remove_prefix(1)) {
    verb.left |= rest[0] == '-';
    verb.zeros |= rest[0] == '0';
  }
  verb.width = digits();
  if (!rest.empty() && rest[0] == '.') {
    rest.remove_prefix(1);
    verb.precision = digits();
  }
  if (rest.empty()) return Wrong("printf: a '%' without a letter");
  if (verb.width > kPaddingMax || verb.precision.value_or(0) > kPaddingMax) {
    return Wrong("printf: too wide");
  }
  verb.letter = rest[0];
  rest.remove_prefix(1);
  return verb;
}

absl::StatusOr<std::string> FormatOne(const Verb& verb, const Json& value) {
  switch (verb.letter) {
    case 's':
    case 'v':
      return verb.precision.has_value() ? ShownAsInGo(value).substr(0, *verb.precision)
                                        : ShownAsInGo(value);
    case 'q':
      return Json(ShownAsInGo(value)).dump(-1, ' ', false, Json::error_handler_t::replace);
    case 'd': {
      ASSIGN_OR_RETURN(const int64_t number, IntegerOf("printf %d", value));
      return absl::StrCat(number);
    }
    case 'x': {
      if (value.is_string()) return absl::BytesToHexString(value.get<std::string>());
      ASSIGN_OR_RETURN(const int64_t number, IntegerOf("printf %x", value));
      return absl::StrFormat("%x", number);
    }
    case 't':
      if (!value.is_boolean()) return UnfitArgument("printf %t", value);
      return ShownAsInGo(value);
    case 'f':
      if (!value.is_number()) return UnfitArgument("printf %f", value);
      return absl::StrFormat("%.*f", verb.precision.value_or(6), value.get<double>());
    default:
      return Wrong(absl::StrCat("printf: %", absl::string_view(&verb.letter, 1),
                                " is not one of %s, %v, %q, %d, %x, %t, %f"));
  }
}

absl::StatusOr<Json> Printf(const Args& args) {
  ASSIGN_OR_RETURN(const std::string format, TextOf("printf", args[0]));
  absl::string_view rest = format;
  std::string out;
  size_t next = 1;
  while (!rest.empty()) {
    const size_t percent = rest.find('%');
    absl::StrAppend(&out, rest.substr(0, percent));
    if (percent == absl::string_view::npos) break;
    rest.remove_prefix(percent + 1);
    ASSIGN_OR_RETURN(const Verb verb, TakeVerb(rest));
    if (verb.letter == '%') {
      out += '%';
      continue;
    }
    if (next == args.size()) return Wrong("printf: more verbs than values");
    ASSIGN_OR_RETURN(std::string text, FormatOne(verb, args[next++]));
    const size_t width = DisplayWidth(text);
    const size_t missing = static_cast<size_t>(verb.width) - std::min<size_t>(verb.width, width);
    if (verb.left) {
      text.append(missing, ' ');
    } else {
      const bool zeros = verb.zeros && absl::string_view("dxf").find(verb.letter) < 3;
      const size_t sign = zeros && !text.empty() && text[0] == '-' ? 1 : 0;
      text.insert(sign, missing, zeros ? '0' : ' ');
    }
    out += text;
  }
  if (next != args.size()) return Wrong("printf: more values than verbs");
  return out;
}

absl::StatusOr<Json> Print(const std::string& name, const Args& args) {
  std::vector<std::string> shown;
  for (const Json& arg : args) shown.push_back(ShownAsInGo(arg));
  return name == "print" ? absl::StrJoin(shown, "") : absl::StrJoin(shown, " ") + "\n";
}

absl::StatusOr<Json> ChangeCase(const std::string& name, const Args& args) {
  ASSIGN_OR_RETURN(std::string text, TextOf(name, args[0]));
  if (name == "lower") return absl::AsciiStrToLower(text);
  if (name == "upper") return absl::AsciiStrToUpper(text);
  if (!text.empty()) text[0] = absl::ascii_toupper(text[0]);
  return text;
}

struct Arity {
  const char* name;
  size_t min, max;
};
constexpr size_t kMany = 1000;
constexpr Arity kArities[] = {
    {"and", 1, kMany},    {"eq", 2, kMany},      {"ge", 2, 2},    {"gt", 2, 2},
    {"index", 2, kMany},  {"join", 2, 2},        {"json", 1, 1},  {"le", 2, 2},
    {"len", 1, 1},        {"lower", 1, 1},       {"lt", 2, 2},    {"ne", 2, 2},
    {"not", 1, 1},        {"or", 1, kMany},      {"pad", 3, 3},   {"print", 0, kMany},
    {"printf", 1, kMany}, {"println", 0, kMany}, {"slice", 1, 3}, {"split", 2, 2},
    {"title", 1, 1},      {"truncate", 2, 2},    {"upper", 1, 1}};

absl::Status CheckArity(const std::string& name, size_t count) {
  const auto* arity = std::find_if(std::begin(kArities), std::end(kArities),
                                   [&](const Arity& each) { return name == each.name; });
  if (arity == std::end(kArities)) return Wrong(absl::StrCat("no function ", name));
  if (count >= arity->min && count <= arity->max) return absl::OkStatus();
  return Wrong(absl::StrCat(name, " takes ", arity->min, arity->max > arity->min ? " or more" : "",
                            arity->min == 1 ? " argument" : " arguments"));
}

}  // namespace

bool IsNothing(const Json& value) { return value.is_null() || value.is_discarded(); }

std::string ShownAsInGo(const Json& value) {
  switch (value.type()) {
    case Json::value_t::string:
      return value.get<std::string>();
    case Json::value_t::null:
    case Json::value_t::discarded:
      return "<no value>";
    case Json::value_t::array:
      return absl::StrCat("[",
                          absl::StrJoin(value, " ",
                                        [](std::string* out, const Json& element) {
                                          *out += ShownAsInGo(element);
                                        }),
                          "]");
    case Json::value_t::object: {
      std::vector<std::string> pairs;
      for (const auto& [key, element] : value.items()) {
        pairs.push_back(absl::StrCat(key, ":", ShownAsInGo(element)));
      }
      return absl::StrCat("map[", absl::StrJoin(pairs, " "), "]");
    }
    default:
      return value.dump();
  }
}

bool IsTrueInGo(const Json& value) {
  if (IsNothing(value)) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value != 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !value.empty();
}

const std::vector<std::string>& TemplateFunctions() {
  static const auto* const names = [] {
    auto* all = new std::vector<std::string>;
    for (const Arity& arity : kArities) all->push_back(arity.name);
    return all;
  }();
  return *names;
}

absl::Status UnfitArgument(absl::string_view function, const Json& value) {
  return Wrong(absl::StrCat(function, " does not take ", value.type_name(), " ",
                            ShownAsInGo(value).substr(0, 80)));
}

absl::StatusOr<Json> CallTemplateFunction(const std::string& name, const Args& args) {
  RETURN_IF_ERROR(CheckArity(name, args.size()));
  if (name == "and" || name == "or") {
    for (const Json& arg : args) {
      if (IsTrueInGo(arg) == (name == "or")) return arg;
    }
    return args.back();
  }
  if (name == "eq") {
    return std::any_of(args.begin() + 1, args.end(),
                       [&](const Json& arg) { return arg == args[0]; });
  }
  if (name == "ne") return args[0] != args[1];
  if (name == "not") return !IsTrueInGo(args[0]);
  if (name == "json") {
    return IsNothing(args[0]) ? "null"
                              : args[0].dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  if (name == "print" || name == "println") return Print(name, args);
  if (name == "printf") return Printf(args);
  if (name == "len") return Length(args);
  if (name == "index") return Index(args);
  if (name == "slice") return Slice(args);
  if (name == "join") return Join(args);
  if (name == "split") return Split(args);
  if (name == "pad") return Pad(args);
  if (name == "truncate") return Truncate(args);
  if (name == "lower" || name == "upper" || name == "title") return ChangeCase(name, args);
  return Compare(name, args);
}

}  // namespace farm
