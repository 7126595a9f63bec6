// What tests of whole commands share: a context and a fake farm.
#ifndef FARM_CLI_TESTING_COMMAND_TEST_BASE_H_
#define FARM_CLI_TESTING_COMMAND_TEST_BASE_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/byte_stream.h"
#include "base/digest_proto.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "cli/program.h"
#include "cli/testing/fake_farm_client.h"
#include "oci/image_config.h"
#include "oci/manifest.h"

namespace farm {

// An image without layers, in the farm's store.
inline void StoreImage(FakeFarmClient &farm, v1::BuiltImage &image) {
  ImageConfig config;
  config.platform = {.os = "linux", .architecture = "amd64", .variant = ""};
  Manifest manifest;
  manifest.config.media_type = kOciConfigType;
  ASSERT_OK_AND_ASSIGN(manifest.config.digest,
                       PutBytes(farm.blobs(), SerializeImageConfig(config)));
  ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(farm.blobs(), SerializeManifest(manifest)));
  *image.mutable_manifest() = *image.add_export_manifests() = DigestToProto(digest);
  *image.mutable_config() = DigestToProto(manifest.config.digest);
}

// Runs `farm` in a home of its own over a farm that a test scripts.
class CommandTest : public ::testing::Test {
 protected:
  CommandTest() : client_(std::make_unique<FakeFarmClient>()), farm_(*client_) {
    std::string pattern = ::testing::TempDir() + "/farm-command-XXXXXX";
    dir_ = mkdtemp(pattern.data());
    setenv("HOME", dir_.c_str(), 1);
    for (const char *name :
         {"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "FARM_ADDR", "NO_COLOR", "BUILDKIT_PROGRESS"}) {
      unsetenv(name);
    }
    unsetenv("DOCKER_CONFIG");
    for (const char *name : {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY",
                             "no_proxy", "ALL_PROXY", "all_proxy", "FTP_PROXY", "ftp_proxy"}) {
      unsetenv(name);
    }
    context_ = dir_ / "context";
    std::filesystem::create_directory(context_);
  }
  ~CommandTest() override { std::filesystem::remove_all(dir_); }

  void Write(const std::string &path, absl::string_view bytes) {
    std::ofstream(context_ / path) << bytes;
  }
  // The client is the program's for one run.
  int Run(std::vector<std::string> args) {
    return RunProgram(args, out_, err_, clock_, std::move(client_));
  }
  static FakeFarmClient::Script Success() {
    v1::BuildEvent started, finished;
    started.set_sequence(1);
    started.mutable_started()->set_build_id("b1");
    finished.set_sequence(2);
    v1::BuiltImage &image = *finished.mutable_finished()->mutable_image();
    image.mutable_config()->set_hash(std::string(64, 'c'));
    image.mutable_manifest()->set_hash(std::string(64, 'd'));
    return {{started, finished}, absl::OkStatus()};
  }
  // A build's end with an error of this code.
  static FakeFarmClient::Script Failure(absl::StatusCode code, int failed_step = 0) {
    v1::BuildEvent finished;
    finished.set_sequence(1);
    finished.mutable_finished()->set_failed_step(failed_step);
    finished.mutable_finished()->mutable_error()->set_code(static_cast<int>(code));
    finished.mutable_finished()->mutable_error()->set_message("no good");
    return {{finished}, absl::OkStatus()};
  }

  std::filesystem::path dir_, context_;
  FakeClock clock_;
  std::unique_ptr<FakeFarmClient> client_;
  FakeFarmClient &farm_;  // *client_; alive until Run() returns
  std::ostringstream out_, err_;
};

// Keeps the requests of a fake that dies with the program.
class BuildCommandTest : public CommandTest {
 protected:
  int Build(std::vector<std::string> flags) {
    flags.insert(flags.begin(), "build");
    flags.push_back(context_);
    FakeFarmClient *client = client_.get();
    requests_ = std::make_shared<std::vector<v1::StartBuildRequest>>();
    client->on_start = [requests = requests_](const v1::StartBuildRequest &request) {
      requests->push_back(request);
    };
    return Run(flags);
  }

  std::shared_ptr<std::vector<v1::StartBuildRequest>> requests_;
};

}  // namespace farm

#endif  // FARM_CLI_TESTING_COMMAND_TEST_BASE_H_
