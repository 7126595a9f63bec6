#include "cli/local_farm.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/config_file.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "proto/farm/v1/config.pb.h"

extern char** environ;

namespace farm {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kPollMin = absl::Milliseconds(2);
constexpr absl::Duration kPollMax = absl::Milliseconds(50);
constexpr absl::Duration kInfoTimeout = absl::Seconds(10);
constexpr absl::Duration kIdleShutdown = absl::Minutes(15);
// The worker ends so long after its coordinator has gone.
constexpr absl::Duration kLeaveAfter = absl::Seconds(2);
constexpr int64_t kLogBytesMax = 4 << 20;  // Larger logs are put aside at start, as NAME.log.1.
constexpr int64_t kLogTailBytes = 4 << 10;
constexpr size_t kLogTailLines = 12;
constexpr int kAliveFd = 3;
constexpr absl::Duration kProbeTimeout = absl::Seconds(2);
// How often a farm that stops while it is being started is started again.
constexpr int kRoundsMax = 5;

// Waits a little longer each time, up to a deadline.
class Poll {
 public:
  explicit Poll(absl::Duration timeout) : deadline_(absl::Now() + timeout) {}
  // False once the deadline has passed.
  bool Wait() {
    if (absl::Now() >= deadline_) return false;
    absl::SleepFor(pause_);
    pause_ = std::min(pause_ * 2, kPollMax);
    return true;
  }

 private:
  const absl::Time deadline_;
  absl::Duration pause_ = kPollMin;
};

std::string EnvironmentOr(const char* name, absl::string_view otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && value[0] != 0 ? value : std::string(otherwise);
}

absl::Status MakeDirectory(const std::string& path, mode_t mode) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return absl::OkStatus();
  return ErrnoStatus(errno, path);
}

// The end of a log, as the person sees it when a program did not start.
std::string LastLines(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return "";
  const off_t size = lseek(fd.get(), 0, SEEK_END);
  lseek(fd.get(), std::max<off_t>(0, size - kLogTailBytes), SEEK_SET);
  FdSource source(fd.get());
  StringSink sink(2 * kLogTailBytes);
  CopyBytes(source, sink).IgnoreError();  // What was read will do.
  std::vector<std::string> lines = absl::StrSplit(sink.bytes(), '\n', absl::SkipEmpty());
  if (lines.size() > kLogTailLines) lines.erase(lines.begin(), lines.end() - kLogTailLines);
  return absl::StrJoin(lines, "\n");
}

absl::string_view NameOf(bool coordinator) { return coordinator ? "coordinator" : "worker"; }

absl::Status AccessError(const std::string& path) {
  struct stat info {};
  std::string mend = "ask its owner for access";
  const passwd* user = getpwuid(getuid());
  if (stat(path.c_str(), &info) == 0) {
    const group* owners = getgrgid(info.st_gid);
    if (owners != nullptr && info.st_gid != 0 && user != nullptr) {
      mend = absl::StrCat("run: sudo usermod -aG ", owners->gr_name, " ", user->pw_name,
                          " and log in again");
    } else if (info.st_uid == 0) {
      mend = "run the command with sudo";
    }
  } else if (errno == EACCES) {
    mend = "run the command with sudo";
  }
  return absl::PermissionDeniedError(
      absl::StrCat("no permission to use the farm at ", path, "; ", mend));
}

}  // namespace

absl::Status ProbeSocket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the path of a unix socket may have ",
                                                   sizeof(address.sun_path) - 1,
                                                   " bytes, this has ", path.size(), ": ", path));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return absl::OkStatus();
  }
  if (errno == ENOENT) return absl::NotFoundError(absl::StrCat("no socket ", path));
  if (errno == EACCES || errno == EPERM) return AccessError(path);
  return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
}

