// What sandboxes with an isolated network reach, and what they do not, and that nothing of it
// stays. Host, internet and all are network namespaces that the test makes: this machine's own
// network is left alone.
#include "worker/isolated_network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <nftables/libnftables.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/testing/sanitizers.h"
#include "base/testing/status_matchers.h"
#include "worker/helper_pool.h"
#include "worker/namespace_sandbox.h"
#include "worker/oci_runtime_sandbox.h"
#include "worker/testing/sandbox_fixture.h"

namespace farm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kOwner[] = "farm-worker-1a2b3c4d";
constexpr char kHostAddress[] = "198.51.100.2";
constexpr char kServerAddress[] = "192.0.2.80";  // "internet" has it, and what follows
constexpr char kPrivateAddress[] = "10.55.0.1";
constexpr char kMetadataAddress[] = "169.254.169.254";
constexpr char kCoordinator[] = "192.0.2.80:7070";

// Runs on a thread of its own in the network namespace `fd`.
void Inside(int fd, const std::function<void()>& run) {
  std::thread([&] {
    FARM_CHECK(setns(fd, CLONE_NEWNET) == 0);
    run();
  }).join();
}

UniqueFd NewNetworkNamespace() {
  UniqueFd fd;
  std::thread([&fd] {
    FARM_CHECK(unshare(CLONE_NEWNET) == 0);
    fd.Reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  }).join();
  FARM_CHECK(fd.valid());
  return fd;
}

void Must(const std::string& command) { FARM_CHECK(system(command.c_str()) == 0) << command; }
void MustIn(int fd, const std::string& command) {
  Inside(fd, [&] { Must(command); });
}

// The output of nftables' commands in the network namespace of the caller.
std::string Nft(const std::string& commands) {
  const std::unique_ptr<nft_ctx, void (*)(nft_ctx*)> context(nft_ctx_new(NFT_CTX_DEFAULT),
                                                             nft_ctx_free);
  nft_ctx_buffer_output(context.get());
  FARM_CHECK(nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0) << commands;
  return nft_ctx_get_output_buffer(context.get());
}

// Tells everybody who connects to `port`, at whatever address, which address they come from.
class Server {
 public:
  Server(int namespace_fd, uint16_t port) {
    Inside(namespace_fd, [&] { listener_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); });
    const int on = 1;
    setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    FARM_CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    FARM_CHECK(listen(listener_.get(), 16) == 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~Server() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

 private:
  void Serve() {
    for (;;) {
      sockaddr_in from{};
      socklen_t size = sizeof(from);
      const UniqueFd client(accept(listener_.get(), reinterpret_cast<sockaddr*>(&from), &size));
      if (!client.valid()) return;
      const std::string text = absl::StrCat(Ipv4AddressText(ntohl(from.sin_addr.s_addr)), "\n");
      send(client.get(), text.data(), text.size(), MSG_NOSIGNAL);
    }
  }

  UniqueFd listener_;
  std::thread thread_;
};

std::string Connect(absl::string_view address, int port) {
  return absl::StrCat("nc -w 1 ", address, " ", port, " < /dev/null 2> /dev/null; ");
}

class IsolatedNetworkTest : public ::testing::Test {
 protected:
  IsolatedNetworkTest() {
    FARM_CHECK(unshare(CLONE_NEWNET) == 0);  // This thread, and those that it starts: the host.
    host_.Reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    Must(
        "set -e; exec 2>&1; ip link set lo up; echo 1 > /proc/sys/net/ipv4/ip_forward;"
        "ip link add eth0 type veth peer name peer; ip addr add 198.51.100.2/24 dev eth0;"
        "ip link set eth0 up");
    Must(absl::StrCat("ip link set peer netns /proc/", getpid(), "/fd/", internet_.get()));
    MustIn(internet_.get(),
           "set -e; ip link set lo up; ip link set peer up; ip addr add 198.51.100.1/24 dev peer;"
           "for a in 192.0.2.80 10.55.0.1 10.66.0.1 169.254.169.254 100.100.100.200"
           "  168.63.129.16; do"
           "  ip addr add $a/32 dev lo; done");
    Must("ip route add default via 198.51.100.1");
    SetResolvConf("nameserver 192.0.2.80\n");
    options_ = {.owner = kOwner, .networks_max = 8, .coordinator = kCoordinator};
  }

