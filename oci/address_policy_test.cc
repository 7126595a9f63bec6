#include "oci/address_policy.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/child_process.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

constexpr AddressPolicy kStrict = {.loopback_allowed = false};
constexpr AddressPolicy kLocal = {.loopback_allowed = true};

TEST(CheckHostTest, LinkLocalAndMetadataAddressesAreAlwaysRefused) {
  for (const char* host :
       {"169.254.169.254", "169.254.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "[fe80::1]", "[fe80::1%25eth0]",
        "[ff02::1]", "[::]", "[fd00:ec2::254]", "[fd20:ce::254]"}) {
    EXPECT_THAT(CheckHost(host, kLocal), StatusIs(absl::StatusCode::kPermissionDenied)) << host;
  }
}

TEST(CheckHostTest, AnIPv6AddressThatCarriesAnIPv4AddressIsThat) {
  for (const char* host : {"[::ffff:169.254.169.254]", "[::169.254.169.254]",
                           "[::ffff:0:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]"}) {
    EXPECT_THAT(CheckHost(host, kLocal), StatusIs(absl::StatusCode::kPermissionDenied)) << host;
  }
  EXPECT_THAT(CheckHost("[::ffff:127.0.0.1]", kStrict),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_OK(CheckHost("[::ffff:127.0.0.1]", kLocal));
  EXPECT_OK(CheckHost("[::ffff:8.8.8.8]", kStrict));
}

TEST(CheckHostTest, LoopbackIsRefusedUnlessAllowed) {
  for (const char* host :
       {"127.0.0.1", "127.255.255.254", "[::1]", "localhost", "LOCALHOST.", "a.localhost"}) {
    EXPECT_THAT(CheckHost(host, kStrict), StatusIs(absl::StatusCode::kPermissionDenied,
                                                   HasSubstr("sources.loopback_allowed")))
        << host;
    EXPECT_OK(CheckHost(host, kLocal)) << host;
  }
}

// In a network of its own, of which no other test sees anything.
TEST(CheckHostTest, AnAddressOfThisHostIsAsLoopback) {
  // As fork() does, but unshare() would want a process of one thread, which a sanitizer's is not.
  const auto pid = static_cast<pid_t>(syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWNET | SIGCHLD,
                                              nullptr, nullptr, nullptr, nullptr));
  ASSERT_GE(pid, 0) << std::strerror(errno);
  if (pid == 0) {
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    inet_pton(AF_INET, "10.11.12.13", &address.sin_addr);
    std::memcpy(&request.ifr_addr, &address, sizeof(address));
    if (ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFADDR, &request) != 0) _exit(2);
    const bool is_refused = absl::IsPermissionDenied(CheckHost("10.11.12.13", kStrict)) &&
                            absl::IsPermissionDenied(CheckHost("[::ffff:10.11.12.13]", kStrict));
    const bool others_are_not =
        CheckHost("10.11.12.14", kStrict).ok() && CheckHost("10.11.12.13", kLocal).ok();
    _exit(is_refused && others_are_not ? 0 : 1);
  }
  EXPECT_EQ(ReapChild(pid), 0);
}

TEST(CheckHostTest, OthersAreAllowed) {
  for (const char* host :
       {"example.com", "8.8.8.8", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.253.255.255",
        "128.0.0.1", "[2001:db8::1]", "[fd00::1]", "localhost.example.com", "mylocalhost"}) {
    EXPECT_OK(CheckHost(host, kStrict)) << host;
  }
}

}  // namespace
}  // namespace farm
