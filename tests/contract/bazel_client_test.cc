// Bazel itself as a client of the CAS service: what one build uploads, a build elsewhere gets.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "cas/cas_service.h"
#include "cas/disk_blob_store.h"
#include "cas/memory_index.h"
#include "cas/small_blob_store.h"
#include "tests/contract/temp_dir.h"

namespace farm {
namespace {

using testing::HasSubstr;

// What Bazel 4 would otherwise download for any build; Debian has it in packages.
constexpr char kToolsDir[] = "/usr/share/bazel/tools/platforms";
constexpr char kWorkspace[] = R"(
local_repository(name = "platforms", path = "/usr/share/bazel/tools/platforms")
local_repository(name = "rules_java", path = "/usr/share/bazel/rules/java")
local_repository(name = "rules_proto", path = "/usr/share/bazel/rules/proto")
)";
// A small output and a large one, for both ways that blobs travel.
constexpr char kBuildFile[] = R"BUILD(
genrule(
    name = "words",
    outs = ["small.txt", "large.txt"],
    cmd = "echo hello > $(location small.txt); " +
          "head -c 9000000 /dev/zero | tr '\\0' x > $(location large.txt)",
)
)BUILD";

class BazelClientTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v bazel > /dev/null") != 0) GTEST_SKIP() << "bazel is not installed";
    if (!std::filesystem::exists(kToolsDir)) GTEST_SKIP() << "not Debian's bazel: no " << kToolsDir;
    std::filesystem::create_directory(workspace_);
    std::ofstream(workspace_ + "/WORKSPACE") << kWorkspace;
    std::ofstream(workspace_ + "/BUILD.bazel") << kBuildFile;

    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    for (grpc::Service* service : service_.services()) builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown();
  }

  // Builds with a Bazel server of its own, which is gone afterwards, and returns what it printed.
  std::string Build(const std::string& name) {
    const std::string output_base = dir_.path() + "/" + name;
    const std::string bazel =
        "cd " + workspace_ + " && HOME=" + dir_.path() +
        " timeout 240 bazel --nohome_rc --max_idle_secs=15 --output_base=" + output_base;
    std::string output =
        Run(bazel + " build --remote_cache=grpc://127.0.0.1:" + std::to_string(port_) +
            " --noshow_progress //:words 2>&1");
    const std::string built = workspace_ + "/bazel-bin/large.txt";
    if (std::filesystem::exists(built)) {
      output += "large.txt has " + std::to_string(std::filesystem::file_size(built)) + " bytes\n";
    }
    Run(bazel + " shutdown 2>&1");
    Run("chmod -R u+w " + output_base);
    return output;
  }

  static std::string Run(const std::string& command) {
    std::string output;
    FILE* pipe = popen(command.c_str(), "r");
    char buffer[4096];
    while (pipe != nullptr && fgets(buffer, sizeof(buffer), pipe) != nullptr) output += buffer;
    if (pipe != nullptr) pclose(pipe);
    return output;
  }

  TempDir dir_;
  const std::string workspace_ = dir_.path() + "/workspace";
  SystemClock clock_;
  MemoryIndex index_;
  std::unique_ptr<DiskBlobStore> large_ =
      DiskBlobStore::Open(clock_, {.dir = dir_.path() + "/cas", .trust_files = true}).value();
  SmallBlobStore blobs_{clock_, index_, *large_};
  ThreadPool pool_{{.threads = 4}};
  CasService service_{
      blobs_,
      index_,
      pool_,
      clock_,
      [](const grpc::ServerContextBase&, absl::string_view) { return std::string("main"); },
      {.spool_dir = large_->temporary_dir()}};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(BazelClientTest, ASecondBuildHitsWhatTheFirstUploaded) {
  const std::string first = Build("first");
  EXPECT_THAT(first, HasSubstr("large.txt has 9000000 bytes"));
  EXPECT_THAT(first, testing::Not(HasSubstr("remote cache hit")));
  const std::string second = Build("second");
  EXPECT_THAT(second, HasSubstr("1 remote cache hit"));
  EXPECT_THAT(second, HasSubstr("large.txt has 9000000 bytes"));
}

TEST_F(BazelClientTest, AResultWhoseOutputIsGoneIsBuiltAgain) {
  Build("first");
  ASSERT_TRUE(large_
                  ->ForEachBlob([&](const CollectableBlobStore::BlobInfo& info) {
                    return large_->Delete(info.digest).ok();
                  })
                  .ok());
  const std::string second = Build("second");
  EXPECT_THAT(second, testing::Not(HasSubstr("remote cache hit")));
  EXPECT_THAT(second, HasSubstr("large.txt has 9000000 bytes"));
}

}  // namespace
}  // namespace farm
