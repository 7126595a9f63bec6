#include "cli/dockerfile_call.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "cli/failure_report.h"
#include "cli/tab_table.h"
#include "cli/terminal_text.h"
#include "dockerfile/expand.h"
#include "dockerfile/lint.h"
#include "dockerfile/mount.h"
#include "dockerfile/parser.h"
#include "dockerfile/stage_graph.h"
#include "plan/plan_lint.h"

namespace farm {
namespace {

using Json = nlohmann::ordered_json;

struct Lines {
  int first = 0;
  int last = 0;
};

std::string Print(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// One range for each line, as docker has it.
Json LocationJson(const Lines& lines) {
  Json ranges = Json::array();
  for (int line = lines.first; line <= lines.last; ++line) {
    ranges.push_back({{"start", {{"line", line}}}, {"end", {{"line", line}}}});
  }
  return {{"ranges", std::move(ranges)}};
}

Lines LinesOf(const Instruction& instruction) {
  return {instruction.position.line, instruction.end_line};
}

// The instruction's lines if one begins at `line`.
Lines LinesAt(const Dockerfile& file, int line) {
  for (const Instruction& instruction : file.instructions) {
    if (instruction.position.line == line) return LinesOf(instruction);
  }
  return {line, line};
}

std::string MarkedSource(const BuildFiles& files, const Lines& lines) {
  return MarkedLines(files.dockerfile_name, files.dockerfile, lines.first, lines.last);
}

std::string Base64(absl::string_view bytes) { return absl::Base64Escape(bytes); }

// The description of `name` in the comments above what it names.
std::string DescriptionOf(const Instruction& instruction, const std::string& name) {
  for (absl::string_view comment : instruction.comments) {
    if (!name.empty() && absl::ConsumePrefix(&comment, absl::StrCat(name, " "))) {
      return std::string(comment);
    }
  }
  return "";
}

// Columns that are `gap` spaces apart.
std::string Columns(const std::vector<std::vector<std::string>>& rows, size_t gap) {
  std::vector<std::string> lines;
  for (const std::vector<std::string>& row : rows) {
    lines.push_back(absl::StrJoin(row, "\t", [](std::string* out, const std::string& cell) {
      *out += HarmlessLine(cell, /*keep_colors=*/false);
    }));
  }
  return AlignTabs(lines, {.cell_width_min = 0, .padding = gap});
}

std::string MessageOf(const absl::Status& status) {
  absl::string_view message = status.message();
  const std::optional<SourcePosition> position = PositionOf(status);
  if (position.has_value()) absl::ConsumePrefix(&message, position->ToString() + ": ");
  return std::string(message);
}

Lines LinesOfError(const absl::Status& status) {
  const std::optional<SourcePosition> position = PositionOf(status);
  const int line = position.has_value() ? position->line : 0;
  return {line, line};
}

absl::StatusOr<Dockerfile> ParseFile(const BuildFiles& files) {
  ASSIGN_OR_RETURN(DockerfileSource source,
                   DockerfileSource::Create(files.dockerfile_name, files.dockerfile));
  return ParseDockerfile(std::move(source));
}

// The first thing that is wrong with `file`, as far as it shows without any base image.
absl::Status Validate(const Dockerfile& file, const PlanOptions& options) {
  absl::StatusOr<StageGraph> graph = StageGraph::Create(file, StageGraphOptionsOf(options));
  RETURN_IF_ERROR(graph.status());
  RETURN_IF_ERROR(graph->FindTarget(options.target).status());
  PlanOptions of_stage = options;
  const bool all = options.target.empty();
  for (const Stage& stage : graph->stages()) {
    if (!all && stage.index > 0) break;
    if (all) of_stage.target = absl::StrCat(stage.index);
    ResolvedImages images;
    while (true) {
      ASSIGN_OR_RETURN(const std::vector<ImageKey> missing,
                       ImagesToResolve(file, images, of_stage));
      if (missing.empty()) break;
      for (const ImageKey& key : missing) {
        images[key].reference = key.name;
        images[key].config.diff_ids = {"sha256:" + std::string(64, '0')};
      }
    }
    RETURN_IF_ERROR(MakePlan(file, images, of_stage).status());
  }
  return absl::OkStatus();
}

int Check(const DockerfileCall& call, const BuildFiles& files, const PlanOptions& options,
          std::ostream& out, std::ostream& err) {
  const auto& [warnings, error] = CheckDockerfile(files, options);
  const absl::StatusOr<Dockerfile> file = ParseFile(files);
  const auto lines_of = [&](const LintWarning& warning) {
    return warning.rule == "NoEmptyContinuation" ? Lines{warning.line, warning.line}
                                                 : LinesAt(*file, warning.line);
  };
  const size_t count = warnings.size();
  if (call.json) {
    Json json = {{"warnings", count == 0 ? Json() : Json::array()}, {"sources", Json::array()}};
    for (const LintWarning& warning : warnings) {
      json["warnings"].push_back({{"ruleName", warning.rule},
                                  {"description", std::string(LintRuleSummary(warning.rule))},
                                  {"url", LintRuleUrl(warning.rule)},
                                  {"detail", warning.message},
                                  {"location", LocationJson(lines_of(warning))}});
    }
    json["sources"].push_back({{"filename", files.dockerfile_name},
                               {"data", Base64(files.dockerfile)},
                               {"language", "Dockerfile"}});
    if (!error.ok()) {
      json["buildError"] = {{"message", MessageOf(error)},
                            {"location", LocationJson(LinesOfError(error))}};
    }
    out << Print(json);
  } else if (count > 0) {
    out << "Check complete, "
        << (count == 1 ? "1 warning has" : absl::StrCat(count, " warnings have"))
        << " been found!\n";
    for (const LintWarning& warning : warnings) {
      out << "\nWARNING: " << warning.rule << " - " << LintRuleUrl(warning.rule) << "\n"
          << HarmlessText(warning.message) << "\n"
          << MarkedSource(files, lines_of(warning));
    }
  } else if (error.ok()) {
    out << "Check complete, no warnings found.\n";
  }
  if (!error.ok()) {
    if (!call.json && count > 0) out << "\n";
    err << "ERROR: " << HarmlessText(MessageOf(error)) << "\n"
        << MarkedSource(files, LinesOfError(error));
  }
  return count > 0 || !error.ok() ? 1 : 0;
}

int FailCall(const absl::Status& error, const BuildFiles& files, std::ostream& err) {
  err << MarkedSource(files, LinesOfError(error)) << "ERROR: " << HarmlessText(MessageOf(error))
      << "\n";
  return 1;
}

int ListTargets(const DockerfileCall& call, const BuildFiles& files, std::ostream& out,
                std::ostream& err) {
  const absl::StatusOr<Dockerfile> file = ParseFile(files);
  if (!file.ok()) return FailCall(file.status(), files, err);
  Json json = {{"targets", Json::array()}, {"sources", {Base64(files.dockerfile)}}};
  std::vector<std::vector<std::string>> rows = {{"TARGET", "DESCRIPTION"}};
  for (const Instruction& instruction : file->instructions) {
    const auto* from = std::get_if<FromInstruction>(&instruction.body);
    if (from == nullptr) continue;
    const std::string description = DescriptionOf(instruction, from->name);
    Json target = Json::object();
    if (!from->name.empty()) target["name"] = from->name;
    if (!description.empty()) target["description"] = description;
    target["base"] = from->base;
    if (!from->platform.empty()) target["platform"] = from->platform;
    target["location"] = LocationJson(LinesOf(instruction));
    json["targets"].push_back(std::move(target));
    rows.push_back({from->name, description});
  }
  if (rows.size() > 1) {
    json["targets"].back()["default"] = true;
    rows.back()[0] = rows.back()[0].empty() ? "(default)" : rows.back()[0] + " (default)";
  }
  out << (call.json ? Print(json) : Columns(rows, 1));
  return 0;
}

// What a person can give to a build of a target: its arguments, secrets and agents.
class Outliner {
 public:
  Outliner(const Dockerfile& file, const StageGraph& graph, const PlanOptions& options)
      : file_(file), graph_(graph), options_(options) {}

  struct Named {
    std::string name;
    std::string value;
    std::string description;
    bool required = false;
    Lines lines;
  };

  void Run(int target) {
    for (const Instruction& instruction : file_.instructions) {
      if (instruction.name == "FROM") break;
      ReadGlobals(instruction);
    }
    const std::vector<bool> needed = graph_.Needed(target);
    for (const Stage& stage : graph_.stages()) {
      if (!needed[stage.index]) continue;
      const auto& from = std::get<FromInstruction>(file_.instructions[stage.begin - 1].body);
      UseAllIn(from.base);
      UseAllIn(from.platform);
      for (size_t i = stage.begin; i < stage.end; ++i) ReadInstruction(file_.instructions[i]);
    }
    for (std::vector<Named>* list : {&args, &secrets, &agents}) {
      std::stable_sort(list->begin(), list->end(), [](const Named& a, const Named& b) {
        return a.lines.first < b.lines.first;
      });
    }
  }

  std::vector<Named> args;
  std::vector<Named> secrets;
  std::vector<Named> agents;

 private:
  void ReadGlobals(const Instruction& instruction) {
    const auto* arg = std::get_if<ArgInstruction>(&instruction.body);
    if (arg == nullptr) return;
    for (const ArgDeclaration& declaration : arg->args) {
      const auto value = graph_.global_args().find(declaration.name);
      globals_[declaration.name] = {
          .name = declaration.name,
          .value = value == graph_.global_args().end() ? "" : value->second,
          .description = DescriptionOf(instruction, declaration.name),
          .required = false,
          .lines = LinesOf(instruction)};
      defaults_[declaration.name] = declaration.value.value_or("");
    }
  }

  void ReadInstruction(const Instruction& instruction) {
    if (const auto* arg = std::get_if<ArgInstruction>(&instruction.body)) {
      for (const ArgDeclaration& declaration : arg->args) ReadArg(instruction, declaration);
    } else if (const auto* run = std::get_if<RunInstruction>(&instruction.body)) {
      for (const std::string& text : run->mounts) ReadMount(instruction, text);
    }
  }

  void ReadArg(const Instruction& instruction, const ArgDeclaration& declaration) {
    const auto given = options_.build_args.find(declaration.name);
    const bool is_given = given != options_.build_args.end();
    if (!declaration.value.has_value() && !is_given &&
        graph_.global_args().count(declaration.name) > 0) {
      return UseGlobal(declaration.name);
    }
    if (!seen_.insert(declaration.name).second) return;
    args.push_back({.name = declaration.name,
                    .value = is_given ? given->second : declaration.value.value_or(""),
                    .description = DescriptionOf(instruction, declaration.name),
                    .required = false,
                    .lines = LinesOf(instruction)});
  }

  void ReadMount(const Instruction& instruction, const std::string& text) {
    const absl::StatusOr<Mount> mount = ParseMount(text, instruction.position);
    if (!mount.ok()) return;
    const bool is_secret = mount->type == Mount::Type::kSecret;
    if (!is_secret && mount->type != Mount::Type::kSsh) return;
    std::string id = mount->id.empty() ? mount->source : mount->id;
    if (id.empty() && is_secret) id = mount->target.substr(mount->target.rfind('/') + 1);
    if (id.empty()) id = "default";
    std::vector<Named>& list = is_secret ? secrets : agents;
    const auto same = std::find_if(list.begin(), list.end(),
                                   [&](const Named& named) { return named.name == id; });
    if (same != list.end()) {
      same->required |= mount->required;
      return;
    }
    list.push_back({.name = id,
                    .value = "",
                    .description = "",
                    .required = mount->required,
                    .lines = LinesOf(instruction)});
  }

  void UseAllIn(const std::string& word) {
    const Expander expander({.escape = file_.escape}, [&](absl::string_view name) {
      const auto found = graph_.global_args().find(std::string(name));
      return found == graph_.global_args().end() ? std::nullopt : std::make_optional(found->second);
    });
    const absl::StatusOr<Expansion> expansion = expander.Expand(word);
    if (!expansion.ok()) return;
    for (const std::string& name : expansion->used) UseGlobal(name);
    for (const std::string& name : expansion->unset) UseGlobal(name);
  }

  // With those that its default names.
  void UseGlobal(const std::string& name) {
    const auto global = globals_.find(name);
    if (global == globals_.end() || !seen_.insert(name).second) return;
    args.push_back(global->second);
    UseAllIn(defaults_[name]);
  }

  const Dockerfile& file_;
  const StageGraph& graph_;
  const PlanOptions& options_;
  std::map<std::string, Named> globals_;
  std::map<std::string, std::string> defaults_;
  std::set<std::string> seen_;
};

Json NamedJson(const std::vector<Outliner::Named>& list) {
  Json json = Json::array();
  for (const Outliner::Named& named : list) {
    Json entry = {{"name", named.name}};
    if (!named.description.empty()) entry["description"] = named.description;
    if (!named.value.empty()) entry["value"] = named.value;
    if (named.required) entry["required"] = true;
    entry["location"] = LocationJson(named.lines);
    json.push_back(std::move(entry));
  }
  return json;
}

std::string RequiredTable(const char* title, const std::vector<Outliner::Named>& list) {
  if (list.empty()) return "";
  std::vector<std::vector<std::string>> rows = {{title, "REQUIRED"}};
  for (const Outliner::Named& named : list) {
    rows.push_back({named.name, named.required ? "true" : ""});
  }
  return absl::StrCat(Columns(rows, 3), "\n");
}

int Outline(const DockerfileCall& call, const BuildFiles& files, const PlanOptions& options,
            std::ostream& out, std::ostream& err) {
  const absl::StatusOr<Dockerfile> file = ParseFile(files);
  if (!file.ok()) return FailCall(file.status(), files, err);
  const auto graph = StageGraph::Create(*file, StageGraphOptionsOf(options));
  if (!graph.ok()) return FailCall(graph.status(), files, err);
  const absl::StatusOr<int> target = graph->FindTarget(options.target);
  if (!target.ok()) return FailCall(target.status(), files, err);
  Outliner outline(*file, *graph, options);
  outline.Run(*target);

  const Stage& stage = graph->stages()[*target];
  const std::string description = DescriptionOf(file->instructions[stage.begin - 1], stage.name);
  if (call.json) {
    Json json = Json::object();
    if (!stage.name.empty()) json["name"] = stage.name;
    if (!description.empty()) json["description"] = description;
    if (!outline.args.empty()) json["args"] = NamedJson(outline.args);
    if (!outline.secrets.empty()) json["secrets"] = NamedJson(outline.secrets);
    if (!outline.agents.empty()) json["ssh"] = NamedJson(outline.agents);
    json["sources"] = {Base64(files.dockerfile)};
    out << Print(json);
    return 0;
  }
  if (!stage.name.empty()) {
    std::vector<std::vector<std::string>> rows = {{"TARGET:", stage.name}};
    if (!description.empty()) rows.push_back({"DESCRIPTION:", description});
    out << Columns(rows, 1) << "\n";
  }
  if (!outline.args.empty()) {
    std::vector<std::vector<std::string>> rows = {{"BUILD ARG", "VALUE", "DESCRIPTION"}};
    for (const Outliner::Named& arg : outline.args) {
      rows.push_back({arg.name, arg.value, arg.description});
    }
    out << Columns(rows, 3) << "\n";
  }
  out << RequiredTable("SECRET", outline.secrets) << RequiredTable("SSH", outline.agents);
  return 0;
}

}  // namespace

absl::StatusOr<DockerfileCall> DockerfileCall::Parse(absl::string_view text) {
  DockerfileCall call;
  for (const absl::string_view field : absl::StrSplit(text, ',')) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(field, absl::MaxSplits('=', 1));
    const bool has_value = field.find('=') != absl::string_view::npos;
    const std::string& method = !has_value ? pair.first : pair.second;
    if (pair.first == "format" && has_value) {
      if (pair.second != "json" && pair.second != "text") {
        return absl::InvalidArgumentError(
            absl::StrCat("--call: format=", pair.second, ": expected text or json"));
      }
      call.json = pair.second == "json";
    } else if (has_value && pair.first != "type") {
      return absl::InvalidArgumentError(absl::StrCat("--call: unknown key in '", field, "'"));
    } else if (method == "check" || method == "lint") {
      call.method = Method::kCheck;
    } else if (method == "outline") {
      call.method = Method::kOutline;
    } else if (method == "targets") {
      call.method = Method::kTargets;
    } else if (method != "build") {
      return absl::InvalidArgumentError(
          absl::StrCat("--call: '", method, "' is not one of build, check, outline, targets"));
    }
  }
  return call;
}

DockerfileCheck CheckDockerfile(const BuildFiles& files, const PlanOptions& options) {
  const absl::StatusOr<Dockerfile> file = ParseFile(files);
  if (!file.ok()) return {.warnings = {}, .error = file.status()};
  absl::StatusOr<LintResult> lint =
      LintForPlan(*file, {}, options,
                  {.ignore = &files.ignore_file.ignore, .target_only = !options.target.empty()});
  if (!lint.ok()) return {.warnings = {}, .error = lint.status()};
  absl::Status error = Validate(*file, options);
  if (error.ok()) error = lint->ToStatus(*file);
  return {.warnings = std::move(lint->warnings), .error = std::move(error)};
}

int RunDockerfileCall(const DockerfileCall& call, const BuildFiles& files,
                      const PlanOptions& options, std::ostream& out, std::ostream& err) {
  switch (call.method) {
    case DockerfileCall::Method::kOutline:
      return Outline(call, files, options, out, err);
    case DockerfileCall::Method::kTargets:
      return ListTargets(call, files, out, err);
    default:
      return Check(call, files, options, out, err);
  }
}

}  // namespace farm
