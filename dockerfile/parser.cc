#include "dockerfile/parser.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "base/utf8.h"
#include "dockerfile/heredoc.h"
#include "dockerfile/lexer.h"
#include "dockerfile/words.h"

namespace farm {
namespace {

// Shorter times are units forgotten: the runtime takes nanoseconds.
constexpr absl::Duration kHealthIntervalMin = absl::Milliseconds(1);
// What its 64 bits hold.
constexpr absl::Duration kDurationMax = absl::Nanoseconds(std::numeric_limits<int64_t>::max());

const std::vector<std::string>& InstructionNames() {
  static const auto* const names = new std::vector<std::string>{
      "ADD",         "ARG",   "CMD",        "COPY",       "ENTRYPOINT", "ENV",
      "EXPOSE",      "FROM",  "LABEL",      "MAINTAINER", "ONBUILD",    "RUN",
      "HEALTHCHECK", "SHELL", "STOPSIGNAL", "USER",       "VOLUME",     "WORKDIR"};
  return *names;
}

enum class FlagType { kBool, kOnce, kRepeated };
struct FlagSpec {
  std::string name;
  FlagType type;
};

const std::vector<FlagSpec>& FlagsOf(absl::string_view instruction) {
  using enum FlagType;
  static const auto* const none = new std::vector<FlagSpec>;
  static const auto* const add = new std::vector<FlagSpec>{
      {"chown", kOnce},    {"chmod", kOnce},        {"link", kBool},  {"exclude", kRepeated},
      {"checksum", kOnce}, {"keep-git-dir", kBool}, {"unpack", kBool}};
  static const auto* const copy =
      new std::vector<FlagSpec>{{"from", kOnce}, {"chown", kOnce},   {"chmod", kOnce},
                                {"link", kBool}, {"parents", kBool}, {"exclude", kRepeated}};
  static const auto* const from = new std::vector<FlagSpec>{{"platform", kOnce}};
  static const auto* const healthcheck = new std::vector<FlagSpec>{{"interval", kOnce},
                                                                   {"timeout", kOnce},
                                                                   {"start-period", kOnce},
                                                                   {"start-interval", kOnce},
                                                                   {"retries", kOnce}};
  static const auto* const run = new std::vector<FlagSpec>{
      {"mount", kRepeated}, {"network", kOnce}, {"security", kOnce}, {"device", kRepeated}};
  if (instruction == "ADD") return *add;
  if (instruction == "COPY") return *copy;
  if (instruction == "FROM") return *from;
  if (instruction == "HEALTHCHECK") return *healthcheck;
  if (instruction == "RUN") return *run;
  return *none;
}

std::string DidYouMean(absl::string_view typed, const std::vector<std::string>& candidates,
                       absl::string_view prefix = "") {
  const std::string match = ClosestMatch(typed, candidates);
  return match.empty() ? "" : absl::StrCat(" (did you mean ", prefix, match, "?)");
}

bool HasHeredocs(absl::string_view instruction) {
  return instruction == "RUN" || instruction == "COPY" || instruction == "ADD";
}

// The instructions whose arguments may be a JSON array; HEALTHCHECK has one behind CMD.
bool HasJsonForm(absl::string_view instruction) {
  return HasHeredocs(instruction) || instruction == "CMD" || instruction == "ENTRYPOINT" ||
         instruction == "SHELL" || instruction == "VOLUME";
}

// NAME of `text` that begins with one, e.g. "COPY" of "COPY a b".
absl::string_view FirstWord(absl::string_view text) {
  return text.substr(0, text.find_first_of("\t\v\f\r "));
}

// Parses one logical line, and from `lexer` the heredocs that belong to it.
class InstructionParser {
 public:
  InstructionParser(const DockerfileSource& source, Lexer& lexer, LogicalLine line)
      : source_(source), lexer_(lexer), line_(std::move(line)) {}

  absl::StatusOr<Instruction> Parse() {
    RETURN_IF_ERROR(ParseName());
    RETURN_IF_ERROR(ParseFlags());
    RETURN_IF_ERROR(ParseJson());
    RETURN_IF_ERROR(ParseHeredocs());
    RETURN_IF_ERROR(ParseBody());
    out_.end_line = lexer_.current_line();
    out_.comments = std::move(line_.comments);
    return std::move(out_);
  }

