// What is lost, cancelled or wrong on the way, and steps that are equal.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/testing/status_matchers.h"
#include "coordinator/build_session.h"
#include "coordinator/testing/session_test_base.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(BuildSessionTest, ALostLayerIsMadeAgain) {
  const std::string dockerfile = "FROM scratch\nRUN one\nRUN two\n";
  Build(dockerfile);
  // The layer of "one" is gone from the store: its step is no hit any more.
  ASSERT_OK(blobs_.Delete(TarOf("one")));
  const v1::BuildFinished done = Build(dockerfile);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("one"));
}

// Workers are told of the tar alone.
TEST_F(BuildSessionTest, ALostTarIsMadeAgainThoughTheLayerIsThereCompressed) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_tags("localhost:5000/app:v1");
  request.add_exports()->set_kind(v1::Export::KIND_PUSH);
  worker_.registry = &registry_;
  ASSERT_FALSE(Build(request).has_error());
  ASSERT_OK(blobs_.Delete(TarOf("one")));
  const v1::BuildFinished done = Build("FROM scratch\nRUN one\nRUN two\n");
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("one", "two"));
}

TEST_F(BuildSessionTest, AWorkerThatFindsABlobDamagedHasItMadeAgain) {
  Build("FROM scratch\nRUN one\n");
  worker_.errors["two"] = absl::DataLossError("layer is damaged");
  const v1::BuildFinished done = Build("FROM scratch\nRUN one\nRUN two\n");
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("two", "two"));
}

TEST_F(BuildSessionTest, AResultThatIsNoneEndsTheBuildAndIsNotKept) {
  worker_.spoil = [](v1::StepResult& result) {
    result.mutable_layer()->mutable_diff_id()->set_hash("no hash");
  };
  const v1::BuildFinished done = Build("FROM scratch\nRUN one\nRUN two\n");
  EXPECT_EQ(done.error().code(), static_cast<int>(absl::StatusCode::kInternal));
  EXPECT_THAT(done.error().message(), HasSubstr("diffID"));
  worker_.spoil = nullptr;
  EXPECT_FALSE(Build("FROM scratch\nRUN one\nRUN two\n").has_error());
  EXPECT_THAT(worker_.ran, ElementsAre("one", "two"));
}

TEST_F(BuildSessionTest, EqualStepsInFlightAreJoined) {
  auto one = std::make_shared<BuildSession>(farm_, Session::Options{.id = "x1", .domain = "main"},
                                            Request("FROM scratch\nRUN slow\n"));
  one->Start();
  const v1::BuildFinished two = Build("FROM scratch\nRUN slow\n");
  EXPECT_THAT(worker_.ran, ElementsAre("slow"));
  EXPECT_TRUE(one->events().finished());
  EXPECT_FALSE(two.has_error());
}

TEST_F(BuildSessionTest, ACancelledBuildStopsItsSteps) {
  worker_.silent = true;
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "c1", .domain = "main"}, Request("FROM scratch\nRUN slow\n"));
  session->Start();
  Settle();
  EXPECT_EQ(scheduler_.leased(), 1);
  session->Cancel();
  EXPECT_TRUE(session->events().finished());
  EXPECT_EQ(scheduler_.leased(), 0);
  EXPECT_EQ(runner_.jobs(), 0);
}

TEST_F(BuildSessionTest, ALostWorkersStepRunsElsewhere) {
  worker_.silent = true;
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "l1", .domain = "main"}, Request("FROM scratch\nRUN one\n"));
  session->Start();
  Settle();
  ScriptedWorker second("w2", blobs_, clock_);
  workers_ = {&second};
  clock_.Advance(absl::Minutes(1));
  Settle();
  runner_.OnTick();
  Settle();
  EXPECT_TRUE(session->events().finished());
  EXPECT_THAT(second.ran, ElementsAre("one"));
}

TEST_F(BuildSessionTest, WhatWasUnderWayWhenABuildEndsIsShownAsCancelled) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\nRUN two\n");
  request.add_tags("localhost:5000/app:v1");
  request.add_exports()->set_kind(v1::Export::KIND_PUSH);
  worker_.slots = 1;  // The second push waits.
  worker_.errors["PUSH localhost:5000/app"] = absl::PermissionDeniedError("not yours");
  EXPECT_TRUE(Build(request).has_error());
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_FAILED),
              ElementsAre(HasSubstr("[export] push layer")));
  EXPECT_THAT(Names(v1::StepFinished::OUTCOME_CANCELLED),
              ElementsAre(HasSubstr("[export] push layer")));
}

TEST_F(BuildSessionTest, AfterItIsClosedNoPollOfAWorkerIsKept) {
  v1::SynchronizeRequest request;
  request.set_worker("w2");
  request.set_incarnation("w2-1");
  std::vector<absl::Status> answers;
  const auto poll = [&] {
    request.set_sequence(request.sequence() + 1);
    runner_.Synchronize(request, [&](absl::StatusOr<v1::SynchronizeResponse> answer) {
      answers.push_back(answer.status());
    });
  };
  poll();  // The first is answered at once, the next has to wait.
  poll();
  EXPECT_THAT(answers, ElementsAre(absl::OkStatus()));
  runner_.Close();
  poll();
  EXPECT_THAT(answers, ElementsAre(absl::OkStatus(), absl::OkStatus(),
                                   StatusIs(absl::StatusCode::kUnavailable)));
}

// Killed between a step's end and the index' write, a coordinator would lose work that is done.
TEST_F(BuildSessionTest, AResultIsAcknowledgedOnceItIsInTheActionCache) {
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "b1", .domain = "main"}, Request("FROM scratch\nRUN one\n"));
  session->Start();
  while (worker_.ran.empty()) {
    loop_.RunAll();
    pool_.RunAll();
    slow_pool_.RunAll();
    worker_.Turn(runner_);
  }
  worker_.Turn(runner_);  // Reports the result; nothing is published yet, for the pool stands.
  EXPECT_EQ(worker_.acknowledged, 0);
  Settle();
  EXPECT_EQ(worker_.acknowledged, 1);
}

}  // namespace
}  // namespace farm
