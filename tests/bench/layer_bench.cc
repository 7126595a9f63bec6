// Packing and unpacking 20,000 small files, against GNU tar in the same run.
//
//   bazel build -c opt //tests/bench:layer_bench
//   bazel-bin/tests/bench/layer_bench              works in $TMPDIR or /tmp; as root
//
// The counter per_entry is time an entry. Times depend on the machine and on what else it does; the
// relation to GNU tar is what counts. Nothing is deleted between runs: where files were deleted
// just before, a file system may be several times slower.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/unique_fd.h"
#include "layer/applier.h"
#include "layer/compression.h"
#include "layer/differ.h"
#include "layer/table.h"

namespace farm {
namespace {

constexpr int kDirectories = 200;
constexpr int kFilesPerDirectory = 100;
constexpr int kFileBytesMax = 7400;  // 3.7 KB in the mean, as in a Linux distribution.
constexpr int kRuns = 5;

class NullSink final : public ByteSink {
 public:
  absl::Status Write(absl::string_view) override { return absl::OkStatus(); }
};

// A tree made once, its tar and table, and a place for what is unpacked.
class Bench {
 public:
  static Bench& Get() {
    static Bench bench;
    return bench;
  }

  UniqueFd OpenTree() const { return Open(tree()); }
  std::string tree() const { return root_ + "/tree"; }
  std::string tar() const { return root_ + "/tree.tar"; }
  const Table& table() const { return table_; }
  // A directory that was never used.
  std::string Fresh() {
    std::string path = absl::StrCat(root_, "/fresh", ++fresh_);
    FARM_CHECK(std::filesystem::create_directory(path));
    return path;
  }
  static UniqueFd Open(const std::string& path) {
    UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    FARM_CHECK(fd.valid()) << path;
    return fd;
  }
  double entries() const { return static_cast<double>(table_.size()); }

 private:
  Bench() {
    const char* parent = getenv("TMPDIR");
    root_ = absl::StrCat(parent == nullptr ? "/tmp" : parent, "/layer_bench.XXXXXX");
    FARM_CHECK(mkdtemp(root_.data()) != nullptr) << root_;
    const std::string bytes(kFileBytesMax, 'x');
    for (int d = 0; d < kDirectories; ++d) {
      const std::string directory = absl::StrCat(tree(), "/package", d);
      std::filesystem::create_directories(directory);
      for (int f = 0; f < kFilesPerDirectory; ++f) {
        std::ofstream(absl::StrCat(directory, "/some-file-", f, ".txt"))
            .write(bytes.data(), (d * 7919 + f * 104729) % kFileBytesMax);
      }
    }
    const UniqueFd fd(open(tar().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    FdSink sink(fd.get());
    absl::StatusOr<PackedLayer> layer = PackTree(OpenTree().get(), {}, sink);
    FARM_CHECK_OK(layer.status());
    table_ = std::move(layer->table);
  }
  ~Bench() { std::filesystem::remove_all(root_); }

  std::string root_;
  Table table_;
  int fresh_ = 0;
};

void Report(benchmark::State& state) {
  state.counters["per_entry"] =
      benchmark::Counter(Bench::Get().entries(), benchmark::Counter::kIsIterationInvariantRate |
                                                     benchmark::Counter::kInvert);
}

void RunCommand(const std::string& command) { FARM_CHECK(system(command.c_str()) == 0) << command; }

void Pack(benchmark::State& state) {
  NullSink sink;
  for (auto _ : state) {
    FARM_CHECK_OK(PackTree(Bench::Get().OpenTree().get(), {}, sink).status());
  }
  Report(state);
}
BENCHMARK(Pack)->Iterations(kRuns)->UseRealTime()->Unit(benchmark::kMillisecond);

// As a COPY packs, which knows what it wrote: one hash instead of two.
void PackWithKnownDigests(benchmark::State& state) {
  NullSink sink;
  absl::flat_hash_map<std::string, Digest> known;
  for (const TableEntry& entry : Bench::Get().table().entries()) {
    if (entry.type == EntryType::kFile) known[entry.path] = entry.content;
  }
  for (auto _ : state) {
    FARM_CHECK_OK(PackTree(Bench::Get().OpenTree().get(), {.known_files = &known}, sink).status());
  }
  Report(state);
}
BENCHMARK(PackWithKnownDigests)->Iterations(kRuns)->UseRealTime()->Unit(benchmark::kMillisecond);

// Through a pipe: it does not read files if it writes to /dev/null.
void PackByGnuTar(benchmark::State& state) {
  for (auto _ : state) {
    RunCommand(absl::StrCat("tar --sort=name --xattrs -C ", Bench::Get().tree(),
                            " -cf - . | cat > /dev/null"));
  }
  Report(state);
}
BENCHMARK(PackByGnuTar)->Iterations(kRuns)->UseRealTime()->Unit(benchmark::kMillisecond);

void Unpack(benchmark::State& state) {
  for (auto _ : state) {
    const UniqueFd tar = Bench::Open(Bench::Get().tar());
    const UniqueFd to = Bench::Open(Bench::Get().Fresh());
    FdSource source(tar.get());
    FARM_CHECK_OK(ApplyLayer(source, to.get(), {.expected_table = &Bench::Get().table()}).status());
  }
  Report(state);
}
BENCHMARK(Unpack)->Iterations(kRuns)->UseRealTime()->Unit(benchmark::kMillisecond);

void UnpackByGnuTar(benchmark::State& state) {
  for (auto _ : state) {
    RunCommand(absl::StrCat("tar -xpf ", Bench::Get().tar(), " -C ", Bench::Get().Fresh()));
  }
  Report(state);
}
BENCHMARK(UnpackByGnuTar)->Iterations(kRuns)->UseRealTime()->Unit(benchmark::kMillisecond);

void DecodeTable(benchmark::State& state) {
  const std::string bytes = Bench::Get().table().Encode();
  for (auto _ : state) FARM_CHECK_OK(Table::Decode(bytes).status());
  Report(state);
}
BENCHMARK(DecodeTable)->UseRealTime()->Unit(benchmark::kMillisecond);

void DigestOfAllContent(benchmark::State& state) {
  for (auto _ : state) FARM_CHECK_OK(Bench::Get().table().ContentDigest("").status());
  Report(state);
}
BENCHMARK(DigestOfAllContent)->UseRealTime()->Unit(benchmark::kMillisecond);

void CompressTar(benchmark::State& state, Compression codec) {
  const absl::StatusOr<std::string> tar = ReadFile(Bench::Get().tar());
  FARM_CHECK_OK(tar.status());
  NullSink sink;
  for (auto _ : state) {
    absl::StatusOr<std::unique_ptr<Compressor>> compressor =
        NewCompressor(DefaultCompressionId(codec), sink);
    FARM_CHECK_OK(compressor.status());
    FARM_CHECK_OK((*compressor)->Write(*tar));
    FARM_CHECK_OK((*compressor)->Finish());
  }
  state.SetBytesProcessed(static_cast<int64_t>(tar->size()) * state.iterations());
}
BENCHMARK_CAPTURE(CompressTar, gzip, Compression::kGzip)->UseRealTime();
BENCHMARK_CAPTURE(CompressTar, zstd, Compression::kZstd)->UseRealTime();

}  // namespace
}  // namespace farm

BENCHMARK_MAIN();
