// farm import, load, save, pull, push
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/byte_stream.h"
#include "base/digest_proto.h"
#include "base/errno_status.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "cli/build_output.h"
#include "cli/command.h"
#include "cli/follow_build.h"
#include "cli/interrupts.h"
#include "cli/progress.h"
#include "cli/registry_credentials.h"
#include "cli/spooled_file.h"
#include "oci/archive_reader.h"
#include "oci/manifest.h"
#include "oci/platform.h"
#include "oci/reference.h"
#include "plan/config_changes.h"
#include "plan/platform_proto.h"
#include "rpc/status.h"

namespace farm {
namespace {

constexpr int kUploadsMax = 3;

struct TransferFlags {
  std::string name;                // of commands that take one
  std::vector<std::string> names;  // of those that take several
  std::string source = "-";
  std::string tag;
  std::string message;
  std::string platform;
  std::string output = "-";
  std::string input = "-";
  std::string compression;
  std::string progress = "auto";
  std::vector<std::string> changes;
  bool quiet = false;
};

using Start = std::function<absl::Status(FarmClient&, const FarmClient::EventHandler&)>;

// Runs one of the farm's streams to its end, shown as a build is. OK: it succeeded. CANCELLED: by
// Ctrl-C. An error that the stream itself told has been printed, see ExitCodeOf().
absl::StatusOr<v1::BuildFinished> Follow(const std::string& title, const TransferFlags& flags,
                                         CommandContext& context, Interrupts& interrupts,
                                         const Start& start) {
  ProgressOptions options;
  options.title = title;
  ASSIGN_OR_RETURN(options.mode, ParseProgressMode(flags.progress), AsUsageError(_));
  if (flags.quiet) options.mode = ProgressMode::kQuiet;
  RETURN_IF_ERROR(context.Farm().status());
  const std::unique_ptr<Progress> progress = MakeProgress(options, context.err(), context.clock());
  context.SetNote([&](absl::string_view line) { progress->Note(line); });
  BuildHandle handle;
  absl::StatusOr<v1::BuildFinished> finished = context.OnFarm(
      [&](FarmClient& client) {
        const Interrupts::Cancellable cancellable(interrupts, [&] { handle.Cancel(client); });
        return FollowBuild(
            client, [&](const FarmClient::EventHandler& handler) { return start(client, handler); },
            *progress, handle);
      },
      [&] { return handle.id().empty() && !handle.cancelled(); });
  context.SetNote(nullptr);
  progress->Finish();
  if (handle.cancelled() && (!finished.ok() || finished->has_error())) {
    return absl::CancelledError("cancelled");
  }
  return finished;
}

// The exit status for a stream that did not end well.
int ExitCodeOf(const absl::StatusOr<v1::BuildFinished>& finished, CommandContext& context) {
  if (absl::IsCancelled(finished.status())) return kExitInterrupted;
  if (!finished.ok()) return context.Fail(finished.status());
  return finished->failed_step() != 0 ? kExitFailed
                                      : ExitCodeFor(FromErrorDetail(finished->error()));
}

// Uploads what a stream reads and follows it; again if the farm has lost what was uploaded: until
// something names it, a `farm prune` may take it.
absl::StatusOr<v1::BuildFinished> UploadAndFollow(
    const std::function<absl::Status()>& upload,
    const std::function<absl::StatusOr<v1::BuildFinished>()>& follow) {
  for (int attempt = 1;; ++attempt) {
    RETURN_IF_ERROR(upload());
    absl::StatusOr<v1::BuildFinished> finished = follow();
    if (!absl::IsFailedPrecondition(finished.status()) || attempt == kUploadsMax) return finished;
  }
}

bool Succeeded(const absl::StatusOr<v1::BuildFinished>& finished) {
  return finished.ok() && !finished->has_error();
}

absl::Status SetPlatform(const std::string& text, v1::Platform& proto) {
  ASSIGN_OR_RETURN(const Platform platform, Platform::Parse(text), AsUsageError(_ << "--platform"));
  proto.set_os(platform.os);
  proto.set_architecture(platform.architecture);
  proto.set_variant(platform.variant);
  return absl::OkStatus();
}

absl::StatusOr<std::string> CanonicalName(const std::string& text) {
  ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(text), AsUsageError(_ << text));
  return reference.WithDefaultTag().canonical();
}

// Passes events on. If what the farm was given to unpack is damaged, or no tar at all, that is said
// of the person's own file.
FarmClient::EventHandler BlamingFile(const std::string& source,
                                     const FarmClient::EventHandler& handler) {
  return [&source, &handler](const v1::BuildEvent& event) {
    const auto code = static_cast<absl::StatusCode>(event.finished().error().code());
    if (code != absl::StatusCode::kDataLoss && code != absl::StatusCode::kInvalidArgument) {
      return handler(event);
    }
    v1::BuildEvent blaming = event;
    v1::ErrorDetail& error = *blaming.mutable_finished()->mutable_error();
    error.set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
    error.set_message(
        absl::StrCat(source == "-" ? "standard input" : source, ": ", error.message()));
    handler(blaming);
  };
}

int RunImport(const TransferFlags& flags, CommandContext& context, Interrupts& interrupts) {
  v1::ImportImageRequest request;
  if (!flags.tag.empty()) {
    const absl::StatusOr<std::string> name = CanonicalName(flags.tag);
    if (!name.ok()) return context.Fail(name.status());
    request.set_tag(*name);
  }
  if (!flags.platform.empty()) {
    const absl::Status status = SetPlatform(flags.platform, *request.mutable_platform());
    if (!status.ok()) return context.Fail(status);
  }
  const absl::Status changes =
      ApplyConfigChanges(flags.changes, request.has_platform() ? request.platform()
                                                               : PlatformToProto(Platform::Host()))
          .status();
  if (!changes.ok()) return context.Fail(AsUsageError(changes));
  for (const std::string& change : flags.changes) request.add_changes(change);
  request.set_message(flags.message.empty() ? absl::StrCat("Imported from ", flags.source)
                                            : flags.message);
  const absl::StatusOr<SpooledFile> file = OpenSpooled(flags.source);
  if (!file.ok()) return context.Fail(AsLocalError(file.status()));
  *request.mutable_blob() = DigestToProto(file->digest);
  const auto upload = [&](FarmClient& farm) -> absl::Status {
    if (lseek(file->fd.get(), 0, SEEK_SET) < 0) return ErrnoStatus(errno, flags.source);
    FdSource bytes(file->fd.get());
    return farm.blobs().Put(file->digest, bytes);
  };
  const auto start = [&](FarmClient& client, const FarmClient::EventHandler& handler) {
    return client.ImportImage(request, BlamingFile(flags.source, handler));
  };
  const auto finished =
      UploadAndFollow([&] { return context.OnFarm(upload); },
                      [&] { return Follow("Importing", flags, context, interrupts, start); });
  if (!Succeeded(finished)) return ExitCodeOf(finished, context);
  context.out() << "sha256:" << finished->image().config().hash() << std::endl;
  return kExitDone;
}

// The digest that names what was pulled, as docker tells it: of an image for several platforms that
// of its index.
std::string PulledDigest(const Reference& name, const v1::BuiltImage& image,
                         CommandContext& context) {
  if (!name.digest().empty()) return name.digest();
  const std::string manifest = "sha256:" + image.manifest().hash();
  v1::InspectImageRequest request;
  request.set_name(name.WithDefaultTag().canonical());
  const absl::StatusOr<v1::Image> stored =
      context.OnFarm([&](FarmClient& farm) { return farm.InspectImage(request); });
  if (!stored.ok()) return manifest;
  std::string digest = manifest;
  for (const std::string& text : stored->repo_digests()) {  // The latest is the last.
    const auto pinned = Reference::Parse(text);
    if (pinned.ok() && pinned->RepositoryOnly() == name.RepositoryOnly()) digest = pinned->digest();
  }
  return digest;
}

int RunPull(const TransferFlags& flags, CommandContext& context, Interrupts& interrupts) {
  v1::PullImageRequest request;
  const absl::StatusOr<Reference> reference = Reference::Parse(flags.name);
  if (!reference.ok()) return context.Fail(AsUsageError(reference.status()));
  request.set_name(reference->WithDefaultTag().canonical());
  if (!flags.platform.empty()) {
    const absl::Status status = SetPlatform(flags.platform, *request.mutable_platform());
    if (!status.ok()) return context.Fail(status);
  }
  AddPullCredentials(
      {reference->host()}, [&](absl::string_view line) { context.Note(line); },
      *request.mutable_credentials());
  const auto finished = Follow("Pulling", flags, context, interrupts,
                               [&](FarmClient& client, const FarmClient::EventHandler& handler) {
                                 return client.PullImage(request, handler);
                               });
  if (!Succeeded(finished)) return ExitCodeOf(finished, context);
  if (!flags.quiet) {
    context.out() << "Digest: " << PulledDigest(*reference, finished->image(), context) << "\n";
  }
  context.out() << request.name() << std::endl;
  return kExitDone;
}

int RunPush(const TransferFlags& flags, CommandContext& context, Interrupts& interrupts) {
  const absl::StatusOr<Reference> reference = Reference::Parse(flags.name);
  if (!reference.ok()) return context.Fail(AsUsageError(reference.status()));
  v1::PushImageRequest request;
  request.set_name(reference->WithDefaultTag().canonical());
  request.set_compression(flags.compression);
  const absl::Status status =
      AddRegistryCredentials({reference->host()}, *request.mutable_credentials());
  if (!status.ok()) return context.Fail(status);
  const auto finished = Follow("Pushing", flags, context, interrupts,
                               [&](FarmClient& client, const FarmClient::EventHandler& handler) {
                                 return client.PushImage(request, handler);
                               });
  if (!Succeeded(finished)) return ExitCodeOf(finished, context);
  for (const v1::PushedImage& pushed : finished->image().pushed()) {
    const auto name = Reference::Parse(pushed.name());
    context.out() << (name.ok() && !name->tag().empty() ? name->tag() : pushed.name())
                  << ": digest: sha256:" << pushed.manifest().hash()
                  << " size: " << pushed.manifest().size_bytes() << std::endl;
  }
  return kExitDone;
}

// True if `name` is the id `hash` or its beginning, and no name that begins by chance like it.
bool IsId(const std::string& name, const std::string& hash, CommandContext& context) {
  const absl::string_view digits = absl::StripPrefix(name, "sha256:");
  if (digits.empty() || !absl::StartsWith(hash, digits)) return false;
  const auto reference = Reference::Parse(name);
  if (!reference.ok() || digits.size() != name.size()) return true;
  v1::InspectImageRequest request;
  request.set_name(name);
  const absl::StatusOr<v1::Image> image =
      context.OnFarm([&](FarmClient& farm) { return farm.InspectImage(request); });
  const std::string tag = reference->WithDefaultTag().familiar();
  return !image.ok() || std::count(image->tags().begin(), image->tags().end(), tag) == 0;
}

// Adds an image to those of an archive, where each stands once with all of its names. An image that
// was named by its id or digest has none there, as docker has it.
void AddStored(const v1::BuildFinished& finished, const std::string& name,
               std::vector<StoredImage>& images) {
  const v1::BuiltImage& image = finished.image();
  auto stored = std::find_if(images.begin(), images.end(), [&](const StoredImage& other) {
    return other.manifest.hash() == image.manifest().hash();
  });
  if (stored == images.end()) {
    stored = images.insert(images.end(),
                           {.manifest = image.manifest(), .config = image.config(), .names = {}});
  }
  const auto reference = Reference::Parse(name);
  if (!reference.ok() || !reference->digest().empty()) return;
  const std::string full = reference->WithDefaultTag().canonical();
  if (std::count(stored->names.begin(), stored->names.end(), full) == 0) {
    stored->names.push_back(full);
  }
}

int RunSave(const TransferFlags& flags, CommandContext& context, Interrupts& interrupts) {
  if (flags.output == "-" && isatty(1) == 1) {
    return context.Fail(AsUsageError(absl::InvalidArgumentError(
        "refusing to write an archive to a terminal; use -o FILE or redirect")));
  }
  std::vector<StoredImage> images;
  for (const std::string& name : flags.names) {
    v1::ExportImageRequest request;
    request.set_name(name);
    const auto finished = Follow("Exporting", flags, context, interrupts,
                                 [&](FarmClient& client, const FarmClient::EventHandler& handler) {
                                   return client.ExportImage(request, handler);
                                 });
    if (!Succeeded(finished)) return ExitCodeOf(finished, context);
    AddStored(*finished, IsId(name, finished->image().config().hash(), context) ? "" : name,
              images);
  }
  const absl::Status status = context.OnFarm(
      [&](FarmClient& farm) {
        return WriteOutputFile(flags.output, [&](ByteSink& sink) {
          return WriteDockerArchive(images, farm.blobs(), sink);
        });
      },
      [&] { return MayWriteAgain(flags.output); });
  return status.ok() ? kExitDone : context.Fail(status);
}

// Uploads an image of an archive and says what it is made of.
absl::StatusOr<v1::LoadImageRequest> UploadImage(const ArchiveReader& archive, size_t index,
                                                 BlobStore& blobs) {
  const LoadedImage& image = archive.images()[index];
  Manifest manifest;
  manifest.config.media_type = kOciConfigType;
  manifest.config.digest = DigestOf(image.config_bytes);
  for (size_t layer = 0; layer < image.layers.size(); ++layer) {
    ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> source, archive.OpenLayer(index, layer));
    HashSink hash;
    RETURN_IF_ERROR(CopyBytes(*source, hash).status());
    Descriptor descriptor;
    descriptor.media_type = image.layers[layer].media_type;
    descriptor.digest = hash.Finish();
    ASSIGN_OR_RETURN(const std::vector<Digest> missing, blobs.FindMissing({descriptor.digest}));
    if (!missing.empty()) {
      ASSIGN_OR_RETURN(source, archive.OpenLayer(index, layer));
      RETURN_IF_ERROR(blobs.Put(descriptor.digest, *source)) << "layer " << layer;
    }
    manifest.layers.push_back(std::move(descriptor));
  }
  v1::LoadImageRequest request;
  request.set_config_json(image.config_bytes);
  request.set_manifest_json(image.manifest_bytes.empty() ? SerializeManifest(manifest)
                                                         : image.manifest_bytes);
  RETURN_IF_ERROR(PutBytes(blobs, request.config_json()).status());
  RETURN_IF_ERROR(PutBytes(blobs, request.manifest_json()).status());
  for (const Reference& name : image.names) {
    request.add_tags(name.WithDefaultTag().canonical());
  }
  return request;
}

