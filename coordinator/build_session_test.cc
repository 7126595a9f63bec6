// Builds with everything real but the disk, the registry and the worker: one thread, no clock.
#include "coordinator/build_session.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/testing/status_matchers.h"
#include "coordinator/image_sessions.h"
#include "coordinator/testing/session_test_base.h"
#include "oci/image_config.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(BuildSessionTest, RunsEachStepAndMakesAnImage) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\nRUN two\nCMD [\"/x\"]\n");
  request.add_tags("app");
  const v1::BuildFinished done = Build(request);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("one", "two"));
  EXPECT_THAT(ConfigOf(done), HasSubstr("\"Cmd\":[\"/x\"]"));
  EXPECT_THAT(std::vector<std::string>(done.image().tags().begin(), done.image().tags().end()),
              ElementsAre("app:latest"));
  EXPECT_OK(images_.Find("main", "app"));
}

TEST_F(BuildSessionTest, WarningsOfTheTargetAreEventsWithTheirRule) {
  EXPECT_FALSE(Build("FROM scratch as a\nMAINTAINER x\nFROM scratch\nCMD x\n").has_error());
  std::vector<std::string> rules;
  for (const v1::BuildEvent& event : events_) {
    if (event.has_warning()) {
      rules.push_back(absl::StrCat(event.warning().rule(), ":", event.warning().line()));
    }
  }
  EXPECT_THAT(rules,
              ElementsAre("FromAsCasing:1", "MaintainerDeprecated:2", "JSONArgsRecommended:4"));
}

TEST_F(BuildSessionTest, ASecondBuildRunsNothingAndGivesTheSameImage) {
  const std::string dockerfile = "FROM scratch\nRUN one\nRUN two\n";
  const v1::BuildFinished first = Build(dockerfile);
  clock_.Advance(absl::Hours(1));
  const v1::BuildFinished second = Build(dockerfile);
  EXPECT_THAT(worker_.ran, IsEmpty());
  EXPECT_EQ(second.image().steps_cached(), 2);
  EXPECT_EQ(first.image().config().hash(), second.image().config().hash());
}

TEST_F(BuildSessionTest, ALineMoreRunsOneStepMore) {
  Build("FROM scratch\nRUN one\n");
  Build("FROM scratch\nRUN one\nRUN two\n");
  EXPECT_THAT(worker_.ran, ElementsAre("two"));
}

TEST_F(BuildSessionTest, NoCacheRunsAll) {
  Build("FROM scratch\nRUN one\nRUN two\n");
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\nRUN two\n");
  request.set_no_cache(true);
  Build(request);
  EXPECT_THAT(worker_.ran, ElementsAre("one", "two"));
}

TEST_F(BuildSessionTest, AFailingTriggerIsToldWithTheImageThatItComesFrom) {
  v1::StartBuildRequest request = Request(
      "FROM scratch\nRUN one\nONBUILD RUN --mount=type=secret,id=s,required t\nONBUILD RUN "
      "fails\n");
  request.add_tags("base:1");
  Build(request);
  EXPECT_THAT(Build("# a line\nFROM base:1\n").error().message(),
              AllOf(HasSubstr("Dockerfile:2:1: secret s: not found"),
                    HasSubstr("(from the image base:1: ONBUILD RUN --mount=type=secret")));
  worker_.exit_codes["fails"] = 1;
  request = Request("# a line\nFROM base:1\n");
  request.add_secrets()->set_id("s");
  const v1::BuildFinished done = Build(request);
  EXPECT_THAT(done.error().message(),
              HasSubstr("exit code: 1 (from the image base:1: ONBUILD RUN fails)"));
  worker_.exit_codes.clear();
  worker_.errors["fails"] = absl::InvalidArgumentError("no such user");
  EXPECT_THAT(Build(request).error().message(),
              AllOf(HasSubstr("Dockerfile:2:1: [3/3] ONBUILD RUN fails: no such user"),
                    HasSubstr("(from the image base:1: ONBUILD RUN fails)")));
}

TEST_F(BuildSessionTest, AFailingCommandEndsTheBuildAndIsNotKept) {
  worker_.exit_codes["bad"] = 7;
  for (int i = 0; i < 2; ++i) {
    const v1::BuildFinished done = Build("FROM scratch\nRUN bad\nRUN after\n");
    EXPECT_THAT(done.error().message(), HasSubstr("exit code: 7"));
    EXPECT_NE(done.failed_step(), 0);
    EXPECT_THAT(worker_.ran, ElementsAre("bad"));
  }
}

TEST_F(BuildSessionTest, AnEqualLayerIsAdoptedSoThatNothingAfterItRuns) {
  const v1::BuildFinished first = Build("FROM scratch\nRUN make # v1\nRUN after\n");
  clock_.Advance(absl::Hours(1));
  worker_.writes["make # v2"] = {File("ran", "make # v1")};
  worker_.writes["make # v1"] = {File("ran", "make # v1")};
  const v1::BuildFinished second = Build("FROM scratch\nRUN make # v2\nRUN after\n");
  EXPECT_THAT(worker_.ran, ElementsAre("make # v2"));
  const auto adopted = std::find_if(events_.begin(), events_.end(), [](const v1::BuildEvent& e) {
    return e.step_finished().adopted();
  });
  EXPECT_NE(adopted, events_.end());
  EXPECT_FALSE(second.has_error());
  EXPECT_FALSE(first.has_error());
}

