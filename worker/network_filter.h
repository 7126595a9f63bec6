#ifndef FARM_WORKER_NETWORK_FILTER_H_
#define FARM_WORKER_NETWORK_FILTER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/ipv4_network.h"

struct nft_ctx;

namespace farm {

// The kernel's rules for what sandboxes may reach, as an nftables table that this object owns: the
// kernel removes it with the object, or the process, and no "flush ruleset" does. (When a worker is
// killed, its rules may go a moment before its steps do.) In the network namespace of the thread
// that made it. Not safe for concurrent calls.
//
// What comes from an interface with the prefix is dropped unless it has the address that the
// interface's route says and goes to somebody else: not to this host (by any of its addresses), nor
// another sandbox, nor link-local addresses and others where clouds tell machines their secrets.
// What passes leaves under the host's own address. Nobody but those whom they call reaches
// sandboxes.
class NetworkFilter {
 public:
  struct Options {
    std::string table;             // of the worker
    std::string interface_prefix;  // of the host's ends of the sandboxes' links
    Ipv4Network subnet{};          // the sandboxes' addresses
    bool deny_private_networks = false;
    std::vector<Ipv4Network> allowed_networks{};  // in spite of that
  };
  // An address and a TCP port.
  using Endpoint = std::pair<uint32_t, uint16_t>;

  // FAILED_PRECONDITION with the reason if the kernel can't.
  static absl::StatusOr<NetworkFilter> Load(const Options& options);

  // What may be asked by DNS, wherever it is, and which ports are the farm's own, which no sandbox
  // reaches; none at first. Replaces both at once.
  absl::Status SetPeers(const std::vector<uint32_t>& resolvers,
                        const std::vector<Endpoint>& farm_endpoints);

  // Packets to kProbeAddress that came as far as the host's way out, where they were dropped.
  absl::StatusOr<int64_t> ProbesSeen();
  // 203.0.113.1 of TEST-NET-3 (RFC 5737), by UDP to the discard port.
  static constexpr uint32_t kProbeAddress = 203u << 24 | 113u << 8 | 1u;
  static constexpr uint16_t kProbePort = 9;

 private:
  struct Free {
    void operator()(nft_ctx* context) const;
  };
  NetworkFilter(nft_ctx* context, std::string table)
      : context_(context), table_(std::move(table)) {}

  // The output of nftables' commands; INTERNAL with its complaint.
  absl::StatusOr<std::string> Run(const std::string& commands);

  std::unique_ptr<nft_ctx, Free> context_;
  std::string table_;
};

}  // namespace farm

#endif  // FARM_WORKER_NETWORK_FILTER_H_
