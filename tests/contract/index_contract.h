// What every Index promises (cas/index.h), as tests. A test program includes this once and says
// which ones to try:
//
//   INSTANTIATE_TEST_SUITE_P(Memory, IndexContract, testing::Values(&MakeMemoryCase));
#ifndef FARM_TESTS_CONTRACT_INDEX_CONTRACT_H_
#define FARM_TESTS_CONTRACT_INDEX_CONTRACT_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/testing/status_matchers.h"
#include "cas/index.h"

namespace farm {

class IndexCase {
 public:
  virtual ~IndexCase() = default;
  virtual Index& index() = 0;
};

using IndexCaseFactory = std::unique_ptr<IndexCase> (*)();

class IndexContract : public testing::TestWithParam<IndexCaseFactory> {
 protected:
  static constexpr auto kOrdered = Index::Durability::kOrdered;
  static constexpr auto kSynced = Index::Durability::kSynced;

  IndexContract() : case_(GetParam()()), index_(case_->index()) {}

  using Entries = std::vector<std::pair<std::string, std::string>>;
  Entries Scan(IndexTable table, absl::string_view prefix, absl::string_view start = "") {
    Entries entries;
    EXPECT_OK(
        index_.Scan(table, prefix, start, [&](absl::string_view key, absl::string_view value) {
          entries.emplace_back(key, value);
          return true;
        }));
    return entries;
  }

