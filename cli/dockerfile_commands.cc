// farm plan, lint, context ls
#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "cli/build_arguments.h"
#include "cli/build_files.h"
#include "cli/command.h"
#include "cli/context_scanner.h"
#include "cli/dockerfile_call.h"
#include "cli/exit_code.h"
#include "cli/failure_report.h"
#include "cli/interrupts.h"
#include "cli/layout_images.h"
#include "cli/named_contexts.h"
#include "cli/registry_credentials.h"
#include "cli/terminal_text.h"
#include "dockerfile/parser.h"
#include "oci/image_config.h"
#include "oci/platform.h"
#include "oci/reference.h"
#include "plan/plan_json.h"
#include "plan/plan_lint.h"
#include "plan/plan_text.h"
#include "plan/planner.h"
#include "plan/platform_proto.h"

namespace farm {
namespace {

struct PlanFlags {
  std::string context;
  std::string file;
  std::string target;
  std::string platform;
  std::string base_config;
  std::string format = "text";
  std::vector<std::string> build_args;
  std::vector<std::string> build_contexts;
  std::vector<std::string> labels;
  bool offline = false;
};

absl::StatusOr<PlanOptions> ReadOptions(const PlanFlags& flags) {
  PlanOptions options;
  options.target = flags.target;
  RETURN_IF_ERROR(
      AddPairs("--build-arg", flags.build_args, /*from_environment=*/true, options.build_args));
  RETURN_IF_ERROR(AddPairs("--label", flags.labels, /*from_environment=*/false, options.labels));
  ASSIGN_OR_RETURN(const std::vector<ContextFlag> contexts, ReadContextFlags(flags.build_contexts));
  options.contexts = NamedContextsOf(contexts);
  options.build_platform = PlatformToProto(Platform::Host());
  if (!flags.platform.empty()) {
    ASSIGN_OR_RETURN(const Platform platform, Platform::Parse(flags.platform), _ << "--platform");
    options.platform = PlatformToProto(platform);
  }
  return options;
}

// What is wrong with a flag.
absl::StatusOr<PlanOptions> OptionsOf(const PlanFlags& flags) {
  absl::StatusOr<PlanOptions> options = ReadOptions(flags);
  if (!options.ok()) return AsUsageError(options.status());
  return options;
}

// What --offline and --base-config take every base image to be that is asked for in `platform`.
absl::StatusOr<ImageConfig> AssumedConfig(const PlanFlags& flags, const Platform& platform) {
  ImageConfig config;
  if (!flags.base_config.empty()) {
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(flags.base_config, kImageConfigBytesMax));
    ASSIGN_OR_RETURN(config, ParseImageConfig(bytes), _ << flags.base_config);
  } else {
    config.platform = platform;
  }
  if (config.diff_ids.empty()) config.diff_ids = {"sha256:" + std::string(64, '0')};
  return config;
}

absl::StatusOr<BaseImage> Resolve(const ImageKey& key, FarmClient& client,
                                  CommandContext& context) {
  const std::string& name = key.name;
  v1::ResolveImageRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(const Platform platform, Platform::Parse(key.platform));
  *request.mutable_platform() = PlatformToProto(platform);
  ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(name));
  AddPullCredentials(
      {reference.host()}, [&](absl::string_view line) { context.Note(line); },
      *request.mutable_credentials());
  ASSIGN_OR_RETURN(const v1::ResolveImageResponse response, client.ResolveImage(request),
                   _ << "image " << name);
  BaseImage image;
  image.reference = name;
  ASSIGN_OR_RETURN(image.manifest, DigestFromProto(response.manifest()));
  ASSIGN_OR_RETURN(image.config, ParseImageConfig(response.config_json()), _ << "image " << name);
  return image;
}