absl::StatusOr<LocalFarmOptions> LocalFarmOptions::Default() {
  LocalFarmOptions options;
  const std::string home = EnvironmentOr("HOME", "");
  if (const std::string dir = EnvironmentOr("FARM_LOCAL_DIR", ""); !dir.empty()) {
    options.runtime_dir = fs::absolute(dir);
    options.state_dir = options.runtime_dir + "/state";
  } else if (geteuid() == 0) {
    options.runtime_dir = "/run/farm";
    options.state_dir = "/var/lib/farm";
  } else {
    const std::string data = EnvironmentOr("XDG_DATA_HOME", home + "/.local/share");
    if (home.empty()) {
      return absl::FailedPreconditionError(
          "$HOME is not set, so there is no place for a local farm; set it or $FARM_LOCAL_DIR");
    }
    options.state_dir = data + "/farm";
    options.runtime_dir = EnvironmentOr("XDG_RUNTIME_DIR", options.state_dir + "/run") + "/farm";
  }
  for (const absl::string_view dir :
       absl::StrSplit(EnvironmentOr("FARM_PROGRAMS_DIR", ""), ':', absl::SkipEmpty())) {
    // Absolute, since the programs start in "/".
    options.program_dirs.push_back(fs::absolute(std::string(dir)));
  }
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (!error) options.program_dirs.push_back(self.parent_path());
  options.program_dirs.push_back("/usr/libexec/farm");
  options.program_dirs.push_back("/usr/sbin");
  if (!home.empty()) {
    options.config_dirs.push_back(EnvironmentOr("XDG_CONFIG_HOME", home + "/.config") + "/farm");
  }
  options.config_dirs.push_back("/etc/farm");
  return options;
}

LocalFarm::LocalFarm(LocalFarmOptions options, Connect connect, Note note)
    : options_(std::move(options)), connect_(std::move(connect)), note_(std::move(note)) {}

std::string LocalFarm::address() const {
  return absl::StrCat("unix:", options_.runtime_dir, "/farm.sock");
}

absl::StatusOr<std::unique_ptr<FarmClient>> LocalFarm::IfRunning() {
  const absl::Status probe = ProbeSocket(options_.runtime_dir + "/farm.sock");
  if (absl::IsNotFound(probe) || absl::IsUnavailable(probe)) return nullptr;
  RETURN_IF_ERROR(probe);
  return connect_(address());
}

absl::StatusOr<std::unique_ptr<FarmClient>> LocalFarm::Ensure() {
  for (int round = 1;; ++round) {
    ASSIGN_OR_RETURN(std::unique_ptr<FarmClient> client, IfRunning());
    if (client != nullptr) {
      // The common case costs one call.
      const absl::StatusOr<v1::InfoResponse> info = client->Info(kInfoTimeout);
      if (info.ok() && info->stopping()) {
        AwaitEnd(*client, *info);
      } else if (info.ok() && info->version() == Version() && info->workers_size() > 0 &&
                 IsAlive(Program::kWorker)) {
        return client;
      }
      if (!info.ok() && !absl::IsUnavailable(info.status())) return info.status();
    }
    absl::StatusOr<std::unique_ptr<FarmClient>> started = StartUnderLock();
    // It can begin to stop, or another client stop it, at any moment.
    if (started.ok() || !absl::IsAborted(started.status()) || round == kRoundsMax) return started;
  }
}

// Waits until the coordinator that gave `info`, and takes no more builds, is gone. Its builds may
// take long; whoever wants it to hurry can stop them.
void LocalFarm::AwaitEnd(FarmClient& client, const v1::InfoResponse& info) {
  if (info.builds_running() > 0) {
    note_(absl::StrCat("local farm: it stops once its builds are done (", info.builds_running(),
                       " under way); waiting for that"));
  }
  Poll poll(absl::InfiniteDuration());
  while (IsAlive(Program::kCoordinator) && !IsAnotherNow(client, info)) poll.Wait();
}

// Somebody else may have started the farm anew as soon as the one of `info` was gone.
bool LocalFarm::IsAnotherNow(FarmClient& client, const v1::InfoResponse& info) {
  const absl::StatusOr<v1::InfoResponse> now = client.Info(kInfoTimeout);
  return now.ok() && now->coordinator_pid() != info.coordinator_pid();
}

