// Whole Dockerfiles, planned: each image that they name has one layer, variables and a trigger.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/source_position.h"
#include "dockerfile/clean_path.h"
#include "dockerfile/parser.h"
#include "plan/planner.h"

namespace farm {
namespace {

// More images than a file of this size names one after the other, by triggers too.
constexpr int kRoundsMax = 100;

void CheckError(const absl::Status& status) {
  const absl::StatusCode code = status.code();
  FARM_CHECK(code == absl::StatusCode::kInvalidArgument ||
             code == absl::StatusCode::kResourceExhausted ||
             code == absl::StatusCode::kUnimplemented)
      << status;
  FARM_CHECK(PositionOf(status).has_value()) << status;
}

BaseImage Image(const std::string& name) {
  BaseImage image;
  image.reference = name;
  image.config.platform = {.os = "linux", .architecture = "amd64"};
  image.config.diff_ids = {absl::StrCat("sha256:", std::string(64, '0'))};
  image.config.config.env = {"PATH=/bin", "B=$A", "EMPTY="};
  image.config.config.on_build = {"RUN --mount=target=m x $B"};
  image.config.config.working_dir = "base";
  return image;
}

bool IsPath(absl::string_view path) {
  return absl::StartsWith(path, "/") && CleanPath(path) == path;
}

void CheckSource(const Plan& plan, const PlanStep& step, const FileSystemRef& from) {
  switch (from.kind) {
    case FileSystemRef::Kind::kScratch:
    case FileSystemRef::Kind::kContext:
      return;
    case FileSystemRef::Kind::kBase:
      FARM_CHECK_LT(static_cast<size_t>(from.index), plan.bases.size());
      return;
    case FileSystemRef::Kind::kRemote:
      FARM_CHECK_LT(static_cast<size_t>(from.index), plan.remotes.size());
      return;
    case FileSystemRef::Kind::kStep:
      FARM_CHECK_LT(from.index, step.id);
  }
}

void CheckRun(const PlanStep& step) {
  const v1::RunOperation& run = step.identity.run();
  FARM_CHECK_LT(0, run.args_size());
  for (const v1::RunMount& mount : run.mounts()) {
    FARM_CHECK(mount.target().empty() || (IsPath(mount.target()) && mount.target() != "/"))
        << mount.target();
    FARM_CHECK_LT(mount.source(), static_cast<int>(step.sources.size()));
  }
}

void CheckStep(const Plan& plan, const PlanStep& step) {
  FARM_CHECK(!step.name.empty() && !step.instruction.empty());
  FARM_CHECK_LE(1, step.position.line);
  CheckSource(plan, step, step.parent);
  for (const SourceRequest& request : step.sources) {
    CheckSource(plan, step, request.from);
    for (const std::string& pattern : request.patterns) {
      FARM_CHECK(!absl::StartsWith(pattern, "/") && !absl::StartsWith(pattern, "../")) << pattern;
    }
  }
  if (step.identity.has_run()) CheckRun(step);
  if (step.identity.has_make_directory()) {
    FARM_CHECK(IsPath(step.identity.make_directory().path()));
  }
  if (step.identity.has_copy()) {
    FARM_CHECK(absl::StartsWith(step.identity.copy().dest(), "/"));
  }
}

void Test(const std::string& text) {
  absl::StatusOr<DockerfileSource> source = DockerfileSource::Create("Dockerfile", text);
  if (!source.ok()) return;
  const absl::StatusOr<Dockerfile> file = ParseDockerfile(*std::move(source));
  if (!file.ok()) return;
  PlanOptions options;
  options.build_platform.set_os("linux");
  options.build_platform.set_architecture("amd64");
  options.build_args = {{"A", "a b"}, {"EMPTY", ""}};
  ResolvedImages images;
  for (int round = 0;; ++round) {
    FARM_CHECK_LE(round, kRoundsMax);
    const absl::StatusOr<std::vector<ImageKey>> missing = ImagesToResolve(*file, images, options);
    if (!missing.ok()) return CheckError(missing.status());
    if (missing->empty()) break;
    for (const ImageKey& key : *missing) images[key] = Image(key.name);
  }
  const absl::StatusOr<Plan> plan = MakePlan(*file, images, options);
  if (!plan.ok()) return CheckError(plan.status());
  for (const PlanStep& step : plan->steps) CheckStep(*plan, step);
  for (const PlanHistory& line : plan->history) {
    FARM_CHECK_LT(line.step, static_cast<int>(plan->steps.size()));
  }
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farm::Test(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