  const std::unique_ptr<IndexCase> case_;
  Index& index_;
};

TEST_P(IndexContract, GivesBackWhatWasPut) {
  const std::string key("k\0\xFF", 3);
  const std::string value("\0v\0", 3);
  ASSERT_OK(index_.Apply(IndexBatch().Put(IndexTable::kTag, key, value), kOrdered));
  EXPECT_THAT(index_.Get(IndexTable::kTag, key), IsOkAndHolds(value));
  EXPECT_THAT(index_.Get(IndexTable::kImage, key), StatusIs(absl::StatusCode::kNotFound))
      << "tables are apart";
}

TEST_P(IndexContract, LargeValuesAreKept) {
  const std::string value(64 * 1024, 'v');
  ASSERT_OK(index_.Apply(IndexBatch().Put(IndexTable::kBlob, "k", value), kSynced));
  EXPECT_THAT(index_.Get(IndexTable::kBlob, "k"), IsOkAndHolds(value));
}

TEST_P(IndexContract, AnEmptyValueIsAnEntry) {
  ASSERT_OK(index_.Apply(IndexBatch().Put(IndexTable::kTag, "k", ""), kOrdered));
  EXPECT_THAT(index_.Get(IndexTable::kTag, "k"), IsOkAndHolds(""));
  EXPECT_THAT(index_.Apply(IndexBatch().Expect(IndexTable::kTag, "k", std::nullopt), kOrdered),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_OK(index_.Apply(IndexBatch().Expect(IndexTable::kTag, "k", ""), kOrdered));
}

TEST_P(IndexContract, ABatchMayWriteToManyTables) {
  ASSERT_OK(index_.Apply(IndexBatch()
                             .Put(IndexTable::kTag, "a", "1")
                             .Put(IndexTable::kImage, "b", "2")
                             .Put(IndexTable::kTag, "a", "3")
                             .Put(IndexTable::kImage, "c", "4")
                             .Delete(IndexTable::kImage, "c")
                             .Delete(IndexTable::kImage, "never there"),
                         kOrdered));
  EXPECT_THAT(index_.Get(IndexTable::kTag, "a"), IsOkAndHolds("3")) << "in the order of the batch";
  EXPECT_THAT(index_.Get(IndexTable::kImage, "b"), IsOkAndHolds("2"));
  EXPECT_THAT(index_.Get(IndexTable::kImage, "c"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(IndexContract, OneFailedExpectationMakesTheWholeBatchANoOp) {
  ASSERT_OK(index_.Apply(IndexBatch().Put(IndexTable::kTag, "a", "1"), kOrdered));
  for (const auto durability : {kOrdered, kSynced}) {
    EXPECT_THAT(index_.Apply(IndexBatch()
                                 .Expect(IndexTable::kTag, "a", "1")
                                 .Expect(IndexTable::kImage, "absent", "2")
                                 .Put(IndexTable::kTag, "a", "9")
                                 .Put(IndexTable::kTag, "b", "9"),
                             durability),
                StatusIs(absl::StatusCode::kAborted));
  }
  EXPECT_THAT(index_.Get(IndexTable::kTag, "a"), IsOkAndHolds("1"));
  EXPECT_THAT(index_.Get(IndexTable::kTag, "b"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(IndexContract, ABatchWhoseExpectationsHoldIsApplied) {
  ASSERT_OK(index_.Apply(IndexBatch().Put(IndexTable::kTag, "a", "1"), kOrdered));
  EXPECT_OK(index_.Apply(IndexBatch()
                             .Expect(IndexTable::kTag, "a", "1")
                             .Expect(IndexTable::kTag, "b", std::nullopt)
                             .Put(IndexTable::kTag, "b", "2"),
                         kSynced));
  EXPECT_THAT(index_.Get(IndexTable::kTag, "b"), IsOkAndHolds("2"));
}

TEST_P(IndexContract, ScansAPrefixInTheOrderOfUnsignedBytes) {
  IndexBatch batch;
  for (const absl::string_view key : {"b\xFF", "b", "ba", "a", "c", "b\x7F", "b\x80"}) {
    batch.Put(IndexTable::kTag, key, "v");
  }
  ASSERT_OK(index_.Apply(batch, kOrdered));
  const auto key = [](const char* text) { return testing::Pair(std::string(text), "v"); };
  EXPECT_THAT(Scan(IndexTable::kTag, "b"),
              testing::ElementsAre(key("b"), key("ba"), key("b\x7F"), key("b\x80"), key("b\xFF")));
  EXPECT_THAT(Scan(IndexTable::kTag, "b", "bb"),
              testing::ElementsAre(key("b\x7F"), key("b\x80"), key("b\xFF")));
  EXPECT_THAT(Scan(IndexTable::kTag, "b\xFF"), testing::ElementsAre(key("b\xFF")));
  EXPECT_THAT(Scan(IndexTable::kTag, "b", "a"), testing::SizeIs(5)) << "a start before the prefix";
  EXPECT_THAT(Scan(IndexTable::kTag, "b", "c"), testing::IsEmpty()) << "a start behind it";
  EXPECT_THAT(Scan(IndexTable::kTag, ""), testing::SizeIs(7));
}

TEST_P(IndexContract, APrefixOfOnlyFfBytesHasAnEnd) {
  ASSERT_OK(index_.Apply(IndexBatch()
                             .Put(IndexTable::kTag, "\xFE", "1")
                             .Put(IndexTable::kTag, "\xFF", "2")
                             .Put(IndexTable::kTag, "\xFF\xFF", "3"),
                         kOrdered));
  EXPECT_THAT(Scan(IndexTable::kTag, "\xFF"),
              testing::ElementsAre(testing::Pair("\xFF", "2"), testing::Pair("\xFF\xFF", "3")));
}

TEST_P(IndexContract, AScanStopsWhenToldTo) {
  ASSERT_OK(index_.Apply(
      IndexBatch().Put(IndexTable::kTag, "a", "1").Put(IndexTable::kTag, "b", "2"), kOrdered));
  int seen = 0;
  ASSERT_OK(index_.Scan(IndexTable::kTag, "", "", [&](absl::string_view, absl::string_view) {
    ++seen;
    return false;
  }));
  EXPECT_EQ(seen, 1);
}

TEST_P(IndexContract, AVisitorMayChangeWhatIsScanned) {
  IndexBatch batch;
  for (int i = 0; i < 1000; ++i) batch.Put(IndexTable::kTag, absl::StrCat("k", i), "v");
  ASSERT_OK(index_.Apply(batch, kOrdered));
  int seen = 0;
  ASSERT_OK(index_.Scan(IndexTable::kTag, "k", "", [&](absl::string_view key, absl::string_view) {
    ++seen;
    EXPECT_OK(index_.Apply(IndexBatch().Delete(IndexTable::kTag, key), kOrdered));
    return true;
  }));
  EXPECT_EQ(seen, 1000);
  EXPECT_THAT(Scan(IndexTable::kTag, "k"), testing::IsEmpty());
}

TEST_P(IndexContract, CompareAndSetLosesNoUpdate) {
  constexpr int kThreads = 4;
  constexpr int kIncrements = 100;
  ASSERT_OK(index_.Apply(IndexBatch().Put(IndexTable::kMeta, "counter", "0"), kOrdered));
  std::vector<std::thread> threads;
  std::atomic<int> errors = 0;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&] {
      for (int done = 0; done < kIncrements;) {
        const absl::StatusOr<std::string> before = index_.Get(IndexTable::kMeta, "counter");
        int value = 0;
        if (!before.ok() || !absl::SimpleAtoi(*before, &value)) {
          ++errors;
          return;
        }
        const absl::Status status =
            index_.Apply(IndexBatch()
                             .Expect(IndexTable::kMeta, "counter", *before)
                             .Put(IndexTable::kMeta, "counter", absl::StrCat(value + 1)),
                         done % 10 == 0 ? kSynced : kOrdered);
        if (status.ok()) {
          ++done;
        } else if (!absl::IsAborted(status)) {
          ++errors;
          return;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
  EXPECT_THAT(index_.Get(IndexTable::kMeta, "counter"),
              IsOkAndHolds(absl::StrCat(kThreads * kIncrements)));
}

}  // namespace farm

#endif  // FARM_TESTS_CONTRACT_INDEX_CONTRACT_H_
