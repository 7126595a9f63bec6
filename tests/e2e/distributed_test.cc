// A farm of several machines, as far as one kernel can be several: coordinator, client and workers
// have a network namespace each, with TLS and tokens between them, and nothing else in common.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/sha256.h"
#include "nlohmann/json.hpp"
#include "tests/testing/build_report.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

using ::nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPort[] = "7070";

void Must(const std::string& script) {
  const CommandResult result = RunShell("set -e\n" + script);
  ASSERT_EQ(result.exit_code, 0) << script << "\n" << result.all();
}

// --- The network

// A star of namespaces: the coordinator in the middle, each of the others at the end of a link of
// its own, with no way to any place but the coordinator.
class Network {
 public:
  explicit Network(const std::vector<std::string>& hosts) : hosts_(hosts) {
    Must(absl::StrCat("ip netns add ", Namespace("hub"), "\n", In("hub"), "ip link set lo up"));
    for (size_t i = 0; i < hosts_.size(); ++i) {
      const std::string& host = hosts_[i];
      Must(absl::StrCat("ip netns add ", Namespace(host), "\nip link add ", host, " netns ",
                        Namespace("hub"), " type veth peer name eth0 netns ", Namespace(host), "\n",
                        In("hub"), "ip addr add ", HubAddress(host), "/30 dev ", host, "\n",
                        In("hub"), "ip link set ", host, " up\n", In(host), "ip addr add 10.77.", i,
                        ".2/30 dev eth0\n", In(host), "ip link set eth0 up\n", In(host),
                        "ip link set lo up"));
    }
  }
  ~Network() {
    for (const std::string& host : hosts_) RunShell("ip netns del " + Namespace(host));
    RunShell("ip netns del " + Namespace("hub"));
  }

  // Begins a command that runs on `host`: nothing but the network is another one.
  std::vector<std::string> On(const std::string& host, std::vector<std::string> args) const {
    args.insert(args.begin(), {"nsenter", "--net=/run/netns/" + Namespace(host)});
    return args;
  }
  // The coordinator's address as `host` sees it.
  std::string HubAddress(const std::string& host) const {
    const auto at = std::find(hosts_.begin(), hosts_.end(), host) - hosts_.begin();
    return absl::StrCat("10.77.", at, ".1");
  }
  // What went over the host's link in both directions so far.
  int64_t BytesOf(const std::string& host) const {
    const CommandResult result = RunCommand(On(host, {"cat", "/proc/net/dev"}));
    for (const absl::string_view line : absl::StrSplit(result.out, '\n')) {
      const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
      int64_t received = 0, sent = 0;
      if (fields.size() > 9 && fields[0] == "eth0:" && absl::SimpleAtoi(fields[1], &received) &&
          absl::SimpleAtoi(fields[9], &sent)) {
        return received + sent;
      }
    }
    ADD_FAILURE() << "no counters of " << host << ": " << result.all();
    return 0;
  }

 private:
  static std::string Namespace(const std::string& host) {
    return absl::StrCat("farm-", getpid(), "-", host);
  }
  static std::string In(const std::string& host) {
    return absl::StrCat("nsenter --net=/run/netns/", Namespace(host), " ");
  }

  const std::vector<std::string> hosts_;
};

// --- What a build did

struct StepTimes {
  std::string name;
  std::vector<int> deps;
  std::vector<std::string> workers;  // That it was lent to, in order, each once.
  std::string outcome;
  absl::Time started;
  absl::Time finished;
  int64_t transferred_bytes = 0;  // Between its worker and the store.
};

