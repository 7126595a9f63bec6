// farm workers, du, prune, local, version
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "cli/command.h"
#include "cli/go_template.h"
#include "cli/human_units.h"
#include "cli/listing.h"
#include "cli/tab_table.h"
#include "cli/terminal_text.h"

namespace farm {
namespace {

constexpr absl::Duration kInfoTimeout = absl::Seconds(10);

struct FarmFlags {
  std::string format;
  std::string unused_for;
  std::string filter;
  std::string keep;
  bool all = false;
  bool force = false;
};

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

std::string PlatformText(const v1::Platform& platform) {
  std::string text = absl::StrCat(platform.os(), "/", platform.architecture());
  if (!platform.variant().empty()) absl::StrAppend(&text, "/", platform.variant());
  return text;
}

int Print(CommandContext& context, const absl::StatusOr<std::string>& text) {
  if (!text.ok()) return context.Fail(text.status());
  context.out() << *text;
  return kExitDone;
}

int RunWorkers(const FarmFlags& flags, CommandContext& context) {
  const absl::StatusOr<v1::InfoResponse> info =
      context.OnFarm([&](FarmClient& farm) { return farm.Info(kInfoTimeout); });
  if (!info.ok()) return context.Fail(info.status());
  std::vector<nlohmann::json> rows;
  for (const v1::WorkerInfo& worker : info->workers()) {
    rows.push_back({{"Name", worker.name()},
                    {"Platform", PlatformText(worker.platform())},
                    {"Slots", absl::StrCat(worker.slots_busy(), "/", worker.slots())},
                    {"State", worker.draining() ? "draining" : "ready"},
                    {"Seen", HumanDuration(FromProto(worker.last_seen())) + " ago"},
                    {"Version", worker.version()},
                    {"Missing", absl::StrJoin(worker.limits_missing(), ",")}});
  }
  const int code = Print(
      context,
      FormatListing(
          flags.format,
          "{{.Name}}\t{{.Platform}}\t{{.Slots}}\t{{.State}}\t{{.Seen}}\t{{.Version}}\t{{.Missing}}",
          {{"Name", "WORKER"},
           {"Platform", "PLATFORM"},
           {"Slots", "BUSY"},
           {"State", "STATE"},
           {"Seen", "SEEN"},
           {"Version", "VERSION"},
           {"Missing", "WITHOUT LIMITS"}},
          rows));
  if (code == kExitDone && flags.format.empty()) {
    context.err() << Counted(info->builds_running(), "build") << " running, "
                  << Counted(info->steps_waiting(), "step") << " waiting" << std::endl;
  }
  return code;
}

int RunDiskUsage(const FarmFlags& flags, CommandContext& context) {
  const absl::StatusOr<v1::DiskUsageResponse> usage =
      context.OnFarm([&](FarmClient& farm) { return farm.DiskUsage(); });
  if (!usage.ok()) return context.Fail(usage.status());
  std::vector<nlohmann::json> rows;
  for (const v1::DiskUsageResponse::Row& row : usage->rows()) {
    rows.push_back({{"Type", row.kind()},
                    {"Count", absl::StrCat(row.count())},
                    {"Size", HumanSize(row.size_bytes())},
                    {"Reclaimable", HumanSize(row.reclaimable_bytes())}});
  }
  const int code = Print(
      context,
      FormatListing(
          flags.format, "{{.Type}}\t{{.Count}}\t{{.Size}}\t{{.Reclaimable}}",
          {{"Type", "TYPE"}, {"Count", "BLOBS"}, {"Size", "SIZE"}, {"Reclaimable", "RECLAIMABLE"}},
          rows));
  if (code == kExitDone && flags.format.empty()) {
    context.out() << "\nTotal " << HumanSize(usage->size_bytes()) << "; collection starts at "
                  << HumanSize(usage->high_mark_bytes()) << " and ends at "
                  << HumanSize(usage->low_mark_bytes()) << "\n";
  }
  return code;
}

int RunPrune(const FarmFlags& flags, CommandContext& context) {
  v1::PruneRequest request;
  request.set_all(flags.all);
  if (!flags.filter.empty() || !flags.unused_for.empty()) {
    absl::string_view text = flags.filter.empty() ? flags.unused_for : flags.filter;
    const bool is_until = flags.filter.empty() || absl::ConsumePrefix(&text, "until=");
    absl::Duration unused_for;
    if (!is_until || !absl::ParseDuration(text, &unused_for) || unused_for < absl::ZeroDuration()) {
      return context.Fail(AsUsageError(absl::InvalidArgumentError(
          flags.filter.empty() ? absl::StrCat("--unused-for ", flags.unused_for,
                                              ": expected a duration like 24h or 90m")
                               : absl::StrCat("--filter ", flags.filter,
                                              ": expected until= and a duration like 24h"))));
    }
    request.mutable_unused_for()->set_seconds(absl::ToInt64Seconds(unused_for));
  }
  if (!flags.keep.empty()) {
    const absl::StatusOr<int64_t> keep_bytes = ParseSize(flags.keep);
    if (!keep_bytes.ok()) {
      return context.Fail(AsUsageError(Annotate(keep_bytes.status(), "--keep")));
    }
    request.set_keep_bytes(*keep_bytes);
  }
  if (!flags.force) {
    if (isatty(0) != 1) {
      context.err() << "farm prune: standard input is no terminal to ask on; use -f" << std::endl;
      return kExitUsage;
    }
    context.err()
        << "This removes images without a tag, and what no build and no tagged image holds"
        << (flags.all ? ", also the results that a next build could use" : "")
        << ".\nContinue? [y/N] " << std::flush;
    std::string answer;
    std::getline(std::cin, answer);
    if (answer != "y" && answer != "Y" && answer != "yes") return kExitDone;
  }
  const absl::StatusOr<v1::PruneResponse> pruned =
      context.OnFarm([&](FarmClient& farm) { return farm.Prune(request); });
  if (!pruned.ok()) return context.Fail(pruned.status());
  for (const std::string& id : pruned->images_removed()) {
    context.out() << "Deleted: " << HarmlessLine(id, false) << "\n";
  }
  context.out() << "Removed " << Counted(pruned->images_removed_size(), "image")
                << " without a tag, " << Counted(pruned->blobs_removed(), "blob")
                << "\nTotal reclaimed space: " << HumanSize(pruned->bytes_removed()) << "\n";
  return kExitDone;
}

int RunLocalStatus(const FarmFlags&, CommandContext& context) {
  const absl::StatusOr<std::unique_ptr<LocalFarm>> local = context.MakeLocalFarm();
  if (!local.ok()) return context.Fail(local.status());
  const absl::StatusOr<std::unique_ptr<FarmClient>> client = (*local)->IfRunning();
  if (!client.ok()) return context.Fail(client.status());
  if (*client == nullptr) {
    context.out() << "The local farm is not running; a build starts it.\n";
    return kExitDone;
  }
  const absl::StatusOr<v1::InfoResponse> info = (*client)->Info(kInfoTimeout);
  if (!info.ok()) return context.Fail(info.status());
  const absl::Time started = absl::FromUnixSeconds(info->started().seconds());
  const absl::Duration idle = FromProto(info->idle());
  std::vector<std::string> lines = {
      absl::StrCat("Address\t", (*local)->address()),
      absl::StrCat("Version\t", info->version()),
      absl::StrCat("Process\t", info->coordinator_pid()),
      absl::StrCat("Running for\t", HumanDuration(context.clock().Now() - started)),
      absl::StrCat("Workers\t", info->workers_size()),
      absl::StrCat("Builds\t", info->builds_running()),
  };
  if (idle > absl::ZeroDuration()) lines.push_back(absl::StrCat("Idle for\t", HumanDuration(idle)));
  context.out() << AlignTabs(lines);
  return kExitDone;
}

int RunLocalStop(const FarmFlags&, CommandContext& context) {
  const absl::StatusOr<std::unique_ptr<LocalFarm>> local = context.MakeLocalFarm();
  if (!local.ok()) return context.Fail(local.status());
  const absl::Status status = (*local)->Stop();
  return status.ok() ? kExitDone : context.Fail(status);
}

// The fields are docker's; that of a server would need one.
int RunVersion(const FarmFlags& flags, CommandContext& context) {
  if (!flags.format.empty()) {
    const nlohmann::json version = {{"Client", {{"Version", Version()}}}};
    const bool is_json = flags.format == "json";
    const absl::StatusOr<GoTemplate> line =
        GoTemplate::Parse(is_json ? "{{json .}}" : flags.format);
    if (!line.ok()) return context.Fail(AsUsageError(line.status()));
    const absl::StatusOr<std::string> text = line->Execute(version);
    if (!text.ok()) return context.Fail(AsUsageError(text.status()));
    context.out() << *text << "\n";
    return kExitDone;
  }
  context.out() << "farm " << Version() << "\n";
  return kExitDone;
}

}  // namespace

void AddFarmCommands(CLI::App& app, CommandRunner& run) {
  const auto add = [&run](CLI::App& parent, const char* name, const char* what,
                          int (*body)(const FarmFlags&, CommandContext&),
                          const std::shared_ptr<FarmFlags>& flags) -> CLI::App& {
    CLI::App& command = *parent.add_subcommand(name, what);
    command.group("Farm");
    command.callback([flags, body, &run] {
      run = [flags, body](CommandContext& context) { return body(*flags, context); };
    });
    return command;
  };
  constexpr char kFormat[] = "Go template, \"table TEMPLATE\" or json";

  auto flags = std::make_shared<FarmFlags>();
  CLI::App& workers = add(app, "workers", "List the farm's workers", RunWorkers, flags);
  workers.add_option("--format", flags->format, kFormat)->type_name("FORMAT")->take_last();

  flags = std::make_shared<FarmFlags>();
  CLI::App& usage = add(app, "du", "Show what the farm's store is used for", RunDiskUsage, flags);
  usage.add_option("--format", flags->format, kFormat)->type_name("FORMAT")->take_last();
  usage.footer(
      "BLOBS counts stored objects: those of an image are its config, its manifest,\n"
      "and two for each layer, which it shares with others ('farm images' lists\n"
      "images).");

  flags = std::make_shared<FarmFlags>();
  CLI::App& prune =
      add(app, "prune", "Remove untagged images and what nothing holds", RunPrune, flags);
  prune.add_flag("-f,--force", flags->force, "do not ask");
  prune.add_flag("-a,--all", flags->all, "also results that a next build could use");
  prune.add_option("--unused-for", flags->unused_for, "only what was not used for so long")
      ->type_name("DURATION");
  prune.add_option("--filter", flags->filter, "until=24h is --unused-for 24h, as docker has it")
      ->type_name("until=DURATION")
      ->take_last();
  prune.add_option("--keep", flags->keep, "stop when no more than so much is left")
      ->type_name("SIZE");
  prune.footer(
      "What a build, a lease or a tagged image holds stays. While builds run, so does\n"
      "what was used since the oldest of them began, and in the hour before: what their\n"
      "steps make is held by nothing until it is complete.\n"
      "Example:\n  farm prune -a -f --filter until=24h");

  flags = std::make_shared<FarmFlags>();
  CLI::App& local = *app.add_subcommand("local", "Look after the farm on this machine");
  local.group("Farm");
  local.require_subcommand(1);
  add(local, "status", "Show whether it runs", RunLocalStatus, flags);
  add(local, "stop", "Stop it once its builds are done", RunLocalStop, flags);

  flags = std::make_shared<FarmFlags>();
  CLI::App& version = add(app, "version", "Show the version", RunVersion, flags);
  version.add_option("--format", flags->format, "Go template ({{.Client.Version}}) or json")
      ->type_name("FORMAT")
      ->take_last();
}

}  // namespace farm