absl::StatusOr<std::unique_ptr<FarmClient>> LocalFarm::StartUnderLock() {
  RETURN_IF_ERROR(MakeDirectories());
  ASSIGN_OR_RETURN(const UniqueFd lock, TakeLock());
  // Another client may have started it meanwhile.
  ASSIGN_OR_RETURN(std::unique_ptr<FarmClient> client, IfRunning());
  if (client != nullptr) {
    const absl::StatusOr<v1::InfoResponse> info = client->Info(kInfoTimeout);
    if (info.ok() && info->stopping()) return absl::AbortedError("the local farm is stopping");
    if (info.ok() && info->version() != Version()) {
      if (info->builds_running() == 0) {
        note_(absl::StrCat("local farm: replacing version ", info->version(), " by ", Version()));
        client.reset();
        RETURN_IF_ERROR(Stop());
      } else {
        note_(
            absl::StrCat("local farm: version ", info->version(), " is busy, this is ", Version()));
      }
    } else if (!info.ok()) {
      client.reset();  // It was just stopping.
    }
  }
  if (client == nullptr) {
    ASSIGN_OR_RETURN(client, StartCoordinator());
  }
  RETURN_IF_ERROR(EnsureWorker(*client));
  return client;
}

absl::StatusOr<std::unique_ptr<FarmClient>> LocalFarm::StartCoordinator() {
  Poll poll(options_.start_timeout);
  while (IsAlive(Program::kCoordinator)) {
    if (!poll.Wait()) return StartError(Program::kCoordinator, "runs, but does not listen");
  }
  ASSIGN_OR_RETURN(const std::string config, WriteConfig(Program::kCoordinator));
  ASSIGN_OR_RETURN(int pid, Spawn(Program::kCoordinator, config));
  const std::string socket_path = options_.runtime_dir + "/farm.sock";
  std::unique_ptr<FarmClient> client;
  Poll ready(options_.start_timeout);
  while (true) {
    // The socket first: a channel that fails to connect would wait for its backoff.
    if (ProbeSocket(socket_path).ok()) {
      if (client == nullptr) {
        ASSIGN_OR_RETURN(client, connect_(address()));
      }
      if (client->CheckHealth(kInfoTimeout).ok()) break;
    }
    int exit_state = 0;
    if (waitpid(pid, &exit_state, WNOHANG) == pid) {
      // It may have ended in order: for idleness, if this client is so slow, or by somebody's stop.
      if (exit_state != 0 || !ready.Wait()) {
        return StartError(Program::kCoordinator, "ended at start");
      }
      client = nullptr;
      ASSIGN_OR_RETURN(pid, Spawn(Program::kCoordinator, config));
      continue;
    }
    if (!ready.Wait()) return StartError(Program::kCoordinator, "did not get ready in time");
  }
  return client;
}

absl::Status LocalFarm::EnsureWorker(FarmClient& client) {
  int pid = -1;
  Poll poll(options_.start_timeout);
  while (true) {
    const bool is_alive = IsAlive(Program::kWorker);
    int exit_state = 0;
    if (pid > 0 && waitpid(pid, &exit_state, WNOHANG) == pid) {
      return StartError(Program::kWorker, "ended at start");
    }
    if (!is_alive && pid < 0) {
      // There was none, or that of the coordinator before has just ended.
      ASSIGN_OR_RETURN(const std::string config, WriteConfig(Program::kWorker));
      ASSIGN_OR_RETURN(pid, Spawn(Program::kWorker, config));
    }
    const absl::StatusOr<v1::InfoResponse> info = client.Info(kInfoTimeout);
    if (absl::IsUnavailable(info.status())) return absl::AbortedError("the local farm stopped");
    RETURN_IF_ERROR(info.status());
    if (info->workers_size() > 0 && is_alive) return absl::OkStatus();
    if (!poll.Wait()) return StartError(Program::kWorker, "did not get ready in time");
  }
}

