#include "plan/finish_image.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "base/check.h"

namespace farm {
namespace {

// A metadata-only line before this build's first layer gets the time of that layer; without any new
// layer, the last time that the base has.
std::optional<absl::Time> FirstTime(const Plan& plan, const ImageConfig& config,
                                    absl::Span<const StepLayer> layers) {
  for (const PlanHistory& line : plan.history) {
    if (line.step >= 0) return layers[line.step].finished;
  }
  std::optional<absl::Time> last;
  for (const HistoryEntry& entry : config.history) {
    if (entry.created.has_value()) last = entry.created;
  }
  return last;
}

// Images of some builders have less history than layers. Then the lines do not belong to the layers
// in order, but readers want one for each: the rest is told at the end, as BuildKit does.
void AddMissingHistory(ImageConfig& config) {
  const auto lines = std::count_if(config.history.begin(), config.history.end(),
                                   [](const HistoryEntry& entry) { return !entry.empty_layer; });
  for (auto i = lines; i < static_cast<std::ptrdiff_t>(config.diff_ids.size()); ++i) {
    HistoryEntry& entry = config.history.emplace_back();
    entry.created = config.created;
    entry.comment = "buildkit.exporter.image.v0";
  }
}

void ClampTimes(absl::Time latest, ImageConfig& config) {
  const auto clamp = [latest](std::optional<absl::Time>& time) {
    if (time.has_value()) time = std::min(*time, latest);
  };
  clamp(config.created);
  for (HistoryEntry& entry : config.history) clamp(entry.created);
}

}  // namespace

std::vector<int> StepsOf(const Plan& plan, FileSystemRef file_system) {
  std::vector<int> steps;
  while (file_system.kind == FileSystemRef::Kind::kStep) {
    steps.push_back(file_system.index);
    file_system = plan.steps[file_system.index].parent;
  }
  std::reverse(steps.begin(), steps.end());
  return steps;
}

int BaseOf(const Plan& plan, FileSystemRef file_system) {
  while (file_system.kind == FileSystemRef::Kind::kStep) {
    file_system = plan.steps[file_system.index].parent;
  }
  return file_system.kind == FileSystemRef::Kind::kBase ? file_system.index : -1;
}

ImageConfig FinishImageConfig(const Plan& plan, absl::Span<const StepLayer> layers) {
  FARM_CHECK_EQ(layers.size(), plan.steps.size());
  ImageConfig config = plan.config;
  config.diff_ids.clear();
  if (const int base = BaseOf(plan, plan.result); base >= 0) {
    config.diff_ids = plan.bases[base].config.diff_ids;
  }
  for (int step : StepsOf(plan, plan.result)) config.diff_ids.push_back(layers[step].diff_id.oci());

  std::optional<absl::Time> time = FirstTime(plan, config, layers);
  for (const PlanHistory& line : plan.history) {
    if (line.step >= 0) time = layers[line.step].finished;
    HistoryEntry& entry = config.history.emplace_back();
    entry.created = time;
    entry.created_by = line.created_by;
    entry.author = line.author;
    entry.comment = line.comment;
    entry.empty_layer = line.step < 0;
  }
  config.created = time;
  AddMissingHistory(config);
  if (plan.created_max.has_value()) ClampTimes(*plan.created_max, config);
  return config;
}

}  // namespace farm