std::map<int, StepTimes> ReadTimes(const std::string& progress) {
  std::map<int, StepTimes> steps;
  for (const absl::string_view line : absl::StrSplit(progress, '\n')) {
    const json event = json::parse(std::string(line), nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) continue;
    absl::Time time;
    std::string error;
    absl::ParseTime(absl::RFC3339_full, event.value("time", ""), &time, &error);
    if (event.contains("planned")) {
      for (const json& planned : event["planned"]["steps"]) {
        StepTimes& step = steps[planned["id"]];
        step.name = planned["name"];
        for (const json& dep : planned.value("deps", json::array())) step.deps.push_back(dep);
      }
    } else if (event.contains("step_started")) {
      StepTimes& step = steps[event["step_started"]["id"]];
      const std::string worker = event["step_started"].value("worker", "");
      if (worker.empty()) continue;
      if (step.workers.empty() || step.workers.back() != worker) {
        step.workers.push_back(worker);
        step.started = time;
      }
    } else if (event.contains("step_finished")) {
      const json& finished = event["step_finished"];
      StepTimes& step = steps[finished["id"]];
      step.outcome = finished.value("outcome", "");
      step.finished = time;
      const json usage = finished.value("usage", json::object());
      for (const char* kind : {"fetched_bytes", "stored_bytes"}) {
        step.transferred_bytes += std::stoll(usage.value(kind, "0"));
      }
    }
  }
  return steps;
}

// The longest chain of steps, each as long as it took once a worker had it.
absl::Duration CriticalPath(const std::map<int, StepTimes>& steps) {
  std::map<int, absl::Duration> until;
  absl::Duration longest;
  for (const auto& [id, step] : steps) {  // Those that a step needs have smaller ids.
    absl::Duration before;
    for (int dep : step.deps) before = std::max(before, until[dep]);
    until[id] =
        before + (step.workers.empty() ? absl::ZeroDuration() : step.finished - step.started);
    longest = std::max(longest, until[id]);
  }
  return longest;
}

std::string Text(const std::map<int, StepTimes>& steps) {
  std::string text;
  for (const auto& [id, step] : steps) {
    absl::StrAppend(&text, id, " ", step.name, ": ", step.outcome, " after ",
                    absl::FormatDuration(step.finished - step.started), " on");
    for (const std::string& worker : step.workers) absl::StrAppend(&text, " ", worker);
    absl::StrAppend(&text, "\n");
  }
  return text;
}

// --- The farm

class DistributedTest : public testing::Test {
 protected:
  DistributedTest() {
    MakeCertificates();
    for (const char* who : {"client", "w1", "w2"}) {
      dir_.Write(absl::StrCat(who, ".token"), absl::StrCat("token-of-", who, "\n"), 0600);
    }
    dir_.Write("wrong.token", "token-of-nobody\n", 0600);
    dir_.Write("client.yaml",
               absl::StrCat("farm: ", AddressFor("client"), "\ntls: {ca_file: ", dir_ / "ca.pem",
                            "}\ntoken_file: ", dir_ / "client.token", "\n"));
    WriteCoordinatorConfig("coordinator.yaml", "0.0.0.0:7070", /*tls=*/true, /*enrolled=*/true);
  }
  ~DistributedTest() override {
    for (auto& [name, worker] : workers_) worker.Stop();
    coordinator_.Stop();
    if (!HasFailure()) return;
    for (const char* log : {"coordinator.log", "w1.log", "w2.log"}) {
      std::fprintf(stderr, "--- %s\n%s\n", log, ReadFile(dir_ / log).value_or("").c_str());
    }
  }

  void MakeCertificates() {
    dir_.Write("san", absl::StrCat("subjectAltName=IP:", network_.HubAddress("client"), ",IP:",
                                   network_.HubAddress("w1"), ",IP:", network_.HubAddress("w2")));
    Must(absl::StrCat(
        "cd ", dir_.path(),
        "\nopenssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "
        "/CN=test-ca -keyout ca.key -out ca.pem 2> /dev/null\n"
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=coordinator "
        "-keyout server.key -out server.csr 2> /dev/null\n"
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
        "-extfile san -out server.pem 2> /dev/null\n"
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "
        "/CN=other-ca -keyout other.key -out other.pem 2> /dev/null"));
  }

  std::string AddressFor(const std::string& host) const {
    return absl::StrCat(network_.HubAddress(host), ":", kPort);
  }