int RunLoad(const TransferFlags& flags, CommandContext& context, Interrupts& interrupts) {
  absl::StatusOr<SpooledFile> file = OpenSpooled(flags.input);
  if (!file.ok()) return context.Fail(AsLocalError(file.status()));
  const absl::StatusOr<std::unique_ptr<ArchiveReader>> archive =
      ArchiveReader::Open(std::move(file->fd));
  if (!archive.ok()) return context.Fail(AsLocalError(Annotate(archive.status(), flags.input)));
  for (size_t i = 0; i < (*archive)->images().size(); ++i) {
    v1::LoadImageRequest request;
    const auto upload = [&](FarmClient& farm) -> absl::Status {
      ASSIGN_OR_RETURN(request, UploadImage(**archive, i, farm.blobs()));
      return absl::OkStatus();
    };
    const auto start = [&](FarmClient& client, const FarmClient::EventHandler& handler) {
      return client.LoadImage(request, BlamingFile(flags.input, handler));
    };
    const auto finished =
        UploadAndFollow([&] { return context.OnFarm(upload); },
                        [&] { return Follow("Loading", flags, context, interrupts, start); });
    if (!Succeeded(finished)) return ExitCodeOf(finished, context);
    for (const Reference& name : (*archive)->images()[i].names) {
      context.out() << "Loaded image: " << name.WithDefaultTag().familiar() << "\n";
    }
    if ((*archive)->images()[i].names.empty()) {
      context.out() << "Loaded image ID: " << DigestOf((*archive)->images()[i].config_bytes).oci()
                    << "\n";
    }
  }
  return kExitDone;
}

}  // namespace

