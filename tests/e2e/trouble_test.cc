// What goes wrong around the programs, and what is thrown at them: addresses and directories in
// use, damaged state, full disks, huge contexts, Dockerfiles that are none, users without access.
// Each is refused by name, soon, with the exit status that says who can mend it, and nothing else
// suffers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "base/testing/status_matchers.h"
#include "cas/rocksdb_index.h"
#include "tests/testing/build_report.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kFailed = 1;
constexpr int kTrouble = 3;
constexpr int64_t kLogBytesMax = 256 << 20;
// A program that refuses to start does so at once; one that starts would stay.
constexpr absl::Duration kRefusalMax = absl::Seconds(20);

// Instructions of the steps that ran, in the plan's order.
std::vector<std::string> StepsRun(const CommandResult& build) {
  std::vector<std::string> ran;
  for (const StepReport& step : ReadSteps(build.err)) {
    if (step.ran) ran.push_back(step.instruction);
  }
  return ran;
}

// A farm of programs that the test starts one by one, on a unix socket unless a test says
// otherwise.
class TroubleTest : public testing::Test {
 protected:
  ~TroubleTest() override {
    if (!HasFailure()) return;
    for (const auto& entry : fs::directory_iterator(dir_.path())) {
      if (entry.path().extension() != ".log") continue;
      std::fprintf(stderr, "--- %s\n%s\n", entry.path().c_str(),
                   ReadFile(entry.path(), kLogBytesMax).value_or("").c_str());
    }
  }

  std::string Socket() const { return absl::StrCat("unix:", dir_.path(), "/sock"); }
  std::string StateDir(const std::string& name) const { return dir_ / name; }

  std::vector<std::string> CoordinatorCommand(const std::string& name,
                                              const std::string& listen) const {
    // A worker that was stopped should not be waited for for long.
    const std::string config = dir_.Write("coordinator.yaml", "lease_ttl: 5s\n");
    return {ProgramPath("farm-coordinator"),
            "--config",
            config,
            "--listen",
            listen,
            "--state-dir",
            StateDir(name)};
  }
  // One that gets ready.
  BackgroundProcess StartCoordinator(const std::string& name, const std::string& listen) {
    BackgroundProcess process(CoordinatorCommand(name, listen), dir_ / (name + ".log"));
    EXPECT_TRUE(WaitUntil([&] { return IsAnswered(listen) || !process.running(); }));
    EXPECT_TRUE(process.running());
    return process;
  }
  // One that is refused; ends with -1 if it stays.
  CommandResult RefusedCoordinator(const std::string& name, const std::string& listen) const {
    return RunCommand(CoordinatorCommand(name, listen), {.timeout = kRefusalMax});
  }
  bool IsAnswered(const std::string& address) const {
    return Farm({"images"}, address).exit_code == 0;
  }

  std::vector<std::string> WorkerCommand(const std::string& name,
                                         const std::string& state_dir) const {
    const std::string config =
        dir_.Write(name + ".yaml", absl::StrCat("coordinator: ", Socket(), "\nname: ", name,
                                                "\nstate_dir: ", state_dir,
                                                "\nslots: 2\nnetworks: [none, "
                                                "host]\n"));
    return {ProgramPath("farm-worker"), "--config", config};
  }
  // One that gets ready.
  BackgroundProcess StartWorker(const std::string& name, const std::string& state_dir) {
    BackgroundProcess process(WorkerCommand(name, state_dir), dir_ / (name + ".log"));
    EXPECT_TRUE(WaitUntil([&] { return IsWorking(name) || !process.running(); }));
    EXPECT_TRUE(process.running());
    return process;
  }
  bool IsWorking(const std::string& worker) const {
    return absl::StrContains("\n" + Farm({"workers", "--format", "{{.Name}}"}).out,
                             "\n" + worker + "\n");
  }

  CommandResult Farm(std::vector<std::string> args, const std::string& address = "") const {
    args.insert(args.begin(), ProgramPath("farm"));
    return RunCommand(
        args, {.env = {{"FARM_ADDR", address.empty() ? Socket() : address}, {"HOME", dir_.path()}},
               .timeout = absl::Minutes(1)});
  }
  CommandResult Build(const std::string& id, const std::string& dockerfile) const {
    dir_.Write(id + "/Dockerfile", dockerfile);
    return Farm({"build", "--progress=plain", dir_ / id});
  }

  ScratchDir dir_;
};

// --- Addresses and directories in use

