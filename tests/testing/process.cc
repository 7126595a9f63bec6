#include "tests/testing/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/unique_fd.h"

extern char** environ;

namespace farm {
namespace {

std::vector<std::string> EnvironmentOf(const CommandOptions& options) {
  std::map<std::string, std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    merged[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
  }
  for (const auto& [name, value] : options.env) merged[name] = value;
  // Bazel's PATH lacks the directories of daemons.
  merged["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin";
  std::vector<std::string> env;
  for (const auto& [name, value] : merged) env.push_back(absl::StrCat(name, "=", value));
  return env;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

pid_t Spawn(std::vector<std::string> args, const CommandOptions& options, int in, int out,
            int err) {
  std::vector<std::string> env = EnvironmentOf(options);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  setpgid(0, 0);
  dup2(in, 0);
  dup2(out, 1);
  dup2(err, 2);
  for (int fd = 3; fd < 256; ++fd) close(fd);
  if (!options.dir.empty() && chdir(options.dir.c_str()) != 0) _exit(127);
  std::vector<char*> env_pointers = Pointers(env);
  environ = env_pointers.data();
  execvp(args[0].c_str(), Pointers(args).data());
  dprintf(2, "%s: not found\n", args[0].c_str());
  _exit(127);
}

int ExitCode(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

CommandResult RunCommand(const std::vector<std::string>& args, const CommandOptions& options) {
  CommandResult result;
  const absl::Time start = absl::Now();
  // Files, not pipes: a daemon that the command leaves behind may keep them open for ever.
  const auto temporary = [] {
    std::string path = absl::StrCat(std::filesystem::temp_directory_path().string(), "/outXXXXXX");
    UniqueFd fd(mkstemp(path.data()));
    unlink(path.c_str());
    return fd;
  };
  const UniqueFd in = temporary(), out = temporary(), err = temporary();
  FARM_CHECK(write(in.get(), options.input.data(), options.input.size()) ==
             static_cast<ssize_t>(options.input.size()));
  lseek(in.get(), 0, SEEK_SET);
  const pid_t pid = Spawn(args, options, in.get(), out.get(), err.get());
  int status = 0;
  const bool ended =
      WaitUntil([&] { return waitpid(pid, &status, WNOHANG) == pid; }, options.timeout);
  if (!ended) {
    kill(-pid, SIGKILL);
    waitpid(pid, &status, 0);
  }
  const auto read_all = [](int fd) {
    std::string text(static_cast<size_t>(lseek(fd, 0, SEEK_END)), '\0');
    const ssize_t count = pread(fd, text.data(), text.size(), 0);
    text.resize(static_cast<size_t>(std::max<ssize_t>(count, 0)));
    return text;
  };
  result.out = read_all(out.get());
  result.err = read_all(err.get());
  result.exit_code = ended ? ExitCode(status) : -1;
  if (!ended) absl::StrAppend(&result.err, "\n[timed out]\n");
  result.took = absl::Now() - start;
  return result;
}

CommandResult RunShell(const std::string& script, const CommandOptions& options) {
  return RunCommand({"/bin/sh", "-c", script}, options);
}

bool HasProgram(const std::string& name) {
  return RunCommand({"/bin/sh", "-c", absl::StrCat("command -v ", name)}).exit_code == 0;
}

BackgroundProcess::BackgroundProcess(const std::vector<std::string>& args,
                                     const std::string& log_path, const CommandOptions& options) {
  const UniqueFd in(open("/dev/null", O_RDONLY));
  const UniqueFd log(open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644));
  pid_ = Spawn(args, options, in.get(), log.get(), log.get());
}

BackgroundProcess::~BackgroundProcess() { Stop(); }

BackgroundProcess::BackgroundProcess(BackgroundProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)) {}

BackgroundProcess& BackgroundProcess::operator=(BackgroundProcess&& other) noexcept {
  Stop();
  pid_ = std::exchange(other.pid_, -1);
  return *this;
}

bool BackgroundProcess::running() {
  if (pid_ < 0) return false;
  int status;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return true;
  pid_ = -1;
  return false;
}

void BackgroundProcess::Kill(int signal) {
  if (pid_ < 0) return;
  kill(pid_, signal);
  int status;
  waitpid(pid_, &status, 0);
  pid_ = -1;
}

void BackgroundProcess::Stop() {
  if (pid_ < 0) return;
  kill(pid_, SIGTERM);
  if (!WaitUntil([this] { return !running(); }, absl::Seconds(10))) Kill(SIGKILL);
}

ScratchDir::ScratchDir() {
  std::string path = absl::StrCat(std::filesystem::temp_directory_path().string(), "/farmXXXXXX");
  FARM_CHECK(mkdtemp(path.data()) != nullptr);
  path_ = path;
}

ScratchDir::~ScratchDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string ScratchDir::Write(const std::string& name, const std::string& content, int mode) const {
  const std::filesystem::path path = path_ + "/" + name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
  chmod(path.c_str(), static_cast<mode_t>(mode));
  return path;
}

int FreePort() {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  FARM_CHECK(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  FARM_CHECK(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return ntohs(address.sin_port);
}

void PauseBriefly() { absl::SleepFor(absl::Milliseconds(5)); }

}  // namespace farm
