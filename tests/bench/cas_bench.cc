// What blobs cost: in the stores themselves, and by gRPC on loopback against them. Run it from
// bazel-bin on a quiet machine: cas_bench [--benchmark_filter=...]
#include <benchmark/benchmark.h>
#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "base/thread_pool.h"
#include "cas/cas_service.h"
#include "cas/disk_blob_store.h"
#include "cas/remote_blob_store.h"
#include "cas/rocksdb_index.h"
#include "cas/small_blob_store.h"
#include "cas/verifying_blob_store.h"

namespace farm {
namespace {

constexpr size_t kSmallBytes = 4 << 10;
constexpr size_t kLargeBytes = 64 << 20;
constexpr size_t kBatchBlobs = 500;

// A coordinator's store behind a server, in a directory of its own.
class Farm {
 public:
  Farm() {
    std::string dir = "/tmp/cas_bench.XXXXXX";
    FARM_CHECK(mkdtemp(dir.data()) != nullptr);
    dir_ = dir;
    index_ = RocksDbIndex::Open(dir_ + "/index").value();
    large_ = DiskBlobStore::Open(clock_, {.dir = dir_ + "/cas", .trust_files = true}).value();
    blobs_ = std::make_unique<SmallBlobStore>(clock_, *index_, *large_);
    service_ = std::make_unique<CasService>(
        *blobs_, *index_, pool_, clock_,
        [](const grpc::ServerContextBase&, absl::string_view) { return std::string("main"); },
        CasService::Options{.spool_dir = large_->temporary_dir()});
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    for (grpc::Service* service : service_->services()) builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    remote_ = std::make_unique<RemoteBlobStore>(grpc::CreateChannel(
        "127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
    verified_ = std::make_unique<VerifyingBlobStore>(*remote_);
  }
  ~Farm() {
    server_->Shutdown();
    server_.reset();
    service_.reset();
    blobs_.reset();
    large_.reset();
    index_.reset();
    std::filesystem::remove_all(dir_);
  }

  BlobStore& local() { return *blobs_; }
  BlobStore& remote() { return *verified_; }
  RemoteBlobStore& batches() { return *remote_; }

 private:
  std::string dir_;
  SystemClock clock_;
  ThreadPool pool_{{.threads = 4}};
  std::unique_ptr<RocksDbIndex> index_;
  std::unique_ptr<DiskBlobStore> large_;
  std::unique_ptr<SmallBlobStore> blobs_;
  std::unique_ptr<CasService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<RemoteBlobStore> remote_;
  std::unique_ptr<VerifyingBlobStore> verified_;
};

// Bytes that no other call gets.
std::string NewBytes(size_t size) {
  static uint64_t serial = 0;
  std::string bytes(size, '\0');
  uint64_t state = ++serial * 0x9E3779B97F4A7C15;
  for (size_t i = 0; i + 8 <= size; i += 8) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::memcpy(&bytes[i], &state, 8);
  }
  return bytes;
}

class NullSink final : public ByteSink {
 public:
  absl::Status Write(absl::string_view bytes) override {
    benchmark::DoNotOptimize(bytes.data());
    return absl::OkStatus();
  }
};

enum Where { kLocal, kRemote };

BlobStore& StoreOf(Farm& farm, Where where) {
  return where == kLocal ? farm.local() : farm.remote();
}

void Put(benchmark::State& state, Where where, size_t size) {
  Farm farm;
  BlobStore& store = StoreOf(farm, where);
  for (auto _ : state) {
    state.PauseTiming();
    const std::string bytes = NewBytes(size);
    const Digest digest = DigestOf(bytes);
    StringSource source(bytes);
    state.ResumeTiming();
    FARM_CHECK_OK(store.Put(digest, source));
    state.PauseTiming();
    if (size == kLargeBytes) {
      FARM_CHECK_OK(farm.local().Delete(digest));
    }
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(size));
}

void Get(benchmark::State& state, Where where, size_t size) {
  Farm farm;
  const Digest digest = PutBytes(farm.local(), NewBytes(size)).value();
  BlobStore& store = StoreOf(farm, where);
  for (auto _ : state) {
    NullSink sink;
    FARM_CHECK_OK(store.Get(digest, 0, sink));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(size));
}

void PutBatch(benchmark::State& state) {
  Farm farm;
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<std::string> contents(kBatchBlobs);
    std::vector<RemoteBlobStore::Blob> blobs;
    for (std::string& bytes : contents) {
      bytes = NewBytes(kSmallBytes);
      blobs.push_back({DigestOf(bytes), bytes});
    }
    state.ResumeTiming();
    FARM_CHECK_OK(farm.batches().PutBatch(blobs));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kBatchBlobs));
}

void GetBatch(benchmark::State& state) {
  Farm farm;
  std::vector<Digest> digests;
  for (size_t i = 0; i < kBatchBlobs; ++i) {
    digests.push_back(PutBytes(farm.local(), NewBytes(kSmallBytes)).value());
  }
  for (auto _ : state) {
    FARM_CHECK_OK(farm.batches().GetBatch(
        digests, [](const Digest& digest, const absl::StatusOr<std::string>& bytes) {
          FARM_CHECK(DigestOf(bytes.value()) == digest);
        }));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kBatchBlobs));
}

void FindMissing(benchmark::State& state, Where where) {
  Farm farm;
  std::vector<Digest> digests;
  for (size_t i = 0; i < 10'000; ++i) {
    digests.push_back(i % 2 == 0 ? PutBytes(farm.local(), NewBytes(64)).value()
                                 : DigestOf(NewBytes(64)));
  }
  BlobStore& store = StoreOf(farm, where);
  for (auto _ : state) FARM_CHECK(store.FindMissing(digests).value().size() == 5'000);
  state.SetItemsProcessed(state.iterations() * 10'000);
}

void Hash(benchmark::State& state) {
  const std::string bytes = NewBytes(kLargeBytes);
  for (auto _ : state) benchmark::DoNotOptimize(DigestOf(bytes));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kLargeBytes));
}

BENCHMARK(Hash)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(Put, local_4KiB, kLocal, kSmallBytes)->UseRealTime();
BENCHMARK_CAPTURE(Get, local_4KiB, kLocal, kSmallBytes)->UseRealTime();
BENCHMARK_CAPTURE(Put, remote_4KiB, kRemote, kSmallBytes)->UseRealTime();
BENCHMARK_CAPTURE(Get, remote_4KiB, kRemote, kSmallBytes)->UseRealTime();
BENCHMARK(PutBatch)->UseRealTime();
BENCHMARK(GetBatch)->UseRealTime();
BENCHMARK_CAPTURE(FindMissing, local, kLocal)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(FindMissing, remote, kRemote)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(Put, local_64MiB, kLocal, kLargeBytes)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(Get, local_64MiB, kLocal, kLargeBytes)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(Put, remote_64MiB, kRemote, kLargeBytes)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(Get, remote_64MiB, kRemote, kLargeBytes)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace farm

BENCHMARK_MAIN();
