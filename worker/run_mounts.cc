#include "worker/run_mounts.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/errno_status.h"
#include "base/ssh_agent_protocol.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr uint32_t kTmpfsMode = 01777;
constexpr uint32_t kModeBits = 07777;
constexpr uint32_t kSocketModeBits = 0777;

// The mount as asked for, what is mounted left out.
SandboxMount MountOf(const v1::RunMount& asked) {
  SandboxMount mount;
  mount.target = asked.target();
  mount.read_only = asked.read_only();
  mount.mode = asked.mode();
  mount.uid = asked.uid();
  mount.gid = asked.gid();
  return mount;
}

CacheDirectories::Key KeyOf(const v1::StepExecution& execution, const v1::RunMount& asked) {
  const auto text = [](bool given, uint32_t value) { return given ? absl::StrCat(value) : "-"; };
  return {.scope = execution.cache_scope(),
          .id = asked.id(),
          .start = absl::StrCat(asked.content().hash(), " ", text(asked.has_uid(), asked.uid()),
                                ":", text(asked.has_gid(), asked.gid()), " ",
                                text(asked.has_mode(), asked.mode()))};
}

CacheDirectories::Sharing SharingOf(const v1::RunMount& asked) {
  switch (asked.sharing()) {
    case v1::RunMount::SHARING_PRIVATE:
      return CacheDirectories::Sharing::kPrivate;
    case v1::RunMount::SHARING_LOCKED:
      return CacheDirectories::Sharing::kLocked;
    default:
      return CacheDirectories::Sharing::kShared;
  }
}