TEST_F(TroubleTest, APortInUseIsNamedAndWhoHasItGoesOn) {
  const std::string port = absl::StrCat("127.0.0.1:", FreePort());
  BackgroundProcess first = StartCoordinator("first", port);
  CommandResult refused = RefusedCoordinator("second", port);
  EXPECT_EQ(refused.exit_code, kTrouble) << refused.all();
  EXPECT_THAT(refused.err, HasSubstr(port));
  // Of two addresses the one that is in use.
  std::vector<std::string> both = CoordinatorCommand("second", Socket());
  both.insert(both.end(), {"--listen", port});
  refused = RunCommand(both, {.timeout = kRefusalMax});
  EXPECT_EQ(refused.exit_code, kTrouble) << refused.all();
  EXPECT_THAT(refused.err, HasSubstr("can't listen on " + port));
  EXPECT_TRUE(IsAnswered(port));
}

TEST_F(TroubleTest, AWrongSettingIsAMistakeOfUseAndToldOnce) {
  constexpr int kUsage = 2;
  const CommandResult open = RefusedCoordinator("state", "0.0.0.0:0");
  EXPECT_EQ(open.exit_code, kUsage) << open.all();
  EXPECT_EQ(std::vector<std::string>(absl::StrSplit(open.err, "so it needs TLS")).size(), 2)
      << open.err;
  std::vector<std::string> command = WorkerCommand("w", StateDir("w"));
  command.insert(command.end(), {"--runtime", "nothing-of-this-name"});
  const CommandResult worker = RunCommand(command, {.timeout = kRefusalMax});
  EXPECT_EQ(worker.exit_code, kUsage) << worker.all();
  EXPECT_THAT(worker.err, HasSubstr("runtime: no OCI runtime nothing-of-this-name"));
}

TEST_F(TroubleTest, ASocketInUseIsNamedAndNotTakenAway) {
  BackgroundProcess first = StartCoordinator("first", Socket());
  const CommandResult refused = RefusedCoordinator("second", Socket());
  EXPECT_EQ(refused.exit_code, kTrouble) << refused.all();
  EXPECT_THAT(refused.err, HasSubstr(Socket()));
  EXPECT_TRUE(IsAnswered(Socket()));
  // What a killed one leaves is nobody's.
  first.Kill(SIGKILL);
  BackgroundProcess next = StartCoordinator("first", Socket());
  EXPECT_TRUE(IsAnswered(Socket()));
}

TEST_F(TroubleTest, ASecondCoordinatorOnADirectoryIsRefusedAndTheFirstGoesOn) {
  BackgroundProcess first = StartCoordinator("state", Socket());
  const std::string elsewhere = absl::StrCat("unix:", dir_.path(), "/elsewhere");
  const CommandResult refused = RefusedCoordinator("state", elsewhere);
  EXPECT_EQ(refused.exit_code, kTrouble) << refused.all();
  EXPECT_THAT(refused.err,
              AllOf(HasSubstr("another farm-coordinator uses"), HasSubstr(StateDir("state"))));
  EXPECT_TRUE(IsAnswered(Socket()));
  {
    BackgroundProcess worker = StartWorker("worker", StateDir("worker"));
    EXPECT_EQ(Farm({"import", BusyboxRootTar(), "base:1"}).exit_code, 0);
  }
  // No lock outlives its holder.
  first.Kill(SIGKILL);
  BackgroundProcess next = StartCoordinator("state", elsewhere);
  EXPECT_THAT(Farm({"images"}, elsewhere).out, HasSubstr("base"));
}

TEST_F(TroubleTest, ASecondWorkerOnADirectoryIsRefusedAndTheFirstGoesOn) {
  BackgroundProcess coordinator = StartCoordinator("coordinator", Socket());
  BackgroundProcess first = StartWorker("first", StateDir("state"));
  ASSERT_EQ(Farm({"import", BusyboxRootTar(), "base:1"}).exit_code, 0);
  const CommandResult refused =
      RunCommand(WorkerCommand("second", StateDir("state")), {.timeout = kRefusalMax});
  EXPECT_EQ(refused.exit_code, kTrouble) << refused.all();
  EXPECT_THAT(refused.err,
              AllOf(HasSubstr("another farm-worker uses"), HasSubstr(StateDir("state"))));
  CommandResult build = Build("one", "FROM base:1\nRUN echo one\n");
  EXPECT_EQ(build.exit_code, 0) << build.all();
  first.Kill(SIGKILL);
  BackgroundProcess next = StartWorker("next", StateDir("state"));
  build = Build("two", "FROM base:1\nRUN echo two\n");
  EXPECT_EQ(build.exit_code, 0) << build.all();
}

// --- State that can't be used

