// What ADD names on the network, and ssh agents.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "base/testing/status_matchers.h"
#include "coordinator/build_session.h"
#include "coordinator/testing/session_test_base.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TEST_F(BuildSessionTest, AUrlIsAskedForAtEachBuildAndItsFileIsCopiedOnlyIfItChanged) {
  const std::string url = "https://example.com/file";
  worker_.files[url] = "one";
  const std::string dockerfile = "FROM scratch\nADD " + url + " /f\nRUN use\n";
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url, "COPY /f", "use"));
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("ASK " + url));
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_CACHED), SizeIs(3));
  worker_.files[url] = "two";
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url, "COPY /f", "use"));
  worker_.files[url] = "one";
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url));
}

TEST_F(BuildSessionTest, AFileThatIsLostIsFetchedAgainWholly) {
  const std::string url = "https://example.com/file";
  worker_.files[url] = "one";
  const std::string dockerfile = "FROM scratch\nADD " + url + " /f\n";
  Build(dockerfile);
  ASSERT_OK(blobs_.Delete(TarOf("fetch " + url)));
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url));
}

TEST_F(BuildSessionTest, AFileOfAKnownChecksumIsNotAskedForWhereverItLies) {
  const std::string add = "ADD --checksum=" + DigestOf("one").oci() + " https://example.com/";
  worker_.files["https://example.com/a/file"] = "one";
  Build("FROM scratch\n" + add + "a/file /f\n");
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH https://example.com/a/file", "COPY /f"));
  Build("FROM scratch\n" + add + "b/file /f\n");
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, ABranchIsAskedForAtEachBuildAndItsCommitIsFetchedOnce) {
  const std::string remote = "https://example.com/r.git";
  worker_.refs[remote + " main"] = std::string(40, '1');
  const std::string dockerfile = "FROM scratch\nADD " + remote + "#main /src\n";
  Build(dockerfile);
  EXPECT_THAT(worker_.ran,
              ElementsAre("RESOLVE main", "CHECKOUT " + std::string(40, '1'), "COPY /src"));
  Build(dockerfile);
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main"));
  worker_.refs[remote + " main"] = std::string(40, '2');
  Build(dockerfile);
  EXPECT_THAT(worker_.ran,
              ElementsAre("RESOLVE main", "CHECKOUT " + std::string(40, '2'), "COPY /src"));
  Build("FROM scratch\nADD " + remote + "#" + std::string(40, '2') + " /src\n");
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, ACommitThatIsNotTheOneExpectedEndsTheBuildAtItsLine) {
  worker_.refs["https://example.com/r.git main"] = std::string(40, '1');
  const v1::BuildFinished done =
      Build("FROM scratch\nADD --checksum=22 https://example.com/r.git#main /src\n");
  EXPECT_THAT(done.error().message(),
              AllOf(HasSubstr("Dockerfile:2:1"), HasSubstr("expected commit 22, got 1111")));
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main"));
}

TEST_F(BuildSessionTest, WhatCanNotBeFetchedEndsTheBuildAtItsLine) {
  const std::string url = "https://user:pass@example.com/file";
  worker_.errors["FETCH " + url] = absl::InvalidArgumentError("404 Not Found");
  const v1::BuildFinished done = Build("FROM scratch\nADD " + url + " /f\n");
  EXPECT_THAT(done.error().message(),
              AllOf(HasSubstr("Dockerfile:2:1"), HasSubstr("404 Not Found")));
  for (const v1::BuildEvent& event : events_) {
    for (const v1::PlannedStep& step : event.planned().steps()) {
      EXPECT_THAT(step.name(), Not(HasSubstr("pass")));
    }
  }
}

TEST_F(BuildSessionTest, ARepositoryOverSshIsRefusedBeforeAnythingRuns) {
  const v1::BuildFinished done = Build("FROM scratch\nRUN one\nADD git@example.com:r.git /src\n");
  EXPECT_THAT(done.error().message(),
              AllOf(HasSubstr("Dockerfile:3:1"), HasSubstr("needs an ssh agent")));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, AStepsSshAgentIsThatOfTheClient) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN --mount=type=ssh,id=a one\n");
  request.add_ssh_agents("a");
  const auto session =
      std::make_shared<BuildSession>(farm_, Session::Options{.id = "s", .domain = "main"}, request);
  std::vector<std::string> answers;
  worker_.on_lease = [&](const v1::Lease& lease) {
    EXPECT_THAT(lease.spec().execution().ssh_agents(), ElementsAre("a"));
    const auto ask = [&](const std::string& worker, const std::string& agent) {
      v1::AskSshAgentRequest question;
      question.set_worker(worker);
      *question.mutable_epoch() = lease.epoch();
      question.set_agent(agent);
      question.set_question("list");
      runner_.AskSshAgent(question, [&](absl::StatusOr<std::string> answer) {
        answers.push_back(
            answer.ok() ? *answer : std::string(absl::StatusCodeToString(answer.status().code())));
      });
    };
    ask("w1", "a");
    ask("w1", "b");
    ask("w2", "a");
  };
  // The client waits already.
  session->ssh_agents()->Poll({}, [&](absl::StatusOr<v1::AnswerSshAgentResponse> question) {
    ASSERT_OK(question.status());
    EXPECT_EQ(question->agent(), "a");
    v1::AnswerSshAgentRequest answer;
    answer.set_number(question->number());
    answer.set_answer(question->question() + " of a");
    session->ssh_agents()->Poll(answer, [](const auto&) {});
  });
  EXPECT_FALSE(Finish(session).has_error());
  EXPECT_THAT(answers, ElementsAre("list of a", "PERMISSION_DENIED", "ABORTED"));
}

TEST_F(BuildSessionTest, AnSshAgentThatIsRequiredAndNotThereEndsTheBuildAtItsLine) {
  const v1::BuildFinished done =
      Build("FROM scratch\nRUN --mount=type=ssh,id=a,required=true one\n");
  EXPECT_EQ(done.error().line(), 2);
  EXPECT_THAT(done.error().message(), HasSubstr("give it with --ssh a"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, WhetherThereIsAnSshAgentIsInNoKey) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN --mount=type=ssh one\n");
  EXPECT_FALSE(Build(request).has_error());
  request.add_ssh_agents("default");
  EXPECT_EQ(Build(request).image().steps_cached(), 1);
}

TEST_F(BuildSessionTest, AStepIsNotJoinedByOneThatHasAnotherSshAgent) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN --mount=type=ssh one\n");
  const auto without = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "s1", .domain = "main"}, request);
  request.add_ssh_agents("default");
  const auto with = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "s2", .domain = "main"}, request);
  std::vector<int> agents;
  worker_.on_lease = [&](const v1::Lease& lease) {
    agents.push_back(lease.spec().execution().ssh_agents_size());
  };
  without->Start();
  EXPECT_FALSE(Finish(with).has_error());
  EXPECT_THAT(agents, UnorderedElementsAre(0, 1));
}

}  // namespace
}  // namespace farm