  static std::string Enrolled(const std::string& name) {
    return absl::StrCat("  - {name: ", name, ", token_sha256: ", DigestOf("token-of-" + name).hex(),
                        "}\n");
  }
  void WriteCoordinatorConfig(const std::string& name, const std::string& listen, bool tls,
                              bool enrolled) {
    std::string text = absl::StrCat("listen: ['", listen, "']\nstate_dir: ", dir_ / "coordinator",
                                    "\nlease_ttl: ", lease_ttl_, "\nrun_network_default: none\n");
    if (tls) {
      absl::StrAppend(&text, "tls: {certificate_file: ", dir_ / "server.pem",
                      ", key_file: ", dir_ / "server.key", "}\n");
    }
    if (enrolled) {
      absl::StrAppend(&text, "clients:\n", Enrolled("client"), "workers:\n", Enrolled("w1"),
                      Enrolled("w2"));
    }
    dir_.Write(name, text);
  }

  void StartCoordinator() {
    coordinator_ = BackgroundProcess(network_.On("hub", {ProgramPath("farm-coordinator"),
                                                         "--config", dir_ / "coordinator.yaml"}),
                                     dir_ / "coordinator.log");
  }
  void StartWorker(const std::string& name, const std::string& token = "") {
    const std::string config = dir_.Write(
        name + ".yaml",
        absl::StrCat("coordinator: ", AddressFor(name), "\nname: ", name,
                     "\nstate_dir: ", dir_ / name, "\ntls: {ca_file: ", dir_ / "ca.pem",
                     "}\ntoken_file: ", dir_ / ((token.empty() ? name : token) + ".token"),
                     "\nslots: 4\n"));
    workers_[name] =
        BackgroundProcess(network_.On(name, {ProgramPath("farm-worker"), "--config", config}),
                          dir_ / (name + ".log"));
  }
  // A farm with its base image.
  void StartFarm() {
    StartCoordinator();
    StartWorker("w1");
    StartWorker("w2");
    ASSERT_TRUE(WaitUntil([&] { return Workers() == 2; })) << Farm({"workers"}).all();
    const CommandResult imported = Farm({"import", BusyboxRootTar(), "base:1"});
    ASSERT_EQ(imported.exit_code, 0) << imported.all();
  }
  int Workers() const {
    const std::string out = Farm({"workers", "--format", "{{.Name}}"}).out;
    return static_cast<int>(std::count(out.begin(), out.end(), '\n'));
  }

  std::vector<std::string> FarmCommand(const std::vector<std::string>& args,
                                       const std::string& config) const {
    std::vector<std::string> command = {ProgramPath("farm"), "--config", dir_ / config};
    command.insert(command.end(), args.begin(), args.end());
    return network_.On("client", command);
  }
  CommandResult Farm(const std::vector<std::string>& args,
                     const std::string& config = "client.yaml") const {
    return RunCommand(FarmCommand(args, config), {.timeout = absl::Minutes(1)});
  }

  // Eight stages that take some seconds each, and an image of what they made.
  std::string EightStages(const std::string& id, int seconds = 3) {
    std::string dockerfile, copies;
    for (int i = 0; i < 8; ++i) {
      absl::StrAppend(&dockerfile, "FROM base:1 AS s", i, "\nRUN : ", Marker(id), "; sleep ",
                      seconds, "; head -c 200000 /dev/urandom > /o", i, "\n");
      absl::StrAppend(&copies, "COPY --from=s", i, " /o", i, " /o", i, "\n");
    }
    dir_.Write(id + "/Dockerfile", dockerfile + "FROM base:1\n" + copies + "COPY big /big\n");
    Must(absl::StrCat("head -c 2000000 /dev/zero > ", dir_ / (id + "/big")));
    return dir_ / id;
  }
  static std::string Marker(const std::string& id) { return absl::StrCat(id, "-", getpid()); }
  // Processes of the build's commands.
  static std::string Processes(const std::string& id) {
    return RunShell("pgrep -f '^/bin/sh -c : " + Marker(id) + "'").out;
  }