// The same, or an image of a layout that is here.
absl::StatusOr<BaseImage> Resolve(const ImageKey& key, const std::vector<ContextFlag>& contexts,
                                  CommandContext& context) {
  ASSIGN_OR_RETURN(std::optional<LayoutReader::Image> here, FindLayoutImage(contexts, key));
  if (!here.has_value()) {
    return context.OnFarm([&](FarmClient& farm) { return Resolve(key, farm, context); });
  }
  BaseImage image;
  image.reference = key.name;
  image.manifest = DigestOf(here->manifest_bytes);
  image.config = std::move(here->config);
  return image;
}

struct Planned {
  absl::StatusOr<Plan> plan = absl::UnknownError("not planned");
  std::vector<LintWarning> warnings;
};

// Resolves into `images` what the target needs.
absl::StatusOr<Plan> MakePlanOf(const Dockerfile& file, const PlanFlags& flags,
                                CommandContext& context, ResolvedImages& images) {
  ASSIGN_OR_RETURN(const PlanOptions options, OptionsOf(flags));
  ASSIGN_OR_RETURN(const std::vector<ContextFlag> contexts, ReadContextFlags(flags.build_contexts));
  const bool assume = flags.offline || !flags.base_config.empty();
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<ImageKey> missing, ImagesToResolve(file, images, options));
    if (missing.empty()) return MakePlan(file, images, options);
    for (const ImageKey& key : missing) {
      BaseImage image;
      image.reference = key.name;
      if (assume) {
        ASSIGN_OR_RETURN(const Platform platform, Platform::Parse(key.platform));
        ASSIGN_OR_RETURN(image.config, AssumedConfig(flags, platform));
      } else {
        absl::StatusOr<BaseImage> found = Resolve(key, contexts, context);
        if (absl::IsUnavailable(found.status())) return found.status();  // No line's mistake.
        if (!found.ok()) return UnresolvedImage(file, images, options, key, found.status());
        image = *std::move(found);
      }
      images[key] = std::move(image);
    }
  }
}

absl::StatusOr<BuildFiles> ReadFiles(const PlanFlags& flags) {
  FdSource standard_input(0);
  absl::StatusOr<BuildFiles> files = ReadBuildFiles(flags.context, flags.file, standard_input);
  if (!files.ok()) return AsLocalError(files.status());
  RETURN_IF_ERROR(CheckDockerfileIsHere(*files));
  return files;
}

absl::StatusOr<Dockerfile> Parse(const absl::StatusOr<BuildFiles>& files) {
  RETURN_IF_ERROR(files.status());
  ASSIGN_OR_RETURN(DockerfileSource source,
                   DockerfileSource::Create(files->dockerfile_name, files->dockerfile));
  return ParseDockerfile(std::move(source));
}

// With the warnings of the whole file, whether or not it can be built.
Planned PlanAndLint(const Dockerfile& file, const PlanFlags& flags, const DockerIgnore& ignore,
                    CommandContext& context) {
  Planned planned;
  ResolvedImages images;
  planned.plan = MakePlanOf(file, flags, context, images);
  const absl::StatusOr<PlanOptions> options = OptionsOf(flags);
  if (!options.ok()) return planned;
  absl::StatusOr<LintResult> lint = LintForPlan(file, images, *options, {.ignore = &ignore});
  const absl::Status status = lint.ok() ? lint->ToStatus(file) : lint.status();
  if (planned.plan.ok() && !status.ok()) planned.plan = status;
  if (lint.ok()) planned.warnings = std::move(lint->warnings);
  return planned;
}

std::string WarningTextOf(const LintWarning& warning, const BuildFiles& files) {
  return WarningText(files.dockerfile_name, files.dockerfile, warning.line, warning.rule,
                     warning.message);
}

