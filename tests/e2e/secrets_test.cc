// The value of a secret goes from the client to one command, and stays nowhere: not on the disks of
// client, coordinator and worker, nor in what the client says. What is searched are all files that
// they have, also unpacked, and the records of the index.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/testing/status_matchers.h"
#include "cas/rocksdb_index.h"
#include "layer/compression.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kValueBytes = 40;

std::string RandomValue() {
  static constexpr char kLetters[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  std::random_device random;
  std::string value;
  while (value.size() < kValueBytes) value += kLetters[random() % (sizeof(kLetters) - 1)];
  return value;
}

// A value, and how it looks in hex and in base64, there at each place in a group of three bytes and
// without the letters that its neighbours have a part in.
std::vector<std::string> FormsOf(const std::string& value) {
  std::vector<std::string> forms = {value, absl::BytesToHexString(value)};
  for (size_t before = 0; before < 3; ++before) {
    const std::string bytes = std::string(before, 'x') + value;
    const std::string text = absl::Base64Escape(bytes);
    const size_t first = before == 0 ? 0 : before + 1;
    const size_t last = bytes.size() * 8 / 6;
    forms.push_back(text.substr(first, last - first));
  }
  return forms;
}

bool Holds(absl::string_view bytes, const std::vector<std::string>& forms) {
  for (const std::string& form : forms) {
    if (absl::StrContains(bytes, form)) return true;
  }
  return false;
}

// Where a value stands below a directory, and in the index of a local farm whose state it is.
class DiskSearch {
 public:
  explicit DiskSearch(const std::string& value) : forms_(FormsOf(value)) {}

  void SearchFiles(const std::string& dir) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(dir)) {
      const std::string path = entry.path();
      if (Holds(path, forms_)) places.push_back("name of " + path);
      if (entry.is_symlink()) {
        Search("link " + path, fs::read_symlink(path).string());
      } else if (entry.is_regular_file()) {
        const absl::StatusOr<std::string> bytes = ReadFile(path);
        ASSERT_OK(bytes);
        ++files;
        Search(path, *bytes);
      }
    }
  }

  void SearchIndex(const std::string& dir) {
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<RocksDbIndex> index, RocksDbIndex::Open(dir));
    for (int i = 0; i < kIndexTables; ++i) {
      const auto table = static_cast<IndexTable>(i);
      ASSERT_OK(index->Scan(table, "", "", [&](absl::string_view key, absl::string_view value) {
        ++records;
        Search(absl::StrCat("index ", IndexTableName(table)), absl::StrCat(key, "\n", value));
        return true;
      }));
    }
  }

  std::vector<std::string> places;
  int files = 0;
  int records = 0;

 private:
  void Search(const std::string& place, absl::string_view bytes) {
    if (Holds(bytes, forms_)) places.push_back(place);
    StringSource source(bytes);
    const auto plain = NewDecompressor(source, {});
    if (!plain.ok() || (*plain)->compression() == Compression::kNone) return;
    StringSink sink;
    // What only begins like something compressed gives as much as can be had.
    CopyBytes(**plain, sink).status().IgnoreError();
    if (Holds(sink.bytes(), forms_)) places.push_back("unpacked " + place);
  }

  const std::vector<std::string> forms_;
};

class SecretsTest : public testing::Test {
 protected:
  SecretsTest() {
    fs::create_directory(farm_.state_dir() + "/tmp");
    farm_.FarmOk({"import", BusyboxRootTar(), "base"}, InStateDir());
  }

  // What the programs write beside their state is searched, too.
  CommandOptions InStateDir() const {
    CommandOptions options;
    options.env["TMPDIR"] = farm_.state_dir() + "/tmp";
    return options;
  }

  // A build with the secret `file` as a file, and `variable` as a variable of the client's. What it
  // says is in `said_`.
  void Build(int exit_code, const std::string& progress, const std::string& dockerfile) {
    context_.Write("Dockerfile", dockerfile);
    CommandOptions options = InStateDir();
    options.env["SECRET_OF_TEST"] = variable_;
    const CommandResult built = farm_.Farm(
        {"build", "--progress=" + progress, "-t", "made", "--secret",
         "id=file,src=" + elsewhere_.Write("file", file_), "--secret",
         "id=variable,env=SECRET_OF_TEST", "--metadata-file", farm_.state_dir() + "/metadata", "-o",
         absl::StrCat("type=oci,tar=false,compression=gzip,dest=", farm_.state_dir(), "/oci"),
         context_.path()},
        options);
    EXPECT_EQ(built.exit_code, exit_code) << built.all();
    said_ += built.all();
  }