  ~IsolatedNetworkTest() override { DropResolvConf(); }

  // The host's, for this test's mount namespace.
  void SetResolvConf(const std::string& text) {
    const std::string path = world_.NewPath("resolv.conf");
    FARM_CHECK_OK(WriteFileAtomically(path, text));
    DropResolvConf();
    FARM_CHECK(mount(path.c_str(), "/etc/resolv.conf", nullptr, MS_BIND, nullptr) == 0);
    has_resolv_conf_ = true;
  }
  void DropResolvConf() {
    if (has_resolv_conf_) umount2("/etc/resolv.conf", MNT_DETACH);
  }

  void Start() {
    auto network = IsolatedNetwork::Create(options_);
    FARM_CHECK_OK(network.status());
    network_ = *std::move(network);
    auto pool = HelperPool::Create({.program = "worker/farm-sandbox",
                                    .warm = 0,
                                    .hide_unified = HostHasHybridCgroups(),
                                    .isolated_network = network_.get()},
                                   world_.cgroups());
    FARM_CHECK_OK(pool.status());
    pool_ = *std::move(pool);
    sandbox_ = std::make_unique<NamespaceSandbox>(*pool_);
  }

  // What a script prints in a sandbox with an isolated network.
  std::string Output(Sandbox& sandbox, const std::string& script) {
    SandboxSpec spec = world_.ShellSpec(script);
    spec.network = NetworkMode::kIsolated;
    EXPECT_OK(network_->ResolvConf());
    const RunResult result = world_.Run(sandbox, spec);
    EXPECT_OK(result.exit.status());
    return result.out;
  }
  std::string Output(const std::string& script) { return Output(*sandbox_, script); }

  // What a program with all rights of the kernel's would get that has the network's namespace.
  static std::string OutputIn(int fd, const std::string& script) {
    std::string out;
    Inside(fd, [&] {
      FILE* pipe = popen(script.c_str(), "r");
      char buffer[256];
      while (fgets(buffer, sizeof(buffer), pipe) != nullptr) out += buffer;
      pclose(pipe);
    });
    return out;
  }
  std::string InternetSees(const std::string& script) {
    return OutputIn(internet_.get(), "busybox " + script);
  }

  static int SandboxLinks() {
    int count = 0;
    struct if_nameindex* const links = if_nameindex();
    for (const struct if_nameindex* link = links; link->if_name != nullptr; ++link) {
      count += absl::string_view(link->if_name).substr(0, 4) == "farm" ? 1 : 0;
    }
    if_freenameindex(links);
    return count;
  }

