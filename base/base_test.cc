#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/byte_stream.h"
#include "base/cancel_token.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "base/testing/status_matchers.h"
#include "base/thread_pool.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

absl::Status Inner() { return ErrorAt({"Dockerfile", 3, 7}, "no such stage", "FROM x"); }
absl::Status Outer() {
  RETURN_IF_ERROR(Inner()) << "stage " << 2;
  return absl::OkStatus();
}
absl::StatusOr<int> Half(int number) {
  if (number % 2 != 0) return absl::InvalidArgumentError("odd");
  return number / 2;
}
absl::StatusOr<int> Quarter(int number) {
  ASSIGN_OR_RETURN(const int half, Half(number));
  ASSIGN_OR_RETURN(const int quarter, Half(half), _ << "half of " << number);
  return quarter;
}

TEST(StatusMacrosTest, ContextIsPutBeforeTheMessageAndPayloadsStay) {
  const absl::Status status = Outer();
  EXPECT_EQ(status.message(), "stage 2: Dockerfile:3:7: no such stage");
  EXPECT_THAT(Trail(status), HasSubstr("base_test.cc:"));
  std::string line;
  EXPECT_EQ(PositionOf(status, &line), (SourcePosition{"Dockerfile", 3, 7}));
  EXPECT_EQ(line, "FROM x");
}

TEST(StatusMacrosTest, AssignOrReturnPassesValuesAndErrors) {
  EXPECT_THAT(Quarter(8), IsOkAndHolds(2));
  EXPECT_THAT(Quarter(6), StatusIs(absl::StatusCode::kInvalidArgument, "half of 6: odd"));
}

TEST(DigestTest, OfNothingIsTheKnownHash) {
  EXPECT_EQ(DigestOf("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(DigestTest, RoundTripsThroughItsOciForm) {
  const Digest digest = DigestOf("abc");
  EXPECT_THAT(Digest::FromOci(digest.oci(), 3), IsOkAndHolds(digest));
}

TEST(DigestTest, RefusesWhatIsNoDigest) {
  for (const char* text : {"", "abc", "sha256:", "sha512:00", "sha256:XYZ"}) {
    EXPECT_THAT(Digest::FromOci(text, 0), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
  EXPECT_THAT(Digest::FromHex(std::string(64, 'A'), 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Digest::FromHex(std::string(64, 'a'), -1),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(Sha256Test, StartsAnewAfterFinish) {
  Sha256 hash;
  hash.Update("ab");
  hash.Update("c");
  EXPECT_EQ(hash.Finish(), DigestOf("abc"));
  EXPECT_EQ(hash.Finish(), DigestOf(""));
}

TEST(ByteStreamTest, CopyStopsAtItsLimit) {
  StringSource source("four");
  StringSink sink;
  EXPECT_THAT(CopyBytes(source, sink, 3), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(ByteStreamTest, AnAtomicWriteCanBeReadBack) {
  const std::string path = testing::TempDir() + "/file";
  EXPECT_OK(WriteFileAtomically(path, "one"));
  EXPECT_OK(WriteFileAtomically(path, "two"));
  EXPECT_THAT(ReadFile(path), IsOkAndHolds("two"));
  EXPECT_THAT(ReadFile(path, 2), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(ReadFile(path + ".no"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(CancelTokenTest, CallbackRunsOnceAtCancelAndAtOnceAfterIt) {
  CancelToken token;
  int runs = 0;
  {
    CancelToken::Callback gone(token, [&runs] { runs += 100; });
  }
  CancelToken::Callback before(token, [&runs] { ++runs; });
  token.Cancel();
  token.Cancel();
  EXPECT_EQ(runs, 1);
  CancelToken::Callback after(token, [&runs] { ++runs; });
  EXPECT_EQ(runs, 2);
  EXPECT_TRUE(token.WaitFor(absl::ZeroDuration()));
}

TEST(ThreadPoolTest, FinishesWhatItAccepted) {
  std::atomic<int> done{0};
  {
    ThreadPool pool({.threads = 3});
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(pool.Post([&done] { ++done; }));
  }
  EXPECT_EQ(done, 100);
}

TEST(ThreadPoolTest, DrainWaitsForWorkThatPoolsGiveEachOther) {
  ThreadPool a({.threads = 2}), b({.threads = 1}), c({.threads = 1});
  std::atomic<int> left = 100;
  std::function<void()> hop = [&] {
    const int now_left = --left;
    if (now_left > 0) {
      EXPECT_TRUE((now_left % 3 == 0 ? a : now_left % 3 == 1 ? b : c).Post(hop));
    }
  };
  ASSERT_TRUE(a.Post(hop));
  ThreadPool::Drain({&a, &b, &c});
  EXPECT_EQ(left, 0);
}

TEST(ThreadPoolTest, RefusesWorkOverItsQueueDepth) {
  CancelToken release;
  ThreadPool pool({.threads = 1, .queue_depth_max = 1});
  std::atomic<bool> started{false};
  ASSERT_TRUE(pool.Post([&] {
    started = true;
    release.WaitFor(absl::Seconds(60));
  }));
  while (!started) std::this_thread::yield();
  EXPECT_TRUE(pool.Post([] {}));
  EXPECT_FALSE(pool.Post([] {}));
  release.Cancel();
}

TEST(SystemClockTest, NeverGoesBack) {
  SystemClock clock;
  absl::Time last = clock.Now();
  for (int i = 0; i < 1000; ++i) {
    const absl::Time now = clock.Now();
    EXPECT_GE(now, last);
    last = now;
  }
}

TEST(ClosestMatchTest, FindsTypingSlipsOnly) {
  const std::vector<std::string> names = {"COPY", "RUN", "WORKDIR", "FROM"};
  EXPECT_EQ(ClosestMatch("copu", names), "COPY");
  EXPECT_EQ(ClosestMatch("FORM", names), "FROM");
  EXPECT_EQ(ClosestMatch("WROKDIR", names), "WORKDIR");
  EXPECT_EQ(ClosestMatch("INSTALL", names), "");
  EXPECT_EQ(ClosestMatch(std::string(100'000, 'x'), names), "");
}

}  // namespace
}  // namespace farm
