#ifndef FARM_TESTS_TESTING_FARM_UNDER_TEST_H_
#define FARM_TESTS_TESTING_FARM_UNDER_TEST_H_

#include <memory>
#include <string>
#include <vector>

#include "tests/testing/process.h"

namespace farm {

// The real programs, found among the test's data.
std::string ProgramPath(const std::string& name);  // "farm", "farm-coordinator", …

// A local farm of the test's own: `farm` commands start it, and it is stopped at the end.
class LocalFarmUnderTest {
 public:
  LocalFarmUnderTest();
  ~LocalFarmUnderTest();

  // `farm ARGS...`.
  CommandResult Farm(const std::vector<std::string>& args, CommandOptions options = {}) const;
  // The same; a test failure with all output unless it ends with 0.
  CommandResult FarmOk(const std::vector<std::string>& args, CommandOptions options = {}) const;

  // `farm ARGS...` on its own, with all output in `log_path`.
  BackgroundProcess StartFarm(const std::vector<std::string>& args,
                              const std::string& log_path) const;

  // Settings of this farm's coordinator, before it is started; see local-coordinator.yaml.
  void Configure(const std::string& coordinator_yaml) const;
  // The same of its worker; see local-worker.yaml.
  void ConfigureWorker(const std::string& worker_yaml) const;
  // 0 if it does not run.
  pid_t CoordinatorPid() const;

  const std::string& state_dir() const { return state_.path(); }
  // Logs of coordinator and worker, for a failure's message.
  std::string Logs() const;

 private:
  CommandOptions WithEnvironment(CommandOptions options) const;

  ScratchDir state_;
};

// How often a test of random moments tries: `by_default`, or $FARM_TEST_MOMENTS.
int MomentsOfThisRun(int by_default);
// For random choices; printed, and taken from $FARM_TEST_SEED if that is set.
unsigned SeedOfThisRun();

// A root file system with busybox as /bin/sh and about 300 other names, as a tar. Made once.
std::string BusyboxRootTar();

// `docker-registry serve` on a loopback port.
class RegistryUnderTest {
 public:
  RegistryUnderTest();

  std::string host() const;  // "localhost:PORT"
  static bool Available() { return HasProgram("docker-registry"); }

 private:
  ScratchDir dir_;
  int port_;
  BackgroundProcess process_;
};

// Docker's engine and its builder, from the package docker.io.
class DockerUnderTest {
 public:
  DockerUnderTest();
  ~DockerUnderTest();

  // `docker ARGS...` against this engine.
  CommandResult Docker(const std::vector<std::string>& args, CommandOptions options = {}) const;
  std::string address() const;  // for DOCKER_HOST
  bool ready() const { return ready_; }
  std::string Logs() const;
  static bool Available() { return HasProgram("dockerd") && HasProgram("containerd"); }

 private:
  ScratchDir dir_;
  BackgroundProcess containerd_;
  BackgroundProcess dockerd_;
  bool ready_ = false;
};

}  // namespace farm

#endif  // FARM_TESTS_TESTING_FARM_UNDER_TEST_H_
