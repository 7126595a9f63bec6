#include "worker/network_filter.h"

#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <sys/socket.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace farm {
namespace {

// The prerouting chain sees packets before any address translation, so a port that the host passes
// on elsewhere counts as the host's.
constexpr char kRules[] = R"(
table inet $TABLE {
  flags owner
  set resolvers { type ipv4_addr; }
  set farm { type ipv4_addr . inet_service; }
  counter probes { }
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    iifname "$PREFIX*" jump sandbox
  }
  chain sandbox {
    meta nfproto != ipv4 drop
    fib saddr . iif oif 0 drop
    ip daddr . tcp dport @farm drop
    ip daddr @resolvers meta l4proto { tcp, udp } th dport 53 accept
    fib daddr type != unicast drop
    ip daddr { $SUBNET, 127.0.0.0/8, 169.254.0.0/16, 100.100.100.200, 168.63.129.16,
               192.0.0.192 } drop
    $PRIVATE
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname "$PREFIX*" ip daddr @resolvers meta l4proto { tcp, udp } th dport 53 accept
    iifname "$PREFIX*" drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "$PREFIX*" ct state invalid drop
    oifname "$PREFIX*" ct state != { established, related } drop
  }
  chain probe {
    type filter hook postrouting priority raw; policy accept;
    ip saddr $SUBNET ip daddr $PROBE counter name probes drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr $SUBNET oifname != "$PREFIX*" masquerade
  }
}
)";

// RFC 1918, and RFC 6598's share for carriers, which organisations use as well.
constexpr char kPrivateNetworks[] = "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10";

std::string PrivateRules(const NetworkFilter::Options& options) {
  if (!options.deny_private_networks) return "";
  std::string rules;
  for (const Ipv4Network& network : options.allowed_networks) {
    absl::StrAppend(&rules, "ip daddr ", network.ToString(), " accept\n    ");
  }
  return absl::StrCat(rules, "ip daddr { ", kPrivateNetworks, " } drop");
}

}  // namespace

void NetworkFilter::Free::operator()(nft_ctx* context) const { nft_ctx_free(context); }

absl::StatusOr<NetworkFilter> NetworkFilter::Load(const Options& options) {
  // libnftables ends the process if it gets no socket.
  if (!UniqueFd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)).valid()) {
    return absl::FailedPreconditionError(
        absl::StrCat("nftables: ", ErrnoStatus(errno, "netlink").message()));
  }
  nft_ctx* const context = nft_ctx_new(NFT_CTX_DEFAULT);
  if (context == nullptr) return absl::FailedPreconditionError("nftables: no context");
  NetworkFilter filter(context, options.table);
  nft_ctx_buffer_output(context);
  nft_ctx_buffer_error(context);
  const std::string rules = absl::StrReplaceAll(kRules, {{"$TABLE", options.table},
                                                         {"$PREFIX", options.interface_prefix},
                                                         {"$SUBNET", options.subnet.ToString()},
                                                         {"$PROBE", Ipv4AddressText(kProbeAddress)},
                                                         {"$PRIVATE", PrivateRules(options)}});
  if (const auto loaded = filter.Run(rules); !loaded.ok()) {
    return absl::FailedPreconditionError(loaded.status().message());
  }
  return filter;
}

absl::Status NetworkFilter::SetPeers(const std::vector<uint32_t>& resolvers,
                                     const std::vector<Endpoint>& farm_endpoints) {
  const std::string table = absl::StrCat("inet ", table_);
  std::string commands =
      absl::StrCat("flush set ", table, " resolvers\nflush set ", table, " farm\n");
  for (const uint32_t resolver : resolvers) {
    absl::StrAppend(&commands, "add element ", table, " resolvers { ", Ipv4AddressText(resolver),
                    " }\n");
  }
  for (const auto& [address, port] : farm_endpoints) {
    absl::StrAppend(&commands, "add element ", table, " farm { ", Ipv4AddressText(address), " . ",
                    port, " }\n");
  }
  return Run(commands).status();
}

absl::StatusOr<int64_t> NetworkFilter::ProbesSeen() {
  ASSIGN_OR_RETURN(const std::string listing,
                   Run(absl::StrCat("list counter inet ", table_, " probes")));
  const std::vector<std::string> words =
      absl::StrSplit(listing, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    int64_t packets = 0;
    if (words[i] == "packets" && absl::SimpleAtoi(words[i + 1], &packets)) return packets;
  }
  return absl::InternalError(absl::StrCat("nftables: no counter in ", listing));
}

absl::StatusOr<std::string> NetworkFilter::Run(const std::string& commands) {
  if (nft_run_cmd_from_buffer(context_.get(), commands.c_str()) == 0) {
    return std::string(nft_ctx_get_output_buffer(context_.get()));
  }
  const absl::string_view complaint = nft_ctx_get_error_buffer(context_.get());
  const std::vector<absl::string_view> lines = absl::StrSplit(complaint, absl::MaxSplits('\n', 1));
  return absl::InternalError(absl::StrCat("nftables: ", absl::StripAsciiWhitespace(lines[0])));
}

}  // namespace farm
