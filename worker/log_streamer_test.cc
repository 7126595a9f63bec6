#include "worker/log_streamer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <string>

#include "worker/testing/fake_coordinator.h"

namespace farm {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LogStreamerTest : public ::testing::Test {
 protected:
  FakeCoordinator coordinator_;
  int lost_ = 0;
  LogStreamer log_{coordinator_, MakeLease(1).epoch(), [this] { ++lost_; }};
};

TEST_F(LogStreamerTest, StreamsAreKeptApartAndInOrder) {
  log_.Append(LogStream::kStdout, "one ");
  log_.Append(LogStream::kStdout, "two ");
  log_.Append(LogStream::kStderr, "three ");
  log_.Append(LogStream::kStdout, "four");
  log_.Finish();
  const auto requests = coordinator_.log_requests();
  ASSERT_THAT(requests, SizeIs(3));
  EXPECT_EQ(requests[0].bytes(), "one two ");
  EXPECT_FALSE(requests[0].is_stderr());
  EXPECT_EQ(requests[1].bytes(), "three ");
  EXPECT_TRUE(requests[1].is_stderr());
  EXPECT_EQ(requests[1].offset(), 8);
  EXPECT_EQ(requests[2].offset(), 14);
}

TEST_F(LogStreamerTest, WhatIsWrittenAfterAPauseIsSentWhileTheStepRuns) {
  log_.Append(LogStream::kStdout, "a");
  ASSERT_TRUE(coordinator_.WaitForLog("a"));
  log_.Append(LogStream::kStdout, "b");
  EXPECT_TRUE(coordinator_.WaitForLog("ab"));
}

TEST_F(LogStreamerTest, BatchesAreBounded) {
  log_.Append(LogStream::kStdout, std::string(200'000, 'x'));
  log_.Finish();
  for (const auto& request : coordinator_.log_requests()) {
    EXPECT_LE(request.bytes().size(), LogStreamer::kBatchBytesMax);
  }
  EXPECT_EQ(coordinator_.log().size(), 200'000u);
}

TEST_F(LogStreamerTest, LostCallIsRepeatedAtTheSameOffset) {
  coordinator_.FailLogs({absl::OkStatus(), absl::UnavailableError(""), absl::UnavailableError("")});
  log_.Append(LogStream::kStdout, "a");
  log_.Append(LogStream::kStderr, "b");
  log_.Finish();
  EXPECT_EQ(coordinator_.log(), "ab");
  EXPECT_EQ(lost_, 0);
}

TEST_F(LogStreamerTest, NothingIsSentBeyondTheCoordinatorsLimit) {
  coordinator_.LimitLog(1);
  log_.Append(LogStream::kStdout, "a");
  log_.Append(LogStream::kStderr, "b");
  log_.Finish();
  log_.Append(LogStream::kStdout, "c");
  EXPECT_EQ(coordinator_.log(), "a");
}

TEST_F(LogStreamerTest, QuietStepMakesNoCall) {
  log_.Finish();
  EXPECT_THAT(coordinator_.log_requests(), IsEmpty());
}

TEST_F(LogStreamerTest, LeaseThatIsNotHeldIsTold) {
  coordinator_.FailLogs({absl::AbortedError("")});
  log_.Append(LogStream::kStdout, "a");
  log_.Finish();
  EXPECT_EQ(lost_, 1);
}

TEST_F(LogStreamerTest, CommandGoesOnWithoutACoordinatorAndTheGapIsNamed) {
  coordinator_.FailLogs(std::deque<absl::Status>(4, absl::UnavailableError("")));
  for (int i = 0; i < 100; ++i) log_.Append(LogStream::kStdout, std::string(100'000, 'x'));
  log_.Finish();
  EXPECT_THAT(coordinator_.log(), HasSubstr("bytes lost: the coordinator was not reachable"));
}

}  // namespace
}  // namespace farm
