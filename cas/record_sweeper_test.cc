#include "cas/record_sweeper.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "cas/memory_blob_store.h"
#include "cas/memory_index.h"
#include "proto/farm/v1/record.pb.h"

namespace farm {
namespace {

class RecordSweeperTest : public testing::Test {
 protected:
  Digest Store(const std::string& bytes) { return PutBytes(blobs_, bytes).value(); }

  void Put(IndexTable table, const std::string& key, const std::string& value) {
    ASSERT_OK(index_.Apply(IndexBatch().Put(table, IndexKey({"main", key}), value),
                           Index::Durability::kOrdered));
  }
  bool Has(IndexTable table, const std::string& key) {
    return index_.Get(table, IndexKey({"main", key})).ok();
  }
  int64_t Bytes(IndexTable table) {
    int64_t bytes = 0;
    EXPECT_OK(index_.Scan(table, "", "", [&bytes](absl::string_view key, absl::string_view value) {
      bytes += static_cast<int64_t>(key.size() + value.size());
      return true;
    }));
    return bytes;
  }
  // An action, an adoption and a layer of the same blobs, and the layer has also `other_form`.
  void PutLayer(const Digest& table, const Digest& form, const Digest& other_form) {
    v1::ActionRecord action;
    v1::LayerResult& layer = *action.mutable_result()->mutable_layer();
    *layer.mutable_table() = DigestToProto(table);
    *layer.mutable_form()->mutable_digest() = DigestToProto(form);
    Put(IndexTable::kAction, "a", action.SerializeAsString());
    Put(IndexTable::kAdoption, "d", action.result().SerializeAsString());
    v1::LayerRecord record;
    *record.mutable_table() = DigestToProto(table);
    *record.add_forms()->mutable_digest() = DigestToProto(form);
    *record.add_forms()->mutable_digest() = DigestToProto(other_form);
    Put(IndexTable::kLayer, "l", record.SerializeAsString());
  }

  FakeClock clock_;
  MemoryBlobStore blobs_{clock_};
  MemoryIndex index_;
  RecordSweeper sweeper_{index_, blobs_};
  const Digest table_ = Store("table"), form_ = Store("form"), gzip_ = Store("gzip");
};

TEST_F(RecordSweeperTest, WhatNamesARemovedBlobGoes) {
  PutLayer(table_, form_, gzip_);
  ASSERT_OK(blobs_.Delete(form_));
  ASSERT_OK(sweeper_.Sweep({form_}));
  EXPECT_FALSE(Has(IndexTable::kAction, "a"));
  EXPECT_FALSE(Has(IndexTable::kAdoption, "d"));
  EXPECT_TRUE(Has(IndexTable::kLayer, "l")) << "it has another form";
  ASSERT_OK(blobs_.Delete(gzip_));
  ASSERT_OK(sweeper_.Sweep({gzip_}));
  EXPECT_FALSE(Has(IndexTable::kLayer, "l"));
}

TEST_F(RecordSweeperTest, WhatNamesNoneOfThemStays) {
  PutLayer(table_, form_, gzip_);
  ASSERT_OK(sweeper_.Sweep({DigestOf("of nobody")}));
  EXPECT_TRUE(Has(IndexTable::kAction, "a"));
  EXPECT_TRUE(Has(IndexTable::kLayer, "l"));
}

TEST_F(RecordSweeperTest, WhatNamesABlobThatCameBackStays) {
  PutLayer(table_, form_, form_);
  ASSERT_OK(sweeper_.Sweep({form_}));
  EXPECT_TRUE(Has(IndexTable::kAction, "a"));
  EXPECT_TRUE(Has(IndexTable::kAdoption, "d"));
  EXPECT_TRUE(Has(IndexTable::kLayer, "l"));
}

TEST_F(RecordSweeperTest, RecordsThatNameNoBlobsAreBounded) {
  RecordSweeper sweeper(index_, blobs_, {.reapi_bytes_max = 10'000, .last_runs_bytes_max = 5'000});
  for (int i = 0; i < 100; ++i) {
    Put(IndexTable::kReapi, absl::StrCat("key ", i), std::string(200, 'x'));
    Put(IndexTable::kDuration, absl::StrCat("key ", i), std::string(200, 'x'));
  }
  ASSERT_OK(sweeper.Bound());
  EXPECT_LE(Bytes(IndexTable::kReapi), 10'000);
  EXPECT_GT(Bytes(IndexTable::kReapi), 9'000);
  EXPECT_LE(Bytes(IndexTable::kDuration), 5'000);
  EXPECT_GT(Bytes(IndexTable::kDuration), 4'000);
}

}  // namespace
}  // namespace farm