 private:
  absl::Status ParseName() {
    const SourcePosition first = source_.PositionAt(line_.pieces.front().second);
    StripLeadingSpace();
    out_.original = std::string(StripTrailingSpace(line_.text));
    out_.name_as_written = std::string(FirstWord(out_.original));
    out_.name = absl::AsciiStrToUpper(out_.name_as_written);
    out_.position = PositionAt(0);
    // A line with nothing but a continuation is the instruction's first.
    if (first.line < out_.position.line) out_.position = first;
    return CheckName(out_.name_as_written, 0);
  }

  // Only a line that began with nothing but a continuation has any.
  void StripLeadingSpace() {
    const absl::string_view text = line_.text;
    const size_t spaces = text.size() - farm::StripLeadingSpace(text).size();
    if (spaces == 0) return;
    for (auto& [offset, source] : line_.pieces) {
      const size_t removed = std::min(offset, spaces);
      source += spaces - removed;
      offset -= removed;
    }
    line_.text.erase(0, spaces);
  }

  absl::Status CheckName(absl::string_view name, size_t offset) const {
    const std::vector<std::string>& names = InstructionNames();
    const std::string upper = absl::AsciiStrToUpper(name);
    if (std::find(names.begin(), names.end(), upper) != names.end()) return absl::OkStatus();
    return ErrorAtOffset(offset,
                         absl::StrCat("unknown instruction: ", name, DidYouMean(upper, names)));
  }

  absl::Status ParseFlags() {
    const size_t behind_name = out_.name_as_written.size();
    const absl::string_view behind = absl::string_view(out_.original).substr(behind_name);
    const FlagWords words = TakeFlags(behind, lexer_.escape());
    for (const FlagWords::Flag& word : words.flags) {
      RETURN_IF_ERROR(ParseFlag(word.text, behind_name + word.offset));
    }
    arguments_ = absl::StripLeadingAsciiWhitespace(behind.substr(words.rest));
    arguments_offset_ = out_.original.size() - arguments_.size();
    return absl::OkStatus();
  }

  absl::Status ParseFlag(absl::string_view word, size_t offset) {
    InstructionFlag flag;
    flag.position = PositionAt(offset);
    const size_t equals = word.find('=');
    flag.name =
        std::string(word.substr(2, equals == absl::string_view::npos ? equals : equals - 2));
    flag.has_value = equals != absl::string_view::npos;
    if (flag.has_value) flag.value = std::string(word.substr(equals + 1));

    const FlagSpec* known = nullptr;
    std::vector<std::string> names;
    for (const FlagSpec& spec : FlagsOf(out_.name)) {
      names.push_back(spec.name);
      if (spec.name == flag.name) known = &spec;
    }
    if (known == nullptr) {
      return ErrorAtOffset(
          offset, absl::StrCat("unknown flag: --", flag.name, DidYouMean(flag.name, names, "--")));
    }
    if (known->type != FlagType::kRepeated && FindFlag(flag.name) != nullptr) {
      return ErrorAtOffset(offset, absl::StrCat("duplicate flag specified: --", flag.name));
    }
    const std::string lower = absl::AsciiStrToLower(flag.value);
    if (known->type == FlagType::kBool && flag.has_value && lower != "true" && lower != "false") {
      return ErrorAtOffset(offset, absl::StrCat("expecting boolean value for flag --", flag.name,
                                                ", not: ", flag.value));
    }
    if (known->type != FlagType::kBool && !flag.has_value) {
      return ErrorAtOffset(offset, absl::StrCat("missing a value on flag: --", flag.name));
    }
    out_.flags.push_back(std::move(flag));
    return absl::OkStatus();
  }

  // Sets Instruction::json, and json_words_ if it is true.
  absl::Status ParseJson() {
    absl::string_view text = arguments_;
    if (out_.name == "HEALTHCHECK") {
      text.remove_prefix(FirstWord(text).size());
    } else if (!HasJsonForm(out_.name)) {
      return absl::OkStatus();
    }
    absl::StatusOr<std::optional<std::vector<std::string>>> words = ParseJsonWords(text);
    if (!words.ok()) return ErrorAtOffset(arguments_offset_, words.status().message());
    out_.json = words->has_value();
    if (out_.json) json_words_ = **std::move(words);
    return CheckCount(json_words_.size());
  }

