// What a build would do: the steps of a Dockerfile's target, each with what it reads, and the image
// at the end. Pure values: nothing here runs, fetches or stores.
#ifndef FARM_PLAN_PLAN_H_
#define FARM_PLAN_PLAN_H_

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/digest.h"
#include "base/source_position.h"
#include "oci/image_config.h"
#include "plan/source_url.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// A file system that a step starts from or copies from.
struct FileSystemRef {
  enum class Kind {
    kScratch,  // nothing in it
    kContext,  // the build context, or at another index than 0 a named one; only to copy from
    kBase,     // Plan::bases[index]
    kRemote,   // Plan::remotes[index]; only to copy from
    kStep,     // what Plan::steps[index] leaves behind
  };
  Kind kind = Kind::kScratch;
  int index = 0;

  friend bool operator==(const FileSystemRef&, const FileSystemRef&) = default;
};

// An image that a FROM or a --from names, as the farm resolved it.
struct BaseImage {
  std::string reference;  // canonical, pinned for the whole build
  Digest manifest;        // zero for what was assumed (an offline plan)
  ImageConfig config;     // its rootfs.diff_ids are the layers, base first
  // Not pinned: "docker.io/library/alpine:latest". Set by MakePlan, as is the next.
  std::string name;
  std::string platform;  // it was resolved for: "linux/amd64"
};

// What ADD, or a named context, reads from the network. It is fetched before the step can have a
// key: the key holds what came, not where it came from.
struct RemoteSource {
  enum class Kind { kHttp, kGit };
  Kind kind = Kind::kHttp;
  std::string url;        // as written, after expansion
  std::string file_name;  // kHttp: the name of the one file
  // What must come: "sha256:HEX" of the file, or the hex id of the commit or tag. "" is anything.
  std::string checksum;
  GitReference git;  // kGit; with what the flags of ADD say
};

// What a COPY, ADD or mount reads of one file system, before wildcards and symlinks are resolved
// against it.
struct SourceRequest {
  FileSystemRef from;
  int stage = -1;                     // the stage that --from names, if it is one
  std::string from_written;           // what --from says; "" for the build context
  std::vector<std::string> patterns;  // expanded, relative to the root of `from`
  bool literal = false;               // they are names: no wildcards
  // For each pattern whether its ".." leads above the root, which it does not leave. Missing: no.
  std::vector<bool> lead_out;
  // With --parents, one for each pattern: what is copied of the directory that the pattern names,
  // by a path or pattern relative to it.
  std::vector<std::string> includes;
  std::vector<std::string> excludes;  // --exclude, as .dockerignore has them
  bool unpack = false;                // archives, if they are files
  std::vector<std::string> written;   // the sources after expansion, as people know them
};

// A file that the Dockerfile holds: a heredoc of COPY or ADD.
struct InlineFile {
  std::string name;
  std::string data;
};

struct Plan;

struct PlanStep {
  int id = 0;               // index in Plan::steps; all that it needs stand before it
  std::string name;         // "[build 2/5] RUN make": for people, and not in the key
  std::string instruction;  // as history shows it: "RUN /bin/sh -c make # buildkit"
  SourcePosition position;
  std::string source_line;  // of the Dockerfile at `position`, to quote in messages
  // Of a trigger, whose position is that of FROM: "from the image base: ONBUILD RUN make".
  std::string origin;
  FileSystemRef parent;
  // Its layer is made on an empty root, whatever the parent is, and put on top (COPY --link).
  bool link = false;
  // Operation and platform. What depends on the content of `sources` is still empty: the items of a
  // COPY, the digests of a RUN's mounts. See ResolveSources().
  v1::StepIdentity identity;
  std::vector<SourceRequest> sources;
  std::vector<InlineFile> inline_files;  // of COPY and ADD, after the sources

  // Steps that must be done before this one can have a key.
  std::vector<int> Dependencies(const Plan& plan) const;

  // INVALID_ARGUMENT at the step's place in the Dockerfile; says where a trigger comes from.
  absl::Status Error(absl::string_view message) const;
  // `error` with the step's place and name before its message, if it is not at a place already.
  absl::Status Locate(const absl::Status& error) const;
};

// One line of the final image's history.
struct PlanHistory {
  std::string created_by;
  std::string comment;
  std::string author;
  int step = -1;  // the step whose layer this is; -1: metadata only
};

// One instruction after expansion, for people and `farm plan`; what a build needs is in steps and
// config. Order is that of the file, triggers of the base first.
struct PlanInstruction {
  std::string name;         // "COPY"
  SourcePosition position;  // of a trigger: that of FROM
  bool is_trigger = false;  // came from the base's ONBUILD
  int step = -1;            // its step, if it makes a layer
  // ENV, LABEL, ARG: name and value; nullopt for an ARG that has none.
  std::vector<std::pair<std::string, std::optional<std::string>>> pairs;
  // WORKDIR, USER, STOPSIGNAL, MAINTAINER, ONBUILD: one; EXPOSE, VOLUME, SHELL: all.
  std::vector<std::string> values;
  // COPY, ADD: the flags that are on, of "link", "parents", "keep-git-dir", "unpack".
  std::set<std::string> switches;
};

// A stage of the file. Only the first block is set if the target does not need it.
struct PlanStage {
  int index = 0;
  std::string name;          // lower case; "" if it has none
  SourcePosition position;   // of its FROM
  std::string platform;      // "linux/amd64"
  std::string base_image;    // canonical reference as written (not pinned), "" for the others
  int base_stage = -1;       // -1: an image, a context, or scratch
  std::string base_context;  // name of the context that it is built on
  bool needed = false;

  FileSystemRef file_system;  // what it leaves behind
  std::vector<PlanInstruction> instructions;
  // As if it were the target, but for --label; complete but for times and rootfs. As history has no
  // steps here, `empty_layer` says which lines made a layer.
  ImageConfig image;
};

struct Plan {
  std::vector<BaseImage> bases;
  std::vector<RemoteSource> remotes;
  std::vector<PlanStep> steps;  // only those that the target needs, in an order that can run
  FileSystemRef result;         // root file system of the image
  // Config of the image: complete but for rootfs.diff_ids, `created` and the history's times.
  // Its `history` holds the base's entries only; those of this build are `history`.
  ImageConfig config;
  std::vector<PlanHistory> history;
  // SOURCE_DATE_EPOCH: no time in the image's config is later.
  std::optional<absl::Time> created_max;
  int target = 0;                 // index in `stages`
  std::vector<PlanStage> stages;  // all of the file, in order
  std::vector<std::string> warnings;
  // "HTTP_PROXY=..." of the build arguments that a proxy is known by: for StepExecution.extra_env
  // of every RUN. A Dockerfile that declares one by ARG has it in the identity's env as well.
  std::vector<std::string> proxy_env;
};

}  // namespace farm

#endif  // FARM_PLAN_PLAN_H_
