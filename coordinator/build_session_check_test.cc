// What is refused or said before a step runs.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/build_session.h"
#include "coordinator/testing/session_test_base.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST_F(BuildSessionTest, WarningsThatAreErrorsEndTheBuildBeforeItRuns) {
  const v1::BuildFinished done = Build("# check=error=true\nFROM scratch\nRUN a\nCMD x\n");
  EXPECT_THAT(done.error().message(),
              HasSubstr("lint violation found for rules: JSONArgsRecommended"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, ARunForAnotherPlatformIsRefusedIfNoWorkerHasIt) {
  v1::StartBuildRequest request = Request("FROM scratch\nWORKDIR /w\nRUN a\n");
  request.mutable_platform()->set_os("linux");
  request.mutable_platform()->set_architecture("arm64");
  const v1::BuildFinished done = Build(request);
  EXPECT_THAT(done.error().message(),
              HasSubstr("no worker of this farm has linux/arm64, network host"));
  request.set_dockerfile("FROM scratch\nWORKDIR /w\n");
  EXPECT_FALSE(Build(request).has_error());
}

TEST_F(BuildSessionTest, ARunWithANetworkThatNoWorkerOffersIsRefused) {
  const v1::BuildFinished done = Build("FROM scratch\nWORKDIR /w\nRUN --network=none a\n");
  EXPECT_THAT(done.error().message(),
              HasSubstr("no worker of this farm has linux/amd64, network none"));
  EXPECT_EQ(done.error().line(), 3);
}

TEST_F(BuildSessionTest, ABuildWaitsForTheFirstWorkerAndSaysSo) {
  workers_.clear();
  const auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "w1", .domain = "main"}, Request("FROM scratch\nRUN one\n"));
  std::vector<std::string> warnings;
  session->events().Watch(0, [&warnings](const EventStream::SharedEvent& event) {
    if (event->has_warning()) warnings.push_back(event->warning().message());
  });
  session->Start();
  Settle();
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("no worker is at this farm")));
  EXPECT_FALSE(session->events().finished());
  workers_ = {&worker_};
  Settle();
  EXPECT_TRUE(session->events().finished());
}

TEST_F(BuildSessionTest, AContextThatNoWorkerWouldCopyIsRefusedBeforeAnythingRuns) {
  TableEntry file = File("a", "1");
  file.xattrs["trusted.overlay.opaque"] = "y";
  SetContext({file});
  const v1::BuildFinished done = Build("FROM scratch\nRUN one\nCOPY a /a\n");
  EXPECT_EQ(done.error().code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(done.error().message(),
              HasSubstr("build context: \"a\" has the xattr trusted.overlay.opaque"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, AMissingSourceIsAnErrorWithItsPlace) {
  SetContext({File("a", "1")});
  const v1::BuildFinished done = Build("FROM scratch\nCOPY nothing /x\n");
  EXPECT_EQ(done.error().line(), 2);
  EXPECT_THAT(done.error().message(), HasSubstr("nothing"));
}

TEST_F(BuildSessionTest, AMissingSourceIsToldBeforeAnythingRuns) {
  SetContext({File("a", "1")});
  for (const char* line : {"COPY --exclude=x nothing /x", "ADD nothing https://example.com/f /x/",
                           "RUN --mount=source=nothing,target=/x two"}) {
    const v1::BuildFinished done =
        Build(absl::StrCat("FROM scratch AS a\nRUN one\nFROM a\nCOPY a /a\n", line, "\n"));
    EXPECT_EQ(done.error().line(), 5) << line;
    EXPECT_THAT(done.error().message(), HasSubstr("\"/nothing\": not found")) << line;
    EXPECT_NE(done.failed_step(), 0) << line;
    EXPECT_THAT(worker_.ran, IsEmpty()) << line;
  }
}

TEST_F(BuildSessionTest, AStageThatTheTargetDoesNotNeedMayMissItsSource) {
  SetContext({File("a", "1")});
  EXPECT_FALSE(Build("FROM scratch\nCOPY nothing /x\nFROM scratch\nCOPY a /a\n").has_error());
}

TEST_F(BuildSessionTest, AMissingSourceIsToldWithThePatternThatExcludesIt) {
  SetContext({File("a", "1")});
  v1::StartBuildRequest request = Request("FROM scratch\nCOPY key /key\n");
  request.mutable_ignore_file()->set_name("app.dockerignore");
  request.mutable_ignore_file()->set_text("b\nk*\n");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("app.dockerignore:2 excludes it"));
  request.mutable_ignore_file()->set_text("[");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("app.dockerignore:1"));
}

TEST_F(BuildSessionTest, WhatTheClientDidNotAllowIsRefusedBeforeAnythingRuns) {
  v1::StartBuildRequest request =
      Request("FROM scratch\nRUN one\nRUN --network=host two\nRUN --security=insecure three\n");
  EXPECT_THAT(Build(request).error().message(),
              AllOf(HasSubstr("Dockerfile:3:1"), HasSubstr("--allow network.host")));
  request.add_entitlements("network.host");
  EXPECT_THAT(Build(request).error().message(),
              AllOf(HasSubstr("Dockerfile:4:1"), HasSubstr("--allow security.insecure")));
  EXPECT_THAT(worker_.ran, IsEmpty());
  request.add_entitlements("security.insecure");
  worker_.insecure_allowed = true;
  EXPECT_FALSE(Build(request).has_error());
}

TEST_F(BuildSessionTest, ABuildWithTheHostsNetworkMaySaySoInALine) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN --network=host one\n");
  request.set_network(v1::NETWORK_MODE_HOST);
  EXPECT_FALSE(Build(request).has_error());
}

