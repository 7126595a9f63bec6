// Runs a fuzz target on a corpus and on seeded mutations of it; the stand-in for libFuzzer's main()
// where that is not linked.
//
//   target CORPUS_FOLDER        FUZZ_RUNS, FUZZ_SEED: number of mutations, and where they begin
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace farm {
namespace {

constexpr uint64_t kRuns = 4000;
constexpr uint64_t kSeed = 1;
constexpr size_t kInputBytesMax = 16 << 10;

// What the target works on, for the signal handler.
const char* g_input = nullptr;
size_t g_input_bytes = 0;
std::string* g_crash_path = nullptr;

void KeepInput(int signal_number) {
  const int fd = open(g_crash_path->c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  // The process dies of the signal in any case.
  if (fd >= 0 && write(fd, g_input, g_input_bytes) >= 0) {
    const ssize_t said = write(STDERR_FILENO, "the input is kept as crash-input\n", 33);
    (void)said;
  }
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

void Run(const std::string& input) {
  // A copy of exactly its size, so that a sanitizer sees each byte read beyond the end.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  g_input = input.data();
  g_input_bytes = input.size();
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

class Mutator {
 public:
  Mutator(std::vector<std::string> corpus, uint64_t seed)
      : corpus_(std::move(corpus)), random_(seed) {}

  std::string Next() {
    std::string input = Pick();
    for (size_t i = 1 + Below(8); i > 0; --i) Mutate(input);
    input.resize(std::min(input.size(), kInputBytesMax));
    return input;
  }

 private:
  const std::string& Pick() { return corpus_[Below(corpus_.size())]; }
  size_t Below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }

  void Mutate(std::string& input) {
    const size_t at = Below(input.size() + 1);
    const size_t length = Below(std::min<size_t>(input.size() - at, 32) + 1);
    switch (Below(5)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(random_());
        break;
      case 1:
        input.insert(at, 1, Punctuation());
        break;
      case 2:
        input.erase(at, length);
        break;
      case 3:
        input.insert(Below(input.size() + 1), input.substr(at, length));
        break;
      default: {
        const std::string& other = Pick();
        const size_t from = Below(other.size());
        input.insert(at, other.substr(from, 1 + Below(32)));
      }
    }
  }

  // Bytes that mean something to most parsers of text.
  char Punctuation() {
    static constexpr char kBytes[] = "\\\"'`${}[]()<>=:,;#!*?/-+%.~ \t\r\n\0\x7f\xff\xc3";
    return kBytes[Below(sizeof(kBytes) - 1)];
  }

  std::vector<std::string> corpus_;
  std::mt19937_64 random_;
};

std::vector<std::string> ReadCorpus(const char* folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());  // The order of a directory differs between machines.
  std::vector<std::string> corpus;
  for (const auto& path : paths) {
    std::ifstream in(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return corpus;
}

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

int Main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
    return 2;
  }
  const std::vector<std::string> corpus = ReadCorpus(argv[1]);
  if (corpus.empty()) {
    std::fprintf(stderr, "%s has no files\n", argv[1]);
    return 2;
  }
  const char* outputs = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR");
  std::string crash_path = std::string(outputs == nullptr ? "." : outputs) + "/crash-input";
  g_crash_path = &crash_path;
  for (const int signal_number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    signal(signal_number, KeepInput);
  }

  const uint64_t runs = FromEnvironment("FUZZ_RUNS", kRuns);
  const uint64_t seed = FromEnvironment("FUZZ_SEED", kSeed);
  std::printf("%zu files, %llu mutations from seed %llu\n", corpus.size(),
              static_cast<unsigned long long>(runs), static_cast<unsigned long long>(seed));
  Run("");
  for (const std::string& input : corpus) Run(input);
  Mutator mutator(corpus, seed);
  for (uint64_t i = 0; i < runs; ++i) Run(mutator.Next());
  return 0;
}

}  // namespace
}  // namespace farm

int main(int argc, char** argv) { return farm::Main(argc, argv); }
