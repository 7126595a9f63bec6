#include "plan/plan_lint.h"

#include "oci/platform.h"
#include "oci/reference.h"

namespace farm {
namespace {

LintBaseImage Describe(const ImageConfig& config) {
  LintBaseImage image;
  for (const std::string& line : config.config.env) {
    const size_t equal = std::min(line.find('='), line.size());
    image.env[line.substr(0, equal)] = line.substr(std::min(equal + 1, line.size()));
  }
  image.on_build = config.config.on_build;
  image.has_shell = !config.config.shell.empty();
  image.platform = config.platform.Normalized().ToString();
  return image;
}

}  // namespace

absl::StatusOr<LintResult> LintForPlan(const Dockerfile& file, const ResolvedImages& resolved,
                                       const PlanOptions& options, const PlanLintOptions& lint) {
  LintOptions lint_options;
  lint_options.stages = StageGraphOptionsOf(options);
  lint_options.ignore = lint.ignore;
  lint_options.target_only = lint.target_only;
  lint_options.base_image = [&resolved](
                                const SourceRef& source,
                                absl::string_view platform) -> std::optional<LintBaseImage> {
    const absl::StatusOr<Reference> name = Reference::Parse(source.image);
    const absl::StatusOr<Platform> parsed = Platform::Parse(platform);
    if (!name.ok() || !parsed.ok()) return std::nullopt;
    const std::string expected = parsed->Normalized().ToString();
    const auto image =
        resolved.find({.name = name->WithDefaultTag().canonical(), .platform = expected});
    if (image == resolved.end()) return std::nullopt;
    LintBaseImage described = Describe(image->second.config);
    described.expected = expected;
    return described;
  };
  return Lint(file, lint_options);
}

}  // namespace farm