absl::Status LocalFarm::ReplaceLostWorker() {
  if (IsAlive(Program::kWorker) || !IsAlive(Program::kCoordinator)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const UniqueFd lock, TakeLock());
  ASSIGN_OR_RETURN(const std::unique_ptr<FarmClient> client, IfRunning());
  if (client == nullptr || IsAlive(Program::kWorker)) return absl::OkStatus();
  const absl::StatusOr<v1::InfoResponse> info = client->Info(kInfoTimeout);
  if (!info.ok() || info->stopping() || info->version() != Version()) return absl::OkStatus();
  note_("local farm: its worker is gone; starting another one");
  const absl::Status started = EnsureWorker(*client);
  return absl::IsAborted(started) ? absl::OkStatus() : started;
}

LocalWorkerGuard::LocalWorkerGuard(std::unique_ptr<LocalFarm> farm, absl::Duration interval)
    : farm_(std::move(farm)), interval_(interval), thread_([this] { Run(); }) {}

LocalWorkerGuard::~LocalWorkerGuard() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void LocalWorkerGuard::Run() {
  while (true) {
    {
      MutexLock lock(mu_);
      if (!stopping_) lock.WaitFor(changed_, interval_);
      if (stopping_) return;
    }
    const absl::Status replaced = farm_->ReplaceLostWorker();
    if (replaced.ok()) continue;
    farm_->Tell(absl::StrCat("local farm: ", replaced.message()));
    return;  // One that does not start now would not a second later.
  }
}

absl::Status LocalFarm::Stop() {
  ASSIGN_OR_RETURN(std::unique_ptr<FarmClient> client, IfRunning());
  absl::StatusOr<v1::InfoResponse> info = absl::NotFoundError("no local farm runs");
  if (client != nullptr) {
    info = client->Info(kInfoTimeout);
    const absl::Status status = client->Shutdown();
    if (!status.ok() && !absl::IsUnavailable(status)) return status;
    if (info.ok()) AwaitEnd(*client, *info);
  }
  Poll poll(options_.start_timeout);
  while (IsAlive(Program::kCoordinator) || IsAlive(Program::kWorker)) {
    if (info.ok() && IsAnotherNow(*client, *info)) return absl::OkStatus();
    if (!poll.Wait()) {
      return absl::DeadlineExceededError(
          absl::StrCat("the local farm is still stopping; its logs are in ", options_.state_dir));
    }
  }
  return absl::OkStatus();
}

absl::Status LocalFarm::MakeDirectories() {
  RETURN_IF_ERROR(MakeDirectory(options_.state_dir, 0700)) << "local farm";
  // Others may use root's farm if the socket itself lets them.
  RETURN_IF_ERROR(MakeDirectory(options_.runtime_dir, geteuid() == 0 ? 0755 : 0700))
      << "local farm";
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> LocalFarm::TakeLock() {
  const std::string path = options_.state_dir + "/start.lock";
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  // Whoever holds it may wait for two programs to start.
  Poll poll(2 * options_.start_timeout);
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return ErrnoStatus(errno, path);
    if (!poll.Wait()) {
      return absl::UnavailableError(
          absl::StrCat("another client has been starting the local farm for long (", path, ")"));
    }
  }
  return fd;
}

std::string LocalFarm::StatePath(Program program, absl::string_view ending) const {
  return absl::StrCat(options_.state_dir, "/", NameOf(program == Program::kCoordinator), ending);
}