  SandboxWorld world_;
  bool has_resolv_conf_ = false;
  UniqueFd internet_ = NewNetworkNamespace();
  UniqueFd host_;
  IsolatedNetwork::Options options_;
  std::unique_ptr<IsolatedNetwork> network_;
  std::unique_ptr<HelperPool> pool_;
  std::unique_ptr<NamespaceSandbox> sandbox_;
};

// --- What is reached

TEST_F(IsolatedNetworkTest, AServerOutsideIsReachedUnderTheHostsAddress) {
  const Server server(internet_.get(), 80);
  Start();
  EXPECT_EQ(Output(Connect(kServerAddress, 80)), absl::StrCat(kHostAddress, "\n"));
}

TEST_F(IsolatedNetworkTest, AnOciRuntimesCommandHasTheSameNetwork) {
  const Server server(internet_.get(), 80), host(host_.get(), 2222);
  Start();
  auto crun = OciRuntimeSandbox::Create("crun", *pool_);
  if (!crun.ok()) GTEST_SKIP() << crun.status();
  EXPECT_EQ(Output(**crun,
                   Connect(kServerAddress, 80) + Connect(kHostAddress, 2222) + "ls /sys/class/net"),
            absl::StrCat(kHostAddress, "\neth0\nlo\n"));
}

TEST_F(IsolatedNetworkTest, AResolverIsReachedWhereverItIsButByDnsAlone) {
  const Server dns(internet_.get(), 53), web(internet_.get(), 80), host_dns(host_.get(), 53),
      host_web(host_.get(), 80);
  SetResolvConf(absl::StrCat("nameserver ", kMetadataAddress, "\nnameserver ", kHostAddress, "\n"));
  Start();
  EXPECT_EQ(Output(Connect(kMetadataAddress, 53)), absl::StrCat(kHostAddress, "\n"));
  EXPECT_THAT(Output(Connect(kHostAddress, 53)), Not(""));
  EXPECT_EQ(Output(Connect(kMetadataAddress, 80) + Connect(kHostAddress, 80)), "");
  // The host moves to another place.
  SetResolvConf("nameserver 192.0.2.80\n");
  EXPECT_EQ(Output(Connect(kMetadataAddress, 53) + Connect(kHostAddress, 53)), "");
}

TEST_F(IsolatedNetworkTest, PrivateNetworksAreReachedUnlessDenied) {
  const Server server(internet_.get(), 80);
  Start();
  EXPECT_THAT(Output(Connect(kPrivateAddress, 80)), Not(""));
  sandbox_.reset();
  pool_.reset();
  network_.reset();
  options_.deny_private_networks = true;
  options_.allowed_networks = {*ParseIpv4Network("10.66.0.0/16")};
  Start();
  EXPECT_EQ(Output(Connect(kPrivateAddress, 80)), "");
  EXPECT_THAT(Output(Connect("10.66.0.1", 80)), Not(""));
  EXPECT_THAT(Output(Connect(kServerAddress, 80)), Not(""));
}

// --- What is not

TEST_F(IsolatedNetworkTest, TheHostIsNotReachedByAnyOfItsAddresses) {
  const Server server(host_.get(), 2222);
  Must("ip addr add 203.0.113.7/32 dev lo");
  Start();
  ASSERT_THAT(InternetSees(Connect(kHostAddress, 2222)), Not(""));
  EXPECT_EQ(
      Output(Connect(kHostAddress, 2222) + Connect("203.0.113.7", 2222) +
             Connect("127.0.0.1", 2222) + "gateway=$(ip route | awk '/^default/ {print $3}');" +
             Connect("$gateway", 2222)),
      "");
}

TEST_F(IsolatedNetworkTest, APortThatTheHostPassesOnIsTheHosts) {
  const Server server(internet_.get(), 80);
  Nft("table ip published {\n chain in {\n type nat hook prerouting priority dstnat;\n"
      "ip daddr 198.51.100.2 tcp dport 8080 dnat to 192.0.2.80:80\n }\n }\n");
  Start();
  EXPECT_EQ(Output(Connect(kHostAddress, 8080)), "");
}

TEST_F(IsolatedNetworkTest, AddressesOfTheCloudsMetadataAreNotReached) {
  const Server server(internet_.get(), 80);
  Start();
  for (const char* address : {kMetadataAddress, "100.100.100.200", "168.63.129.16"}) {
    ASSERT_THAT(OutputIn(host_.get(), "busybox " + Connect(address, 80)), Not(""));
    EXPECT_EQ(Output(Connect(address, 80)), "");
  }
}

TEST_F(IsolatedNetworkTest, TheCoordinatorsPortIsNotReached) {
  const Server server(internet_.get(), 80), coordinator(internet_.get(), 7070);
  Start();
  ASSERT_THAT(OutputIn(host_.get(), "busybox " + Connect(kServerAddress, 7070)), Not(""));
  EXPECT_EQ(Output(Connect(kServerAddress, 7070)), "");
  EXPECT_THAT(Output(Connect(kServerAddress, 80)), Not(""));
}

TEST_F(IsolatedNetworkTest, SandboxesDoNotReachEachOtherNorThoseOfAnotherWorker) {
  Start();
  IsolatedNetwork::Options others = options_;
  others.owner = "farm-worker-99999999";
  ASSERT_OK_AND_ASSIGN(const auto other_worker, IsolatedNetwork::Create(others));
  EXPECT_NE(other_worker->subnet(), network_->subnet());
  for (IsolatedNetwork* worker : {network_.get(), other_worker.get()}) {
    ASSERT_OK_AND_ASSIGN(const auto sandbox, worker->Make());
    const Server server(sandbox->namespace_fd(), 80);
    const std::string address = Ipv4AddressText(sandbox->address());
    ASSERT_THAT(OutputIn(sandbox->namespace_fd(), "busybox " + Connect(address, 80)), Not(""));
    EXPECT_EQ(Output(Connect(address, 80)), "");
  }
}

TEST_F(IsolatedNetworkTest, NobodyOutsideReachesASandbox) {
  Start();
  ASSERT_OK_AND_ASSIGN(const auto sandbox, network_->Make());
  const Server server(sandbox->namespace_fd(), 80);
  MustIn(internet_.get(),
         absl::StrCat("ip route add ", network_->subnet().ToString(), " via ", kHostAddress));
  EXPECT_EQ(InternetSees(Connect(Ipv4AddressText(sandbox->address()), 80)), "");
}

TEST_F(IsolatedNetworkTest, ThereIsNoIpv6ButLoopbacks) {
  Start();
  EXPECT_EQ(Output("ip -6 addr show dev eth0; ip addr show dev lo | grep -c ::1/128"), "1\n");
}

TEST_F(IsolatedNetworkTest, FlushingTheHostsRulesOpensNothing) {
  const Server server(internet_.get(), 80), host(host_.get(), 2222);
  Start();
  Nft("flush ruleset");
  EXPECT_EQ(Output(Connect(kHostAddress, 2222)), "");
  EXPECT_THAT(Output(Connect(kServerAddress, 80)), Not(""));
}

// --- What stays

sockaddr_in SocketAddress(const char* address, uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  FARM_CHECK(inet_pton(AF_INET, address, &result.sin_addr) == 1);
  return result;
}

UniqueFd UdpSocket(int namespace_fd, sockaddr_in address) {
  UniqueFd fd;
  Inside(namespace_fd, [&] { fd.Reset(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)); });
  FARM_CHECK(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  const timeval patience{.tv_sec = 0, .tv_usec = 300'000};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  return fd;
}

TEST_F(IsolatedNetworkTest, WhatIsMeantForAStepDoesNotReachTheNextOneWithItsAddress) {
  options_.networks_max = 1;
  Start();
  sockaddr_in to = SocketAddress(kServerAddress, 9000), seen{};
  const UniqueFd server = UdpSocket(internet_.get(), to);
  socklen_t size = sizeof(seen);
  char byte = 'x';
  const auto answer = [&] {
    sendto(server.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&seen), sizeof(seen));
  };
  uint32_t first_address = 0;
  {
    ASSERT_OK_AND_ASSIGN(const auto first, network_->Make());
    first_address = first->address();
    const UniqueFd client = UdpSocket(first->namespace_fd(), SocketAddress("0.0.0.0", 9001));
    sendto(client.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof(to));
    ASSERT_EQ(recvfrom(server.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&seen), &size), 1);
    answer();
    ASSERT_EQ(recv(client.get(), &byte, 1, 0), 1);
  }
  ASSERT_OK_AND_ASSIGN(const auto second, network_->Make());
  ASSERT_EQ(second->address(), first_address);
  const UniqueFd client = UdpSocket(second->namespace_fd(), SocketAddress("0.0.0.0", 9001));
  answer();
  EXPECT_EQ(recv(client.get(), &byte, 1, 0), -1);
}

