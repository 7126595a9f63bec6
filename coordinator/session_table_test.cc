// Sessions that are open, and what the collector leaves them.
#include "coordinator/session_table.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/digest_proto.h"
#include "base/testing/status_matchers.h"
#include "base/thread_pool.h"
#include "coordinator/build_session.h"
#include "coordinator/store_collector.h"
#include "coordinator/testing/session_test_base.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

// A store that notes what is read of it.
class ReadLog final : public BlobStore {
 public:
  explicit ReadLog(BlobStore& inner) : inner_(inner) {}
  std::vector<Digest> read;

  absl::Status Get(const Digest& digest, int64_t offset, ByteSink& sink) override {
    read.push_back(digest);
    return inner_.Get(digest, offset, sink);
  }
  absl::Status Put(const Digest& digest, ByteSource& source) override {
    return inner_.Put(digest, source);
  }
  absl::Status PutFile(const Digest& digest, const std::string& path) override {
    return inner_.PutFile(digest, path);
  }
  absl::StatusOr<UniqueFd> OpenFile(const Digest& digest) override {
    return inner_.OpenFile(digest);
  }
  absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest> digests) override {
    return inner_.FindMissing(digests);
  }
  absl::Status Sync(absl::Span<const Digest> digests) override { return inner_.Sync(digests); }
  absl::Status Delete(const Digest& digest) override { return inner_.Delete(digest); }

 private:
  BlobStore& inner_;
};

class SessionTableTest : public BuildSessionTest {
 protected:
  absl::Status Start(const std::string& dockerfile) {
    return sessions_.Start(std::make_shared<BuildSession>(
        farm_, Session::Options{.id = sessions_.NewId(), .domain = "main"}, Request(dockerfile)));
  }
  SessionTable sessions_{{}, clock_};
};

TEST_F(SessionTableTest, OneThatIsIdleClosesAndRefusesWhatComes) {
  sessions_.Touch();
  EXPECT_FALSE(sessions_.CloseIfIdle(absl::Minutes(1)));
  clock_.Advance(absl::Minutes(2));
  EXPECT_TRUE(sessions_.CloseIfIdle(absl::Minutes(1)));
  EXPECT_THAT(Start("FROM scratch\nRUN one\n"), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(sessions_.open_sessions(), 0);
}

TEST_F(SessionTableTest, OneWithAnOpenSessionIsNotIdle) {
  EXPECT_OK(Start("FROM scratch\nRUN one\n"));
  clock_.Advance(absl::Hours(1));
  EXPECT_FALSE(sessions_.CloseIfIdle(absl::Minutes(1)));
  sessions_.Close();
  Settle();  // A session that was accepted is done all the same.
  EXPECT_EQ(sessions_.open_sessions(), 0);
  EXPECT_THAT(worker_.ran, ElementsAre("one"));
}

// An image without a tag is held by nothing else.
TEST_F(SessionTableTest, WhatItsClientHasYetToFetchIsHeldWhileAFinishedSessionIsKept) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_exports()->set_kind(v1::Export::KIND_LAYERS);
  const auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "s1", .domain = "main"}, request);
  v1::BuiltImage image;
  session->events().Watch(0, [&image](const EventStream::SharedEvent& event) {
    if (event->has_finished()) image = event->finished().image();
  });
  EXPECT_OK(sessions_.Start(session));
  Settle();
  ASSERT_EQ(sessions_.open_sessions(), 0);
  EXPECT_THAT(sessions_.LiveBlobs().blobs,
              IsSupersetOf({TarOf("one"), *DigestFromProto(image.manifest()),
                            *DigestFromProto(image.config())}));
  clock_.Advance(absl::Minutes(6));
  sessions_.OnTick();
  EXPECT_THAT(sessions_.LiveBlobs().blobs, IsEmpty());
}

TEST_F(SessionTableTest, AFinishedSessionHoldsNothingThatNobodyFetches) {
  EXPECT_OK(Start("FROM scratch\nRUN one\n"));
  Settle();
  ASSERT_EQ(sessions_.open_sessions(), 0);
  EXPECT_THAT(sessions_.LiveBlobs().blobs, IsEmpty());
}

// A layer may be large, and is no table.
TEST_F(SessionTableTest, TheCollectorReadsTheContextsTableAlone) {
  SetContext({File("a", "1")});
  EXPECT_OK(Start("FROM scratch\nCOPY a /a\nRUN one\n"));
  Settle();
  worker_.silent = true;
  EXPECT_OK(Start("FROM scratch\nCOPY a /a\nRUN one\nRUN two\n"));
  Settle();
  ASSERT_EQ(sessions_.open_sessions(), 1);
  ReadLog read(blobs_);
  TableCache tables(read, 1000);
  ThreadPool loop({.threads = 1});
  CancelToken stopping;
  StoreCollector collector(clock_, loop, blobs_, index_, images_, tables, sessions_, stopping,
                           {.high_mark_bytes = 1, .low_mark_bytes = 0});
  clock_.Advance(absl::Hours(7));
  EXPECT_OK(collector.Collect());
  EXPECT_THAT(read.read, ElementsAre(*DigestFromProto(*context_)));
  EXPECT_THAT(blobs_.FindMissing(sessions_.LiveBlobs().blobs), IsOkAndHolds(IsEmpty()));
}

}  // namespace
}  // namespace farm