// Names and bytes of what an index is made of; RocksDB's own log of events and its lock are not.
std::map<std::string, std::string> IndexFiles(const std::string& dir) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(dir)) {
    const std::string name = entry.path().filename();
    if (absl::StartsWith(name, "LO")) continue;  // LOG, LOG.old.N, LOCK
    files[name] = ReadFile(entry.path(), kLogBytesMax).value_or("unreadable");
  }
  return files;
}

TEST_F(TroubleTest, ADamagedIndexIsRefusedByNameAndLeftAsItIs) {
  StartCoordinator("state", Socket()).Stop();
  const std::string index = StateDir("state") + "/index";
  for (const auto& entry : fs::directory_iterator(index)) {
    if (!absl::StartsWith(entry.path().filename().string(), "MANIFEST")) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(20);
    file << "damage damage damage";
  }
  const auto before = IndexFiles(index);
  for (int i = 0; i < 2; ++i) {
    const CommandResult refused = RefusedCoordinator("state", Socket());
    EXPECT_EQ(refused.exit_code, kTrouble) << refused.all();
    EXPECT_THAT(refused.err, AllOf(HasSubstr(index), HasSubstr("damaged"),
                                   HasSubstr("Move this directory away")));
    EXPECT_EQ(IndexFiles(index), before);
  }
  // As it says.
  fs::rename(index, index + ".away");
  StartCoordinator("state", Socket());
}

TEST_F(TroubleTest, AnIndexOfANewerFormatIsRefusedByName) {
  StartCoordinator("state", Socket()).Stop();
  const std::string index = StateDir("state") + "/index";
  const auto set_format = [&](const char* format) {
    const auto opened = RocksDbIndex::Open(index);
    ASSERT_OK(opened);
    ASSERT_OK((*opened)->Apply(IndexBatch().Put(IndexTable::kMeta, "format", format),
                               Index::Durability::kSynced));
  };
  set_format("1000");
  for (int i = 0; i < 2; ++i) {
    const CommandResult refused = RefusedCoordinator("state", Socket());
    EXPECT_EQ(refused.exit_code, kTrouble) << refused.all();
    EXPECT_THAT(refused.err, AllOf(HasSubstr(index), HasSubstr("1000")));
  }
}

// --- Full disks

// A worker's disk, of 24 MB.
class FullDiskTest : public TroubleTest {
 protected:
  void SetUp() override {
    fs::create_directory(mount_point_);
    ASSERT_EQ(mount("tmpfs", mount_point_.c_str(), "tmpfs", 0, "size=24m"), 0);
    coordinator_ = StartCoordinator("coordinator", Socket());
    small_ = StartWorker("small", state_dir());
    ASSERT_EQ(Farm({"import", BusyboxRootTar(), "base:1"}).exit_code, 0);
  }
  void TearDown() override {
    small_.Stop();
    umount2(mount_point_.c_str(), MNT_DETACH);
  }

  std::string state_dir() const { return mount_point_ + "/state"; }

  // What should not outlive a step.
  std::string Leftovers() const {
    return RunShell(absl::StrCat("cd ", state_dir(),
                                 " && find steps tmp trash -mindepth 1; grep ' ", state_dir(),
                                 "/' /proc/[0-9]*/mounts"))
        .out;
  }
  void ExpectNothingLeftAndASmallBuildDone(const std::string& id) {
    EXPECT_TRUE(WaitUntil([&] { return Leftovers().empty(); })) << Leftovers();
    const CommandResult small = Build(id, "FROM base:1\nRUN echo " + id + " > /small\n");
    EXPECT_EQ(small.exit_code, 0) << small.all();
  }
  // Bytes that compress badly, so that each kind of layer of them is too large.
  std::string MakeLargeFile(const std::string& name) const {
    const std::string path = dir_.Write(name, "");
    EXPECT_EQ(RunShell("head -c 50000000 /dev/urandom > " + path).exit_code, 0);
    return path;
  }

  const std::string mount_point_ = dir_ / "disk";
  BackgroundProcess coordinator_;
  BackgroundProcess small_;
};

TEST_F(FullDiskTest, ACommandThatFillsTheDiskFailsByItself) {
  const CommandResult full =
      Build("run", "FROM base:1\nRUN dd if=/dev/zero of=/x bs=1000000 count=50\n");
  EXPECT_EQ(full.exit_code, kFailed);
  EXPECT_THAT(full.err, HasSubstr("No space left on device"));
  ExpectNothingLeftAndASmallBuildDone("after-run");
}