TEST_F(BuildSessionTest, ATimeThatTheStepSetItselfIsContent) {
  TableEntry touched = File("ran", "x");
  touched.mtime = absl::FromUnixSeconds(1000);
  worker_.writes["touch # v1"] = {touched};
  touched.mtime = absl::FromUnixSeconds(2000);
  worker_.writes["touch # v2"] = {touched};
  Build("FROM scratch\nRUN touch # v1\nRUN after\n");
  Build("FROM scratch\nRUN touch # v2\nRUN after\n");
  EXPECT_THAT(worker_.ran, ElementsAre("touch # v2", "after"));
}

TEST_F(BuildSessionTest, ACopyRunsAgainOnlyIfWhatItCopiesChanged) {
  const std::string dockerfile = "FROM scratch\nCOPY a /a\nCOPY b /b\n";
  SetContext({File("a", "1"), File("b", "1"), File("c", "1")});
  Build(dockerfile);
  SetContext({File("a", "1"), File("b", "1"), File("c", "2")});
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, IsEmpty());
  SetContext({File("a", "1"), File("b", "2"), File("c", "2")});
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("COPY /b"));
  SetContext({File("a", "1", 0755), File("b", "2")});
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, Contains("COPY /a"));
}

TEST_F(BuildSessionTest, ACopyFromAStageIsKeyedByContentAndNotByTheStage) {
  worker_.writes["make # v1"] = {File("out", "same"), File("log", "1")};
  worker_.writes["make # v2"] = {File("out", "same"), File("log", "2")};
  Build("FROM scratch AS b\nRUN make # v1\nFROM scratch\nCOPY --from=b /out /out\n");
  Build("FROM scratch AS b\nRUN make # v2\nFROM scratch\nCOPY --from=b /out /out\n");
  EXPECT_THAT(worker_.ran, ElementsAre("make # v2"));
}

TEST_F(BuildSessionTest, StagesThatTheTargetDoesNotNeedAreLeftOut) {
  v1::StartBuildRequest request =
      Request("FROM scratch AS a\nRUN a\nFROM scratch AS b\nRUN b\nFROM scratch AS c\nRUN c\n");
  request.set_target("b");
  Build(request);
  EXPECT_THAT(worker_.ran, ElementsAre("b"));
}

TEST_F(BuildSessionTest, DomainsShareNothing) {
  Build("FROM scratch\nRUN one\n");
  domain_ = "other";
  Build("FROM scratch\nRUN one\n");
  EXPECT_THAT(worker_.ran, ElementsAre("one"));
}

TEST_F(BuildSessionTest, AnImportedTarIsAnImageThatFromFinds) {
  v1::ImportImageRequest import;
  *import.mutable_blob() = DigestToProto(*PutBytes(blobs_, "a tar"));
  import.set_tag("centos:7");
  import.add_changes("CMD [\"/bin/bash\"]");
  auto session = std::make_shared<ImportSession>(
      farm_, Session::Options{.id = "i1", .domain = "main"}, import);
  const v1::BuildFinished imported = Finish(session);
  EXPECT_FALSE(imported.has_error()) << imported.error().message();
  const v1::BuildFinished built = Build("FROM centos:7\nRUN mkdir /cc\n");
  EXPECT_FALSE(built.has_error()) << built.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("mkdir /cc"));
  EXPECT_THAT(ConfigOf(built), HasSubstr("/bin/bash"));
}

TEST_F(BuildSessionTest, AnImageThatCannotBeHadIsToldWithItsLineAndTheStageThatMayBeMeant) {
  const v1::BuildFinished done =
      Build("FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /a /a\n");
  EXPECT_THAT(done.error().message(), HasSubstr("Dockerfile:3:1: "));
  EXPECT_THAT(done.error().message(), HasSubstr("(did you mean the stage build?)"));
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_FAILED),
              ElementsAre("[internal] load metadata for docker.io/library/biuld:latest"));
}

TEST_F(BuildSessionTest, AnImageThatCannotBeHadIsToldWithTheFarmsOwnThatMayBeMeant) {
  for (const char* tag : {"basis", "other:1"}) {
    v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
    request.add_tags(tag);
    EXPECT_FALSE(Build(request).has_error());
  }
  EXPECT_THAT(Build("FROM bassi\n").error().message(),
              HasSubstr("(did you mean the farm's image basis:latest?)"));
  EXPECT_THAT(Build("FROM other\n").error().message(),
              HasSubstr("(did you mean the farm's image other:1?)"));
  EXPECT_THAT(Build("FROM another/thing\n").error().message(), Not(HasSubstr("did you mean")));
  registry_.RequireLogin("docker.io", {.username = "u", .password = "p", .identity_token = ""});
  EXPECT_THAT(Build("FROM bassi\n").error().message(), HasSubstr("image basis:latest?"));
}

