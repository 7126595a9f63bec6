#include "plan/testing/plan_of.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "dockerfile/parser.h"

namespace farm {

Dockerfile Parse(const std::string& text) {
  absl::StatusOr<DockerfileSource> source = DockerfileSource::Create("Dockerfile", text);
  EXPECT_OK(source);
  absl::StatusOr<Dockerfile> file = ParseDockerfile(*std::move(source));
  EXPECT_OK(file);
  return *std::move(file);
}

ImageConfig OneLayer() {
  ImageConfig config;
  config.platform = {.os = "linux", .architecture = "amd64"};
  config.diff_ids = {absl::StrCat("sha256:", std::string(64, '0'))};
  return config;
}

absl::StatusOr<Plan> PlanOf(const Dockerfile& file, const PlanOptions& options,
                            const ImageConfig& config) {
  ResolvedImages images;
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<ImageKey> missing, ImagesToResolve(file, images, options));
    if (missing.empty()) return MakePlan(file, images, options);
    for (const ImageKey& key : missing) {
      images[key] = {.reference = key.name, .manifest = {}, .config = config};
      if (const auto platform = Platform::Parse(key.platform); platform.ok()) {
        images[key].config.platform = *platform;
      }
    }
  }
}

absl::StatusOr<Plan> PlanOf(const std::string& text, const PlanOptions& options,
                            const ImageConfig& config) {
  return PlanOf(Parse(text), options, config);
}

PlanOptions OnAmd64() {
  PlanOptions options;
  options.build_platform.set_os("linux");
  options.build_platform.set_architecture("amd64");
  return options;
}

}  // namespace farm