// What the mount says of a new cache's owner and mode; -1 leaves what is there.
absl::Status SetOwnerAndMode(const v1::RunMount& asked, int dir_fd) {
  constexpr auto kAsItIs = static_cast<uint32_t>(-1);
  if (fchown(dir_fd, asked.has_uid() ? asked.uid() : kAsItIs,
             asked.has_gid() ? asked.gid() : kAsItIs) != 0 ||
      (asked.has_mode() && fchmod(dir_fd, asked.mode() & kModeBits) != 0)) {
    return ErrnoStatus(errno, "owner and mode");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunMounts::Prepare(InputFetcher::Errand& errand) {
  for (int i = 0; i < run_.spec.identity().run().mounts_size(); ++i) {
    if (Asked(i).kind() == v1::RunMount::KIND_CACHE) continue;
    RETURN_IF_ERROR(Add(i, errand));
  }
  // Last, so that nobody waits for what this step has locked while it fetches.
  return AddCaches(errand);
}

void RunMounts::AddTo(SandboxSpec& spec) const {
  for (const auto& [place, mount] : mounts_) spec.mounts.push_back(mount);
  spec.env.insert(spec.env.end(), env_.begin(), env_.end());
}

void RunMounts::Put(int index, SandboxMount mount) {
  mounts_[{mount.target, index}] = std::move(mount);
}

absl::Status RunMounts::Add(int index, InputFetcher::Errand& errand) {
  const v1::RunMount& asked = Asked(index);
  SandboxMount mount = MountOf(asked);
  switch (asked.kind()) {
    case v1::RunMount::KIND_BIND:
      return AddBind(index, errand);
    case v1::RunMount::KIND_FILE:
      mount.kind = SandboxMount::Kind::kFile;
      mount.contents = asked.contents();
      break;
    case v1::RunMount::KIND_TMPFS:
      mount.kind = SandboxMount::Kind::kTmpfs;
      mount.size_bytes = asked.size_bytes();
      mount.mode = kTmpfsMode;
      break;
    case v1::RunMount::KIND_SECRET:
      return AddSecret(index);
    case v1::RunMount::KIND_SSH:
      return AddSshAgent(index);
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("mount ", v1::RunMount::Kind_Name(asked.kind()), " is unknown"));
  }
  Put(index, std::move(mount));
  return absl::OkStatus();
}

absl::Status RunMounts::AddBind(int index, InputFetcher::Errand& errand) {
  const v1::RunMount& asked = Asked(index);
  ASSIGN_OR_RETURN(MountSource fetched, Fetch(asked, errand), _ << "mount " << asked.target());
  MountSource& source = sources_.emplace_back(std::move(fetched));
  SandboxMount mount = MountOf(asked);
  mount.kind = SandboxMount::Kind::kBind;
  ASSIGN_OR_RETURN(mount.source_fd,
                   source.Show(tools_, asked.read_only(),
                               absl::StrCat(step_dir_, "/mount-", sources_.size()), run_.cancel),
                   _ << "mount " << asked.target());
  Put(index, std::move(mount));
  return absl::OkStatus();
}

absl::Status RunMounts::AddCaches(InputFetcher::Errand& errand) {
  // By name, as CacheDirectories wants it; mounts of one cache show one directory.
  std::map<std::string, std::vector<int>> by_name;
  for (int i = 0; i < run_.spec.identity().run().mounts_size(); ++i) {
    if (Asked(i).kind() != v1::RunMount::KIND_CACHE) continue;
    by_name[CacheDirectories::NameOf(KeyOf(run_.spec.execution(), Asked(i)))].push_back(i);
  }
  for (const auto& [name, indexes] : by_name) {
    const v1::RunMount& first = Asked(indexes.front());
    const auto say_that_it_waits = [&] {
      run_.log.Append(LogStream::kStderr, absl::StrCat("waiting for the cache ", first.id(),
                                                       ", which another step has\n"));
    };
    const auto fill = [&](int dir_fd) -> absl::Status {
      if (first.source() >= 0) {
        ASSIGN_OR_RETURN(const MountSource source, Fetch(first, errand));
        RETURN_IF_ERROR(source.CopyInto(dir_fd, run_.cancel));
      }
      return SetOwnerAndMode(first, dir_fd);
    };
    CacheDirectories::Handle& cache = caches_[name];
    ASSIGN_OR_RETURN(cache,
                     tools_.caches.Acquire(KeyOf(run_.spec.execution(), first), SharingOf(first),
                                           run_.cancel, say_that_it_waits, fill),
                     _ << "mount " << first.target());
    for (const int index : indexes) {
      SandboxMount mount = MountOf(Asked(index));
      mount.kind = SandboxMount::Kind::kBind;
      mount.source_fd = cache.fd();
      Put(index, std::move(mount));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<MountSource> RunMounts::Fetch(const v1::RunMount& asked,
                                             InputFetcher::Errand& errand) const {
  const auto& sources = run_.spec.inputs().sources();
  if (asked.source() < 0 || asked.source() >= sources.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the step has no source ", asked.source()));
  }
  ASSIGN_OR_RETURN(const Digest content, DigestFromProto(asked.content()));
  return MountSource::Fetch(tools_, sources[asked.source()], asked.path(), content, errand);
}

absl::Status RunMounts::AddSecret(int index) {
  const v1::RunMount& asked = Asked(index);
  const auto& secrets = run_.spec.execution().secrets();
  const auto secret =
      std::find_if(secrets.begin(), secrets.end(),
                   [&asked](const v1::SecretValue& known) { return known.id() == asked.id(); });
  if (secret == secrets.end()) {
    if (!asked.required()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("secret ", asked.id(), ": not found"));
  }
  if (!asked.env().empty()) env_.push_back(absl::StrCat(asked.env(), "=", secret->value()));
  if (asked.target().empty()) return absl::OkStatus();
  SandboxMount mount = MountOf(asked);
  mount.kind = SandboxMount::Kind::kFile;
  mount.contents = secret->value();
  Put(index, std::move(mount));
  return absl::OkStatus();
}

absl::Status RunMounts::AddSshAgent(int index) {
  const v1::RunMount& asked = Asked(index);
  const auto& agents = run_.spec.execution().ssh_agents();
  if (std::find(agents.begin(), agents.end(), asked.id()) == agents.end()) {
    if (!asked.required()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("ssh agent ", asked.id(), ": not found"));
  }
  if (ssh_agents_.size() == kSshMountsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("more than ", kSshMountsMax, " mounts of ssh agents"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<SshAgentSocket> socket,
                   SshAgentSocket::Open(
                       {.path = absl::StrCat(step_dir_, "/ssh-agent-", index),
                        .mode = asked.mode() & kSocketModeBits,
                        .uid = asked.uid(),
                        .gid = asked.gid()},
                       [this, id = asked.id()](absl::string_view question, CancelToken& cancel) {
                         return run_.ask_ssh_agent(id, question, cancel);
                       }),
                   _ << "mount " << asked.target());
  SandboxMount mount = MountOf(asked);
  mount.kind = SandboxMount::Kind::kBind;
  mount.source_fd = socket->fd();
  ssh_agents_.push_back(std::move(socket));
  Put(index, std::move(mount));
  return absl::OkStatus();
}

}  // namespace farm