TEST_F(BuildSessionTest, AnImageThatTheFarmHasForAnotherPlatformIsSaidToBeThat) {
  v1::StartBuildRequest request = Request("FROM scratch\nCMD x\n");
  request.mutable_platform()->set_os("linux");
  request.mutable_platform()->set_architecture("arm64");
  request.add_tags("app");
  ASSERT_FALSE(Build(request).has_error());
  EXPECT_THAT(Build("FROM app\n").error().message(),
              HasSubstr("; the farm has app:latest for linux/arm64 only"));
  EXPECT_THAT(Logs(), ElementsAre("[internal] load metadata for docker.io/library/app:latest|"
                                  "the farm has app:latest for linux/arm64 only: asking docker.io "
                                  "for linux/amd64\n"));
}

TEST_F(BuildSessionTest, ARegistryThatIsAskedAgainShowsInTheLogOfTheLookup) {
  registry_.AddImage("alpine", ImageConfig{.platform = {.os = "linux", .architecture = "amd64"}},
                     {});
  registry_.RemarkNext("registry docker.io: no answer; attempt 2 of 5 in 1s");
  EXPECT_FALSE(Build("FROM alpine\n").has_error());
  EXPECT_THAT(Logs(), ElementsAre("[internal] load metadata for docker.io/library/alpine:latest|"
                                  "registry docker.io: no answer; attempt 2 of 5 in 1s\n"));
}

TEST_F(BuildSessionTest, EachLookupIsShownWithItsOwnTime) {
  registry_.AddImage("one", ImageConfig{.platform = {.os = "linux", .architecture = "amd64"}}, {});
  EXPECT_TRUE(Build("FROM one\nFROM two\nCOPY --from=0 /a /a\n").has_error());
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_RAN),
              ElementsAre("[internal] load metadata for docker.io/library/one:latest"));
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_FAILED),
              ElementsAre("[internal] load metadata for docker.io/library/two:latest"));
  std::vector<std::string> order;
  for (const v1::BuildEvent& event : events_) {
    if (event.has_step_started())
      order.push_back(absl::StrCat("start ", event.step_started().id()));
    if (event.has_step_finished())
      order.push_back(absl::StrCat("end ", event.step_finished().id()));
  }
  EXPECT_THAT(order, ElementsAre("start 1", "end 1", "start 2", "end 2"));
}

TEST_F(BuildSessionTest, ExplainNamesWhatIsNew) {
  Build("FROM scratch\nENV A=1\nRUN one\n");
  v1::StartBuildRequest request = Request("FROM scratch\nENV A=2\nRUN one\n");
  request.set_explain(true);
  Build(request);
  EXPECT_THAT(Reasons(), HasSubstr("variable A"));
}

TEST_F(BuildSessionTest, AStepThatFailedBeforeIsExplainedByThat) {
  worker_.exit_codes["one"] = 7;
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.set_explain(true);
  Build(request);
  EXPECT_EQ(Reasons(), "no earlier run of it is known");
  Build(request);
  EXPECT_EQ(Reasons(), "it failed when it ran last: exit code: 7");
  worker_.exit_codes.clear();
  request.set_dockerfile("FROM scratch\nENV A=1\nRUN one\n");
  Build(request);
  EXPECT_THAT(Reasons(), AllOf(HasSubstr("variable A"), HasSubstr("it failed when it ran last")));
  request.set_dockerfile("FROM scratch\nENV A=2\nRUN one\n");
  Build(request);
  EXPECT_THAT(Reasons(), Not(HasSubstr("failed")));
}

TEST_F(BuildSessionTest, AStepIsNotExplainedByTheOneInItsPlaceOfAnotherRepository) {
  v1::StartBuildRequest theirs = Request("FROM scratch\nRUN one\n");
  theirs.add_tags("theirs:1");
  Build(theirs);
  v1::StartBuildRequest ours = Request("FROM scratch\nRUN two\n");
  ours.add_tags("ours:1");
  ours.set_explain(true);
  Build(ours);
  EXPECT_THAT(Reasons(), HasSubstr("no earlier run"));
  ours.set_dockerfile("FROM scratch\nRUN three\n");
  ours.set_tags(0, "ours:2");
  Build(ours);
  EXPECT_THAT(Reasons(), HasSubstr("was: "));
}

TEST_F(BuildSessionTest, AScriptOfAnyLengthIsBuiltAndExplained) {
  const std::string run = "RUN <<EOF\n" + std::string(100'000, 'x') + "\nEOF\n";
  EXPECT_FALSE(Build("FROM scratch\nENV A=1\n" + run).has_error());
  v1::StartBuildRequest request = Request("FROM scratch\nENV A=2\n" + run);
  request.set_explain(true);
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_THAT(Reasons(), HasSubstr("variable A"));
}

}  // namespace
}  // namespace farm
