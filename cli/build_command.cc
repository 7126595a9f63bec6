// farm build
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/byte_stream.h"
#include "base/digest_proto.h"
#include "base/status_macros.h"
#include "cli/build_files.h"
#include "cli/build_output.h"
#include "cli/build_request.h"
#include "cli/command.h"
#include "cli/context_scanner.h"
#include "cli/context_upload.h"
#include "cli/dockerfile_call.h"
#include "cli/follow_build.h"
#include "cli/human_units.h"
#include "cli/interrupts.h"
#include "cli/layout_images.h"
#include "cli/named_contexts.h"
#include "cli/progress.h"
#include "cli/registry_credentials.h"
#include "cli/ssh_agents.h"
#include "cli/terminal_text.h"
#include "dockerfile/parser.h"
#include "plan/planner.h"
#include "rpc/status.h"

namespace farm {
namespace {

// Who sends so much and has no .dockerignore is told of it.
constexpr int64_t kLargeContextBytes = 100'000'000;

// A build whose blobs vanish again and again, or whose context changes all the time, fails.
constexpr int kAttemptsMax = 3;

std::string TransferDetail(int64_t sent_bytes) {
  return absl::StrCat("transferring context: ", HumanSize(sent_bytes));
}

// Files of this machine that the build reads.
struct LocalContext {
  std::string name;  // "" is the build context
  std::string directory;
  IgnoreFile ignore;
  bool is_temporary = false;    // it has a new place and new times in each build
  v1::Digest* table = nullptr;  // of the request
  ScannedContext scanned;
};

class Build {
 public:
  Build(const BuildFlags& flags, CommandContext& context) : flags_(flags), context_(context) {}

  int Run() {
    const absl::Status flags = ReadFlags();
    // What is wrong with the file that a flag names is no mistake of use.
    if (IsLocalError(flags)) return context_.Fail(flags);
    if (!flags.ok()) {
      context_.Fail(flags);
      context_.err() << "See 'farm build --help'." << std::endl;
      return kExitUsage;
    }
    // From here on Ctrl-C ends the program; BuildWith() says where it cancels the build instead.
    Interrupts interrupts;
    interrupts_ = &interrupts;
    FdSource standard_input(0);
    absl::StatusOr<BuildFiles> files = ReadBuildFiles(flags_.context, flags_.file, standard_input);
    if (!files.ok()) return context_.Fail(AsLocalError(files.status()));
    files_ = *std::move(files);
    if (call_.method != DockerfileCall::Method::kBuild) {
      const absl::Status here = CheckDockerfileIsHere(files_);
      if (!here.ok()) return context_.Fail(here);
      return RunDockerfileCall(call_, files_, OptionsOfPlan(), context_.out(), context_.err());
    }
    for (const std::string* file : {&flags_.iidfile, &flags_.metadata_file}) {
      // Of an earlier build: who reads it after this one has failed would take it for its result.
      const absl::Status removed = RemoveOutputFile(*file);
      if (!removed.ok()) return context_.Fail(removed);
    }
    if (const absl::Status opened = OpenSshAgents(); !opened.ok()) return context_.Fail(opened);
    StartProgress();
    context_.SetNote([&](absl::string_view line) { progress_->Note(line); });
    const absl::Time start = context_.clock().Now();
    const absl::StatusOr<v1::BuildFinished> finished = BuildOnFarm();
    absl::Status written;
    if (finished.ok() && !finished->has_error()) written = WriteOutputs(finished->image());
    context_.SetNote(nullptr);
    progress_->Finish();
    progress_.reset();
    if (!finished.ok()) {
      if (handle_.cancelled()) return kExitInterrupted;
      return context_.Fail(finished.status());
    }
    if (finished->has_error()) return ExitCodeOf(*finished);
    if (!written.ok()) return context_.Fail(written);
    Report(finished->image(), context_.clock().Now() - start);
    return kExitDone;
  }

 private:
  void StartProgress() {
    progress_ = MakeProgress({.mode = mode_,
                              .title = "Building",
                              .dockerfile_name = files_.dockerfile_name,
                              .dockerfile = files_.dockerfile,
                              .explain = flags_.explain,
                              .terminal_fd = 2},
                             context_.err(), context_.clock());
  }