  absl::Status ParseHeredocs() {
    absl::string_view name = out_.name;
    absl::string_view arguments = arguments_;
    std::string trigger;
    if (name == "ONBUILD") {
      trigger = absl::AsciiStrToUpper(FirstWord(arguments));
      name = trigger;
      arguments.remove_prefix(trigger.size());
      arguments.remove_prefix(TakeFlags(arguments, lexer_.escape()).rest);
    }
    if (!HasHeredocs(name)) return absl::OkStatus();
    if (const auto words = ParseJsonWords(arguments); words.ok() && words->has_value()) {
      return absl::OkStatus();
    }
    const std::vector<HeredocMarker> markers = FindHeredocMarkers(out_.original);
    if (markers.size() > kHeredocsMax) {
      return ErrorAtOffset(0, absl::StrCat("more than ", kHeredocsMax, " heredocs"));
    }
    const size_t first = out_.original.find("<<");
    for (const HeredocMarker& marker : markers) {
      ASSIGN_OR_RETURN(Heredoc heredoc, lexer_.ReadHeredoc(marker, PositionAt(first)));
      out_.heredocs.push_back(std::move(heredoc));
    }
    return absl::OkStatus();
  }

  absl::Status ParseBody() {
    const std::string& name = out_.name;
    if (name == "ADD") return ParseAdd();
    if (name == "ARG") return ParseArg();
    if (name == "CMD") return Set(CmdInstruction{.command = MakeCommandLine(arguments_)});
    if (name == "COPY") return ParseCopy();
    if (name == "ENTRYPOINT") {
      return Set(EntrypointInstruction{.command = MakeCommandLine(arguments_)});
    }
    if (name == "ENV") return ParseKeyValues<EnvInstruction>();
    if (name == "EXPOSE") return ParseExpose();
    if (name == "FROM") return ParseFrom();
    if (name == "HEALTHCHECK") return ParseHealthcheck();
    if (name == "LABEL") return ParseKeyValues<LabelInstruction>();
    if (name == "MAINTAINER") return ParseLine(&MaintainerInstruction::maintainer);
    if (name == "ONBUILD") return ParseOnbuild();
    if (name == "RUN") return ParseRun();
    if (name == "SHELL") return ParseShell();
    if (name == "STOPSIGNAL") return ParseLine(&StopsignalInstruction::signal);
    if (name == "USER") return ParseLine(&UserInstruction::user);
    if (name == "VOLUME") return ParseVolume();
    return ParseLine(&WorkdirInstruction::path);
  }

  absl::Status ParseAdd() {
    AddInstruction add;
    RETURN_IF_ERROR(ParseCopyArguments(add.copy));
    add.checksum = FlagValue("checksum");
    if (FindFlag("keep-git-dir") != nullptr) add.keep_git_dir = BoolFlag("keep-git-dir");
    if (FindFlag("unpack") != nullptr) add.unpack = BoolFlag("unpack");
    return Set(std::move(add));
  }

  absl::Status ParseArg() {
    ArgInstruction arg;
    ASSIGN_OR_RETURN(const std::vector<std::string> words, QuotedWords());
    for (const std::string& word : words) {
      ArgDeclaration declaration;
      const size_t equals = word.find('=');
      declaration.name = word.substr(0, equals);
      if (equals != std::string::npos) declaration.value = word.substr(equals + 1);
      if (declaration.name.empty()) return ArgumentError("ARG names can not be blank");
      arg.args.push_back(std::move(declaration));
    }
    return Set(std::move(arg));
  }

  absl::Status ParseCopy() {
    CopyInstruction copy;
    RETURN_IF_ERROR(ParseCopyArguments(copy.copy));
    copy.copy.parents = BoolFlag("parents");
    copy.from = FlagValue("from");
    return Set(std::move(copy));
  }

