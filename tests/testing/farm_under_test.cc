#include "tests/testing/farm_under_test.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "base/check.h"

namespace farm {
namespace {

std::string Tail(const std::string& path, size_t bytes = 8192) {
  const std::string text = ReadFile(path).value_or("");
  return text.size() > bytes ? text.substr(text.size() - bytes) : text;
}

std::vector<std::string> FarmCommand(const std::vector<std::string>& args) {
  std::vector<std::string> command = {ProgramPath("farm")};
  command.insert(command.end(), args.begin(), args.end());
  return command;
}

unsigned NumberFromEnvironment(const char* name, unsigned otherwise) {
  const char* text = std::getenv(name);
  unsigned number = otherwise;
  if (text != nullptr) {
    FARM_CHECK(absl::SimpleAtoi(text, &number)) << name << "=" << text;
  }
  return number;
}

}  // namespace

int MomentsOfThisRun(int by_default) {
  return static_cast<int>(
      NumberFromEnvironment("FARM_TEST_MOMENTS", static_cast<unsigned>(by_default)));
}

unsigned SeedOfThisRun() {
  const unsigned seed = NumberFromEnvironment("FARM_TEST_SEED", std::random_device()());
  std::printf("FARM_TEST_SEED=%u\n", seed);
  return seed;
}

std::string ProgramPath(const std::string& name) {
  static const char* const kRooms[] = {"cli", "coordinator", "worker"};
  for (const char* room : kRooms) {
    const std::string path =
        absl::StrCat(std::filesystem::current_path().string(), "/", room, "/", name);
    if (std::filesystem::exists(path)) return path;
  }
  FARM_CHECK(false) << name << " is not among the test's data";
  return "";
}

LocalFarmUnderTest::LocalFarmUnderTest() = default;

LocalFarmUnderTest::~LocalFarmUnderTest() {
  Farm({"local", "stop"});
  if (testing::Test::HasFailure()) std::fprintf(stderr, "%s\n", Logs().c_str());
}

CommandResult LocalFarmUnderTest::Farm(const std::vector<std::string>& args,
                                       CommandOptions options) const {
  return RunCommand(FarmCommand(args), WithEnvironment(std::move(options)));
}

BackgroundProcess LocalFarmUnderTest::StartFarm(const std::vector<std::string>& args,
                                                const std::string& log_path) const {
  return BackgroundProcess(FarmCommand(args), log_path, WithEnvironment({}));
}

void LocalFarmUnderTest::Configure(const std::string& coordinator_yaml) const {
  state_.Write(".config/farm/local-coordinator.yaml", coordinator_yaml);
}

void LocalFarmUnderTest::ConfigureWorker(const std::string& worker_yaml) const {
  state_.Write(".config/farm/local-worker.yaml", worker_yaml);
}

pid_t LocalFarmUnderTest::CoordinatorPid() const {
  for (const absl::string_view line : absl::StrSplit(Farm({"local", "status"}).out, '\n')) {
    int pid = 0;
    if (absl::StartsWith(line, "Process") &&
        absl::SimpleAtoi(absl::StripAsciiWhitespace(line.substr(7)), &pid)) {
      return pid;
    }
  }
  return 0;
}

CommandOptions LocalFarmUnderTest::WithEnvironment(CommandOptions options) const {
  options.env["FARM_LOCAL_DIR"] = state_.path();
  options.env["HOME"] = state_.path();
  const std::string cli = ProgramPath("farm"), coordinator = ProgramPath("farm-coordinator"),
                    worker = ProgramPath("farm-worker");
  const auto dir = [](const std::string& path) { return path.substr(0, path.rfind('/')); };
  options.env["FARM_PROGRAMS_DIR"] =
      absl::StrCat(dir(cli), ":", dir(coordinator), ":", dir(worker));
  return options;
}

CommandResult LocalFarmUnderTest::FarmOk(const std::vector<std::string>& args,
                                         CommandOptions options) const {
  CommandResult result = Farm(args, std::move(options));
  EXPECT_EQ(result.exit_code, 0) << "farm " << absl::StrJoin(args, " ") << "\n" << result.all();
  return result;
}

std::string LocalFarmUnderTest::Logs() const {
  std::string logs;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(
           state_.path(), std::filesystem::directory_options::skip_permission_denied)) {
    if (entry.path().extension() != ".log" || !entry.is_regular_file()) continue;
    absl::StrAppend(&logs, "--- ", entry.path().string(), "\n", Tail(entry.path()), "\n");
  }
  return logs;
}

