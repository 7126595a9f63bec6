// What disk store, small-blob store, action caches and uploads do beyond their contracts.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "cas/completeness_checking_action_cache.h"
#include "cas/disk_blob_store.h"
#include "cas/indexed_action_cache.h"
#include "cas/memory_blob_store.h"
#include "cas/memory_index.h"
#include "cas/resource_name.h"
#include "cas/small_blob_store.h"
#include "cas/upload_table.h"
#include "cas/verifying_blob_store.h"
#include "proto/farm/v1/record.pb.h"
#include "tests/contract/temp_dir.h"

namespace farm {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class DiskBlobStoreTest : public testing::Test {
 protected:
  std::unique_ptr<DiskBlobStore> Open(bool trust_files = false) {
    return DiskBlobStore::Open(clock_, {.dir = dir_.path(), .trust_files = trust_files}).value();
  }
  std::string PathOf(const Digest& digest) const {
    return dir_.path() + "/blobs/sha256/" + digest.hex().substr(0, 2) + "/" + digest.hex();
  }
  std::vector<std::string> Temporaries() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path() + "/tmp")) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  FakeClock clock_;
  TempDir dir_;
  const std::string bytes_ = std::string(100'000, 'x');
  const Digest digest_ = DigestOf(bytes_);
};

TEST_F(DiskBlobStoreTest, ABlobIsAReadOnlyFileNamedByItsHash) {
  const auto store = Open();
  ASSERT_OK(PutBytes(*store, bytes_));
  struct stat info;
  ASSERT_EQ(stat(PathOf(digest_).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode, S_IFREG | 0444u);
  EXPECT_THAT(ReadFile(PathOf(digest_)), IsOkAndHolds(bytes_));
}

TEST_F(DiskBlobStoreTest, TwoStoresOfOneDirectorySeeEachOthersBlobs) {
  const auto first = Open();
  const auto second = Open();
  ASSERT_OK(PutBytes(*first, bytes_));
  EXPECT_THAT(GetBytes(*second, digest_), IsOkAndHolds(bytes_));
  ASSERT_OK(second->Delete(digest_));
  EXPECT_THAT(first->FindMissing({digest_}), IsOkAndHolds(SizeIs(1)));
}

TEST_F(DiskBlobStoreTest, ADamagedFileGoesToQuarantine) {
  const auto store = Open();
  ASSERT_OK(PutBytes(*store, bytes_));
  chmod(PathOf(digest_).c_str(), 0600);
  std::fstream(PathOf(digest_), std::ios::in | std::ios::out).put('y');
  EXPECT_THAT(GetBytes(*store, digest_),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("moved to")));
  EXPECT_THAT(ReadFile(dir_.path() + "/quarantine/" + digest_.hex()),
              IsOkAndHolds("y" + bytes_.substr(1)));
}