  absl::Status ParseCopyArguments(CopyArguments& copy) {
    ASSIGN_OR_RETURN(std::vector<std::string> words, SpacedOrJsonWords());
    if (words.size() < 2) {
      return ArgumentError(absl::StrCat(out_.name, " requires at least two arguments, but only ",
                                        words.empty() ? "none" : "one",
                                        " was provided; destination could not be determined"));
    }
    for (const std::string& word : words) {
      if (!out_.json || !ParseHeredocMarker(word).has_value()) continue;
      return ArgumentError(absl::StrCat(out_.name, " in JSON form has no heredocs: \"", word,
                                        "\", write it without brackets"));
    }
    copy.dest = std::move(words.back());
    words.pop_back();
    if (!out_.heredocs.empty() && ParseHeredocMarker(copy.dest).has_value()) {
      return ArgumentError(absl::StrCat(out_.name, " cannot accept a heredoc as a destination"));
    }
    for (std::string& word : words) {
      copy.sources.push_back({.path = std::move(word), .heredoc = std::nullopt});
      copy.sources.back().heredoc = FindHeredoc(copy.sources.back().path);
    }
    copy.chown = FlagValue("chown");
    copy.chmod = FlagValue("chmod");
    copy.link = BoolFlag("link");
    for (const InstructionFlag& flag : out_.flags) {
      if (flag.name == "exclude") copy.exclude.push_back(flag.value);
    }
    return absl::OkStatus();
  }

  // Of several heredocs of one name the last is meant.
  std::optional<size_t> FindHeredoc(absl::string_view word) const {
    if (out_.heredocs.empty()) return std::nullopt;
    const std::optional<HeredocMarker> marker = ParseHeredocMarker(word);
    if (!marker.has_value()) return std::nullopt;
    for (size_t i = out_.heredocs.size(); i > 0; --i) {
      if (out_.heredocs[i - 1].name == marker->name) return i - 1;
    }
    return std::nullopt;
  }

  template <typename T>
  absl::Status ParseKeyValues() {
    T body;
    ASSIGN_OR_RETURN(const std::vector<std::string> words, QuotedWords());
    if (!absl::StrContains(words[0], '=')) {
      const absl::string_view key = FirstWord(arguments_);
      const absl::string_view value =
          absl::StripLeadingAsciiWhitespace(arguments_.substr(key.size()));
      if (value.empty()) {
        return ArgumentError(absl::StrCat(out_.name, " must have two arguments"));
      }
      body.pairs.push_back(
          {.key = std::string(key), .value = std::string(value), .separated_by_space = true});
      return Set(std::move(body));
    }
    for (const std::string& word : words) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos) {
        return NoEqualsSign(word);
      }
      if (equals == 0) return ArgumentError(absl::StrCat(out_.name, " names can not be blank"));
      body.pairs.push_back({.key = word.substr(0, equals), .value = word.substr(equals + 1)});
    }
    return Set(std::move(body));
  }

  absl::Status ParseExpose() {
    ExposeInstruction expose;
    ASSIGN_OR_RETURN(expose.ports, SpacedOrJsonWords());
    if (expose.ports.empty()) return AtLeastOne();
    std::sort(expose.ports.begin(), expose.ports.end());  // As history lists them.
    return Set(std::move(expose));
  }

  absl::Status ParseFrom() {
    ASSIGN_OR_RETURN(const std::vector<std::string> words, SpacedOrJsonWords());
    FromInstruction from;
    if (words.size() == 3 && absl::EqualsIgnoreCase(words[1], "as")) {
      from.as_keyword = words[1];
      from.name_as_written = words[2];
      from.name = absl::AsciiStrToLower(words[2]);
      if (!IsStageName(from.name)) {
        return ArgumentError(absl::StrCat("invalid name for build stage: \"", words[2],
                                          "\", name can't start with a number or contain symbols"));
      }
    } else if (words.size() != 1) {
      return ArgumentError("FROM requires either one or three arguments");
    }
    from.base = words[0];
    from.platform = FlagValue("platform");
    return Set(std::move(from));
  }

  static bool IsStageName(absl::string_view name) {
    return absl::ascii_islower(name[0]) && std::all_of(name.begin(), name.end(), [](char c) {
             return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-' || c == '_' ||
                    c == '.';
           });
  }