void AddTransferCommands(CLI::App& app, CommandRunner& run) {
  const auto add = [&app, &run](const char* name, const char* what,
                                int (*body)(const TransferFlags&, CommandContext&, Interrupts&),
                                const std::shared_ptr<TransferFlags>& flags) -> CLI::App& {
    CLI::App& command = *app.add_subcommand(name, what);
    command.group("Images");
    command.callback([flags, body, &run] {
      run = [flags, body](CommandContext& context) {
        Interrupts interrupts;
        return body(*flags, context, interrupts);
      };
    });
    command.add_option("--progress", flags->progress, "auto, tty, plain, rawjson or quiet")
        ->type_name("MODE")
        ->take_last();
    command.add_flag("-q,--quiet", flags->quiet, "no progress");
    return command;
  };

  auto flags = std::make_shared<TransferFlags>();
  CLI::App& import =
      add("import", "Make an image of a tar of a root file system", RunImport, flags);
  import.add_option("SOURCE", flags->source, "file, URL, or - for standard input")
      ->type_name("FILE|URL|-")
      ->required();
  import.add_option("NAME", flags->tag, "name for the image")->type_name("REPOSITORY[:TAG]");
  import.add_option("-c,--change", flags->changes, "instruction for its config: 'CMD [\"sh\"]'")
      ->type_name("INSTRUCTION")
      ->allow_extra_args(false)
      ->take_all();
  import.add_option("-m,--message", flags->message, "comment in its history")
      ->type_name("TEXT")
      ->take_last();
  import.add_option("--platform", flags->platform, "platform of what is in it")
      ->type_name("OS/ARCH")
      ->take_last();
  import.footer("Example:\n  farm import bookworm.tar debian:bookworm");

  flags = std::make_shared<TransferFlags>();
  CLI::App& load = add("load", "Load images from an archive (docker save, OCI)", RunLoad, flags);
  load.add_option("-i,--input", flags->input, "archive [standard input]")->type_name("FILE");

  flags = std::make_shared<TransferFlags>();
  CLI::App& save = add("save", "Write images as an archive for docker load", RunSave, flags);
  save.add_option("IMAGE", flags->names, "names or ids")->type_name("IMAGE")->required();
  save.add_option("-o,--output", flags->output, "file [standard output]")->type_name("FILE");

  flags = std::make_shared<TransferFlags>();
  CLI::App& pull = add("pull", "Bring an image from a registry", RunPull, flags);
  pull.add_option("NAME", flags->name, "image")->type_name("NAME[:TAG|@DIGEST]")->required();
  pull.add_option("--platform", flags->platform, "which one, if there are several")
      ->type_name("OS/ARCH")
      ->take_last();

  flags = std::make_shared<TransferFlags>();
  CLI::App& push = add("push", "Send an image to a registry", RunPush, flags);
  push.add_option("NAME", flags->name, "image")->type_name("NAME[:TAG]")->required();
  push.add_option("--compression", flags->compression, "of its layers: gzip or zstd [gzip]")
      ->type_name("FORM")
      ->check(CLI::IsMember({"gzip", "zstd"}).description(""));
}

}  // namespace farm
