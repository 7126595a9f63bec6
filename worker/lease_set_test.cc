// A test for each arrow of lease_set.h.
#include "worker/lease_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "worker/testing/fake_coordinator.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

LeaseSet::Epoch EpochOf(int64_t sequence) { return {.incarnation = 1, .sequence = sequence}; }

v1::StepResult Exit(int code) {
  v1::StepResult result;
  result.set_exit_code(code);
  return result;
}

class LeaseSetTest : public ::testing::Test {
 protected:
  LeaseSet::Actions Answer(const v1::SynchronizeResponse& response) {
    return leases_.OnResponse(response, ++sequence_, now_);
  }
  LeaseSet::Actions Grant(int64_t sequence) {
    v1::SynchronizeResponse response;
    *response.add_leases() = MakeLease(sequence);
    return Answer(response);
  }
  LeaseSet::Actions Revoke(int64_t sequence) {
    v1::SynchronizeResponse response;
    *response.add_revoked() = MakeLease(sequence).epoch();
    return Answer(response);
  }
  LeaseSet::Actions Acknowledge(int64_t sequence) {
    v1::SynchronizeResponse response;
    *response.add_acknowledged() = MakeLease(sequence).epoch();
    return Answer(response);
  }
  std::vector<v1::LeaseState> Report() {
    v1::SynchronizeRequest request;
    leases_.Report(request);
    return {request.leases().begin(), request.leases().end()};
  }

  LeaseSet leases_;
  int64_t sequence_ = 0;
  absl::Time now_ = absl::FromUnixSeconds(1000);
};

TEST_F(LeaseSetTest, UnknownLeaseIsStartedOnce) {
  EXPECT_THAT(Grant(1).start, SizeIs(1));
  EXPECT_THAT(Grant(1).start, IsEmpty());
  ASSERT_THAT(Report(), SizeIs(1));
  EXPECT_EQ(Report()[0].phase(), v1::LeaseState::PHASE_FETCHING);
  EXPECT_EQ(Report()[0].job(), "main/k");
}

TEST_F(LeaseSetTest, LeaseWithoutSpecThatIsNotHeldIsNotStarted) {
  v1::SynchronizeResponse response;
  *response.add_leases() = MakeLease(1);
  response.mutable_leases(0)->clear_spec();
  EXPECT_THAT(Answer(response).start, IsEmpty());
}

TEST_F(LeaseSetTest, FinishedResultIsReportedUntilAcknowledged) {
  Grant(1);
  leases_.OnFinished(EpochOf(1), Exit(3));
  ASSERT_THAT(Report(), SizeIs(1));
  EXPECT_EQ(Report()[0].phase(), v1::LeaseState::PHASE_DONE);
  EXPECT_EQ(Report()[0].result().exit_code(), 3);
  Acknowledge(1);
  EXPECT_TRUE(leases_.empty());
}

TEST_F(LeaseSetTest, AResultThatCouldNotBeReadIsReportedAsAnError) {
  Grant(1);
  v1::StepResult result;
  result.set_etag("\"\xff\"");
  leases_.OnFinished(EpochOf(1), result);
  EXPECT_EQ(Report()[0].error().code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Report()[0].error().message(), HasSubstr("UTF-8"));
}

TEST_F(LeaseSetTest, ErrorIsReportedWithItsCode) {
  Grant(1);
  leases_.OnFinished(EpochOf(1), absl::DataLossError("damaged"));
  EXPECT_EQ(Report()[0].error().code(), static_cast<int>(absl::StatusCode::kDataLoss));
  EXPECT_EQ(Report()[0].error().message(), "damaged");
}

TEST_F(LeaseSetTest, FinishedResultIsForgottenWhenRevoked) {
  Grant(1);
  leases_.OnFinished(EpochOf(1), Exit(0));
  EXPECT_THAT(Revoke(1).stop, IsEmpty());
  EXPECT_TRUE(leases_.empty());
}

TEST_F(LeaseSetTest, RunningLeaseStopsWhenRevokedAndIsForgottenAtItsEnd) {
  Grant(1);
  EXPECT_THAT(Revoke(1).stop, ElementsAre(EpochOf(1)));
  EXPECT_THAT(Revoke(1).stop, IsEmpty());
  EXPECT_THAT(Report(), IsEmpty());
  EXPECT_EQ(leases_.running(), 1);
  leases_.OnFinished(EpochOf(1), Exit(0));
  EXPECT_TRUE(leases_.empty());
}

TEST_F(LeaseSetTest, AcknowledgingARunningLeaseChangesNothing) {
  Grant(1);
  Acknowledge(1);
  EXPECT_THAT(Report(), SizeIs(1));
}

TEST_F(LeaseSetTest, ForgottenLeaseIsNotStartedByALateAnswer) {
  Grant(1);
  leases_.OnFinished(EpochOf(1), Exit(0));
  Acknowledge(1);
  EXPECT_THAT(Grant(1).start, IsEmpty());
}

TEST_F(LeaseSetTest, AnswerToAnOlderCallIsIgnored) {
  v1::SynchronizeResponse old;
  *old.add_leases() = MakeLease(7);
  leases_.OnResponse({}, 5, now_);
  EXPECT_THAT(leases_.OnResponse(old, 4, now_).start, IsEmpty());
}

TEST_F(LeaseSetTest, SupersededAnswerIsIgnored) {
  v1::SynchronizeResponse response;
  response.set_superseded(true);
  *response.add_leases() = MakeLease(1);
  EXPECT_THAT(Answer(response).start, IsEmpty());
}

TEST_F(LeaseSetTest, LeasesStopWithoutContactForTheirTimeAndNotBefore) {
  v1::SynchronizeResponse response;
  response.mutable_lease_ttl()->set_seconds(30);
  *response.add_leases() = MakeLease(1);
  Answer(response);
  EXPECT_THAT(leases_.OnTick(now_ + absl::Seconds(30)).stop, IsEmpty());
  EXPECT_THAT(leases_.OnTick(now_ + absl::Seconds(31)).stop, ElementsAre(EpochOf(1)));
}

TEST_F(LeaseSetTest, DoneResultOutlivesLossOfContact) {
  Grant(1);
  leases_.OnFinished(EpochOf(1), Exit(0));
  EXPECT_THAT(leases_.OnTick(now_ + absl::Hours(1)).stop, IsEmpty());
  EXPECT_THAT(Report(), SizeIs(1));
}

TEST_F(LeaseSetTest, StopAllStopsWhatRuns) {
  Grant(1);
  Grant(2);
  leases_.OnFinished(EpochOf(2), Exit(0));
  EXPECT_THAT(leases_.StopAll().stop, ElementsAre(EpochOf(1)));
}

TEST_F(LeaseSetTest, PhaseIsReported) {
  Grant(1);
  leases_.OnPhase(EpochOf(1), v1::LeaseState::PHASE_STORING);
  EXPECT_EQ(Report()[0].phase(), v1::LeaseState::PHASE_STORING);
}

}  // namespace
}  // namespace farm