TEST_F(DiskBlobStoreTest, AShortFileIsMissingDataLossOnGetAndReplacedByPut) {
  const auto store = Open();
  ASSERT_OK(PutBytes(*store, bytes_));
  ASSERT_EQ(truncate(PathOf(digest_).c_str(), 10), 0);
  EXPECT_THAT(store->FindMissing({digest_}), IsOkAndHolds(SizeIs(1)));
  EXPECT_THAT(store->OpenFile(digest_), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK(PutBytes(*store, bytes_));
  EXPECT_THAT(GetBytes(*store, digest_), IsOkAndHolds(bytes_));
  ASSERT_EQ(truncate(PathOf(digest_).c_str(), 10), 0);
  EXPECT_THAT(GetBytes(*store, digest_), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(DiskBlobStoreTest, PutFileRenamesAndBelievesOnlyIfItTrusts) {
  const std::string wrong = std::string(100'000, 'y');
  const auto put = [&](DiskBlobStore& store) {
    const std::string path = store.temporary_dir() + "/staged";
    std::ofstream(path) << wrong;
    struct stat info;
    EXPECT_EQ(stat(path.c_str(), &info), 0);
    return std::make_pair(store.PutFile(digest_, path), info.st_ino);
  };
  EXPECT_THAT(put(*Open(/*trust_files=*/false)).first,
              StatusIs(absl::StatusCode::kInvalidArgument));
  const auto trusting = Open(/*trust_files=*/true);
  const auto [status, inode] = put(*trusting);
  EXPECT_OK(status);
  struct stat info;
  ASSERT_EQ(stat(PathOf(digest_).c_str(), &info), 0);
  EXPECT_EQ(info.st_ino, inode) << "moved, not copied";
  EXPECT_THAT(GetBytes(*trusting, digest_), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(DiskBlobStoreTest, PutFileRefusesWhatIsNoRegularFile) {
  const auto store = Open();
  const std::string link = dir_.path() + "/link";
  const std::string target = dir_.path() + "/target";
  std::ofstream(target) << bytes_;
  std::filesystem::create_symlink(target, link);
  EXPECT_FALSE(store->PutFile(digest_, link).ok());
  EXPECT_THAT(store->PutFile(digest_, dir_.path()), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_TRUE(std::filesystem::exists(target));
}

TEST_F(DiskBlobStoreTest, AFailedPutLeavesNoTemporaryFile) {
  const auto store = Open();
  StringSource wrong("too short");
  EXPECT_FALSE(store->Put(digest_, wrong).ok());
  EXPECT_TRUE(std::filesystem::is_empty(store->temporary_dir()));
}

TEST_F(DiskBlobStoreTest, TemporaryFilesOfTheDeadAreRemovedAndThoseOfTheLivingKept) {
  const auto living = Open();
  const std::string kept = living->temporary_dir() + "/under-way";
  std::ofstream(kept) << "x";
  const pid_t child = fork();
  if (child == 0) {
    std::ofstream(Open().release()->temporary_dir() + "/left-behind") << "x";
    _exit(0);  // As after a kill: no destructor runs.
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_THAT(Temporaries(), SizeIs(2));
  const auto next = Open();
  EXPECT_THAT(Temporaries(), SizeIs(2)) << "the living one's and its own";
  EXPECT_TRUE(std::filesystem::exists(kept));
}

TEST_F(DiskBlobStoreTest, AClosedStoreLeavesNothingInTmp) {
  { const auto store = Open(); }
  EXPECT_THAT(Temporaries(), IsEmpty());
}

TEST_F(DiskBlobStoreTest, ADirectoryThatCannotBeUsedSaysWhy) {
  EXPECT_THAT(DiskBlobStore::Open(clock_, {.dir = "/nowhere/at/all"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("/nowhere/at/all")));
}

TEST_F(DiskBlobStoreTest, FilesThatAreNoBlobsAreNotListed) {
  const auto store = Open();
  ASSERT_OK(PutBytes(*store, bytes_));
  std::ofstream(PathOf(digest_) + ".bak") << "x";
  int listed = 0;
  ASSERT_OK(store->ForEachBlob([&](const CollectableBlobStore::BlobInfo&) {
    ++listed;
    return true;
  }));
  EXPECT_EQ(listed, 1);
}

// A child puts blobs until it is killed; what it left behind are whole blobs or none.
TEST_F(DiskBlobStoreTest, AKilledWriterLeavesOnlyWholeBlobs) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto store = Open();
    for (int i = 0;; ++i) {
      PutBytes(*store, std::string(200'000, 'x') + std::to_string(i)).value();
      if (i == 20 && write(ready[1], "r", 1) != 1) _exit(1);
    }
  }
  close(ready[1]);
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1) << "the child has ended";
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  close(ready[0]);
  const auto store = Open();
  int listed = 0;
  ASSERT_OK(store->ForEachBlob([&](const CollectableBlobStore::BlobInfo& info) {
    EXPECT_OK(GetBytes(*store, info.digest));
    ++listed;
    return true;
  }));
  EXPECT_GT(listed, 20);
  EXPECT_THAT(Temporaries(), SizeIs(1)) << "the killed one's is gone";
}

TEST(SmallBlobStoreTest, TheLimitDecidesWhereABlobLives) {
  FakeClock clock;
  MemoryIndex index;
  MemoryBlobStore large(clock);
  SmallBlobStore store(clock, index, large);
  ASSERT_OK_AND_ASSIGN(const Digest small, PutBytes(store, std::string(kSmallBlobBytesMax, 'a')));
  ASSERT_OK_AND_ASSIGN(const Digest big, PutBytes(store, std::string(kSmallBlobBytesMax + 1, 'a')));
  EXPECT_THAT(large.FindMissing({small, big}), IsOkAndHolds(testing::ElementsAre(small)));
  EXPECT_OK(index.Get(IndexTable::kBlob, absl::StrCat("b", small.raw())));
}

TEST(SmallBlobStoreTest, ADamagedUseRecordMakesABlobMissingUntilItIsPutAgain) {
  FakeClock clock;
  MemoryIndex index;
  MemoryBlobStore large(clock);
  SmallBlobStore store(clock, index, large);
  ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store, "abc"));
  ASSERT_OK(index.Apply(
      IndexBatch().Put(IndexTable::kBlob, absl::StrCat("u", digest.raw()), "not eight bytes"),
      Index::Durability::kOrdered));
  EXPECT_THAT(store.FindMissing({digest}), IsOkAndHolds(SizeIs(1)));
  EXPECT_OK(PutBytes(store, "abc"));
  EXPECT_THAT(GetBytes(store, digest), IsOkAndHolds("abc"));
}

// Gives other bytes than it should.
class LyingBlobStore final : public BlobStore {
 public:
  absl::Status Put(const Digest&, ByteSource&) override { return absl::OkStatus(); }
  absl::Status PutFile(const Digest&, const std::string&) override { return absl::OkStatus(); }
  absl::Status Get(const Digest&, int64_t, ByteSink& sink) override { return sink.Write("lie"); }
  absl::StatusOr<UniqueFd> OpenFile(const Digest&) override { return absl::NotFoundError(""); }
  absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest>) override {
    return std::vector<Digest>();
  }
  absl::Status Sync(absl::Span<const Digest>) override { return absl::OkStatus(); }
  absl::Status Delete(const Digest&) override { return absl::OkStatus(); }
};

TEST(VerifyingBlobStoreTest, OtherBytesAreDataLoss) {
  LyingBlobStore inner;
  VerifyingBlobStore store(inner);
  EXPECT_THAT(GetBytes(store, DigestOf("lie")), IsOkAndHolds("lie"));
  EXPECT_THAT(GetBytes(store, DigestOf("yes")), StatusIs(absl::StatusCode::kDataLoss));
  StringSink sink;
  EXPECT_THAT(store.Get(DigestOf("truth"), 0, sink), StatusIs(absl::StatusCode::kDataLoss));
}

class ActionCacheTest : public testing::Test {
 protected:
  // A layer with a table and one form, both stored.
  v1::ActionRecord MakeRecord() {
    v1::ActionRecord record;
    v1::LayerResult& layer = *record.mutable_result()->mutable_layer();
    *layer.mutable_diff_id() = DigestToProto(diff_id_);
    *layer.mutable_table() = DigestToProto(PutBytes(blobs_, "table").value());
    *layer.mutable_form()->mutable_digest() = DigestToProto(PutBytes(blobs_, "form").value());
    return record;
  }
  absl::StatusCode Get() { return cache_.Get("main", key_).status().code(); }

  FakeClock clock_;
  MemoryIndex index_;
  MemoryBlobStore blobs_{clock_};
  IndexedActionCache indexed_{index_};
  CompletenessCheckingActionCache cache_{indexed_, blobs_};
  const Digest key_ = DigestOf("key");
  const Digest diff_id_ = DigestOf("diff id");
};

TEST_F(ActionCacheTest, GivesBackWhatWasPutInTheSameDomainOnly) {
  const v1::ActionRecord record = MakeRecord();
  EXPECT_EQ(Get(), absl::StatusCode::kNotFound);
  ASSERT_OK(cache_.Put("main", key_, record));
  ASSERT_OK_AND_ASSIGN(const v1::ActionRecord read, cache_.Get("main", key_));
  EXPECT_EQ(read.SerializeAsString(), record.SerializeAsString());
  EXPECT_THAT(cache_.Get("mai", key_).status(), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ActionCacheTest, AMissingTableIsAMiss) {
  ASSERT_OK(cache_.Put("main", key_, MakeRecord()));
  ASSERT_OK(blobs_.Delete(DigestOf("table")));
  EXPECT_EQ(Get(), absl::StatusCode::kNotFound);
}

// Whoever reads the record gets to know of that form alone.
TEST_F(ActionCacheTest, AMissingFormIsAMissThoughTheLayerHasAnother) {
  ASSERT_OK(cache_.Put("main", key_, MakeRecord()));
  v1::LayerRecord layer;
  *layer.add_forms()->mutable_digest() = DigestToProto(DigestOf("form"));
  *layer.add_forms()->mutable_digest() = DigestToProto(PutBytes(blobs_, "gzip form").value());
  ASSERT_OK(index_.Apply(IndexBatch().Put(IndexTable::kLayer, IndexKey({"main", diff_id_.raw()}),
                                          layer.SerializeAsString()),
                         Index::Durability::kOrdered));
  EXPECT_EQ(Get(), absl::StatusCode::kOk);
  ASSERT_OK(blobs_.Delete(DigestOf("form")));
  EXPECT_EQ(Get(), absl::StatusCode::kNotFound);
}

TEST_F(ActionCacheTest, AMissingBlobResultIsAMiss) {
  v1::ActionRecord record;
  *record.mutable_result()->mutable_blob()->mutable_digest() =
      DigestToProto(PutBytes(blobs_, "blob").value());
  ASSERT_OK(cache_.Put("main", key_, record));
  EXPECT_EQ(Get(), absl::StatusCode::kOk);
  ASSERT_OK(blobs_.Delete(DigestOf("blob")));
  EXPECT_EQ(Get(), absl::StatusCode::kNotFound);
}

TEST_F(ActionCacheTest, AResultOfNothingIsComplete) {
  ASSERT_OK(cache_.Put("main", key_, v1::ActionRecord()));
  EXPECT_EQ(Get(), absl::StatusCode::kOk);
}

TEST_F(ActionCacheTest, ADamagedRecordIsAMiss) {
  ASSERT_OK(index_.Apply(
      IndexBatch().Put(IndexTable::kAction, IndexKey({"main", key_.raw()}), "\xFF\xFF"),
      Index::Durability::kOrdered));
  EXPECT_EQ(Get(), absl::StatusCode::kNotFound);
  v1::ActionRecord record = MakeRecord();
  record.mutable_result()->mutable_layer()->mutable_table()->set_hash("no hash");
  ASSERT_OK(cache_.Put("main", key_, record));
  EXPECT_EQ(Get(), absl::StatusCode::kNotFound);
}

TEST(IndexKeyTest, PartsComeBackAndCannotBeMistaken) {
  const std::string key = IndexKey({"main", "", std::string("\0x", 2)});
  EXPECT_THAT(IndexKeyParts(key),
              IsOkAndHolds(testing::ElementsAre("main", "", std::string("\0x", 2))));
  EXPECT_NE(IndexKey({"ab", "c"}), IndexKey({"a", "bc"}));
  EXPECT_EQ(IndexKey({"main", "x"}).rfind(IndexKey({"main"}), 0), 0u) << "a prefix for scans";
  EXPECT_NE(IndexKey({"mainly", "x"}).rfind(IndexKey({"main"}), 0), 0u);
}

// What comes from outside may have any length.
TEST(IndexKeyTest, ALongPartStandsAsItsHash) {
  const std::string longest(65'534, 'x');
  EXPECT_THAT(IndexKeyParts(IndexKey({"main", longest})),
              IsOkAndHolds(testing::ElementsAre("main", longest)));
  for (const size_t size : {65'535, 65'536, 1'000'000}) {
    const std::string part(size, 'x');
    const std::string hash(DigestOf(part).raw());
    EXPECT_THAT(IndexKeyParts(IndexKey({"main", part, "y"})),
                IsOkAndHolds(testing::ElementsAre("main", hash, "y")));
    EXPECT_NE(IndexKey({part}), IndexKey({hash}));
  }
}

TEST(IndexKeyTest, WhatIsNoKeyIsDataLoss) {
  EXPECT_THAT(IndexKeyParts(std::string("\0", 1)), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(IndexKeyParts(std::string("\0\x05"
                                        "abc",
                                        5)),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(IndexKeyParts(""), IsOkAndHolds(IsEmpty()));
}

TEST(ResourceNameTest, NamesComeBack) {
  const Digest digest = DigestOf("x");
  for (const std::string instance : {"", "main", "a/b"}) {
    ASSERT_OK_AND_ASSIGN(const BlobResource read, ParseReadName(ReadName(instance, digest)));
    EXPECT_EQ(read.instance, instance);
    EXPECT_EQ(read.digest, digest);
    ASSERT_OK_AND_ASSIGN(const BlobResource write,
                         ParseWriteName(WriteName(instance, "id", digest) + "/a/file/name"));
    EXPECT_EQ(write.instance, instance);
    EXPECT_EQ(write.upload_id, "id");
    EXPECT_EQ(write.digest, digest);
  }
}

TEST(ResourceNameTest, OtherFormsAreRefused) {
  const std::string hash(64, 'a');
  for (const std::string& name :
       {std::string(), std::string("blobs"), "blobs/" + hash, "blobs/" + hash + "/x",
        "blobs/" + hash + "/-1", "blobs/" + hash + "/1/2", "blob/" + hash + "/1",
        "blobs/" + hash.substr(1) + "/1", "uploads/id/blobs/" + hash + "/1",
        std::string(600, 'i') + "/blobs/" + hash + "/1"}) {
    EXPECT_THAT(ParseReadName(name), StatusIs(absl::StatusCode::kInvalidArgument)) << name;
  }
  EXPECT_FALSE(ParseWriteName("uploads//blobs/" + hash + "/1").ok());
  EXPECT_FALSE(ParseWriteName("uploads/blobs/" + hash + "/1").ok());
}

class UploadTableTest : public testing::Test {
 protected:
  FakeClock clock_;
  TempDir dir_;
  MemoryBlobStore blobs_{clock_};
  UploadTable table_{clock_, {.dir = dir_.path(), .uploads_max = 2}};
  const std::string bytes_ = std::string(100'000, 'x');
  const Digest digest_ = DigestOf(bytes_);
};

TEST_F(UploadTableTest, TheNewestWriterWins) {
  const std::shared_ptr<Upload> upload = table_.Open("a", digest_).value();
  const int64_t first = upload->TakeOver();
  ASSERT_OK(upload->Append(first, 0, bytes_.substr(0, 10)));
  const int64_t second = upload->TakeOver();
  EXPECT_THAT(upload->Append(first, 10, "x"), StatusIs(absl::StatusCode::kAborted));
  ASSERT_OK(upload->Append(second, 10, bytes_.substr(10)));
  EXPECT_THAT(upload->Finish(first, blobs_), StatusIs(absl::StatusCode::kAborted));
  ASSERT_OK(upload->Finish(second, blobs_));
  EXPECT_OK(GetBytes(blobs_, digest_));
}

TEST_F(UploadTableTest, AFinishedUploadTakesNothingMoreWhateverBecameOfIt) {
  MemoryBlobStore too_small(clock_, {.blob_bytes_max = 10});
  const std::shared_ptr<Upload> upload = table_.Open("a", digest_).value();
  const int64_t writer = upload->TakeOver();
  ASSERT_OK(upload->Append(writer, 0, bytes_));
  EXPECT_THAT(upload->Finish(writer, too_small), StatusIs(absl::StatusCode::kResourceExhausted));
  const int64_t late = upload->TakeOver();
  EXPECT_THAT(upload->Append(late, 0, bytes_), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(upload->Finish(late, blobs_), StatusIs(absl::StatusCode::kAborted));
}

TEST_F(UploadTableTest, TheUploadsTogetherAreBounded) {
  UploadTable table(clock_, {.dir = dir_.path(), .spool_bytes_max = 150'000});
  std::shared_ptr<Upload> first = table.Open("a", digest_).value();
  ASSERT_OK(first->Append(first->TakeOver(), 0, bytes_));
  const std::shared_ptr<Upload> second = table.Open("b", digest_).value();
  const int64_t writer = second->TakeOver();
  EXPECT_THAT(second->Append(writer, 0, bytes_), StatusIs(absl::StatusCode::kResourceExhausted));
  table.Remove("a", first);
  first.reset();
  EXPECT_OK(second->Append(writer, 0, bytes_));
}

TEST_F(UploadTableTest, RemovingAnUploadLeavesTheOneThatTookItsName) {
  const std::shared_ptr<Upload> first = table_.Open("a", digest_).value();
  table_.Remove("a", first);
  const std::shared_ptr<Upload> second = table_.Open("a", digest_).value();
  table_.Remove("a", first);
  EXPECT_EQ(table_.Find("a"), second);
}

TEST_F(UploadTableTest, MoreBytesThanTheDigestSaysAreRefused) {
  const std::shared_ptr<Upload> upload = table_.Open("a", digest_).value();
  EXPECT_THAT(upload->Append(upload->TakeOver(), 0, bytes_ + "x"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(UploadTableTest, IdleUploadsMakeRoomForNewOnes) {
  ASSERT_OK(table_.Open("a", digest_).status());
  ASSERT_OK(table_.Open("b", digest_).status());
  EXPECT_THAT(table_.Open("c", digest_).status(), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_OK(table_.Open("a", digest_).status()) << "going on is always possible";
  clock_.Advance(absl::Minutes(11));
  EXPECT_OK(table_.Open("c", digest_).status());
  EXPECT_EQ(table_.Find("a"), nullptr);
}

TEST_F(UploadTableTest, AnUploadThatACallHoldsIsNotIdle) {
  const std::shared_ptr<Upload> held = table_.Open("a", digest_).value();
  clock_.Advance(absl::Minutes(11));
  ASSERT_OK(table_.Open("b", digest_).status());
  EXPECT_EQ(table_.Find("a"), held);
}

TEST_F(UploadTableTest, AnAbandonedUploadLeavesNoFile) {
  {
    const std::shared_ptr<Upload> upload = table_.Open("a", digest_).value();
    ASSERT_OK(upload->Append(upload->TakeOver(), 0, bytes_.substr(0, 10)));
    EXPECT_FALSE(std::filesystem::is_empty(dir_.path()));
    table_.Remove("a", upload);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
}

}  // namespace
}  // namespace farm