  absl::Status ParseHealthcheck() {
    if (arguments_.empty()) return AtLeastOne();
    const absl::string_view type = FirstWord(arguments_);
    const absl::string_view command =
        absl::StripLeadingAsciiWhitespace(arguments_.substr(type.size()));
    HealthcheckInstruction health;
    if (absl::EqualsIgnoreCase(type, "NONE")) {
      if (!command.empty()) return ArgumentError("HEALTHCHECK NONE takes no arguments");
      health.none = true;
      return Set(std::move(health));
    }
    if (!absl::EqualsIgnoreCase(type, "CMD")) {
      return ArgumentError(absl::StrCat("unknown type \"", type, "\" in HEALTHCHECK (try CMD)"));
    }
    health.command = MakeCommandLine(command);
    if (health.command.words.empty()) {
      return ArgumentError("missing command after HEALTHCHECK CMD");
    }
    RETURN_IF_ERROR(ParseDurationFlag("interval", health.interval));
    RETURN_IF_ERROR(ParseDurationFlag("timeout", health.timeout));
    RETURN_IF_ERROR(ParseDurationFlag("start-period", health.start_period));
    RETURN_IF_ERROR(ParseDurationFlag("start-interval", health.start_interval));
    if (const InstructionFlag* retries = FindFlag("retries");
        retries != nullptr && !retries->value.empty()) {
      if (!absl::SimpleAtoi(retries->value, &health.retries)) {
        return source_.Error(retries->position,
                             absl::StrCat("--retries is not a number: ", retries->value));
      }
      if (health.retries < 0) {
        return source_.Error(retries->position,
                             absl::StrCat("--retries cannot be negative (", health.retries, ")"));
      }
    }
    return Set(std::move(health));
  }

  absl::Status ParseDurationFlag(absl::string_view name, absl::Duration& out) const {
    const InstructionFlag* flag = FindFlag(name);
    if (flag == nullptr || flag->value.empty()) return absl::OkStatus();
    // Go knows both letters that look like a micro sign.
    const std::string text =
        absl::StrReplaceAll(flag->value, {{"\u00b5s", "us"}, {"\u03bcs", "us"}});
    if (!absl::ParseDuration(text, &out) || absl::AbsDuration(out) > kDurationMax) {
      return source_.Error(
          flag->position,
          absl::StrCat("--", name, " is not a duration such as 30s or 1m30s: ", flag->value));
    }
    if (out != absl::ZeroDuration() && out < kHealthIntervalMin) {
      return source_.Error(flag->position, absl::StrCat("--", name, " cannot be less than ",
                                                        absl::FormatDuration(kHealthIntervalMin)));
    }
    return absl::OkStatus();
  }

