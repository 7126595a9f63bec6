// Control groups as this host has them: its main layout, and its v2 hierarchy alone if that is
// mounted beside v1.
#include "worker/cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/testing/status_matchers.h"
#include "worker/testing/host_group.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;

class CgroupTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    parent_ = absl::StrCat("farm-cgroup-test-", getpid());
    tree_ = OpenCgroupTree(parent_, GetParam());
    if (tree_->capabilities().layout == "none") GTEST_SKIP() << "no cgroups at " << GetParam();
  }
  // The hierarchies in which there is our parent group.
  std::vector<std::string> Parents() const {
    std::vector<std::string> found;
    for (const char* hierarchy :
         {"", "/memory", "/cpu", "/cpuacct", "/pids", "/freezer", "/unified"}) {
      const std::string path = absl::StrCat(GetParam(), hierarchy, "/", parent_);
      if (access(path.c_str(), F_OK) == 0) found.push_back(path);
    }
    return found;
  }

  // A child that sleeps, in `group`, with a child of its own.
  pid_t StartFamily(Cgroup& group) {
    int ready[2];
    FARM_CHECK(pipe(ready) == 0);
    const pid_t pid = fork();
    if (pid == 0) {
      char byte;
      FARM_CHECK(read(ready[0], &byte, 1) == 1);
      fork();
      for (;;) pause();
    }
    FARM_CHECK_OK(group.Add(pid));
    FARM_CHECK(write(ready[1], "x", 1) == 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
  }

  // The signal that ended a child.
  int Reap(pid_t pid) {
    int status = 0;
    FARM_CHECK(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }

  std::string parent_;
  std::unique_ptr<CgroupTree> tree_;
};

INSTANTIATE_TEST_SUITE_P(Roots, CgroupTest,
                         ::testing::Values("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
                         [](const auto& info) {
                           return std::string(info.param) == "/sys/fs/cgroup" ? "Host" : "Unified";
                         });

TEST_P(CgroupTest, GroupHoldsTheProcessesAddedToIt) {
  ASSERT_OK_AND_ASSIGN(auto group, tree_->Create("a"));
  const pid_t pid = StartFamily(*group);
  EXPECT_THAT(ReadFile(absl::StrCat("/proc/", pid, "/cgroup")).value_or(""),
              HasSubstr(group->path()));
  group.reset();
  EXPECT_EQ(Reap(pid), SIGKILL);
}

TEST_P(CgroupTest, NameThatIsTakenIsRefused) {
  ASSERT_OK_AND_ASSIGN(const auto group, tree_->Create("a"));
  EXPECT_THAT(tree_->Create("a"), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("a")));
}

TEST_P(CgroupTest, DestroyedGroupIsKilledAndGone) {
  pid_t pid;
  {
    ASSERT_OK_AND_ASSIGN(const auto group, tree_->Create("a"));
    pid = StartFamily(*group);
  }
  EXPECT_EQ(Reap(pid), SIGKILL);
  EXPECT_OK(tree_->Create("a"));
}

TEST_P(CgroupTest, LimitsThatTheHostCannotSetAreIgnored) {
  ASSERT_OK_AND_ASSIGN(const auto group, tree_->Create("a"));
  EXPECT_OK(group->SetLimits({.memory_bytes = 64 << 20, .cpus = 0.5, .pids = 10}));
}

TEST_P(CgroupTest, PidsLimitHolds) {
  if (!tree_->capabilities().pids) GTEST_SKIP() << tree_->capabilities().Describe();
  ASSERT_OK_AND_ASSIGN(const auto group, tree_->Create("a"));
  ASSERT_OK(group->SetLimits({.pids = 1}));
  int report[2];
  ASSERT_EQ(pipe(report), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    raise(SIGSTOP);
    const char could_fork = fork() >= 0 ? 'y' : 'n';
    FARM_CHECK(write(report[1], &could_fork, 1) == 1);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  ASSERT_OK(group->Add(pid));
  kill(pid, SIGCONT);
  char could_fork = '?';
  ASSERT_EQ(read(report[0], &could_fork, 1), 1);
  EXPECT_EQ(could_fork, 'n');
  Reap(pid);
  close(report[0]);
  close(report[1]);
}

TEST_P(CgroupTest, CpuTimeIsCounted) {
  ASSERT_OK_AND_ASSIGN(const auto group, tree_->Create("a"));
  const pid_t pid = fork();
  if (pid == 0) {
    raise(SIGSTOP);
    while (clock() < CLOCKS_PER_SEC / 50) {
    }
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  ASSERT_OK(group->Add(pid));
  kill(pid, SIGCONT);
  Reap(pid);
  EXPECT_GT(group->Usage().cpu_time, absl::Milliseconds(1));
}

TEST_P(CgroupTest, TheParentGroupGoesWithTheTree) {
  ASSERT_FALSE(Parents().empty());
  tree_ = nullptr;
  EXPECT_TRUE(Parents().empty()) << Parents()[0];
}

TEST_P(CgroupTest, TheParentGroupOfRuntimesGoesWithTheTree) {
  const std::string parent = absl::StrCat(GetParam(), "/devices/", parent_);
  if (mkdir(parent.c_str(), 0755) != 0) GTEST_SKIP() << "no device controller of its own";
  tree_ = nullptr;
  EXPECT_NE(access(parent.c_str(), F_OK), 0);
  rmdir(parent.c_str());
}

// What a worker that was killed leaves: groups that nobody holds any more.
TEST_P(CgroupTest, LeftoversOfAnEarlierRunAreKilledAndRemoved) {
  ASSERT_OK_AND_ASSIGN(auto group, tree_->Create("left"));
  const pid_t pid = StartFamily(*group);
  auto* const forgotten = group.release();  // As if its process had died: never destroyed.
  const std::unique_ptr<CgroupTree> restarted = OpenCgroupTree(parent_, GetParam());
  restarted->RemoveLeftovers();
  EXPECT_EQ(Reap(pid), SIGKILL);
  EXPECT_OK(restarted->Create("left"));
  delete forgotten;
}

// A runtime makes its groups in all hierarchies, also in those where steps have none by us.
TEST_P(CgroupTest, LeftoversOfRuntimesAreRemovedFromAllHierarchies) {
  const std::string parent = absl::StrCat(GetParam(), "/devices/", parent_);
  if (mkdir(parent.c_str(), 0755) != 0) GTEST_SKIP() << "no device controller of its own";
  ASSERT_EQ(mkdir((parent + "/run-1").c_str(), 0755), 0);
  ASSERT_EQ(mkdir((parent + "/run-1/oci").c_str(), 0755), 0);
  tree_->RemoveLeftovers();
  EXPECT_NE(access(parent.c_str(), F_OK), 0);
  rmdir((parent + "/run-1/oci").c_str());
  rmdir((parent + "/run-1").c_str());
  rmdir(parent.c_str());
}

TEST_P(CgroupTest, ATreeInAGroupOfTheHostIsBelowTheRoot) {
  const HostGroup host(GetParam());
  auto trees = OpenCgroupParents({host.path()}, "owner", {}, GetParam());
  ASSERT_THAT(trees, ElementsAre(Key(host.path())));
  ASSERT_OK_AND_ASSIGN(auto run, trees[host.path()]->Create("a"));
  EXPECT_EQ(run->path(), host.path() + "/owner/a");
  const pid_t pid = StartFamily(*run);
  EXPECT_THAT(ReadFile(absl::StrCat("/proc/", pid, "/cgroup")).value_or(""),
              HasSubstr(absl::StrCat(":", host.path(), "/owner/a\n")));
  run.reset();
  EXPECT_EQ(Reap(pid), SIGKILL);
}

TEST_P(CgroupTest, AGroupOfTheHostStaysAndOursInItGoes) {
  const HostGroup host(GetParam());
  OpenCgroupParents({host.path()}, "owner", {}, GetParam()).clear();
  ASSERT_FALSE(host.Directories().empty());
  for (const std::string& directory : host.Directories()) {
    EXPECT_NE(access((directory + "/owner").c_str(), F_OK), 0) << directory;
  }
}

TEST_P(CgroupTest, WhatItsOwnerLeftInAGroupOfTheHostIsRemoved) {
  const HostGroup host(GetParam());
  auto killed = OpenCgroupParents({host.path()}, "owner", {}, GetParam());
  ASSERT_OK_AND_ASSIGN(const auto left, killed[host.path()]->Create("left"));
  const pid_t pid = StartFamily(*left);
  auto restarted = OpenCgroupParents({host.path()}, "owner", {}, GetParam());
  EXPECT_EQ(Reap(pid), SIGKILL);
  EXPECT_OK(restarted[host.path()]->Create("left"));
}

TEST_P(CgroupTest, AGroupOfTheHostThatCannotLimitWhatOursCanIsLeftOut) {
  const CgroupCapabilities all{.memory = true, .cpu = true, .pids = true};
  const CgroupCapabilities& can = tree_->capabilities();
  if (can.memory && can.cpu && can.pids) GTEST_SKIP() << "this host limits all: " << can.Describe();
  const HostGroup host(GetParam());
  EXPECT_THAT(OpenCgroupParents({host.path()}, "owner", all, GetParam()), IsEmpty());
}

TEST(NoCgroupTest, HostWithoutGroupsLimitsNothingAndSaysSo) {
  const std::unique_ptr<CgroupTree> tree = OpenCgroupTree("farm", "/nowhere");
  EXPECT_EQ(tree->capabilities().Describe(), "cgroup none (no limits)");
  ASSERT_OK_AND_ASSIGN(const auto group, tree->Create("a"));
  EXPECT_OK(group->Add(getpid()));
  EXPECT_OK(group->SetLimits({.memory_bytes = 1}));
}

}  // namespace
}  // namespace farm
