#include "plan/plan_json.h"

#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/redact_url.h"
#include "base/source_position.h"
#include "nlohmann/json.hpp"
#include "plan/run_settings.h"

namespace farm {
namespace {

using Json = nlohmann::ordered_json;

// Sets `key` unless there is nothing to tell.
void Put(Json& object, const char* key, Json value) {
  const bool is_nothing = value.is_null() || value == Json(false) || value == Json("") ||
                          ((value.is_array() || value.is_object()) && value.empty());
  if (!is_nothing) object[key] = std::move(value);
}

std::string ImageName(const std::string& name) { return absl::StrCat("image:", name); }
std::string StageName(int index) { return absl::StrCat("stage:", index); }

// First line of the instruction that `position` is in.
int FirstLine(const absl::StatusOr<Dockerfile>& file, const SourcePosition& position) {
  if (file.ok()) {
    for (const Instruction& instruction : file->instructions) {
      if (instruction.position.line <= position.line && position.line <= instruction.end_line) {
        return instruction.position.line;
      }
    }
  }
  return position.line;
}

Json ErrorJson(const absl::StatusOr<Dockerfile>& file, const absl::Status& status) {
  absl::string_view message = status.message();
  Json error = Json::object();
  const std::optional<SourcePosition> position = PositionOf(status);
  if (position.has_value()) {
    absl::ConsumePrefix(&message, absl::StrCat(position->ToString(), ": "));
    if (position->line > 0) error["line"] = FirstLine(file, *position);
  }
  error["message"] = std::string(message);
  return error;
}

Json InstructionJson(const Instruction& instruction) {
  Json json = {{"instr", instruction.name},
               {"line", instruction.position.line},
               {"end_line", instruction.end_line}};
  Json flags = Json::array();
  for (const InstructionFlag& flag : instruction.flags) flags.push_back(flag.ToString());
  Put(json, "flags", std::move(flags));
  Put(json, "json", instruction.json);
  Json heredocs = Json::array();
  for (const Heredoc& heredoc : instruction.heredocs) {
    heredocs.push_back({{"name", heredoc.name},
                        {"expand", heredoc.expand},
                        {"chomp", heredoc.chomp},
                        {"data", heredoc.data}});
  }
  Put(json, "heredocs", std::move(heredocs));
  return json;
}

std::string ContextLabel(const std::string& name) { return absl::StrCat("context:", name); }

bool IsNamedContext(const SourceRequest& request) {
  return !request.from_written.empty() && (request.from.kind == FileSystemRef::Kind::kContext ||
                                           request.from.kind == FileSystemRef::Kind::kRemote);
}

// What `request` reads, as a "from"; null if nothing local is read.
Json FromJson(const Plan& plan, const SourceRequest& request) {
  if (request.stage >= 0) return {{"stage", request.stage}};
  if (IsNamedContext(request)) return {{"context", request.from_written}};
  if (request.from.kind == FileSystemRef::Kind::kRemote) return nullptr;
  if (request.from.kind == FileSystemRef::Kind::kContext) return "context";
  if (request.from.kind == FileSystemRef::Kind::kBase) {
    return {{"image", plan.bases[request.from.index].name}};
  }
  return "scratch";
}

void PutOwner(const v1::RunMount& mount, Json& json) {
  if (mount.has_uid()) json["uid"] = mount.uid();
  if (mount.has_gid()) json["gid"] = mount.gid();
  if (mount.has_mode()) json["mode"] = absl::StrFormat("%04o", mount.mode());
}

Json MountJson(const Plan& plan, const PlanStep& step, const v1::RunMount& mount) {
  static constexpr const char* kTypes[] = {"", "bind", "cache", "tmpfs", "secret", "ssh"};
  Json json = {{"type", kTypes[mount.kind()]}};
  // Where an agent is that nobody asked for at some place, is BuildKit's business.
  const bool is_default =
      mount.kind() == v1::RunMount::KIND_SSH && absl::StartsWith(mount.target(), kSshAgentPath);
  if (!is_default) Put(json, "target", mount.target());
  switch (mount.kind()) {
    case v1::RunMount::KIND_BIND:
    case v1::RunMount::KIND_CACHE:
      json["from"] =
          mount.source() < 0 ? Json("scratch") : FromJson(plan, step.sources[mount.source()]);
      json["source"] = absl::StrCat("/", mount.path());
      Put(json, "rw", !mount.read_only());
      if (mount.kind() == v1::RunMount::KIND_BIND) break;
      json["id"] = mount.id();
      json["sharing"] = absl::AsciiStrToLower(
          absl::StripPrefix(v1::RunMount::Sharing_Name(mount.sharing()), "SHARING_"));
      PutOwner(mount, json);
      break;
    case v1::RunMount::KIND_TMPFS:
      if (mount.size_bytes() > 0) json["size"] = mount.size_bytes();
      break;
    default:
      json["id"] = mount.id();
      Put(json, "required", mount.required());
      Put(json, "env", mount.env());
      PutOwner(mount, json);
  }
  return json;
}

void PutRun(const Plan& plan, const PlanStep& step, Json& json) {
  const v1::RunOperation& run = step.identity.run();
  json["args"] = std::vector<std::string>(run.args().begin(), run.args().end());
  Json env = Json::object();
  for (const std::string& variable : run.env()) {
    const size_t equal = variable.find('=');
    env[variable.substr(0, equal)] = variable.substr(equal + 1);
  }
  Put(json, "env", std::move(env));
  json["cwd"] = run.cwd();
  Put(json, "user", run.user());
  if (run.network() == v1::NETWORK_MODE_NONE) json["network"] = "none";
  if (run.network() == v1::NETWORK_MODE_HOST) json["network"] = "host";
  if (run.insecure()) json["security"] = "insecure";
  Json mounts = Json::array();
  Json files = Json::array();
  for (const v1::RunMount& mount : run.mounts()) {
    if (mount.kind() == v1::RunMount::KIND_FILE) {
      files.push_back({{"path", mount.target()}, {"data", mount.contents()}});
    } else {
      mounts.push_back(MountJson(plan, step, mount));
    }
  }
  Put(json, "mounts", std::move(mounts));
  Put(json, "files", std::move(files));
}

void PutCopy(const Plan& plan, const PlanStep& step, Json& json) {
  for (const SourceRequest& request : step.sources) {
    Put(json, "from", FromJson(plan, request));
  }
  json["sources"] = Json::array();
  for (const SourceRequest& request : step.sources) {
    for (const std::string& source : request.written) json["sources"].push_back(source);
    Put(json, "exclude", request.excludes);
    if (request.from.kind != FileSystemRef::Kind::kRemote) continue;
    Put(json, "checksum", plan.remotes[request.from.index].checksum);
  }
  Json files = Json::array();
  for (const InlineFile& file : step.inline_files) {
    files.push_back({{"name", file.name}, {"data", file.data}});
  }
  Put(json, "inline", std::move(files));
  const v1::CopyOperation& copy = step.identity.copy();
  json["dest"] = copy.dest();
  Put(json, "chown", copy.chown());
  Put(json, "chmod", copy.chmod());
}

Json PairsJson(const PlanInstruction& instruction) {
  Json pairs = Json::array();
  for (const auto& [name, value] : instruction.pairs) {
    pairs.push_back({name, value.has_value() ? Json(*value) : Json()});
  }
  return pairs;
}

// The key under which an instruction's `values` stand: one value or a list.
void PutValues(const PlanInstruction& instruction, Json& json) {
  const std::string& name = instruction.name;
  if (instruction.values.empty()) return;
  if (name == "WORKDIR") {
    json["path"] = instruction.values[0];
  } else if (name == "EXPOSE" || name == "VOLUME" || name == "SHELL") {
    json["values"] = instruction.values;
  } else {
    json["value"] = instruction.values[0];
  }
}

Json StepJson(const Plan& plan, const PlanInstruction& instruction) {
  Json json = {{"instr", instruction.name}, {"line", instruction.position.line}};
  Put(json, "onbuild", instruction.is_trigger);
  Put(json, "layer", instruction.step >= 0);
  Put(json, "pairs", PairsJson(instruction));
  PutValues(instruction, json);
  if (instruction.step < 0) return json;
  const PlanStep& step = plan.steps[instruction.step];
  if (step.identity.has_run()) PutRun(plan, step, json);
  if (step.identity.has_copy()) PutCopy(plan, step, json);
  for (const std::string& name : instruction.switches) {
    json[name == "keep-git-dir" ? "keep_git_dir" : name] = true;
  }
  return json;
}

Json ImageJson(const ImageConfig& image) {
  const Json config = Json::parse(SerializeImageConfig(image), nullptr, /*allow_exceptions=*/false);
  Json json = Json::object();
  for (const char* key : {"architecture", "os", "variant", "author", "config"}) {
    if (config.contains(key)) json[key] = config[key];
  }
  Json history = Json::array();
  for (const HistoryEntry& entry : image.history) {
    Json line = {{"created_by", entry.created_by}};
    Put(line, "empty_layer", entry.empty_layer);
    history.push_back(std::move(line));
  }
  Put(json, "history", std::move(history));
  return json;
}

// All that the stage reads, without what its base or sources read.
std::set<std::string> DependenciesOf(const Plan& plan, const PlanStage& stage) {
  std::set<std::string> names;
  if (stage.base_stage >= 0) names.insert(StageName(stage.base_stage));
  if (!stage.base_image.empty()) names.insert(ImageName(stage.base_image));
  if (!stage.base_context.empty()) names.insert(ContextLabel(stage.base_context));
  for (const PlanInstruction& instruction : stage.instructions) {
    if (instruction.step < 0) continue;
    for (const SourceRequest& request : plan.steps[instruction.step].sources) {
      if (request.stage >= 0) {
        names.insert(StageName(request.stage));
      } else if (IsNamedContext(request)) {
        names.insert(ContextLabel(request.from_written));
      } else if (request.from.kind == FileSystemRef::Kind::kContext) {
        names.insert("context");
      } else if (request.from.kind == FileSystemRef::Kind::kBase) {
        names.insert(ImageName(plan.bases[request.from.index].name));
      }
    }
  }
  return names;
}

Json BaseJson(const PlanStage& stage) {
  if (stage.base_stage >= 0) return {{"stage", stage.base_stage}};
  if (!stage.base_image.empty()) return {{"image", stage.base_image}};
  if (!stage.base_context.empty()) return {{"context", stage.base_context}};
  return "scratch";
}

Json StageJson(const Plan& plan, const PlanStage& stage) {
  Json json = {{"index", stage.index},        {"name", stage.name},
               {"line", stage.position.line}, {"base", BaseJson(stage)},
               {"platform", stage.platform},  {"needed", stage.needed}};
  if (!stage.needed) return json;
  Put(json, "deps", DependenciesOf(plan, stage));
  Json steps = Json::array();
  for (const PlanInstruction& instruction : stage.instructions) {
    steps.push_back(StepJson(plan, instruction));
  }
  Put(json, "steps", std::move(steps));
  json["image"] = ImageJson(stage.image);
  return json;
}

void PutPlan(const Plan& plan, Json& json) {
  json["target"] = plan.target;
  std::set<std::string> sources;
  json["stages"] = Json::array();
  for (const PlanStage& stage : plan.stages) {
    json["stages"].push_back(StageJson(plan, stage));
    if (!stage.needed) continue;
    for (const std::string& name : DependenciesOf(plan, stage)) {
      if (name.rfind("stage:", 0) != 0) sources.insert(name);
    }
  }
  for (const RemoteSource& remote : plan.remotes) {
    sources.insert(remote.kind == RemoteSource::Kind::kGit
                       ? "git"
                       : absl::StrCat("http:", RedactUrls(remote.url)));
  }
  Put(json, "sources", sources);
}

Json WarningsJson(const std::vector<LintWarning>& warnings) {
  Json json = Json::array();
  for (const LintWarning& warning : warnings) {
    json.push_back({{"rule", warning.rule}, {"line", warning.line}, {"message", warning.message}});
  }
  return json;
}

}  // namespace

std::string PlanJson(const absl::StatusOr<Dockerfile>& file, const absl::StatusOr<Plan>& plan,
                     const std::vector<LintWarning>& warnings) {
  const absl::Status status = file.ok() ? plan.status() : file.status();
  Json json = {{"schema", "farm.plan/1"}, {"ok", status.ok()}};
  if (!status.ok()) json["error"] = ErrorJson(file, status);
  if (file.ok()) {
    Json directives = Json::object();
    for (const ParserDirective& directive : file->directives) {
      directives[directive.name] = directive.value;
    }
    Put(json, "directives", std::move(directives));
    json["instructions"] = Json::array();
    for (const Instruction& instruction : file->instructions) {
      json["instructions"].push_back(InstructionJson(instruction));
    }
  }
  if (status.ok()) PutPlan(*plan, json);
  Put(json, "warnings", WarningsJson(warnings));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace farm