  absl::Status ReadFlags() {
    ASSIGN_OR_RETURN(mode_, ParseProgressMode(flags_.progress));
    if (flags_.quiet) mode_ = ProgressMode::kQuiet;
    ASSIGN_OR_RETURN(call_, DockerfileCall::Parse(flags_.check ? "check" : flags_.call));
    ASSIGN_OR_RETURN(outputs_, MakeOutputs(flags_));
    for (const std::string* file : {&flags_.iidfile, &flags_.metadata_file}) {
      if (file->empty()) continue;
      RETURN_IF_ERROR(CheckOutputFile(*file));
    }
    ASSIGN_OR_RETURN(request_, MakeRequest(flags_, outputs_));
    for (const std::string& text : flags_.ssh) {
      ASSIGN_OR_RETURN(ssh_flags_.emplace_back(), ParseSshAgentFlag(text));
    }
    ASSIGN_OR_RETURN(named_contexts_, ReadContextFlags(flags_.build_contexts));
    AddNamedContexts(named_contexts_, request_);
    return absl::OkStatus();
  }

  PlanOptions OptionsOfPlan() const {
    PlanOptions options;
    options.target = flags_.target;
    options.build_args.insert(request_.build_args().begin(), request_.build_args().end());
    options.platform = request_.platform();
    options.contexts = NamedContextsOf(named_contexts_);
    return options;
  }

  // Names of those of the named contexts that the Dockerfile reads, as far as it can be told here.
  // What is wrong with it is for the farm to say.
  std::set<std::string> ContextsRead() const {
    std::set<std::string> all;
    for (const ContextFlag& flag : named_contexts_) all.insert(flag.name);
    if (files_.dockerfile.empty() || all.empty()) return all;
    const absl::StatusOr<Dockerfile> file = ParseHere();
    if (!file.ok()) return {};
    return ContextsNeeded(*file, {}, OptionsOfPlan()).value_or(std::set<std::string>());
  }

  // The same of images; nullopt if there is no Dockerfile here.
  std::optional<std::vector<ImageKey>> ImagesRead() const {
    if (files_.dockerfile.empty()) return std::nullopt;
    const absl::StatusOr<Dockerfile> file = ParseHere();
    if (!file.ok()) return std::vector<ImageKey>();
    return ImagesToResolve(*file, {}, OptionsOfPlan()).value_or(std::vector<ImageKey>());
  }

  absl::StatusOr<Dockerfile> ParseHere() const {
    ASSIGN_OR_RETURN(DockerfileSource source,
                     DockerfileSource::Create(files_.dockerfile_name, files_.dockerfile));
    return ParseDockerfile(std::move(source));
  }

  // Those that are to be sent: the build context, and the named ones of `names`.
  absl::Status AddLocalContexts(const std::set<std::string>& names) {
    if (contexts_.empty() && !files_.context_directory.empty()) {
      LocalContext& context = contexts_.emplace_back();
      context.directory = files_.context_directory;
      context.ignore = files_.ignore_file;
      context.is_temporary = files_.unpacked != nullptr;
      context.table = request_.mutable_context_table();
      Send(context.ignore, *request_.mutable_ignore_file());
    }
    for (const ContextFlag& flag : named_contexts_) {
      const bool is_known =
          std::any_of(contexts_.begin(), contexts_.end(),
                      [&](const LocalContext& known) { return known.name == flag.name; });
      if (flag.directory.empty() || !names.contains(flag.name) || is_known) continue;
      LocalContext& context = contexts_.emplace_back();
      context.name = flag.name;
      context.directory = flag.directory;
      ASSIGN_OR_RETURN(context.ignore, ReadContextIgnore(flag.directory),
                       AsLocalError(_ << "context " << flag.name));
      v1::NamedContext& named = *request_.mutable_named_contexts(flag.context.index - 1);
      context.table = named.mutable_table();
      Send(context.ignore, *named.mutable_ignore_file());
    }
    return absl::OkStatus();
  }

  static void Send(const IgnoreFile& file, v1::IgnoreFile& sent) {
    sent.set_name(file.name);
    sent.set_text(file.text);
  }

  absl::Status OpenSshAgents() {
    ASSIGN_OR_RETURN(ssh_agents_, SshAgents::Open(ssh_flags_));
    for (const std::string& id : ssh_agents_->ids()) request_.add_ssh_agents(id);
    return absl::OkStatus();
  }

