// How `farm` is used: flags, help, completion, and the exit status for each kind of mistake.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"
#include "base/version.h"
#include "cli/exit_code.h"
#include "cli/testing/command_test_base.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// ---- usage

TEST_F(CommandTest, AnUnknownFlagIsAUsageErrorWithASuggestion) {
  EXPECT_EQ(Run({"build", "--no-cach", "."}), kExitUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("unknown flag: --no-cach; did you mean --no-cache?"),
                                HasSubstr("See 'farm build --help'")));
}

TEST_F(CommandTest, AnUnknownCommandIsAUsageErrorWithASuggestion) {
  EXPECT_EQ(Run({"bild", "."}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("unknown command: bild; did you mean build?"));
}

TEST_F(CommandTest, WhoWantsToLogInIsToldThatDockerLoginIsUsed) {
  EXPECT_EQ(Run({"login", "-u", "me", "registry.example.com"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("unknown command: login; run docker login: farm uses the "
                                    "credentials that docker login has entered"));
}

TEST_F(CommandTest, HelpIsACommandToo) {
  EXPECT_EQ(Run({"help", "build"}), kExitDone);
  EXPECT_THAT(out_.str(), HasSubstr("--build-arg"));
}

TEST_F(CommandTest, ANameThatIsNoneIsAUsageError) {
  for (const std::vector<std::string> &args : {std::vector<std::string>{"tag", "app", "a:b:c"},
                                               {"pull", "BAD"},
                                               {"push", "a@sha256:12"}}) {
    EXPECT_EQ(Run(args), kExitUsage) << args[0];
  }
}

TEST_F(CommandTest, AMissingArgumentIsAUsageError) {
  EXPECT_EQ(Run({"build"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("missing argument: PATH"));
}

TEST_F(CommandTest, EveryCommandHasAHelpPageThatFitsAScreen) {
  for (const std::vector<std::string> &command : std::vector<std::vector<std::string>>{
           {},          {"build"},  {"images"},        {"history"},       {"inspect"}, {"tag"},
           {"rmi"},     {"import"}, {"save"},          {"load"},          {"pull"},    {"push"},
           {"plan"},    {"lint"},   {"context"},       {"context", "ls"}, {"du"},      {"prune"},
           {"workers"}, {"local"},  {"local", "stop"}, {"completion"}}) {
    std::vector<std::string> args = command;
    args.push_back("--help");
    std::ostringstream out;
    EXPECT_EQ(RunProgram(args, out, err_, clock_), kExitDone);
    EXPECT_THAT(out.str(), HasSubstr("Usage: farm"));
    std::istringstream lines(out.str());
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count) EXPECT_LE(line.size(), 80u) << line;
    EXPECT_LE(count, 50) << out.str();
  }
  EXPECT_EQ(err_.str(), "");
}

TEST_F(CommandTest, FlagsOfDockerThatFarmHasNotAreRefusedByName) {
  Write("Dockerfile", "FROM scratch");
  EXPECT_EQ(Run({"build", "--cpuset-cpus", "0", context_}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--cpuset-cpus: limits are in the workers' configuration"));
}

TEST_F(BuildCommandTest, WhatRunIsToHaveIsPartOfTheRequest) {
  Write("Dockerfile", "FROM scratch\n");
  Build({"--add-host", "six=[::1]", "--shm-size", "64m", "--ulimit", "nofile=10:20", "--ulimit",
         "core=0", "--allow", "network.host", "--allow", "security.insecure", "--cgroup-parent",
         "ci/nightly"});
  ASSERT_THAT(*requests_, SizeIs(1));
  const v1::StartBuildRequest &request = requests_->front();
  EXPECT_EQ(request.extra_hosts(0).address(), "::1");
  EXPECT_EQ(request.shm_bytes(), 64 << 20);
  EXPECT_EQ(request.ulimits(0).soft(), 10);
  EXPECT_EQ(request.ulimits(0).hard(), 20);
  EXPECT_EQ(request.ulimits(1).name(), "core");
  EXPECT_EQ(request.ulimits(1).hard(), 0);
  EXPECT_THAT(request.entitlements(), ElementsAre("network.host", "security.insecure"));
  EXPECT_EQ(request.cgroup_parent(), "/ci/nightly");
}

TEST_F(CommandTest, AWrongFlagOfRunIsAUsageErrorThatSaysWhatIsExpected) {
  Write("Dockerfile", "FROM scratch\n");
  const std::vector<std::vector<std::string>> cases = {
      {"--add-host", "db", "expected HOST:IP"},
      {"--add-host", "db:nowhere", "no IPv4 or IPv6 address"},
      {"--add-host", "db:host-gateway", "name the address"},
      {"--shm-size", "much", "as in 128m"},
      {"--ulimit", "nofile", "as in nofile=1024:2048"},
      {"--ulimit", "nofile=1:2:3", "as in nofile=1024:2048"},
      {"--ulimit", "nofile=2:1", "over the hard one"},
      {"--ulimit", "nofle=1", "did you mean nofile?"},
      {"--allow", "network.hots", "did you mean network.host?"},
      {"--ssh", "=x", "the id is missing"},
      {"--cgroup-parent", "/ci/..", "expected one like /ci/nightly"},
  };
  for (const std::vector<std::string> &flag : cases) {
    err_.str("");
    EXPECT_EQ(Run({"build", flag[0], flag[1], context_}), kExitUsage) << flag[1];
    EXPECT_THAT(err_.str(), AllOf(HasSubstr(flag[0]), HasSubstr(flag[2])));
  }
}

TEST_F(CommandTest, AnSshAgentThatIsNotThereIsToldBeforeTheBuild) {
  Write("Dockerfile", "FROM scratch\n");
  unsetenv("SSH_AUTH_SOCK");
  EXPECT_EQ(Run({"build", "--ssh", "default", context_}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("$SSH_AUTH_SOCK is not set"));
}

TEST_F(BuildCommandTest, SecretsComeFromFilesAndVariables) {
  Write("Dockerfile", "FROM scratch\n");
  Write("token", "from a file");
  setenv("FARM_TEST_SECRET", "from a variable", 1);
  Build({"--secret", "id=f,src=" + (context_ / "token").string(), "--secret",
         "id=v,env=FARM_TEST_SECRET", "--secret", "id=FARM_TEST_SECRET"});
  ASSERT_THAT(*requests_, SizeIs(1));
  const auto &secrets = requests_->front().secrets();
  ASSERT_THAT(secrets, SizeIs(3));
  EXPECT_EQ(secrets[0].value(), "from a file");
  EXPECT_EQ(secrets[1].value(), "from a variable");
  EXPECT_EQ(secrets[2].value(), "from a variable");
}

TEST_F(CommandTest, ASecretThatIsNotThereIsNamedAndAWrongOneIsAUsageError) {
  Write("Dockerfile", "FROM scratch\n");
  EXPECT_EQ(Run({"build", "--secret", "id=f,src=/no/such/file", context_}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("/no/such/file"));
  EXPECT_EQ(Run({"build", "--secret", "id=f,env=FARM_TEST_UNSET", context_}), kExitFailed);
  EXPECT_EQ(Run({"build", "--secret", "src=x", context_}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("the id is missing"));
}

TEST_F(CommandTest, VersionNeedsNoFarm) {
  EXPECT_EQ(Run({"--version"}), kExitDone);
  EXPECT_THAT(out_.str(), HasSubstr("farm "));
}

TEST_F(CommandTest, TheVersionTakesDockersFormat) {
  EXPECT_EQ(Run({"version", "--format", "{{.Client.Version}}"}), kExitDone) << err_.str();
  EXPECT_EQ(out_.str(), std::string(Version()) + "\n");
  EXPECT_EQ(RunProgram({"version", "--format", "{{.Nope}}"}, out_, err_, clock_), kExitUsage);
}

TEST_F(CommandTest, ABoolFlagCanBeSaidToBeFalse) {
  v1::Image image;
  image.set_config_json(
      R"({"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[")" +
      ("sha256:" + std::string(64, '1')) + R"("]},"history":[{"created_by":"ADD"}]})");
  image.add_layer_sizes_bytes(1'234'567);
  const auto history = [&](const std::string &flag) {
    client_ = std::make_unique<FakeFarmClient>();
    client_->images["app"] = image;
    out_.str("");
    EXPECT_EQ(Run({"history", flag, "--format", "{{.Size}}", "app"}), kExitDone) << err_.str();
    return out_.str();
  };
  EXPECT_EQ(history("--human"), "1.23MB\n");
  for (const char *flag : {"-H=false", "--human=false", "--no-human", "-H=0"}) {
    EXPECT_EQ(history(flag), "1234567\n") << flag;
  }
  // It is the value of another flag.
  client_ = std::make_unique<FakeFarmClient>();
  EXPECT_EQ(Run({"history", "--format", "-H=false", "app"}), kExitFailed);
}

TEST_F(CommandTest, HelpListsEveryProgressMode) {
  for (const char *command : {"build", "pull"}) {
    out_.str("");
    EXPECT_EQ(RunProgram({command, "--help"}, out_, err_, clock_), kExitDone);
    for (const char *mode : {"auto", "tty", "plain", "rawjson", "quiet"}) {
      EXPECT_THAT(out_.str(), HasSubstr(mode));
    }
  }
}

TEST_F(CommandTest, ImagesAreFilteredByLabelAndByTheTimeOfAnother) {
  v1::Image image;
  image.set_config_json(
      R"({"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]},)"
      R"("config":{"Labels":{"team":"a"}}})");
  for (const auto &[name, seconds] : {std::pair("old", 1000), std::pair("new", 2000)}) {
    v1::Image named = image;
    named.add_tags(std::string(name) + ":1");
    named.mutable_created()->set_seconds(seconds);
    farm_.images[std::string(name) + ":1"] = named;
  }
  const std::map<std::string, v1::Image> images = farm_.images;
  const auto listed = [&](const std::string &filter) {
    client_ = std::make_unique<FakeFarmClient>();
    client_->images = images;
    out_.str("");
    EXPECT_EQ(Run({"images", "--filter", filter, "--format", "{{.Repository}}"}), kExitDone)
        << err_.str();
    return out_.str();
  };
  EXPECT_EQ(listed("before=new:1"), "old\n");
  EXPECT_EQ(listed("since=old:1"), "new\n");
  EXPECT_EQ(listed("label=team=a"), "new\nold\n");
  EXPECT_EQ(listed("label=team=b"), "");
  client_ = std::make_unique<FakeFarmClient>();
  EXPECT_EQ(Run({"images", "--filter", "before=none"}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("no such image: none"));
}

TEST_F(CommandTest, WorkersCountsInPlainEnglish) {
  farm_.info = [] {
    v1::InfoResponse info;
    info.set_builds_running(1);
    info.set_steps_waiting(2);
    return info;
  };
  EXPECT_EQ(Run({"workers"}), kExitDone);
  EXPECT_THAT(err_.str(), HasSubstr("1 build running, 2 steps waiting"));
}

TEST_F(CommandTest, APruneTellsWhichImagesItRemoved) {
  farm_.pruned.add_images_removed("sha256:abc");
  farm_.pruned.set_blobs_removed(2);
  farm_.pruned.set_bytes_removed(1000);
  EXPECT_EQ(Run({"prune", "-f"}), kExitDone) << err_.str();
  EXPECT_EQ(out_.str(),
            "Deleted: sha256:abc\n"
            "Removed 1 image without a tag, 2 blobs\n"
            "Total reclaimed space: 1kB\n");
}

TEST_F(CommandTest, APruneTakesDockersFilterForWhatToKeep) {
  for (const std::vector<std::string> &flags :
       {std::vector<std::string>{"--filter", "until=90m"}, {"--unused-for", "90m"}}) {
    client_ = std::make_unique<FakeFarmClient>();
    auto asked = std::make_shared<v1::PruneRequest>();
    client_->on_prune = [asked](const v1::PruneRequest &request) { *asked = request; };
    EXPECT_EQ(Run({"prune", "-a", "-f", flags[0], flags[1]}), kExitDone) << err_.str();
    EXPECT_TRUE(asked->all());
    EXPECT_EQ(asked->unused_for().seconds(), 90 * 60);
  }
  for (const char *wrong : {"until=soon", "label=x", "until"}) {
    EXPECT_EQ(RunProgram({"prune", "-f", "--filter", wrong}, out_, err_, clock_), kExitUsage);
  }
  EXPECT_THAT(err_.str(), HasSubstr("--filter label=x: expected until= and a duration like 24h"));
}

TEST_F(CommandTest, DiskUsageSaysThatItCountsBlobs) {
  v1::DiskUsageResponse::Row &row = *farm_.disk_usage.add_rows();
  row.set_kind("image");
  row.set_count(7);
  EXPECT_EQ(Run({"du"}), kExitDone) << err_.str();
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("BLOBS"), HasSubstr("image     7")));
}

TEST_F(CommandTest, CompletionKnowsCommandsAndFlags) {
  EXPECT_EQ(Run({"completion", "bash"}), kExitDone);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("--build-arg"), HasSubstr("\"local stop\"")));
}

// What bash offers for a line whose words it has split, with a farm that has images.
class CompletionTest : public CommandTest {
 protected:
  std::string Offered(const std::string &line, const std::string &words) {
    std::ostringstream script;
    EXPECT_EQ(RunProgram({"completion", "bash"}, script, err_, clock_), kExitDone);
    const std::string path = dir_ / "complete.sh";
    EXPECT_OK(WriteFileAtomically(dir_ / "farm", "#!/bin/sh\nprintf 'app:1\\napp:2\\nbase:1\\n'\n",
                                  0755));
    std::ofstream(path) << script.str() << "PATH=" << dir_.string() << ":$PATH\n"
                        << "COMP_WORDS=(" << words << "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
                        << "COMP_LINE='" << line << "'; COMP_POINT=${#COMP_LINE}\n"
                        << "_farm; echo \"${COMPREPLY[*]}\"\n";
    FILE *bash = popen(("bash " + path).c_str(), "r");
    char buffer[4096];
    const size_t length = fread(buffer, 1, sizeof(buffer), bash);
    EXPECT_EQ(pclose(bash), 0);
    return std::string(absl::StripTrailingAsciiWhitespace({buffer, length}));
  }
};

TEST_F(CompletionTest, OffersTheValuesOfFlags) {
  EXPECT_EQ(Offered("farm build --progress p", "farm build --progress p"), "plain");
  EXPECT_EQ(Offered("farm build --progress=r", "farm build --progress = r"), "rawjson");
  EXPECT_EQ(Offered("farm build --network=", "farm build --network ="), "default host none");
  EXPECT_EQ(Offered("farm build -o type=d", "farm build -o type = d"), "docker");
  EXPECT_EQ(Offered("farm build -o ", "farm build -o ''"),
            "type=image type=registry type=oci type=docker type=tar type=local");
}

TEST_F(CompletionTest, OffersImagesWhereACommandTakesThem) {
  EXPECT_EQ(Offered("farm rmi a", "farm rmi a"), "app:1 app:2");
  EXPECT_EQ(Offered("farm push app:", "farm push app :"), "1 2");
  EXPECT_EQ(Offered("farm save base:1 app:2", "farm save base : 1 app : 2"), "2");
  EXPECT_EQ(Offered("farm rmi --f", "farm rmi --f"), "--force");
  EXPECT_EQ(Offered("farm local s", "farm local s"), "status stop");
}

// ---- whose fault it is

TEST_F(BuildCommandTest, WhatIsWrongWithThePersonsOwnFilesIsExitStatus1) {
  Write("Dockerfile", "FROM scratch");
  farm_.starts = {Success()};
  EXPECT_EQ(Build({"--iidfile", "/dev/full"}), kExitFailed) << err_.str();
  EXPECT_THAT(err_.str(), HasSubstr("No space left"));
}

TEST_F(CommandTest, AFileThatIsNoTarIsNamedAndTheImportsMistake) {
  Write("garbage", "no tar");
  const std::string path = context_ / "garbage";
  farm_.imports = {Failure(absl::StatusCode::kDataLoss)};
  EXPECT_EQ(Run({"import", path, "a"}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("ERROR: " + path + ": no good"));
}

TEST_F(CommandTest, AWrongChangeIsAUsageErrorBeforeTheUpload) {
  Write("root.tar", "bytes");
  bool sent = false;
  farm_.on_put = [&](const Digest &) { sent = true; };
  EXPECT_EQ(Run({"import", "-c", "RUN make", context_ / "root.tar", "a"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--change: RUN is not a valid change instruction"));
  EXPECT_FALSE(sent);
}

TEST_F(CommandTest, AWrongValueOfAFlagIsAUsageErrorOfEveryCommand) {
  Write("Dockerfile", "FROM scratch\n");
  const std::vector<std::vector<std::string>> commands = {
      {"images", "--filter", "color=red"},
      {"images", "--format", "{{.Nope}}"},
      {"images", "--format", "{{"},
      {"inspect", "--format", "{{", "app"},
      {"pull", "--progress", "foo", "app"},
      {"import", "--platform", "a/b/c/d", "x.tar"},
      {"plan", "--offline", "--platform", "a/b/c/d", context_}};
  for (const std::vector<std::string> &command : commands) {
    client_ = std::make_unique<FakeFarmClient>();
    EXPECT_EQ(Run(command), kExitUsage) << command[0] << " " << command[1];
  }
  EXPECT_EQ(RunProgram({"images", "--farm", "no-port"}, out_, err_, clock_), kExitUsage);
  std::ofstream(dir_ / "wrong.yaml") << "frm: a:1\n";
  EXPECT_EQ(RunProgram({"images", "--config", dir_ / "wrong.yaml"}, out_, err_, clock_),
            kExitUsage);
  EXPECT_EQ(RunProgram({"images", "--config", dir_ / "none.yaml"}, out_, err_, clock_),
            kExitFailed);
}

TEST_F(CommandTest, AWrongAddressInTheConfigurationIsShownWhereItStands) {
  const std::string path = dir_ / "wrong.yaml";
  std::ofstream(path) << "token_file: x\nfarm: 5\n";
  EXPECT_EQ(RunProgram({"images", "--config", path}, out_, err_, clock_), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("ERROR: " + path + ":2:7: farm: address \"5\": no port"));
}

TEST_F(CommandTest, ATemplateThatDoesNotFitTheImageIsAUsageError) {
  v1::Image image;
  image.set_config_json(
      R"({"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}})");
  farm_.images["app"] = image;
  EXPECT_EQ(Run({"inspect", "-f", "{{.Nope}}", "app"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("there is no field Nope"));
}

TEST_F(CommandTest, StandardInputForTwoThingsIsAUsageError) {
  EXPECT_EQ(Run({"build", "-f", "-", "-"}), kExitUsage);
  EXPECT_EQ(RunProgram({"plan", "--offline", "-f", "-", "-"}, out_, err_, clock_), kExitUsage);
}

TEST_F(CommandTest, HelpListsEveryExitStatus) {
  EXPECT_EQ(Run({"--help"}), kExitDone);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("1 the build or command failed"), HasSubstr("130")));
}

// Hangs up on whoever greets it, as one that waits for TLS does.
class TlsPort {
 public:
  TlsPort() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto *any = reinterpret_cast<sockaddr *>(&address);
    EXPECT_EQ(bind(listener_.get(), any, size), 0);
    EXPECT_EQ(listen(listener_.get(), 8), 0);
    EXPECT_EQ(getsockname(listener_.get(), any, &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      while (true) {
        const UniqueFd peer(accept(listener_.get(), nullptr, nullptr));
        if (!peer.valid()) return;
        char hello[1024];
        recv(peer.get(), hello, sizeof(hello), 0);
      }
    });
  }
  ~TlsPort() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  const UniqueFd listener_;
  int port_ = 0;
  std::thread thread_;
};

TEST_F(CommandTest, AFarmThatHangsUpMayWantTls) {
  const TlsPort farm;
  EXPECT_EQ(RunProgram({"workers", "--farm", farm.address()}, out_, err_, clock_),
            kExitFarmTrouble);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr(farm.address()), HasSubstr("tls: {ca_file: FILE}")));
}

TEST(ExitCodeTest, ALocalErrorIsNoTroubleWithTheFarm) {
  const absl::Status full = absl::ResourceExhaustedError("no space");
  EXPECT_EQ(ExitCodeFor(full), kExitFarmTrouble);
  EXPECT_EQ(ExitCodeFor(AsLocalError(full)), kExitFailed);
  EXPECT_EQ(ExitCodeFor(Annotate(AsLocalError(full), "output")), kExitFailed);
  EXPECT_EQ(ExitCodeFor(AsLocalError(AsUsageError(full))), kExitUsage);
  EXPECT_EQ(ExitCodeFor(AsLocalError(absl::OkStatus())), kExitDone);
}

}  // namespace
}  // namespace farm