std::string BusyboxRootTar() {
  static const ScratchDir dir;  // Removed when the test program ends.
  static const std::string* const path = [] {
    const CommandResult made = RunShell(
        "set -e; cd " + dir.path() +
        "; mkdir -p root/bin root/etc root/tmp root/root root/usr root/var\n"
        "chmod 1777 root/tmp; chmod 700 root/root\n"
        "cp /bin/busybox root/bin/busybox; chmod 755 root/bin/busybox\n"
        "for name in $(/bin/busybox --list); do [ $name = busybox ] || ln -s busybox "
        "root/bin/$name; "
        "done\n"
        "printf 'root:x:0:0:root:/root:/bin/sh\\ndaemon:x:1:1::/:/bin/false\\n"
        "user:x:1000:1000::/:/bin/sh\\n' > root/etc/passwd\n"
        "printf 'root:x:0:\\ndaemon:x:1:\\nuser:x:1000:\\nstaff:x:50:user\\n' > root/etc/group\n"
        "find root -exec touch -h -d '2024-01-02 03:04:05 UTC' {} +\n"
        "tar --sort=name --numeric-owner --owner=0 --group=0 -C root -cf root.tar .");
    FARM_CHECK(made.exit_code == 0) << made.all();
    return new std::string(dir.path() + "/root.tar");
  }();
  return *path;
}

RegistryUnderTest::RegistryUnderTest() : port_(FreePort()) {
  const std::string config = dir_.Write(
      "config.yml",
      absl::StrCat("version: 0.1\nlog: {level: warn}\nstorage: {filesystem: "
                   "{rootdirectory: ",
                   dir_.path(), "/data}, delete: {enabled: true}}\nhttp: {addr: 127.0.0.1:", port_,
                   "}\n"));
  process_ = BackgroundProcess({"docker-registry", "serve", config}, dir_ / "log");
  const bool ready = WaitUntil([this] {
    return RunCommand({"bash", "-c", absl::StrCat("exec 3<>/dev/tcp/127.0.0.1/", port_)})
               .exit_code == 0;
  });
  FARM_CHECK(ready) << "docker-registry does not start: " << Tail(dir_ / "log");
}

std::string RegistryUnderTest::host() const { return absl::StrCat("localhost:", port_); }

DockerUnderTest::DockerUnderTest() {
  containerd_ = BackgroundProcess(
      {"containerd", "--root", dir_ / "c", "--state", dir_ / "cs", "--address", dir_ / "c.sock"},
      dir_ / "containerd.log");
  WaitUntil([this] { return std::filesystem::exists(dir_ / "c.sock"); });
  dockerd_ =
      BackgroundProcess({"dockerd", "-H", address(), "--data-root", dir_ / "data", "--exec-root",
                         dir_ / "exec", "--pidfile", dir_ / "d.pid", "--containerd",
                         dir_ / "c.sock", "--iptables=false", "--ip6tables=false", "--bridge=none"},
                        dir_ / "dockerd.log");
  ready_ = WaitUntil([this] { return Docker({"version"}).exit_code == 0; }, absl::Seconds(60));
}

DockerUnderTest::~DockerUnderTest() {
  dockerd_.Stop();
  containerd_.Stop();
  // What the engine leaves mounted would keep the directory from being removed.
  const std::string mounts = ReadFile("/proc/self/mounts").value_or("");
  std::vector<std::string> lines = absl::StrSplit(mounts, '\n');
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    const std::vector<std::string> fields = absl::StrSplit(*line, ' ');
    if (fields.size() > 1 && fields[1].rfind(dir_.path() + "/", 0) == 0) {
      umount2(fields[1].c_str(), MNT_DETACH);
    }
  }
}

std::string DockerUnderTest::address() const {
  return absl::StrCat("unix://", dir_.path(), "/d.sock");
}

CommandResult DockerUnderTest::Docker(const std::vector<std::string>& args,
                                      CommandOptions options) const {
  // By its full name: a newer client that is first in PATH may not know this engine's BuildKit.
  std::vector<std::string> command = {"/usr/bin/docker", "-H", address()};
  command.insert(command.end(), args.begin(), args.end());
  options.env["DOCKER_BUILDKIT"] = "1";
  options.env["HOME"] = dir_.path();
  return RunCommand(command, options);
}

std::string DockerUnderTest::Logs() const {
  return absl::StrCat(Tail(dir_ / "containerd.log"), "\n", Tail(dir_ / "dockerd.log"));
}

}  // namespace farm