int RunPlan(const PlanFlags& flags, CommandContext& context) {
  const Interrupts interrupts;  // A context from standard input is not left behind.
  const absl::StatusOr<BuildFiles> files = ReadFiles(flags);
  const absl::StatusOr<Dockerfile> file = Parse(files);
  Planned planned;
  if (file.ok()) {
    planned = PlanAndLint(*file, flags, files->ignore_file.ignore, context);
  } else {
    planned.plan = file.status();
  }
  const absl::StatusOr<Plan>& plan = planned.plan;
  if (flags.format == "json") {
    context.out() << PlanJson(file, plan, planned.warnings);
    return plan.ok() ? kExitDone : ExitCodeFor(plan.status());
  }
  if (!plan.ok()) return context.Fail(plan.status());
  for (const std::string& warning : plan->warnings) {
    context.err() << "WARNING: " << HarmlessText(warning) << "\n";
  }
  for (const LintWarning& warning : planned.warnings) {
    context.err() << "WARNING: " << WarningTextOf(warning, *files) << "\n";
  }
  context.out() << HarmlessText(PlanText(*plan));
  return kExitDone;
}

int RunLint(const PlanFlags& flags, CommandContext& context) {
  const Interrupts interrupts;
  const absl::StatusOr<PlanOptions> options = OptionsOf(flags);
  if (!options.ok()) return context.Fail(options.status());
  const absl::StatusOr<BuildFiles> files = ReadFiles(flags);
  if (!files.ok()) return context.Fail(files.status());
  if (flags.format == "json") {
    const DockerfileCall call = {.method = DockerfileCall::Method::kCheck, .json = true};
    return RunDockerfileCall(call, *files, *options, context.out(), context.err());
  }
  const DockerfileCheck check = CheckDockerfile(*files, *options);
  for (const LintWarning& warning : check.warnings) {
    context.out() << "WARNING: " << WarningTextOf(warning, *files) << "\n";
  }
  if (!check.error.ok()) return context.Fail(check.error);
  if (!check.warnings.empty()) return kExitFailed;
  context.out() << "Check complete, no warnings found.\n";
  return kExitDone;
}

int RunContextList(const PlanFlags& flags, CommandContext& context) {
  const auto list = [&]() -> absl::StatusOr<ScannedContext> {
    RETURN_IF_ERROR(CheckContextDirectory(flags.context));
    ScanOptions options;
    ASSIGN_OR_RETURN(IgnoreFile file, ReadContextIgnore(flags.context));
    options.ignore = std::move(file.ignore);
    return ScanContext(flags.context, options);
  };
  absl::StatusOr<ScannedContext> scanned = list();
  if (!scanned.ok()) scanned = AsLocalError(scanned.status());
  if (flags.format != "json") {
    if (!scanned.ok()) return context.Fail(scanned.status());
    for (const TableEntry& entry : scanned->table.entries()) {
      if (entry.type != EntryType::kDirectory) context.out() << entry.path << "\n";
    }
    return kExitDone;
  }
  nlohmann::ordered_json json;
  json["ok"] = scanned.ok();
  if (scanned.ok()) {
    json["files"] = nlohmann::ordered_json::array();
    nlohmann::ordered_json others = nlohmann::ordered_json::array();
    for (const TableEntry& entry : scanned->table.entries()) {
      if (entry.type == EntryType::kDirectory) continue;
      if (entry.type == EntryType::kFile) {
        json["files"].push_back(entry.path);
      } else {
        others.push_back({{"path", entry.path}, {"type", std::string(EntryTypeName(entry.type))}});
      }
    }
    if (!others.empty()) json["others"] = std::move(others);
  } else {
    json["error"] = {{"message", std::string(scanned.status().message())}};
    if (const auto position = PositionOf(scanned.status()); position.has_value()) {
      json["error"]["line"] = position->line;
    }
  }
  context.out() << json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
                << "\n";
  return scanned.ok() ? kExitDone : ExitCodeFor(scanned.status());
}

}  // namespace