  // What a worker has on its host: mounts, control groups, and files that are none of its layers.
  std::string Footprint(const std::string& name) {
    return RunShell(absl::StrCat("grep ", dir_ / name,
                                 " /proc/self/mounts; find /sys/fs/cgroup "
                                 "-type d -path '*farm-worker-",
                                 DigestOf(dir_ / name).hex().substr(0, 8),
                                 "*' | sed "
                                 "'s,run-[0-9]*-,run-,' | sort; cd ",
                                 dir_ / name, "; find steps tmp trash -mindepth 1"))
        .out;
  }

  // How often the workers started each step whose name has the build's marker.
  std::map<std::string, int> Starts(const std::string& id) const {
    std::map<std::string, int> starts;
    for (const char* worker : {"w1", "w2"}) {
      const std::string log = ReadFile(dir_ / absl::StrCat(worker, ".log"), 64 << 20).value_or("");
      for (const absl::string_view line : absl::StrSplit(log, '\n')) {
        const size_t name = line.find(" name=");
        if (!absl::StrContains(line, " step started ") || name == absl::string_view::npos) continue;
        if (absl::StrContains(line, Marker(id))) ++starts[std::string(line.substr(name))];
      }
    }
    return starts;
  }

  std::map<std::string, int64_t> LinkBytes() const {
    std::map<std::string, int64_t> bytes;
    for (const char* host : {"client", "w1", "w2"}) bytes[host] = network_.BytesOf(host);
    return bytes;
  }

  ScratchDir dir_;
  std::string lease_ttl_ = "4s";
  Network network_{{"client", "w1", "w2"}};
  BackgroundProcess coordinator_;
  std::map<std::string, BackgroundProcess> workers_;
};

