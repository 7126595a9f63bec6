#include "coordinator/incarnation.h"

#include <gtest/gtest.h>

#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "cas/memory_index.h"

namespace farm {
namespace {

TEST(IncarnationTest, GrowsByOneAtEachStart) {
  FakeClock clock;
  MemoryIndex index;
  ASSERT_OK_AND_ASSIGN(const int64_t first, NextIncarnation(index, clock));
  clock.Advance(absl::Hours(1));
  EXPECT_THAT(NextIncarnation(index, clock), IsOkAndHolds(first + 1));
}

TEST(IncarnationTest, ThatOfARemovedIndexDoesNotComeAgain) {
  FakeClock clock;
  MemoryIndex removed, index;
  ASSERT_OK_AND_ASSIGN(const int64_t before, NextIncarnation(removed, clock));
  clock.Advance(absl::Seconds(1));
  ASSERT_OK_AND_ASSIGN(const int64_t after, NextIncarnation(index, clock));
  EXPECT_LT(before, after);
}

TEST(IncarnationTest, WhatIsNoNumberIsDataLoss) {
  FakeClock clock;
  MemoryIndex index;
  ASSERT_OK(index.Apply(IndexBatch().Put(IndexTable::kMeta, "incarnation", "x"),
                        Index::Durability::kOrdered));
  EXPECT_THAT(NextIncarnation(index, clock), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace farm
