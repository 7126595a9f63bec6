#include "tests/testing/build_report.h"

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace farm {

using ::nlohmann::json;

std::vector<StepReport> ReadSteps(const std::string& progress) {
  std::map<int, StepReport> steps;
  for (const absl::string_view line : absl::StrSplit(progress, '\n')) {
    const json event = json::parse(std::string(line), nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) continue;
    if (event.contains("planned")) {
      for (const json& planned : event["planned"]["steps"]) {
        const std::string name = planned["name"];
        if (absl::StartsWith(name, "[internal]") || absl::StartsWith(name, "[export]")) continue;
        StepReport& step = steps[planned["id"]];
        step.instruction = name.substr(name.find("] ") + 2);
        const std::string place = name.substr(0, name.find(']'));  // "[STAGE 2/3"
        if (absl::StrContains(place, ' ')) step.stage = place.substr(0, place.find(' '));
      }
    }
    for (const char* kind : {"step_started", "step_finished"}) {
      if (!event.contains(kind)) continue;
      const auto step = steps.find(event[kind]["id"].get<int>());
      if (step == steps.end()) continue;
      for (const json& reason : event[kind].value("reasons", json::array())) {
        absl::StrAppend(&step->second.cause, reason.get<std::string>(), "; ");
      }
      if (event[kind].value("outcome", "") == "OUTCOME_RAN") step->second.ran = true;
      if (event[kind].contains("diff_id")) step->second.diff_id = event[kind]["diff_id"];
    }
  }
  std::vector<StepReport> list;
  for (const auto& [id, step] : steps) list.push_back(step);
  return list;
}

std::string Describe(const std::vector<StepReport>& steps) {
  std::string text;
  for (const StepReport& step : steps) {
    absl::StrAppend(&text, step.ran ? "  ran  " : "  hit  ", step.instruction, "\n         ",
                    step.cause, "\n");
  }
  return text;
}

std::vector<std::string> DiffIds(const std::vector<StepReport>& steps) {
  std::vector<std::string> diff_ids;
  for (const StepReport& step : steps) {
    if (step.stage == steps.back().stage) diff_ids.push_back(step.diff_id);
  }
  return diff_ids;
}

}  // namespace farm
