// farm images, history, inspect, tag, rmi
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cli/command.h"
#include "cli/go_template.h"
#include "cli/image_listing.h"
#include "oci/reference.h"

namespace farm {
namespace {

struct ImageFlags {
  std::string name;                // of commands that take one
  std::vector<std::string> names;  // of those that take several
  std::string tag;
  ImageListOptions listing;
  std::vector<std::string> filters;
  bool no_truncate = false;
  bool quiet = false;
  bool all = false;
  bool force = false;
};

int Print(CommandContext& context, const absl::StatusOr<std::string>& text) {
  if (!text.ok()) return context.Fail(text.status());
  context.out() << *text;
  return kExitDone;
}

ImageListOptions ListingOf(const ImageFlags& flags) {
  ImageListOptions options = flags.listing;
  options.truncate = !flags.no_truncate;
  if (flags.quiet) options.format = "{{.ID}}";
  return options;
}

absl::StatusOr<v1::Image> Inspect(const std::string& name, CommandContext& context) {
  v1::InspectImageRequest request;
  request.set_name(name);
  return context.OnFarm([&](FarmClient& farm) { return farm.InspectImage(request); });
}

// Asks the farm for what `options.filters` need besides the list.
absl::Status ResolveFilters(CommandContext& context, ImageListOptions& options,
                            v1::ListImagesResponse& images) {
  for (const auto& [name, time] : {std::pair(&options.filters.before, &options.created_before),
                                   std::pair(&options.filters.since, &options.created_after)}) {
    if (name->empty()) continue;
    ASSIGN_OR_RETURN(const v1::Image image, Inspect(*name, context));
    *time = CreatedAt(image);
  }
  if (options.filters.labels.empty()) return absl::OkStatus();
  v1::ListImagesResponse listed;
  listed.Swap(&images);
  for (v1::Image& image : *listed.mutable_images()) {
    const absl::StatusOr<v1::Image> inspected =
        Inspect(image.tags().empty() ? "sha256:" + image.config().hash() : image.tags(0), context);
    if (absl::IsNotFound(inspected.status())) continue;  // Removed since it was listed.
    RETURN_IF_ERROR(inspected.status());
    image.set_config_json(inspected->config_json());
    *images.add_images() = std::move(image);
  }
  return absl::OkStatus();
}

int RunImages(const ImageFlags& flags, CommandContext& context) {
  ImageListOptions options = ListingOf(flags);
  absl::StatusOr<ImageFilters> filters = ImageFilters::Parse(flags.filters);
  if (!filters.ok()) return context.Fail(filters.status());
  options.filters = *std::move(filters);
  v1::ListImagesRequest request;
  request.set_repository(flags.name);
  absl::StatusOr<v1::ListImagesResponse> images =
      context.OnFarm([&](FarmClient& farm) { return farm.ListImages(request); });
  if (!images.ok()) return context.Fail(images.status());
  const absl::Status resolved = ResolveFilters(context, options, *images);
  if (!resolved.ok()) return context.Fail(resolved);
  return Print(context, ListImages(*images, options, context.clock().Now()));
}

int RunHistory(const ImageFlags& flags, CommandContext& context) {
  const absl::StatusOr<v1::Image> image = Inspect(flags.name, context);
  if (!image.ok()) return context.Fail(image.status());
  return Print(context, ListHistory(*image, ListingOf(flags), context.clock().Now()));
}

// As docker: what is there is printed, and the rest are errors.
int RunInspect(const ImageFlags& flags, CommandContext& context) {
  const std::string format = flags.listing.format == "json" ? "{{json .}}" : flags.listing.format;
  const absl::StatusOr<GoTemplate> line = GoTemplate::Parse(format);
  if (!line.ok()) return context.Fail(AsUsageError(line.status()));
  std::vector<absl::Status> errors;
  nlohmann::ordered_json found = nlohmann::ordered_json::array();
  for (const std::string& name : flags.names) {
    const absl::StatusOr<v1::Image> image = Inspect(name, context);
    if (!image.ok()) {
      errors.push_back(image.status());
      continue;
    }
    absl::StatusOr<nlohmann::ordered_json> json = InspectJson(*image);
    if (!json.ok()) return context.Fail(json.status());
    found.push_back(*std::move(json));
  }
  if (format.empty()) {
    context.out() << found.dump(4, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
                  << "\n";
  } else {
    for (const nlohmann::ordered_json& image : found) {
      const absl::StatusOr<std::string> text = line->Execute(nlohmann::json(image));
      if (!text.ok()) return context.Fail(AsUsageError(text.status()));
      context.out() << *text << "\n";
    }
  }
  int code = kExitDone;
  for (const absl::Status& error : errors) code = context.Fail(error);
  return code;
}

int RunTag(const ImageFlags& flags, CommandContext& context) {
  const absl::StatusOr<Reference> name = Reference::Parse(flags.tag);
  if (!name.ok()) return context.Fail(AsUsageError(name.status()));
  v1::TagImageRequest request;
  request.set_source(flags.name);
  request.set_tag(flags.tag);
  const absl::Status status =
      context.OnFarm([&](FarmClient& farm) { return farm.TagImage(request); });
  return status.ok() ? kExitDone : context.Fail(status);
}

// One call for each name, so that one that is not there does not keep the others.
int RunRemove(const ImageFlags& flags, CommandContext& context) {
  int code = kExitDone;
  for (const std::string& name : flags.names) {
    v1::RemoveImageRequest request;
    request.add_names(name);
    request.set_force(flags.force);
    const absl::StatusOr<v1::RemoveImageResponse> removed =
        context.OnFarm([&](FarmClient& farm) { return farm.RemoveImage(request); });
    if (!removed.ok()) {
      if (!flags.force || !absl::IsNotFound(removed.status()))
        code = context.Fail(removed.status());
      continue;
    }
    for (const std::string& tag : removed->untagged()) context.out() << "Untagged: " << tag << "\n";
    for (const std::string& id : removed->deleted()) context.out() << "Deleted: " << id << "\n";
  }
  return code;
}

}  // namespace

void AddImageCommands(CLI::App& app, CommandRunner& run) {
  const auto add = [&app, &run](const char* name, const char* what,
                                int (*body)(const ImageFlags&, CommandContext&),
                                const std::shared_ptr<ImageFlags>& flags) -> CLI::App& {
    CLI::App& command = *app.add_subcommand(name, what);
    command.group("Images");
    command.callback([flags, body, &run] {
      run = [flags, body](CommandContext& context) { return body(*flags, context); };
    });
    return command;
  };
  constexpr char kFormat[] = "Go template, \"table TEMPLATE\" or json";

  auto flags = std::make_shared<ImageFlags>();
  CLI::App& images = add("images", "List images", RunImages, flags);
  images.add_option("REPOSITORY", flags->name, "only images of this name")
      ->type_name("REPOSITORY[:TAG]");
  images.add_flag("-q,--quiet", flags->quiet, "ids only");
  images.add_flag("-a,--all", flags->all, "as docker has it; farm shows all images anyway");
  images.add_flag("--no-trunc", flags->no_truncate, "whole ids");
  images.add_flag("--digests", flags->listing.digests, "digests in registries");
  images
      .add_option("-f,--filter", flags->filters,
                  "reference=PATTERN, label=NAME[=VALUE], before=IMAGE, since=IMAGE, "
                  "dangling=true")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false)
      ->take_all();
  images.add_option("--format", flags->listing.format, kFormat)->type_name("FORMAT")->take_last();
  images.footer(
      "Examples:\n  farm images\n  farm images --filter 'reference=team/*' --format "
      "'{{.Repository}}:{{.Tag}}'");