TEST_F(IsolatedNetworkTest, AnotherSourceAddressGetsNowhere) {
  Start();
  sockaddr_in to = SocketAddress(kServerAddress, 9000);
  const UniqueFd server = UdpSocket(internet_.get(), to);
  ASSERT_OK_AND_ASSIGN(const auto sandbox, network_->Make());
  char byte = 'x';
  const auto send = [&](const char* source) {
    const UniqueFd client = UdpSocket(sandbox->namespace_fd(), SocketAddress(source, 0));
    FARM_CHECK(sendto(client.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)) ==
               1);
  };
  send("0.0.0.0");
  ASSERT_EQ(recv(server.get(), &byte, 1, 0), 1);
  Must("ip route add 10.99.0.1/32 via 198.51.100.1");  // Others have it.
  MustIn(sandbox->namespace_fd(), "ip addr add 10.99.0.1/32 dev eth0");
  send("10.99.0.1");
  EXPECT_EQ(recv(server.get(), &byte, 1, 0), -1);
}

TEST_F(IsolatedNetworkTest, NetworksAreBounded) {
  options_.networks_max = 2;
  Start();
  ASSERT_OK_AND_ASSIGN(const auto first, network_->Make());
  {
    ASSERT_OK_AND_ASSIGN(const auto second, network_->Make());
    EXPECT_THAT(network_->Make(), StatusIs(absl::StatusCode::kResourceExhausted));
  }
  EXPECT_OK(network_->Make());
}