void AddDockerfileCommands(CLI::App& app, CommandRunner& run) {
  auto flags = std::make_shared<PlanFlags>();
  CLI::App& plan = *app.add_subcommand("plan", "Show what a build would do, without doing it");
  plan.group("Build");
  plan.add_option("PATH", flags->context,
                  "directory with the files of the build, or - for a tar on standard input")
      ->type_name("PATH|-")
      ->required();
  plan.add_option("-f,--file", flags->file, "Dockerfile [PATH/Dockerfile]; - is standard input")
      ->type_name("FILE")
      ->take_last();
  plan.add_option("--format", flags->format, "text or json [text]")
      ->type_name("FORM")
      ->check(CLI::IsMember({"text", "json"}).description(""))
      ->take_last();
  plan.add_flag("--offline", flags->offline, "ask no registry: bases have one layer, no config");
  plan.add_option("--base-config", flags->base_config, "the same, with this image config for bases")
      ->type_name("FILE")
      ->take_last();
  plan.add_option("--target", flags->target, "stage to plan [the last]")
      ->type_name("STAGE")
      ->take_last();
  plan.add_option("--build-arg", flags->build_args, "value of an ARG")
      ->type_name("NAME[=VALUE]")
      ->allow_extra_args(false)
      ->take_all();
  plan.add_option("--build-context", flags->build_contexts,
                  "directory, docker-image://REF, oci-layout://DIR[:TAG] or URL in place of NAME")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->take_all();
  plan.add_option("--label", flags->labels, "label for the image")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->take_all();
  plan.add_option("--platform", flags->platform, "platform of the image [this machine's]")
      ->type_name("OS/ARCH")
      ->take_last();
  plan.footer("Examples:\n  farm plan .\n  farm plan --offline --format json --target release .");
  plan.callback([flags, &run] {
    run = [flags](CommandContext& context) { return RunPlan(*flags, context); };
  });

  flags = std::make_shared<PlanFlags>();
  CLI::App& lint = *app.add_subcommand("lint", "Check a Dockerfile for what is probably not meant");
  lint.group("Build");
  lint.add_option("PATH", flags->context,
                  "directory with the files of the build, or - for a tar on standard input")
      ->type_name("PATH|-")
      ->required();
  lint.add_option("-f,--file", flags->file, "Dockerfile [PATH/Dockerfile]; - is standard input")
      ->type_name("FILE")
      ->take_last();
  lint.add_option("--format", flags->format, "text or json [text]")
      ->type_name("FORM")
      ->check(CLI::IsMember({"text", "json"}).description(""))
      ->take_last();
  lint.add_option("--target", flags->target, "look only at what this stage needs [all stages]")
      ->type_name("STAGE")
      ->take_last();
  lint.add_option("--build-arg", flags->build_args, "value of an ARG")
      ->type_name("NAME[=VALUE]")
      ->allow_extra_args(false)
      ->take_all();
  lint.add_option("--build-context", flags->build_contexts,
                  "directory, docker-image://REF, oci-layout://DIR[:TAG] or URL in place of NAME")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->take_all();
  lint.footer("Examples:\n  farm lint .\n  farm lint --format json -f app.Dockerfile .");
  lint.callback([flags, &run] {
    run = [flags](CommandContext& context) { return RunLint(*flags, context); };
  });

  flags = std::make_shared<PlanFlags>();
  CLI::App& contexts = *app.add_subcommand("context", "Look at build contexts");
  contexts.group("Build");
  contexts.require_subcommand(1);
  CLI::App& list = *contexts.add_subcommand("ls", "List what of a directory a build is sent");
  list.add_option("PATH", flags->context, "directory")->type_name("PATH")->required();
  list.add_option("--format", flags->format, "text or json [text]")
      ->type_name("FORM")
      ->check(CLI::IsMember({"text", "json"}).description(""))
      ->take_last();
  list.callback([flags, &run] {
    run = [flags](CommandContext& context) { return RunContextList(*flags, context); };
  });
}

}  // namespace farm