absl::StatusOr<std::string> LocalFarm::WriteConfig(Program program) {
  v1::CoordinatorConfig coordinator;
  v1::WorkerConfig worker;
  const bool is_coordinator = program == Program::kCoordinator;
  google::protobuf::Message* config = &worker;
  if (is_coordinator) config = &coordinator;
  for (const std::string& dir : options_.config_dirs) {
    const std::string path = absl::StrCat(dir, "/local-", NameOf(is_coordinator), ".yaml");
    if (access(path.c_str(), F_OK) != 0) continue;
    RETURN_IF_ERROR(LoadConfigFile(path, *config));
    break;
  }
  if (is_coordinator) {
    coordinator.clear_listen();
    coordinator.add_listen(address());
    coordinator.set_state_dir(options_.state_dir);
    if (!coordinator.has_idle_shutdown()) {
      coordinator.mutable_idle_shutdown()->set_seconds(absl::ToInt64Seconds(kIdleShutdown));
    }
  } else {
    worker.set_coordinator(address());
    if (worker.name().empty()) worker.set_name("local");
    worker.set_state_dir(options_.state_dir + "/worker");
    worker.set_shared_blob_dir(options_.state_dir + "/cas");
    worker.mutable_leave_after()->set_seconds(absl::ToInt64Seconds(kLeaveAfter));
    if (worker.networks().empty()) {
      worker.add_networks(v1::NETWORK_MODE_ISOLATED);
      worker.add_networks(v1::NETWORK_MODE_HOST);  // The worker's network is that of who asks.
      worker.add_networks(v1::NETWORK_MODE_NONE);
    }
    // Its rights are, too; a build asks for them by --allow.
    if (!worker.has_insecure_allowed()) worker.set_insecure_allowed(true);
  }
  const std::string path = StatePath(program, ".yaml");
  RETURN_IF_ERROR(WriteFileAtomically(path, ConfigToYaml(*config), 0600));
  return path;
}

absl::StatusOr<int> LocalFarm::Spawn(Program program, const std::string& config_path) {
  const std::string name = absl::StrCat("farm-", NameOf(program == Program::kCoordinator));
  ASSIGN_OR_RETURN(std::string path, FindProgram(name));
  const std::string log = StatePath(program, ".log");
  struct stat info {};
  if (stat(log.c_str(), &info) == 0 && info.st_size > kLogBytesMax) {
    rename(log.c_str(), (log + ".1").c_str());
  }
  const UniqueFd log_fd(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log_fd.valid()) return ErrnoStatus(errno, log);
  const std::string alive = StatePath(program, ".alive");
  const UniqueFd alive_fd(open(alive.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!alive_fd.valid()) return ErrnoStatus(errno, alive);
  // Another client's look at it (IsAlive()) holds the lock for a moment.
  Poll poll(kProbeTimeout);
  while (flock(alive_fd.get(), LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    if (error != EWOULDBLOCK || !poll.Wait()) return ErrnoStatus(error, alive);
  }

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, log_fd.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, log_fd.get(), 2);
  posix_spawn_file_actions_adddup2(&actions, alive_fd.get(), kAliveFd);
  posix_spawn_file_actions_addchdir_np(&actions, "/");
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // A session of its own: Ctrl-C and the end of the terminal are for the client alone.
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::string config_flag = "--config";
  std::string config = config_path;
  char* args[] = {path.data(), config_flag.data(), config.data(), nullptr};
  pid_t pid = -1;
  const int error = posix_spawn(&pid, path.c_str(), &actions, &attributes, args, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return ErrnoStatus(error, path);
  return pid;
}

bool LocalFarm::IsAlive(Program program) const {
  const UniqueFd fd(open(StatePath(program, ".alive").c_str(), O_RDWR | O_CLOEXEC));
  return fd.valid() && flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

absl::StatusOr<std::string> LocalFarm::FindProgram(absl::string_view name) const {
  for (const std::string& dir : options_.program_dirs) {
    std::string path = absl::StrCat(dir, "/", name);
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return absl::NotFoundError(absl::StrCat(
      name, " is in none of ", absl::StrJoin(options_.program_dirs, ", "),
      "; install it there or set $FARM_PROGRAMS_DIR, or name a farm with --farm or $FARM_ADDR"));
}

absl::Status LocalFarm::StartError(Program program, absl::string_view what) const {
  const std::string log = StatePath(program, ".log");
  const std::string lines = LastLines(log);
  return absl::UnavailableError(absl::StrCat("local farm: farm-",
                                             NameOf(program == Program::kCoordinator), " ", what,
                                             lines.empty() ? "; its log is " : ". Last lines of ",
                                             log, lines.empty() ? "" : ":\n", lines));
}

}  // namespace farm