TEST_F(BuildSessionTest, AnInsecureRunThatNoWorkerPermitsIsRefusedWithItsLine) {
  // By its first step the worker is known.
  v1::StartBuildRequest request =
      Request("FROM scratch\nWORKDIR /w\nRUN --security=insecure one\n");
  request.add_entitlements("security.insecure");
  const v1::BuildFinished done = Build(request);
  EXPECT_EQ(done.error().line(), 3);
  EXPECT_THAT(done.error().message(), HasSubstr("insecure_allowed"));
  EXPECT_THAT(worker_.ran, ElementsAre("MKDIR /w"));
}

TEST_F(BuildSessionTest, AControlGroupThatNoWorkerHasIsRefusedWithTheLineThatNeedsIt) {
  v1::StartBuildRequest request = Request("FROM scratch\nWORKDIR /w\nRUN one\n");
  request.set_cgroup_parent("/ci");
  const v1::BuildFinished done = Build(request);
  EXPECT_EQ(done.error().line(), 3);
  EXPECT_THAT(done.error().message(), HasSubstr("/ci in cgroup_parents"));
  EXPECT_THAT(worker_.ran, ElementsAre("MKDIR /w"));
}

TEST_F(BuildSessionTest, TheControlGroupOfARunIsInNoKey) {
  worker_.cgroup_parents = {"/ci"};
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.set_cgroup_parent("/ci");
  std::string lent;
  worker_.on_lease = [&lent](const v1::Lease& lease) {
    lent = lease.spec().execution().cgroup_parent();
  };
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_EQ(lent, "/ci");
  request.clear_cgroup_parent();
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, AStepIsNotJoinedByOneForAnotherControlGroup) {
  worker_.cgroup_parents = {"/ci"};
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  const auto without = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "s1", .domain = "main"}, request);
  request.set_cgroup_parent("/ci");
  const auto with = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "s2", .domain = "main"}, request);
  std::vector<std::string> groups;
  worker_.on_lease = [&](const v1::Lease& lease) {
    groups.push_back(lease.spec().execution().cgroup_parent());
  };
  without->Start();
  EXPECT_FALSE(Finish(with).has_error());
  EXPECT_THAT(groups, UnorderedElementsAre("", "/ci"));
}

TEST_F(BuildSessionTest, WhatNoClientOfOursWouldAskForIsRefused) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_entitlements("device");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("unknown entitlement \"device\""));
  request = Request("FROM scratch\nRUN one\n");
  v1::HostAlias& host = *request.add_extra_hosts();
  host.set_name("a\n10.0.0.1 b");
  host.set_address("10.0.0.1");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("is no host name"));
  request = Request("FROM scratch\nRUN one\n");
  request.add_ulimits()->set_name("nofiles");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("unknown ulimit"));
  request = Request("FROM scratch\nRUN one\n");
  for (int i = 0; i < 2; ++i) request.add_ulimits()->set_name("nofile");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("nofile is given twice"));
  request = Request("FROM scratch\nRUN one\n");
  request.set_shm_bytes(-1);
  EXPECT_THAT(Build(request).error().message(), HasSubstr("/dev/shm"));
}

TEST_F(BuildSessionTest, RunIsRefusedWithTheReasonWhereNoWorkerHasItsNetwork) {
  farm_.run_network_default = v1::NETWORK_MODE_ISOLATED;
  worker_.isolated_missing = "it forwards no packets";
  const v1::BuildFinished done = Build("FROM scratch\nWORKDIR /w\nRUN one\n");
  EXPECT_THAT(done.error().message(), HasSubstr("network isolated"));
  EXPECT_THAT(done.error().message(), HasSubstr("it forwards no packets"));
  EXPECT_EQ(done.error().line(), 3);
}

TEST_F(BuildSessionTest, AStepThatCouldNotBeReadByItsWorkerIsRefused) {
  const v1::BuildFinished done = Build("FROM scratch\nWORKDIR /w\nRUN echo \xff\n");
  EXPECT_THAT(done.error().message(), HasSubstr("not UTF-8"));
}

TEST_F(BuildSessionTest, ALocalFarmsWorkerChoosesTheNetwork) {
  farm_.run_network_default = v1::NETWORK_MODE_UNSPECIFIED;
  EXPECT_FALSE(Build("FROM scratch\nRUN one\n").has_error());
}

TEST_F(BuildSessionTest, ABadTagIsRefusedBeforeAnythingRuns) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_tags("UPPER");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("must be lowercase"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

}  // namespace
}  // namespace farm
