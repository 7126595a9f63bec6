#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "dockerfile/lint_rules.h"

namespace farm {
namespace {

bool IsLower(absl::string_view text) { return text == absl::AsciiStrToLower(text); }
bool IsUpper(absl::string_view text) { return text == absl::AsciiStrToUpper(text); }

class TextLinter {
 public:
  TextLinter(const Dockerfile& file, LintWarningList& out) : file_(file), out_(out) {}

  void Run() {
    for (const int line : file_.empty_continuation_lines) {
      out_.AddAtLine("NoEmptyContinuation", line, "Empty continuation line");
    }
    CheckInstructionCasing();
    for (const Instruction& instruction : file_.instructions) {
      if (const auto* from = std::get_if<FromInstruction>(&instruction.body)) {
        CheckStageName(instruction, *from);
      } else if (const auto* arg = std::get_if<ArgInstruction>(&instruction.body)) {
        CheckArgDescription(instruction, *arg);
      } else if (std::holds_alternative<MaintainerInstruction>(instruction.body)) {
        out_.Add("MaintainerDeprecated", instruction,
                 "Maintainer instruction is deprecated in favor of using label");
      }
    }
  }

 private:
  void CheckInstructionCasing() {
    const auto& all = file_.instructions;
    // ARGs before the first FROM have no say, and are not judged.
    const auto begin = std::find_if(all.begin(), all.end(), [](const Instruction& instruction) {
      return instruction.name == "FROM";
    });
    const auto lower = std::count_if(
        begin, all.end(), [](const Instruction& i) { return IsLower(i.name_as_written); });
    const auto upper = std::count_if(
        begin, all.end(), [](const Instruction& i) { return IsUpper(i.name_as_written); });
    const bool want_lower = lower > upper;
    for (auto it = begin; it != all.end(); ++it) {
      if (want_lower ? IsLower(it->name_as_written) : IsUpper(it->name_as_written)) continue;
      out_.Add("ConsistentInstructionCasing", *it,
               absl::StrCat("Command '", it->name_as_written,
                            "' should match the case of the command majority (",
                            want_lower ? "lowercase" : "uppercase", ")"));
    }
  }

  void CheckStageName(const Instruction& instruction, const FromInstruction& from) {
    if (from.name.empty()) return;
    if (!IsLower(from.name_as_written)) {
      out_.Add("StageNameCasing", instruction,
               absl::StrCat("Stage name '", from.name_as_written, "' should be lowercase"));
    }
    const std::string& keyword = instruction.name_as_written;
    if ((IsLower(keyword) && !IsLower(from.as_keyword)) ||
        (IsUpper(keyword) && !IsUpper(from.as_keyword))) {
      out_.Add("FromAsCasing", instruction,
               absl::StrCat("'", from.as_keyword, "' and '", keyword,
                            "' keywords' casing do not match"));
    }
    if (from.name == "scratch" || from.name == "context") {
      out_.Add("ReservedStageName", instruction,
               absl::StrCat("Stage name should not use the same name as reserved stage \"",
                            from.name, "\""));
    }
    if (!stage_names_.insert(from.name).second) {
      out_.Add(
          "DuplicateStageName", instruction,
          absl::StrCat("Duplicate stage name \"", from.name, "\", stage names should be unique"));
    }
    CheckDescription(instruction, {from.name_as_written});
  }

  void CheckArgDescription(const Instruction& instruction, const ArgInstruction& arg) {
    std::vector<std::string> names;
    for (const ArgDeclaration& declaration : arg.args) names.push_back(declaration.name);
    CheckDescription(instruction, names);
  }

  // The comment right above should begin with the name of what it describes.
  void CheckDescription(const Instruction& instruction, const std::vector<std::string>& names) {
    if (instruction.comments.empty()) return;
    const std::string& comment = instruction.comments.back();
    const std::string first_word = comment.substr(0, comment.find(' '));
    if (std::find(names.begin(), names.end(), first_word) != names.end()) return;
    out_.Add("InvalidDefinitionDescription", instruction,
             absl::StrCat("Comment for ", instruction.name, " should follow the format: `# ",
                          names.size() == 1 ? names[0] : "<arg_key>", " <description>`"),
             /*is_experimental=*/true);
  }

  const Dockerfile& file_;
  LintWarningList& out_;
  std::set<std::string> stage_names_;
};

}  // namespace

void LintText(const Dockerfile& file, LintWarningList& out) { TextLinter(file, out).Run(); }

}  // namespace farm