  flags = std::make_shared<ImageFlags>();
  CLI::App& history = add("history", "Show how an image was made", RunHistory, flags);
  history.add_option("IMAGE", flags->name, "name or id")->type_name("IMAGE")->required();
  history.add_flag("-H,--human,!--no-human", flags->listing.human,
                   "sizes and times for people [true]");
  history.add_flag("--no-trunc", flags->no_truncate, "whole ids and commands");
  history.add_flag("-q,--quiet", flags->quiet, "ids only");
  history.add_option("--format", flags->listing.format, kFormat)->type_name("FORMAT")->take_last();

  flags = std::make_shared<ImageFlags>();
  CLI::App& inspect =
      add("inspect", "Show all that is known of images, as JSON", RunInspect, flags);
  inspect.add_option("IMAGE", flags->names, "names or ids")->type_name("IMAGE")->required();
  inspect.add_option("-f,--format", flags->listing.format, "Go template or json")
      ->type_name("FORMAT")
      ->take_last();
  inspect.footer("Example:\n  farm inspect --format '{{json .Config.Env}}' app");

  flags = std::make_shared<ImageFlags>();
  CLI::App& tag = add("tag", "Give an image one more name", RunTag, flags);
  tag.add_option("SOURCE", flags->name, "name or id")->type_name("IMAGE")->required();
  tag.add_option("TARGET", flags->tag, "the new name")->type_name("NAME[:TAG]")->required();

  flags = std::make_shared<ImageFlags>();
  CLI::App& remove =
      add("rmi", "Remove names of images, and images without names", RunRemove, flags);
  remove.add_option("IMAGE", flags->names, "names or ids")->type_name("IMAGE")->required();
  remove.add_flag("-f,--force", flags->force, "even if an id has several names");
}

}  // namespace farm