TEST_F(FullDiskTest, ACopyThatDoesNotFitIsGivenUpByName) {
  MakeLargeFile("copy/big");
  const CommandResult full = Build("copy", "FROM base:1\nCOPY big /x\n");
  EXPECT_NE(full.exit_code, 0);
  EXPECT_THAT(full.err, AllOf(HasSubstr("COPY big"), HasSubstr("No space left on device")));
  ExpectNothingLeftAndASmallBuildDone("after-copy");
}

TEST_F(FullDiskTest, ABaseThatDoesNotFitIsGivenUpByName) {
  MakeLargeFile("root/big");
  ASSERT_EQ(RunShell(absl::StrCat("cp ", BusyboxRootTar(), " ", dir_ / "large.tar", " && tar -C ",
                                  dir_ / "root", " -rf ", dir_ / "large.tar", " big"))
                .exit_code,
            0);
  // To import is to unpack, too.
  const CommandResult imported = Farm({"import", dir_ / "large.tar", "large:1"});
  EXPECT_EQ(imported.exit_code, kTrouble);
  EXPECT_THAT(imported.err, HasSubstr("No space left on device"));
  ExpectNothingLeftAndASmallBuildDone("after-import");

  // A base that another worker brought into the farm.
  {
    BackgroundProcess large = StartWorker("large", StateDir("large-state"));
    small_.Stop();
    ASSERT_EQ(Farm({"import", dir_ / "large.tar", "large:1"}).exit_code, 0);
  }
  small_ = StartWorker("small", state_dir());
  const CommandResult full = Build("base", "FROM large:1\nRUN echo on a large base\n");
  EXPECT_NE(full.exit_code, 0);
  EXPECT_THAT(full.err, HasSubstr("No space left on device"));
  ExpectNothingLeftAndASmallBuildDone("after-base");
}

TEST_F(FullDiskTest, WhatDoesNotFitOnOneWorkerIsDoneByAnother) {
  MakeLargeFile("copy/big");
  BackgroundProcess large = StartWorker("large", StateDir("large-state"));
  for (int i = 0; i < 3; ++i) {
    const CommandResult built =
        Build("copy", absl::StrCat("FROM base:1\nWORKDIR /", i, "\nCOPY big /x\nRUN test -s /x\n"));
    EXPECT_EQ(built.exit_code, 0) << built.all();
  }
}

// --- Contexts and Dockerfiles

class HostileInputTest : public testing::Test {
 protected:
  void SetUp() override { farm_.FarmOk({"import", BusyboxRootTar(), "base:1"}); }

  CommandResult Build(const std::string& dockerfile_path, const std::string& progress = "plain") {
    return farm_.Farm({"build", "--progress=" + progress, "-f", dockerfile_path, context_.path()});
  }
  CommandResult BuildText(const std::string& text) { return Build(dir_.Write("Dockerfile", text)); }
  // The last line that begins with ERROR, without the rest of what is long in it.
  static std::string Error(const CommandResult& build) {
    const size_t at = build.err.rfind("\nERROR: ");
    if (at == std::string::npos) return "no error: " + build.err.substr(0, 1000);
    return build.err.substr(at + 1, 1000);
  }
  static std::string Repeated(const std::string& text, size_t bytes) {
    std::string all;
    all.reserve(bytes + text.size());
    while (all.size() < bytes) all += text;
    return all;
  }

  ScratchDir dir_;
  ScratchDir context_;
  LocalFarmUnderTest farm_;
};

TEST_F(HostileInputTest, AContextOf100000FilesIsBuilt) {
  for (int d = 0; d < 1000; ++d) {
    const std::string dir = absl::StrCat(context_.path(), "/many/d", d);
    fs::create_directories(dir);
    for (int f = 0; f < 100; ++f) {
      std::ofstream(absl::StrCat(dir, "/f", f)) << d << " " << f << "\n";
    }
  }
  const std::string dockerfile = dir_.Write("Dockerfile",
                                            "FROM base:1\n"
                                            "RUN echo before\n"
                                            "COPY many /many\n"
                                            "RUN test $(find /many -type f | wc -l) = 100000\n");
  const CommandResult first = Build(dockerfile, "rawjson");
  ASSERT_EQ(first.exit_code, 0) << first.all();
  EXPECT_EQ(StepsRun(first).size(), 3U);
  const CommandResult second = Build(dockerfile, "rawjson");
  ASSERT_EQ(second.exit_code, 0) << second.all();
  EXPECT_THAT(StepsRun(second), IsEmpty());
  context_.Write("many/d7/f7", "changed\n");
  const CommandResult third = Build(dockerfile, "rawjson");
  ASSERT_EQ(third.exit_code, 0) << third.all();
  EXPECT_THAT(StepsRun(third), ElementsAre(HasSubstr("COPY many"), HasSubstr("RUN test")));
  std::printf("100,000 files: %s, again %s, one of them changed %s\n",
              absl::FormatDuration(first.took).c_str(), absl::FormatDuration(second.took).c_str(),
              absl::FormatDuration(third.took).c_str());
}