TEST_F(DistributedTest, TwoWorkersShareABuildAndASecondOneMovesNothing) {
  StartFarm();
  const std::string context = EightStages("share");
  const absl::Time start = absl::Now();
  const CommandResult build = Farm({"build", "--progress=rawjson", context});
  const absl::Duration wall = absl::Now() - start;
  ASSERT_EQ(build.exit_code, 0) << build.all();
  const std::map<int, StepTimes> steps = ReadTimes(build.err);
  std::map<std::string, int> by_worker;
  int64_t transferred_bytes = 0;
  for (const auto& [id, step] : steps) {
    for (const std::string& worker : step.workers) ++by_worker[worker];
    transferred_bytes += step.transferred_bytes;
  }
  const absl::Duration critical = CriticalPath(steps);
  std::printf("wall %.2f s, critical path %.2f s, w1 ran %d steps, w2 %d, %.1f MB moved\n",
              absl::ToDoubleSeconds(wall), absl::ToDoubleSeconds(critical), by_worker["w1/w1"],
              by_worker["w2/w2"], static_cast<double>(transferred_bytes) / 1e6);
  EXPECT_GE(by_worker["w1/w1"], 3) << Text(steps);
  EXPECT_GE(by_worker["w2/w2"], 3) << Text(steps);
#ifndef __SANITIZE_ADDRESS__  // What the checks cost is no part of the steps' own times.
  EXPECT_LT(wall, 1.3 * critical) << Text(steps);
#endif
  EXPECT_GT(transferred_bytes, 2'000'000);

  // The same from elsewhere, and after everything was started anew.
  Must(absl::StrCat("cp -r ", context, " ", dir_ / "elsewhere"));
  const auto build_again = [&](const char* what) {
    const std::map<std::string, int64_t> before = LinkBytes();
    const CommandResult again = Farm({"build", "--progress=rawjson", dir_ / "elsewhere"});
    ASSERT_EQ(again.exit_code, 0) << again.all();
    int64_t moved_bytes = 0;
    for (const auto& [id, step] : ReadTimes(again.err)) {
      EXPECT_TRUE(step.workers.empty()) << step.name;
      moved_bytes += step.transferred_bytes;
    }
    EXPECT_EQ(moved_bytes, 0);
    EXPECT_THAT(again.err, HasSubstr("\"steps_cached\":17"));
    std::map<std::string, int64_t> after = LinkBytes();
    for (const auto& [host, bytes] : before) {
      std::printf("%s: %lld bytes of layers moved, %lld bytes over the link of %s\n", what,
                  static_cast<long long>(moved_bytes), static_cast<long long>(after[host] - bytes),
                  host.c_str());
      // TLS, the build's events, polls. The image's layers have 4 MB.
      EXPECT_LT(after[host] - bytes, 100'000) << host;
    }
  };
  build_again("from another directory");
  for (auto& [name, worker] : workers_) worker.Stop();
  coordinator_.Stop();
  StartCoordinator();
  StartWorker("w1");
  StartWorker("w2");
  ASSERT_TRUE(WaitUntil([&] { return Workers() == 2; })) << Farm({"workers"}).all();
  build_again("after a restart");
}

TEST_F(DistributedTest, ABuildOutlivesAWorkerAndTheKilledOneLeavesNothing) {
  StartFarm();
  // What it leaves mounted, in control groups and in files while nothing runs.
  ASSERT_TRUE(WaitUntil([&] { return Processes("kill").empty(); }));
  workers_["w2"].Stop();
  StartWorker("w2");
  ASSERT_TRUE(WaitUntil([&] { return Workers() == 2; }));
  std::string clean;
  ASSERT_TRUE(WaitUntil([&] { return Footprint("w2") == std::exchange(clean, Footprint("w2")); }));

  const std::string context = EightStages("kill");
  BackgroundProcess build(FarmCommand({"build", "--progress=rawjson", context}, "client.yaml"),
                          dir_ / "build.log");
  const auto progress = [&] { return ReadFile(dir_ / "build.log", 64 << 20).value_or(""); };
  const auto running_on_w2 = [&] {
    std::vector<int> running;
    for (const auto& [id, step] : ReadTimes(progress())) {
      if (step.outcome.empty() && absl::StrContains(step.name, "RUN") && !step.workers.empty() &&
          step.workers.back() == "w2/w2") {
        running.push_back(id);
      }
    }
    return running;
  };
  ASSERT_TRUE(WaitUntil([&] { return running_on_w2().size() >= 2 && !Processes("kill").empty(); }))
      << progress();
  const std::vector<int> cut = running_on_w2();
  workers_["w2"].Kill(SIGKILL);
  const absl::Time killed = absl::Now();
  EXPECT_TRUE(WaitUntil([&] { return !build.running(); }, absl::Seconds(40))) << progress();
  EXPECT_THAT(progress(), AllOf(HasSubstr("\"image\""), Not(HasSubstr("\"failed_step\""))));
  const std::map<int, StepTimes> steps = ReadTimes(progress());
  for (int id : cut) {
    EXPECT_EQ(steps.at(id).workers, (std::vector<std::string>{"w2/w2", "w1/w1"})) << Text(steps);
    EXPECT_EQ(steps.at(id).outcome, "OUTCOME_RAN");
  }
  std::printf("%zu steps cut, build done %.1f s after the kill\n", cut.size(),
              absl::ToDoubleSeconds(absl::Now() - killed));
  EXPECT_EQ(Processes("kill"), "");
  StartWorker("w2");
  ASSERT_TRUE(WaitUntil([&] { return Workers() == 2; }));
  EXPECT_TRUE(WaitUntil([&] { return Footprint("w2") == clean; })) << "after:\n"
                                                                   << Footprint("w2") << "clean:\n"
                                                                   << clean;
}

TEST_F(DistributedTest, ACoordinatorKilledMidBuildFindsItsWorkersStepsDone) {
  lease_ttl_ = "20s";  // More than it takes to start the next one.
  WriteCoordinatorConfig("coordinator.yaml", "0.0.0.0:7070", /*tls=*/true, /*enrolled=*/true);
  StartFarm();
  const std::string context = EightStages("adopt", 10);
  BackgroundProcess cut(FarmCommand({"build", context}, "client.yaml"), dir_ / "cut.log");
  const auto running = [&] {
    const std::string processes = Processes("adopt");
    return std::count(processes.begin(), processes.end(), '\n');
  };
  ASSERT_TRUE(WaitUntil([&] { return running() >= 8; })) << Processes("adopt");
  coordinator_.Kill(SIGKILL);
  cut.Kill(SIGKILL);

  StartCoordinator();
  ASSERT_TRUE(WaitUntil([&] { return Workers() == 2; })) << Farm({"workers"}).all();
  const CommandResult build = Farm({"build", "--progress=rawjson", context});
  ASSERT_EQ(build.exit_code, 0) << build.all();
  const std::map<std::string, int> starts = Starts("adopt");
  EXPECT_EQ(starts.size(), 8U);
  for (const auto& [name, count] : starts) EXPECT_EQ(count, 1) << name << "\n" << build.err;
}

TEST_F(DistributedTest, WhoIsNotEnrolledIsRefused) {
  StartCoordinator();
  ASSERT_TRUE(WaitUntil([&] { return Farm({"workers"}).exit_code == 0; }));
  const auto config = [&](const std::string& name, const std::string& ca,
                          const std::string& token) {
    dir_.Write(name, absl::StrCat("farm: ", AddressFor("client"), "\ntls: {ca_file: ", dir_ / ca,
                                  "}\n", token.empty() ? "" : "token_file: " + (dir_ / token)));
    return name;
  };
  CommandResult refused = Farm({"workers"}, config("wrong.yaml", "ca.pem", "wrong.token"));
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.err, HasSubstr("token"));
  refused = Farm({"workers"}, config("none.yaml", "ca.pem", ""));
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.err, HasSubstr("token"));
  refused = Farm({"workers"}, config("worker.yaml", "ca.pem", "w1.token"));
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.err, HasSubstr("worker"));
  // A coordinator that the client does not know by its certificate gets no token.
  refused = Farm({"workers"}, config("other.yaml", "other.pem", "client.token"));
  EXPECT_NE(refused.exit_code, 0);

  for (const char* token : {"wrong", "client", "w2"}) {
    StartWorker("w1", token);
    const bool is_other_worker = std::string(token) == "w2";
    if (is_other_worker) {
      // Another worker's token makes it that worker, not the one whose name it says.
      ASSERT_TRUE(WaitUntil([&] { return Workers() == 1; }));
      EXPECT_EQ(Farm({"workers", "--format", "{{.Name}}"}).out, "w2/w1\n");
    } else {
      EXPECT_TRUE(WaitUntil([&] { return !workers_["w1"].running(); })) << token;
      EXPECT_EQ(Workers(), 0) << token;
      EXPECT_THAT(ReadFile(dir_ / "w1.log").value_or(""), HasSubstr("token")) << token;
    }
  }
}

TEST_F(DistributedTest, AnOpenListenerWithoutTlsOrTokensRefusesToStart) {
  const auto start = [&] {
    return RunCommand(
        network_.On("hub", {ProgramPath("farm-coordinator"), "--config", dir_ / "open.yaml"}),
        {.timeout = absl::Seconds(20)});
  };
  for (const std::string& listen : {std::string("0.0.0.0:7070"), AddressFor("w1")}) {
    WriteCoordinatorConfig("open.yaml", listen, /*tls=*/false, /*enrolled=*/true);
    CommandResult refused = start();
    EXPECT_GT(refused.exit_code, 0) << refused.all();
    EXPECT_THAT(refused.err, HasSubstr("needs TLS"));
    WriteCoordinatorConfig("open.yaml", listen, /*tls=*/true, /*enrolled=*/false);
    refused = start();
    EXPECT_GT(refused.exit_code, 0) << refused.all();
    EXPECT_THAT(refused.err, HasSubstr("needs enrolled clients and workers"));
  }
}

}  // namespace
}  // namespace farm