  // The Dockerfile reads more of them than could be told before.
  absl::Status AddAllContexts() {
    const size_t known = contexts_.size();
    std::set<std::string> all;
    for (const ContextFlag& flag : named_contexts_) all.insert(flag.name);
    RETURN_IF_ERROR(AddLocalContexts(all));
    for (size_t i = known; i < contexts_.size(); ++i) RETURN_IF_ERROR(Scan(contexts_[i]));
    return layout_images_.Read(named_contexts_, std::nullopt, request_);
  }

  absl::StatusOr<v1::BuildFinished> BuildOnFarm() {
    request_.set_dockerfile(files_.dockerfile);
    request_.set_dockerfile_name(files_.dockerfile_name);
    request_.set_context_url(files_.context_url);
    request_.set_dockerfile_path(files_.dockerfile_path);
    // The farm is reached, or started, while the context is read.
    absl::StatusOr<FarmClient*> farm = absl::UnknownError("not connected");
    std::thread connecting([&] { farm = context_.Farm(); });
    absl::Status prepared = Scan();
    if (prepared.ok()) prepared = AddCredentials();
    connecting.join();
    RETURN_IF_ERROR(farm.status());
    RETURN_IF_ERROR(prepared);
    return context_.OnFarm([&](FarmClient& client) { return BuildWith(client); },
                           [&] { return handle_.id().empty() && !handle_.cancelled(); });
  }

  absl::StatusOr<v1::BuildFinished> BuildWith(FarmClient& client) {
    for (int attempt = 1;; ++attempt) {
      absl::Status status = Upload(client, /*trust_table=*/attempt == 1);
      if (status.ok()) {
        absl::StatusOr<v1::BuildFinished> finished = Follow(client);
        status = finished.status();
        const bool lacks_files = absl::IsFailedPrecondition(status);
        const bool is_forgotten = absl::IsAborted(status);
        if (!lacks_files && !is_forgotten) return finished;
        if (attempt == kAttemptsMax || handle_.cancelled()) return status;
        if (lacks_files) {
          RETURN_IF_ERROR(AddAllContexts());
        }
        // The steps seen so far are of a build that is over.
        progress_->Note(lacks_files
                            ? "the farm lacks files of the context: sending them, building again"
                            : "the farm does not know the build any more: building again, what was "
                              "done is kept");
        progress_->Finish();
        StartProgress();
      } else if (absl::IsAborted(status)) {
        RETURN_IF_ERROR(Scan());
      } else {
        return status;
      }
      if (attempt == kAttemptsMax) return status;
    }
  }

  absl::StatusOr<v1::BuildFinished> Follow(FarmClient& client) {
    const Interrupts::Cancellable cancellable(*interrupts_, [&] {
      progress_->Note("cancelling the build; once more Ctrl-C to leave at once");
      handle_.Cancel(client);
    });
    std::unique_ptr<SshAgentServer> ssh_server;
    return FollowBuild(
        client,
        [&](const FarmClient::EventHandler& handler) {
          return client.StartBuild(request_, [&](const v1::BuildEvent& event) {
            if (event.has_started() && !ssh_flags_.empty()) {
              ssh_server = std::make_unique<SshAgentServer>(
                  client, event.started().build_id(), *ssh_agents_,
                  [this](const std::string& line) { progress_->Note(line); });
            }
            handler(event);
          });
        },
        *progress_, handle_);
  }

  absl::Status Scan() {
    RETURN_IF_ERROR(AddLocalContexts(ContextsRead()));
    RETURN_IF_ERROR(layout_images_.Read(named_contexts_, ImagesRead(), request_));
    for (LocalContext& context : contexts_) RETURN_IF_ERROR(Scan(context));
    return absl::OkStatus();
  }

  absl::Status Scan(LocalContext& context) {
    const int task = progress_->BeginTask(
        context.name.empty() ? "[internal] load build context"
                             : absl::StrCat("[context ", context.name, "] load from client"));
    ScanOptions options;
    options.ignore = context.ignore.ignore;
    if (!context.is_temporary) {
      options.stat_cache_path = StatCachePath(context.directory, context.ignore.text);
    }
    absl::StatusOr<ScannedContext> scanned = ScanContext(context.directory, options);
    if (!scanned.ok()) scanned = AsLocalError(scanned.status());
    if (scanned.ok()) {
      progress_->UpdateTask(task, absl::StrCat(WithThousands(scanned->files), " files, ",
                                               HumanSize(scanned->files_bytes)));
      context.scanned = *std::move(scanned);
      *context.table = DigestToProto(context.scanned.table_digest);
    }
    progress_->EndTask(task, scanned.status());
    return scanned.status();
  }