TEST_F(HostileInputTest, ADockerfileThatIsNoneIsRefusedWithItsPosition) {
  CommandResult refused = BuildText("");
  EXPECT_EQ(refused.exit_code, kFailed);
  EXPECT_THAT(Error(refused), HasSubstr("Dockerfile: the Dockerfile is empty"));

  refused = Build("/bin/busybox");
  EXPECT_EQ(refused.exit_code, kFailed);
  EXPECT_THAT(Error(refused), ContainsRegex("ERROR: /bin/busybox:[0-9]+:[0-9]+: .*NUL byte"));

  // Each kind of byte but NUL, in lines of all lengths.
  std::mt19937 random(SeedOfThisRun());
  std::string noise;
  for (int i = 0; i < 100'000; ++i) noise += static_cast<char>(random() % 255 + 1);
  refused = BuildText(noise);
  EXPECT_EQ(refused.exit_code, kFailed);
  EXPECT_THAT(Error(refused), ContainsRegex("ERROR: .*Dockerfile:[0-9]+:[0-9]+: "));
}

TEST_F(HostileInputTest, ADockerfileOfTenMegabytesIsReadOrRefusedByItsLimit) {
  // What is no instruction may be as long as it likes, below the limit of a file.
  const CommandResult comments = BuildText("FROM base:1\n" + Repeated("# a comment\n", 9'900'000));
  EXPECT_EQ(comments.exit_code, 0) << comments.err.substr(0, 1000);

  CommandResult refused = BuildText("FROM base:1\n" + Repeated("# a comment\n", 11'000'000));
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(Error(refused), ContainsRegex("ERROR: .*Dockerfile.*more than .* bytes"));

  refused = BuildText("FROM base:1\n" + Repeated("ENV A=1\n", 9'900'000));
  EXPECT_EQ(refused.exit_code, kFailed);
  EXPECT_THAT(Error(refused),
              ContainsRegex("ERROR: .*Dockerfile:100001:1: more than 100000 instr"));
}

TEST_F(HostileInputTest, ALineOfTenMegabytesIsRefusedWithItsPosition) {
  const std::string word(9'900'000, 'x');
  for (const char* begin : {"", "RUNN ", "RUN : ", "ENV A=", "COPY ", "LABEL a="}) {
    const CommandResult refused = BuildText(absl::StrCat("FROM base:1\n", begin, word, "\n"));
    EXPECT_EQ(refused.exit_code, kFailed) << begin;
    EXPECT_THAT(Error(refused), ContainsRegex("ERROR: .*Dockerfile:2:[0-9]+: ")) << begin;
  }
}

// --- Users

TEST_F(HostileInputTest, AUserWithoutAccessIsToldWhatMendsIt) {
  // Programs where everybody may run them; the build's own tree is root's.
  ASSERT_EQ(RunShell(absl::StrCat("chmod 755 ", dir_.path(), " && install -m 755 ",
                                  ProgramPath("farm"), " ", dir_ / "farm"))
                .exit_code,
            0);
  const auto as_nobody = [&] {
    return RunCommand(
        {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", dir_ / "farm", "images"},
        {.env = {{"FARM_LOCAL_DIR", farm_.state_dir()}, {"HOME", "/nonexistent"}}});
  };
  // The directory is closed to them.
  CommandResult refused = as_nobody();
  EXPECT_EQ(refused.exit_code, kTrouble) << refused.all();
  EXPECT_THAT(refused.err, AllOf(HasSubstr("no permission to use the farm"), HasSubstr("sudo")));
  // The socket is: root's alone, and then a group's.
  const std::string socket = farm_.state_dir() + "/farm.sock";
  ASSERT_EQ(RunShell("chmod 755 " + farm_.state_dir() + "; chown 0:0 " + socket).exit_code, 0);
  refused = as_nobody();
  EXPECT_EQ(refused.exit_code, kTrouble) << refused.all();
  EXPECT_THAT(refused.err, AllOf(HasSubstr(socket), HasSubstr("run the command with sudo")));
  ASSERT_EQ(RunShell("chgrp staff " + socket).exit_code, 0);
  refused = as_nobody();
  EXPECT_EQ(refused.exit_code, kTrouble) << refused.all();
  EXPECT_THAT(refused.err, HasSubstr("run: sudo usermod -aG staff nobody"));
}

}  // namespace
}  // namespace farm