  void Stop() {
    // What a step leaves is deleted behind it.
    EXPECT_TRUE(WaitUntil([&] { return fs::is_empty(farm_.state_dir() + "/state/worker/trash"); }));
    farm_.FarmOk({"local", "stop"});
  }

  // All places of a value, once the farm has stopped.
  DiskSearch Search(const std::string& value) {
    DiskSearch search(value);
    search.SearchFiles(farm_.state_dir());
    search.SearchIndex(farm_.state_dir() + "/state/index");
    EXPECT_GT(search.files, 10);
    EXPECT_GT(search.records, 10);
    return search;
  }

  LocalFarmUnderTest farm_;
  ScratchDir context_;
  ScratchDir elsewhere_;  // Neither in the context nor the farm's.
  const std::string file_ = RandomValue();
  const std::string variable_ = RandomValue();
  std::string said_;
};

TEST_F(SecretsTest, ValuesAreLeftNowhere) {
  Build(0, "rawjson",
        "FROM base\n"
        "RUN --mount=type=secret,id=file,required test \"$(wc -c < /run/secrets/file)\" = 40\n"
        "RUN --mount=type=secret,id=file,target=/etc/token,mode=0444 "
        "cp /etc/token /dev/shm/copy && test -s /dev/shm/copy\n"
        "RUN --mount=type=secret,id=variable,env=TOKEN,required "
        "test \"${#TOKEN}\" = 40 && : $TOKEN\n"
        "RUN --mount=type=secret,id=variable --mount=type=tmpfs,target=/t "
        "--mount=type=cache,target=/c cp /run/secrets/variable /t/ && touch /c/kept\n"
        "USER 1000\n"
        "RUN --mount=type=secret,id=file,uid=1000 cat /run/secrets/file > /dev/null\n");
  Stop();
  for (const std::string& value : {file_, variable_}) {
    EXPECT_FALSE(Holds(said_, FormsOf(value))) << said_;
    EXPECT_THAT(Search(value).places, IsEmpty());
  }
}

TEST_F(SecretsTest, AStepThatFailsLeavesNoValueEither) {
  const std::string failing =
      "FROM base\n"
      "RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=TOKEN "
      "test -n \"$TOKEN\" && cat /run/secrets/file > /written && echo $TOKEN >> /written && "
      "test \"$(wc -c < /written)\" = 81 && echo reached $((6 * 7)) && exit 9\n";
  Build(1, "rawjson", failing);
  EXPECT_TRUE(Holds(said_, FormsOf("reached 42")));
  Build(1, "plain", failing);
  EXPECT_THAT(said_, AllOf(HasSubstr("reached 42"), HasSubstr("exit code: 9")));
  Stop();
  for (const std::string& value : {file_, variable_}) {
    EXPECT_FALSE(Holds(said_, FormsOf(value))) << said_;
    EXPECT_THAT(Search(value).places, IsEmpty());
  }
}

// That the tests above find nothing means something only if this one finds it.
TEST_F(SecretsTest, TheSearchFindsWhatACommandWritesAndPrints) {
  Build(0, "rawjson",
        "FROM base\n"
        "RUN --mount=type=secret,id=file head -c 200000 /dev/urandom > /left && "
        "cat /run/secrets/file >> /left\n"
        "RUN --mount=type=secret,id=variable,env=TOKEN echo $TOKEN > /small && "
        "ln -s $TOKEN /link && echo printed: $TOKEN\n");
  EXPECT_FALSE(Holds(said_, FormsOf(file_))) << said_;
  EXPECT_TRUE(Holds(said_, FormsOf(variable_))) << said_;
  EXPECT_FALSE(absl::StrContains(said_, variable_)) << "rawjson has logs in base64";
  Stop();
  EXPECT_THAT(Search(file_).places, AllOf(Contains(ContainsRegex("^/.*/state/cas/blobs/")),
                                          Contains(ContainsRegex("^/.*/state/worker/layers/")),
                                          Contains(ContainsRegex("^unpacked /.*/oci/blobs/"))));
  EXPECT_THAT(Search(variable_).places, AllOf(Contains(ContainsRegex("^index blob")),
                                              Contains(ContainsRegex("^link /.*/link")),
                                              Contains(ContainsRegex("^unpacked "))));
}

}  // namespace
}  // namespace farm
