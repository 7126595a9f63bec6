#include "plan/plan_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/redact_url.h"
#include "oci/reference.h"

namespace farm {
namespace {

std::string ImageText(const BaseImage& image) {
  const absl::StatusOr<Reference> reference = Reference::Parse(image.name);
  return reference.ok() ? reference->familiar() : image.name;
}

std::string FileSystemText(const Plan& plan, const FileSystemRef& file_system) {
  switch (file_system.kind) {
    case FileSystemRef::Kind::kScratch:
      return "scratch";
    case FileSystemRef::Kind::kContext:
      return "the build context";
    case FileSystemRef::Kind::kBase:
      return ImageText(plan.bases[file_system.index]);
    case FileSystemRef::Kind::kRemote:
      return RedactUrls(plan.remotes[file_system.index].url);
    case FileSystemRef::Kind::kStep:
      return absl::StrCat("#", file_system.index + 1);
  }
  return "";
}

std::string SourceText(const Plan& plan, const SourceRequest& request) {
  const bool is_context = request.from.kind == FileSystemRef::Kind::kContext ||
                          request.from.kind == FileSystemRef::Kind::kRemote;
  if (!is_context || request.from_written.empty()) return FileSystemText(plan, request.from);
  return absl::StrCat(request.stage >= 0 ? "the stage " : "the context ", request.from_written);
}

// Steps of the longest chain of which each needs the one before: what no number of workers
// shortens.
int LongestChain(const Plan& plan) {
  std::vector<int> depth(plan.steps.size(), 1);
  int longest = 0;
  for (const PlanStep& step : plan.steps) {
    for (int dependency : step.Dependencies(plan)) {
      depth[step.id] = std::max(depth[step.id], depth[dependency] + 1);
    }
    longest = std::max(longest, depth[step.id]);
  }
  return longest;
}

std::string TargetText(const PlanStage& stage) {
  return stage.name.empty() ? absl::StrCat("stage ", stage.index) : stage.name;
}

// The image's own chain: its base and the steps upon it.
std::string ResultText(const Plan& plan) {
  std::vector<std::string> parts;
  FileSystemRef file_system = plan.result;
  while (file_system.kind == FileSystemRef::Kind::kStep) {
    parts.push_back(FileSystemText(plan, file_system));
    file_system = plan.steps[file_system.index].parent;
  }
  parts.push_back(FileSystemText(plan, file_system));
  std::reverse(parts.begin(), parts.end());
  return absl::StrJoin(parts, " + ");
}

}  // namespace

std::string PlanText(const Plan& plan) {
  const PlanStage& target = plan.stages[plan.target];
  const size_t count = plan.steps.size();
  std::string text = absl::StrCat("target ", TargetText(target), " (", target.platform,
                                  "): ", count, count == 1 ? " step" : " steps");
  if (count > 1) absl::StrAppend(&text, ", ", LongestChain(plan), " of them one after the other");
  absl::StrAppend(&text, "\n\n");
  for (const PlanStep& step : plan.steps) {
    absl::StrAppend(&text, "#", step.id + 1, " ", step.name, "\n     on ",
                    FileSystemText(plan, step.parent));
    for (const SourceRequest& request : step.sources) {
      absl::StrAppend(&text, ", reads ", SourceText(plan, request));
    }
    text += '\n';
  }
  absl::StrAppend(&text, count == 0 ? "" : "\n", "image: ", ResultText(plan), "\n");
  return text;
}

}  // namespace farm