  absl::Status AddCredentials() {
    const std::set<std::string> push_hosts = PushHosts(outputs_, request_);
    RETURN_IF_ERROR(AddRegistryCredentials(push_hosts, *request_.mutable_credentials()));
    PlanOptions options = OptionsOfPlan();
    for (const ContextFlag& flag : named_contexts_) {
      if (!flag.layout.empty()) options.contexts.at(flag.name).image = "scratch";  // No registry's.
    }
    // What is in a Dockerfile that the farm has yet to fetch is not known here.
    std::set<std::string> hosts = files_.dockerfile.empty()
                                      ? HostsWithLogin()
                                      : RegistryHostsOf(files_.dockerfile_name, files_.dockerfile,
                                                        StageGraphOptionsOf(options));
    for (const std::string& host : push_hosts) hosts.erase(host);
    AddPullCredentials(
        hosts, [&](absl::string_view line) { progress_->Note(line); },
        *request_.mutable_credentials());
    return absl::OkStatus();
  }

  absl::Status Upload(FarmClient& client, bool trust_table) {
    for (const LocalContext& context : contexts_) {
      RETURN_IF_ERROR(Upload(context, client, trust_table));
    }
    int task = -1;
    const absl::Status layers = layout_images_.Upload(client.blobs(), [&](int64_t sent_bytes) {
      if (task < 0) task = progress_->BeginTask("[internal] transfer OCI layouts");
      progress_->UpdateTask(task, absl::StrCat("transferring layers: ", HumanSize(sent_bytes)));
    });
    if (task >= 0) progress_->EndTask(task, layers);
    return layers;
  }

  absl::Status Upload(const LocalContext& context, FarmClient& client, bool trust_table) {
    int task = -1;
    const auto on_uploaded = [&](int64_t sent_bytes) {
      if (task < 0) {
        task = progress_->BeginTask(context.name.empty()
                                        ? "[internal] transfer build context"
                                        : absl::StrCat("[context ", context.name, "] transfer"));
      }
      progress_->UpdateTask(task, TransferDetail(sent_bytes));
      if (sent_bytes > kLargeContextBytes && context.ignore.text.empty()) HintAtIgnoreFile();
    };
    const absl::StatusOr<UploadedContext> uploaded =
        UploadContext(context.scanned, client, trust_table, on_uploaded);
    if (task >= 0) progress_->EndTask(task, uploaded.status());
    return uploaded.status();
  }

  void HintAtIgnoreFile() {
    const bool is_shown = mode_ != ProgressMode::kQuiet && mode_ != ProgressMode::kRawJson;
    if (!is_shown || std::exchange(hinted_, true)) return;
    progress_->Note(
        "the whole context is sent, read or not: a .dockerignore file keeps out what no COPY needs "
        "('farm context ls PATH' lists what is sent)");
  }

  absl::Status WriteOutputs(const v1::BuiltImage& image) {
    const std::vector<std::string> tags(request_.tags().begin(), request_.tags().end());
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const BuildOutput& output = outputs_[i];
      if (output.type == BuildOutput::Type::kImage || output.type == BuildOutput::Type::kRegistry) {
        continue;
      }
      const int task = progress_->BeginTask(
          output.dest.empty() ? "loading into docker" : absl::StrCat("writing ", output.dest));
      const absl::Status status = context_.OnFarm(
          [&](FarmClient& client) {
            return WriteBuildOutput(output, static_cast<int>(i), image, tags, client);
          },
          [&] { return MayWriteAgain(output.dest); });
      progress_->EndTask(task, status);
      RETURN_IF_ERROR(status) << "output";
    }
    RETURN_IF_ERROR(WriteText(flags_.iidfile, ImageId(image))) << "--iidfile";
    RETURN_IF_ERROR(WriteText(flags_.metadata_file, Metadata(image))) << "--metadata-file";
    return absl::OkStatus();
  }

  static absl::Status WriteText(const std::string& path, const std::string& text) {
    if (path.empty()) return absl::OkStatus();
    return WriteOutputFile(path, [&](ByteSink& sink) { return sink.Write(text); });
  }

  static std::string ImageId(const v1::BuiltImage& image) {
    return "sha256:" + image.config().hash();
  }