TEST_F(IsolatedNetworkTest, ManyThatEndTogetherAreAllRemovedBeforeTheirNumbersAreUsedAgain) {
  constexpr int kNetworks = 4;
  options_.networks_max = kNetworks;
  Start();
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<SandboxNetwork>> networks;
    for (int i = 0; i < kNetworks; ++i) {
      ASSERT_OK_AND_ASSIGN(networks.emplace_back(), network_->Make());
    }
    EXPECT_EQ(SandboxLinks(), kNetworks);
  }
}

TEST_F(IsolatedNetworkTest, NothingIsLeftAtTheEnd) {
  const std::string before = Nft("list ruleset");
  Start();
  EXPECT_THAT(Nft("list ruleset"), HasSubstr(kOwner));
  Output("true");
  sandbox_.reset();
  pool_.reset();
  network_.reset();
  EXPECT_EQ(SandboxLinks(), 0);
  EXPECT_EQ(Nft("list ruleset"), before);
}

TEST_F(IsolatedNetworkTest, AfterAKillTheNextWorkerStartsAtOnceAndNothingIsLeft) {
  if (kIsThreadSanitized) GTEST_SKIP() << kForkedHasNoThreads;
  options_.subnet = *ParseIpv4Network("10.88.0.0/24");
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t worker = fork();
  if (worker == 0) {
    const auto network = IsolatedNetwork::Create(options_);
    const auto one = (*network)->Make(), two = (*network)->Make();
    if (one.ok() && two.ok() && write(ready[1], "x", 1) == 1) pause();
    _exit(1);
  }
  char byte;
  close(ready[1]);
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  EXPECT_GE(SandboxLinks(), 2);
  kill(worker, SIGKILL);
  waitpid(worker, nullptr, 0);
  EXPECT_THAT(Nft("list ruleset"), Not(HasSubstr(kOwner)));
  Start();
  pool_.reset();
  network_.reset();
  EXPECT_EQ(SandboxLinks(), 0);
}

// --- Hosts that can't

TEST_F(IsolatedNetworkTest, AHostThatDoesNotForwardIsRefusedWithTheCure) {
  Must("echo 0 > /proc/sys/net/ipv4/ip_forward");
  EXPECT_THAT(IsolatedNetwork::Create(options_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("ip_forward=1")));
}

TEST_F(IsolatedNetworkTest, AFirewallThatForwardsNothingIsFoundOut) {
  Nft("table ip filter {\n chain FORWARD {\n type filter hook forward priority 0; policy drop;\n"
      "}\n }\n");
  EXPECT_THAT(IsolatedNetwork::Create(options_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("firewall")));
  EXPECT_EQ(SandboxLinks(), 0);
  Nft("add rule ip filter FORWARD iifname \"farm*\" accept");
  EXPECT_OK(IsolatedNetwork::Create(options_));
}

TEST_F(IsolatedNetworkTest, TheSubnetAvoidsTheHostsRoutes) {
  Must("ip route add 10.64.0.0/10 via 198.51.100.1");
  ASSERT_OK_AND_ASSIGN(const auto network, IsolatedNetwork::Create(options_));
  EXPECT_FALSE(network->subnet().Overlaps(*ParseIpv4Network("10.64.0.0/10")));
  options_.subnet = *ParseIpv4Network("10.88.0.0/24");
  EXPECT_THAT(IsolatedNetwork::Create(options_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("10.88.0.0/24 overlaps the host's route to 10.64.0.0/10")));
}

TEST_F(IsolatedNetworkTest, ASubnetThatIsTooSmallIsRefused) {
  options_.subnet = *ParseIpv4Network("10.88.0.0/29");
  EXPECT_THAT(IsolatedNetwork::Create(options_), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                          HasSubstr("has room for 4 networks")));
}

TEST_F(IsolatedNetworkTest, AHostWithoutADefaultRouteHasTheNetworksThatItHas) {
  Must("ip route del default; ip route add 10.55.0.1/32 via 198.51.100.1");
  const Server server(internet_.get(), 80);
  Start();
  EXPECT_THAT(Output(Connect(kPrivateAddress, 80)), Not(""));
}

}  // namespace
}  // namespace farm