  absl::Status ParseOnbuild() {
    if (arguments_.empty()) return AtLeastOne();
    OnbuildInstruction onbuild;
    const absl::string_view name = FirstWord(arguments_);
    onbuild.trigger_name = absl::AsciiStrToUpper(name);
    if (onbuild.trigger_name == "ONBUILD") {
      return ArgumentError("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    }
    if (onbuild.trigger_name == "MAINTAINER" || onbuild.trigger_name == "FROM") {
      return ArgumentError(
          absl::StrCat(onbuild.trigger_name, " isn't allowed as an ONBUILD trigger"));
    }
    RETURN_IF_ERROR(CheckTriggerArguments(onbuild.trigger_name));
    // Spaces at the end are kept in what is recorded.
    onbuild.trigger = std::string(absl::string_view(line_.text).substr(arguments_offset_));
    for (const Heredoc& heredoc : out_.heredocs) {
      absl::StrAppend(&onbuild.trigger, "\n", heredoc.text, heredoc.name);
    }
    return Set(std::move(onbuild));
  }

  // What is wrong with a trigger by the form of its words; whether it means anything is found out
  // when it is pulled.
  absl::Status CheckTriggerArguments(const std::string& trigger) const {
    absl::string_view text = arguments_.substr(trigger.size());
    text = absl::StripAsciiWhitespace(text.substr(TakeFlags(text, lexer_.escape()).rest));
    if (HasJsonForm(trigger)) {
      const auto words = ParseJsonWords(text);
      return words.ok() ? absl::OkStatus() : ArgumentError(words.status().message());
    }
    if (trigger != "ENV" && trigger != "LABEL") return absl::OkStatus();
    const std::vector<std::string> words = SplitQuoted(text, lexer_.escape());
    if (words.empty()) return absl::OkStatus();
    if (!absl::StrContains(words[0], '=')) {
      if (FirstWord(text).size() < text.size()) return absl::OkStatus();
      return ArgumentError(absl::StrCat(trigger, " must have two arguments"));
    }
    for (const std::string& word : words) {
      if (!absl::StrContains(word, '=')) return NoEqualsSign(word);
    }
    return absl::OkStatus();
  }

  absl::Status NoEqualsSign(absl::string_view word) const {
    return ArgumentError(absl::StrCat("syntax error: can't find = in \"", word,
                                      "\": must be of the form name=value"));
  }

  absl::Status ParseRun() {
    RunInstruction run;
    run.command = MakeCommandLine(arguments_);
    for (const InstructionFlag& flag : out_.flags) {
      if (flag.name == "mount") run.mounts.push_back(flag.value);
    }
    RETURN_IF_ERROR(ParseChoiceFlag("network", {"default", "none", "host"}, run.network));
    RETURN_IF_ERROR(ParseChoiceFlag("security", {"sandbox", "insecure"}, run.security));
    return Set(std::move(run));
  }

  absl::Status ParseChoiceFlag(absl::string_view name, const std::vector<std::string>& choices,
                               std::string& out) const {
    const InstructionFlag* flag = FindFlag(name);
    if (flag == nullptr) return absl::OkStatus();
    out = flag->value;
    if (std::find(choices.begin(), choices.end(), out) != choices.end()) return absl::OkStatus();
    return source_.Error(flag->position,
                         absl::StrCat("unsupported --", name, " \"", out, "\": must be one of ",
                                      absl::StrJoin(choices, ", "), DidYouMean(out, choices)));
  }

  absl::Status ParseShell() {
    if (arguments_.empty() || (out_.json && json_words_.empty())) return AtLeastOne();
    if (!out_.json) return ArgumentError("SHELL requires the arguments to be in JSON form");
    return Set(ShellInstruction{.words = std::move(json_words_)});
  }

  absl::Status ParseVolume() {
    VolumeInstruction volume;
    ASSIGN_OR_RETURN(volume.paths, SpacedOrJsonWords());
    if (volume.paths.empty()) return AtLeastOne();
    for (std::string& path : volume.paths) {
      absl::StripAsciiWhitespace(&path);
      if (path.empty()) return ArgumentError("VOLUME specified can not be an empty string");
    }
    return Set(std::move(volume));
  }

  // Instructions whose argument is the whole line.
  template <typename T>
  absl::Status ParseLine(std::string T::*member) {
    if (arguments_.empty()) {
      return ArgumentError(absl::StrCat(out_.name, " requires exactly one argument"));
    }
    T body;
    body.*member = std::string(arguments_);
    return Set(std::move(body));
  }

  CommandLine MakeCommandLine(absl::string_view shell_text) {
    if (out_.json) return {.shell_form = false, .words = std::move(json_words_)};
    CommandLine command;
    if (!shell_text.empty()) command.words.emplace_back(shell_text);
    return command;
  }

  absl::StatusOr<std::vector<std::string>> QuotedWords() const {
    std::vector<std::string> words = SplitQuoted(arguments_, lexer_.escape());
    if (words.empty()) return AtLeastOne();
    RETURN_IF_ERROR(CheckCount(words.size()));
    return words;
  }

  absl::StatusOr<std::vector<std::string>> SpacedOrJsonWords() {
    if (out_.json) return std::move(json_words_);
    std::vector<std::string> words = SplitAtSpaces(arguments_);
    RETURN_IF_ERROR(CheckCount(words.size()));
    return words;
  }

  absl::Status CheckCount(size_t words) const {
    if (words <= kInstructionWordsMax) return absl::OkStatus();
    return ErrorAtOffset(
        0, absl::StrCat(out_.name, " has more than ", kInstructionWordsMax, " arguments"));
  }

  template <typename T>
  absl::Status Set(T body) {
    out_.body = std::move(body);
    return absl::OkStatus();
  }

  const InstructionFlag* FindFlag(absl::string_view name) const {
    for (const InstructionFlag& flag : out_.flags) {
      if (flag.name == name) return &flag;
    }
    return nullptr;
  }
  std::string FlagValue(absl::string_view name) const {
    const InstructionFlag* flag = FindFlag(name);
    return flag == nullptr ? "" : flag->value;
  }
  bool BoolFlag(absl::string_view name) const {
    const InstructionFlag* flag = FindFlag(name);
    return flag != nullptr && !absl::EqualsIgnoreCase(flag->value, "false");
  }

  SourcePosition PositionAt(size_t offset) const {
    return source_.PositionAt(line_.SourceOffset(offset));
  }
  absl::Status ErrorAtOffset(size_t offset, absl::string_view message) const {
    return source_.Error(PositionAt(offset), message);
  }
  absl::Status ArgumentError(absl::string_view message) const {
    return ErrorAtOffset(arguments_.empty() ? 0 : arguments_offset_, message);
  }
  absl::Status AtLeastOne() const {
    return ArgumentError(absl::StrCat(out_.name, " requires at least one argument"));
  }

  const DockerfileSource& source_;
  Lexer& lexer_;
  LogicalLine line_;
  absl::string_view arguments_;  // Part of out_.original, behind the flags.
  size_t arguments_offset_ = 0;
  std::vector<std::string> json_words_;
  Instruction out_;
};

absl::Status CheckTrigger(const Dockerfile& file) {
  if (file.instructions.size() != 1) {
    return absl::InvalidArgumentError("must be a single instruction");
  }
  const std::string& name = file.instructions[0].name;
  if (name == "FROM" || name == "ONBUILD" || name == "MAINTAINER") {
    return absl::InvalidArgumentError(absl::StrCat(name, " isn't allowed"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string InstructionFlag::ToString() const {
  return has_value ? absl::StrCat("--", name, "=", value) : absl::StrCat("--", name);
}

absl::StatusOr<Dockerfile> ParseDockerfile(DockerfileSource source) {
  Dockerfile file;
  file.source = std::make_shared<const DockerfileSource>(std::move(source));
  Lexer lexer(*file.source);
  while (true) {
    ASSIGN_OR_RETURN(std::optional<LogicalLine> line, lexer.Next());
    if (!line.has_value()) break;
    if (line->has_empty_continuation) file.empty_continuation_lines.push_back(line->end_line);
    if (file.instructions.size() == kInstructionsMax) {
      return file.source->Error(file.source->PositionAt(line->SourceOffset(0)),
                                absl::StrCat("more than ", kInstructionsMax, " instructions"));
    }
    ASSIGN_OR_RETURN(Instruction instruction,
                     InstructionParser(*file.source, lexer, *std::move(line)).Parse());
    file.instructions.push_back(std::move(instruction));
  }
  if (file.instructions.empty()) {
    return ErrorAt({.file = file.source->file(), .line = file.source->line_count()},
                   "file with no instructions");
  }
  file.directives = lexer.TakeDirectives();
  file.escape = lexer.escape();
  return file;
}

absl::StatusOr<Instruction> ParseTrigger(absl::string_view trigger, const SourcePosition& from) {
  const auto at_from = [&](const absl::Status& status) {
    absl::string_view message = status.message();
    if (const std::optional<SourcePosition> within = PositionOf(status)) {
      absl::ConsumePrefix(&message, absl::StrCat(within->ToString(), ": "));
    }
    return ErrorAt(from, message);
  };
  absl::StatusOr<DockerfileSource> source = DockerfileSource::Create("", std::string(trigger));
  if (!source.ok()) return at_from(source.status());
  absl::StatusOr<Dockerfile> file = ParseDockerfile(*std::move(source));
  if (!file.ok()) return at_from(file.status());
  if (const absl::Status status = CheckTrigger(*file); !status.ok()) return at_from(status);
  Instruction instruction = std::move(file->instructions[0]);
  instruction.position = from;
  instruction.end_line = from.line;
  for (InstructionFlag& flag : instruction.flags) flag.position = from;
  return instruction;
}

}  // namespace farm