  // The keys that buildx writes.
  std::string Metadata(const v1::BuiltImage& image) const {
    nlohmann::json metadata;
    metadata["containerimage.config.digest"] = ImageId(image);
    metadata["containerimage.digest"] =
        "sha256:" +
        (image.pushed().empty() ? image.manifest().hash() : image.pushed(0).manifest().hash());
    if (!request_.tags().empty()) metadata["image.name"] = absl::StrJoin(request_.tags(), ",");
    if (!handle_.id().empty()) metadata["farm.build.id"] = handle_.id();
    return metadata.dump(2) + "\n";
  }

  int ExitCodeOf(const v1::BuildFinished& finished) const {
    if (handle_.cancelled()) return kExitInterrupted;
    if (finished.failed_step() != 0) return kExitFailed;
    return ExitCodeFor(FromErrorDetail(finished.error()));
  }

  void Report(const v1::BuiltImage& image, absl::Duration elapsed) {
    if (flags_.quiet) {
      context_.out() << ImageId(image) << std::endl;
      return;
    }
    if (mode_ == ProgressMode::kRawJson || mode_ == ProgressMode::kQuiet) return;
    std::string text = absl::StrCat("built ", ImageId(image).substr(0, 19));
    if (!image.tags().empty()) absl::StrAppend(&text, " ", absl::StrJoin(image.tags(), " "));
    absl::StrAppend(&text, " in ", Seconds(elapsed), " (", image.steps_ran(),
                    image.steps_ran() == 1 ? " step run, " : " steps run, ", image.steps_cached(),
                    " cached)");
    context_.err() << HarmlessText(text) << "\n";
    for (const v1::PushedImage& pushed : image.pushed()) {
      context_.err() << "pushed " << HarmlessLine(pushed.name(), false)
                     << "@sha256:" << pushed.manifest().hash() << "\n";
    }
    context_.err().flush();
  }

  const BuildFlags& flags_;
  CommandContext& context_;
  ProgressMode mode_ = ProgressMode::kAuto;
  DockerfileCall call_;
  std::vector<BuildOutput> outputs_;
  v1::StartBuildRequest request_;
  std::vector<SshAgentFlag> ssh_flags_;
  std::unique_ptr<SshAgents> ssh_agents_;
  std::vector<ContextFlag> named_contexts_;
  BuildFiles files_;
  std::vector<LocalContext> contexts_;
  LayoutImages layout_images_;
  BuildHandle handle_;
  bool hinted_ = false;
  Interrupts* interrupts_ = nullptr;
  std::unique_ptr<Progress> progress_;
};

// What `docker build` has and farm has not: said so, never ignored.
constexpr std::pair<const char*, const char*> kRefused[] = {
    {"--cache-from", "the farm's own cache is used; other caches are not there yet"},
    {"--cache-to", "the farm's own cache is used; other caches are not there yet"},
    {"--no-cache-filter", "use --no-cache"},
    {"--attest", "attestations are not there yet"},
    {"--provenance", "attestations are not there yet"},
    {"--sbom", "attestations are not there yet"},
    {"--annotation", "annotations are not there yet"},
    {"--builder", "use --farm"},
    {"--memory", "limits are in the workers' configuration"},
    {"--memory-swap", "limits are in the workers' configuration"},
    {"--cpu-shares", "limits are in the workers' configuration"},
    {"--cpu-quota", "limits are in the workers' configuration"},
    {"--cpu-period", "limits are in the workers' configuration"},
    {"--cpuset-cpus", "limits are in the workers' configuration"},
    {"--cpuset-mems", "limits are in the workers' configuration"},
    {"--isolation", "isolation is in the workers' configuration"},
    {"--security-opt", "isolation is in the workers' configuration"},
};
constexpr std::pair<const char*, const char*> kRefusedFlags[] = {
    {"--squash", "use --output type=tar and farm import"},
};

}  // namespace

