#include "coordinator/event_stream.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/testing/fake_clock.h"

namespace farm {
namespace {

v1::BuildEvent Warning() {
  v1::BuildEvent event;
  event.mutable_warning()->set_message("w");
  return event;
}

v1::BuildEvent Log(size_t bytes) {
  v1::BuildEvent event;
  event.mutable_log()->set_bytes(std::string(bytes, 'x'));
  return event;
}

class EventStreamTest : public testing::Test {
 protected:
  // Of all events that Next() leads to, one after another.
  std::vector<int64_t> Sequences(int64_t after) const {
    std::vector<int64_t> found;
    while (const EventStream::SharedEvent event = stream_.Next(after)) {
      found.push_back(after = event->sequence());
    }
    return found;
  }

  FakeClock clock_;
  EventStream stream_{clock_, /*kept_bytes_max=*/1000};
};

TEST_F(EventStreamTest, NextIsTheFirstEventAfterASequence) {
  EXPECT_EQ(stream_.Next(0), nullptr);
  for (int i = 0; i < 3; ++i) stream_.Emit(Warning());
  EXPECT_EQ(Sequences(0), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(Sequences(2), (std::vector<int64_t>{3}));
  EXPECT_EQ(stream_.Next(3), nullptr);
}

TEST_F(EventStreamTest, WhoIsSlowMissesTheLogsThatWereDropped) {
  stream_.Emit(Warning());
  for (int i = 0; i < 5; ++i) stream_.Emit(Log(400));
  stream_.Emit(Warning());
  EXPECT_EQ(Sequences(1), (std::vector<int64_t>{5, 6, 7}));
}

TEST_F(EventStreamTest, AWatcherSeesWhatIsKeptAndWhatComes) {
  stream_.Emit(Warning());
  std::vector<int64_t> seen;
  const int id = stream_.Watch(
      0, [&seen](const EventStream::SharedEvent& event) { seen.push_back(event->sequence()); });
  stream_.Emit(Warning());
  stream_.Unwatch(id);
  stream_.Emit(Warning());
  EXPECT_EQ(seen, (std::vector<int64_t>{1, 2}));
}

}  // namespace
}  // namespace farm
