// The bind and cache mounts of a RUN, on real overlays; what a command would see is looked at
// through the descriptors that a sandbox gets.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/ssh_agent_protocol.h"
#include "base/testing/status_matchers.h"
#include "layer/testing/scratch_directory.h"
#include "worker/root_path.h"
#include "worker/testing/step_fixture.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TableEntry Entry(std::string path, EntryType type, uint32_t mode) {
  TableEntry entry;
  entry.path = std::move(path);
  entry.type = type;
  entry.mode = mode;
  entry.mtime = absl::FromUnixSeconds(1'600'000'000);
  return entry;
}

// What is behind a path beneath a directory: its bytes, or why they can't be read.
std::string Read(int dir_fd, const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadFileInRoot(dir_fd, path, 1 << 20);
  return bytes.ok() ? *bytes : std::string(absl::StatusCodeToString(bytes.status().code()));
}

// The bytes of a descriptor that is a file.
std::string ReadFd(int fd) { return ReadFile(absl::StrCat("/proc/self/fd/", fd)).value_or("?"); }

void Overwrite(int dir_fd, const std::string& path, const std::string& bytes) {
  const UniqueFd fd(openat(dir_fd, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  ASSERT_OK(FdSink(fd.get()).Write(bytes)) << path;
}

class NotedLog final : public LogSink {
 public:
  void Append(LogStream, absl::string_view bytes) override {
    MutexLock lock(mu_);
    absl::StrAppend(&text_, bytes);
  }
  std::string text() {
    MutexLock lock(mu_);
    return text_;
  }

 private:
  Mutex mu_;
  std::string text_ FARM_GUARDED_BY(mu_);
};

class RunMountsTest : public ::testing::Test {
 protected:
  v1::LayerRef Layer(const std::map<std::string, std::string>& files) {
    return world_.MakeLayer([&](const ScratchDirectory& dir) {
      for (const auto& [path, bytes] : files) {
        if (const size_t slash = path.find('/'); slash != std::string::npos) {
          mkdirat(dir.Open().get(), path.substr(0, slash).c_str(), 0755);
        }
        dir.File(path, bytes);
      }
    });
  }
  v1::StepSpec Spec() {
    v1::StepSpec spec;
    spec.mutable_identity()->mutable_run()->add_args("true");
    spec.mutable_execution()->set_network(v1::NETWORK_MODE_NONE);
    spec.mutable_execution()->set_cache_scope("main");
    *spec.mutable_inputs()->add_root() = base_;
    return spec;
  }
  // A mount of `path` of what AddSource() is called for next.
  static v1::RunMount& Bind(v1::StepSpec& spec, const std::string& path, bool read_only = true,
                            const std::string& target = "/t") {
    v1::RunMount& mount = *spec.mutable_identity()->mutable_run()->add_mounts();
    mount.set_kind(v1::RunMount::KIND_BIND);
    mount.set_target(target);
    mount.set_read_only(read_only);
    mount.set_source(spec.inputs().sources_size());
    mount.set_path(path);
    // What the coordinator finds out; here, whatever tells sources apart.
    *mount.mutable_content() = DigestToProto(DigestOf(path));
    return mount;
  }
  static void AddContext(v1::StepSpec& spec, const v1::Digest& table) {
    *spec.mutable_inputs()->add_sources()->mutable_context_table() = table;
  }
  static void AddLayers(v1::StepSpec& spec, const std::vector<v1::LayerRef>& layers) {
    v1::LayerChain& chain = *spec.mutable_inputs()->add_sources()->mutable_layers();
    for (const v1::LayerRef& layer : layers) *chain.add_layers() = layer;
  }
  static v1::RunMount& Cache(v1::StepSpec& spec, const std::string& id,
                             v1::RunMount::Sharing sharing = v1::RunMount::SHARING_SHARED) {
    v1::RunMount& mount = *spec.mutable_identity()->mutable_run()->add_mounts();
    mount.set_kind(v1::RunMount::KIND_CACHE);
    mount.set_target("/cache");
    mount.set_source(-1);
    mount.set_id(id);
    mount.set_sharing(sharing);
    return mount;
  }

  // Runs a step in which `look` sees what is mounted at /t or /cache.
  absl::Status Run(const v1::StepSpec& spec, const std::function<void(const SandboxMount&)>& look) {
    world_.sandbox().set_script(
        [look](const SandboxSpec& run, LogSink&, CancelToken&) -> absl::StatusOr<ExitState> {
          for (const SandboxMount& mount : run.mounts) {
            if (mount.target == "/t" || mount.target == "/cache") look(mount);
          }
          return ExitState();
        });
    return world_.Execute(spec).status();
  }

  StepWorld world_;
  v1::LayerRef base_ = Layer({{"file", "base"}});
};

TEST_F(RunMountsTest, ADirectoryOfTheContextIsShownWithWhatIsInIt) {
  v1::StepSpec spec = Spec();
  Bind(spec, "src");
  AddContext(spec, world_.MakeContext({Entry("src", EntryType::kDirectory, 0711),
                                       Entry("src/a", EntryType::kFile, 0640),
                                       Entry("other", EntryType::kFile, 0644)},
                                      {{"src/a", "hello"}, {"other", "not asked for"}}));
  const std::string before = world_.Leftovers();
  bool seen = false;
  ASSERT_OK(Run(spec, [&](const SandboxMount& mount) {
    seen = true;
    EXPECT_EQ(mount.kind, SandboxMount::Kind::kBind);
    EXPECT_TRUE(mount.read_only);
    EXPECT_EQ(Read(mount.source_fd, "a"), "hello");
    EXPECT_EQ(Read(mount.source_fd, "other"), "NOT_FOUND");
    struct stat info;
    ASSERT_EQ(fstat(mount.source_fd, &info), 0);
    EXPECT_EQ(info.st_mode, S_IFDIR | 0711);
    EXPECT_EQ(info.st_mtime, 1'600'000'000);
  }));
  EXPECT_TRUE(seen);
  EXPECT_EQ(world_.Leftovers(), before);
}

TEST_F(RunMountsTest, TheWholeContextMayBeShown) {
  v1::StepSpec spec = Spec();
  Bind(spec, "");
  AddContext(spec, world_.MakeContext({Entry("a", EntryType::kFile, 0644)}, {{"a", "hello"}}));
  ASSERT_OK(Run(spec, [&](const SandboxMount& mount) {
    EXPECT_EQ(Read(mount.source_fd, "a"), "hello");
    struct stat info;
    ASSERT_EQ(fstat(mount.source_fd, &info), 0);
    EXPECT_EQ(info.st_mode, S_IFDIR | 0755);
  }));
}

TEST_F(RunMountsTest, WithoutAContextItIsEmpty) {
  v1::StepSpec spec = Spec();
  Bind(spec, "");
  AddContext(spec, {});
  bool seen = false;
  ASSERT_OK(Run(spec, [&](const SandboxMount& mount) {
    struct stat info;
    seen = fstat(mount.source_fd, &info) == 0 && S_ISDIR(info.st_mode);
  }));
  EXPECT_TRUE(seen);
}

TEST_F(RunMountsTest, WhatAContextHasIsBroughtHereOnce) {
  v1::StepSpec spec = Spec();
  Bind(spec, "src");
  AddContext(spec, world_.MakeContext({Entry("src", EntryType::kDirectory, 0755),
                                       Entry("src/a", EntryType::kFile, 0644)},
                                      {{"src/a", "hello"}}));
  ASSERT_OK(Run(spec, [](const SandboxMount&) {}));
  ASSERT_OK(world_.blobs().Delete(DigestOf("hello")));
  ASSERT_OK(
      Run(spec, [](const SandboxMount& mount) { EXPECT_EQ(Read(mount.source_fd, "a"), "hello"); }));
  world_.DropLayers();
  const std::string before = world_.Leftovers();
  EXPECT_THAT(Run(spec, [](const SandboxMount&) {}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(world_.Leftovers(), before);
}

TEST_F(RunMountsTest, AStageIsShownAsItsLayersMakeIt) {
  const v1::LayerRef below = Layer({{"d/a", "below"}, {"d/b", "below"}, {"d/gone", "x"}});
  v1::StepSpec above = Spec();
  *above.mutable_inputs()->mutable_root(0) = below;
  world_.sandbox().set_script(
      [](const SandboxSpec& run, LogSink&, CancelToken&) -> absl::StatusOr<ExitState> {
        Overwrite(run.root_fd, "d/b", "above");
        unlinkat(run.root_fd, "d/gone", 0);
        return ExitState();
      });
  ASSERT_OK_AND_ASSIGN(const v1::StepResult made, world_.Execute(above));
  v1::StepSpec spec = Spec();
  Bind(spec, "d");
  AddLayers(spec, {below, StepWorld::RefOf(made)});
  ASSERT_OK(Run(spec, [](const SandboxMount& mount) {
    EXPECT_EQ(Read(mount.source_fd, "a"), "below");
    EXPECT_EQ(Read(mount.source_fd, "b"), "above");
    EXPECT_EQ(Read(mount.source_fd, "gone"), "NOT_FOUND");
  }));
}

TEST_F(RunMountsTest, WhatIsWrittenIntoADirectoryIsDropped) {
  for (const bool from_context : {true, false}) {
    v1::StepSpec spec = Spec();
    Bind(spec, "d", /*read_only=*/false);
    if (from_context) {
      AddContext(spec, world_.MakeContext({Entry("d", EntryType::kDirectory, 0755),
                                           Entry("d/a", EntryType::kFile, 0644)},
                                          {{"d/a", "first"}}));
    } else {
      AddLayers(spec, {Layer({{"d/a", "first"}})});
    }
    for (int i = 0; i < 2; ++i) {
      ASSERT_OK(Run(spec, [](const SandboxMount& mount) {
        EXPECT_FALSE(mount.read_only);
        EXPECT_EQ(Read(mount.source_fd, "a"), "first");
        EXPECT_EQ(Read(mount.source_fd, "new"), "NOT_FOUND");
        Overwrite(mount.source_fd, "a", "changed");
        Overwrite(mount.source_fd, "new", "made");
        EXPECT_EQ(Read(mount.source_fd, "a"), "changed");
      }));
    }
  }
}

TEST_F(RunMountsTest, WhatIsWrittenIntoAFileIsDropped) {
  for (const bool from_context : {true, false}) {
    v1::StepSpec spec = Spec();
    Bind(spec, "a", /*read_only=*/false);
    if (from_context) {
      AddContext(spec, world_.MakeContext({Entry("a", EntryType::kFile, 0600)}, {{"a", "first"}}));
    } else {
      AddLayers(spec, {Layer({{"a", "first"}})});
    }
    const std::string before = world_.Leftovers();
    for (int i = 0; i < 2; ++i) {
      ASSERT_OK(Run(spec, [](const SandboxMount& mount) {
        EXPECT_EQ(ReadFd(mount.source_fd), "first");
        Overwrite(AT_FDCWD, absl::StrCat("/proc/self/fd/", mount.source_fd), "changed");
      }));
    }
    EXPECT_EQ(world_.Leftovers(), before);
  }
}

TEST_F(RunMountsTest, AFileIsShownAlone) {
  v1::StepSpec spec = Spec();
  Bind(spec, "d/a");
  AddLayers(spec, {Layer({{"d/a", "first"}})});
  ASSERT_OK(Run(spec, [](const SandboxMount& mount) {
    EXPECT_TRUE(mount.read_only);
    EXPECT_EQ(ReadFd(mount.source_fd), "first");
  }));
}

TEST_F(RunMountsTest, SourcesThatLeadElsewhereAreRefused) {
  for (const char* path : {"../etc", "/etc", "d/../../etc", "link", "link/passwd", "missing"}) {
    v1::StepSpec spec = Spec();
    Bind(spec, path);
    AddLayers(spec, {world_.MakeLayer([](const ScratchDirectory& dir) {
                dir.Directory("d");
                dir.Symlink("link", "/etc");
              })});
    EXPECT_THAT(Run(spec, [](const SandboxMount&) { FAIL() << "it ran"; }),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << path;
  }
  v1::StepSpec spec = Spec();
  Bind(spec, "d");  // A source that the step does not have.
  EXPECT_THAT(Run(spec, [](const SandboxMount&) {}), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(RunMountsTest, DirectoriesAreMountedBeforeWhatIsInThem) {
  v1::StepSpec spec = Spec();
  Cache(spec, "a").set_target("/src/.cache");
  Bind(spec, "", true, "/src");
  AddContext(spec, {});
  ASSERT_OK(Run(spec, [](const SandboxMount&) {}));
  const SandboxSpec seen = world_.sandbox().runs()[0];
  std::vector<std::string> targets;
  for (const SandboxMount& mount : seen.mounts) targets.push_back(mount.target);
  EXPECT_THAT(targets, ElementsAre("/etc/hosts", "/etc/resolv.conf", "/src", "/src/.cache"));
}

TEST_F(RunMountsTest, ACacheIsFoundAgainAndIsInNoLayer) {
  v1::StepSpec spec = Spec();
  v1::RunMount& mount = Cache(spec, "a");
  mount.set_mode(0750);
  mount.set_uid(7);
  mount.set_gid(8);
  const std::string before = world_.Leftovers();
  ASSERT_OK(Run(spec, [](const SandboxMount& mount) {
    EXPECT_FALSE(mount.read_only);
    struct stat info;
    ASSERT_EQ(fstat(mount.source_fd, &info), 0);
    EXPECT_EQ(info.st_mode, S_IFDIR | 0750);
    EXPECT_EQ(info.st_uid, 7);
    EXPECT_EQ(info.st_gid, 8);
    Overwrite(mount.source_fd, "kept", "kept");
  }));
  EXPECT_EQ(world_.Leftovers(), before);
  ASSERT_OK_AND_ASSIGN(const v1::StepResult second, world_.Execute(spec));
  const Table table =
      Table::Decode(*GetBytes(world_.blobs(), *DigestFromProto(second.layer().table()))).value();
  EXPECT_THAT(table.entries(), IsEmpty());
  ASSERT_OK(Run(
      spec, [](const SandboxMount& mount) { EXPECT_EQ(Read(mount.source_fd, "kept"), "kept"); }));
}

TEST_F(RunMountsTest, ACacheBelongsToItsTrustDomain) {
  v1::StepSpec spec = Spec();
  Cache(spec, "a");
  ASSERT_OK(Run(spec, [](const SandboxMount& mount) { Overwrite(mount.source_fd, "mine", "x"); }));
  spec.mutable_execution()->set_cache_scope("other");
  ASSERT_OK(Run(spec, [](const SandboxMount& mount) {
    EXPECT_EQ(Read(mount.source_fd, "mine"), "NOT_FOUND");
  }));
}

TEST_F(RunMountsTest, ANewCacheBeginsWithItsSource) {
  v1::StepSpec spec = Spec();
  v1::RunMount& mount = Cache(spec, "a");
  mount.set_source(0);
  mount.set_path("d");
  *mount.mutable_content() = DigestToProto(DigestOf("content of d"));
  AddLayers(spec, {world_.MakeLayer([](const ScratchDirectory& dir) {
              dir.Directory("d", 0700);
              dir.File("d/a", "first");
              ASSERT_EQ(fchownat(dir.Open().get(), "d", 7, 8, 0), 0);
            })});
  ASSERT_OK(Run(spec, [](const SandboxMount& mount) {
    EXPECT_EQ(Read(mount.source_fd, "a"), "first");
    struct stat info;
    ASSERT_EQ(fstat(mount.source_fd, &info), 0);
    EXPECT_EQ(info.st_mode, S_IFDIR | 0700);
    EXPECT_EQ(info.st_uid, 7);
    Overwrite(mount.source_fd, "a", "changed");
  }));
  ASSERT_OK(Run(
      spec, [](const SandboxMount& mount) { EXPECT_EQ(Read(mount.source_fd, "a"), "changed"); }));
}

TEST_F(RunMountsTest, MountsOfOneCacheShowOneDirectory) {
  v1::StepSpec spec = Spec();
  Cache(spec, "a", v1::RunMount::SHARING_LOCKED);
  Cache(spec, "a", v1::RunMount::SHARING_LOCKED).set_target("/t");
  bool first = true;
  ASSERT_OK(Run(spec, [&](const SandboxMount& mount) {
    if (std::exchange(first, false)) return Overwrite(mount.source_fd, "a", "x");
    EXPECT_EQ(Read(mount.source_fd, "a"), "x");
  }));
  EXPECT_FALSE(first);
}

TEST_F(RunMountsTest, WhoWaitsForALockedCacheIsTold) {
  v1::StepSpec spec = Spec();
  Cache(spec, "packages", v1::RunMount::SHARING_LOCKED);
  NotedLog first_log, second_log;
  std::atomic<int> running = 0;
  std::atomic<int> together = 0;
  world_.sandbox().set_script(
      [&](const SandboxSpec&, LogSink&, CancelToken&) -> absl::StatusOr<ExitState> {
        if (++running > 1) ++together;
        // The other one is waiting by now, or it has been here.
        while (first_log.text().empty() && second_log.text().empty()) std::this_thread::yield();
        --running;
        return ExitState();
      });
  std::thread first([&] { EXPECT_OK(world_.Execute(spec, first_log).status()); });
  std::thread second([&] { EXPECT_OK(world_.Execute(spec, second_log).status()); });
  first.join();
  second.join();
  EXPECT_EQ(together, 0);
  EXPECT_THAT(first_log.text() + second_log.text(),
              HasSubstr("waiting for the cache packages, which another step has\n"));
}

// Asks the agent behind a mount for its keys.
std::string ListKeys(const SandboxMount& mount) {
  const std::string path = absl::StrCat("/proc/self/fd/", mount.source_fd);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.data(), path.size());
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return "no connection";
  }
  const absl::Time soon = absl::Now() + absl::Minutes(1);
  EXPECT_OK(SendSshAgentMessage(fd.get(), "\x0b", soon));
  return ReceiveSshAgentMessage(fd.get(), soon).value().value_or("closed");
}

v1::RunMount& SshAgent(v1::StepSpec& spec) {
  v1::RunMount& mount = *spec.mutable_identity()->mutable_run()->add_mounts();
  mount.set_kind(v1::RunMount::KIND_SSH);
  mount.set_target("/t");
  mount.set_read_only(true);
  mount.set_id("deploy");
  mount.set_uid(7);
  mount.set_gid(8);
  mount.set_mode(0620);
  return mount;
}

TEST_F(RunMountsTest, AnSshAgentIsASocketForTheTimeOfTheStep) {
  v1::StepSpec spec = Spec();
  SshAgent(spec);
  spec.mutable_execution()->add_ssh_agents("deploy");
  const std::string before = world_.Leftovers();
  int seen = 0;
  ASSERT_OK(Run(spec, [&](const SandboxMount& mount) {
    ++seen;
    struct stat info;
    ASSERT_EQ(fstat(mount.source_fd, &info), 0);
    EXPECT_EQ(info.st_mode, S_IFSOCK | 0620);
    EXPECT_EQ(info.st_uid, 7);
    EXPECT_EQ(info.st_gid, 8);
    EXPECT_TRUE(mount.read_only);
    EXPECT_EQ(ListKeys(mount), "deploy: \x0b");
  }));
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(world_.Leftovers(), before);
}

TEST_F(RunMountsTest, AnSshAgentThatNobodyHasIsLeftOutUnlessItIsRequired) {
  v1::StepSpec spec = Spec();
  v1::RunMount& mount = SshAgent(spec);
  spec.mutable_execution()->add_ssh_agents("another");
  EXPECT_OK(Run(spec, [](const SandboxMount&) { ADD_FAILURE() << "it is mounted"; }));
  mount.set_required(true);
  EXPECT_THAT(Run(spec, [](const SandboxMount&) {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ssh agent deploy")));
}

}  // namespace
}  // namespace farm