void AddBuildCommand(CLI::App& app, CommandRunner& run) {
  auto flags = std::make_shared<BuildFlags>();
  auto refused = std::make_shared<std::string>();
  CLI::App& command = *app.add_subcommand("build", "Build an image from a Dockerfile");
  command.group("Build");
  const auto text = [&](const char* names, std::string& value, const char* type, const char* what) {
    command.add_option(names, value, what)->type_name(type)->take_last();
  };
  const auto list = [&](const char* names, std::vector<std::string>& values, const char* type,
                        const char* what) {
    command.add_option(names, values, what)->type_name(type)->allow_extra_args(false)->take_all();
  };
  command
      .add_option("PATH", flags->context,
                  "directory with the files of the build, URL of a git repository or a "
                  "tar, or - for a tar on standard input")
      ->type_name("PATH|URL|-")
      ->required();
  text("-f,--file", flags->file, "FILE", "Dockerfile [PATH/Dockerfile]; - is standard input");
  list("-t,--tag", flags->tags, "NAME[:TAG]", "name for the image; may be repeated");
  list("--build-arg", flags->build_args, "NAME[=VALUE]",
       "value of an ARG; NAME alone takes the environment's");
  list("--build-context", flags->build_contexts, "NAME=VALUE",
       "directory, docker-image://REF, oci-layout://DIR[:TAG] or URL in place of NAME");
  text("--target", flags->target, "STAGE", "stage to build [the last]");
  list("-o,--output", flags->outputs, "DIR|type=...",
       "image, registry, oci, docker, tar or local, with dest=, name=, push=, compression=, "
       "rewrite-timestamp=");
  command.add_flag("--push", flags->push, "push the image to the registry of its name");
  command.add_flag("--load", flags->load, "give the image to docker load");
  command.add_flag("--no-cache", flags->no_cache, "run every step, use no earlier result");
  command.add_flag("--pull", flags->pull, "ask registries even for images that the farm has");
  text("--platform", flags->platform, "OS/ARCH", "platform of the image [linux/amd64]");
  list("--label", flags->labels, "NAME=VALUE", "label for the image");
  text("--network", flags->network, "MODE", "network of RUN: default, host or none");
  list("--add-host", flags->add_hosts, "HOST:IP", "line for /etc/hosts of RUN");
  list("--ulimit", flags->ulimits, "NAME=SOFT[:HARD]", "resource limit of RUN");
  text("--shm-size", flags->shm_size, "SIZE", "size of /dev/shm of RUN");
  text("--cgroup-parent", flags->cgroup_parent, "GROUP",
       "control group of the workers' hosts that each RUN's is made in");
  list("--secret", flags->secrets, "id=ID[,src=FILE|env=NAME]",
       "value for RUN --mount=type=secret; in no layer, key or log");
  list("--ssh", flags->ssh, "default|ID[=SOCKET|KEY[,KEY]]",
       "ssh agent for RUN --mount=type=ssh; no key leaves this machine");
  list("--allow", flags->allow, "ENTITLEMENT", "let RUN have network.host or security.insecure");
  text("--progress", flags->progress, "MODE", "auto, tty, plain, rawjson or quiet");
  command.add_flag("-q,--quiet", flags->quiet, "print nothing but the image's id");
  command.add_flag("--check", flags->check, "check the Dockerfile, build nothing");
  text("--call", flags->call, "METHOD", "build, check, outline or targets[,format=json]");
  command.add_flag("--explain", flags->explain, "say for each step why it had to run");
  text("--iidfile", flags->iidfile, "FILE", "write the image's id to a file");
  text("--metadata-file", flags->metadata_file, "FILE", "write the result as JSON to a file");
  for (const auto& [name, reason] : kRefused) {
    command
        .add_option_function<std::string>(
            name,
            [refused, name = name, reason = reason](const std::string& value) {
              const bool off = value == "false" && (absl::string_view(name) == "--provenance" ||
                                                    absl::string_view(name) == "--sbom");
              if (!off) *refused = absl::StrCat(name, ": ", reason);
            },
            "")
        ->group("");
  }
  for (const auto& [name, reason] : kRefusedFlags) {
    command
        .add_flag_callback(name, [refused, name = name,
                                  reason = reason] { *refused = absl::StrCat(name, ": ", reason); })
        ->group("");
  }
  // These have no meaning any more, in docker neither.
  command.add_flag("--rm,--force-rm,--compress,--disable-content-trust")->group("");
  command.footer(
      "Examples:\n"
      "  farm build -t app .\n"
      "  farm build -t app -f app.Dockerfile --build-arg VERSION=1.2 --target run .\n"
      "  farm build --push -t registry.example.com/team/app:1.2 .\n"
      "  farm build -o out .                  the files of the result, without an image\n"
      "  farm build - < context.tar           files, or a Dockerfile, from a pipe\n"
      "  farm build -t app https://example.com/app.git#v1.2:docker");
  command.callback([flags, refused, &run] {
    run = [flags, refused](CommandContext& context) {
      if (!refused->empty()) {
        context.err() << "farm build: " << *refused << std::endl;
        return static_cast<int>(kExitUsage);
      }
      return Build(*flags, context).Run();
    };
  });
}

}  // namespace farm
